use aigis_proxy::{Address, SkillPath};
use serde_json::Value;

use super::call::Asked;
use crate::{context::Context, exit::Failure, values::Arguments};

/// Print the log of a CI
///
/// The same as the skill `logs`. The lines come as they were, of both sources, on standard output.
#[derive(Debug, clap::Args)]
pub(crate) struct Logs {
    /// The CI
    #[arg(value_name = "CI")]
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
    /// Which of the two outputs
    #[arg(long, value_parser = ["both", "stdout", "stderr"])]
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
        super::call::run(context, &self.address, &path, Asked { arguments, ..Asked::default() }).await
    }
}
