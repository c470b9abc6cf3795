//! The bridge: one private stream between a host of ours and a process of another language, whose calls the host passes on.
//!
//! The wire of the mesh exists once, in the host; what a call carries is the envelope's JSON in both directions, and passes
//! through as the bytes that came. The form of the frames is specified in `docs/specs/bridge.md`.
//!
//! A host reads messages with a [`Reader`], hands the process's calls to [`Calls`], which passes them on by a [`Way`], and
//! lets [`write`](write()) send what stands in the [`Outbox`]. One that has started the process makes [`Invocations`] of it,
//! and has [`attend`] sort what comes.

mod attendance;
mod calls;
mod credit;
mod cut;
mod direct;
mod frame;
mod hello;
mod invocation;
mod invocations;
mod outbox;
mod passing;
mod plugin;
mod reader;
mod table;

pub use attendance::{Attendant, Line, attend};
pub use calls::{Calls, MAX_CALLS};
#[cfg(any(test, fuzzing))]
pub(crate) use cut::Cutter;
pub use frame::{Control, Header, Kind, Message, Source, Violation};
pub use hello::{Hello, Mode, VERSION, Welcome};
pub use invocation::{Answered, Invocation, Items, Pace};
pub use invocations::Invocations;
pub use outbox::{Closed, Outbox, Outgoing, outbox, write};
pub use passing::{Answer, Asked, Opened, Refused, Way};
pub use plugin::{MAX_SKILLS, PluginSkill, Ready, SkillKind, Status, Threads};
pub use reader::{End, Reader};
pub use table::MAX_INVOCATIONS;

/// The longest header of a frame.
pub const MAX_HEADER: usize = 64 * 1024;
/// The longest frame: header and body together.
pub const MAX_FRAME: usize = 64 * 1024 * 1024;
/// The longest body, of all its parts together.
pub const MAX_BODY: usize = 256 * 1024 * 1024;
/// How many items of a stream either side may send before it hears of more credit.
pub const FIRST_CREDIT: u32 = 32;
/// The most items that one credit is worth.
pub const MOST_CREDIT: u32 = 1_024;
