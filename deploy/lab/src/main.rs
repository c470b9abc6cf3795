//! `lab`: several hosts on one machine, from the command line.

use std::{
    io::{self, Write as _},
    process::ExitCode,
};

use clap::Parser as _;

use crate::cli::Cli;

mod cli;
mod command;

fn main() -> ExitCode {
    match command::run(Cli::parse()) {
        Ok(code) => code,
        Err(command::Failure::Closed) => ExitCode::SUCCESS,
        Err(command::Failure::Failed(failure)) => {
            // Nobody may read it, which is their right.
            let _ = io::stderr().write_all(failure.as_bytes());
            ExitCode::FAILURE
        }
    }
}
