//! `--watch`: each change of what goes is pushed again.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use aigis_proxy::Error;
use aigis_registry::shared::{ChainRecord, Key};
use notify::{RecursiveMode, Watcher as _};
use tokio::{
    signal::unix::SignalKind,
    sync::mpsc,
    time::{sleep, timeout},
};

use super::{Begun, Push, begin, finish, prepare, prepare::Prepared, source::Source};
use crate::{
    context::Context,
    exit::{Failure, INTERRUPTED},
    follow::{
        Wishes, follow,
        ports::{self, Ports},
        teller::Teller,
    },
    output::Printer,
    signals::Signals,
    upload::{Stamp, scan},
};

/// How long nothing may change before a change is pushed.
const QUIET: Duration = Duration::from_millis(300);
/// After how long it is pushed though files still change.
const LONGEST: Duration = Duration::from_secs(10);
/// How often it is looked though the system told of no change: it may have lost some.
const LOOK: Duration = Duration::from_secs(10);

type Stamps = BTreeMap<String, Stamp>;

/// What watches a directory.
struct Changes {
    root: PathBuf,
    told: mpsc::Receiver<()>,
    /// What went last.
    pushed: Stamps,
    _watcher: notify::RecommendedWatcher,
}

/// Pushes, and pushes again whenever what goes has changed.
pub(super) async fn run(
    push: &Push,
    context: &Context,
    source: Source,
    ports: &ports::Wish,
    signals: &mut Signals,
) -> Result<(), Failure> {
    let Some(directory) = &source.directory else {
        return Err(Failure::usage(
            "a git repository is not watched",
            "name a directory of this host, or leave --watch out",
        ));
    };
    let mut changes = Changes::of(directory.root.clone())?;
    let printer = Printer::start(&context.output);
    let teller = Teller::new(context.output, printer.pen());
    let (mut is_first, mut here) = (true, None);
    let watching = async move {
        loop {
            let round = round(push, context, &source, (ports, &mut here), signals, &mut changes, &teller).await;
            match round {
                // What keeps the first from beginning is no matter of a later change.
                Err(failure) if is_first || is_end(&failure) => return Err(failure),
                Err(failure) => {
                    let output = context.output;
                    teller
                        .put(move |_| {
                            output.failure(&failure);
                            Ok(())
                        })
                        .await?;
                    changes.next_or(signals).await?;
                }
                Ok(()) => {}
            }
            is_first = false;
        }
    };
    printer.until(false, Box::pin(watching)).await
}

/// One push, until the next is due.
async fn round(
    push: &Push,
    context: &Context,
    source: &Source,
    ports: (&ports::Wish, &mut Option<Ports>),
    signals: &mut Signals,
    changes: &mut Changes,
    teller: &Teller,
) -> Result<(), Failure> {
    changes.pushed = changes.now().await?;
    let prepared = tokio::select! {
        prepared = Box::pin(prepare::prepare(push, context, source, teller)) => prepared?,
        _ = signals.next() => return Err(Failure::Said(INTERRUPTED)),
    };
    let Some(prepared) = prepared else { return Ok(()) };
    changes.pushed.clone_from(&prepared.scan.files);
    let Begun { chain, interrupted } = begin(&prepared, signals).await?;
    teller.event("start", prepared.fields(&chain), prepared.words(&chain)).await?;
    let wishes = Wishes { until_ready: false, steers: true, cancels: interrupted };
    // They stay while one version takes the place of another.
    let (wish, known) = ports;
    let ports = known.get_or_insert_with(|| Ports::new(&prepared.asking, &chain.app, wish));
    let home = prepared.home(push.no_save);
    let id = chain.id.clone();
    let followed = tokio::select! {
        followed = follow(&prepared.asking, chain, &wishes, ports, Some(signals), teller) => Some(followed?),
        changed = changes.next() => { changed?; None }
    };
    let stood = match &followed {
        Some(followed) => Some(followed.chain.clone()),
        None => now(&prepared, &id).await,
    };
    if let (Some(home), Some(chain)) = (&home, &stood) {
        let back = home.bring_of(chain, teller).await?;
        changes.take_back(&back.written).await?;
    }
    let Some(followed) = followed else { return Ok(()) };
    if followed.interrupted {
        finish::ended(&followed, teller).await?;
    } else if let Err(failure) = finish::ended(&followed, teller).await
        && !matches!(failure, Failure::Said(_))
    {
        return Err(failure);
    }
    changes.next_or(signals).await
}

/// The chain as it stands now.
async fn now(prepared: &Prepared, id: &aigis_proxy::chain::ChainId) -> Option<ChainRecord> {
    let record = prepared.asking.shared().get::<ChainRecord>(&Key::Chain(id.clone())).await;
    record.ok().flatten().map(|version| version.content)
}

/// Whether nothing more is pushed after it.
fn is_end(failure: &Failure) -> bool {
    matches!(failure, Failure::Said(INTERRUPTED) | Failure::Closed | Failure::Output(_) | Failure::Usage(_))
}

impl Changes {
    fn of(root: PathBuf) -> Result<Self, Failure> {
        let (tell, told) = mpsc::channel(1);
        let failed = |error: notify::Error| {
            Error::precondition(format!("{} cannot be watched: {error}", root.display()))
                .hint("the system may watch too many files already")
        };
        let mut watcher = notify::recommended_watcher(move |_| {
            // One that waits to be heard is as good as many.
            let _ = tell.try_send(());
        })
        .map_err(failed)?;
        watcher.watch(&root, RecursiveMode::Recursive).map_err(failed)?;
        Ok(Self { root, told, pushed: Stamps::new(), _watcher: watcher })
    }

    /// What goes as it is now.
    async fn now(&self) -> Result<Stamps, Failure> {
        let root = self.root.clone();
        let scanned = tokio::task::spawn_blocking(move || scan(&root)).await;
        Ok(scanned.map_err(|_| Error::internal("the thread that looks at a tree ended"))??.files)
    }

    /// Waits until what goes has changed and is quiet.
    async fn next(&mut self) -> Result<(), Failure> {
        loop {
            let _ = timeout(LOOK, self.told.recv()).await;
            let quiet = async { while timeout(QUIET, self.told.recv()).await.is_ok_and(|told| told.is_some()) {} };
            let _ = timeout(LONGEST, quiet).await;
            match self.now().await {
                Ok(now) if now != self.pushed => return Ok(()),
                Ok(_) => {}
                // Something may just be moved away.
                Err(_) => sleep(QUIET).await,
            }
        }
    }

    /// As [`Changes::next`], unless the user has had enough.
    async fn next_or(&mut self, signals: &mut Signals) -> Result<(), Failure> {
        tokio::select! {
            changed = self.next() => changed,
            kind = signals.next() => {
                let _: SignalKind = kind;
                Err(Failure::Said(INTERRUPTED))
            }
        }
    }

    /// Takes note of files that were just written back: they are no change of the user's.
    async fn take_back(&mut self, written: &[String]) -> Result<(), Failure> {
        if written.is_empty() {
            return Ok(());
        }
        let now = self.now().await?;
        for path in written {
            match now.get(path) {
                Some(stamp) => drop(self.pushed.insert(path.clone(), *stamp)),
                None => drop(self.pushed.remove(path)),
            }
        }
        Ok(())
    }
}
