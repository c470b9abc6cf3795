//! The assistants that ship with the product: folders that it carries with it, and those of a directory of the node.

use std::{collections::BTreeMap, fs, io, os::unix::fs::PermissionsExt as _, path::Path};

use aigis_proxy::{Name, text_file};

use crate::folder::{self, Folder, Settings};

#[cfg(test)]
mod tests;

/// Its files, by their paths within the library.
const FILES: &[(&str, &[u8])] = include!(concat!(env!("OUT_DIR"), "/library.rs"));

/// An assistant that the product carries with it: `remote:NAME`.
#[derive(Debug, Clone, PartialEq)]
pub struct Shipped {
    /// Its name, without its kind.
    pub name: Name,
    /// What its `assistant.toml` says.
    pub settings: Settings,
    /// Its files, by their paths within its folder.
    pub files: BTreeMap<&'static str, &'static [u8]>,
}

impl Shipped {
    /// Writes its folder into a directory, which is there and empty.
    ///
    /// # Errors
    ///
    /// A file that cannot be written.
    pub fn write(&self, directory: &Path) -> io::Result<()> {
        for (path, content) in &self.files {
            let path = directory.join(path);
            if let Some(above) = path.parent() {
                fs::create_dir_all(above)?;
            }
            fs::write(&path, content)?;
            // The mode is part of the folder's digest: it must not depend on who writes it.
            let mode = if content.starts_with(b"#!") { 0o755 } else { 0o644 };
            fs::set_permissions(&path, fs::Permissions::from_mode(mode))?;
        }
        Ok(())
    }
}

/// The library, sorted by name.
#[must_use]
pub fn all() -> Vec<Shipped> {
    let mut folders = BTreeMap::<&str, BTreeMap<&str, &[u8]>>::new();
    for (path, content) in FILES {
        if let Some((folder, file)) = path.split_once('/') {
            folders.entry(folder).or_default().insert(file, content);
        }
    }
    folders.into_values().filter_map(shipped).collect()
}

/// Reads what the product carries; a test proves that each can be read.
fn shipped(files: BTreeMap<&'static str, &'static [u8]>) -> Option<Shipped> {
    let text = |file| files.get(file).and_then(|content| std::str::from_utf8(content).ok());
    let name = Name::parse(text(folder::NAME)?.trim()).ok()?;
    let settings = Settings::parse(Path::new(folder::SETTINGS), text(folder::SETTINGS)?).ok()?;
    Some(Shipped { name, settings, files })
}

/// The assistants in the folders of a directory, sorted by name, and why others of them are none. Of two that are called
/// the same, the second is none.
#[must_use]
pub fn of_directory(directory: &Path) -> (Vec<Folder>, Vec<String>) {
    let (mut found, mut warnings) = (Vec::<Folder>::new(), Vec::new());
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) => {
            warnings.push(format!("{} cannot be read: {error}", text_file::shown(directory)));
            return (found, warnings);
        }
    };
    let mut paths: Vec<_> = entries.filter_map(Result::ok).map(|entry| entry.path()).collect();
    paths.retain(|path| {
        path.is_dir() && !path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."))
    });
    paths.sort();
    for path in paths {
        match Folder::read(&path) {
            Ok(folder) => match found.iter().find(|known| known.name == folder.name) {
                Some(known) => warnings.push(format!(
                    "{} is left out: {} is called {} as well",
                    text_file::shown(&path),
                    text_file::shown(&known.path),
                    folder.name
                )),
                None => found.push(folder),
            },
            Err(error) => warnings.push(format!("{} is left out: {error}", text_file::shown(&path))),
        }
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    (found, warnings)
}
