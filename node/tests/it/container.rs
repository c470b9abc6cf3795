//! Container CIs, called in process through their skills, on containers of the real engine.

mod evidence;
mod figures;
mod output;
mod words;

use std::{
    sync::{Arc, LazyLock},
    time::Duration,
};

use aigis_node::{
    container::{Bound, Container, Host},
    engine::watch::Watch,
    naming,
    usage::Sampler,
};
use aigis_proxy::{
    Error, NodeName, Request, Role, SkillPath, UserName,
    skill::{Answer, Call, Ci},
    subject::Caller,
};
use futures::{StreamExt, stream::BoxStream};
use serde_json::{Value, json};
use time::OffsetDateTime;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::{
    engine::{observed, real},
    images::{Running, docker},
};

const SOON: Duration = Duration::from_secs(60);

/// An image that has one static program, and no shell.
static SRV: LazyLock<&str> = LazyLock::new(|| made("aigis-test/srv:latest"));
/// An image that has nginx, without a health check.
static NGINX: LazyLock<&str> = LazyLock::new(|| made("aigis-test/nginx:latest"));
/// An image that has nginx, redis and gunicorn under one supervisor, bash and Python.
static STACK: LazyLock<&str> = LazyLock::new(|| made("aigis-test/stack:latest"));

/// The image, which `scripts/test` makes before the tests.
fn made(image: &'static str) -> &'static str {
    assert!(docker(&["image", "ls", "-q", image]).lines().count() == 1, "{image} is not made: run scripts/test");
    image
}

/// A container and its CI, with all that they need.
struct Rig {
    running: Running,
    ci: Arc<Container>,
    _data: tempfile::TempDir,
}

impl Rig {
    async fn new(running: Running) -> Self {
        let engine = real();
        let watch = Watch::spawn(engine.clone());
        let mut receiver = watch.observation();
        let sampler = Sampler::spawn(engine.clone(), watch.observation());
        let data = tempfile::tempdir().unwrap();
        let node = NodeName::parse("alpha").unwrap();
        let host = Host::new(node, engine, watch, sampler, data.path().to_owned());
        let id = running.id.clone();
        let seen = observed(&mut receiver, SOON, "the container", |seen| seen.containers.contains_key(&id)).await;
        let bound = Bound::new(Arc::clone(&seen.containers[&id]), OffsetDateTime::now_utc());
        let name = naming::ci_name(bound.container_name(), &bound.container.labels).name;
        Self { running, ci: Arc::new(Container::new(Arc::new(host), name, bound)), _data: data }
    }

    fn address(&self) -> String {
        self.ci.address().to_string()
    }

    async fn run(&self, path: &str, kwargs: Value) -> Result<Answer, Error> {
        self.run_as(path, kwargs, self.ci.name().as_str()).await
    }

    async fn run_as(&self, path: &str, kwargs: Value, addressed: &str) -> Result<Answer, Error> {
        self.run_by(Role::Operator, path, kwargs, addressed).await
    }

    async fn run_by(&self, role: Role, path: &str, kwargs: Value, addressed: &str) -> Result<Answer, Error> {
        let Value::Object(kwargs) = kwargs else { panic!("no arguments") };
        let call = Call {
            caller: Caller { role, name: UserName::parse("otto").unwrap() },
            addressed: addressed.parse().unwrap(),
            request: Request { kwargs, ..Request::default() },
            body: bytes::Bytes::new(),
            deadline: Instant::now() + Duration::from_secs(30),
            cancelled: CancellationToken::new(),
        };
        Arc::clone(&self.ci).run(SkillPath::parse(path).unwrap(), call).await
    }

    /// One result, which has the shape that the skill promises.
    async fn value(&self, path: &str, kwargs: Value) -> Value {
        match self.run(path, kwargs).await.unwrap() {
            Answer::Value(value) => {
                self.check(path, &value);
                let keys: Vec<&str> = value.as_object().unwrap().keys().map(String::as_str).collect();
                assert!(keys.starts_with(&["ci", "node", "container_id", "observed_at"]), "{path}: {keys:?}");
                assert!(keys.ends_with(&["replica_of", "notes"]), "{path}: {keys:?}");
                value
            }
            other => panic!("{path} answers with {other:?}"),
        }
    }

    async fn stream(&self, path: &str, kwargs: Value) -> BoxStream<'static, Result<Value, Error>> {
        match self.run(path, kwargs).await.unwrap() {
            Answer::Stream(stream) => stream,
            other => panic!("{path} answers {other:?}"),
        }
    }

    /// All frames of a stream that ends.
    async fn frames(&self, path: &str, kwargs: Value) -> Vec<Value> {
        let stream = self.stream(path, kwargs).await;
        let frames = tokio::time::timeout(SOON, stream.map(Result::unwrap).collect::<Vec<Value>>()).await.unwrap();
        frames.iter().for_each(|frame| self.check(path, frame));
        frames
    }

    /// Checks a result against the schema of the skill.
    fn check(&self, path: &str, value: &Value) {
        let schema = self.ci.skill(path).unwrap().output.clone();
        let validator = jsonschema::validator_for(&schema).unwrap();
        let errors: Vec<String> = validator.iter_errors(value).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{path}: {errors:?}");
    }

    fn text(&self, path: &str, value: &Value) -> String {
        aigis_node::text::render(path, value, &self.address()).unwrap()
    }

    /// Asks again until the result is as wanted.
    async fn until(&self, path: &str, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let end = Instant::now() + Duration::from_secs(60);
        loop {
            let value = self.value(path, json!({})).await;
            if wanted(&value) {
                return value;
            }
            assert!(Instant::now() < end, "{what} never came: {value}");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// What the engine's own event stream has of the container since that instant, without `top`.
    fn events_since(&self, since: OffsetDateTime) -> Vec<String> {
        let since = format!("{}.{:09}", since.unix_timestamp(), since.nanosecond());
        let until = OffsetDateTime::now_utc().unix_timestamp() + 1;
        let filter = format!("container={}", self.running.id);
        let args = [
            "events",
            "--since",
            &since,
            "--until",
            &until.to_string(),
            "--filter",
            &filter,
            "--format",
            "{{.Action}}",
        ];
        docker(&args).lines().filter(|line| !line.is_empty() && *line != "top").map(str::to_owned).collect()
    }
}
