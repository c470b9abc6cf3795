//! What comes from a process that its host has started, sorted: its calls, its answers, its lines, and how it stands.

use tokio::io::AsyncRead;

use super::{
    calls::Calls,
    frame::{Kind, Message, Source, Violation},
    invocations::Invocations,
    passing::Way,
    reader::{End, Reader},
    table::read_error,
};
use crate::Error;

/// A line of a process, for the log of a plugin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Line<'a> {
    /// Which loaded copy of a plugin it is of, in a core host.
    pub generation: Option<u64>,
    /// Where it comes from.
    pub source: Source,
    /// How much it matters, as its logger says.
    pub level: Option<&'a str>,
    /// The call in which it was said.
    pub call: Option<&'a str>,
    /// What was said.
    pub text: &'a str,
}

/// Who hears what a process says beside its calls and answers. Whatever is done here holds up all that comes after it.
pub trait Attendant: Send + Sync {
    /// A line for a log.
    fn line(&self, line: Line<'_>);
    /// `launch` is about to be entered.
    fn entered(&self);
    /// The process ends the connection, and says why.
    fn failed(&self, error: Error);
}

/// Attends to one connection until it ends. Without `invocations` nothing is asked of its process.
///
/// # Errors
///
/// The process sent what is no frame or was not due, or the stream broke.
///
/// # Cancel safety
///
/// Cancel safe: nothing that came is lost.
pub async fn attend<W: Way>(
    reader: &mut Reader<impl AsyncRead + Unpin>,
    calls: &Calls<W>,
    invocations: Option<&Invocations>,
    attendant: &(impl Attendant + ?Sized),
) -> Result<(), End> {
    while let Some(message) = reader.next().await? {
        let Message { header, body } = &message;
        match (header.t, header.id, invocations) {
            (Kind::Call | Kind::Cancel | Kind::Credit, ..) => calls.take(message)?,
            (Kind::Log, ..) => {
                let source = header.source.ok_or_else(|| Violation::new("a line without a source"))?;
                let text = String::from_utf8_lossy(body.as_deref().unwrap_or_default());
                let (level, call) = (header.level.as_deref(), header.call.as_deref());
                attendant.line(Line { generation: header.generation, source, level, call, text: &text });
            }
            (Kind::Error, None, _) => {
                let code = header.code.ok_or_else(|| Violation::new("an error without a code"))?;
                attendant.failed(read_error(code, body.as_deref()));
                // It ends the connection, in its own time: one whose host is gone ends in another way.
                while reader.next().await?.is_some() {}
                return Ok(());
            }
            (Kind::Ready, None, Some(_)) => attendant.entered(),
            (Kind::Reply | Kind::Ready | Kind::Error | Kind::Item | Kind::End, Some(_), Some(invocations)) => {
                invocations.take(message)?;
            }
            (kind, ..) => return Err(Violation::new(format!("{kind:?}, which was not due")).into()),
        }
    }
    Ok(())
}
