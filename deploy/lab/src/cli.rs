//! The command line of `lab`.

use std::{ffi::OsString, path::PathBuf};

use aigis_lab::{Direction, Link};
use clap::{Args, Parser, Subcommand, ValueEnum};

/// Several hosts on one machine, to try a mesh on and to break it in: each a network and a Docker engine of its own.
#[derive(Debug, Parser)]
#[command(name = "lab", version, max_term_width = 100)]
pub(crate) struct Cli {
    /// The lab's directory [default: `lab` in the data directory]
    #[arg(long, global = true, env = "AIGIS_LAB", value_name = "PATH")]
    pub(crate) dir: Option<PathBuf>,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make a lab, and start the engines of its hosts
    Up {
        /// How many hosts, or their names
        #[arg(required = true, value_name = "N|NAME")]
        hosts: Vec<String>,
        /// Images of this machine's engine to give to each host's
        #[arg(long, value_name = "IMAGE")]
        image: Vec<String>,
    },
    /// Show the hosts: name, address, engine, node, and what was done to the link
    List,
    /// Print the address of a host or of the bus
    Address {
        /// The host, or bus
        station: String,
    },
    /// Run a program on a host; ends with its exit code
    Run {
        /// The host
        host: String,
        /// The program and its arguments
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true, value_name = "PROGRAM")]
        program: Vec<OsString>,
    },
    /// Cut the link of a host, or of the bus, as a pulled cable does
    Cut(Station),
    /// Heal a cut link
    Heal(Station),
    /// Lose every packet, and tell nobody
    Drop {
        #[command(flatten)]
        station: Station,
        /// Seen from the host: in, out or both
        #[arg(default_value = "both")]
        direction: Direction,
    },
    /// Make the link a bad one, both ways
    Slow {
        #[command(flatten)]
        station: Station,
        #[command(flatten)]
        link: Link,
    },
    /// Make the link a good one again
    Clear(Station),
    /// Kill the node or the engine of a host, as a crash would
    Kill {
        /// The host
        host: String,
        /// What to kill
        what: Victim,
    },
    /// Start the engine of a host again
    Start {
        /// The host
        host: String,
    },
    /// End everything that runs in the lab, and remove it
    Down {
        /// Also the labs that a crash left behind
        #[arg(long)]
        all: bool,
    },
    /// Watch a lab's owner
    #[command(hide = true)]
    Reap {
        /// The lab's directory
        directory: PathBuf,
    },
    /// Carry frames between two taps
    #[command(hide = true)]
    Wire {
        /// Where to write the process's number
        pid_file: PathBuf,
        /// The one tap
        near: String,
        /// The other
        far: String,
        #[command(flatten)]
        link: Link,
    },
}

/// Whose link.
#[derive(Debug, Args)]
pub(crate) struct Station {
    /// The host, or bus
    #[arg(value_name = "HOST")]
    pub(crate) name: String,
}

/// What can be killed.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Victim {
    /// The node of the mesh
    Node,
    /// The Docker engine
    Engine,
}
