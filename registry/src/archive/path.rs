//! Paths within a tree, and the targets of its links.

use super::{
    MAX_DEPTH, MAX_PART, MAX_PATH,
    rule::{LinkFault, PathFault, Rule, escaped},
};

/// A path within a tree: parts joined by slashes, none of them a trick, none at the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TreePath(String);

impl TreePath {
    /// Reads a path as it stands in an archive; what is a directory may end in one slash.
    pub(super) fn parse(bytes: &[u8], directory: bool) -> Result<Self, PathFault> {
        let text = text(bytes)?;
        if bytes.len() > MAX_PATH {
            return Err(PathFault::Long);
        }
        if text.starts_with('/') {
            return Err(PathFault::Absolute);
        }
        let path = match text.strip_suffix('/') {
            Some(_) if !directory => return Err(PathFault::Slash),
            Some(path) => path,
            None => text,
        };
        for (depth, part) in path.split('/').enumerate() {
            match part {
                ".." => return Err(PathFault::Parent),
                "" | "." => return Err(PathFault::Dot),
                _ if part.len() > MAX_PART => return Err(PathFault::LongPart),
                _ if depth == MAX_DEPTH => return Err(PathFault::Deep),
                _ => {}
            }
        }
        Ok(Self(path.to_owned()))
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    pub(super) fn parts(&self) -> impl Iterator<Item = &str> {
        self.0.split('/')
    }

    /// The path of what holds it, which is empty at the top, and its last part.
    pub(super) fn split(&self) -> (&str, &str) {
        self.0.rsplit_once('/').unwrap_or(("", &self.0))
    }
}

/// Reads the target of a symbolic link that stands at `path`. Where it leads over other links is judged once all are
/// known.
pub(super) fn link_target(path: &TreePath, bytes: &[u8]) -> Result<String, Rule> {
    let refuse = |fault| Rule::Link { target: escaped(bytes), fault };
    let target = text(bytes).map_err(|fault| refuse(LinkFault::Path(fault)))?;
    if bytes.len() > MAX_PATH {
        return Err(refuse(LinkFault::Path(PathFault::Long)));
    }
    if target.starts_with('/') {
        return Err(refuse(LinkFault::Leaves));
    }
    let mut depth = path.parts().count() - 1;
    for part in target.split('/') {
        depth = match part {
            "" | "." => depth,
            ".." => depth.checked_sub(1).ok_or_else(|| refuse(LinkFault::Leaves))?,
            _ if part.len() > MAX_PART => return Err(refuse(LinkFault::Path(PathFault::LongPart))),
            _ => depth + 1,
        };
    }
    Ok(target.to_owned())
}

fn text(bytes: &[u8]) -> Result<&str, PathFault> {
    let text = std::str::from_utf8(bytes).map_err(|_| PathFault::Encoding)?;
    if text.is_empty() {
        return Err(PathFault::Empty);
    }
    if text.chars().any(char::is_control) {
        return Err(PathFault::Control);
    }
    if text.contains('\\') {
        return Err(PathFault::Backslash);
    }
    if matches!(text.as_bytes(), [letter, b':', ..] if letter.is_ascii_alphabetic()) {
        return Err(PathFault::Drive);
    }
    Ok(text)
}
