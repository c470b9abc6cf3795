//! Runs many nodes in one process over the bus that `aish up` starts, and says what that costs and how long it takes;
//! see `docs/scale.md`.
//!
//! `scale` measures 10 and 50 nodes with 20 containers each; `scale --long` 10, 100 and 1,000 with 100 each; `scale NODES…` these
//! sizes, with `--containers N` each. Each figure is a line; the last says how many were as they should be. The exit code is 0
//! if all were, 1 if not.

mod engine;
mod figures;
mod fleet;
mod measure;
mod relay;
mod stage;

use std::{io::Write as _, path::Path, process::ExitCode, time::Duration};

use figures::Figures;
use measure::{Effort, measure};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

const LONG: Effort = Effort { steady: Duration::from_secs(60), rounds: 40 };
const BRIEF: Effort = Effort { steady: Duration::from_secs(10), rounds: 10 };
/// Open files that a thousand nodes in one process may need.
const FILES: u64 = 65_536;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let (effort, sizes, containers) = match words.as_slice() {
        ["engines", directory, nodes, containers] => {
            engine::serve(Path::new(directory), count(nodes), count(containers));
            return ExitCode::SUCCESS;
        }
        ["nodes", directory, nodes] => {
            fleet::run(Path::new(directory), count(nodes));
            return ExitCode::SUCCESS;
        }
        [] => (BRIEF, vec![10, 50], 20),
        ["--long"] => (LONG, vec![10, 100, 1_000], 100),
        ["--containers", containers, sizes @ ..] if !sizes.is_empty() => {
            (BRIEF, sizes.iter().map(|size| count(size)).collect(), count(containers))
        }
        ["--long", "--containers", containers, sizes @ ..] if !sizes.is_empty() => {
            (LONG, sizes.iter().map(|size| count(size)).collect(), count(containers))
        }
        _ => {
            let _ = writeln!(std::io::stderr(), "usage: scale [--long] [--containers NUMBER NODES…]");
            return ExitCode::from(2);
        }
    };
    open_files();
    let mut figures = Figures::default();
    for size in sizes {
        measure(size, containers, effort, &mut figures);
    }
    if figures.close() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn count(word: &str) -> usize {
    word.parse().ok().filter(|count| (1..=10_000).contains(count)).unwrap_or_else(|| panic!("{word} is no such number"))
}

/// Lets this process and its children have as many open files as they need, if it may.
fn open_files() {
    let most = getrlimit(Resource::Nofile).maximum;
    let wanted = most.map_or(most, |most| Some(most.max(FILES)));
    if setrlimit(Resource::Nofile, Rlimit { current: wanted, maximum: wanted }).is_err() {
        let _ = setrlimit(Resource::Nofile, Rlimit { current: most, maximum: most });
    }
}

/// Says a line; whoever does not listen misses it.
fn say(line: &str) {
    let mut output = std::io::stdout();
    let _ = writeln!(output, "{line}").and_then(|()| output.flush());
}
