//! Programs that serve at the bus by themselves: what they are given to do so, and how their node learns what they offer.

use std::{
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Weak},
    time::Duration,
};

use aigis_proxy::{
    Bus, Code, Error, Meta, Name, Request, SkillPath, UserName,
    client::{self, Target},
    identity::Credential,
    plugin::Description,
    serve::{Open, Passage},
    task, with_causes,
};
use tokio::time::{Instant, interval, sleep};

use super::{
    Hosting,
    plugin::{Exposed, Plugin},
    ways::Own,
};

/// How the names of their files end.
const ENDING: &str = "creds";
/// By which a program is asked what it offers.
const DESCRIBE: &str = "describe";
/// How long one answer may take: a program that has just begun may not have heard the question.
const ANSWER: Duration = Duration::from_secs(2);
/// How soon it is asked again.
const AGAIN: Duration = Duration::from_millis(50);
/// How often is looked whether the credential was renewed, which happens long before its end.
const LOOK: Duration = Duration::from_secs(10);

/// What a program is given that logs in at the bus by itself. The file of its credential goes with this.
#[derive(Debug)]
pub(crate) struct Papers {
    file: PathBuf,
    bus: String,
    ca: Option<PathBuf>,
    _keeping: task::Owned,
}

impl Papers {
    /// Writes a credential for a program, and again whenever it is renewed.
    ///
    /// # Errors
    ///
    /// It cannot be written.
    pub(super) fn make(
        folder: &Path,
        plugin: &Name,
        credential: &Arc<Credential>,
        bus: String,
        ca: Option<PathBuf>,
    ) -> Result<Self, Error> {
        let file = folder.join(format!("{plugin}.{ENDING}"));
        credential.write(&file).map_err(|error| Error::precondition(with_causes(&error)))?;
        let keeping = task::Owned::spawn("papers", keep(file.clone(), credential.clone()));
        Ok(Self { file, bus, ca, _keeping: keeping })
    }

    /// How the program finds them.
    pub(super) fn environment(&self) -> Vec<(OsString, OsString)> {
        let mut set = vec![("AIGIS_BUS".into(), (&self.bus).into()), ("AIGIS_CREDS".into(), (&self.file).into())];
        set.extend(self.ca.as_ref().map(|ca| ("AIGIS_CA".into(), ca.into())));
        set
    }
}

/// Removes what a node that was killed has left of them.
pub(super) fn sweep(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.path().extension().is_some_and(|ending| ending == ENDING) {
            // The next start of its plugin writes over it.
            let _ = fs::remove_file(entry.path());
        }
    }
}

impl Drop for Papers {
    fn drop(&mut self) {
        match fs::remove_file(&self.file) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(%error, file = %self.file.display(), "a credential is left behind");
            }
            _ => {}
        }
    }
}

async fn keep(file: PathBuf, credential: Arc<Credential>) {
    let mut written = credential.jwt();
    let mut look = interval(LOOK);
    loop {
        look.tick().await;
        let now = credential.jwt();
        if now == written {
            continue;
        }
        match credential.replace(&file) {
            Ok(()) => written = now,
            Err(error) => tracing::warn!(error = with_causes(&error), "a renewed credential is not with its program"),
        }
    }
}

/// A program that is to serve, and the connection of its user.
pub(super) struct Serving {
    pub(super) way: Arc<Own>,
    /// Held for as long as the program runs.
    pub(super) _papers: Papers,
}

impl Serving {
    /// Asks the program by that connection what it offers until it answers. Where its home is here, that is made known, and calls by hand reach it
    /// for as long as what this gives is held.
    ///
    /// # Errors
    ///
    /// `deadline_exceeded` if it does not answer within that time; what is wrong with its answer; `already_exists` for a
    /// skill that another plugin has.
    pub(super) async fn take(
        &self,
        bus: &Bus,
        home: Option<&Weak<Hosting>>,
        plugin: &Arc<Plugin>,
        within: Duration,
    ) -> Result<Option<Open>, Error> {
        let exposed = ask(bus, &plugin.name, within).await?;
        let Some(home) = home else { return Ok(None) };
        let home = home.upgrade().ok_or_else(|| Error::unavailable("the node ends").sent(false))?;
        home.offer(plugin, exposed).await?;
        let bus = self.way.connected().bus.clone();
        let passage = Passage { bus, server: UserName::parse(plugin.name.as_str())? };
        Ok(Some(home.parts.server.open_passage(passage)))
    }
}

impl Hosting {
    /// Offers what a program says that it serves, in place of what was offered before.
    ///
    /// # Errors
    ///
    /// `already_exists` for a skill that another plugin has; and what the store says.
    pub(super) async fn offer(&self, plugin: &Plugin, exposed: Exposed) -> Result<(), Error> {
        let exposed = Arc::new(exposed);
        self.claim(plugin, &exposed, false).await?;
        plugin.expose(exposed);
        self.publish(plugin).await;
        Ok(())
    }
}

/// Asks the program of a plugin what it offers, until it answers.
///
/// # Errors
///
/// As [`Serving::take`].
pub(super) async fn ask(bus: &Bus, plugin: &Name, within: Duration) -> Result<Exposed, Error> {
    let deadline = Instant::now() + within;
    let server = UserName::parse(plugin.as_str())?;
    let target = Target { server, ci: plugin.clone(), path: SkillPath::parse(DESCRIBE)?, timeout: None };
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let meta = Meta { timeout: Some(left.min(ANSWER)), ..Meta::default() };
        let request = Request { meta, ..Request::default() };
        match Box::pin(client::call(bus, &target, request)).await {
            // It has not subscribed yet, or had just begun to.
            Err(error) if matches!(error.code, Code::Unavailable | Code::DeadlineExceeded) => {
                if Instant::now() + AGAIN >= deadline {
                    let message = format!("it did not answer describe within {} s", within.as_secs_f64());
                    return Err(Error::new(Code::DeadlineExceeded, message)
                        .hint("it subscribes to what is sent to its name; a larger START_TIMEOUT gives it longer"));
                }
            }
            answered => return Ok(Exposed::of(Description::skills(answered?, plugin)?, Vec::new())),
        }
        sleep(AGAIN).await;
    }
}
