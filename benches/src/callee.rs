//! The processes that answer: a plain client that sends each body back, and a node's server with skills.

use std::{
    io::{Read, Write},
    path::Path,
    sync::{Arc, LazyLock},
};

use aigis_proxy::{
    Bus, Effect, Error as CallError, Name, NodeName, SkillPath,
    dispatch::{Directory, Dispatcher, NoJournal},
    identity::Credential,
    serve::Server,
    skill::{Answer, Call, Ci, Input, SkillInfo, Table},
    subject::HandTarget,
};
use futures::{StreamExt, future::BoxFuture};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::{
    bus::{connect, connect_raw},
    error::{Error, part, system},
};

/// The user of the plain callee.
pub(crate) const RAW: &str = "beta";
/// The user of the callee with skills.
pub(crate) const SKILL: &str = "alpha";
/// The CI that answers.
pub(crate) const CI: &str = "echo";
/// How many frames a stream of the bench has.
pub(crate) const FRAMES: usize = 20_000;
/// The frames that a plain publisher sends between two signs of its reader.
pub(crate) const WINDOW: usize = 2_000;

/// Answers until its standard input ends. A node's runtime, for both.
pub(crate) fn run(kind: &str, url: &str, credential: &Path) -> Result<(), Error> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(system("make a runtime"))?;
    let credential = Credential::read(credential, None).map_err(part("read the credential"))?;
    runtime.block_on(async {
        match kind {
            "raw" => plain(url, credential).await,
            "skill" => skills(url, credential).await,
            _ => Err(Error::Usage),
        }
    })
}

async fn until_told() -> Result<(), Error> {
    let mut stdout = std::io::stdout();
    stdout.write_all(b"ready\n").and_then(|()| stdout.flush()).map_err(system("say that it is ready"))?;
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
            } else {
                client.publish(reply, message.payload).await.map_err(part("reply"))?;
            }
        }
        Ok(())
    };
    tokio::select! {
        result = answering => result,
        result = until_told() => result,
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

struct One(Arc<Echo>);

impl Directory for One {
    fn find(&self, target: &HandTarget, _: bool) -> Result<Arc<dyn Ci>, CallError> {
        if target.name == self.0.name { Ok(self.0.clone()) } else { Err(CallError::unavailable("not here")) }
    }
}

async fn skills(url: &str, credential: Credential) -> Result<(), Error> {
    let bus: Bus = connect(url, credential).await?;
    let name = Name::parse(CI).map_err(part("name the CI"))?;
    let node = NodeName::parse(SKILL).map_err(part("name the node"))?;
    let directory = Arc::new(One(Arc::new(Echo { name, node })));
    let server = Server::new(bus.clone(), Dispatcher::new(directory, Arc::new(NoJournal)));
    let served = bus.subjects().served_by(bus.user());
    let _listening = server.listen(&served).await.map_err(part("listen"))?;
    until_told().await
}
