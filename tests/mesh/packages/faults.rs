//! Who is killed while a package is built, and disks without room: nothing half is left, and the next build gives what it would
//! have given.

use std::{
    collections::BTreeSet,
    fs,
    io::Read as _,
    os::unix::process::ExitStatusExt as _,
    path::PathBuf,
    process::{Child, Command, Output},
    time::Duration,
};

use aigis_tests::{Disk, Mesh, until};
use serde_json::{Value, json};

use super::{
    build::{golden, shown},
    tier_one::{BUILT, Project, building, label},
};

/// How long a container of a build may be left.
const LEFT: Duration = Duration::from_secs(60);
/// How much a source has that takes a moment to pack, in bytes.
const LARGE: u64 = 16 * 1024 * 1024;
/// How often something is tried that has to be done at a certain moment.
const ROUNDS: usize = 10;
/// The smallest piece of a disk.
const PAGE: u64 = 4096;
/// How the project is called by the host that names it.
const NAMED: &str = "gated";

/// What no store has in part already.
fn noise(bytes: u64) -> Vec<u8> {
    let mut noise = Vec::new();
    fs::File::open("/dev/urandom").unwrap().take(bytes).read_to_end(&mut noise).unwrap();
    noise
}

/// A project whose phase waits in its container until the gate there is opened, and then copies a large file.
struct Gated(Project);

impl Gated {
    fn new() -> Self {
        let gate = "until test -e /tmp/open; do sleep 0.1; done";
        Self(Project::built_by(&[gate, "cp large.bin out.txt"], &json!({})))
    }

    /// Gives it another source.
    fn change(&self, bytes: u64) {
        fs::write(self.0.path().join("large.bin"), noise(bytes)).unwrap();
    }

    /// Begins a build, and waits until its phase is at the gate.
    fn begun(&self, mesh: &Mesh, label: &str) -> Child {
        let mut build = mesh.spawn(self.0.arguments(&[]));
        let has_ended = until("a phase runs", BUILT, || {
            if building(label).is_empty() { build.try_wait().unwrap().map(|_| true) } else { Some(false) }
        });
        assert!(!has_ended, "{:?}", build.wait_with_output());
        build
    }

    /// What a whole build gives, whether its phase has to run or not.
    fn built(&self, mesh: &Mesh, label: &str, options: &[&str]) -> Value {
        let ended = ended(mesh.spawn(self.0.arguments(options)), label);
        assert!(ended.status.success(), "{ended:?}");
        serde_json::from_slice(&ended.stdout).unwrap()
    }

    /// Builds after something went wrong: what comes of it is what an undisturbed build gives.
    fn is_built(&self, mesh: &Mesh, label: &str) {
        let next = self.built(mesh, label, &[]);
        let undisturbed = self.built(mesh, label, &["--no-cache"]);
        assert_eq!((&undisturbed["id"], &undisturbed["created"]), (&next["id"], &json!(false)));
        assert!(listed(mesh).iter().any(|row| row["id"] == next["id"]));
    }
}

/// Opens the gate of each container that is there, and tells whether one was opened.
fn open(label: &str) -> bool {
    // It is there a little before it runs, and may be gone by now.
    let opens = |container: &String| {
        let ran = Command::new("docker").args(["exec", container, "touch", "/tmp/open"]).output();
        ran.is_ok_and(|output| output.status.success())
    };
    building(label).iter().filter(|container| opens(container)).count() > 0
}

/// How a build ends whose gates are opened.
fn ended(mut build: Child, label: &str) -> Output {
    until("the build ends", BUILT, || {
        open(label);
        build.try_wait().unwrap()
    });
    build.wait_with_output().unwrap()
}

/// Kills a command, as a crash would; tells whether it had not ended yet.
fn killed(mut command: Child) -> bool {
    command.kill().unwrap();
    command.wait().unwrap().signal() == Some(9)
}

/// Does so again where what was to be killed had ended before: how long assembly takes is not up to the test.
fn in_time(mut is_killed: impl FnMut() -> bool) {
    assert!((0..ROUNDS).any(|_| is_killed()), "what is killed had ended before, {ROUNDS} times");
}

/// Waits until no container of a build is left.
fn is_clean(label: &str) {
    until("no container of a build is left", LEFT, || building(label).is_empty().then_some(()));
}

/// The packages that are listed, once somebody answers; each is whole.
fn listed(mesh: &Mesh) -> Vec<Value> {
    let rows = until("packages are listed", BUILT, || {
        let ran = mesh.aish(["packages", "list", "--json"]);
        (ran.code == 0).then(|| ran.json().as_array().unwrap().clone())
    });
    for row in &rows {
        let file = mesh.path().with_extension("tar");
        let _ = mesh.aish(["packages", "export", row["id"].as_str().unwrap(), "-o", shown(&file)]).good();
        fs::remove_file(file).unwrap();
    }
    rows
}

fn packages(mesh: &Mesh) -> PathBuf {
    mesh.path().with_file_name("packages")
}

/// What lies among the blobs of a host, of which some is being written.
fn blobs(mesh: &Mesh) -> BTreeSet<String> {
    let names = fs::read_dir(packages(mesh).join("blobs/sha256")).unwrap();
    names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

/// Opens the gate, and waits until so many blobs were written since.
fn put_together(mesh: &Mesh, label: &str, written: usize) {
    until("a phase runs", BUILT, || (!building(label).is_empty()).then_some(()));
    let before = blobs(mesh);
    until("the gate is open", BUILT, || open(label).then_some(()));
    until("its image is put together", BUILT, || (blobs(mesh).difference(&before).count() >= written).then_some(()));
}

/// A mesh whose node knows the project by a name, and the label of its build containers.
fn knowing(project: &Gated) -> (Mesh, String, tempfile::TempDir) {
    let settings = tempfile::tempdir().unwrap();
    let named = format!("[projects]\n{NAMED} = {:?}\n", project.0.path());
    fs::write(settings.path().join("packages.toml"), named).unwrap();
    let mesh = Mesh::up_in(vec![("AIGIS_CONFIG_DIR", settings.path().display().to_string())]);
    let label = label(&mesh);
    project.change(LARGE);
    (mesh, label, settings)
}

#[test]
fn pkg_53_who_is_killed_in_a_phase_leaves_no_container_and_no_half_record() {
    let project = Gated::new();
    let (mesh, label, _settings) = knowing(&project);
    assert!(killed(project.begun(&mesh, &label)), "nobody opens its gate");
    is_clean(&label);
    assert!(listed(&mesh).is_empty());
    let waiting = project.begun(&mesh, &label);
    let _killed = mesh.kill("node.pid");
    mesh.start();
    is_clean(&label);
    assert!(listed(&mesh).is_empty());
    project.is_built(&mesh, &label);
    // Whoever waited for it is told.
    let told = ended(waiting, &label);
    assert!(!told.status.success() && told.stdout.is_empty(), "{told:?}");
}

#[test]
fn pkg_53_an_aish_that_is_killed_in_assembly_leaves_no_half_record() {
    let project = Gated::new();
    let (mesh, label, _settings) = knowing(&project);
    // What the phase left is brought; the image is written; all is there, and is sent.
    for written in [1, 2, 5] {
        in_time(|| {
            project.change(LARGE);
            let before = listed(&mesh);
            let build = project.begun(&mesh, &label);
            put_together(&mesh, &label, written);
            let is_killed = killed(build);
            is_clean(&label);
            let more = listed(&mesh).len() - before.len();
            assert!(more == 0 || more == 1 && (written > 2 || !is_killed), "{more} more of {written}");
            is_killed
        });
    }
    project.is_built(&mesh, &label);
}

#[test]
fn pkg_53_a_node_that_is_killed_in_assembly_leaves_no_half_record() {
    let project = Gated::new();
    let (mesh, label, _settings) = knowing(&project);
    // The one that puts it together itself; and the one that is to register it.
    for is_node in [true, false] {
        let project_of = format!("project={NAMED}");
        let call = ["call", "alpha.package.build", &project_of, "--json"].map(str::to_owned).to_vec();
        let command: Vec<String> = project.0.arguments(&["--no-cache"]).into_iter().map(str::to_owned).collect();
        in_time(|| {
            project.change(LARGE);
            let before = listed(&mesh);
            let build = mesh.spawn(if is_node { call.clone() } else { command.clone() });
            put_together(&mesh, &label, 1);
            let _killed = mesh.kill("node.pid");
            let told = ended(build, &label);
            mesh.start();
            is_clean(&label);
            let (is_told, more) = (told.status.success(), listed(&mesh).len() - before.len());
            // It may have been on record before whoever waits for it could be told.
            assert!(more == 1 || more == 0 && !is_told, "{more} more: {told:?}");
            more == 0
        });
    }
    project.is_built(&mesh, &label);
}

#[test]
fn pkg_53_wherever_a_disk_is_full_an_image_is_put_together_whole_or_not_at_all() {
    let (project, disk) = (golden(0o644), Disk::of(16));
    fs::write(project.path().join("large.bin"), noise(LARGE / 32)).unwrap();
    let host = Mesh::absent_on(&disk);
    let build = || host.aish(["packages", "build", shown(project.path()), "--local", "--json"]);
    let built = || {
        let ran = build();
        assert_eq!(ran.code, 0, "{ran:?}");
        ran.json()
    };
    let before = disk.used();
    let undisturbed = built();
    let needed = disk.used() - before;
    // In the sources, in the layer, and in each of the small files that come last.
    let last = (1..=10).map(|pages| needed - pages * PAGE);
    for room in [0, needed / 3, needed * 2 / 3].into_iter().chain(last) {
        fs::remove_dir_all(packages(&host)).unwrap();
        disk.leave(room);
        let full = build();
        disk.relieve();
        let full = full.failed(1);
        assert!(full.stderr.contains("No space left"), "{room} of {needed}: {full:?}");
        assert!(listed(&host).iter().all(|row| row["id"] == undisturbed["id"]));
        assert_eq!(built()["id"], undisturbed["id"], "{room} of {needed}");
    }
}

#[test]
fn pkg_53_a_full_disk_of_the_bus_ends_a_build_and_leaves_no_container_and_no_half_record() {
    let disk = Disk::of(1024);
    let (mesh, project) = (Mesh::up_on(&disk), Gated::new());
    let label = label(&mesh);
    project.change(LARGE / 4);
    let build = project.begun(&mesh, &label);
    disk.leave(0);
    // Nothing that its phase leaves fits, and nobody has to make room for it to end.
    let told = ended(build, &label);
    is_clean(&label);
    let error: Value =
        serde_json::from_slice(told.stderr.split(|byte| *byte == b'\n').rfind(|line| !line.is_empty()).unwrap())
            .unwrap_or_else(|error| panic!("{error}: {told:?}"));
    assert_eq!((told.status.code(), &error["code"]), (Some(1), &json!("resource_exhausted")), "{told:?}");
    assert!(error["hint"].as_str().unwrap().contains("the disk of the bus"), "{told:?}");
    disk.relieve();
    until("the server of the bus is started anew", BUILT, || {
        let status = mesh.aish(["call", "alpha.status", "--json"]);
        let bus = (status.code == 0).then(|| status.json()["bus"].clone())?;
        (bus["restarts"].as_u64() > Some(0) && bus["connected"] == true).then_some(())
    });
    assert!(listed(&mesh).is_empty());
    project.is_built(&mesh, &label);
}
