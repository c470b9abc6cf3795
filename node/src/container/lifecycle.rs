//! `start`, `stop` and `restart`: idempotent, and honest about what became of the container.

mod deed;

use std::{fmt::Write, sync::Arc, time::Duration};

use aigis_proxy::{
    Effect, Error,
    skill::{Call, Input, Nothing, Table},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Container, Instant, Reply, Whole};
use crate::engine::Inspection;

use deed::Done;
pub(super) use deed::{Deed, Target, perform, removed};

const MOST_GRACE_S: u64 = 300;
/// What the engine gets beside the grace.
const BESIDE: Duration = Duration::from_secs(30);

/// How long a container may take to end.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Grace {
    /// The seconds between the stop signal and the kill.
    #[serde(default = "default_grace")]
    grace_s: Whole<0, MOST_GRACE_S>,
}

fn default_grace() -> Whole<0, MOST_GRACE_S> {
    Whole::clamped(10)
}

impl Input for Grace {
    const POSITIONAL: &'static [&'static str] = &["grace_s"];
}

impl Grace {
    fn duration(self) -> Duration {
        Duration::from_secs(self.grace_s.get())
    }
}

/// How a container was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
struct Before {
    /// The engine's word.
    state: String,
    /// When it was last started.
    started_at: Option<Instant>,
}

/// How a container is, read at least a second after it was changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
struct After {
    /// The engine's word.
    state: String,
    /// When it was last started.
    started_at: Option<Instant>,
    /// How it ended; `null` while it runs.
    exit_code: Option<i64>,
}

impl Before {
    fn of(container: &Inspection) -> Self {
        Self { state: container.state.as_str().to_owned(), started_at: container.started_at.map(Instant) }
    }
}

impl After {
    fn of(container: &Inspection) -> Self {
        let Before { state, started_at } = Before::of(container);
        Self { state, started_at, exit_code: container.exit_code }
    }
}

/// What a deed did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
struct Outcome {
    /// Whether anything was done.
    changed: bool,
    /// How it was.
    before: Before,
    /// How it is.
    after: After,
}

/// Adds the skills.
pub(super) fn add(table: &mut Table<Container>) {
    table
        .value(
            "start",
            Effect::Write,
            "Makes the container run; one that is paused goes on.",
            async |container, call, _: Nothing| run(container, call, Deed::Start).await,
        )
        .value(
            "stop",
            Effect::Write,
            "Ends the container, with a time of grace.",
            async |container, call, grace: Grace| run(container, call, Deed::Stop { grace: grace.duration() }).await,
        )
        .value(
            "restart",
            Effect::Write,
            "Ends the container, with a time of grace, and starts it.",
            async |container, call, grace: Grace| run(container, call, Deed::Restart { grace: grace.duration() }).await,
        );
    // The longest grace: the deadline of a shorter one is set where the grace is known.
    let longest = Duration::from_secs(MOST_GRACE_S) + BESIDE;
    table.timeout("stop", longest).timeout("restart", longest);
}

async fn run(container: Arc<Container>, call: Call, deed: Deed) -> Result<Reply<Outcome>, Error> {
    let mut look = container.look(&call, container.bound());
    if call.meta().timeout.is_none() {
        look.engine = look.engine.until(tokio::time::Instant::now() + deed.grace() + BESIDE);
    }
    let address = container.address().to_string();
    let target = Target { engine: &look.engine, id: look.id(), address: &address };
    let Done { changed, before, after, observed_at } = perform(target, deed).await?;
    look.observed_at = observed_at;
    let outcome = Outcome { changed, before: Before::of(&before), after: After::of(&after) };
    Ok(container.reply(&call, &look, outcome, after.notes))
}

/// A result in one line.
pub(super) fn text(skill: &str, result: &Value, address: &str) -> Option<String> {
    let done = match skill {
        "start" => "started",
        "stop" => "stopped",
        "restart" => "restarted",
        _ => return None,
    };
    let after = result.get("after")?;
    let state = after.get("state")?.as_str()?;
    let mut line = match result.get("changed")?.as_bool()? {
        true => format!("{address}: {done} ({state}"),
        false => format!("{address}: not {done}, it was so already ({state}"),
    };
    if let Some(code) = after.get("exit_code").and_then(Value::as_i64) {
        // Writing to a string cannot fail.
        let _ = write!(line, " {code}");
    }
    line.push_str(")\n");
    Some(line)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_result_reads_as_one_line() {
        let result = |changed: bool, state: &str, code: Option<i64>| json!({"changed": changed, "after": {"state": state, "exit_code": code}});
        let line = |skill: &str, result: &Value| text(skill, result, "web@alpha").unwrap();
        assert_eq!(line("restart", &result(true, "running", None)), "web@alpha: restarted (running)\n");
        assert_eq!(line("stop", &result(true, "exited", Some(137))), "web@alpha: stopped (exited 137)\n");
        assert_eq!(
            line("start", &result(false, "running", None)),
            "web@alpha: not started, it was so already (running)\n"
        );
        assert_eq!(text("status", &result(true, "running", None), "web@alpha"), None);
    }

    #[test]
    fn the_grace_has_a_range() {
        let read = serde_json::from_value::<Grace>;
        assert_eq!(read(json!({})).unwrap().duration(), Duration::from_secs(10));
        assert_eq!(read(json!({"grace_s": 300})).unwrap().duration(), Duration::from_secs(300));
        assert!(read(json!({"grace_s": 301})).unwrap_err().to_string().contains("300"));
    }
}
