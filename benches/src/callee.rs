//! The processes that answer: a plain client that sends each body back, and a node's server with skills.

use std::{
    collections::HashMap,
    io::{Read, Write},
    path::Path,
    sync::{Arc, LazyLock},
};

use aigis_proxy::{
    Bus, Effect, Error as CallError, Name, NodeName, SkillPath, blob,
    dispatch::{Directory, Dispatcher, NoJournal},
    identity::{Credential, Revocations},
    serve::Server,
    skill::{Answer, Call, Ci, Input, Nothing, SkillInfo, Table},
    socket::{self, Gate, Limits},
    subject::HandTarget,
};
use futures::{StreamExt, future::BoxFuture};
use schemars::JsonSchema;
use serde::Deserialize;
use tokio::sync::watch;

use crate::{
    bus::{BusServer, connect, connect_raw},
    error::{Error, part, system},
    runtimes::shared,
};

/// The user of the plain callee.
pub(crate) const RAW: &str = "beta";
/// The user of the callee with skills.
pub(crate) const SKILL: &str = "alpha";
/// The CI that answers.
pub(crate) const CI: &str = "echo";
/// How many more of them there are, for those who ask many.
pub(crate) const CIS: usize = 500;
/// How many frames a stream of the bench has.
pub(crate) const FRAMES: usize = 20_000;
/// The frames that a plain publisher sends between two signs of its reader.
pub(crate) const WINDOW: usize = 2_000;

/// Answers until its standard input ends. A node's runtime, for all.
pub(crate) fn run(kind: &str, url: &str, credential: &Path, directory: &Path) -> Result<(), Error> {
    let credential = Credential::read(credential, None).map_err(part("read the credential"))?;
    shared()?.block_on(async {
        match kind {
            "raw" => plain(url, credential).await,
            "skill" => skills(url, credential, directory).await,
            "tarpc" => crate::local::answer().await,
            "timeouts" => crate::timeouts::call(url, credential).await,
            "plain-timeouts" => crate::timeouts::request(url, credential).await,
            _ => Err(Error::Usage),
        }
    })
}

/// Says that it is ready, and that, and waits until it is told to end.
pub(crate) async fn until_told(said: &str) -> Result<(), Error> {
    let (mut stdout, line) = (std::io::stdout(), format!("ready {said}\n"));
    stdout.write_all(line.as_bytes()).and_then(|()| stdout.flush()).map_err(system("say that it is ready"))?;
    let end = tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new())).await;
    end.map_err(part("wait for the end"))?.map_err(system("wait for the end")).map(|_| ())
}

async fn plain(url: &str, credential: Credential) -> Result<(), Error> {
    let client = connect_raw(url, credential).await?;
    let mut calls = client.subscribe(format!("aigis.v1.main.to.{RAW}.>")).await.map_err(part("subscribe"))?;
    client.flush().await.map_err(part("flush"))?;
    let answering = async {
        while let Some(message) = calls.next().await {
            let Some(reply) = message.reply else { continue };
            if message.subject.ends_with(".frames") {
                send_frames(&client, &reply, &message.payload).await?;
            } else if !message.subject.ends_with(".never") {
                client.publish(reply, message.payload).await.map_err(part("reply"))?;
            }
        }
        Ok(())
    };
    tokio::select! {
        result = answering => result,
        result = until_told("") => result,
    }
}

/// Sends one window of frames; the reader asks for the next.
async fn send_frames(
    client: &async_nats::Client,
    reply: &async_nats::Subject,
    body: &bytes::Bytes,
) -> Result<(), Error> {
    for _ in 0..WINDOW {
        client.publish(reply.clone(), body.clone()).await.map_err(part("publish a frame"))?;
    }
    Ok(())
}

/// A CI that says again what it hears.
struct Echo {
    name: Name,
    node: NodeName,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Text {
    text: String,
}

impl Input for Text {
    const POSITIONAL: &'static [&'static str] = &["text"];
}

static TABLE: LazyLock<Table<Echo>> = LazyLock::new(|| {
    let mut table = Table::new();
    table.value("echo", Effect::Read, "Says it again.", async |_: Arc<Echo>, _, input: Text| Ok(input.text));
    table.stream("frames", Effect::Read, "Says it many times.", async |_: Arc<Echo>, _, input: Text| {
        Ok(futures::stream::iter((0..FRAMES).map(move |_| Ok(input.text.clone()))))
    });
    table.value("never", Effect::Read, "Does not answer.", async |_: Arc<Echo>, _, _: Nothing| {
        std::future::pending::<Result<(), CallError>>().await
    });
    table
});

impl Ci for Echo {
    fn name(&self) -> &Name {
        &self.name
    }
    fn node(&self) -> &NodeName {
        &self.node
    }
    fn skills(&self) -> Vec<Arc<SkillInfo>> {
        TABLE.skills()
    }
    fn skill(&self, path: &str) -> Option<Arc<SkillInfo>> {
        TABLE.skill(path)
    }
    fn run(self: Arc<Self>, path: SkillPath, call: Call) -> BoxFuture<'static, Result<Answer, CallError>> {
        TABLE.run(self, &path, call)
    }
}

/// The CIs of one process.
struct All(HashMap<Name, Arc<Echo>>);

impl Directory for All {
    fn find(&self, target: &HandTarget) -> Result<Arc<dyn Ci>, CallError> {
        match self.0.get(&target.name) {
            Some(echo) => Ok(echo.clone()),
            None => Err(CallError::unavailable("not here")),
        }
    }
}

/// The name of one of [`CIS`].
pub(crate) fn name(number: usize) -> Result<Name, Error> {
    Name::parse(&format!("{CI}{number}")).map_err(part("name a CI"))
}

async fn skills(url: &str, credential: Credential, directory: &Path) -> Result<(), Error> {
    let bus: Bus = connect(url, Arc::new(credential)).await?;
    let node = NodeName::parse(SKILL).map_err(part("name the node"))?;
    let first = Name::parse(CI).map_err(part("name the CI"));
    let names = std::iter::once(first).chain((0..CIS).map(name)).collect::<Result<Vec<_>, _>>()?;
    let cis = names.into_iter().map(|name| (name.clone(), Arc::new(Echo { name, node: node.clone() }))).collect();
    let server = Server::new(bus.clone(), Dispatcher::new(Arc::new(All(cis)), Arc::new(NoJournal)));
    let served = bus.subjects().served_by(bus.user());
    let _listening = server.listen(&served).await.map_err(part("listen"))?;
    let (keys, (_revoke, revoked)) = (BusServer::keys(directory)?, watch::channel(Revocations::default()));
    let gate = Gate { issuer: watch::channel(keys.issuer()).1, revoked, offers: None };
    let socket = socket::listen(&BusServer::socket(directory), server, gate, Limits::default());
    let _socket = socket.map_err(part("listen on the socket"))?;
    let _keeping = blob::serve(&bus, Arc::new(NoJournal)).await.map_err(part("keep blobs"))?;
    until_told("").await
}
