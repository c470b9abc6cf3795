//! Asking a CI: which of its servers, for how long, and until when there is hope.

use std::time::Duration;

use aigis_proxy::{
    Code, Error, Meta, Request, SkillPath,
    client::{Response, Target},
    envelope::Passing,
    subject::Token,
};
use bytes::Bytes;
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
    let Arguments { args, kwargs } = arguments;
    let call = id.unwrap_or_else(|| Token::random().as_str().to_owned());
    let meta = Meta { timeout, call: Some(call), ..Meta::default() };
    let request = Request { args, kwargs, meta };
    let open = |target: Target| {
        let request = request.clone();
        async move { session.client().open(&target, request).await }
    };
    of_servers(session, found, path, open).await
}

/// As [`ask()`], with what came as bytes, for bytes.
///
/// # Errors
///
/// As [`ask()`].
///
/// # Cancel safety
///
/// As [`ask()`].
pub(crate) async fn pass(
    session: &Session,
    found: &Found,
    path: &SkillPath,
    mut request: Passing,
) -> Result<Response<Bytes>, Error> {
    request.meta.call.get_or_insert_with(|| Token::random().as_str().to_owned());
    let open = |target: Target| {
        let request = request.clone();
        async move { session.client().pass(&target, request).await }
    };
    of_servers(session, found, path, open).await
}

/// Asks one server after the other, until one may have got it.
async fn of_servers<R, F: Future<Output = Result<R, Error>>>(
    session: &Session,
    found: &Found,
    path: &SkillPath,
    open: impl Fn(Target) -> F,
) -> Result<R, Error> {
    let declared = session.declared_timeout(found, path);
    let mut last = None;
    // A server that surely got nothing costs no more than the next one's turn.
    for server in session.servers(found, path)? {
        let target = Target { server: server.clone(), ci: found.name.clone(), path: path.clone(), timeout: declared };
        let opened = tokio::select! {
            opened = open(target) => opened,
            error = session.lost(found, &server) => Err(error.sent(true)),
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
