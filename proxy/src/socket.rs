//! The node's socket: calls between processes of one host, without the bus.
//!
//! The node listens on a Unix socket beside its mesh's files. Whoever connects shows its user token and signs a nonce
//! with its key, as it does at the bus; name and role are bound to the connection from then on. Calls carry the same
//! envelope as at the bus and are answered by the same server, under the same limits. A peer can also *offer* a CI: the
//! node serves it to the mesh and passes its calls on over the peer's connection. The form of the frames is specified in
//! `docs/specs/socket.md`.

mod calls;
mod client;
mod connection;
mod desk;
mod frame;
mod handshake;
mod link;
mod offer;
mod offering;
mod reader;
mod server;
mod tenure;

use std::time::Duration;

pub(crate) use calls::{Ongoing, Replies};
pub use client::Local;
pub(crate) use connection::Outlet;
pub(crate) use frame::{Frame, Kind};
pub use offer::{
    Given, GivenSecret, MAX_OFFERS, MAX_SECRETS, MAX_SKILLS, Offer, OfferKind, OfferedCi, OfferedSkill, Offers, Peer,
    ProcessGroup,
};
pub use offering::{Host, Offering, Watch};
pub use server::{Gate, ListenError, Listening, listen};

/// The largest frame, after its length.
pub const MAX_FRAME: usize = 64 * 1024 * 1024;
/// The largest body of a frame: what its head leaves.
pub(crate) const MAX_BODY: usize = MAX_FRAME - 1_024;

/// What one peer of the node's socket may take of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// How long half a frame may stay half, and a full send buffer full.
    pub patience: Duration,
    /// How long the introduction may take.
    pub introduction: Duration,
    /// How many connections one user of the operating system may have.
    pub connections: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { patience: Duration::from_secs(30), introduction: Duration::from_secs(5), connections: 1_024 }
    }
}
