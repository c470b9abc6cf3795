//! What this node does for chains: it runs the steps that coordinators place on it, and keeps each attempt with its result
//! on its disk until it is told to forget it.
//!
//! A container, a build or a clone belongs to an *attempt*, not to who asked for it: it runs on while the bus is away, while
//! coordinators change, and, for a container, while this process starts anew. A [test build](trial) alone ends with who asked.

mod attempt;
pub(crate) mod build;
mod built;
mod cache;
mod collect;
mod container;
mod desk;
mod dockerfile;
mod folder;
mod images;
pub(crate) mod init;
mod log;
mod place;
mod remembered;
mod repository;
mod rooms;
mod sweep;
#[cfg(test)]
mod tests;
mod trial;
mod user;

pub(crate) use desk::serve;
pub(crate) use place::{Parts, Place, free_memory};
pub(crate) use trial::begin as test;
