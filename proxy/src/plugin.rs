//! Plugins in Rust: a program of its own that its node starts, and that serves its skills at the bus by itself.
//!
//! ```no_run
//! use aigis_proxy::{Effect, Error, plugin::{Context, Plugin}};
//! use futures::{Stream, stream};
//!
//! #[derive(serde::Deserialize, schemars::JsonSchema)]
//! struct Roll { sides: u32, count: usize }
//!
//! async fn roll(Roll { sides, count }: Roll) -> Result<Vec<u32>, Error> {
//!     if sides == 0 { return Err(Error::invalid("a die has sides")) }
//!     Ok(vec![sides; count]) // a lucky one
//! }
//!
//! fn ticks(cx: Context, (count,): (u64,)) -> impl Stream<Item = Result<u64, Error>> {
//!     stream::iter((0..count).take_while(move |_| !cx.remaining().is_zero()).map(Ok))
//! }
//!
//! #[tokio::main]
//! async fn main() -> Result<(), Error> {
//!     Plugin::from_env()?
//!         .skill("roll", Effect::Read, |_: Context, wanted: Roll| roll(wanted)).doc("Rolls dice.")
//!         .stream("ticks", Effect::Read, ticks).doc("Counts.")
//!         .serve().await
//! }
//! ```
//!
//! # What a node does for it
//!
//! A plugin whose `AIGIS.config` says `PLUGIN_TYPE = "external"`, `SERVES = True` and `LAUNCH = ["{root}/PROGRAM"]` is started by
//! its node with a credential, asked for its skills ([`Description`]), and is called by them: `aish call dice.roll 6 3`.
//!
//! # What holds for every skill
//!
//! The effect is checked against the caller's role before the skill runs; the deadline, the caller's cancel and the credit of a
//! stream's reader are kept by what serves. What its grants permit a calling plugin is not known here: it counts as an
//! operator. Nothing is kept for the audit but what the skill itself writes to its log, the standard error.

use std::{env, fmt, future::Future, path::PathBuf, sync::Arc, time::Duration};

use futures::{FutureExt, Stream};
use schemars::JsonSchema;
use serde::{Serialize, de::DeserializeOwned};
use tokio::{
    signal::unix::{SignalKind, signal},
    time::interval,
};

pub use self::description::{Description, Skill};
pub use crate::skill::Call as Context;
use crate::{
    Bus, Code, Effect, Error, Name, NodeName, SkillPath, UserName,
    bus::Options,
    dispatch::Dispatcher,
    identity::{CaCertificate, Credential},
    serve::Server,
    skill::{Answer, SkillInfo, Table, frames, schema},
    task, with_causes,
};
use served::{One, Served, Unkept};

mod arguments;
mod description;
mod served;
#[cfg(test)]
mod tests;

/// How long calls in flight have when the plugin is told to end: its node waits a little longer.
const GRACE: Duration = Duration::from_secs(4);
/// How often is looked whether the credential was renewed, which happens days before its end.
const LOOK: Duration = Duration::from_secs(30);

/// A plugin that is being put together.
pub struct Plugin {
    name: Name,
    node: NodeName,
    credential: PathBuf,
    options: Options,
    table: Table<Served>,
    /// The skill that was added last.
    last: String,
}

impl fmt::Debug for Plugin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Plugin").field("name", &self.name).field("table", &self.table).finish_non_exhaustive()
    }
}

impl Plugin {
    /// The plugin as which its node started this program: name, bus and credential come from `AIGIS_PLUGIN`, `AIGIS_NODE`,
    /// `AIGIS_BUS`, `AIGIS_CA` and `AIGIS_CREDS`.
    ///
    /// # Errors
    ///
    /// `failed_precondition` for a program that no node started, or whose credential cannot be used.
    pub fn from_env() -> Result<Self, Error> {
        let unusable = |error: &dyn std::error::Error| Error::precondition(with_causes(error));
        let credential = PathBuf::from(variable("AIGIS_CREDS")?);
        let ca = env::var_os("AIGIS_CA").map(|file| CaCertificate::read(file.as_ref())).transpose();
        let name = Name::parse(&variable("AIGIS_PLUGIN")?)?;
        let options = Options {
            url: variable("AIGIS_BUS")?,
            ca: ca.map_err(|error| unusable(&error))?,
            credential: Arc::new(Credential::read(&credential, None).map_err(|error| unusable(&error))?),
            label: format!("aigis plugin {name}"),
        };
        let node = NodeName::parse(&variable("AIGIS_NODE")?)?;
        Ok(Self { name, node, credential, options, table: Served::table(), last: String::new() })
    }

    /// Adds a skill that answers with one value.
    ///
    /// Its arguments are a struct, by name or in the order of its fields; a tuple, by place; a `Vec`, as many as come; or
    /// `()`, none.
    ///
    /// # Panics
    ///
    /// Panics if `path` is no skill path: paths are constants of the program.
    #[must_use]
    pub fn skill<I, O, F, Fut>(mut self, path: &str, effect: Effect, run: F) -> Self
    where
        I: DeserializeOwned + JsonSchema + Send + 'static,
        O: Serialize + JsonSchema + Send + 'static,
        F: Fn(Context, I) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<O, Error>> + Send + 'static,
    {
        self.table.insert(info::<I, O>(path, effect, false), move |_, call| {
            match arguments::read::<I>(&call.request) {
                Ok(input) => run(call, input).map(|result| result.and_then(|output| Answer::of(&output))).boxed(),
                Err(error) => std::future::ready(Err(error)).boxed(),
            }
        });
        path.clone_into(&mut self.last);
        self
    }

    /// Adds a skill that answers with a stream, which is read as fast as its reader is. Its arguments are as of
    /// [`Plugin::skill`].
    ///
    /// # Panics
    ///
    /// As [`Plugin::skill`].
    #[must_use]
    pub fn stream<I, O, F, St>(mut self, path: &str, effect: Effect, run: F) -> Self
    where
        I: DeserializeOwned + JsonSchema + Send + 'static,
        O: Serialize + JsonSchema + Send + 'static,
        F: Fn(Context, I) -> St + Send + Sync + 'static,
        St: Stream<Item = Result<O, Error>> + Send + 'static,
    {
        self.table.insert(info::<I, O>(path, effect, true), move |_, call| {
            let items = arguments::read::<I>(&call.request).map(|input| Answer::Stream(frames(run(call, input))));
            std::future::ready(items).boxed()
        });
        path.clone_into(&mut self.last);
        self
    }

    /// Says what the skill does that was added last, in a sentence.
    #[must_use]
    pub fn doc(mut self, doc: &str) -> Self {
        self.table.doc(&self.last, doc);
        self
    }

    /// Sets how long calls of the skill may take that was added last, where they name no time; else they have 30 s.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.table.timeout(&self.last, timeout);
        self
    }

    /// Serves until the program is told to end (SIGTERM, or Ctrl-C): then no more calls are taken, and those in flight have 4 s.
    ///
    /// # Errors
    ///
    /// What keeps from the bus, now or for good: the user was revoked.
    pub async fn serve(self) -> Result<(), Error> {
        let Self { name, node, credential: file, options, table, .. } = self;
        let failed = |error: std::io::Error| Error::internal(format!("signals cannot be heard: {error}"));
        let mut term = signal(SignalKind::terminate()).map_err(failed)?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
        let credential = options.credential.clone();
        let bus = Bus::connect(options).await?;
        let heard_as = bus.subjects().served_by(&UserName::parse(name.as_str())?);
        let own = One(Arc::new(Served { name, node, table }));
        let server = Server::new(bus.clone(), Dispatcher::new(Arc::new(own), Arc::new(Unkept)));
        let _hearing = server.listen(&heard_as).await?;
        let _renewing = task::Owned::spawn("credential", follow(credential, file));
        tokio::select! {
            _ = term.recv() => {}
            _ = interrupt.recv() => {}
            error = bus.over() => return Err(error),
        }
        server.stop(GRACE).await;
        bus.close(GRACE).await;
        Ok(())
    }
}

fn info<I: JsonSchema, O: JsonSchema>(path: &str, effect: Effect, stream: bool) -> SkillInfo {
    SkillInfo {
        path: SkillPath::parse(path).expect("the path of a skill is a constant"),
        effect,
        stream,
        doc: String::new(),
        input: schema::<I>(),
        output: schema::<O>(),
        timeout: None,
    }
}

fn variable(name: &str) -> Result<String, Error> {
    env::var(name).map_err(|_| {
        let message =
            format!("{name} is not set: a plugin is started by its node, which says where and as whom it serves");
        Error::new(Code::FailedPrecondition, message).hint("add it to a node: aish plugins add NAME SOURCE")
    })
}

/// Takes what the node renews, before the bus ends the connection of what was there before.
async fn follow(credential: Arc<Credential>, file: PathBuf) {
    let mut look = interval(LOOK);
    loop {
        look.tick().await;
        match Credential::read_ended(&file, None) {
            Ok(found) if found.jwt() != credential.jwt() => {
                if let Err(error) = credential.renew(&found.jwt(), None) {
                    tracing::warn!(%error, "the renewed credential cannot be used");
                }
            }
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, "whether the credential was renewed is not known"),
        }
    }
}
