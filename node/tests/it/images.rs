//! Images that tests make on the spot, and containers that end with their test.

use std::{
    fs,
    os::unix::fs::symlink,
    process::{Command, Stdio},
    sync::OnceLock,
};

use aigis_node::engine::ContainerId;

/// An image that has busybox, under all its names, and nothing else.
pub(crate) const BUSYBOX: &str = "aigis-node-test/busybox:latest";

/// Makes the busybox image, once.
pub(crate) fn busybox() -> &'static str {
    static MADE: OnceLock<()> = OnceLock::new();
    MADE.get_or_init(|| {
        if Command::new("docker").args(["image", "inspect", BUSYBOX]).output().unwrap().status.success() {
            return;
        }
        let root = tempfile::tempdir().unwrap();
        let bin = root.path().join("bin");
        fs::create_dir_all(&bin).unwrap();
        fs::create_dir_all(root.path().join("tmp")).unwrap();
        let program = ["/bin/busybox", "/usr/bin/busybox"].into_iter().find(|path| fs::metadata(path).is_ok());
        fs::copy(program.expect("busybox (package busybox-static) is needed"), bin.join("busybox")).unwrap();
        let names = Command::new(bin.join("busybox")).arg("--list").output().unwrap().stdout;
        for name in String::from_utf8(names).unwrap().lines().filter(|name| *name != "busybox") {
            symlink("busybox", bin.join(name)).unwrap();
        }
        let mut tar = Command::new("tar");
        tar.args(["-c", "--sort=name", "--mtime=@0", "--owner=0", "--group=0", "-C"]).arg(root.path()).arg(".");
        let mut tar = tar.stdout(Stdio::piped()).spawn().unwrap();
        let import = Command::new("docker")
            .args(["import", "--change", "ENV PATH=/bin", "-", BUSYBOX])
            .stdin(tar.stdout.take().unwrap())
            .output()
            .unwrap();
        assert!(tar.wait().unwrap().success() && import.status.success(), "{import:?}");
    });
    BUSYBOX
}

/// Runs the engine's own command line and gives back what it prints, without the last line break.
pub(crate) fn docker(args: &[&str]) -> String {
    let done = Command::new("docker").args(args).stdin(Stdio::null()).output().unwrap();
    assert!(done.status.success(), "docker {args:?}: {}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).unwrap().trim_end().to_owned()
}

/// A container that is removed, by its id, when this is dropped.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) id: ContainerId,
}

impl Running {
    /// `docker run -d OPTIONS busybox COMMAND`.
    pub(crate) fn busybox(options: &[&str], command: &[&str]) -> Self {
        Self::image(busybox(), options, command)
    }

    /// `docker run -d OPTIONS IMAGE COMMAND`.
    pub(crate) fn image(image: &str, options: &[&str], command: &[&str]) -> Self {
        let args: Vec<&str> = ["run", "-d"].iter().chain(options).chain([&image]).chain(command).copied().collect();
        Self { id: docker(&args).parse().unwrap() }
    }

    /// One field of `docker inspect`.
    pub(crate) fn field(&self, template: &str) -> String {
        docker(&["inspect", "--format", template, self.id.as_str()])
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = Command::new("docker").args(["rm", "-f", "-v", self.id.as_str()]).output();
    }
}
