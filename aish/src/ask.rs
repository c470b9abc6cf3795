//! Asking a CI as a command does: with the words of its line, and the time and the id that it names.

use std::time::Duration;

use aigis_proxy::{Error, Meta, Request, SkillPath, client::Response};
use aigis_registry::{Addressee, Asking};

use crate::values::Arguments;

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

/// Calls a skill of a CI.
///
/// # Errors
///
/// As [`Asking::ask`].
///
/// # Cancel safety
///
/// Dropping the future cancels the call at the callee.
pub(crate) async fn ask(
    asking: &Asking,
    whom: &Addressee,
    path: &SkillPath,
    arguments: Arguments,
    How { timeout, id }: How,
) -> Result<Response, Error> {
    let Arguments { args, kwargs } = arguments;
    let meta = Meta { timeout, call: id, ..Meta::default() };
    asking.ask(whom, path, Request { args, kwargs, meta }).await
}
