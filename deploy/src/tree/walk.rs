//! The one walk over a directory.

use std::{
    collections::{BTreeMap, VecDeque},
    fs, io,
    io::Read as _,
    path::{Path, PathBuf},
};

use super::{Tree, Warning, path as below, text::decoded};
use crate::{fact::Evidence, rules::Rules, rules::is_environment};

/// Most files.
const FILES: usize = 20_000;
/// How deep a directory may lie.
const DEPTH: usize = 24;
/// Most bytes of a file that is read.
const FILE_BYTES: usize = 1024 * 1024;
/// Most bytes of all files together.
const ALL_BYTES: u64 = 64 * 1024 * 1024;
/// What is not looked into: what others made, or what was built.
const CLOSED: [&str; 10] =
    ["vendor", "bower_components", "venv", ".tox", "target", ".next", ".nuxt", ".cache", ".gradle", ".git"];
/// Which files that hold an environment are meant to be read by others.
const EXAMPLES: [&str; 4] = [".env.example", ".env.sample", ".env.template", ".env.dist"];
/// What is no text whatever it holds: known by name only.
const NO_TEXT: [&str; 33] = [
    "png", "jpg", "jpeg", "gif", "ico", "webp", "avif", "bmp", "pdf", "woff", "woff2", "ttf", "otf", "eot", "mp3",
    "mp4", "mov", "webm", "ogg", "wav", "zip", "gz", "bz2", "xz", "zst", "7z", "tar", "jar", "class", "so", "o", "pyc",
    "wasm",
];

/// A limit that something lay past: its name, and what of it came first.
type Past = BTreeMap<&'static str, (String, u64)>;

struct Walk<'a> {
    root: &'a Path,
    /// The root as the operating system names it, once a link was met.
    real: Option<PathBuf>,
    rules: Rules,
    tree: Tree,
    past: Past,
    buffer: Vec<u8>,
}

impl Tree {
    /// Reads a directory: breadth first, entries in the order of their bytes.
    ///
    /// # Errors
    ///
    /// Where the directory itself cannot be read. What cannot be read in it is a warning.
    pub fn read(root: &Path) -> io::Result<Self> {
        let rules = Rules::of(root);
        let mut walk = Walk { root, real: None, rules, tree: Self::default(), past: Past::new(), buffer: Vec::new() };
        fs::read_dir(root)?;
        let mut queue = VecDeque::from([(".".to_owned(), 0)]);
        while let Some((directory, depth)) = queue.pop_front() {
            if !walk.directory(&directory, depth, &mut queue) {
                break;
            }
        }
        Ok(walk.finish())
    }
}

impl Walk<'_> {
    /// Reads one directory; false where the limit of files was met.
    fn directory(&mut self, directory: &str, depth: usize, queue: &mut VecDeque<(String, usize)>) -> bool {
        let entries = match fs::read_dir(self.root.join(directory)).and_then(Iterator::collect::<io::Result<Vec<_>>>) {
            Ok(entries) => entries,
            Err(error) => {
                self.warn("file.unreadable", directory, format!("{directory} cannot be read: {error}"));
                return true;
            }
        };
        let mut named = Vec::with_capacity(entries.len());
        for entry in entries {
            match entry.file_name().into_string() {
                Ok(name) => named.push((name, entry)),
                Err(name) => {
                    let shown = below(directory, &name.to_string_lossy());
                    self.warn("name.not-utf8", &shown, format!("the name of {shown} is not UTF-8: it is left out"));
                }
            }
        }
        named.sort_by(|(one, _), (other, _)| one.cmp(other));
        for (name, entry) in named {
            let path = below(directory, &name);
            let Ok(kind) = entry.file_type() else { continue };
            if kind.is_dir() {
                if CLOSED.contains(&name.as_str()) || !self.rules.keeps(&path, true) {
                    continue;
                }
                if depth + 1 > DEPTH {
                    self.pass("depth", &path);
                } else {
                    queue.push_back((path, depth + 1));
                }
                continue;
            }
            if is_environment(&name) && !EXAMPLES.contains(&name.as_str()) {
                continue;
            }
            if !EXAMPLES.contains(&name.as_str()) && !self.rules.keeps(&path, false) {
                continue;
            }
            if self.tree.len() >= FILES {
                self.pass("files", &path);
                return false;
            }
            if kind.is_file() {
                self.file(&path, &self.root.join(&path));
            } else if kind.is_symlink() {
                self.link(&path);
            } else {
                self.warn("file.special", &path, format!("{path} is a FIFO, a socket or a device: it is not opened"));
            }
        }
        true
    }

    /// A link counts where it leads to a file inside the tree that is no file of secrets.
    fn link(&mut self, path: &str) {
        let real = match &self.real {
            Some(real) => real.clone(),
            None => fs::canonicalize(self.root).unwrap_or_else(|_| self.root.to_owned()),
        };
        let target = fs::canonicalize(self.root.join(path)).ok();
        let inside = target.filter(|target| {
            target.strip_prefix(&real).is_ok_and(|within| {
                let parts = within.components().filter_map(|part| part.as_os_str().to_str());
                !parts.into_iter().any(|part| part == ".git" || is_environment(part) && !EXAMPLES.contains(&part))
            }) && fs::symlink_metadata(target).is_ok_and(|target| target.is_file())
        });
        self.real = Some(real);
        match inside {
            Some(target) => self.file(path, &target),
            None => self.warn("link.outside", path, format!("{path} is a link to no file of the tree: not followed")),
        }
    }

    fn file(&mut self, path: &str, at: &Path) {
        let extension = path.rsplit_once('.').map_or("", |(_, extension)| extension);
        if NO_TEXT.iter().any(|one| one.eq_ignore_ascii_case(extension)) {
            self.tree.add(path, None);
            return;
        }
        if self.tree.read_bytes >= ALL_BYTES {
            self.pass("bytes", path);
            self.tree.add(path, None);
            return;
        }
        self.buffer.clear();
        let read = fs::File::open(at).and_then(|file| file.take(FILE_BYTES as u64 + 1).read_to_end(&mut self.buffer));
        let text = match read {
            Ok(bytes) if bytes > FILE_BYTES => {
                self.pass("file-bytes", path);
                None
            }
            Ok(bytes) => {
                self.tree.read_bytes += bytes as u64;
                decoded(&self.buffer)
            }
            Err(error) => {
                self.warn("file.unreadable", path, format!("{path} cannot be read: {error}"));
                None
            }
        };
        self.tree.add(path, text);
    }

    fn warn(&mut self, code: &str, path: &str, message: String) {
        self.tree.warnings.push(Warning::new(code, Evidence::new(path, 1), message));
    }

    fn pass(&mut self, limit: &'static str, path: &str) {
        self.tree.truncated = true;
        self.past.entry(limit).or_insert_with(|| (path.to_owned(), 0)).1 += 1;
    }

    fn finish(mut self) -> Tree {
        for (limit, (path, count)) in std::mem::take(&mut self.past) {
            let (what, then) = match limit {
                "files" => (format!("more than {FILES} files"), "the rest is left out: ignore what is no source"),
                "depth" => (format!("directories deeper than {DEPTH}"), "what is in them is left out"),
                "bytes" => (format!("more than {ALL_BYTES} bytes"), "the rest is known by name only"),
                _ => (format!("files of more than {FILE_BYTES} bytes"), "they are known by name only"),
            };
            let more = if count > 1 { format!(" and {} more", count - 1) } else { String::new() };
            let message = format!("the tree has {what} ({path}{more}): {then}");
            self.warn(&format!("limit.{limit}"), &path, message);
        }
        self.tree
    }
}
