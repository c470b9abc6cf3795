//! What a tree holds, by digests: so it is known later what was changed since, and by whom.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs::{self, File, OpenOptions},
    io::Read as _,
    os::unix::{
        ffi::{OsStrExt as _, OsStringExt as _},
        fs::{MetadataExt as _, OpenOptionsExt as _},
    },
    path::{Path, PathBuf},
};

use data_encoding::HEXLOWER;
use ring::digest::{Context, SHA256};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::Error;

/// Most bytes that a plugin may have.
pub(super) const MOST_BYTES: u64 = 2 << 30;
/// Most files and directories.
pub(super) const MOST_ITEMS: u64 = 200_000;
/// How deep directories may stand in one another.
const DEEPEST: usize = 128;
const CHUNK: usize = 128 * 1024;

/// A thing in a tree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Item {
    Directory,
    File { digest: String, mode: u32 },
    Link { target: String },
}

impl Item {
    /// Whether both have the same content, whatever their modes.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::File { digest, .. }, Self::File { digest: other, .. }) => digest == other,
            _ => self == other,
        }
    }
}

/// What a tree holds, by the paths within it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Index(pub(super) BTreeMap<PathBuf, Item>);

impl Index {
    /// Looks at a tree; links are links.
    pub(super) fn of(top: &Path) -> Result<Self, Error> {
        let mut index = Self::default();
        let mut count = Count::default();
        index.add(top, Path::new(""), &mut count, 0)?;
        Ok(index)
    }

    fn add(&mut self, top: &Path, within: &Path, count: &mut Count, depth: usize) -> Result<(), Error> {
        let directory = top.join(within);
        if depth > DEEPEST {
            return Err(Error::Large { most: DEEPEST as u64, of: "directories in one another" });
        }
        let unreadable = |source| Error::unreadable(&directory, source);
        for entry in fs::read_dir(&directory).map_err(unreadable)? {
            let within = within.join(entry.map_err(unreadable)?.file_name());
            count.item()?;
            let Some(item) = look(&top.join(&within), count)? else { continue };
            let is_directory = item == Item::Directory;
            self.0.insert(within.clone(), item);
            if is_directory {
                self.add(top, &within, count, depth + 1)?;
            }
        }
        Ok(())
    }

    /// One digest of all of it.
    pub(super) fn digest(&self) -> String {
        let mut context = Context::new(&SHA256);
        for (path, item) in &self.0 {
            let (kind, content, mode) = match item {
                Item::Directory => ('d', "", 0),
                Item::File { digest, mode } => ('f', digest.as_str(), *mode),
                Item::Link { target } => ('l', target.as_str(), 0),
            };
            let path = path.as_os_str().as_bytes();
            context.update(format!("{kind} {mode:o} {} {} ", path.len(), content.len()).as_bytes());
            context.update(path);
            context.update(content.as_bytes());
        }
        format!("sha256:{}", HEXLOWER.encode(context.finish().as_ref()))
    }
}

/// What was met so far, within what a plugin may have.
#[derive(Debug, Default)]
pub(super) struct Count {
    items: u64,
    bytes: u64,
}

impl Count {
    pub(super) fn item(&mut self) -> Result<(), Error> {
        self.items += 1;
        if self.items > MOST_ITEMS { Err(Error::Large { most: MOST_ITEMS, of: "files" }) } else { Ok(()) }
    }

    pub(super) fn bytes(&mut self, more: u64) -> Result<(), Error> {
        self.bytes = self.bytes.saturating_add(more);
        if self.bytes > MOST_BYTES { Err(Error::Large { most: MOST_BYTES, of: "bytes" }) } else { Ok(()) }
    }
}

/// What stands at a path; a link is a link, and what is neither file nor directory counts as one to itself.
pub(super) fn look(path: &Path, count: &mut Count) -> Result<Option<Item>, Error> {
    let unreadable = |source| Error::unreadable(path, source);
    let found = match fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(error) if matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        Err(error) => return Err(unreadable(error)),
    };
    if found.is_dir() {
        return Ok(Some(Item::Directory));
    }
    if found.is_symlink() {
        let target = fs::read_link(path).map_err(unreadable)?;
        return Ok(Some(Item::Link { target: encoded(&target) }));
    }
    if !found.is_file() {
        return Ok(Some(Item::Link { target: String::new() }));
    }
    let mut file = open(path).map_err(unreadable)?;
    let digest = hash(&mut file, count, &mut |_| Ok(()), path)?;
    Ok(Some(Item::File { digest, mode: found.mode() & 0o777 }))
}

/// Opens a file; what turned into something else meanwhile keeps nobody waiting.
pub(super) fn open(path: &Path) -> std::io::Result<File> {
    let flags = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap_or_default();
    OpenOptions::new().read(true).custom_flags(flags).open(path)
}

/// The digest of a file, whose content is also given to `each`.
pub(super) fn hash(
    file: &mut File,
    count: &mut Count,
    each: &mut dyn FnMut(&[u8]) -> Result<(), Error>,
    path: &Path,
) -> Result<String, Error> {
    let (mut context, mut chunk) = (Context::new(&SHA256), vec![0; CHUNK]);
    loop {
        let read = file.read(&mut chunk).map_err(|source| Error::unreadable(path, source))?;
        let bytes = chunk.get(..read).unwrap_or_default();
        if bytes.is_empty() {
            return Ok(HEXLOWER.encode(context.finish().as_ref()));
        }
        count.bytes(read as u64)?;
        context.update(bytes);
        each(bytes)?;
    }
}

/// A path as text: bytes that are none, and `%`, are written as `%` and two digits.
fn encoded(path: &Path) -> String {
    let mut out = String::new();
    for chunk in path.as_os_str().as_bytes().utf8_chunks() {
        out.push_str(&chunk.valid().replace('%', "%25"));
        out.extend(chunk.invalid().iter().map(|byte| format!("%{byte:02X}")));
    }
    out
}

fn decoded(text: &str) -> Option<PathBuf> {
    let mut parts = text.split('%');
    let mut bytes = parts.next()?.as_bytes().to_vec();
    for part in parts {
        bytes.push(u8::from_str_radix(part.get(..2)?, 16).ok()?);
        bytes.extend(part.get(2..)?.as_bytes());
    }
    Some(PathBuf::from(OsString::from_vec(bytes)))
}

impl Serialize for Index {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(path, item)| (encoded(path), item)))
    }
}

impl<'de> Deserialize<'de> for Index {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let items = BTreeMap::<String, Item>::deserialize(deserializer)?;
        let decode = |(path, item): (String, Item)| {
            decoded(&path).map(|path| (path, item)).ok_or_else(|| de::Error::custom("a path is damaged"))
        };
        items.into_iter().map(decode).collect::<Result<_, _>>().map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_path_is_text_and_comes_back() {
        for bytes in [&b"a/b"[..], b"100%", b"\xff\xfe%2", "é/%41".as_bytes(), b""] {
            let path = PathBuf::from(OsString::from_vec(bytes.to_vec()));
            assert_eq!(decoded(&encoded(&path)), Some(path));
        }
        assert!(decoded("%").is_none() && decoded("%zz").is_none());
    }

    #[test]
    fn a_tree_has_one_digest_that_each_change_changes() {
        let directory = tempfile::tempdir().unwrap();
        let top = directory.path();
        let digest = || Index::of(top).unwrap().digest();
        let empty = digest();
        fs::create_dir(top.join("d")).unwrap();
        let with_directory = digest();
        fs::write(top.join("d/f"), "x").unwrap();
        let with_file = digest();
        fs::write(top.join("d/f"), "y").unwrap();
        let changed = digest();
        std::os::unix::fs::symlink("nowhere", top.join("l")).unwrap();
        let all = [empty, with_directory, with_file, changed, digest()];
        let different: std::collections::BTreeSet<&String> = all.iter().collect();
        assert_eq!(different.len(), all.len());
        let written = serde_json::to_string(&Index::of(top).unwrap()).unwrap();
        assert_eq!(serde_json::from_str::<Index>(&written).unwrap(), Index::of(top).unwrap());
    }
}
