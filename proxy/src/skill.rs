//! Skills: typed functions of a CI, with their schema, effect and words, run by one piece of code wherever the call
//! comes from.

use std::{collections::BTreeMap, fmt, future::Future, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::{FutureExt, Stream, StreamExt, future::BoxFuture, stream::BoxStream};
use schemars::{JsonSchema, generate::SchemaSettings};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::{
    envelope::{DEFAULT_TIMEOUT, Meta, Request},
    error::{Code, Error},
    json,
    name::{Name, NodeName, SkillPath, quoted, quoted_within},
    role::Effect,
    subject::Caller,
};

/// What is known of a skill without running it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SkillInfo {
    /// Its path within the CI.
    pub path: SkillPath,
    /// What it does to the world.
    pub effect: Effect,
    /// Whether it answers with a stream of frames.
    pub stream: bool,
    /// What it does, in a sentence.
    pub doc: String,
    /// JSON Schema of the arguments, as an object by name.
    pub input: Value,
    /// JSON Schema of the result, or of each frame.
    pub output: Value,
    /// The deadline of a call that names none.
    #[serde(skip)]
    pub timeout: Option<Duration>,
}

impl SkillInfo {
    /// Whether a call needs at least one argument.
    #[must_use]
    pub fn requires_input(&self) -> bool {
        self.input.get("required").and_then(Value::as_array).is_some_and(|required| !required.is_empty())
    }
}

/// A call as its callee sees it.
#[derive(Debug, Clone)]
pub struct Call {
    /// Who calls, as the bus vouches for it.
    pub caller: Caller,
    /// The CI's name as the caller said it: the name itself, an alias, or a service.
    pub addressed: Name,
    /// The arguments; for a skill that [takes bodies](Ci::takes_bodies) only what stands around them.
    pub request: Request,
    /// The whole envelope as it came, for a skill that [takes bodies](Ci::takes_bodies); else nothing.
    pub body: Bytes,
    /// When the answer is no longer awaited.
    pub deadline: Instant,
    /// Set when the caller gives up.
    pub cancelled: CancellationToken,
}

impl Call {
    /// What is left until the deadline.
    #[must_use]
    pub fn remaining(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    /// The metadata.
    #[must_use]
    pub fn meta(&self) -> &Meta {
        &self.request.meta
    }

    /// The call of another skill within this one: by the same caller, with its time and its cancel.
    #[must_use]
    pub fn within(&self, ci: &dyn Ci, path: &str, request: Request) -> Self {
        let (request, body) = if ci.takes_bodies(path) {
            (Request { meta: request.meta.clone(), ..Request::default() }, request.to_bytes())
        } else {
            (request, Bytes::new())
        };
        Self { request, body, ..self.clone() }
    }
}

/// What a skill answers.
pub enum Answer {
    /// One result.
    Value(Value),
    /// Frames, ended by the first error.
    Stream(BoxStream<'static, Result<Value, Error>>),
    /// One result as JSON, which goes out as it is: whoever made it answers for its form.
    Body(Bytes),
    /// Frames as JSON, which go out as they are, ended by the first error.
    Bodies(Bodies),
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Value(value) => f.debug_tuple("Value").field(value).finish(),
            Self::Stream(_) => f.write_str("Stream"),
            Self::Body(body) => f.debug_tuple("Body").field(&body.len()).finish(),
            Self::Bodies(_) => f.write_str("Bodies"),
        }
    }
}

impl Answer {
    /// Makes an answer of anything that serializes.
    ///
    /// # Errors
    ///
    /// `internal`, if the value has no JSON form.
    pub fn of(value: &impl Serialize) -> Result<Self, Error> {
        serde_json::to_value(value)
            .map(Self::Value)
            .map_err(|error| Error::internal(format!("the result has no JSON form: {error}")))
    }
}

/// Frames as JSON, and whoever is told how far their reader lets them go.
pub struct Bodies {
    frames: BoxStream<'static, Result<Bytes, Error>>,
    granting: Option<Granting>,
}

impl fmt::Debug for Bodies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bodies").field("is_paced", &self.granting.is_some()).finish_non_exhaustive()
    }
}

impl Bodies {
    /// Frames that are made as they are read: the credit of their reader is for those that are sent.
    #[must_use]
    pub fn new(frames: BoxStream<'static, Result<Bytes, Error>>) -> Self {
        Self { frames, granting: None }
    }

    /// Frames that somebody makes elsewhere, who may be 32 ahead of their reader and is told by `grant` of each credit that
    /// he gives beyond.
    #[must_use]
    pub fn paced(
        frames: BoxStream<'static, Result<Bytes, Error>>,
        grant: impl Fn(u32) + Send + Sync + 'static,
    ) -> Self {
        Self { frames, granting: Some(Granting(Box::new(grant))) }
    }

    /// The frames for a reader who gives no credit: each that he reads lets one more be made.
    #[must_use]
    pub fn unpaced(self) -> BoxStream<'static, Result<Bytes, Error>> {
        match self.granting {
            None => self.frames,
            Some(granting) => self.frames.inspect(move |_| granting.grant(1)).boxed(),
        }
    }

    pub(crate) fn into_parts(self) -> (BoxStream<'static, Result<Bytes, Error>>, Option<Granting>) {
        (self.frames, self.granting)
    }
}

/// Who is told of a reader's credit.
pub(crate) struct Granting(Box<dyn Fn(u32) + Send + Sync>);

impl Granting {
    pub(crate) fn grant(&self, frames: u32) {
        (self.0)(frames);
    }
}

impl fmt::Debug for Granting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Granting")
    }
}

/// What a result or a frame of [`Answer::Body`] and [`Answer::Bodies`] says, for who looks at it.
///
/// # Errors
///
/// `internal` for one that is no usable JSON.
pub fn value_of(body: &[u8]) -> Result<Value, Error> {
    json::read(body).map_err(|error| Error::internal(format!("the result is unusable: {}", error.message)))
}

/// Something with a name that answers.
pub trait Ci: Send + Sync + 'static {
    /// Its name.
    fn name(&self) -> &Name;
    /// The node it is served on.
    fn node(&self) -> &NodeName;
    /// What can be called.
    fn skills(&self) -> Vec<Arc<SkillInfo>>;
    /// The skill of that path.
    fn skill(&self, path: &str) -> Option<Arc<SkillInfo>>;
    /// Whether calls of that skill come with their envelope as it was sent, checked as JSON and not decoded: the order of
    /// its keys, the text of its numbers and its tagged values are the skill's own to read.
    fn takes_bodies(&self, path: &str) -> bool {
        let _ = path;
        false
    }
    /// The path of a skill at the user of the CI's own that serves it at the bus: calls by hand are handed on there, for as
    /// long as there is a [passage](crate::serve::Passage).
    fn handed_on(&self, path: &str) -> Option<SkillPath> {
        let _ = path;
        None
    }
    /// Runs a skill that [`Ci::skill`] has found. Dropping the future abandons the call.
    fn run(self: Arc<Self>, path: SkillPath, call: Call) -> BoxFuture<'static, Result<Answer, Error>>;
}

/// The arguments of a skill as a type.
pub trait Input: DeserializeOwned + JsonSchema + Send + 'static {
    /// The names that positional arguments stand for, in order.
    const POSITIONAL: &'static [&'static str] = &[];
}

/// No arguments.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Nothing {}

impl Input for Nothing {}

type Run<S> = Box<dyn Fn(Arc<S>, Call) -> BoxFuture<'static, Result<Answer, Error>> + Send + Sync>;

struct Entry<S> {
    info: Arc<SkillInfo>,
    run: Run<S>,
}

/// The skills of one kind of CI, over its state `S`.
///
/// ```
/// use std::sync::Arc;
/// use aigis_proxy::{Effect, skill::{Nothing, Table}};
///
/// struct Counter;
/// let mut table = Table::<Counter>::new();
/// table.value("count", Effect::Read, "Counts.", async |_: Arc<Counter>, _call, _: Nothing| Ok(1_u64));
/// assert!(table.skill("count").is_some());
/// ```
pub struct Table<S> {
    entries: BTreeMap<SkillPath, Entry<S>>,
}

impl<S> fmt::Debug for Table<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.entries.keys()).finish()
    }
}

impl<S> Default for Table<S> {
    fn default() -> Self {
        Self { entries: BTreeMap::new() }
    }
}

impl<S: Send + Sync + 'static> Table<S> {
    /// An empty table.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a skill that answers with one value.
    ///
    /// # Panics
    ///
    /// Panics if `path` is no skill path: paths are constants of the program.
    pub fn value<I, O, F, Fut>(&mut self, path: &str, effect: Effect, doc: &str, run: F) -> &mut Self
    where
        I: Input,
        O: Serialize + JsonSchema + Send + 'static,
        F: Fn(Arc<S>, Call, I) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<O, Error>> + Send + 'static,
    {
        let info = info::<I, O>(path, effect, false, doc);
        self.insert(info, move |state, call| match arguments::<I>(&call.request) {
            Ok(input) => run(state, call, input).map(|result| result.and_then(|output| Answer::of(&output))).boxed(),
            Err(error) => std::future::ready(Err(error)).boxed(),
        })
    }

    /// Adds a skill that answers with a stream of frames.
    ///
    /// # Panics
    ///
    /// As [`Table::value`].
    pub fn stream<I, O, F, Fut, St>(&mut self, path: &str, effect: Effect, doc: &str, run: F) -> &mut Self
    where
        I: Input,
        O: Serialize + JsonSchema + Send + 'static,
        F: Fn(Arc<S>, Call, I) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<St, Error>> + Send + 'static,
        St: Stream<Item = Result<O, Error>> + Send + 'static,
    {
        let info = info::<I, O>(path, effect, true, doc);
        self.insert(info, move |state, call| match arguments::<I>(&call.request) {
            Ok(input) => {
                run(state, call, input).map(|result| result.map(|stream| Answer::Stream(frames(stream)))).boxed()
            }
            Err(error) => std::future::ready(Err(error)).boxed(),
        })
    }

    /// Sets the deadline of calls of `path` that name none.
    pub fn timeout(&mut self, path: &str, timeout: Duration) -> &mut Self {
        if let Some(entry) = self.entries.get_mut(path) {
            Arc::make_mut(&mut entry.info).timeout = Some(timeout);
        }
        self
    }

    /// Says what the skill `path` does.
    pub fn doc(&mut self, path: &str, doc: &str) -> &mut Self {
        if let Some(entry) = self.entries.get_mut(path) {
            doc.clone_into(&mut Arc::make_mut(&mut entry.info).doc);
        }
        self
    }

    pub(crate) fn insert<F>(&mut self, info: SkillInfo, run: F) -> &mut Self
    where
        F: Fn(Arc<S>, Call) -> BoxFuture<'static, Result<Answer, Error>> + Send + Sync + 'static,
    {
        self.entries.insert(info.path.clone(), Entry { info: Arc::new(info), run: Box::new(run) });
        self
    }

    /// Every skill, sorted by path.
    #[must_use]
    pub fn skills(&self) -> Vec<Arc<SkillInfo>> {
        self.entries.values().map(|entry| entry.info.clone()).collect()
    }

    /// The skill of that path.
    #[must_use]
    pub fn skill(&self, path: &str) -> Option<Arc<SkillInfo>> {
        self.entries.get(path).map(|entry| entry.info.clone())
    }

    /// Runs a skill over `state`; for implementations of [`Ci::run`].
    pub fn run(&self, state: Arc<S>, path: &SkillPath, call: Call) -> BoxFuture<'static, Result<Answer, Error>> {
        match self.entries.get(path) {
            Some(entry) => (entry.run)(state, call),
            None => std::future::ready(Err(unknown(path, &self.skills()))).boxed(),
        }
    }
}

pub(crate) fn frames<O: Serialize>(
    stream: impl Stream<Item = Result<O, Error>> + Send + 'static,
) -> BoxStream<'static, Result<Value, Error>> {
    stream
        .map(|frame| {
            frame.and_then(|frame| {
                serde_json::to_value(frame)
                    .map_err(|error| Error::internal(format!("a frame has no JSON form: {error}")))
            })
        })
        .boxed()
}

fn info<I: Input, O: JsonSchema>(path: &str, effect: Effect, stream: bool, doc: &str) -> SkillInfo {
    SkillInfo {
        path: SkillPath::parse(path).expect("the path of a skill is a constant"),
        effect,
        stream,
        doc: doc.to_owned(),
        input: schema::<I>(),
        output: schema::<O>(),
        timeout: None,
    }
}

/// The JSON Schema of a type, which stands for itself.
pub(crate) fn schema<T: JsonSchema>() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true);
    settings.into_generator().into_root_schema_for::<T>().to_value()
}

/// The error of a path that is not offered, with what is.
#[must_use]
pub fn unknown(path: &SkillPath, skills: &[Arc<SkillInfo>]) -> Error {
    let paths: Vec<&str> = skills.iter().map(|skill| skill.path.as_str()).collect();
    Error::new(Code::NotFound, format!("there is no skill \"{path}\" here"))
        .hint(format!("its skills are {}", paths.join(", ")))
        .with("skills", paths)
}

/// The deadline of a call: what its metadata says, else what the skill declares, else the default.
#[must_use]
pub fn budget(info: &SkillInfo, meta: &Meta) -> Duration {
    meta.budget(info.timeout.unwrap_or(DEFAULT_TIMEOUT))
}

/// Reads a request's arguments as a type.
///
/// # Errors
///
/// `invalid_argument` that names the argument and what is expected of it.
pub fn arguments<I: Input>(request: &Request) -> Result<I, Error> {
    named_arguments(request, I::POSITIONAL)
}

/// As [`arguments`], where `positional` names what positional arguments stand for.
pub(crate) fn named_arguments<I: DeserializeOwned + JsonSchema>(
    request: &Request,
    positional: &[&str],
) -> Result<I, Error> {
    let mut named = Map::new();
    for (index, value) in request.args.iter().enumerate() {
        let Some(name) = positional.get(index) else {
            let limit = positional.len();
            return Err(Error::invalid(format!(
                "{} arguments without a name; at most {limit} are taken",
                request.args.len()
            ))
            .hint("write NAME=VALUE"));
        };
        named.insert((*name).to_owned(), value.clone());
    }
    for (name, value) in &request.kwargs {
        if named.insert(name.clone(), value.clone()).is_some() {
            return Err(Error::invalid(format!("argument \"{}\" is given twice, by place and by name", quoted(name))));
        }
    }
    serde_path_to_error::deserialize(Value::Object(named)).map_err(|error| {
        let path = error.path().to_string();
        let inner = quoted_within(&error.into_inner().to_string());
        if path != "." {
            return Error::invalid(format!("argument \"{}\": {inner}", quoted(&path)));
        }
        let missing = inner.strip_prefix("missing field `").and_then(|rest| rest.strip_suffix('`'));
        Error::invalid(match missing {
            Some(name) => format!("argument \"{name}\" is missing; {} is expected", expected::<I>(name)),
            None => inner,
        })
    })
}

/// The type of an argument in the words of its schema.
fn expected<I: JsonSchema>(name: &str) -> String {
    let schema = schema::<I>();
    let argument = schema.get("properties").and_then(|properties| properties.get(name));
    match argument.and_then(|argument| argument.get("type")) {
        Some(Value::String(word)) => format!("a value of type {word}"),
        Some(Value::Array(words)) => {
            let words: Vec<&str> = words.iter().filter_map(Value::as_str).collect();
            format!("a value of type {}", words.join(" or "))
        }
        _ => "a value".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[derive(Debug, Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields)]
    struct Stop {
        grace_s: u32,
        #[serde(default)]
        why: Option<String>,
    }

    impl Input for Stop {
        const POSITIONAL: &'static [&'static str] = &["grace_s"];
    }

    fn read(args: Value, kwargs: Value) -> Result<Stop, Error> {
        let (Value::Array(args), Value::Object(kwargs)) = (args, kwargs) else { panic!("not arguments") };
        arguments(&Request { args, kwargs, meta: Meta::default() })
    }

    #[test]
    fn bad_12_arguments_are_named() {
        let stop = read(json!([3]), json!({"why": "x"})).unwrap();
        assert_eq!((stop.grace_s, stop.why.as_deref()), (3, Some("x")));
        for (args, kwargs, named) in [
            (json!([]), json!({"grace_s": 1, "colour": 2}), "colour"),
            (json!([]), json!({}), "\"grace_s\" is missing; a value of type integer"),
            (json!([]), json!({"grace_s": 1, "why": 7}), "expected a string"),
            (json!([1]), json!({"grace_s": 1}), "grace_s"),
            (json!([]), json!({"grace_s": "soon"}), "\"grace_s\": invalid type: string \"soon\", expected u32"),
            (json!([]), json!({"grace_s": null}), "\"grace_s\": invalid type: null, expected u32"),
            (json!([]), json!({"grace_s": 1, "\u{1b}[2J": 2}), "unknown field `\\u{1b}[2J`, expected `grace_s`"),
            (json!([1, 2]), json!({}), "at most 1"),
        ] {
            let error = read(args, kwargs).unwrap_err();
            assert_eq!(error.code, Code::InvalidArgument);
            assert!(error.message.contains(named), "{error}");
        }
    }
}
