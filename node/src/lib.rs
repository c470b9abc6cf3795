//! x

pub mod bus_server;
pub mod engine;
pub mod grammar;
pub mod home;
pub mod host;
pub mod mesh;
pub mod naming;
pub mod reconcile;
pub mod redact;
pub mod services;
pub mod usage;
