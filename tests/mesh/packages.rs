//! Packages: by their commands, and by the skills of nodes.

mod build;
mod projects;
mod registry;
