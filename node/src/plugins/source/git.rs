//! Git as a source: asked by its own program, which gets no shell, asks nobody, and runs nothing that a repository brings.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use aigis_proxy::text_file::told;
use aigis_registry::archive::Staging;
use tokio::process::Command;

use super::{
    Error, GitUrl, Reference, Subdirectory,
    index::{MOST_BYTES, MOST_ITEMS},
};
use crate::plugins::child::{self, Bounds};

const BOUNDS: Bounds = Bounds { total: Duration::from_secs(10 * 60), silence: Duration::from_secs(60) };
/// The branch that is taken if nothing is said and there is one.
const USUAL: &str = "master";
/// Everything of the remote, under its own names.
const REFSPECS: [&str; 2] = ["+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*"];
/// What would make git work on another repository, or with other objects.
const MISLEADING: [&str; 11] = [
    "GIT_DIR",
    "GIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_OBJECT_DIRECTORY",
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_COMMON_DIR",
    "GIT_NAMESPACE",
    "GIT_TEMPLATE_DIR",
    "GIT_CONFIG",
    "GIT_ASKPASS",
    "SSH_ASKPASS",
];
const SETTINGS: [&str; 8] = [
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "core.askPass=",
    "core.autocrlf=false",
    "gc.auto=0",
    "maintenance.auto=false",
    "protocol.ext.allow=never",
    "advice.detachedHead=false",
];

/// The objects of a repository.
#[derive(Debug)]
pub(super) struct Repository<'a> {
    directory: PathBuf,
    url: &'a GitUrl,
}

impl<'a> Repository<'a> {
    /// Brings what the remote has. Of a first clone that fails, nothing stays.
    pub(super) async fn fetch(directory: &Path, url: &'a GitUrl) -> Result<Self, Error> {
        let repository = Self { directory: directory.to_owned(), url };
        if directory.is_dir() {
            repository.bring().await?;
            return Ok(repository);
        }
        let staging = Staging::new(directory.parent().unwrap_or(Path::new("/")))?;
        let fresh = Self { directory: staging.top(), url };
        let top = fresh.directory.to_string_lossy().into_owned();
        fresh.run("init", &["init", "--bare", "--quiet", "--template=", "--", &top]).await?;
        fresh.bring().await?;
        staging.publish(directory, false)?;
        Ok(repository)
    }

    async fn bring(&self) -> Result<(), Error> {
        let options = ["fetch", "--progress", "--prune", "--force", "--no-recurse-submodules", "--no-write-fetch-head"];
        let words = [&options[..], &["--", self.url.as_secret()], &REFSPECS].concat();
        self.run("fetch", &words).await.map(drop)
    }

    /// The commit that is meant.
    pub(super) async fn revision(&self, reference: Option<&Reference>) -> Result<String, Error> {
        let Some(reference) = reference else { return self.usual().await };
        let name = reference.as_str();
        for candidate in [format!("refs/heads/{name}"), format!("refs/tags/{name}")] {
            if let Some(commit) = self.commit(&candidate).await? {
                return Ok(commit);
            }
        }
        let is_hex = name.bytes().all(|byte| byte.is_ascii_hexdigit());
        if is_hex && name.len() >= 4 {
            if let Some(commit) = self.commit(name).await? {
                return Ok(commit);
            }
            // A commit that no branch leads to any more is still given to those who name it whole, by some remotes.
            let words = ["fetch", "--no-write-fetch-head", "--", self.url.as_secret(), name];
            if matches!(name.len(), 40 | 64)
                && self.run("fetch", &words).await.is_ok()
                && let Some(commit) = self.commit(name).await?
            {
                return Ok(commit);
            }
        }
        Err(Error::NoRevision(name.to_owned()))
    }

    /// The commit of the branch that is taken if nothing is said.
    async fn usual(&self) -> Result<String, Error> {
        if let Some(commit) = self.commit(&format!("refs/heads/{USUAL}")).await? {
            return Ok(commit);
        }
        let lines = self.run("ls-remote", &["ls-remote", "--symref", "--", self.url.as_secret(), "HEAD"]).await?;
        let head = lines.iter().find_map(|line| line.strip_suffix("\tHEAD"));
        let head = head.map(|head| head.strip_prefix("ref: ").unwrap_or(head)).ok_or(Error::Empty)?;
        self.commit(head).await?.ok_or(Error::Empty)
    }

    async fn commit(&self, name: &str) -> Result<Option<String>, Error> {
        self.object(&format!("{name}^{{commit}}")).await
    }

    async fn object(&self, name: &str) -> Result<Option<String>, Error> {
        match self.run("rev-parse", &["rev-parse", "--verify", "--quiet", "--end-of-options", name]).await {
            // It may have something to say besides.
            Ok(lines) => Ok(lines.into_iter().find(|line| is_id(line))),
            Err(Error::Git { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Puts the tree of a commit, or of a directory in it, into a directory that is staged.
    pub(super) async fn check_out(
        &self,
        commit: &str,
        subdir: Option<&Subdirectory>,
        staging: &Staging,
    ) -> Result<(), Error> {
        let tree = match subdir {
            None => format!("{commit}^{{tree}}"),
            Some(subdir) => {
                let missing = || Error::NoSubdirectory(subdir.as_str().to_owned());
                let found = self.object(&format!("{commit}:{}", subdir.as_str())).await?.ok_or_else(missing)?;
                self.object(&format!("{found}^{{tree}}")).await?.ok_or_else(missing)?
            }
        };
        self.is_bounded(&tree).await?;
        let index = staging.path().join("index");
        let top = staging.top();
        for (what, words) in [
            ("read-tree", &["read-tree", "--end-of-options", tree.as_str()][..]),
            ("checkout-index", &["checkout-index", "--all", "--force", "--quiet"][..]),
        ] {
            let mut command = self.command();
            command.arg("--work-tree").arg(&top).args(words);
            command.env("GIT_INDEX_FILE", &index).current_dir(&top);
            self.ended(what, command).await?;
        }
        Ok(())
    }

    /// Looks at sizes before anything is written.
    async fn is_bounded(&self, tree: &str) -> Result<(), Error> {
        let lines = self.run("ls-tree", &["ls-tree", "-r", "-l", "--end-of-options", tree]).await?;
        let sizes = lines.iter().filter_map(|line| line.split_whitespace().nth(3)?.parse::<u64>().ok());
        if lines.len() as u64 > MOST_ITEMS {
            return Err(Error::Large { most: MOST_ITEMS, of: "files" });
        }
        if sizes.fold(0, u64::saturating_add) > MOST_BYTES {
            return Err(Error::Large { most: MOST_BYTES, of: "bytes" });
        }
        Ok(())
    }

    async fn run(&self, what: &'static str, words: &[&str]) -> Result<Vec<String>, Error> {
        let mut command = self.command();
        command.args(words);
        self.ended(what, command).await
    }

    fn command(&self) -> Command {
        let mut command = Command::new("git");
        for name in MISLEADING {
            command.env_remove(name);
        }
        command.args(SETTINGS.iter().flat_map(|setting| ["-c", setting]));
        command.arg("--git-dir").arg(&self.directory);
        command.env("GIT_TERMINAL_PROMPT", "0").env("GCM_INTERACTIVE", "never").env("SSH_ASKPASS_REQUIRE", "never");
        command.env("GIT_ALLOW_PROTOCOL", "https:http:ssh:git:file").env("GIT_OPTIONAL_LOCKS", "0").env("LC_ALL", "C");
        if std::env::var_os("GIT_SSH_COMMAND").is_none() && std::env::var_os("GIT_SSH").is_none() {
            // It would ask for pass-phrases and about unknown hosts at the terminal, past its standard input.
            command.env("GIT_SSH_COMMAND", "ssh -oBatchMode=yes");
        }
        command
    }

    /// Runs it, and returns what it wrote if it succeeds.
    async fn ended(&self, what: &'static str, command: Command) -> Result<Vec<String>, Error> {
        let mut lines = Vec::new();
        let mut take = |line: &str| {
            // What is counted is judged by its number; what is said of progress is not kept.
            if lines.len() as u64 <= MOST_ITEMS {
                lines.push(line.to_owned());
            }
        };
        let ended = child::run(command, BOUNDS, &mut take).await.map_err(|error| match error {
            child::Error::Io { source, .. } => Error::NoGit(source),
            error => Error::Slow(error.to_string()),
        })?;
        if ended.status.success() { Ok(lines) } else { Err(Error::Git { what, said: self.said(&ended.last) }) }
    }

    /// What git said last, without the password that it may repeat.
    fn said(&self, last: &[String]) -> String {
        let of_failure: Vec<&str> = last
            .iter()
            .map(String::as_str)
            .filter(|line| line.starts_with("fatal:") || line.starts_with("error:"))
            .collect();
        let lines = if of_failure.is_empty() { last.iter().map(String::as_str).collect() } else { of_failure };
        let text = lines.iter().map(|line| line.trim()).collect::<Vec<_>>().join("; ");
        told(&match self.url.password() {
            Some(password) => text.replace(password, "***"),
            None => text,
        })
    }
}

/// Whether that is the whole name of an object.
fn is_id(line: &str) -> bool {
    matches!(line.len(), 40 | 64) && line.bytes().all(|byte| byte.is_ascii_hexdigit())
}
