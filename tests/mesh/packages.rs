//! Packages: by their commands, and by the skills of nodes.

mod archives;
mod build;
mod deploy;
mod list;
mod phases;
mod projects;
mod push;
mod registry;
mod skills;
mod tier2;
mod verify;
mod tested;
