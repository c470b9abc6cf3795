//! Packages: by their commands, and by the skills of nodes.

mod apps;
mod archives;
mod build;
mod deploy;
mod downloads;
mod faults;
mod fill;
mod list;
mod phases;
mod projects;
mod push;
mod registry;
mod skills;
mod tested;
mod tier2;
mod tier_one;
mod verify;
