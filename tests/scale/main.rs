//! Runs many nodes in one process over the bus that `aish up` starts, and says what that costs and how long it takes;
//! see `docs/scale.md`.
//!
//! `scale` measures 10 and 50 nodes with 20 containers each; `scale --long` 10, 100 and 1,000 with 100 each; `scale NODES…` these
//! sizes, with `--containers N` each; `--servers 3` does so over a bus of three servers, whose leaders are killed. Each figure is a line; the last says how many were as they should be. The exit code is 0
//! if all were, 1 if not.

mod engine;
mod figures;
mod fleet;
mod leaders;
mod measure;
mod relay;
mod stage;

use std::{io::Write as _, path::Path, process::ExitCode, time::Duration};

use figures::Figures;
use measure::{Effort, measure};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

const LONG: Effort = Effort { steady: Duration::from_secs(60), rounds: 40, kills: 25 };
const BRIEF: Effort = Effort { steady: Duration::from_secs(10), rounds: 10, kills: 3 };
/// Open files that a thousand nodes in one process may need.
const FILES: u64 = 65_536;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let wanted = match words.as_slice() {
        ["engines", directory, nodes, containers] => {
            engine::serve(Path::new(directory), count(nodes), count(containers));
            return ExitCode::SUCCESS;
        }
        ["nodes", directory, nodes] => {
            fleet::run(Path::new(directory), count(nodes));
            return ExitCode::SUCCESS;
        }
        words => wanted(words),
    };
    let Some(Wanted { effort, sizes, containers, clustered }) = wanted else {
        let usage = "usage: scale [--long] [--servers 1|3] [--containers NUMBER NODES…]";
        let _ = writeln!(std::io::stderr(), "{usage}");
        return ExitCode::from(2);
    };
    open_files();
    let mut figures = Figures::default();
    for size in sizes {
        measure(size, containers, clustered, effort, &mut figures);
    }
    if figures.close() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// What is to be measured.
struct Wanted {
    effort: Effort,
    sizes: Vec<usize>,
    containers: usize,
    clustered: bool,
}

/// Reads the words of the command line; `None` where they are none of its.
fn wanted(words: &[&str]) -> Option<Wanted> {
    let (effort, words) = match words {
        ["--long", words @ ..] => (LONG, words),
        words => (BRIEF, words),
    };
    let (clustered, words) = match words {
        ["--servers", "1", words @ ..] => (false, words),
        ["--servers", "3", words @ ..] => (true, words),
        words => (false, words),
    };
    let (sizes, containers) = match words {
        [] if effort.steady == LONG.steady => (vec![10, 100, 1_000], 100),
        [] => (vec![10, 50], 20),
        ["--containers", containers, sizes @ ..] if !sizes.is_empty() => {
            (sizes.iter().map(|size| count(size)).collect(), count(containers))
        }
        _ => return None,
    };
    Some(Wanted { effort, sizes, containers, clustered })
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
