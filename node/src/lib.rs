//! x

pub mod engine;
pub mod grammar;
pub mod host;
pub mod naming;
pub mod redact;
pub mod services;
pub mod usage;
