//! Kills what a chain stands on, at every boundary of its journal, and says how it went on.
//!
//! Over three hosts of a lab a chain of five steps runs, each in a container and each adding a line to a file. In each cell of
//! the matrix one of the coordinator, the working node, the bus, the working node's engine and the whole lab is killed as soon
//! as the journal has come to a boundary: a step has begun, or was committed. The chain must end, with the trees of an
//! undisturbed run, every step committed once, and no container of it left on any host.
//!
//! `kill-matrix` runs all cells; `kill-matrix bus engine 3` runs those of these victims and steps. `kill-matrix --points`
//! needs no lab: there a process of a build with the feature `faults` dies at each of its [points].
//! `kill-matrix --crowd` runs many chains [at once](crowd). Each cell prints one line; the last says how many passed. The
//! exit code is 0 if all did, 1 if not, 2 for a word that means nothing.

mod boundary;
mod chain;
mod crowd;
mod points;
mod stage;
mod wishes;

use std::{
    io::Write as _,
    panic::{AssertUnwindSafe, catch_unwind},
    process::ExitCode,
};

use boundary::Boundary;
use stage::{Stage, Victim};
use wishes::Wishes;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let tally = match Wishes::read(&words) {
        Ok(Wishes::Cells { victims, steps }) => cells(&victims, &steps),
        Ok(Wishes::Points { points, times }) => points::play(&points, times),
        Ok(Wishes::Crowd { chains }) => crowd::play(chains),
        Err(wrong) => {
            say(&wrong);
            return ExitCode::from(2);
        }
    };
    say(&format!("{} passed, {} failed", tally.passed, tally.failed));
    if tally.failed == 0 && tally.passed > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// How many cells passed.
#[derive(Debug, Default)]
struct Tally {
    passed: u32,
    failed: u32,
}

impl Tally {
    /// Plays a cell, tells how it went, and whether it passed.
    fn play(&mut self, what: &str, cell: impl FnOnce() -> String) -> bool {
        match catch_unwind(AssertUnwindSafe(cell)) {
            Ok(how) => {
                self.passed += 1;
                say(&format!("{what}: passed, {how}"));
                true
            }
            Err(_) => {
                self.failed += 1;
                say(&format!("{what}: FAILED"));
                false
            }
        }
    }
}

fn cells(victims: &[Victim], steps: &[u32]) -> Tally {
    let mut tally = Tally::default();
    let mut stage: Option<Stage> = None;
    for victim in victims {
        for boundary in Boundary::all(chain::STEPS).filter(|boundary| steps.contains(&boundary.step())) {
            let passed = tally.play(&format!("{victim} killed when {boundary}"), || {
                let recovered = stage.get_or_insert_with(Stage::up).play(*victim, boundary);
                format!("went on after {:.1} s", recovered.as_secs_f64())
            });
            if !passed {
                // It may have left anything behind: the next one starts on a stage of its own.
                stage = None;
            }
        }
    }
    tally
}

/// Says a line; whoever does not listen misses it.
fn say(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}
