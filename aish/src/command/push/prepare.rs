//! All of a push before its chain begins: looking, choosing, asking whether it would be taken, uploading.

use std::{path::Path, time::Duration};

use aigis_assistants::{folder::Folder, selection::Choice};
use aigis_proxy::{
    Code, Error,
    blob::Store,
    identity::{Mandate, Purpose},
    services::chains::{Push as Pushed, Wish},
};
use aigis_registry::{
    AppState, Asking,
    shared::{ChainRecord, Key},
};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::{
    Push,
    assistant::{self, make_known},
    choice,
    finish::Home,
    source::{Directory, Source},
};
use crate::{
    context::Context,
    coordinator::{Coordinator, is_unsent},
    exit::Failure,
    follow::teller::Teller,
    state_dir,
    upload::{self, Scan},
};

/// How long a coordinator may be away before a push fails by it.
const AWAY: Duration = Duration::from_secs(60);
/// How long is waited between two attempts.
const PAUSE: Duration = Duration::from_secs(1);

/// A push whose trees the mesh has.
pub(super) struct Prepared {
    pub(super) asking: Asking,
    pushed: Pushed,
    directory: Option<Directory>,
    state: AppState,
    /// What the directory held of what goes.
    pub(super) scan: Scan,
}

/// Prepares a push; `None` if it was only to be told what would be.
///
/// # Errors
///
/// What is wrong with the directory or the words; what others say.
pub(super) async fn prepare(
    push: &Push,
    context: &Context,
    source: &Source,
    teller: &Teller,
) -> Result<Option<Prepared>, Failure> {
    let output = &context.output;
    let folder = push.assistant.as_deref().filter(|text| assistant::is_path(text));
    let folder = folder.map(|path| Folder::read(Path::new(path))).transpose()?;
    let (state, scan) = match (&source.directory, &source.repository) {
        (Some(directory), _) => local(context, directory).await?,
        (None, repository) => {
            let mut state = AppState::default();
            if let Some(repository) = repository {
                state.set("git", repository.source.clone());
                if repository.has_password {
                    output.note(
                        "the password in the URL is kept in the app's state; better have git on the nodes know it",
                    );
                }
            }
            // What goes on once the tree is there.
            let named =
                folder.as_ref().map(|folder| format!("local:{}", folder.name)).or_else(|| push.assistant.clone());
            named.into_iter().for_each(|first| state.set("first", first));
            (state, Scan::default())
        }
    };
    if push.dry_run
        && let Some(directory) = &source.directory
    {
        upload::rehearse(&directory.root).await?;
    }
    let asking = context.session().await?;
    let on = push.places(&asking.snapshot())?;
    let choose = async |asked: Option<&str>| {
        let known = choice::known(&asking.shared()).await?;
        let paths: Vec<&String> = scan.files.keys().collect();
        choice::choose(output, asked, &state, &paths, &known, push.yes).await
    };
    let choice = match (&source.directory, &folder) {
        (None, None) if push.assistant.is_some() => {
            // It must be known now, though it runs later.
            choose(push.assistant.as_deref()).await?;
            ("builtin:git".to_owned(), "the app comes from a git repository".to_owned())
        }
        (None, _) => ("builtin:git".to_owned(), "the app comes from a git repository".to_owned()),
        (_, Some(folder)) => (format!("local:{}", folder.name), "named by --assistant".to_owned()),
        (_, None) => {
            let Choice { name, reason } = choose(push.assistant.as_deref()).await?;
            (name.to_string(), reason)
        }
    };
    if push.dry_run {
        tell_dry(source, &scan, &choice, teller).await?;
        return Ok(None);
    }
    let known_id = source.directory.as_ref().map(|directory| directory.state.id()).transpose()?.flatten();
    let repository = source.repository.as_ref().map(|repository| repository.project.clone());
    let project = known_id.or(repository).unwrap_or_else(|| uuid::Uuid::now_v7().to_string());
    let wish =
        Wish { app: source.app.clone(), project: Some(project.clone()), replace: push.replace, queue: push.queue, on };
    let coordinator = Coordinator::any(asking.bus());
    patiently(|| coordinator.announce(wish.clone())).await?;
    if let Some(folder) = folder {
        make_known(context, &asking, folder).await?;
    }
    let mut uploaded = upload::Uploaded::default();
    if let Some(directory) = &source.directory {
        directory.state.adopt(&source.app, &project)?;
        uploaded = upload::send(output, asking.bus(), &directory.root, scan.bytes).await?;
        teller.event("upload", uploaded.figures(), uploaded.text()).await?;
    }
    // The directory may just have been made.
    let state = match &source.directory {
        Some(directory) => directory.state.read()?.0,
        None => state,
    };
    let state_tree = state_dir::store(&Store::new(asking.bus()), &state).await?;
    let credential = context.credential()?;
    let mandate = Mandate::sign(&credential, Purpose::App, source.app.clone(), uploaded.tree.map(|tree| tree.digest));
    let (first, reason) = choice;
    let pushed = Pushed {
        wish,
        mandate,
        tree: uploaded.tree,
        from: source.from.clone(),
        state_tree,
        first,
        reason,
        options: push.options(),
    };
    Ok(Some(Prepared { asking, pushed, directory: source.directory.clone(), state, scan }))
}

/// What a directory holds: its state, and what goes of its files.
async fn local(context: &Context, directory: &Directory) -> Result<(AppState, Scan), Failure> {
    if directory.state.has_both {
        context.output.note(&format!("there are .aigis and .ayup; {} counts", directory.state.name()));
    }
    let (state, left_out) = directory.state.read()?;
    for line in left_out {
        context.output.note(&format!("left out: {line}"));
    }
    let scan = upload::look(&context.output, &directory.root).await?;
    Ok((state, scan))
}

/// Tells what would go, and what would begin.
async fn tell_dry(
    source: &Source,
    scan: &Scan,
    (first, reason): &(String, String),
    teller: &Teller,
) -> Result<(), Failure> {
    let output = *teller.output();
    if output.is_json() {
        let files: Vec<Value> =
            scan.files.iter().map(|(path, stamp)| json!({"path": path, "bytes": stamp.bytes})).collect();
        return output.json(&json!({
            "app": source.app, "assistant": first, "reason": reason, "files": files, "bytes": scan.bytes,
        }));
    }
    for path in scan.files.keys() {
        output.text(path)?;
    }
    teller.aside(format!("{} would begin with {first}: {reason}", source.app)).await
}

/// Asks again for a while where nobody was there to hear it.
async fn patiently<T, F: Future<Output = Result<T, Error>>>(ask: impl Fn() -> F) -> Result<T, Error> {
    let until = Instant::now() + AWAY;
    let mut unsent = 0;
    loop {
        match ask().await {
            // A bus that is back has its nodes soon; one without any has none after some seconds either.
            Err(error) if is_unsent(&error) && Instant::now() < until && unsent < 5 => unsent += 1,
            Err(error) if is_lost(&error) && Instant::now() < until => {}
            done => return done,
        }
        sleep(PAUSE).await;
    }
}

/// Whether it may only be the bus that is away.
fn is_lost(error: &Error) -> bool {
    matches!(error.code, Code::Unavailable | Code::DeadlineExceeded) && !is_unsent(error)
}

impl Prepared {
    /// Begins the chain; returns once its record stands.
    ///
    /// # Errors
    ///
    /// What the coordinator says.
    pub(super) async fn begin(&self) -> Result<ChainRecord, Failure> {
        let (coordinator, shared) = (Coordinator::any(self.asking.bus()), self.asking.shared());
        let until = Instant::now() + AWAY;
        let id = loop {
            let error = match coordinator.push(self.pushed.clone()).await {
                Ok(id) => break id,
                Err(error) => error,
            };
            if !(is_unsent(&error) || is_lost(&error)) || Instant::now() > until {
                return Err(error.into());
            }
            sleep(PAUSE).await;
            // It may have been taken, and only the answer lost: its mandate is no other's.
            let chains = shared.list::<ChainRecord>(Key::CHAINS).await.unwrap_or_default();
            let ours = chains.into_iter().find(|(_, version)| version.content.mandate == self.pushed.mandate);
            if let Some((_, version)) = ours {
                return Ok(version.content);
            }
        };
        // What was answered is durable, but the server asked now may not have heard of it yet.
        loop {
            match shared.get::<ChainRecord>(&Key::Chain(id.clone())).await {
                Ok(Some(version)) => return Ok(version.content),
                Err(error) if !is_lost(&error) && !is_unsent(&error) => return Err(error.into()),
                _ if Instant::now() > until => {
                    return Err(Error::unavailable(format!("the record of {id} cannot be read")).into());
                }
                _ => sleep(PAUSE / 5).await,
            }
        }
    }

    /// What has begun, for programs.
    pub(super) fn fields(&self, chain: &ChainRecord) -> Value {
        let Pushed { first, reason, .. } = &self.pushed;
        json!({"chain": chain.id, "app": chain.app, "assistant": first, "reason": reason})
    }

    /// The same for people.
    pub(super) fn words(&self, chain: &ChainRecord) -> String {
        format!("{} {} begins with {}: {}", chain.app, chain.id, self.pushed.first, self.pushed.reason)
    }

    /// Where what the chain makes comes back to.
    pub(super) fn home(&self, no_save: bool) -> Option<Home> {
        let Directory { root, state } = self.directory.clone()?;
        let bus = self.asking.bus().clone();
        Some(Home { bus, root, state_dir: state, state: self.state.clone(), no_save })
    }
}
