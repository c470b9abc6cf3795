//! Breaks a mesh over three hosts on purpose, row by row of `docs/faults.md`, and says what was measured.
//!
//! `faults` runs all rows in full; `faults FLT-02 FLT-27` runs these; `--brief` runs fewer rounds and shorter waits.
//! Each row prints one line; the last says how many passed. The exit code is 0 if all did, 1 if not.

mod bus;
mod calls;
mod clocks;
mod cluster;
mod disk;
mod engine;
mod links;
mod nodes;
mod readers;
mod row;
mod scene;
mod storage;
mod versions;

use std::{
    io::Write as _,
    panic::{AssertUnwindSafe, catch_unwind},
    process::ExitCode,
    time::Instant,
};

use row::{Depth, Row, Run};
use scene::Scene;

fn rows() -> Vec<Row> {
    let mut rows = [
        nodes::ROWS,
        bus::ROWS,
        cluster::ROWS,
        storage::ROWS,
        versions::ROWS,
        links::ROWS,
        engine::ROWS,
        readers::ROWS,
        calls::ROWS,
        clocks::ROWS,
    ]
    .concat();
    rows.sort_by_key(|row| row.id);
    rows
}

fn main() -> ExitCode {
    let mut depth = Depth::Full;
    let mut wanted = Vec::new();
    for word in std::env::args().skip(1) {
        match word.as_str() {
            "--brief" => depth = Depth::Brief,
            id if rows().iter().any(|row| row.id.eq_ignore_ascii_case(id)) => wanted.push(id.to_ascii_uppercase()),
            other => {
                let known = rows().iter().map(|row| row.id).collect::<Vec<_>>().join(" ");
                say(&format!("faults: no row \"{}\"\nhint: use --brief, or some of {known}", other.escape_default()));
                return ExitCode::from(2);
            }
        }
    }
    let chosen = rows().into_iter().filter(|row| wanted.is_empty() || wanted.iter().any(|id| id == row.id));
    let (mut passed, mut failed) = (0, 0);
    let mut scene: Option<Scene> = None;
    for row in chosen {
        let begun = Instant::now();
        let mut run = Run::new(depth);
        // A row that failed may have left anything behind: the next one starts on a scene of its own.
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            let clustered = cluster::plays(row.id);
            // One lab at a time: each has three engines.
            if scene.as_ref().is_some_and(|scene| scene.clustered != clustered) {
                scene = None;
            }
            let up = if clustered { Scene::clustered } else { Scene::up };
            let scene = scene.get_or_insert_with(up);
            scene.settle();
            (row.play)(scene, &mut run);
            scene.is_whole();
        }));
        let took = begun.elapsed().as_secs_f64();
        let how = match outcome {
            Ok(()) => {
                passed += 1;
                "passed"
            }
            Err(_) => {
                failed += 1;
                scene = None;
                "FAILED"
            }
        };
        say(&format!("{} {how}  {}  [{}]  ({took:.0} s)", row.id, row.what, run.figures()));
    }
    say(&format!("{passed} passed, {failed} failed"));
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Says a line; whoever does not listen misses it.
fn say(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}
