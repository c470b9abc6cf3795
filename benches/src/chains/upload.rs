//! A large tree that is pushed again with one file changed.

use std::{
    fs::{self, File},
    io::Read as _,
    path::Path,
    time::{Duration, Instant, SystemTime},
};

use aigis_registry::Timestamp;
use aigis_tests::{Mesh, Running, nonce};
use serde_json::Value;

use super::steps;
use crate::{
    Effort,
    error::{Error, part, system},
    rounds::{Figures, median, turns},
    table::{Goal, Table, milliseconds},
};

/// How many files there are, and how many bytes each has: 100 MiB together.
const FILES: usize = 10_000;
const BYTES: usize = 10_486;
/// How many of them a directory has.
const EACH: usize = 100;
/// What another push may send, and how long it may take, and its first step to begin after it.
const SENT: f64 = 256.0 * 1024.0;
const TIME: f64 = 1.0;
/// How long a push may take at most.
const WITHIN: Duration = Duration::from_secs(120);

/// What a push took: bytes sent, seconds until all were sent, and from then on until the record says that the first step runs, and
/// until its container, which has all of the tree, has said something.
struct Took {
    sent: f64,
    upload: f64,
    step: f64,
    word: f64,
}

pub(super) fn measure(mesh: &Mesh, effort: Effort, table: &mut Table) -> Result<(), Error> {
    let folder = tempfile::tempdir().map_err(system("make a directory"))?;
    let (app, assistant) = (folder.path().join("app"), folder.path().join("looks"));
    fill(&app)?;
    steps::assistant(mesh, &assistant, "#!/bin/sh\nls /in/app\n", "network = \"none\"\n")?;
    // The first turn, which does not count, sends all of it.
    let rounds = turns(effort.large.max(3), || {
        fs::write(app.join("d7/f7"), nonce()).map_err(system("write a file"))?;
        push(mesh, &app)
    })?;
    let figures =
        |which: fn(&Took) -> f64, limit: f64| rounds.iter().map(|took| which(took) / limit).collect::<Figures>();
    let middle = |which: fn(&Took) -> f64| median(rounds.iter().map(which));
    let sent = format!("{:.0} KiB", middle(|took| took.sent) / 1024.0);
    let work = "100 MiB in 10,000 files pushed again, one changed";
    table.row(&format!("{work}: sent"), sent, "256 KiB".to_owned(), &figures(|t| t.sent, SENT), Goal::AtMost(1.0));
    let (here, raw) = (milliseconds(middle(|took| took.upload)), milliseconds(TIME));
    table.row(&format!("{work}: upload"), here, raw.clone(), &figures(|t| t.upload, TIME), Goal::AtMost(1.0));
    let here = milliseconds(middle(|took| took.step));
    let name = format!("{work}: from there to the first step");
    table.row(&name, here, raw.clone(), &figures(|t| t.step, TIME), Goal::AtMost(1.0));
    let here = milliseconds(middle(|took| took.word));
    let name = format!("{work}: from there to the first word of its container");
    table.row(&name, here, raw, &figures(|t| t.word, TIME), Goal::None);
    Ok(())
}

/// Makes files that have nothing in common.
fn fill(app: &Path) -> Result<(), Error> {
    let mut noise = File::open("/dev/urandom").map_err(system("read noise"))?;
    let mut bytes = vec![0; BYTES];
    for file in 0..FILES {
        noise.read_exact(&mut bytes).map_err(system("read noise"))?;
        let path = app.join(format!("d{}/f{}", file / EACH, file % EACH));
        if file % EACH == 0 {
            fs::create_dir_all(app.join(format!("d{}", file / EACH))).map_err(system("make a directory"))?;
        }
        fs::write(&path, &bytes).map_err(system("write a file"))?;
    }
    Ok(())
}

fn push(mesh: &Mesh, app: &Path) -> Result<Took, Error> {
    let begun = Instant::now();
    let options = ["--assistant", "local:looks", "--name", "bench-upload", "--no-save", "--json"];
    let command = [&["push", app.to_str().unwrap_or_default()][..], &options[..]].concat();
    let mut pushing = Running::new(mesh.spawn(command));
    let event = |line: &str, name: &str| {
        let event: Value = serde_json::from_str(line).ok()?;
        (event["event"] == name).then_some(event)
    };
    let upload = pushing.until("all was sent", WITHIN, |line| event(line, "upload"));
    let (took, at, uploaded) = (begun.elapsed(), SystemTime::now(), Instant::now());
    let start = pushing.until("its chain began", WITHIN, |line| event(line, "start"));
    pushing.until("its container said something", WITHIN, |line| event(line, "log"));
    let word = uploaded.elapsed().as_secs_f64();
    let ran = pushing.end(WITHIN);
    if ran.code != 0 {
        return Err(Error::Part { what: "push a tree", reason: ran.stderr });
    }
    let id = start["chain"].as_str().unwrap_or_default();
    let chain = mesh.aish(["chains", "show", id, "--json"]).json();
    let began = chain["steps"][0]["started_at"].as_str().unwrap_or_default();
    let began: Timestamp = began.parse().map_err(part("read when a step began"))?;
    let after = SystemTime::from(began.time()).duration_since(at).unwrap_or_default();
    let sent = upload["sent_bytes"].as_f64().unwrap_or_default();
    Ok(Took { sent, upload: took.as_secs_f64(), step: after.as_secs_f64(), word })
}
