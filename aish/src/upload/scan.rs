//! A look at a tree before any of it is sent: what goes, what stays, and whether it is too much.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    time::SystemTime,
};

use aigis_proxy::{Code, Error, quoted};
use aigis_registry::archive::Limits;

use crate::quantity;
use aigis_deploy::{Rules, is_environment};

/// How many directories are named where a tree is too large.
const NAMED: usize = 5;
/// After how many entries it is not looked any further: that is far too much.
const ENOUGH: u64 = 2_000_000;

/// By what it shows that a file was changed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Stamp {
    /// How many bytes it has.
    pub(crate) bytes: u64,
    /// When it was written last.
    written: Option<SystemTime>,
    runs: bool,
}

impl From<&fs::Metadata> for Stamp {
    fn from(about: &fs::Metadata) -> Self {
        Self { bytes: about.len(), written: about.modified().ok(), runs: about.permissions().mode() & 0o111 != 0 }
    }
}

/// What a tree holds of what goes.
#[derive(Debug, Default)]
pub(crate) struct Scan {
    /// The files, by their paths.
    pub(crate) files: BTreeMap<String, Stamp>,
    /// How many files, directories and links there are.
    pub(crate) entries: u64,
    /// How many bytes the files have.
    pub(crate) bytes: u64,
    /// What is neither file nor directory nor link, and is left out.
    pub(crate) skipped: Vec<String>,
    /// Files of secrets that are left out.
    pub(crate) environment: Vec<String>,
    /// How many bytes each directory holds, with all below it.
    directories: BTreeMap<String, u64>,
    largest: Option<(String, u64)>,
}

/// Looks at the tree. This blocks.
///
/// # Errors
///
/// `invalid_argument` for a directory that cannot be read.
pub(crate) fn scan(root: &Path) -> Result<Scan, Error> {
    let mut rules = Rules::of(root);
    let mut found = Scan::default();
    let mut waiting: Vec<(PathBuf, String)> = vec![(root.to_owned(), String::new())];
    while let Some((directory, above)) = waiting.pop() {
        let unreadable = |error: std::io::Error| {
            let path = if above.is_empty() { "." } else { &above };
            Error::invalid(format!("\"{}\" cannot be read: {error}", quoted(path)))
        };
        let mut entries =
            fs::read_dir(&directory).and_then(Iterator::collect::<Result<Vec<_>, _>>).map_err(unreadable)?;
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            let path = if above.is_empty() { name.into_owned() } else { format!("{above}/{name}") };
            let kind = entry.file_type().map_err(unreadable)?;
            if !rules.keeps(&path, kind.is_dir()) {
                if is_environment(&path) {
                    found.environment.push(path);
                }
                continue;
            }
            if !kind.is_dir() && !kind.is_file() && !kind.is_symlink() {
                found.skipped.push(path);
                continue;
            }
            if entry.file_name().to_str().is_none() {
                return Err(Error::invalid(format!("\"{}\" cannot be packed: the path is not UTF-8", quoted(&path))));
            }
            if kind.is_dir() {
                waiting.push((entry.path(), path));
            } else if kind.is_file() {
                found.add(path, Stamp::from(&entry.metadata().map_err(unreadable)?));
            }
            found.entries += 1;
            if found.entries > ENOUGH {
                return Ok(found);
            }
        }
    }
    Ok(found)
}

impl Scan {
    fn add(&mut self, path: String, stamp: Stamp) {
        let size = stamp.bytes;
        self.bytes += size;
        for (end, _) in path.match_indices('/') {
            let above = path.get(..end).unwrap_or_default();
            match self.directories.get_mut(above) {
                Some(bytes) => *bytes += size,
                None => drop(self.directories.insert(above.to_owned(), size)),
            }
        }
        if self.largest.as_ref().is_none_or(|(_, largest)| size > *largest) {
            self.largest = Some((path.clone(), size));
        }
        self.files.insert(path, stamp);
    }

    /// Says whether it is not too much.
    ///
    /// # Errors
    ///
    /// `resource_exhausted` that names the largest directories, with the line to leave each out.
    pub(crate) fn check(&self, limits: &Limits) -> Result<(), Error> {
        let message = if self.bytes > limits.total_bytes {
            let (has, most) = (quantity::bytes(self.bytes), quantity::bytes(limits.total_bytes));
            format!("the tree has {has}; at most {most} are taken")
        } else if self.entries > limits.entries {
            format!("the tree has {} entries; at most {} are taken", self.entries, limits.entries)
        } else if let Some((path, size)) = self.largest.as_ref().filter(|(_, size)| *size > limits.file_bytes) {
            let (has, most) = (quantity::bytes(*size), quantity::bytes(limits.file_bytes));
            format!("the file \"{}\" has {has}; at most {most} are taken", quoted(path))
        } else {
            return Ok(());
        };
        Err(Error::new(Code::ResourceExhausted, message).hint(self.advice()))
    }

    /// What to leave out.
    fn advice(&self) -> String {
        let mut directories: Vec<(&String, u64)> =
            self.directories.iter().map(|(path, bytes)| (path, *bytes)).collect();
        directories.sort_by(|(a, more), (b, less)| less.cmp(more).then_with(|| a.cmp(b)));
        let named = directories.into_iter().take(NAMED);
        let mut lines: Vec<String> =
            named.map(|(path, bytes)| format!("/{}/ ({})", quoted(path), quantity::bytes(bytes))).collect();
        if let Some((path, bytes)) = self.largest.as_ref().filter(|_| lines.is_empty()) {
            lines.push(format!("/{} ({})", quoted(path), quantity::bytes(*bytes)));
        }
        format!("leave out what is not needed, by a line in .aigisignore; the largest: {}", lines.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStrExt as _;

    use super::*;

    #[test]
    fn chn_68_what_is_too_much_names_the_five_largest_directories() {
        let mut scan = Scan::default();
        for (path, size) in [("a/x", 10), ("b/c/y", 20), ("d/z", 5), ("e/z", 4), ("f/z", 1), ("g", 100)] {
            scan.add(path.to_owned(), Stamp { bytes: size, ..Stamp::default() });
        }
        let limits = Limits { total_bytes: 139, ..Limits::TREE };
        let error = scan.check(&limits).unwrap_err();
        assert_eq!(error.code, Code::ResourceExhausted);
        let hint = error.hint.unwrap();
        assert!(hint.ends_with("/b/ (20 B), /b/c/ (20 B), /a/ (10 B), /d/ (5 B), /e/ (4 B)"), "{hint}");
        assert!(scan.check(&Limits::TREE).is_ok());
        assert!(scan.check(&Limits { file_bytes: 99, ..Limits::TREE }).unwrap_err().message.contains("\"g\""));
    }

    #[test]
    fn chn_30_chn_31_what_stays_is_told() {
        let dir = tempfile::tempdir().unwrap();
        for name in [".env", "a", "node_modules/x"] {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "hello").unwrap();
        }
        fs::create_dir(dir.path().join("empty")).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(dir.path().join("s")).unwrap();
        let scan = scan(dir.path()).unwrap();
        let odd = std::ffi::OsStr::from_bytes(b"\xff");
        fs::write(dir.path().join(odd), "").unwrap();
        assert!(super::scan(dir.path()).unwrap_err().message.contains("not UTF-8"));
        assert_eq!(scan.files.keys().collect::<Vec<_>>(), ["a"]);
        assert_eq!((scan.entries, scan.bytes), (2, 5));
        assert_eq!((scan.skipped, scan.environment), (vec!["s".to_owned()], vec![".env".to_owned()]));
    }
}
