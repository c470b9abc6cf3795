//! The files of an app, as builtins look at them.

use std::{
    fs, io,
    io::Read as _,
    path::{Path, PathBuf},
};

use aigis_proxy::Error;

/// Most bytes of a file that is read.
const MAX_BYTES: u64 = 1024 * 1024;
/// Most files and directories that are listed: as many as a tree may hold.
const MAX_ENTRIES: usize = 100_000;

/// The files of an app.
#[derive(Debug, Clone, Copy)]
pub(super) struct App<'a> {
    pub(super) directory: &'a Path,
}

impl<'a> App<'a> {
    pub(super) fn new(directory: &'a Path) -> Self {
        Self { directory }
    }

    /// Whether there is a file at that path.
    pub(super) fn has(self, path: &str) -> bool {
        self.directory.join(path).is_file()
    }

    /// The beginning of a file as text; `None` if there is none.
    pub(super) fn text(self, path: &str) -> Option<String> {
        let path = self.directory.join(path);
        if !path.is_file() {
            return None;
        }
        let mut bytes = Vec::new();
        fs::File::open(path).ok()?.take(MAX_BYTES).read_to_end(&mut bytes).ok()?;
        let text = String::from_utf8_lossy(&bytes);
        Some(text.strip_prefix('\u{feff}').unwrap_or(&text).to_owned())
    }

    /// The files at or below a directory, sorted. What `enter` refuses of directories is not entered, and no link is.
    pub(super) fn files(self, enter: impl Fn(&str) -> bool) -> io::Result<Vec<String>> {
        let (mut files, mut waiting, mut seen) = (Vec::new(), vec![String::new()], 0);
        while let Some(below) = waiting.pop() {
            for entry in fs::read_dir(self.directory.join(&below))? {
                let entry = entry?;
                seen += 1;
                if seen > MAX_ENTRIES {
                    return Err(io::Error::other(format!("there are more than {MAX_ENTRIES} files")));
                }
                let Ok(name) = entry.file_name().into_string() else { continue };
                let path = if below.is_empty() { name.clone() } else { format!("{below}/{name}") };
                if !entry.file_type()?.is_dir() {
                    files.push(path);
                } else if enter(&name) {
                    waiting.push(path);
                }
            }
        }
        files.sort();
        Ok(files)
    }
}

/// Does what waits for the disk where that is allowed.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    tokio::task::spawn_blocking(work).await.map_err(|_| Error::internal("a thread that reads an app ended"))?
}

/// The paths of all files of a tree.
pub(super) async fn paths(directory: PathBuf) -> Result<Vec<String>, Error> {
    blocking(move || {
        let files = App::new(&directory).files(|_| true);
        files.map_err(|error| Error::internal(format!("the app's files cannot be listed: {error}")))
    })
    .await
}

/// A list of words as the JSON that state files and Dockerfiles hold.
pub(super) fn json(words: &[impl AsRef<str>]) -> String {
    let words: Vec<&str> = words.iter().map(AsRef::as_ref).collect();
    // Texts have a JSON form.
    serde_json::to_string(&words).unwrap_or_default()
}

/// What a builtin says when it has not what it needs.
pub(super) fn lacks(builtin: &str, what: &str) -> Error {
    Error::precondition(format!("builtin:{builtin} needs {what}"))
}
