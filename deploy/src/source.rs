//! The source tree of a directory: what of a project counts for its images, as an archive whose digest says all of it.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Read as _, Write},
    path::Path,
};

use aigis_proxy::{
    Error,
    blob::{Digest, Hasher},
};
use aigis_registry::{
    archive::{self, Filled, Kind, Limits, Writer},
    dockerignore::Ignored,
};
use ignore::gitignore::{Gitignore, GitignoreBuilder};

use crate::{Rules, manifest::joined};

/// What describes a project, or how its image is made by other means, and is no part of its source.
const DESCRIBING: [&str; 5] = ["aigis.json", "aigis.lock", "Dockerfile", "Containerfile", ".dockerignore"];
/// How often a tree is read again because a file of it changed meanwhile.
const ROUNDS: usize = 3;
/// Largest `.dockerignore`, in bytes.
const DOCKERIGNORE: u64 = 1024 * 1024;
/// The lock files of the package managers, whose digests count for an image beside the tree.
const LOCKS: [&str; 18] = [
    "Cargo.lock",
    "Gemfile.lock",
    "Pipfile.lock",
    "bun.lock",
    "bun.lockb",
    "composer.lock",
    "deno.lock",
    "go.sum",
    "gradle.lockfile",
    "mix.lock",
    "npm-shrinkwrap.json",
    "package-lock.json",
    "packages.lock.json",
    "pdm.lock",
    "pnpm-lock.yaml",
    "poetry.lock",
    "uv.lock",
    "yarn.lock",
];

/// A source tree that was packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packed {
    /// The digest of its archive.
    pub digest: Digest,
    /// How many bytes the archive has.
    pub size_bytes: u64,
    /// How many files, directories and links there are.
    pub entries: u64,
}

/// What of a project is an application's source.
#[derive(Debug, Clone, Copy)]
pub struct Source<'a> {
    /// The project's directory, whose ignore rules count.
    pub project: &'a Path,
    /// The application's, relative to it: `.` for the project's own.
    pub root: &'a str,
    /// What the application leaves out beside that, as lines of a `.gitignore` in its directory.
    pub exclude: &'a [String],
}

impl Source<'_> {
    /// Packs it. `out` is asked for a place to write to at the beginning, and again where a file changed meanwhile: what
    /// was written before is to be dropped then. This blocks.
    ///
    /// # Errors
    ///
    /// `invalid_argument` for what no tree holds, what cannot be read, what changes all the time, and a tree with nothing in
    /// it; `resource_exhausted` beyond the limits of a pushed tree.
    pub fn pack<W: Write>(&self, out: impl FnMut() -> io::Result<W>) -> Result<(Packed, W), Error> {
        self.pack_context(&Ignored::default(), out)
    }

    /// Packs what of it a build by a Dockerfile may copy, as [`Source::pack`] does.
    ///
    /// # Errors
    ///
    /// As [`Source::pack`].
    pub fn pack_context<W: Write>(
        &self,
        ignored: &Ignored,
        mut out: impl FnMut() -> io::Result<W>,
    ) -> Result<(Packed, W), Error> {
        let failed = |error: io::Error| Error::from(archive::Error::Stream(error));
        let mut round = 0;
        loop {
            round += 1;
            match self.once(ignored, out().map_err(failed)?) {
                Err(archive::Error::Changed { .. }) if round < ROUNDS => {}
                Err(archive::Error::Empty) => {
                    let message = format!("\"{}\" holds no file that belongs to its source", self.root);
                    return Err(Error::invalid(message).hint(
                        "put a file into it, or look at what .gitignore, .dockerignore and `exclude` leave out",
                    ));
                }
                done => return Ok(done?),
            }
        }
    }

    /// The application's directory in its plainest form; one that would leave the project is the project's own.
    #[must_use]
    pub fn directory(&self) -> String {
        joined(".", self.root).unwrap_or_else(|| ".".to_owned())
    }

    /// What of the directory goes.
    #[must_use]
    pub fn files(&self) -> Files {
        let root = self.directory();
        let prefix = if root == "." { String::new() } else { format!("{root}/") };
        Files { prefix, rules: Rules::of(self.project), excluded: excluded(self.exclude) }
    }

    fn once<W: Write>(&self, ignored: &Ignored, out: W) -> Result<(Packed, W), archive::Error> {
        let directory = self.project.join(self.directory());
        let mut files = self.files();
        let mut keep = |path: &str, kind: Kind| {
            let is_context = match kind {
                Kind::Directory => ignored.may_hold(path),
                _ => !ignored.leaves_out(path),
            };
            kind != Kind::Other && is_context && files.keeps(path, kind == Kind::Directory)
        };
        let mut sink = Filled::new(Writer::new(Hashed::new(out)));
        archive::visit(&directory, &mut sink, &mut keep, &Limits::TREE)?;
        let entries = sink.entries();
        if entries == 0 {
            return Err(archive::Error::Empty);
        }
        let (out, digest, size_bytes) = sink.into_inner().end().map_err(archive::Error::Stream)?.end();
        Ok((Packed { digest, size_bytes, entries }, out))
    }

    /// The lock files of the application's directory, and of the workspace that it is a member of: by their paths in the
    /// project, their digests.
    ///
    /// # Errors
    ///
    /// `invalid_argument` for one that cannot be read.
    pub fn locks(&self, workspace: Option<&str>) -> Result<BTreeMap<String, Digest>, Error> {
        let mut found = BTreeMap::new();
        for directory in [Some(self.directory().as_str()), workspace].into_iter().flatten() {
            for name in LOCKS {
                let path = if directory == "." { name.to_owned() } else { format!("{directory}/{name}") };
                let file = self.project.join(&path);
                // A link, or a FIFO, locks nothing.
                if !std::fs::symlink_metadata(&file).is_ok_and(|about| about.is_file()) {
                    continue;
                }
                let digest = of_file(&file).map_err(|error| {
                    Error::invalid(format!("{} cannot be read: {error}", aigis_proxy::quoted(&path)))
                })?;
                found.insert(path, digest);
            }
        }
        Ok(found)
    }
}

/// What the `.dockerignore` of a project leaves out of the contexts of its Dockerfiles.
///
/// # Errors
///
/// `invalid_argument` for one that cannot be read, or is no file of a reasonable size.
pub fn dockerignore(project: &Path) -> Result<Ignored, Error> {
    let path = project.join(".dockerignore");
    let about = match std::fs::symlink_metadata(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Ignored::default()),
        about => about,
    };
    let refused = |why: String| Error::invalid(format!(".dockerignore cannot be read: {why}"));
    match about {
        Ok(about) if about.is_file() && about.len() <= DOCKERIGNORE => {
            let bytes = std::fs::read(&path).map_err(|error| refused(error.to_string()))?;
            Ok(Ignored::parse(&String::from_utf8_lossy(&bytes)))
        }
        Ok(_) => Err(refused(format!("it is no file of at most {DOCKERIGNORE} bytes"))),
        Err(error) => Err(refused(error.to_string())),
    }
}

/// By what rules a file of an application goes.
#[derive(Debug)]
pub struct Files {
    /// What stands before its paths in those of the project.
    prefix: String,
    rules: Rules,
    excluded: Gitignore,
}

impl Files {
    /// Whether what stands at that path goes, if the directory that holds it does.
    pub fn keeps(&mut self, path: &str, is_directory: bool) -> bool {
        !DESCRIBING.contains(&path)
            && self.rules.keeps(&format!("{}{path}", self.prefix), is_directory)
            && !self.excluded.matched(path, is_directory).is_ignore()
    }

    /// Whether a file at that path goes, with all that holds it.
    pub fn reaches(&mut self, path: &str) -> bool {
        let above = path.match_indices('/').filter_map(|(end, _)| path.get(..end));
        above.into_iter().all(|directory| self.keeps(directory, true)) && self.keeps(path, false)
    }
}

/// The digest of a file.
///
/// # Errors
///
/// It cannot be read.
pub fn of_file(path: &Path) -> io::Result<Digest> {
    let mut file = File::open(path)?;
    let mut hasher = Hasher::new();
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hasher.end()),
            count => hasher.add(buffer.get(..count).unwrap_or_default()),
        }
    }
}

/// What an application leaves out; a line that is no rule says nothing, as with git.
fn excluded(lines: &[String]) -> Gitignore {
    let mut builder = GitignoreBuilder::new("");
    for line in lines {
        let _ = builder.add_line(None, line);
    }
    builder.build().unwrap_or_else(|_| Gitignore::empty())
}

/// Passes on what is written, and makes its digest.
#[derive(Debug)]
pub struct Hashed<W> {
    out: W,
    hasher: Hasher,
    size: u64,
}

impl<W: Write> Hashed<W> {
    /// Passes on to `out`.
    pub fn new(out: W) -> Self {
        Self { out, hasher: Hasher::new(), size: 0 }
    }

    /// Where it was written to, the digest of all that was written, and how many bytes that were.
    pub fn end(self) -> (W, Digest, u64) {
        (self.out, self.hasher.end(), self.size)
    }
}

impl<W: Write> Write for Hashed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.out.write(bytes)?;
        self.hasher.add(bytes.get(..count).unwrap_or_default());
        self.size += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

#[cfg(test)]
mod tests;
