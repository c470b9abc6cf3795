//! Text files that people and other programs write: read whole, within a bound, and refused with the place of what is
//! wrong.

use std::{
    fs::OpenOptions,
    io::{self, Read},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use serde::de::DeserializeOwned;

use crate::json;

/// Largest file that is read, in bytes.
pub const MAX_FILE: u64 = 256 * 1024;

/// Why a text file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no such file.
    #[error("{} does not exist", shown(.path))]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// It is a directory, a FIFO, a socket or a device.
    #[error("{} is not a regular file", shown(.path))]
    NotRegular {
        /// The file.
        path: PathBuf,
    },
    /// The operating system refuses it.
    #[error("{} cannot be read", shown(.path))]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// It was read, and what it holds cannot be used.
    #[error("{}:{line}:{column}: {reason}", shown(.path))]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Where, from 1.
        line: usize,
        /// Where in the line, in characters from 1.
        column: usize,
        /// What is wrong.
        reason: String,
    },
}

impl Error {
    /// Says what is wrong at a byte of the text.
    #[must_use]
    pub fn at(path: &Path, text: &str, offset: usize, reason: impl Into<String>) -> Self {
        let (line, column) = place(text, offset);
        Self::Malformed { path: path.to_owned(), line, column, reason: reason.into() }
    }
}

/// A path as a message shows it: whole, and without control characters.
#[must_use]
pub fn shown(path: &Path) -> String {
    path.to_string_lossy().chars().map(escaped).collect()
}

/// The words of a parser, which may quote its input: without control characters, and of a bounded length.
#[must_use]
pub fn told(reason: &str) -> String {
    const LONGEST: usize = 240;
    let mut out: String = reason.chars().take(LONGEST).map(escaped).collect();
    if reason.chars().nth(LONGEST).is_some() {
        out.push('…');
    }
    out
}

fn escaped(c: char) -> String {
    if c.is_control() { c.escape_unicode().to_string() } else { c.to_string() }
}

/// The line, and the column in characters, of a byte of the text; both from 1.
#[must_use]
pub fn place(text: &str, offset: usize) -> (usize, usize) {
    let before: String = text.char_indices().take_while(|(index, _)| *index < offset).map(|(_, c)| c).collect();
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    (line, column)
}

/// Reads a file of plain UTF-8: no byte order mark, no NUL, at most [`MAX_FILE`] bytes.
///
/// # Errors
///
/// Says whether the file cannot be had, or what in it is wrong, and where.
pub fn read(path: &Path) -> Result<String, Error> {
    // Without O_NONBLOCK the opening of a FIFO would wait for a writer.
    let flags = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap_or_default();
    let unreadable = |source| Error::Unreadable { path: path.to_owned(), source };
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => Error::Missing { path: path.to_owned() },
        // What cannot be opened for lack of another end, such as a socket.
        _ if source.raw_os_error() == Some(rustix::io::Errno::NXIO.raw_os_error()) => {
            Error::NotRegular { path: path.to_owned() }
        }
        _ => unreadable(source),
    })?;
    let metadata = file.metadata().map_err(unreadable)?;
    if !metadata.is_file() {
        return Err(Error::NotRegular { path: path.to_owned() });
    }
    let mut bytes = Vec::new();
    file.take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    let refuse = |before: &[u8], reason: &str| {
        let text = String::from_utf8_lossy(before);
        Err(Error::at(path, &text, text.len(), reason))
    };
    if bytes.len() as u64 > MAX_FILE {
        let reason = format!("the file is larger than {MAX_FILE} bytes, the most that is read");
        return refuse(&[], &reason);
    }
    if bytes.starts_with(&[0xEF, 0xBB, 0xBF]) {
        return refuse(&[], "the file begins with a byte order mark; save it as plain UTF-8");
    }
    let text = match String::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => {
            let good = error.utf8_error().valid_up_to();
            let before = error.as_bytes().get(..good).unwrap_or_default();
            return refuse(before, "the file is not UTF-8; save it as plain UTF-8");
        }
    };
    match text.find('\0') {
        Some(at) => Err(Error::at(path, &text, at, "the file holds a NUL character; save it as plain UTF-8 text")),
        None => Ok(text),
    }
}

/// Reads a JSON file by the strict reader's rules.
///
/// # Errors
///
/// As [`read`]; also what is no JSON of the expected form, with its place.
pub fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T, Error> {
    let text = read(path)?;
    let malformed = |(line, column, reason): (usize, usize, String)| Error::Malformed {
        path: path.to_owned(),
        line: line.max(1),
        column: column.max(1),
        reason: told(&reason),
    };
    json::check(&text).map_err(malformed)?;
    serde_json::from_str(&text).map_err(|error| malformed(json::located(&error)))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Sample {
        #[expect(dead_code, reason = "only its type matters")]
        name: String,
    }

    fn refused(content: &[u8]) -> String {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("f.json");
        fs::write(&path, content).unwrap();
        let message = read_json::<Sample>(&path).unwrap_err().to_string();
        assert!(!message.chars().any(char::is_control), "{message:?}");
        message.strip_prefix(&format!("{}:", path.display())).unwrap().to_owned()
    }

    #[test]
    fn bad_41_json_files_say_line_and_column() {
        for (content, place) in [
            ("{\n  // a comment\n  \"name\": \"a\"}", "2:3: "),
            ("{\"name\": \"a\",\n}", "2:1: "),
            ("{\"name\": \"a\",\n \"name\": \"b\"}", "2:"),
            ("{\n\"name\": NaN}", "2:9: "),
            ("{\"name\": 3}", "1:10: "),
            ("{\"nam\": \"a\"}", "1:"),
            ("", "1:1: "),
            ("{\"name\": \"a\"} x", "1:15: "),
        ] {
            let message = refused(content.as_bytes());
            assert!(message.starts_with(place), "{content:?}: {message}");
        }
        assert!(refused(b"{\"name\": \"a\", \"name\": \"b\"}").contains("name"));
        let utf16 = |first: &[u8]| [first, &"{\"name\"}".bytes().flat_map(|b| [b, 0]).collect::<Vec<_>>()].concat();
        assert!(refused(&utf16(&[0xff, 0xfe])).starts_with("1:1: the file is not UTF-8"));
        assert!(refused(&utf16(&[])).starts_with("1:2: the file holds a NUL"));
        assert!(refused("[".repeat(129).as_bytes()).contains("128"));
        assert!(refused(format!("{{\"\\u001b{}\": 1}}", "k".repeat(1000)).as_bytes()).len() < 300);
    }

    #[test]
    fn bad_38_files_that_are_no_text() {
        assert!(refused(&vec![b' '; 256 * 1024 + 1]).starts_with("1:1: the file is larger than 262144 bytes"));
        assert!(refused(b"\xef\xbb\xbf{}").contains("byte order mark"));
        assert!(refused("a\né\u{0}".as_bytes()).starts_with("2:2: "));
        assert!(refused(b"a\nb\xff").starts_with("2:2: the file is not UTF-8"));
    }

    #[test]
    fn bad_38_files_that_cannot_be_had() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        assert!(matches!(read(&at("none")), Err(Error::Missing { .. })));
        assert!(matches!(read(directory.path()), Err(Error::NotRegular { .. })));
        rustix::fs::mkfifoat(rustix::fs::CWD, at("fifo"), rustix::fs::Mode::RWXU).unwrap();
        assert!(matches!(read(&at("fifo")), Err(Error::NotRegular { .. })));
        let _socket = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
        assert!(matches!(read(&at("socket")), Err(Error::NotRegular { .. })));
        std::os::unix::fs::symlink(at("loop"), at("loop")).unwrap();
        assert!(matches!(read(&at("loop")), Err(Error::Unreadable { .. })));
    }
}
