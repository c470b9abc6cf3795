//! With which assistant a push begins.

use std::{
    io::{self, BufRead as _},
    path::Path,
};

use aigis_assistants::selection::{self, Choice, Known, Selection};
use aigis_proxy::Error;
use aigis_registry::{
    AppState, Shared,
    shared::{AssistantRecord, Key},
};

use crate::{exit::Failure, output::Output};

/// The longest answer that is read, in bytes.
const LONGEST: u64 = 1024;

/// The assistants that a push may name: what ships with the product, and what the mesh was told of.
///
/// # Errors
///
/// What the store says.
pub(crate) async fn known(shared: &Shared) -> Result<Vec<Known>, Error> {
    let records = shared.list::<AssistantRecord>(Key::ASSISTANTS).await?;
    let mut known: Vec<Known> = records.iter().filter_map(|(_, version)| Known::of_record(&version.content)).collect();
    known.extend(selection::shipped());
    // Of two of one name, the mesh's counts.
    known.sort_by(|a, b| a.name.cmp(&b.name));
    known.dedup_by(|a, b| a.name == b.name);
    Ok(known)
}

/// Chooses; asks at the terminal where several would do, unless `yes` says that nobody is to be asked.
///
/// # Errors
///
/// `invalid_argument` for a name that is unknown, and where several would do and nobody says which.
pub(super) async fn choose(
    output: &Output,
    asked: Option<&str>,
    state: &AppState,
    paths: &[&String],
    known: &[Known],
    yes: bool,
) -> Result<Choice, Failure> {
    let is_folder = |text: &&str| Path::new(text).join("Dockerfile").is_file();
    let meant = |error: Error| match asked.filter(is_folder) {
        Some(folder) => error.hint(format!("to name the folder of that name: --assistant ./{folder}")),
        None => error,
    };
    let several = match selection::choose(asked, state, paths, known).map_err(meant)? {
        Selection::Several(several) if !yes && output.can_ask() => several,
        selection => return Ok(selection.only()?),
    };
    output.aside("several assistants are made for this app:");
    for (index, choice) in several.iter().enumerate() {
        output.aside(&format!("  {}  {}: {}", index + 1, choice.name, choice.reason));
    }
    output.aside("which one? [number]");
    let read = tokio::task::spawn_blocking(|| {
        let mut line = String::new();
        io::Read::take(io::stdin().lock(), LONGEST).read_line(&mut line).map(|_| line)
    });
    let line = read.await.map_err(io::Error::other)??;
    let number = line.trim().parse::<usize>().ok().and_then(|number| number.checked_sub(1));
    match number.and_then(|index| several.get(index)) {
        Some(choice) => Ok(choice.clone()),
        None => Ok(Selection::Several(several).only()?),
    }
}
