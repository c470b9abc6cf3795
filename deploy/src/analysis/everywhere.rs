//! However a project came to lie where it lies, the same is said of it. (Time zones, languages and homes are tried with the
//! program itself: a process has one of each.)

use std::{
    collections::BTreeSet,
    fs::{self, File, Permissions},
    os::unix::fs::PermissionsExt as _,
    path::Path,
    thread,
    time::{Duration, UNIX_EPOCH},
};

use super::{
    Options, analyze,
    corpus::{Project, all},
};
use crate::{
    Digest, Tree,
    dockerfile::{Wanted, propose},
    plan::Bases,
};

/// How many copies of each project there are, and how often each is looked at; AIGIS_LOOKS=20 makes a hundred of it.
const COPIES: usize = 5;
const LOOKS: usize = 1;
const THREADS: usize = 2;

/// A copy whose files were made in another order, with other modes and times, by another user mask.
fn copied(project: &Project, copy: usize) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let mut files: Vec<_> = project.files.iter().collect();
    let turned = copy % files.len().max(1);
    files.rotate_left(turned);
    if !copy.is_multiple_of(2) {
        files.reverse();
    }
    let (file_mode, directory_mode) = if copy.is_multiple_of(2) { (0o644, 0o755) } else { (0o600, 0o700) };
    for (path, content) in files {
        let path = dir.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        let seconds = 1_000_000 * (copy as u64 + 1);
        File::options()
            .write(true)
            .open(&path)
            .unwrap()
            .set_modified(UNIX_EPOCH + Duration::from_secs(seconds))
            .unwrap();
        fs::set_permissions(&path, Permissions::from_mode(file_mode)).unwrap();
        fs::set_permissions(path.parent().unwrap(), Permissions::from_mode(directory_mode)).unwrap();
    }
    dir
}

/// What `aish analyze --json` and `aish dockerfile --json` say of a directory.
fn said(root: &Path) -> [Digest; 2] {
    let analysis = match analyze(&Tree::read(root).unwrap(), &Options::default()) {
        Ok(analysis) => serde_json::to_vec(&analysis).unwrap(),
        Err(nothing) => format!("{nothing:?}").into_bytes(),
    };
    let wanted = Wanted { bases: Bases::known(), ..Wanted::default() };
    let proposal = match propose(Tree::read(root).unwrap(), &wanted, |_| None) {
        Ok((proposal, _)) => serde_json::to_vec(&proposal).unwrap(),
        Err(refusal) => format!("{refusal:?}").into_bytes(),
    };
    [Digest::of(&analysis), Digest::of(&proposal)]
}

#[test]
fn pkg_03_every_look_at_each_copy_of_a_project_says_the_same() {
    let (projects, looks) = (all(), std::env::var("AIGIS_LOOKS").ok().and_then(|looks| looks.parse().ok()));
    let looks = looks.unwrap_or(LOOKS);
    thread::scope(|scope| {
        for part in projects.chunks(projects.len().div_ceil(THREADS)) {
            scope.spawn(move || {
                for project in part {
                    let copies: Vec<_> = (0..COPIES).map(|copy| copied(project, copy)).collect();
                    let all: BTreeSet<_> =
                        copies.iter().flat_map(|copy| (0..looks).map(|_| said(copy.path()))).collect();
                    assert_eq!(all.len(), 1, "{}", project.name);
                }
            });
        }
    });
}
