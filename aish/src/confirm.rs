//! Asking a person before something is lost.

use std::io::{self, BufRead as _, IsTerminal as _};

use crate::{
    exit::{Failure, INTERRUPTED},
    output::Output,
};

/// The longest answer that is read, in bytes.
const LONGEST: u64 = 64;

/// Asks at the terminal whether to go on, and returns if so; `loss` says what would be lost. Only `y` and `yes` mean yes.
///
/// # Errors
///
/// A usage error where nobody can be asked; the end without more words where the answer is no.
///
/// # Cancel safety
///
/// Dropping the future leaves the question unanswered.
pub(crate) async fn confirm(output: &Output, loss: &str) -> Result<(), Failure> {
    if !io::stdin().is_terminal() {
        return Err(Failure::usage(format!("{loss}: say that this is wanted"), "add --yes"));
    }
    output.aside(&format!("{loss}; go on? [y/N]"));
    let read = tokio::task::spawn_blocking(|| {
        let mut answer = String::new();
        io::Read::take(io::stdin().lock(), LONGEST).read_line(&mut answer).map(|_| answer)
    });
    let answer = read.await.map_err(io::Error::other)??;
    match answer.trim().to_ascii_lowercase().as_str() {
        "y" | "yes" => Ok(()),
        _ => {
            output.aside("nothing was changed");
            Err(Failure::Said(INTERRUPTED))
        }
    }
}
