//! The way to the ports of apps, wherever these run: their records are followed, and the places in them asked.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use aigis_proxy::{
    Code, Error, Name,
    services::chains::InstanceId,
    task,
    tunnel::{self, Connection, Hub},
};
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout},
};

use crate::shared::{AppRecord, Instance, Key, Seen, Shared};

/// How soon a port that does not listen is tried again.
const AGAIN: Duration = Duration::from_millis(200);
/// How soon the records are watched again after that failed.
const RETRY: Duration = Duration::from_secs(1);

/// The records of apps, as they were read last; `None` until all were read once.
type Known = Option<BTreeMap<Name, Arc<AppRecord>>>;

/// The way to apps. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Reach {
    hub: Hub,
    known: watch::Receiver<Known>,
    _task: Arc<task::Owned>,
}

impl Reach {
    /// Follows the records of that app, or of all.
    #[must_use]
    pub fn new(hub: &Hub, shared: &Shared, app: Option<&Name>) -> Self {
        let filter = app.map_or_else(|| Key::APPS.to_owned(), |app| Key::App(app.clone()).to_string());
        let (publish, known) = watch::channel(None);
        let watching = follow(shared.clone(), filter, publish);
        Self { hub: hub.clone(), known, _task: Arc::new(task::Owned::spawn("way to apps", watching)) }
    }

    /// The record of an app as it is known now; waits until all were read once, at most for that time.
    ///
    /// # Errors
    ///
    /// `unavailable` if they cannot be read in time.
    pub async fn app(&self, app: &Name, within: Duration) -> Result<Option<Arc<AppRecord>>, Error> {
        let mut known = self.known.clone();
        let read = timeout(within, known.wait_for(Option::is_some)).await;
        match read {
            Ok(Ok(known)) => Ok(known.as_ref().and_then(|known| known.get(app).cloned())),
            _ => Err(Error::unavailable("the records of apps cannot be read").hint("see: aish doctor").sent(false)),
        }
    }

    /// Connects to a port of an app, where it runs now, and says to which of its instances. While it does not run or listen, or is on its way to another
    /// place, that is tried again for so long.
    ///
    /// # Errors
    ///
    /// `not_found` if there is no such app, `unavailable` if it does not take the connection in time.
    ///
    /// # Cancel safety
    ///
    /// Nothing is left behind when the future is dropped.
    pub async fn dial(&self, app: &Name, port: u16, patience: Duration) -> Result<(Connection, InstanceId), Error> {
        let until = Instant::now() + patience;
        let mut known = self.known.clone();
        loop {
            drop(known.borrow_and_update());
            let record = self.app(app, until.saturating_duration_since(Instant::now()).max(AGAIN)).await?;
            let record = record.ok_or_else(|| unknown(app))?;
            let error = match serving(&record) {
                Ok(instance) => match tunnel::connect(&self.hub, &instance.node, app, port).await {
                    Ok(dialled) => return Ok(dialled),
                    Err(error) => error,
                },
                Err(error) => error,
            };
            if Instant::now() >= until || !matches!(error.code, Code::Unavailable | Code::NotFound) {
                return Err(error);
            }
            // What changes in its record may be just what was missing.
            let _ = tokio::select! {
                changed = known.changed() => changed.is_ok(),
                () = sleep(AGAIN) => true,
            };
        }
    }
}

/// The instance of an app that takes connections.
///
/// # Errors
///
/// `unavailable` that says why none does.
pub fn serving(record: &AppRecord) -> Result<&Instance, Error> {
    let away = |why: &str| {
        let (message, hint) =
            (format!("the app {} {why}", record.name), format!("see: aish apps show {}", record.name));
        Err(Error::unavailable(message).hint(hint).sent(false))
    };
    match &record.instance {
        _ if record.stopped => away("is stopped"),
        None => away("does not run yet"),
        Some(instance) if instance.exit_code.is_some() || instance.end.is_some() => away("has ended"),
        Some(instance) => Ok(instance),
    }
}

fn unknown(app: &Name) -> Error {
    Error::new(Code::NotFound, format!("there is no app {app}")).hint("see: aish apps list").sent(false)
}

async fn follow(shared: Shared, filter: String, publish: watch::Sender<Known>) {
    let mut watch = shared.watch(&[&filter]);
    let mut fresh = Some(BTreeMap::new());
    while !publish.is_closed() {
        match watch.next().await {
            Ok(Seen::Anew) => fresh = Some(BTreeMap::new()),
            Ok(Seen::Record(Key::App(name), raw)) => {
                let record = match raw.map(|raw| raw.read::<AppRecord>()).transpose() {
                    Ok(record) => record.map(|version| Arc::new(version.content)),
                    Err(error) => {
                        tracing::warn!(app = %name, %error, "the record of an app is left out");
                        continue;
                    }
                };
                let change = |known: &mut BTreeMap<Name, Arc<AppRecord>>| match record {
                    Some(record) => drop(known.insert(name, record)),
                    None => drop(known.remove(&name)),
                };
                match &mut fresh {
                    Some(fresh) => change(fresh),
                    None => publish.send_modify(|known| change(known.get_or_insert_default())),
                }
            }
            Ok(Seen::All) => {
                if let Some(fresh) = fresh.take() {
                    publish.send_replace(Some(fresh));
                }
            }
            Ok(Seen::Record(..)) => {}
            Ok(Seen::Damaged(key, error)) => tracing::warn!(%key, %error, "the record of an app is left out"),
            Err(error) => {
                tracing::debug!(%error, "the records of apps cannot be read now");
                sleep(RETRY).await;
            }
        }
    }
}
