//! Packages, by their commands.

mod build;
mod registry;
