//! What is proposed to be written for an application, before anything is.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use similar::TextDiff;

use super::{Finding, Surroundings, ignore, lint, render};
use crate::{
    Analysis, Digest, Nothing, Options, Tree, analyze,
    fact::{Application, Gap},
    fill::{self, Question},
    json::canonical,
    manifest::{LOCK_FILE, Lock},
    plan::{self, Bases, Plan},
    tree::{self, Warning},
};

/// What a Dockerfile is called.
const DOCKERFILE: &str = "Dockerfile";
/// What is not looked at, because a proposal is made for a source tree: it is the same before and after it is saved.
const TARGETS: [&str; 3] = [DOCKERFILE, "Containerfile", ".dockerignore"];

/// What a proposal is wanted of.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// The application, where it is not the one that is meant without a name.
    pub application: Option<String>,
    /// What is asked of the analysis.
    pub options: Options,
    /// The images.
    pub bases: Bases,
}

/// The files that are proposed for an application.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Proposal {
    /// `prop-` and 16 hex digits: of the same tree the same, everywhere.
    pub id: String,
    /// The directory of the build's context, relative to the tree's root.
    pub root: String,
    /// The digest of the tree, without what is proposed.
    pub tree: String,
    /// The files, by their paths.
    pub files: Vec<Proposed>,
    /// What they are made of.
    pub plan: Plan,
    /// What is found in them.
    pub lint: Vec<Finding>,
    /// What the analysis could not decide.
    pub gaps: Vec<Gap>,
    /// What its reader should know.
    pub notes: Vec<Note>,
}

impl Proposal {
    /// The text of its Dockerfile for a build whose context is the whole tree. Where that is not the context anyway, bases have
    /// the digests of `bases` alone.
    ///
    /// # Errors
    ///
    /// As [`render`].
    pub fn in_whole_tree(&self, bases: &Bases) -> Result<String, plan::Error> {
        let shown = self.files.iter().find(|file| tree::file_name(&file.path) == DOCKERFILE);
        match shown.filter(|_| self.root == ".") {
            Some(shown) => Ok(shown.content.clone()),
            None => render(&self.plan.clone().in_context_above(&self.root), bases),
        }
    }
}

/// A file that is proposed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proposed {
    /// Its path, relative to the tree's root.
    pub path: String,
    /// What it is to hold.
    pub content: String,
    /// The digest of that.
    pub sha256: String,
    /// Whether there is such a file.
    pub exists: bool,
    /// Whether that holds the very same.
    pub same: bool,
    /// From what it holds to what it is to hold, as `diff -u` says it; empty where both are the same.
    pub diff: String,
    /// The digest of what it holds.
    pub replaces: Option<String>,
}

/// Something that the reader of a proposal should know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    /// What kind of: `context`, `lock`.
    pub code: String,
    /// What it is.
    pub message: String,
}

/// Why there is no proposal.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// There is no application.
    #[error(transparent)]
    Nothing(#[from] Nothing),
    /// None has that name.
    #[error("no application is called \"{name}\": there is {}", there.join(", "))]
    Unknown {
        /// The name.
        name: String,
        /// Those that there are.
        there: Vec<String>,
    },
    /// There is no plan for it.
    #[error("{application}: {why}")]
    NoPlan {
        /// The application.
        application: String,
        /// Why not.
        #[source]
        why: plan::Error,
        /// What is to be known of the tree all the same.
        warnings: Vec<Warning>,
    },
}

impl Refusal {
    /// What is to be known of the tree all the same.
    #[must_use]
    pub fn warnings(&self) -> &[Warning] {
        match self {
            Self::Nothing(nothing) => &nothing.warnings,
            Self::NoPlan { warnings, .. } => warnings,
            Self::Unknown { .. } => &[],
        }
    }
}

/// Whether a file is one of those that a proposal is about, or would replace.
#[must_use]
pub fn is_target(path: &str) -> bool {
    TARGETS.contains(&tree::file_name(path))
}

/// The tree without the files that a proposal is made for.
#[must_use]
pub fn source_of(tree: Tree) -> Tree {
    tree.without(is_target)
}

/// What is proposed for an application of a tree. `present` gives the bytes of a file that stands there now.
///
/// It is a pure function of the source tree: of what a Dockerfile in it says, it takes nothing.
///
/// # Errors
///
/// No application, none of that name, or one of which no image can be made.
pub fn propose(
    tree: Tree,
    wanted: &Wanted,
    present: impl Fn(&str) -> Option<Vec<u8>>,
) -> Result<(Proposal, Analysis), Refusal> {
    let tree = source_of(tree);
    let analysis = analyze(&tree, &wanted.options)?;
    let root = named(&tree, wanted)?;
    let app = chosen(&analysis, wanted.application.as_deref(), root.as_deref())?;
    let refused = |why| {
        let (application, warnings) = (app.name.clone(), analysis.warnings.clone());
        Refusal::NoPlan { application, why, warnings }
    };
    let (bases, unread) = pinned(&tree, wanted.bases.clone());
    let plan = plan::of(app, &bases).map_err(refused)?;
    let text = render(&plan, &bases).map_err(refused)?;
    let root = app.workspace.clone().unwrap_or_else(|| app.root.clone());
    let ignore_path = tree::path(&root, ".dockerignore");
    let own_ignore = ignore::text(&plan.ignore);
    let there = present(&ignore_path);
    let is_ours = there.as_deref().is_none_or(|bytes| bytes == own_ignore.as_bytes());
    let surroundings = Surroundings {
        files: context(&tree, &root),
        is_whole: !tree.is_truncated(),
        ignore: Some(if is_ours {
            own_ignore.clone()
        } else {
            String::from_utf8_lossy(there.as_deref().unwrap_or_default()).into_owned()
        }),
    };
    let findings = lint(&text, &surroundings);
    let mut files = vec![proposed(tree::path(&app.root, DOCKERFILE), text, &present)];
    if is_ours {
        files.push(proposed(ignore_path, own_ignore, &present));
    }
    files.sort_by(|one, other| one.path.cmp(&other.path));
    let digest = tree.digest();
    let proposal = Proposal {
        id: id(&digest, &files),
        tree: digest,
        files,
        lint: findings,
        gaps: app.gaps.clone(),
        notes: notes(app, &root, &plan).into_iter().chain(unread).collect(),
        plan,
        root,
    };
    Ok((proposal, analysis))
}

/// The bases with the digests that the lock of the project knows; a note where it cannot be read.
fn pinned(tree: &Tree, mut bases: Bases) -> (Bases, Option<Note>) {
    match tree.text(LOCK_FILE).map(|text| Lock::read(text.as_bytes())) {
        None => (bases, None),
        Some(Ok(lock)) => {
            bases.digests.extend(lock.pins());
            (bases, None)
        }
        Some(Err(error)) => {
            (bases, Some(Note { code: "lock".to_owned(), message: format!("no base is pinned: {error}") }))
        }
    }
}

/// What a model is asked of the application of that name, or of the one that is meant without one; of a tree without what is
/// proposed.
///
/// # Errors
///
/// No application, or none of that name.
pub fn question(tree: &Tree, application: Option<&str>) -> Result<Option<Question>, Refusal> {
    let analysis = analyze(tree, &Options::default())?;
    Ok(fill::question(tree, chosen(&analysis, application, None)?))
}

/// The directory of the application that is wanted, where gaps are filled: what fills them may give it another name.
fn named(tree: &Tree, wanted: &Wanted) -> Result<Option<String>, Refusal> {
    if wanted.options.filled.is_empty() {
        return Ok(None);
    }
    let options = Options { filled: Vec::new(), ..wanted.options.clone() };
    let analysis = analyze(tree, &options)?;
    Ok(Some(chosen(&analysis, wanted.application.as_deref(), None)?.root.clone()))
}

/// The application of that directory, else of that name, else the one that is meant without a name.
fn chosen<'a>(analysis: &'a Analysis, name: Option<&str>, root: Option<&str>) -> Result<&'a Application, Refusal> {
    let name = name.unwrap_or(&analysis.primary);
    let is_it = |app: &&Application| root.map_or(app.name == name, |root| app.root == root);
    analysis.applications.iter().find(is_it).ok_or_else(|| Refusal::Unknown {
        name: name.to_owned(),
        there: analysis.applications.iter().map(|app| app.name.clone()).collect(),
    })
}

/// The files of a context, relative to it.
fn context(tree: &Tree, root: &str) -> Vec<String> {
    let prefix = if root == "." { String::new() } else { format!("{root}/") };
    tree.below(root).map(|path| path.strip_prefix(&prefix).unwrap_or(path).to_owned()).collect()
}

/// A file that is proposed, beside what stands there now.
pub fn proposed(path: String, content: String, present: impl Fn(&str) -> Option<Vec<u8>>) -> Proposed {
    let there = present(&path);
    let same = there.as_deref() == Some(content.as_bytes());
    let diff = if same {
        String::new()
    } else {
        diff(&path, there.as_deref().map(String::from_utf8_lossy).as_deref(), &content)
    };
    Proposed {
        sha256: Digest::of(content.as_bytes()).to_string(),
        exists: there.is_some(),
        same,
        diff,
        replaces: there.map(|bytes| Digest::of(&bytes).to_string()),
        path,
        content,
    }
}

/// From what a file holds, if there is one, to another text, as `diff -u` says it and `git apply` reads it.
fn diff(path: &str, from: Option<&str>, to: &str) -> String {
    let former = from.map_or_else(|| "/dev/null".to_owned(), |_| format!("a/{path}"));
    let header = (former, format!("b/{path}"));
    TextDiff::from_lines(from.unwrap_or_default(), to)
        .unified_diff()
        .context_radius(3)
        .header(&header.0, &header.1)
        .to_string()
}

fn id(tree: &str, files: &[Proposed]) -> String {
    let files: Vec<Value> = files.iter().map(|file| json!({"path": file.path, "sha256": file.sha256})).collect();
    let hex = Digest::of(&canonical(&json!({"files": files, "tree": tree}))).hex();
    format!("prop-{}", hex.get(..16).unwrap_or_default())
}

fn notes(app: &Application, root: &str, plan: &Plan) -> Vec<Note> {
    let note = |code: &str, message: String| Note { code: code.to_owned(), message };
    let mut notes = Vec::new();
    if root != app.root {
        let message = format!("build it in {root}: docker build -f {} {root}", tree::path(&app.root, DOCKERFILE));
        notes.push(note("context", message));
    }
    if let Some(release) = &app.release.value {
        notes.push(note("release", format!("each release runs this before it starts: {release}")));
    }
    if plan.image.ports.is_empty() {
        notes.push(note("port", "no port is known, so none is exposed and nobody looks whether it is well".to_owned()));
    }
    notes.extend(fill::chosen_of(app).iter().map(|chosen| note("model", chosen.to_string())));
    if app.ambiguous {
        notes.push(note("ambiguous", "something else was nearly as likely: see aish analyze".to_owned()));
    }
    notes
}
