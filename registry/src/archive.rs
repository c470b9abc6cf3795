//! Trees as archives: one hardened unpacker for every tar that enters, and one packer that makes the same bytes of the
//! same tree on every host. See `docs/specs/archives.md`.
//!
//! Whoever wants something other of a tree than its archive takes its entries as a [`Sink`]: from a directory by [`visit`],
//! from an archive by [`read`].
//!
//! Both judge every entry by the same rules, so what is packed can be unpacked. The unpacker reads the raw headers
//! itself: a library that forgives would let pass as success what has to be refused.
//!
//! ```
//! use aigis_registry::archive::{self, Existing, Limits};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let dir = tempfile::tempdir()?;
//! let (from, to) = (dir.path().join("from"), dir.path().join("to"));
//! std::fs::create_dir(&from)?;
//! std::fs::write(from.join("hello.txt"), "hello")?;
//! let mut tar = Vec::new();
//! archive::pack(&from, &mut tar, &mut |_, _| true, &Limits::TREE)?;
//! let report = archive::unpack(&tar[..], &to, Existing::Refuse, &Limits::TREE)?;
//! assert_eq!((report.entries, report.bytes), (1, 5));
//! # Ok(())
//! # }
//! ```

use std::time::Duration;

mod census;
mod error;
mod header;
mod members;
mod pack;
mod path;
mod pax;
mod rule;
mod sink;
mod source;
mod staging;
mod unpack;
mod walk;
mod writer;

pub use error::{Error, Form, Reached, is_full};
pub use members::{Member, Members, What};
pub use pack::{Packed, pack, visit};
pub use rule::{LinkFault, MetadataFault, PathFault, Rule};
pub use sink::{Filled, Sink};
pub use staging::{Staging, sweep};
pub use unpack::{Attribute, Existing, Note, Report, read, unpack};
pub use writer::{Attributes, Writer};

/// Longest path, in bytes.
const MAX_PATH: usize = 1_024;
/// Longest part of a path, in bytes.
const MAX_PART: usize = 255;
/// Most parts of a path.
const MAX_DEPTH: usize = 64;
/// The size of a block of a tar.
const BLOCK: usize = 512;

/// What an archive may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Most entries, the directories counted that paths only imply.
    pub entries: u64,
    /// Most bytes of one file.
    pub file_bytes: u64,
    /// Most bytes of all files together.
    pub total_bytes: u64,
    /// The longest time it may take. A reader that blocks for ever needs a bound of its own.
    pub time: Duration,
}

impl Limits {
    /// What a tree may hold that is pushed, or that a step of a chain leaves behind.
    pub const TREE: Self = Self {
        entries: 100_000,
        file_bytes: 2 * 1024 * 1024 * 1024,
        total_bytes: 4 * 1024 * 1024 * 1024,
        time: Duration::from_secs(10 * 60),
    };
}

/// What something in a tree is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A directory.
    Directory,
    /// A regular file.
    File,
    /// A symbolic link.
    Link,
    /// Anything that no archive of a tree holds: a device, a FIFO, a socket.
    Other,
}
