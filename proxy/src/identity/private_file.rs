//! Files that hold secrets: written whole with mode 0600, read only if nobody else could have read or changed them.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use zeroize::Zeroizing;

/// Larger than any file of ours; anything beyond is no such file.
const MAX_FILE: u64 = 2 * 1024 * 1024;

/// Why a private file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no such file.
    #[error("{file} does not exist")]
    Missing {
        /// The file.
        file: PathBuf,
    },
    /// It is a directory, a FIFO or a device.
    #[error("{file} is not a regular file")]
    NotRegular {
        /// The file.
        file: PathBuf,
    },
    /// Its group or others have rights on it.
    #[error("{file} has mode {mode:04o}, so others on this machine may read it; run: chmod 600 {file}")]
    Mode {
        /// The file.
        file: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// It belongs to another user of the machine.
    #[error("{file} belongs to user id {owner}, not to {own}; use a file of your own, made with: chmod 600 {file}")]
    Owner {
        /// The file.
        file: PathBuf,
        /// The user id that owns it.
        owner: u32,
        /// The user id of this process.
        own: u32,
    },
    /// Anyone may replace it, because anyone may write to its directory.
    #[error(
        "{directory} has mode {mode:04o}, so anyone on this machine may replace the files in it; run: chmod 700 \
         {directory} && chmod 600 {file}"
    )]
    Directory {
        /// The file.
        file: PathBuf,
        /// The directory that holds it.
        directory: PathBuf,
        /// The directory's permission bits.
        mode: u32,
    },
    /// It is larger than such a file can be.
    #[error("{file} is larger than {MAX_FILE} bytes")]
    TooLarge {
        /// The file.
        file: PathBuf,
    },
    /// It holds bytes that are no text.
    #[error("{file} is not UTF-8 text")]
    NotText {
        /// The file.
        file: PathBuf,
    },
    /// The operating system refused.
    #[error("cannot {action} {file}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file.
        file: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
}

fn io_error(action: &'static str, file: &Path, source: io::Error) -> Error {
    Error::Io { action, file: file.to_owned(), source }
}

fn directory_of(file: &Path) -> &Path {
    file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Reads a private file after checking the file that was opened, not the name.
pub(crate) fn read(file: &Path) -> Result<Zeroizing<String>, Error> {
    // Without O_NONBLOCK the opening of a FIFO would wait for a writer.
    let flags = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap_or_default();
    let opened =
        OpenOptions::new().read(true).custom_flags(flags).open(file).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => Error::Missing { file: file.to_owned() },
            _ => io_error("open", file, source),
        })?;
    let metadata = opened.metadata().map_err(|source| io_error("inspect", file, source))?;
    if !metadata.is_file() {
        return Err(Error::NotRegular { file: file.to_owned() });
    }
    let own = rustix::process::geteuid().as_raw();
    if metadata.uid() != own {
        return Err(Error::Owner { file: file.to_owned(), owner: metadata.uid(), own });
    }
    let mode = metadata.permissions().mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(Error::Mode { file: file.to_owned(), mode });
    }
    check_directory(file)?;
    if metadata.len() > MAX_FILE {
        return Err(Error::TooLarge { file: file.to_owned() });
    }
    let mut bytes = Zeroizing::new(Vec::with_capacity(usize::try_from(metadata.len()).unwrap_or_default()));
    opened.take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(|source| io_error("read", file, source))?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(Error::TooLarge { file: file.to_owned() });
    }
    let text = std::str::from_utf8(&bytes).map_err(|_| Error::NotText { file: file.to_owned() })?;
    Ok(Zeroizing::new(text.to_owned()))
}

/// Refuses a file that anyone may replace.
pub(crate) fn check_directory(file: &Path) -> Result<(), Error> {
    let directory = directory_of(file);
    let metadata = fs::metadata(directory).map_err(|source| io_error("inspect", directory, source))?;
    let mode = metadata.permissions().mode() & 0o7777;
    // In a sticky directory, such as /tmp, only the owner may replace a file.
    if mode & 0o002 != 0 && mode & 0o1000 == 0 {
        return Err(Error::Directory { file: file.to_owned(), directory: directory.to_owned(), mode });
    }
    Ok(())
}

/// Puts new content in the place of a private file's, as [`write`] does. A link to it stays one, and its mode is kept.
pub(crate) fn replace(file: &Path, content: &str) -> Result<(), Error> {
    let file = fs::canonicalize(file).map_err(|source| io_error("open", file, source))?;
    let mode = fs::metadata(&file).map_err(|source| io_error("inspect", &file, source))?.permissions().mode();
    write_with(&file, content, mode & 0o700)
}

/// Writes a private file whole: a reader sees the old content or the new, never a part.
pub(crate) fn write(file: &Path, content: &str) -> Result<(), Error> {
    write_with(file, content, 0o600)
}

fn write_with(file: &Path, content: &str, mode: u32) -> Result<(), Error> {
    let directory = directory_of(file);
    make_directory(directory)?;
    check_directory(file)?;
    let name = file.file_name().ok_or_else(|| Error::NotRegular { file: file.to_owned() })?;
    let mut staged = std::ffi::OsString::from(".");
    staged.push(name);
    staged.push(format!(".{}", uuid::Uuid::now_v7().simple()));
    let staged = directory.join(staged);
    let written = write_new(&staged, content, mode).and_then(|()| {
        fs::rename(&staged, file).map_err(|source| io_error("write", file, source))?;
        sync_directory(directory)
    });
    if written.is_err() {
        // The staged file holds a secret; what made the writing fail matters more than a failure here.
        let _ = fs::remove_file(&staged);
    }
    written
}

fn write_new(file: &Path, content: &str, mode: u32) -> Result<(), Error> {
    let mut opened = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(file)
        .map_err(|source| io_error("create", file, source))?;
    opened.write_all(content.as_bytes()).map_err(|source| io_error("write", file, source))?;
    opened.sync_all().map_err(|source| io_error("write", file, source))
}

pub(crate) fn sync_directory(directory: &Path) -> Result<(), Error> {
    File::open(directory).and_then(|opened| opened.sync_all()).map_err(|source| io_error("write to", directory, source))
}

/// Makes a directory, and what is missing above it, for the owner alone; one that exists is left as it is.
pub(crate) fn make_directory(directory: &Path) -> Result<(), Error> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
        .map_err(|source| io_error("create", directory, source))
}
