use aigis_proxy::{Address, Code, Error, NodeName, Request, SkillPath};
use aigis_registry::{Asking, Kind, Resolved, State};
use clap_complete::ArgValueCompleter;
use futures::stream::BoxStream;
use serde_json::Value;

use super::{call::Asked, plugins};
use crate::{completion, context::Context, exit::Failure, frames, values::Arguments};

/// Print the log of a CI
///
/// The same as the skill `logs`. The lines come as they were, of both sources, on standard output. Those of a node that
/// does not answer come from what the mesh keeps of them, for operators and admins.
#[derive(Debug, clap::Args)]
pub(crate) struct Logs {
    /// The CI
    #[arg(value_name = "CI", add = ArgValueCompleter::new(completion::names))]
    address: Address,
    /// Go on with what is still to come, over restarts
    #[arg(short, long)]
    follow: bool,
    /// How many lines of what there is [default: 100]
    #[arg(long, value_name = "N")]
    tail: Option<u32>,
    /// From when on: RFC 3339, or how long ago, such as 10m
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Until when: RFC 3339, or how long ago
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Which of the two outputs; of a plugin also its logger or its node, of a node whose lines
    #[arg(long, value_parser = ["both", "stdout", "stderr", "log", "node", "bus"])]
    source: Option<String>,
    /// Put each line's time before it
    #[arg(long)]
    timestamps: bool,
}

impl Logs {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Failure> {
        let mut arguments = Arguments::default();
        let mut put = |key: &str, value: Option<Value>| {
            if let Some(value) = value {
                arguments.kwargs.insert(key.to_owned(), value);
            }
        };
        put("tail", self.tail.map(Value::from));
        put("since", self.since.map(Value::from));
        put("until", self.until.map(Value::from));
        put("source", self.source.map(Value::from));
        put("follow", self.follow.then_some(Value::Bool(true)));
        put("timestamps", self.timestamps.then_some(Value::Bool(true)));
        let path = SkillPath::parse("logs")?;
        let session = context.session().await?;
        let found = session.find(&self.address).map_err(Failure::Address)?;
        let asked = Asked { arguments: arguments.clone(), ..Asked::default() };
        match found.kind {
            Kind::Node => {}
            // A plugin may have a skill of its own that is called so.
            Kind::Plugin => return super::call::run(context, &plugins::standard(&self.address), &path, asked).await,
            _ => return super::call::run(context, &self.address, &path, asked).await,
        }
        if found.state == State::Live {
            match super::call::run(context, &self.address, &path, asked).await {
                // It has just died: nobody got the call, and nothing was printed.
                Err(Failure::Call(error)) if died(&error) => {}
                other => return other,
            }
        }
        let Resolved::One(one) = found.resolved() else { return Ok(()) };
        let request = Request { args: arguments.args, kwargs: arguments.kwargs, ..Request::default() };
        let read = kept(&session, &one.record.node, &request).await?;
        frames::print_read(&context.output, &found.address, &path, read).await
    }
}

fn died(error: &Error) -> bool {
    error.code == Code::Unavailable && error.detail("sent") == Some(&Value::Bool(false))
}

/// What the mesh keeps of a node's log.
async fn kept(
    session: &Asking,
    node: &NodeName,
    request: &Request,
) -> Result<BoxStream<'static, Result<Value, Error>>, Error> {
    let read = aigis_node::logs::read(session.bus(), node, request).await;
    read.map_err(|error| match error.code {
        Code::PermissionDenied => error.hint(format!(
            "{node} does not answer, and only operators and admins may read what the mesh keeps of its log"
        )),
        _ => error,
    })
}
