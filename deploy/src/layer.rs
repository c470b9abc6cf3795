//! Layers of an image: what a source tree, or the outputs of a phase, become below a container's work directory.

use std::{
    collections::BTreeMap,
    io::{self, Write},
};

use aigis_proxy::blob::Digest;
use aigis_registry::archive::{Attributes, Sink, Writer};
use serde::{Deserialize, Serialize};

pub(crate) mod entries;

/// Whose the paths are that an application writes to.
const WRITER: (u32, u32) = (10_001, 10_001);

/// What a layer brings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// What an image stands on.
    Base,
    /// Packages of the distribution.
    Packages,
    /// What a phase changed outside the work directory.
    System,
    /// What the install phase made.
    Install,
    /// What the application is: its sources, or what was built of them.
    Files,
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Base => "base",
            Self::Packages => "packages",
            Self::System => "system",
            Self::Install => "install",
            Self::Files => "files",
        })
    }
}

/// A layer of an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layer {
    /// Of its archive, which is not compressed.
    pub digest: Digest,
    /// How many bytes it has.
    pub size_bytes: u64,
    /// What it brings.
    pub kind: Kind,
    /// Whose it is: an application; nobody's, if it is of the base, or of all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub application: Option<String>,
}

/// Where the files of an application lie in its container, and how.
#[derive(Debug, Clone)]
pub struct Place<'a> {
    /// The work directory, absolute: `/app`.
    pub directory: &'a str,
    /// The time of every entry, in seconds since 1970.
    pub epoch: u64,
    /// Paths that belong to the application's user, absolute or relative to the directory. Those below the directory are made
    /// as directories where the tree has none.
    pub writable: &'a [String],
    /// Files that are written beside those of the tree, by their names in the directory.
    pub written: &'a [(&'a str, String)],
}

/// Writes the entries of a tree in application form, as a layer.
#[derive(Debug)]
pub struct Application<W> {
    writer: Writer<W>,
    /// With a slash at its end.
    prefix: String,
    epoch: u64,
    writable: Vec<String>,
    /// What the tree may lack, by its place among the entries: a file's content, or nothing for a directory.
    lacking: BTreeMap<String, Option<String>>,
}

impl<W: Write> Application<W> {
    /// Begins the layer with the directories above the tree.
    ///
    /// # Errors
    ///
    /// What `out` refuses.
    pub fn new(out: W, place: &Place<'_>) -> io::Result<Self> {
        let directory = place.directory.trim_matches('/');
        let absolute = |path: &String| match path.strip_prefix('/') {
            Some(path) => path.trim_end_matches('/').to_owned(),
            None => format!("{directory}/{}", path.trim_start_matches("./").trim_end_matches('/')),
        };
        let writable: Vec<String> = place.writable.iter().map(absolute).collect();
        let prefix = format!("{directory}/");
        let mut lacking = BTreeMap::new();
        for path in &writable {
            let below = path.strip_prefix(&prefix).map_or(path.len(), |_| prefix.len());
            let ends = path.match_indices('/').map(|(end, _)| end).filter(|end| *end >= below).chain([path.len()]);
            let parts = ends.filter(|_| path.len() > below).filter_map(|end| path.get(..end));
            lacking.extend(parts.map(|part| (format!("{part}/"), None)));
        }
        lacking.extend(place.written.iter().map(|(name, content)| (format!("{prefix}{name}"), Some(content.clone()))));
        let mut layer = Self { writer: Writer::new(out), prefix, epoch: place.epoch, writable, lacking };
        for (end, _) in layer.prefix.clone().match_indices('/') {
            let above = directory.get(..end).unwrap_or(directory);
            layer.writer.directory_with(above, layer.attributes(above, true))?;
        }
        Ok(layer)
    }

    /// Ends it.
    ///
    /// # Errors
    ///
    /// What `out` refuses.
    pub fn end(mut self) -> io::Result<W> {
        while let Some((path, content)) = self.lacking.pop_first() {
            self.add(&path, content)?;
        }
        self.writer.end()
    }

    /// Writes what the tree lacks of all that comes before an entry, or is the same.
    fn reach(&mut self, path: &str) -> io::Result<()> {
        // A file stands where a directory would be made.
        self.lacking.remove(&format!("{path}/"));
        while let Some(next) = self.lacking.first_entry().filter(|next| next.key().as_str() <= path) {
            let (next, content) = next.remove_entry();
            match content {
                Some(_) if next == path => {
                    let message = format!("the source has a file \"{path}\" of its own, where one is written");
                    return Err(io::Error::new(io::ErrorKind::AlreadyExists, message));
                }
                None if next == path => {}
                content => self.add(&next, content)?,
            }
        }
        Ok(())
    }

    fn add(&mut self, path: &str, content: Option<String>) -> io::Result<()> {
        let Some(content) = content else {
            let path = path.trim_end_matches('/');
            return self.writer.directory_with(path, self.attributes(path, true));
        };
        let size = content.len() as u64;
        self.writer.file_with(path, self.attributes(path, false), size)?;
        self.writer.content(content.as_bytes())?;
        self.writer.end_file(size)
    }

    fn attributes(&self, path: &str, runs: bool) -> Attributes {
        let is_within = |above: &String| {
            path.strip_prefix(above.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        let owner = if self.writable.iter().any(is_within) { WRITER } else { (0, 0) };
        Attributes { owner, time: self.epoch, ..Attributes::plain(runs) }
    }
}

impl<W: Write> Sink for Application<W> {
    fn directory(&mut self, path: &str) -> io::Result<()> {
        let path = format!("{}{path}", self.prefix);
        self.reach(&format!("{path}/"))?;
        self.writer.directory_with(&path, self.attributes(&path, true))
    }

    fn link(&mut self, path: &str, target: &str) -> io::Result<()> {
        let path = format!("{}{path}", self.prefix);
        self.reach(&path)?;
        self.writer.link_with(&path, target, self.attributes(&path, true))
    }

    fn file(&mut self, path: &str, executable: bool, size: u64) -> io::Result<()> {
        let path = format!("{}{path}", self.prefix);
        self.reach(&path)?;
        self.writer.file_with(&path, self.attributes(&path, executable), size)
    }

    fn content(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.writer.content(bytes)
    }

    fn end_file(&mut self, size: u64) -> io::Result<()> {
        self.writer.end_file(size)
    }
}

#[cfg(test)]
mod tests {
    use aigis_registry::archive::{self, Limits};

    use super::*;
    use crate::{golden, source::Source};

    #[test]
    fn pkg_32_the_layer_of_the_golden_project() {
        let directory = tempfile::tempdir().unwrap();
        golden::make(directory.path(), false);
        let source = Source { project: directory.path(), root: ".", exclude: &[] };
        let (_, tree) = source.pack(|| Ok(Vec::new())).unwrap();
        let place = Place { directory: "/app", epoch: 315_532_800, writable: &[], written: &[] };
        let mut layer = Application::new(Vec::new(), &place).unwrap();
        archive::read(&tree[..], &mut layer, &Limits::TREE).unwrap();
        let digest = Digest::of(&layer.end().unwrap());
        assert_eq!(digest.hex(), "863504307e6f8b3829c43c022d30c6f51545422f0e60072e1ed69e74d5e0e37d");
    }

    /// The entries of a layer: path, owner, time.
    fn entries(tar: &[u8]) -> Vec<(String, String, String)> {
        let mut at = 0;
        let mut found = Vec::new();
        while tar[at] != 0 {
            let text = |from: usize, to: usize| {
                String::from_utf8_lossy(&tar[at + from..at + to]).trim_end_matches('\0').to_owned()
            };
            found.push((text(0, 100), text(108, 115), text(136, 147)));
            at += 512 + usize::from_str_radix(&text(124, 135), 8).unwrap().next_multiple_of(512);
        }
        found
    }

    #[test]
    fn what_is_writable_belongs_to_the_user_and_what_is_lacking_is_made() {
        let writable = ["data", "/app/x/log/", "own/deep", "file", "/var/lib/y"].map(str::to_owned);
        let written = [("Caddyfile", "lines".to_owned())];
        let place = Place { directory: "/app/x", epoch: 7, writable: &writable, written: &written };
        let mut layer = Application::new(Vec::new(), &place).unwrap();
        layer.file("data.txt", false, 0).unwrap();
        layer.directory("data").unwrap();
        layer.directory("database").unwrap();
        layer.file("file", false, 0).unwrap();
        layer.link("z", "file").unwrap();
        let expected = [
            ("app/", "0000000"),
            ("app/x/", "0000000"),
            ("app/x/Caddyfile", "0000000"),
            ("app/x/data.txt", "0000000"),
            ("app/x/data/", "0023421"),
            ("app/x/database/", "0000000"),
            ("app/x/file", "0023421"),
            ("app/x/log/", "0023421"),
            ("app/x/own/", "0000000"),
            ("app/x/own/deep/", "0023421"),
            ("app/x/z", "0000000"),
        ];
        let expected = expected.map(|(path, owner)| (path.to_owned(), owner.to_owned(), "00000000007".to_owned()));
        let found = entries(&layer.end().unwrap());
        assert_eq!(found, expected);
        let mut layer = Application::new(Vec::new(), &place).unwrap();
        let error = layer.file("Caddyfile", false, 0).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
    }
}
