//! Asking a CI: which of its servers, for how long, and until when there is hope.

use std::time::Duration;

use aigis_proxy::{
    Code, Error, Meta, Request, SkillPath,
    client::{Response, Target},
    subject::Token,
};
use serde_json::Value;

use crate::{
    session::{Found, Session},
    values::Arguments,
};

/// How a CI is asked.
#[derive(Debug, Default)]
pub(crate) struct How {
    /// For how long, where the caller says so.
    pub(crate) timeout: Option<Duration>,
    /// Under which id, where a call is repeated; a fresh one if absent.
    pub(crate) id: Option<String>,
}

impl From<Option<Duration>> for How {
    fn from(timeout: Option<Duration>) -> Self {
        Self { timeout, id: None }
    }
}

/// Calls a skill on one of the servers of a CI, for as long as the skill declares where the caller names no time.
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
    How { timeout, id }: How,
) -> Result<Response, Error> {
    let declared = session.declared_timeout(found, path);
    let Arguments { args, kwargs } = arguments;
    let call = id.unwrap_or_else(|| Token::random().as_str().to_owned());
    let meta = Meta { timeout, call: Some(call), ..Meta::default() };
    let request = Request { args, kwargs, meta };
    let mut last = None;
    // A server that surely got nothing costs no more than the next one's turn.
    for server in session.servers(found, path)? {
        let target = Target { server, ci: found.name.clone(), path: path.clone(), timeout: declared };
        let opened = tokio::select! {
            opened = session.client().open(&target, request.clone()) => opened,
            error = session.lost(found, &target.server) => Err(error.sent(true)),
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
