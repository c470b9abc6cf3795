//! Files that come back from a chain: each only where the local one is still what was uploaded; any other goes beside it.

use std::{
    fs, io,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
};

use super::StateDir;

/// What no chain writes into a user's directory.
const NEVER: [&str; 5] = [".aigis", ".ayup", ".git", ".hg", ".svn"];

/// What came back.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Back {
    /// Files that were written.
    pub(crate) written: Vec<String>,
    /// Files that both sides changed, and where the assistant's version is.
    pub(crate) conflicts: Vec<(String, PathBuf)>,
    /// Paths that a chain never writes.
    pub(crate) refused: Vec<String>,
}

/// How the three sides of a directory are told apart.
#[derive(Debug)]
pub(crate) struct Sides<'a> {
    /// What was uploaded.
    pub(crate) base: &'a Path,
    /// What the chain made of it.
    pub(crate) theirs: &'a Path,
    /// The user's directory.
    pub(crate) ours: &'a Path,
    /// Whether what is not there locally is written even though no assistant changed it.
    pub(crate) fill: bool,
}

/// What stands at a path.
#[derive(Debug, PartialEq, Eq)]
enum Thing {
    Nothing,
    Directory,
    Link(PathBuf),
    File { content: Vec<u8>, runs: bool },
    Other,
}

impl Thing {
    fn at(path: &Path) -> io::Result<Self> {
        let about = match fs::symlink_metadata(path) {
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                return Ok(Self::Nothing);
            }
            about => about?,
        };
        Ok(match about.file_type() {
            kind if kind.is_dir() => Self::Directory,
            kind if kind.is_symlink() => Self::Link(fs::read_link(path)?),
            kind if kind.is_file() => {
                Self::File { content: fs::read(path)?, runs: about.permissions().mode() & 0o111 != 0 }
            }
            _ => Self::Other,
        })
    }
}

impl Sides<'_> {
    /// Brings back what the chain made. This blocks.
    ///
    /// # Errors
    ///
    /// What cannot be read or written.
    pub(crate) fn bring(&self, state: &StateDir) -> io::Result<Back> {
        let mut back = Back::default();
        let mut waiting = vec![String::new()];
        while let Some(above) = waiting.pop() {
            let mut names: Vec<String> = fs::read_dir(self.theirs.join(&above))?
                .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
                .collect::<io::Result<_>>()?;
            names.sort();
            for name in names {
                let path = if above.is_empty() { name.clone() } else { format!("{above}/{name}") };
                if NEVER.contains(&name.as_str()) {
                    back.refused.push(path);
                } else if self.one(&path, state, &mut back)? {
                    waiting.push(path);
                }
            }
        }
        Ok(back)
    }

    /// Brings one thing back; says whether it is a directory to be gone into.
    fn one(&self, path: &str, state: &StateDir, back: &mut Back) -> io::Result<bool> {
        let theirs = Thing::at(&self.theirs.join(path))?;
        // Through a link of the user's it would be written elsewhere.
        let safe = self.is_own(path)?;
        let ours = if safe { Thing::at(&self.ours.join(path))? } else { Thing::Other };
        if theirs == Thing::Directory {
            if ours == Thing::Nothing && (self.fill || Thing::at(&self.base.join(path))? == Thing::Nothing) {
                fs::create_dir(self.ours.join(path))?;
            }
            return Ok(true);
        }
        let base = Thing::at(&self.base.join(path))?;
        if theirs == ours || (theirs == base && !(self.fill && ours == Thing::Nothing)) {
            return Ok(false);
        }
        if safe && (ours == base || ours == Thing::Nothing && self.fill) {
            let to = self.ours.join(path);
            if let Some(above) = to.parent() {
                fs::create_dir_all(above)?;
            }
            place(&theirs, &to)?;
            back.written.push(path.to_owned());
        } else {
            let to = state.conflict(path);
            if let Some(above) = to.parent() {
                fs::create_dir_all(above)?;
            }
            place(&theirs, &to)?;
            back.conflicts.push((path.to_owned(), to));
        }
        Ok(false)
    }

    /// Whether all above a path is a directory of the user's own, or not there yet.
    fn is_own(&self, path: &str) -> io::Result<bool> {
        for (end, _) in path.match_indices('/') {
            let above = path.get(..end).unwrap_or_default();
            match fs::symlink_metadata(self.ours.join(above)) {
                Ok(about) if about.is_dir() => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(true),
                Ok(_) => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }
}

/// Puts a file or a link at a path, in one go.
fn place(thing: &Thing, to: &Path) -> io::Result<()> {
    let name = to.file_name().unwrap_or_default().to_string_lossy();
    let part = to.with_file_name(crate::scratch::name());
    let put = || {
        match thing {
            Thing::File { content, runs } => {
                fs::write(&part, content)?;
                fs::set_permissions(&part, fs::Permissions::from_mode(if *runs { 0o755 } else { 0o644 }))?;
            }
            Thing::Link(target) => symlink(target, &part)?,
            Thing::Nothing | Thing::Directory | Thing::Other => {
                return Err(io::Error::other(format!("{name} is no file")));
            }
        }
        fs::rename(&part, to)
    };
    put().inspect_err(|_| drop(fs::remove_file(&part)))
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Three {
        _dir: tempfile::TempDir,
        base: PathBuf,
        theirs: PathBuf,
        ours: PathBuf,
    }

    impl Three {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let [base, theirs, ours] = ["base", "theirs", "ours"].map(|name| dir.path().join(name));
            for path in [&base, &theirs, &ours] {
                fs::create_dir(path).unwrap();
            }
            fs::create_dir(ours.join(".aigis")).unwrap();
            Self { _dir: dir, base, theirs, ours }
        }

        fn write(&self, path: &str, [base, theirs, ours]: [&str; 3]) {
            for (root, content) in [(&self.base, base), (&self.theirs, theirs), (&self.ours, ours)] {
                if !content.is_empty() {
                    fs::create_dir_all(root.join(path).parent().unwrap()).unwrap();
                    fs::write(root.join(path), content).unwrap();
                }
            }
        }

        fn bring(&self, fill: bool) -> Back {
            let sides = Sides { base: &self.base, theirs: &self.theirs, ours: &self.ours, fill };
            sides.bring(&StateDir::of(&self.ours)).unwrap()
        }

        fn text(&self, path: &str) -> Option<String> {
            fs::read_to_string(self.ours.join(path)).ok()
        }
    }

    #[test]
    fn chn_33_what_both_changed_goes_beside() {
        let three = Three::new();
        three.write("both", ["1", "2", "3"]);
        three.write("changed/by them", ["1", "2", "1"]);
        three.write("new", ["", "n", ""]);
        three.write("mine", ["1", "1", "2"]);
        three.write("gone", ["1", "", "1"]);
        three.write("removed here", ["1", "1", ""]);
        three.write("removed here, changed there", ["1", "2", ""]);
        three.write("alike", ["1", "2", "2"]);
        let back = three.bring(false);
        assert_eq!(back.written, ["new", "changed/by them"]);
        let conflicts: Vec<&str> = back.conflicts.iter().map(|(path, _)| path.as_str()).collect();
        assert_eq!(conflicts, ["both", "removed here, changed there"]);
        assert_eq!(three.text("both").as_deref(), Some("3"));
        assert_eq!(three.text(".aigis/conflicts/both").as_deref(), Some("2"));
        assert_eq!(three.text("gone").as_deref(), Some("1"), "nothing is deleted");
        assert_eq!(three.text("removed here"), None);
    }

    #[test]
    fn chn_29_all_is_brought_where_nothing_is() {
        let three = Three::new();
        three.write("a b/ü", ["1", "1", ""]);
        for root in [&three.base, &three.theirs] {
            fs::create_dir(root.join("empty")).unwrap();
            symlink("a b", root.join("link")).unwrap();
            fs::set_permissions(root.join("a b/ü"), fs::Permissions::from_mode(0o755)).unwrap();
        }
        assert!(three.bring(true).conflicts.is_empty());
        assert!(three.ours.join("empty").is_dir());
        assert_eq!(fs::read_link(three.ours.join("link")).unwrap(), Path::new("a b"));
        let mode = fs::metadata(three.ours.join("a b/ü")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o755);
    }

    #[test]
    fn nothing_is_written_through_a_link_or_into_a_repository() {
        let three = Three::new();
        three.write("dir/x", ["", "evil", ""]);
        three.write(".git/hooks/pre-commit", ["", "evil", ""]);
        let outside = tempfile::tempdir().unwrap();
        symlink(outside.path(), three.ours.join("dir")).unwrap();
        let back = three.bring(false);
        assert_eq!(back.refused, [".git"]);
        assert_eq!(back.conflicts.len(), 1);
        assert!(!outside.path().join("x").exists());
        assert_eq!(three.text(".aigis/conflicts/dir/x").as_deref(), Some("evil"));
    }
}
