//! Where the value of a secret comes from.

use std::{
    fs::File,
    io::{self, BufRead as _, IsTerminal as _, Read},
    path::Path,
};

use aigis_proxy::{
    Error,
    secret::{MAX_VALUE, SecretName},
    text_file,
};
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use zeroize::Zeroizing;

use crate::{exit::Failure, output::Output};

type Bytes = Zeroizing<Vec<u8>>;

/// Reads the value: a file, a pipe, or what is typed; one byte more than may be, at most.
///
/// # Errors
///
/// `invalid_argument` for what cannot be read.
pub(super) async fn read(name: &SecretName, file: Option<&Path>, output: &Output) -> Result<Bytes, Failure> {
    if let Some(path) = file {
        let (path, shown) = (path.to_owned(), text_file::shown(path));
        return blocking(move || all(File::open(&path)?), &shown).await;
    }
    let stdin = io::stdin();
    if !stdin.is_terminal() {
        return blocking(|| all(io::stdin().lock()), "standard input").await;
    }
    output.aside(&format!("type the value of {name}, which is not shown, and Enter"));
    // Held here and not by the thread that reads: whoever interrupts this gets the terminal back as it was.
    let _unseen = Unseen::begin()?;
    blocking(|| line(io::stdin().lock()), "the terminal").await
}

async fn blocking(read: impl FnOnce() -> io::Result<Bytes> + Send + 'static, from: &str) -> Result<Bytes, Failure> {
    let read = tokio::task::spawn_blocking(read).await.map_err(io::Error::other).and_then(|read| read);
    Ok(read.map_err(|error| Error::invalid(format!("the value cannot be read from {from}: {error}")).sent(false))?)
}

fn all(from: impl Read) -> io::Result<Bytes> {
    // Reserved at once, so that no shorter copy of it is left behind in memory.
    let mut value = Zeroizing::new(Vec::with_capacity(MAX_VALUE + 1));
    from.take(MAX_VALUE as u64 + 1).read_to_end(&mut value)?;
    Ok(value)
}

fn line(from: impl io::BufRead) -> io::Result<Bytes> {
    let mut value = Zeroizing::new(Vec::with_capacity(MAX_VALUE + 1));
    from.take(MAX_VALUE as u64 + 1).read_until(b'\n', &mut value)?;
    if value.last() == Some(&b'\n') {
        value.pop();
    }
    Ok(value)
}

/// A terminal that does not show what is typed, until this is dropped.
#[derive(Debug)]
pub(crate) struct Unseen(Termios);

impl Unseen {
    /// Begins to show nothing.
    ///
    /// # Errors
    ///
    /// What the terminal says.
    pub(crate) fn begin() -> io::Result<Self> {
        let before = tcgetattr(io::stdin())?;
        let mut modes = before.clone();
        modes.local_modes -= LocalModes::ECHO;
        modes.local_modes |= LocalModes::ECHONL;
        tcsetattr(io::stdin(), OptionalActions::Flush, &modes)?;
        Ok(Self(before))
    }
}

impl Drop for Unseen {
    fn drop(&mut self) {
        // A terminal that is gone needs nothing back.
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.0);
    }
}
