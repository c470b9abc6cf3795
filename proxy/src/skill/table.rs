//! The skills of one kind of CI, each with its types and the code that it runs.

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use futures::{FutureExt, Stream, StreamExt, future::BoxFuture, stream::BoxStream};
use schemars::{JsonSchema, generate::SchemaSettings};
use serde::Serialize;
use serde_json::Value;

use super::{Answer, Call, Input, SkillInfo, arguments, unknown};
use crate::{error::Error, name::SkillPath, role::Effect};

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

    /// Runs a skill over `state`; for implementations of [`Ci::run`](super::Ci::run).
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
