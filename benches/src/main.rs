//! Measures the mesh beside the raw layers, in the same run and in turns, and says which goals are met.
//!
//! `aigis-bench [--quick]`; see `docs/benchmarks.md`.

use std::{path::PathBuf, process::ExitCode, time::Duration};

mod bus;
mod callee;
mod calls;
mod engine;
mod error;
mod mesh;
mod rounds;
mod streams;
mod table;
mod telemetry;

use error::Error;
use table::Table;
use tracing_subscriber::filter::LevelFilter;

/// How long and how often each thing is measured.
#[derive(Debug, Clone, Copy)]
struct Effort {
    rounds: usize,
    round: Duration,
    containers: usize,
    asks: usize,
}

const FULL: Effort = Effort { rounds: 11, round: Duration::from_millis(700), containers: 50, asks: 200 };
const QUICK: Effort = Effort { rounds: 5, round: Duration::from_millis(300), containers: 5, asks: 40 };

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    // As a node and the commands have it: what it costs belongs to what is measured.
    let is_callee = arguments.first().is_some_and(|first| first == "callee");
    telemetry::start(if is_callee { LevelFilter::INFO } else { LevelFilter::WARN });
    let result = match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [] => measure(FULL),
        ["--quick"] => measure(QUICK),
        ["callee", kind, url, credential] => callee::run(kind, url, &PathBuf::from(credential)),
        _ => Err(Error::Usage),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            table::complain(&error);
            ExitCode::FAILURE
        }
    }
}

fn measure(effort: Effort) -> Result<(), Error> {
    let mut table = Table::new();
    {
        let server = bus::BusServer::start()?;
        calls::measure(&server, effort, &mut table)?;
        streams::measure(&server, effort, &mut table)?;
    }
    mesh::measure(effort, &mut table)?;
    table.print()
}
