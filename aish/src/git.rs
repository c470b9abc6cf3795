//! The commit that a project's files are of. Git's own program is asked for names of objects alone: what is packed is held
//! against them here, so that no filter, hook, monitor or other program that a repository names ever runs.

use std::{
    collections::BTreeMap,
    io::{self, BufReader},
    path::Path,
    process::{Command, Stdio},
};

use aigis_deploy::{
    manifest::Document,
    package::{CONTEXT, Record, Store},
    source::{Files, Source, dockerignore},
};
use aigis_proxy::{Error, quoted, text_file::told};
use aigis_registry::{
    archive::{self, Limits, Sink},
    dockerignore::Ignored,
};
use ring::digest::{Context, Digest, SHA1_FOR_LEGACY_USE_ONLY, SHA256};

/// What would make git work on another repository, or with other objects.
const MISLEADING: [&str; 9] = [
    "GIT_DIR",
    "GIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_OBJECT_DIRECTORY",
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_COMMON_DIR",
    "GIT_NAMESPACE",
    "GIT_CONFIG",
    "GIT_CEILING_DIRECTORIES",
];
/// Over whatever the repository sets: nothing of these is asked for, and none may start a program.
const SETTINGS: [&str; 4] =
    ["core.hooksPath=/dev/null", "core.fsmonitor=false", "core.pager=cat", "protocol.allow=never"];
/// Most bytes of what git says that are read.
const MOST: u64 = 64 * 1024 * 1024;
/// How many paths are named where a tree is not that of its commit.
const NAMED: usize = 5;
/// What a package is made by beside the sources of its applications.
const DESCRIBING: [&str; 2] = ["aigis.json", "aigis.lock"];
/// What says which of its files a Dockerfile may copy.
const DOCKERIGNORE: &str = ".dockerignore";

/// The commit that is checked out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Commit {
    /// Its id.
    pub(crate) id: String,
    /// Whether what was packed differs from it.
    pub(crate) dirty: bool,
}

/// The commit that the sources of a package are of, if its project lies in a repository. `required` refuses those that are
/// of none.
///
/// # Errors
///
/// `failed_precondition` that names what differs, or that there is no repository, where a commit is required; what cannot be
/// read.
pub(crate) fn commit(
    project: &Path,
    store: &Store,
    document: &Document,
    record: &Record,
    required: bool,
) -> Result<Option<Commit>, Error> {
    let Some(id) = head(project) else {
        if required {
            return Err(Error::precondition(
                "the manifest tags by commit, and the project is in no git repository with one",
            )
            .hint("commit it, or give a tag: --tag T"));
        }
        return Ok(None);
    };
    let committed = tree(project, &id)?;
    let mut differing = Vec::new();
    for (name, digest) in &record.trees {
        let application = document.manifest.applications.iter().find(|(known, _)| known.as_str() == name);
        let (source, ignored) = match application {
            Some((_, said)) => (Source { project, root: &said.root, exclude: &said.exclude }, Ignored::default()),
            None if name == CONTEXT => (Source { project, root: ".", exclude: &[] }, dockerignore(project)?),
            None => continue,
        };
        let (file, _) = store.blobs().open_blob(digest)?;
        let mut packed = Packed::new(id.len() == 64);
        archive::read(BufReader::new(file), &mut packed, &Limits::TREE)?;
        differing.extend(differences(source, &ignored, &committed, &packed.files));
    }
    let dockerfiles = document.manifest.containers.values().filter_map(|container| container.dockerfile.as_deref());
    let beside = dockerfiles.flat_map(|dockerfile| [dockerfile, DOCKERIGNORE]).chain(DESCRIBING);
    differing.extend(beside.filter(|name| !is_committed(project, name, &committed, id.len() == 64)).map(str::to_owned));
    differing.sort();
    differing.dedup();
    if required && !differing.is_empty() {
        let named: Vec<String> = differing.iter().take(NAMED).map(|path| quoted(path)).collect();
        let more =
            if differing.len() > NAMED { format!(" and {} more", differing.len() - NAMED) } else { String::new() };
        let message = format!("the sources are not those of the commit {id}: {}{more}", named.join(", "));
        return Err(Error::precondition(message)
            .hint("commit the changes, leave out what is no source by .gitignore, or give a tag: --tag T"));
    }
    Ok(Some(Commit { id, dirty: !differing.is_empty() }))
}

/// When the commit was made that is checked out, in seconds since 1970; none where there is no repository.
pub(crate) fn committed_at(project: &Path) -> Option<u64> {
    let said = ask(project, &["cat-file", "commit", &head(project)?]).ok()?;
    let said = String::from_utf8_lossy(&said);
    // The head of a commit ends with an empty line.
    let line = said.lines().take_while(|line| !line.is_empty()).find_map(|line| line.strip_prefix("committer "))?;
    line.rsplit(' ').nth(1)?.parse().ok()
}

/// The paths in the project at which a source is not what was committed.
fn differences(source: Source<'_>, ignored: &Ignored, committed: &Tree, packed: &Tree) -> Vec<String> {
    let root = source.directory();
    let prefix = if root == "." { String::new() } else { format!("{root}/") };
    let path = |path: &str| format!("{prefix}{path}");
    let changed = packed
        .iter()
        .map(|(name, entry)| (path(name), entry))
        .filter(|(path, entry)| committed.get(path) != Some(entry));
    let mut files: Files = source.files();
    let below = committed.keys().filter_map(|path| path.strip_prefix(prefix.as_str()));
    let below = below.filter(|name| !packed.contains_key(*name) && !ignored.leaves_out(name));
    let gone = below.filter(|name| files.reaches(name)).map(path);
    changed.map(|(path, _)| path).chain(gone).collect()
}

/// Whether a file of the project is what was committed, or neither is there.
fn is_committed(project: &Path, name: &str, committed: &Tree, is_long: bool) -> bool {
    let bytes = std::fs::read(project.join(name)).ok();
    let entry = bytes.map(|bytes| {
        let mut hashing = hashing(is_long, bytes.len() as u64);
        hashing.update(&bytes);
        hex(&hashing.finish())
    });
    committed.get(name).map(|entry| &entry.id) == entry.as_ref()
}

/// By path: what stands there.
type Tree = BTreeMap<String, Entry>;

/// A file or a link, as git knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    mode: String,
    id: String,
}

/// The commit that is checked out; none where there is no repository, or nothing that could read it.
fn head(project: &Path) -> Option<String> {
    let said = ask(project, &["rev-parse", "--verify", "--quiet", "--end-of-options", "HEAD^{commit}"]).ok()?;
    let id = String::from_utf8(said).ok()?.trim().to_owned();
    (matches!(id.len(), 40 | 64) && id.bytes().all(|byte| byte.is_ascii_hexdigit())).then_some(id)
}

/// What a commit has below the project, by paths relative to it.
fn tree(project: &Path, commit: &str) -> Result<Tree, Error> {
    let said = ask(project, &["ls-tree", "-r", "-z", "--end-of-options", commit])
        .map_err(|error| Error::precondition(format!("git cannot list the commit {commit}: {error}")))?;
    let lines = said.split(|byte| *byte == 0).map(String::from_utf8_lossy);
    let entry = |line: std::borrow::Cow<'_, str>| {
        let (about, path) = line.split_once('\t')?;
        let mut about = about.split(' ');
        let (mode, _kind, id) = (about.next()?, about.next()?, about.next()?);
        Some((path.to_owned(), Entry { mode: mode.to_owned(), id: id.to_owned() }))
    };
    Ok(lines.filter_map(entry).collect())
}

fn ask(project: &Path, words: &[&str]) -> io::Result<Vec<u8>> {
    let mut command = Command::new("git");
    for name in MISLEADING {
        command.env_remove(name);
    }
    command.args(["--no-pager", "--no-replace-objects", "--no-optional-locks"]);
    command.args(SETTINGS.iter().flat_map(|setting| ["-c", setting])).args(words).current_dir(project);
    // Objects that are elsewhere stay there.
    command.env("GIT_NO_LAZY_FETCH", "1").env("GIT_ALLOW_PROTOCOL", "none").env("GIT_TERMINAL_PROMPT", "0");
    command.env("LC_ALL", "C").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let output = command.output()?;
    if !output.status.success() || output.stdout.len() as u64 > MOST {
        return Err(io::Error::other(told(String::from_utf8_lossy(&output.stderr).trim())));
    }
    Ok(output.stdout)
}

/// Takes the files of a packed tree as git would name them.
struct Packed {
    is_long: bool,
    files: Tree,
    /// The file at hand.
    open: Option<(String, String, Context)>,
}

impl Packed {
    fn new(is_long: bool) -> Self {
        Self { is_long, files: Tree::new(), open: None }
    }
}

impl Sink for Packed {
    fn directory(&mut self, _: &str) -> io::Result<()> {
        Ok(())
    }

    fn link(&mut self, path: &str, target: &str) -> io::Result<()> {
        let mut hashing = hashing(self.is_long, target.len() as u64);
        hashing.update(target.as_bytes());
        self.files.insert(path.to_owned(), Entry { mode: "120000".to_owned(), id: hex(&hashing.finish()) });
        Ok(())
    }

    fn file(&mut self, path: &str, executable: bool, size: u64) -> io::Result<()> {
        let mode = if executable { "100755" } else { "100644" };
        self.open = Some((path.to_owned(), mode.to_owned(), hashing(self.is_long, size)));
        Ok(())
    }

    fn content(&mut self, bytes: &[u8]) -> io::Result<()> {
        if let Some((_, _, hashing)) = &mut self.open {
            hashing.update(bytes);
        }
        Ok(())
    }

    fn end_file(&mut self, _: u64) -> io::Result<()> {
        if let Some((path, mode, hashing)) = self.open.take() {
            self.files.insert(path, Entry { mode, id: hex(&hashing.finish()) });
        }
        Ok(())
    }
}

/// Begins the id of a file of that size.
fn hashing(is_long: bool, size: u64) -> Context {
    let mut context = Context::new(if is_long { &SHA256 } else { &SHA1_FOR_LEGACY_USE_ONLY });
    context.update(format!("blob {size}\0").as_bytes());
    context
}

fn hex(digest: &Digest) -> String {
    data_encoding::HEXLOWER.encode(digest.as_ref())
}
