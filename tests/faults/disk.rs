//! A small disk in place of a directory: a file with a file system, mounted until this is ended.

use std::{
    fs::{self, File},
    io::Write as _,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use aigis_tests::until;

/// How much is written at once to fill a disk.
const PIECE: usize = 256 * 1024;
/// How long others may hold a disk that was given back.
const RELEASED: Duration = Duration::from_secs(20);

/// A disk of its own for what is in a directory.
#[derive(Debug)]
pub(crate) struct Disk {
    file: PathBuf,
    place: PathBuf,
}

impl Disk {
    /// Puts what is in the directory on a disk of that size, such as `4G`, most of which stays a hole in its file.
    pub(crate) fn under(place: &Path, file: PathBuf, size: &str) -> Self {
        let disk = Self { file, place: place.to_owned() };
        let (file, place) = (shown(&disk.file), shown(&disk.place));
        run("truncate", &["--size", size, &file]);
        // Nothing is set apart for the superuser: full is full for everybody.
        run("mkfs.ext4", &["-q", "-m", "0", "-E", "nodiscard", &file]);
        let content = disk.content();
        run("mkdir", &[&shown(&content)]);
        run("mount", &["-o", "loop", &file, &shown(&content)]);
        run("cp", &["--archive", &format!("{place}/."), &shown(&content)]);
        run("umount", &[&shown(&content)]);
        disk.mount();
        disk
    }

    fn content(&self) -> PathBuf {
        self.file.with_extension("content")
    }

    pub(crate) fn mount(&self) {
        run("mount", &["-o", "loop", &shown(&self.file), &shown(&self.place)]);
    }

    /// Ends it at once, as a power cut does: neither what is cached nor its journal is written.
    pub(crate) fn cut(&self) {
        run("xfs_io", &["-x", "-c", "shutdown", &shown(&self.place)]);
    }

    /// Whether it is not in use, and is no more. Who starts a container copies all mounts for a moment: a disk that is
    /// mounted again meanwhile is still the one that was cut.
    pub(crate) fn unmount(&self) -> bool {
        if !Command::new("umount").arg(&self.place).output().is_ok_and(|ran| ran.status.success()) {
            return false;
        }
        until("nobody has the disk", RELEASED, || {
            let holders = Command::new("losetup").args(["--noheadings", "--associated"]).arg(&self.file).output();
            holders.is_ok_and(|ran| ran.status.success() && ran.stdout.is_empty()).then_some(())
        });
        true
    }

    /// Its number, as the kernel's limits name it.
    pub(crate) fn device(&self) -> String {
        let seen = rustix::fs::stat(&self.place).unwrap_or_else(|error| panic!("{}: {error}", self.place.display()));
        format!("{}:{}", rustix::fs::major(seen.st_dev), rustix::fs::minor(seen.st_dev))
    }

    fn filler(&self) -> PathBuf {
        self.place.join("filler")
    }

    /// Makes it larger. Nobody may use it meanwhile.
    pub(crate) fn grow(&self, size: &str) {
        assert!(self.unmount(), "{} is in use", self.place.display());
        let file = shown(&self.file);
        run("truncate", &["--size", size, &file]);
        run("e2fsck", &["-f", "-p", &file]);
        run("resize2fs", &[&file]);
        self.mount();
    }

    /// Fills it with what is of nobody's concern.
    pub(crate) fn fill(&self) {
        let path = self.filler();
        let failed = |error: std::io::Error| panic!("{}: {error}", path.display());
        let mut file = File::create(&path).unwrap_or_else(failed);
        let mut piece = PIECE;
        // The last bytes are found by ever smaller pieces.
        while piece > 0 {
            if file.write_all(&vec![1; piece]).and_then(|()| file.sync_all()).is_err() {
                piece /= 2;
            }
        }
    }

    /// Takes that away again.
    pub(crate) fn relieve(&self) {
        fs::remove_file(self.filler()).unwrap_or_else(|error| panic!("{}: {error}", self.filler().display()));
    }

    /// Puts what is on it back into the directory, and ends it.
    pub(crate) fn give_back(self) {
        let (content, place) = (shown(&self.content()), shown(&self.place));
        run("cp", &["--archive", &format!("{place}/."), &content]);
        assert!(self.unmount(), "{place} is in use");
        run("rm", &["--recursive", &place]);
        run("mv", &[&content, &place]);
        run("rm", &[&shown(&self.file)]);
    }
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

fn run(program: &str, args: &[&str]) {
    let ran = Command::new(program).args(args).output();
    let ran = ran.unwrap_or_else(|error| panic!("{program} cannot be run: {error}; scripts/faults installs it"));
    assert!(ran.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&ran.stderr));
}
