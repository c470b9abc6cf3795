//! The state of an app: small plain files that assistants leave for each other and for the app's next push.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use aigis_proxy::{Error, quoted};
use serde_json::Value;

#[cfg(test)]
mod tests;

/// Most files of a state.
pub const MAX_FILES: usize = 64;
/// Most bytes of a file.
pub const MAX_BYTES: u64 = 1024 * 1024;
/// Most bytes of `log`.
pub const MAX_LOG: u64 = 10 * 1024 * 1024;
/// What is written where nothing comes next.
pub const NIL: &str = "nil";
/// Longest reference of an image, and longest name of an assistant, in bytes.
const MAX_REFERENCE: usize = 600;
/// What says nothing of an app's progress.
const IDLE: [&str; 4] = ["exit", "log", "next", "version"];

/// The files of a state, by their names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AppState {
    files: BTreeMap<String, Vec<u8>>,
}

impl AppState {
    /// Whether a file of state can be called so: 1 to 64 letters, digits, `.`, `_`, `-`, and no dot first.
    #[must_use]
    pub fn is_name(name: &str) -> bool {
        let good = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        (1..=64).contains(&name.len()) && !name.starts_with('.') && name.bytes().all(good)
    }

    /// How many bytes a file of that name may have.
    #[must_use]
    pub fn most(name: &str) -> u64 {
        if name == "log" { MAX_LOG } else { MAX_BYTES }
    }

    /// Reads the regular files at the top of a directory; one that is not there is an empty state. Says what it left out,
    /// and why.
    ///
    /// # Errors
    ///
    /// A directory or file that cannot be read.
    pub fn read(directory: &Path) -> io::Result<(Self, Vec<String>)> {
        let (mut state, mut left_out) = (Self::default(), Vec::new());
        let entries = match fs::read_dir(directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((state, left_out)),
            entries => entries?,
        };
        let mut paths: Vec<PathBuf> = entries.map(|entry| Ok(entry?.path())).collect::<io::Result<_>>()?;
        paths.sort();
        for path in paths {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let about = fs::symlink_metadata(&path)?;
            let fault = if !Self::is_name(&name) {
                Some("that is no name of a state file".to_owned())
            } else if !about.is_file() {
                Some("it is no regular file".to_owned())
            } else if about.len() > Self::most(&name) {
                Some(format!("it has {} bytes; at most {} are kept", about.len(), Self::most(&name)))
            } else if state.files.len() == MAX_FILES {
                Some(format!("there are more than {MAX_FILES} files"))
            } else {
                None
            };
            match fault {
                Some(fault) => left_out.push(format!("{}: {fault}", quoted(&name))),
                None => drop(state.files.insert(name, fs::read(&path)?)),
            }
        }
        Ok((state, left_out))
    }

    /// Writes the files into a directory, which is there; others that are there stay.
    ///
    /// # Errors
    ///
    /// A file that cannot be written.
    pub fn write(&self, directory: &Path) -> io::Result<()> {
        self.files.iter().try_for_each(|(name, content)| fs::write(directory.join(name), content))
    }

    /// The names and contents, sorted by name.
    pub fn files(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.files.iter().map(|(name, content)| (name.as_str(), content.as_slice()))
    }

    /// The content of a file.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.files.get(name).map(Vec::as_slice)
    }

    /// The text of a file without the newlines at its end; `None` if it is absent or says nothing.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<String> {
        self.get(name).filter(|content| !says_nothing(content)).map(|content| {
            let text = String::from_utf8_lossy(content);
            text.trim_end_matches(['\n', '\r']).to_owned()
        })
    }

    /// Gives a file a content.
    pub fn set(&mut self, name: &str, content: impl Into<Vec<u8>>) {
        debug_assert!(Self::is_name(name));
        self.files.insert(name.to_owned(), content.into());
    }

    /// Takes a file away.
    pub fn clear(&mut self, name: &str) {
        self.files.remove(name);
    }

    /// Takes over what was written: a file that says nothing clears the one of its name, any other takes its place, and what
    /// was not written stays. Says what it left out because there are too many.
    pub fn merge(&mut self, written: Self) -> Vec<String> {
        let (clears, sets): (Vec<_>, Vec<_>) =
            written.files.into_iter().partition(|(_, content)| says_nothing(content));
        clears.iter().for_each(|(name, _)| drop(self.files.remove(name)));
        let mut left_out = Vec::new();
        for (name, content) in sets {
            if self.files.len() < MAX_FILES || self.files.contains_key(&name) {
                self.files.insert(name, content);
            } else {
                left_out.push(format!("{name}: there are more than {MAX_FILES} files"));
            }
        }
        left_out
    }

    /// Takes `next` out: what comes next, trimmed, if anything does.
    pub fn take_next(&mut self) -> Option<String> {
        let content = self.files.remove("next")?;
        let text = String::from_utf8_lossy(&content).trim().to_owned();
        (!says_nothing(&content) && text != NIL).then_some(text)
    }

    /// What the next push begins with.
    #[must_use]
    pub fn first(&self) -> Option<String> {
        self.name_of("first")
    }

    /// What runs when the app has ended by itself.
    #[must_use]
    pub fn after(&self) -> Option<String> {
        self.name_of("after")
    }

    fn name_of(&self, file: &str) -> Option<String> {
        let text = self.text(file)?.trim().to_owned();
        (!text.is_empty() && text != NIL).then_some(text)
    }

    /// The command of the app; `None` for the image's own.
    ///
    /// # Errors
    ///
    /// `invalid_argument` with the file and its value.
    pub fn cmd(&self) -> Result<Option<Vec<String>>, Error> {
        let Some(text) = self.text("cmd") else { return Ok(None) };
        let wrong = || wrong("cmd", &text, "is no JSON array of strings, the first of them a program");
        let words: Vec<String> = serde_json::from_str(&text).map_err(|_| wrong())?;
        if words.first().is_none_or(String::is_empty) || words.iter().any(|word| word.contains('\0')) {
            return Err(wrong());
        }
        Ok(Some(words))
    }

    /// Where the command runs; `None` for the image's own.
    ///
    /// # Errors
    ///
    /// As [`AppState::cmd`].
    pub fn workingdir(&self) -> Result<Option<String>, Error> {
        let Some(text) = self.text("workingdir") else { return Ok(None) };
        if !text.starts_with('/') || text.chars().any(char::is_control) {
            return Err(wrong("workingdir", &text, "is no absolute path"));
        }
        Ok(Some(text))
    }

    /// The image that is run, by its name or id.
    ///
    /// # Errors
    ///
    /// As [`AppState::cmd`].
    pub fn image(&self) -> Result<Option<String>, Error> {
        let Some(text) = self.text("image") else { return Ok(None) };
        let text = text.trim();
        if !is_image(text) {
            return Err(wrong("image", text, "is no reference of an image"));
        }
        Ok(Some(text.to_owned()))
    }

    /// The app's TCP ports, the main one first.
    ///
    /// # Errors
    ///
    /// As [`AppState::cmd`].
    pub fn ports(&self) -> Result<Vec<u16>, Error> {
        let Some(text) = self.text("ports") else { return Ok(Vec::new()) };
        let values = match serde_json::from_str(&text) {
            Ok(Value::Array(values)) if values.len() <= 64 => values,
            _ => return Err(wrong("ports", &text, "is no JSON array of at most 64 integers")),
        };
        let mut ports = Vec::new();
        for value in values {
            let port = value.as_u64().and_then(|port| u16::try_from(port).ok()).filter(|port| *port > 0);
            let port = port.ok_or_else(|| wrong("ports", &value.to_string(), "is not in 1..65535"))?;
            if !ports.contains(&port) {
                ports.push(port);
            }
        }
        Ok(ports)
    }

    /// Looks at every file that has a form.
    ///
    /// # Errors
    ///
    /// `invalid_argument` for the first that has another.
    pub fn check(&self) -> Result<(), Error> {
        self.cmd()?;
        self.workingdir()?;
        self.ports()?;
        self.image()?;
        for file in ["first", "after"] {
            if let Some(name) = self.name_of(file)
                && (name.len() > MAX_REFERENCE || name.chars().any(char::is_control))
            {
                return Err(wrong(file, &name, "is no name of an assistant"));
            }
        }
        if let Some(version) = self.text("version")
            && !is_version(&version)
        {
            return Err(wrong("version", &version, "is no version M.m.p or M.m.p-label"));
        }
        if let Some(exit) = self.text("exit")
            && exit.parse::<i64>().is_err()
        {
            return Err(wrong("exit", &exit, "is no integer"));
        }
        Ok(())
    }

    /// What an assistant would find in it, but for what says nothing of progress.
    #[must_use]
    pub fn without_idle(&self) -> Self {
        let kept = self.files.iter().filter(|(name, _)| !IDLE.contains(&name.as_str()));
        Self { files: kept.map(|(name, content)| (name.clone(), content.clone())).collect() }
    }
}

/// Whether a text can be the reference of an image: its name with a tag or a digest, or its id.
#[must_use]
pub fn is_image(text: &str) -> bool {
    let good = |c: char| c.is_ascii_alphanumeric() || "._-/:@".contains(c);
    let begins = text.starts_with(|c: char| c.is_ascii_alphanumeric());
    begins && text.len() <= MAX_REFERENCE && text.chars().all(good)
}

fn wrong(file: &str, value: &str, what: &str) -> Error {
    Error::invalid(format!("{file}: {} {what}", quoted(value))).with("file", file)
}

/// Whether a content clears a file: nothing but space, or the word `null`.
fn says_nothing(content: &[u8]) -> bool {
    matches!(content.trim_ascii(), b"" | b"null")
}

fn is_version(text: &str) -> bool {
    let (numbers, label) = text.split_once('-').map_or((text, None), |(numbers, label)| (numbers, Some(label)));
    let good_label = |label: &str| {
        !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-'))
    };
    let parts: Vec<&str> = numbers.split('.').collect();
    parts.len() == 3 && parts.iter().all(|part| part.parse::<u32>().is_ok()) && label.is_none_or(good_label)
}
