//! What can go wrong with a lab.

use std::{io, path::PathBuf};

/// Why the lab did not do what it was asked to.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Namespaces and engines belong to root.
    #[error("a lab needs root")]
    NotRoot,
    /// A program that the lab runs is missing.
    #[error("{program} cannot be run")]
    Missing {
        /// Its name.
        program: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// A program that the lab ran failed.
    #[error("`{command}` failed: {words}")]
    Command {
        /// The command line.
        command: String,
        /// What it said.
        words: String,
    },
    /// A name that no host can have.
    #[error("\"{}\" cannot be a host's name: {why}", .name.escape_debug())]
    Name {
        /// The name.
        name: String,
        /// Why not.
        why: &'static str,
    },
    /// Too many hosts, or none.
    #[error("a lab has 1 to {most} hosts, not {count}")]
    Count {
        /// How many were asked for.
        count: usize,
        /// The most there can be.
        most: usize,
    },
    /// There is no such host.
    #[error("the lab has no host \"{}\"; it has {known}", .name.escape_debug())]
    NoHost {
        /// The name.
        name: String,
        /// Those there are.
        known: String,
    },
    /// There is no lab.
    #[error("there is no lab in {}", .0.display())]
    NoLab(PathBuf),
    /// There is one already.
    #[error("there is a lab in {} already", .0.display())]
    Exists(PathBuf),
    /// A file of the lab cannot be used.
    #[error("{} cannot be used", .path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The file that describes the lab says something else.
    #[error("{} does not describe a lab", .path.display())]
    State {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: serde_json::Error,
    },
    /// Something did not come about in time.
    #[error("{what}: not within {seconds} s; {log}", log = log_hint(.log))]
    NotReady {
        /// What was waited for.
        what: String,
        /// How long.
        seconds: u64,
        /// The log that says why, if there is one.
        log: Option<PathBuf>,
    },
    /// What was to be signalled is not running.
    #[error("{0} is not running")]
    NotRunning(String),
    /// Something of the lab could not be removed.
    #[error("something of the lab in {} is left: {what}", .path.display())]
    Left {
        /// The lab's directory.
        path: PathBuf,
        /// What is left.
        what: String,
    },
}

fn log_hint(log: &Option<PathBuf>) -> String {
    log.as_ref().map_or_else(|| "the machine may be too busy".to_owned(), |log| format!("its log is {}", log.display()))
}

impl Error {
    /// What to do next, where that can be said.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::NotRoot => "run this as root or with sudo".to_owned(),
            Self::Missing { program, .. } => match package(program) {
                Some(package) => format!("install it: apt-get install {package}"),
                None => "build it: cargo build --bin lab".to_owned(),
            },
            Self::NoLab(_) => "make one: lab up alpha beta gamma".to_owned(),
            Self::Exists(_) => "use it, or remove it first: lab down".to_owned(),
            Self::Left { .. } => "try again: lab down".to_owned(),
            _ => return None,
        };
        Some(hint)
    }
}

/// The Debian package that holds a program.
fn package(program: &str) -> Option<&'static str> {
    Some(match program {
        "ip" => "iproute2",
        "iptables" => "iptables",
        "nsenter" | "setsid" => "util-linux",
        "umount" => "mount",
        "docker" | "dockerd" => "docker.io",
        "nats-server" => "nats-server",
        _ => return None,
    })
}
