//! Wrapped programs: any program that reads requests and writes replies, as a CI.
//!
//! [`framing`] says how texts become bytes and bytes become replies, [`exchange`] which request is whose turn, both
//! without a process; [`child`] is the process, [`program`] runs one after the other, and [`ci`] answers calls. [`secrets`]
//! are its secrets as files, which [`init`] makes variables of.

pub(crate) mod child;
pub(crate) mod ci;
pub(crate) mod exchange;
pub(crate) mod framing;
pub(crate) mod init;
pub(crate) mod logs;
pub(crate) mod program;
pub(crate) mod secrets;
pub(crate) mod terminal;
