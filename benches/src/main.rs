//! Measures the mesh beside the raw layers, in the same run and in turns, and says which goals are met.
//!
//! `aigis-bench [--quick] [SUBJECT…]`; see `docs/benchmarks.md`.

use std::{path::Path, process::ExitCode, time::Duration};

mod bodies;
mod bus;
mod callee;
mod calls;
mod chains;
mod engine;
mod error;
mod gather;
mod local;
mod mesh;
mod names;
mod rounds;
mod runtimes;
mod streams;
mod table;
mod telemetry;
mod timeouts;

use error::Error;
use table::Table;
use tracing_subscriber::filter::LevelFilter;

/// How long and how often each thing is measured.
#[derive(Debug, Clone, Copy)]
struct Effort {
    /// How many rounds count.
    rounds: usize,
    /// How long a round of calls takes.
    round: Duration,
    /// How many rounds with large bodies count.
    large: usize,
    /// How many containers there are.
    containers: usize,
    /// How often one of them is asked.
    asks: usize,
    /// How many CIs the registry has for the names that are resolved.
    cis: usize,
    /// How long an idle node is watched.
    idle: Duration,
    /// How often it is.
    idles: usize,
}

const FULL: Effort = Effort {
    rounds: 11,
    round: Duration::from_millis(700),
    large: 5,
    containers: 50,
    asks: 200,
    cis: 100_000,
    idle: Duration::from_secs(10),
    idles: 5,
};
const QUICK: Effort = Effort {
    rounds: 5,
    round: Duration::from_millis(300),
    large: 2,
    containers: 5,
    asks: 40,
    cis: 20_000,
    idle: Duration::from_secs(2),
    idles: 3,
};

type Subject = (&'static str, fn(Effort, &mut Table) -> Result<(), Error>);

const SUBJECTS: [Subject; 9] = [
    ("calls", calls::measure),
    ("local", local::measure),
    ("streams", streams::measure),
    ("bodies", bodies::measure),
    ("gather", gather::measure),
    ("names", names::measure),
    ("timeouts", timeouts::measure),
    ("mesh", mesh::measure),
    ("chains", chains::measure),
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    // As a node and the commands have it: what it costs belongs to what is measured.
    let is_process = words.first() == Some(&"process");
    telemetry::start(if is_process { LevelFilter::INFO } else { LevelFilter::WARN });
    let result = match words.as_slice() {
        ["process", kind, url, credential, directory] => {
            callee::run(kind, url, Path::new(credential), Path::new(directory))
        }
        ["--quick", subjects @ ..] => measure(QUICK, subjects),
        subjects => measure(FULL, subjects),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            table::complain(&error);
            ExitCode::FAILURE
        }
    }
}

/// Measures those subjects, or all.
fn measure(effort: Effort, wanted: &[&str]) -> Result<(), Error> {
    if wanted.iter().any(|wanted| SUBJECTS.iter().all(|(name, _)| name != wanted)) {
        return Err(Error::Usage);
    }
    let mut table = Table::new();
    for (name, subject) in SUBJECTS {
        if wanted.is_empty() || wanted.contains(&name) {
            subject(effort, &mut table)?;
        }
    }
    table.print()
}
