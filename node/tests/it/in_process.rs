//! A container CI of the real engine, called in this process.

use std::{sync::Arc, time::Duration};

use aigis_node::{
    container::{Bound, Container, Host},
    engine::{Engine, watch::Watch},
    usage::Sampler,
};
use aigis_proxy::{
    Error, Meta, Name, NodeName, Request, Role, SkillPath, UserName,
    skill::{self, Answer, Call, Ci},
    subject::Caller,
};
use futures::stream::BoxStream;
use serde_json::Value;
use tempfile::TempDir;
use time::OffsetDateTime;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::images::Running;

/// What a node has, without a bus.
pub(crate) struct Lab {
    pub(crate) host: Arc<Host>,
    _data: TempDir,
}

impl Lab {
    pub(crate) fn new() -> Self {
        let data = tempfile::tempdir().unwrap();
        let engine = Engine::from_env();
        let watch = Watch::spawn(engine.clone());
        let sampler = Sampler::spawn(engine.clone(), watch.observation());
        let node = NodeName::parse("alpha").unwrap();
        let host = Host::new(node, engine, watch, sampler, data.path().to_owned());
        Self { host: Arc::new(host), _data: data }
    }

    /// The CI of that container.
    pub(crate) async fn ci(&self, running: &Running) -> Arc<Container> {
        let bound = self.bound(running).await;
        Arc::new(Container::new(Arc::clone(&self.host), Name::parse("x").unwrap(), bound))
    }

    pub(crate) async fn bound(&self, running: &Running) -> Bound {
        let listing = self.host.engine.list_some(std::slice::from_ref(&running.id)).await.unwrap();
        Bound::new(Arc::clone(&listing.containers[&running.id]), OffsetDateTime::now_utc())
    }
}

async fn run(ci: &Arc<Container>, path: &str, kwargs: Value) -> Result<Answer, Error> {
    let Value::Object(kwargs) = kwargs else { panic!("arguments are an object") };
    let info = ci.skill(path).expect("the skill is there");
    let request = Request { kwargs, meta: Meta::default(), ..Request::default() };
    let call = Call {
        caller: Caller { role: Role::Admin, name: UserName::parse("tester").unwrap() },
        addressed: ci.name().clone(),
        deadline: Instant::now() + skill::budget(&info, &request.meta),
        request,
        body: bytes::Bytes::new(),
        cancelled: CancellationToken::new(),
    };
    let answer = Arc::clone(ci).run(SkillPath::parse(path).unwrap(), call);
    tokio::time::timeout(Duration::from_secs(60), answer).await.expect("it answers within a minute")
}

/// Calls a skill that answers with a value, and checks that against its schema.
pub(crate) async fn call(ci: &Arc<Container>, path: &str, kwargs: Value) -> Result<Value, Error> {
    let Answer::Value(value) = run(ci, path, kwargs).await? else { panic!("{path} answers with a stream") };
    let schema = &ci.skill(path).unwrap().output;
    if let Err(error) = jsonschema::validate(schema, &value) {
        panic!("{path}: {error}: {value}");
    }
    Ok(value)
}

/// Calls a skill that answers with a stream.
pub(crate) async fn open(
    ci: &Arc<Container>,
    path: &str,
    kwargs: Value,
) -> Result<BoxStream<'static, Result<Value, Error>>, Error> {
    let Answer::Stream(stream) = run(ci, path, kwargs).await? else { panic!("{path} answers with a value") };
    Ok(stream)
}
