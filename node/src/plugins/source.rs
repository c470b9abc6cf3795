//! Where a plugin comes from, and how it is brought: a git URL or a path becomes the *runtime copy*, which the plugin runs
//! from and may write to.
//!
//! [`fetch`] brings what is new beside what there is; [`Fetched::deliver`] puts it in its place. In between the manifest
//! can be read and requirements installed, while what was there before serves on.

use std::{
    fmt,
    path::{Path, PathBuf},
    str::FromStr,
};

use aigis_proxy::{quoted, text_file};
use serde::{Serialize, Serializer};

mod deliver;
mod error;
mod fetch;
mod git;
mod index;
mod local;

pub use error::Error;
pub(crate) use fetch::delivered;
pub use fetch::{Fetched, Occasion, Present, Report, fetch};

/// What git is let take a URL's scheme to mean.
const SCHEMES: [&str; 5] = ["https", "http", "ssh", "git", "file"];

/// Where a plugin comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Source {
    /// The repository or directory.
    #[serde(rename = "source")]
    pub location: Location,
    /// Which of its branches, tags or commits.
    #[serde(rename = "ref")]
    pub reference: Option<Reference>,
    /// Where in it the plugin lies.
    pub subdir: Option<Subdirectory>,
    /// When it is brought anew.
    pub update: Update,
}

/// A repository or a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// A repository, as git names it.
    Git(GitUrl),
    /// A directory of this host.
    Path(PathBuf),
}

/// Why a text is no source.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoSource {
    /// Nothing stands there.
    #[error("the source is empty; write a git URL or a path")]
    Empty,
    /// A program would take it for an option.
    #[error("the source \"{0}\" begins with -; write ./ before a path")]
    Option(String),
    /// A terminal would obey it.
    #[error("the source \"{0}\" has a control character")]
    Control(String),
    /// Git could do anything with it.
    #[error("the source \"{0}\" has a scheme that is not taken; take https, http, ssh, git and file")]
    Scheme(String),
}

impl Location {
    /// Reads a source; a path is relative to `folder`.
    ///
    /// # Errors
    ///
    /// It would be taken for something else than a source.
    pub fn parse(text: &str, folder: &Path) -> Result<Self, NoSource> {
        if text.is_empty() {
            return Err(NoSource::Empty);
        }
        if text.starts_with('-') {
            return Err(NoSource::Option(quoted(text)));
        }
        if text.chars().any(char::is_control) {
            return Err(NoSource::Control(quoted(text)));
        }
        let is_scheme = |word: &str| {
            word.starts_with(|c: char| c.is_ascii_alphabetic())
                && word.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'))
        };
        if let Some((scheme, _)) = text.split_once("://").filter(|(scheme, _)| is_scheme(scheme)) {
            let is_known = SCHEMES.contains(&scheme.to_ascii_lowercase().as_str());
            return if is_known { Ok(Self::Git(GitUrl(text.to_owned()))) } else { Err(NoSource::Scheme(quoted(text))) };
        }
        let host = text.split_once(':').and_then(|(before, _)| before.split_once('@'));
        let is_remote = host.is_some_and(|(user, host)| {
            let plain = |word: &str| !word.is_empty() && !word.starts_with('-') && !word.contains(['/', '@', ' ']);
            plain(user) && plain(host)
        });
        if is_remote { Ok(Self::Git(GitUrl(text.to_owned()))) } else { Ok(Self::Path(expanded(text, folder))) }
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Git(url) => url.fmt(f),
            Self::Path(path) => f.write_str(&text_file::shown(path)),
        }
    }
}

impl Serialize for Location {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A path as it is written in a file of `folder`: absolute, from the home directory on, or from there on.
pub(super) fn expanded(text: &str, folder: &Path) -> PathBuf {
    match text.strip_prefix('~') {
        Some(rest) if rest.is_empty() || rest.starts_with('/') => {
            let home = std::env::home_dir().unwrap_or_default();
            home.join(rest.trim_start_matches('/'))
        }
        _ => folder.components().chain(Path::new(text).components()).fold(PathBuf::new(), |mut path, part| {
            // `a/./b` is the same, and would only look odd in messages.
            if part != std::path::Component::CurDir {
                path.push(part);
            }
            path
        }),
    }
}

/// The URL of a repository. It is shown without the password that may stand in it.
#[derive(Clone, PartialEq, Eq)]
pub struct GitUrl(String);

impl GitUrl {
    /// The URL as git gets it, with all that stands in it.
    pub(super) fn as_secret(&self) -> &str {
        &self.0
    }

    /// The password in it, or what stands for one where a server takes it as the user's name.
    pub(super) fn password(&self) -> Option<&str> {
        let (scheme, rest) = self.0.split_once("://")?;
        let (login, _) = rest.split('/').next()?.rsplit_once('@')?;
        let secret = match login.split_once(':') {
            Some((_, password)) => password,
            // Over http a name alone is a token; over ssh it is only whom to log in as.
            None if scheme.to_ascii_lowercase().starts_with("http") => login,
            None => return None,
        };
        Some(secret).filter(|secret| !secret.is_empty())
    }

    /// Whether a password stands in it.
    #[must_use]
    pub fn has_password(&self) -> bool {
        self.password().is_some()
    }

    /// Which repository it is, however one logs in: the URL without user, password, `.git` and slashes at its end.
    #[must_use]
    pub fn repository(&self) -> String {
        let url = match self.0.split_once("://") {
            Some((scheme, rest)) => {
                let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
                let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
                format!("{}://{}{path}", scheme.to_ascii_lowercase(), host.to_ascii_lowercase())
            }
            None => self.0.split_once('@').map_or(self.0.clone(), |(_, rest)| rest.to_owned()),
        };
        let url = url.trim_end_matches('/');
        url.strip_suffix(".git").unwrap_or(url).to_owned()
    }
}

impl fmt::Display for GitUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.password() {
            Some(password) => f.write_str(&self.0.replacen(&format!("{password}@"), "***@", 1)),
            None => f.write_str(&self.0),
        }
    }
}

impl fmt::Debug for GitUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.to_string(), f)
    }
}

/// A branch, a tag or a commit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Reference(String);

impl Reference {
    /// Reads the name of a branch or tag, or a commit.
    ///
    /// # Errors
    ///
    /// Git would take it for something else.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        const SPECIAL: [char; 7] = ['~', '^', ':', '?', '*', '[', '\\'];
        let bad = text.is_empty()
            || text.starts_with(['-', '/'])
            || text.chars().any(|c| c.is_control() || c == ' ' || SPECIAL.contains(&c))
            || text.contains("..")
            || text.contains("@{");
        if bad { Err("write the name of a branch or tag, or a commit") } else { Ok(Self(text.to_owned())) }
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// A directory within a source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Subdirectory(String);

impl Subdirectory {
    /// Reads a path that leads nowhere else.
    ///
    /// # Errors
    ///
    /// It is absolute, or has a part that is none.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let path = text.trim_end_matches('/');
        let is_part = |part: &str| !matches!(part, "" | "." | "..") && !part.chars().any(char::is_control);
        let good = path.split('/').all(is_part) && !path.starts_with('-') && !path.contains([':', '\\']);
        if good { Ok(Self(path.to_owned())) } else { Err("write a directory within the source, such as plugins/bot") }
    }

    /// The path.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// When a plugin is brought anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Update {
    /// At each start.
    Start,
    /// Only when somebody asks for it.
    Never,
}

impl FromStr for Update {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "start" => Ok(Self::Start),
            "never" => Ok(Self::Never),
            _ => Err("write \"start\" or \"never\""),
        }
    }
}

#[cfg(test)]
mod tests;
