//! Kills what a chain stands on, at every boundary of its journal, and says how it went on.
//!
//! Over three hosts of a lab a chain of five steps runs, each in a container and each adding a line to a file. In each cell of
//! the matrix one of the coordinator, the working node, the bus and the working node's engine is killed as soon as the journal
//! has come to a boundary: a step has begun, or was committed. The chain must end, with the trees of an undisturbed run, every
//! step committed once.
//!
//! `kill-matrix` runs all cells; `kill-matrix bus engine 3` runs those of these victims and steps. Each cell prints one
//! line; the last says how many passed. The exit code is 0 if all did, 1 if not.

mod boundary;
mod chain;
mod stage;

use std::{
    io::Write as _,
    panic::{AssertUnwindSafe, catch_unwind},
    process::ExitCode,
};

use boundary::Boundary;
use stage::{Stage, Victim};

fn main() -> ExitCode {
    let (mut victims, mut steps) = (Vec::new(), Vec::new());
    for word in std::env::args().skip(1) {
        let victim = Victim::ALL.into_iter().find(|victim| victim.as_str() == word);
        let step = word.parse::<u32>().ok().filter(|step| (1..=chain::STEPS).contains(step));
        match (victim, step) {
            (Some(victim), _) => victims.push(victim),
            (None, Some(step)) => steps.push(step),
            (None, None) => {
                let known = Victim::ALL.map(Victim::as_str).join(", ");
                say(&format!(
                    "kill-matrix: \"{}\" is no victim and no step\nhint: victims are {known}; steps are 1 to {}",
                    word.escape_default(),
                    chain::STEPS
                ));
                return ExitCode::from(2);
            }
        }
    }
    let chosen = Boundary::all(chain::STEPS).filter(|boundary| steps.is_empty() || steps.contains(&boundary.step()));
    let boundaries: Vec<Boundary> = chosen.collect();
    let (mut passed, mut failed) = (0, 0);
    let mut stage: Option<Stage> = None;
    for victim in Victim::ALL.into_iter().filter(|victim| victims.is_empty() || victims.contains(victim)) {
        for boundary in &boundaries {
            // A cell that failed may have left anything behind: the next one starts on a stage of its own.
            let outcome =
                catch_unwind(AssertUnwindSafe(|| stage.get_or_insert_with(Stage::up).play(victim, *boundary)));
            let how = match outcome {
                Ok(recovered) => {
                    passed += 1;
                    format!("passed, went on after {:.1} s", recovered.as_secs_f64())
                }
                Err(_) => {
                    failed += 1;
                    stage = None;
                    "FAILED".to_owned()
                }
            };
            say(&format!("{victim} killed when {boundary}: {how}"));
        }
    }
    say(&format!("{passed} passed, {failed} failed"));
    if failed == 0 && passed > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Says a line; whoever does not listen misses it.
fn say(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}
