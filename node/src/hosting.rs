//! Plugins as processes: what a node starts for them, speaks with, and ends.

mod core_host;
mod line;
mod process;
mod program;
mod socket;
mod start;
#[cfg(test)]
mod tests;

pub(crate) use start::Plugin;
