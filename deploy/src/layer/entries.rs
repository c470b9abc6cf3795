//! The entries of archives as they can be compared and put together anew: what a phase was given, what it left, and what of
//! it a layer gets.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, BufReader, BufWriter, Read, Seek as _, SeekFrom},
};

use aigis_proxy::{Code, Error};
use aigis_registry::archive::{self, Attributes, Members, Sink as _, What, Writer};

use super::WRITER;
use crate::{Digest, package::Blobs};

/// What stands before the name of a path that is gone.
const GONE: &str = ".wh.";
const BUFFER: usize = 128 * 1024;
/// Longest file that is read as a text, in bytes.
const MAX_TEXT: u64 = 1024 * 1024;

/// What stands at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Thing {
    File,
    Directory,
    Link(String),
    /// Nothing any more: what is below hides it.
    Gone,
}

/// One of them.
#[derive(Debug, Clone)]
struct Entry {
    thing: Thing,
    mode: u32,
    owner: (u32, u32),
    capability: Option<Vec<u8>>,
    /// In which blob its content lies, and from where on.
    from: (Digest, u64),
    size: u64,
}

/// In what form entries become a layer.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Form<'a> {
    /// As an application's files: root's, or the user's where one of these paths, below the root, holds them.
    Application(&'a [String]),
    /// As they were made.
    System,
}

impl Form<'_> {
    /// Whether two entries have the same owner and mode, as far as this form has them.
    fn same(self, a: &Entry, b: &Entry) -> bool {
        matches!(self, Self::Application(_)) || (a.mode, a.owner, &a.capability) == (b.mode, b.owner, &b.capability)
    }
}

/// Entries by their paths, which begin and end without a slash.
#[derive(Debug, Clone, Default)]
pub(crate) struct Entries(BTreeMap<String, Entry>);

impl Entries {
    /// Reads those of an archive.
    pub(crate) fn read(blobs: &Blobs, digest: &Digest) -> Result<Self, Error> {
        let (file, _) = blobs.open_blob(digest)?;
        let mut members = Members::new(BufReader::with_capacity(BUFFER, file));
        let mut entries = BTreeMap::new();
        while let Some(member) = members.next().map_err(|error| odd(&error.to_string()))? {
            let path = member.path;
            if path.split('/').any(|part| part == "..") {
                return Err(odd("a path leads out of it"));
            }
            let thing = match member.what {
                What::File => Thing::File,
                What::Directory => Thing::Directory,
                What::Link(target) => Thing::Link(target),
                What::HardLink(target) => {
                    let found: Option<Entry> = entries.get(&target).cloned();
                    entries.insert(path, found.ok_or_else(|| odd("another name of a file comes before it"))?);
                    continue;
                }
                What::Other => continue,
            };
            let (above, name) = path.rsplit_once('/').map_or(("", path.as_str()), |(above, name)| (above, name));
            let (path, thing) = match name.strip_prefix(GONE) {
                Some(name) if above.is_empty() => (name.to_owned(), Thing::Gone),
                Some(name) => (format!("{above}/{name}"), Thing::Gone),
                None => (path, thing),
            };
            if path.is_empty() {
                continue;
            }
            let (mode, owner, capability, size) = (member.mode, member.owner, member.capability, member.size);
            entries.insert(path, Entry { thing, mode, owner, capability, from: (*digest, member.at), size });
        }
        Ok(Self(entries))
    }

    /// Those that are wanted, with the directories that hold them.
    pub(crate) fn only(&self, wants: impl Fn(&str) -> bool) -> Self {
        let mut chosen = BTreeMap::new();
        for (path, entry) in self.0.iter().filter(|(path, _)| wants(path)) {
            let above = path.match_indices('/').filter_map(|(end, _)| self.0.get_key_value(path.get(..end)?));
            chosen.extend(above.map(|(path, entry)| (path.clone(), entry.clone())));
            chosen.insert(path.clone(), entry.clone());
        }
        Self(chosen)
    }

    /// Those that are there.
    pub(crate) fn there(&self) -> Self {
        let there = self.0.iter().filter(|(_, entry)| entry.thing != Thing::Gone);
        Self(there.map(|(path, entry)| (path.clone(), entry.clone())).collect())
    }

    /// Whether something is at that path, or below it.
    pub(crate) fn holds(&self, path: &str) -> bool {
        self.0.keys().any(|known| is_within(known, path))
    }

    /// All paths.
    pub(crate) fn paths(&self) -> impl Iterator<Item = &String> {
        self.0.keys()
    }

    /// The paths that are gone.
    pub(crate) fn gone(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter(|(_, entry)| entry.thing == Thing::Gone).map(|(path, _)| path.as_str())
    }

    /// With those of `upper` over them: a layer over a layer.
    pub(crate) fn under(mut self, upper: &Self) -> Self {
        for (path, entry) in &upper.0 {
            if entry.thing != Thing::Directory {
                self = self.without(path);
            }
            // Nothing stays below what is no directory.
            for above in path.match_indices('/').filter_map(|(end, _)| path.get(..end)) {
                if self.0.get(above).is_some_and(|known| known.thing != Thing::Directory) {
                    self.0.remove(above);
                }
            }
            self.0.insert(path.clone(), entry.clone());
        }
        self
    }

    /// Without what is at that path, and below it.
    pub(crate) fn without(mut self, path: &str) -> Self {
        self.0.remove(path);
        let below = format!("{path}/");
        let found = self.0.range(below.clone()..).take_while(|(known, _)| known.starts_with(&below));
        let found: Vec<String> = found.map(|(known, _)| known.clone()).collect();
        for known in found {
            self.0.remove(&known);
        }
        self
    }

    /// What is at a path, with all that is below it, as it is called when it stands at another.
    pub(crate) fn moved(&self, from: &str, to: &str) -> Self {
        let found = self.0.iter().filter(|(_, entry)| entry.thing != Thing::Gone);
        let moved = found.filter_map(|(path, entry)| {
            let rest = if from.is_empty() { path } else { path.strip_prefix(from)? };
            let rest = if rest.is_empty() || from.is_empty() { rest } else { rest.strip_prefix('/')? };
            let path = if rest.is_empty() { to.to_owned() } else { format!("{to}/{rest}") };
            Some((path.trim_matches('/').to_owned(), entry.clone()))
        });
        Self(moved.filter(|(path, _)| !path.is_empty()).collect())
    }

    /// Whether something that is no directory is at that path.
    pub(crate) fn is_file(&self, path: &str) -> bool {
        self.0.get(path).is_some_and(|entry| matches!(entry.thing, Thing::File | Thing::Link(_)))
    }

    /// The content of a file, if there is one; of bytes that are no text, nothing.
    pub(crate) fn text(&self, path: &str, blobs: &Blobs) -> Result<Option<String>, Error> {
        let Some(entry) = self.0.get(path).filter(|entry| entry.thing == Thing::File && entry.size <= MAX_TEXT) else {
            return Ok(None);
        };
        let mut text = Vec::new();
        entry.content(blobs).and_then(|mut content| content.read_to_end(&mut text)).map_err(stream)?;
        Ok(String::from_utf8(text).ok())
    }

    /// Without those that are the same in `before`, in the form of `form`; those of `before` that are there no more are gone,
    /// but for those that the image holds at the bottom: of these an engine says it, and is silent where they are as they were.
    pub(crate) fn since(
        &self,
        before: &Self,
        form: Form<'_>,
        held: &BTreeSet<String>,
        blobs: &Blobs,
    ) -> Result<Self, Error> {
        let mut changed = BTreeMap::new();
        for (path, entry) in &self.0 {
            let is_same = match before.0.get(path) {
                Some(known) => form.same(entry, known) && same(entry, known, blobs)?,
                None => false,
            };
            if !is_same {
                changed.insert(path.clone(), entry.clone());
            }
        }
        let mut hidden: Option<&str> = None;
        for (path, entry) in before.0.iter().filter(|(path, _)| !self.0.contains_key(*path)) {
            // What goes with a directory needs no word of its own.
            if entry.thing == Thing::Gone || held.contains(path) || hidden.is_some_and(|above| is_within(path, above)) {
                continue;
            }
            hidden = Some(path);
            changed.insert(path.clone(), Entry { thing: Thing::Gone, ..entry.clone() });
        }
        // With the directories that hold them.
        let mut all = self.0.clone();
        all.extend(changed.clone());
        Ok(Self(all).only(|path| changed.contains_key(path)))
    }

    /// Whether there is none.
    pub(crate) fn is_nothing(&self) -> bool {
        self.0.is_empty()
    }

    /// The directories that hold entries and are none of them, with doubles.
    fn lacking(&self) -> impl Iterator<Item = &str> {
        let above = |path: &'_ String| path.match_indices('/').map(|(end, _)| end).collect::<Vec<_>>();
        let all = self.0.keys().flat_map(move |path| above(path).into_iter().filter_map(|end| path.get(..end)));
        all.filter(|path| !self.0.contains_key(*path))
    }

    /// Whether directories that hold entries are none of them: a layer need not say again what lies under it.
    pub(crate) fn lacks_directories(&self) -> bool {
        self.lacking().next().is_some()
    }

    /// Takes such directories as another layer has them.
    pub(crate) fn take_directories(&mut self, other: &Self) {
        let found = self.lacking().filter_map(|path| other.0.get_key_value(path));
        let found = found.filter(|(_, entry)| entry.thing == Thing::Directory);
        let found: Vec<(String, Entry)> = found.map(|(path, entry)| (path.clone(), entry.clone())).collect();
        self.0.extend(found);
    }

    /// Whether there is nothing but directories that hold `directory`, or that itself.
    pub(crate) fn is_empty(&self, directory: &str) -> bool {
        self.0.iter().all(|(path, entry)| entry.thing == Thing::Directory && is_within(directory, path))
    }

    /// Keeps them as an archive; answers with its digest and its size in bytes.
    pub(crate) fn write(&self, blobs: &Blobs, form: Form<'_>, epoch: u64) -> Result<(Digest, u64), Error> {
        let mut sorted: BTreeMap<String, (&str, Option<&Entry>)> = BTreeMap::new();
        for (path, entry) in &self.0 {
            for above in path.match_indices('/').filter_map(|(end, _)| path.get(..end)) {
                if !self.0.contains_key(above) {
                    sorted.insert(format!("{above}/"), (above, None));
                }
            }
            let key = match entry.thing {
                Thing::Directory => format!("{path}/"),
                Thing::Gone => whiteout(path),
                Thing::File | Thing::Link(_) => path.clone(),
            };
            sorted.insert(key, (path, Some(entry)));
        }
        let out = BufWriter::with_capacity(BUFFER, blobs.begin().map_err(stream)?);
        let mut writer = Writer::new(out);
        for (path, entry) in sorted.into_values() {
            let written = match entry {
                None => writer.directory_with(path, Attributes { time: epoch, ..Attributes::plain(true) }),
                Some(entry) => entry.write(path, &mut writer, blobs, form, epoch),
            };
            written.map_err(stream)?;
        }
        let out = writer.end().map_err(stream)?.into_inner().map_err(|error| stream(error.into_error()))?;
        blobs.keep(out)
    }
}

impl Entry {
    fn write(
        &self,
        path: &str,
        writer: &mut Writer<impl io::Write>,
        blobs: &Blobs,
        form: Form<'_>,
        epoch: u64,
    ) -> io::Result<()> {
        let attributes = match form {
            Form::System => Attributes { mode: self.mode, owner: self.owner, time: epoch },
            Form::Application(writable) => {
                let owner = if writable.iter().any(|above| is_within(path, above)) { WRITER } else { (0, 0) };
                Attributes { owner, time: epoch, ..Attributes::plain(self.runs()) }
            }
        };
        match &self.thing {
            Thing::Directory => writer.directory_with(path, attributes),
            Thing::Link(target) => writer.link_with(path, target, attributes),
            Thing::Gone => {
                let plain = Attributes { time: epoch, ..Attributes::plain(false) };
                writer.file_with(&whiteout(path), plain, 0)
            }
            Thing::File => {
                if let (Form::System, Some(capability)) = (form, &self.capability) {
                    writer.capability(capability)?;
                }
                writer.file_with(path, attributes, self.size)?;
                let mut content = self.content(blobs)?;
                let mut buffer = vec![0; BUFFER];
                loop {
                    match content.read(&mut buffer)? {
                        0 => return writer.end_file(self.size),
                        count => writer.content(buffer.get(..count).unwrap_or_default())?,
                    }
                }
            }
        }
    }

    /// Whether it can be run, or entered.
    fn runs(&self) -> bool {
        self.thing == Thing::Directory || self.mode & 0o111 != 0
    }

    fn content(&self, blobs: &Blobs) -> io::Result<impl Read + use<>> {
        let (digest, at) = &self.from;
        let (mut file, _) = blobs.open_blob(digest).map_err(|error| io::Error::other(error.to_string()))?;
        file.seek(SeekFrom::Start(*at))?;
        Ok(BufReader::new(file.take(self.size)))
    }
}

/// Whether two entries are the same in application form.
fn same(a: &Entry, b: &Entry, blobs: &Blobs) -> Result<bool, Error> {
    if a.thing != b.thing || a.runs() != b.runs() || a.size != b.size {
        return Ok(false);
    }
    if a.thing != Thing::File {
        return Ok(true);
    }
    let (mut left, mut right) = (a.content(blobs).map_err(stream)?, b.content(blobs).map_err(stream)?);
    let (mut one, mut other) = (Vec::new(), Vec::new());
    loop {
        one.clear();
        other.clear();
        left.by_ref().take(BUFFER as u64).read_to_end(&mut one).map_err(stream)?;
        right.by_ref().take(BUFFER as u64).read_to_end(&mut other).map_err(stream)?;
        if one != other || one.is_empty() {
            return Ok(one == other);
        }
    }
}

/// Whether a path is `above`, or lies below it; slashes at the ends of `above` say nothing.
pub(crate) fn is_within(path: &str, above: &str) -> bool {
    let above = above.trim_matches('/');
    path.strip_prefix(above).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn whiteout(path: &str) -> String {
    match path.rsplit_once('/') {
        Some((above, name)) => format!("{above}/{GONE}{name}"),
        None => format!("{GONE}{path}"),
    }
}

fn stream(error: io::Error) -> Error {
    archive::Error::Stream(error).into()
}

fn odd(what: &str) -> Error {
    Error::new(Code::DataLoss, format!("what a phase left cannot be read: {what}")).hint("build it again")
}

#[cfg(test)]
mod tests;
