//! Asking a CI: which of its servers, for how long, and until when there is hope.

use std::time::Duration;

use aigis_proxy::{
    Code, Error, Meta, Request, SkillPath,
    client::{Response, Target},
    envelope::DEFAULT_TIMEOUT,
    subject::Token,
};
use serde_json::{Map, Value};

use crate::{
    session::{Found, Session},
    values::Arguments,
};

/// What a call has beside the time that its skill takes by design.
const MARGIN: Duration = DEFAULT_TIMEOUT;
/// The grace that `stop` and `restart` give, and the window that `optimize` measures, where none is said.
const USUAL: u64 = 10;

/// Calls a skill on one of the servers of a CI.
///
/// # Errors
///
/// `unavailable` without asking, where the CI is known to be away; else what the call meets.
///
/// # Cancel safety
///
/// Dropping the future cancels the call at the callee.
pub(crate) async fn ask(
    session: &Session,
    found: &Found,
    path: &SkillPath,
    arguments: Arguments,
    timeout: Option<Duration>,
) -> Result<Response, Error> {
    let timeout = timeout.or_else(|| usual(path.as_str(), &arguments.kwargs));
    let Arguments { args, kwargs } = arguments;
    let meta = Meta { timeout, call: Some(Token::random().as_str().to_owned()), ..Meta::default() };
    let request = Request { args, kwargs, meta };
    let mut last = None;
    // A server that surely got nothing costs no more than the next one's turn.
    for server in session.servers(found, path)? {
        let target = Target { server, ci: found.name.clone(), path: path.clone() };
        let opened = tokio::select! {
            opened = session.client().open(&target, request.clone()) => opened,
            error = session.lost(found) => Err(error.sent(true)),
        };
        match opened {
            Err(error) if error.code == Code::Unavailable && error.detail("sent") == Some(&Value::Bool(false)) => {
                last = Some(error);
            }
            other => return other,
        }
    }
    Err(last.unwrap_or_else(|| Error::unavailable(format!("nothing serves {}", found.address)).sent(false)))
}

/// The time of skills that take theirs by design, where the caller gives none.
fn usual(path: &str, kwargs: &Map<String, Value>) -> Option<Duration> {
    let of = |key| kwargs.get(key).and_then(Value::as_u64).unwrap_or(USUAL).min(300);
    let seconds = match path {
        "stop" | "restart" => of("grace_s"),
        "optimize" => of("window_s"),
        "message" if kwargs.get("confirm") == Some(&Value::Bool(true)) => USUAL,
        _ => return None,
    };
    Some(MARGIN + Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_takes_time_by_design_gets_it() {
        let of = |path: &str, kwargs: Value| usual(path, kwargs.as_object().unwrap()).map(|time| time.as_secs());
        assert_eq!(of("stop", json!({"grace_s": 60})), Some(90));
        assert_eq!(of("restart", json!({})), Some(40));
        assert_eq!(of("optimize", json!({"window_s": 1e300})), Some(40));
        assert_eq!(of("status", json!({})), None);
    }
}
