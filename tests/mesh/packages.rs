//! Packages: by their commands, and by the skills of nodes.

mod build;
mod phases;
mod projects;
mod push;
mod registry;
mod skills;
mod verify;
