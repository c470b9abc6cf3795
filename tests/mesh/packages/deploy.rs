//! Packages that are deployed on a node.

use std::{fs, time::Duration};

use aigis_tests::{Mesh, Ran, docker, nonce, until};
use serde_json::{Value, json};

/// A bound on every wait, far above what is granted: what is asked here is whether, not how soon.
const LIMIT: Duration = Duration::from_secs(180);

/// A project of which each container serves a directory; what engines have of it goes with this.
struct Project {
    directory: tempfile::TempDir,
    name: String,
}

impl Project {
    fn new(word: &str) -> Self {
        let project = Self { directory: tempfile::tempdir().unwrap(), name: format!("shop-{}", nonce()) };
        project.write("index.html", word);
        project
    }

    fn container(&self, name: &str) -> String {
        format!("{name}-{}", self.name)
    }

    fn write(&self, file: &str, content: &str) {
        fs::write(self.directory.path().join(file), content).unwrap();
    }

    /// Writes a manifest of these containers; `command` is what runs in all.
    fn manifest(&self, command: &[&str], containers: &[(&str, Value)]) {
        let container = |(name, keys): &(&str, Value)| {
            let mut all = json!({"base_image": "busybox", "applications": ["site"], "ports": [8080], "grace_s": 1});
            all.as_object_mut().unwrap().extend(keys.as_object().unwrap().clone());
            (self.container(name), all)
        };
        let manifest = json!({
            "manifest_version": "1.0", "project": {"name": self.name},
            "applications": {"site": {"type": "files", "run_command": command}},
            "containers": containers.iter().map(container).collect::<serde_json::Map<_, _>>(),
        });
        self.write("aigis.json", &manifest.to_string());
    }

    fn deploy(&self, mesh: &Mesh, options: &[&str]) -> Ran {
        let path = self.directory.path().to_str().unwrap().to_owned();
        mesh.aish([&["deploy", &path, "--json"], options].concat())
    }

    fn deployed(&self, mesh: &Mesh) -> Value {
        let ran = self.deploy(mesh, &[]);
        assert_eq!(ran.code, 0, "{ran:?}\n{}", mesh.log());
        ran.json()
    }

    fn id(&self, container: &str) -> String {
        docker(None, &["ps", "-aq", "--no-trunc", "--filter", &format!("name=^{}$", self.container(container))])
    }

    fn running(&self) -> usize {
        docker(None, &["ps", "-q", "--filter", &format!("label=aigis.deployment={}", self.name)]).lines().count()
    }

    /// What one container gets from another by its name.
    fn fetched(&self, from: &str, of: &str) -> String {
        let url = format!("http://{}:8080/index.html", self.container(of));
        docker(None, &["exec", &self.container(from), "wget", "-qO-", &url])
    }

    fn history(&self, mesh: &Mesh) -> Vec<(u64, String)> {
        let history = mesh.aish(["deployments", "history", &self.name, "--json"]).good().json();
        let one = |release: &Value| (release["n"].as_u64().unwrap(), release["outcome"].as_str().unwrap().to_owned());
        history.as_array().unwrap().iter().map(one).collect()
    }
}

impl Drop for Project {
    fn drop(&mut self) {
        let label = format!("label=aigis.deployment={}", self.name);
        for id in docker(None, &["ps", "-aq", "--filter", &label]).lines() {
            docker(None, &["rm", "-f", "-v", id]);
        }
        let owner = format!("label=aigis.owner=deployment/{}", self.name);
        for kind in ["network", "volume"] {
            for id in docker(None, &[kind, "ls", "-q", "--filter", &owner]).lines() {
                docker(None, &[kind, "rm", id]);
            }
        }
    }
}

const SERVES: [&str; 6] = ["/bin/httpd", "-f", "-p", "8080", "-h", "/app"];

/// A command that is to end well, whatever it says on the way.
fn done(ran: Ran) -> Ran {
    assert_eq!(ran.code, 0, "{ran:?}");
    ran
}

/// The event of that kind about a container: where it stands among all.
fn event(deployed: &Value, what: &str, name: &str) -> usize {
    let events = deployed["events"].as_array().unwrap();
    let found = events.iter().position(|event| event["what"] == what && event["name"] == name);
    found.unwrap_or_else(|| panic!("{what} {name} is not told: {deployed}"))
}

#[test]
fn pkg_60_pkg_65_pkg_66_pkg_69_a_project_is_deployed_kept_held_rolled_back_and_removed() {
    let (mesh, project) = (Mesh::up(), Project::new("first"));
    let depends =
        [("api", json!({"depends_on": [project.container("db")]})), ("db", json!({"volumes": {"data": "/data"}}))];
    project.manifest(&SERVES, &depends);
    let deployed = project.deployed(&mesh);
    let (api, db) = (project.container("api"), project.container("db"));
    assert_eq!((&deployed["release"], &deployed["outcome"]), (&json!(1), &json!("deployed")));
    assert!(event(&deployed, "healthy", &db) < event(&deployed, "created", &api), "{deployed}");
    assert_eq!(project.fetched("api", "db"), "first");
    // Nothing is touched that is as it is wanted.
    let ids = (project.id("api"), project.id("db"));
    let again = done(project.deploy(&mesh, &[]));
    assert_eq!((project.id("api"), project.id("db")), ids, "{again:?}");
    assert_eq!(project.history(&mesh).len(), 1);
    // What was removed by hand is made again, and nothing else.
    docker(None, &["rm", "-f", &api]);
    let plan = done(project.deploy(&mesh, &["--dry-run"])).json();
    let rows: Vec<(&str, &str)> = plan
        .as_array()
        .unwrap()
        .iter()
        .map(|row| (row["name"].as_str().unwrap(), row["action"].as_str().unwrap()))
        .collect();
    assert_eq!(rows, [(db.as_str(), "keep"), (api.as_str(), "create")]);
    assert_eq!(project.id("api"), "", "a rehearsal does nothing");
    project.deployed(&mesh);
    assert_eq!(project.id("db"), ids.1);
    // Another version, which somebody holds back first.
    project.write("index.html", "second");
    let _ = mesh.aish(["deployments", "hold", &project.name]).failed(2);
    let _ = mesh.aish(["deployments", "hold", &project.name, "--why", "the bus moves"]).good();
    let held = project.deploy(&mesh, &[]).failed(1);
    assert!(held.stderr.contains("the bus moves") && held.stderr.contains("is held by"), "{held:?}");
    for command in ["rollback", "remove"] {
        let held = mesh.aish(["deployments", command, &project.name]).failed(1);
        assert!(held.stderr.contains("former release") || held.stderr.contains("the bus moves"), "{held:?}");
    }
    let _ = mesh.aish(["deployments", "resume", &project.name]).good();
    let _ = mesh.aish(["deployments", "resume", &project.name]).failed(1);
    project.deployed(&mesh);
    assert_eq!(project.fetched("api", "db"), "second");
    done(mesh.aish(["deployments", "rollback", &project.name]));
    assert_eq!(project.fetched("api", "db"), "first");
    let outcomes: Vec<String> = project.history(&mesh).into_iter().map(|(_, outcome)| outcome).collect();
    assert_eq!(outcomes, ["deployed"; 4]);
    let id = mesh.aish(["packages", "list", "--json"]).good().json()[0]["id"].as_str().unwrap().to_owned();
    let refused = mesh.aish(["packages", "rm", &id]).failed(1);
    assert!(refused.stderr.contains("deployed") || refused.stderr.contains("follow"), "{refused:?}");
    // Away with it.
    done(mesh.aish(["deployments", "remove", &project.name]));
    assert_eq!((project.id("api"), project.id("db")), (String::new(), String::new()));
    let volumes =
        || docker(None, &["volume", "ls", "-q", "--filter", &format!("label=aigis.owner=deployment/{}", project.name)]);
    assert_eq!(volumes().lines().count(), 1);
    let _ = mesh.aish(["deployments", "remove", &project.name, "--volumes"]).failed(2);
    done(mesh.aish(["deployments", "remove", &project.name, "--volumes", "--yes"]));
    assert_eq!(volumes(), "");
    let _ = mesh.aish(["deployments", "show", &project.name]).failed(65);
}

#[test]
fn pkg_63_pkg_67_what_does_not_pass_goes_back_to_what_ran() {
    let (mesh, project) = (Mesh::up(), Project::new("first"));
    let once = [("api", json!({"restart": "no"}))];
    // The first of all has nothing to go back to, and stays to be looked at.
    project.manifest(&["/bin/sh", "-c", "echo last words; exit 3"], &once);
    let failed = project.deploy(&mesh, &[]).failed(1);
    assert!(failed.stderr.contains("last words"), "{failed:?}");
    assert_eq!(project.history(&mesh), [(1, "failed".to_owned())]);
    assert_eq!((project.running(), project.id("api").is_empty()), (0, false));
    project.manifest(&SERVES, &once);
    project.deployed(&mesh);
    let image = || docker(None, &["inspect", "--format", "{{.Image}}", &project.container("api")]);
    let before = image();
    project.manifest(&["/bin/sh", "-c", "echo other words; exit 3"], &once);
    let failed = project.deploy(&mesh, &[]).failed(1);
    let error: Value = serde_json::from_str(failed.stderr.lines().last().unwrap()).unwrap();
    assert_eq!((&error["data"]["outcome"], &error["data"]["lines"]), (&json!("rolled_back"), &json!(["other words"])));
    assert!(error["data"]["verdict"].is_string() && !error["data"]["checks"].is_null(), "{error}");
    assert_eq!(image(), before);
    assert_eq!(project.fetched("api", "api"), "first");
    assert_eq!(project.history(&mesh).last().unwrap(), &(3, "rolled_back".to_owned()));
    // A container of somebody else is in the way, and is not touched.
    let other = Project::new("other");
    docker(None, &["run", "-d", "--name", &other.container("api"), "busybox", "sleep", "600"]);
    let foreign = other.id("api");
    other.manifest(&SERVES, &once);
    let refused = other.deploy(&mesh, &[]).failed(1);
    let same = other.id("api") == foreign;
    docker(None, &["rm", "-f", &foreign]);
    assert!(same && refused.stderr.contains("already_exists"), "{refused:?}");
}

#[test]
fn pkg_64_pkg_66_replicas_are_replaced_one_after_the_other() {
    let (mesh, project) = (Mesh::up(), Project::new("first"));
    project.manifest(&SERVES, &[("api", json!({"replicas": 3}))]);
    project.deployed(&mesh);
    assert_eq!(project.running(), 3);
    project.write("index.html", "second");
    let path = project.directory.path().to_str().unwrap().to_owned();
    let mut deploying = mesh.running(["deploy", &path]);
    let mut least = 3;
    until("it ends", LIMIT, || {
        least = least.min(project.running());
        deploying.has_ended().then_some(())
    });
    let ran = deploying.end(LIMIT);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(least >= 2, "only {least} of three ran");
    let of = |number: u32| {
        docker(None, &["exec", &format!("{}-{number}", project.container("api")), "cat", "/app/index.html"])
    };
    assert_eq!([of(1), of(2), of(3)], ["second"; 3]);
    // A hold in the middle stops it before the next replica.
    project.write("index.html", "third");
    let deploying = mesh.running(["deploy", &path]);
    let first = format!("{}-1", project.container("api"));
    until("the first is of the new version", LIMIT, || {
        let shown = mesh.aish(["deployments", "show", &project.name, "--json"]).good().json();
        let is_it = |event: &Value| event["what"] == "replaced" && event["name"] == json!(first);
        (shown["release"]["n"] == 3 && shown["events"].as_array()?.iter().any(is_it)).then_some(())
    });
    let _ = mesh.aish(["deployments", "hold", &project.name, "--why", "enough"]).good();
    let ran = deploying.end(LIMIT);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert_eq!([of(1), of(2), of(3)], ["third", "second", "second"]);
    assert_eq!(project.history(&mesh).last().unwrap().1, "stopped");
}

#[test]
fn pkg_59_who_only_reads_deploys_nothing() {
    let (mesh, project) = (Mesh::up(), Project::new("first"));
    project.manifest(&SERVES, &[("api", json!({}))]);
    let path = project.directory.path().to_str().unwrap().to_owned();
    let id = done(mesh.aish(["packages", "build", &path])).stdout.trim().to_owned();
    let creds = mesh.user("vera", "viewer");
    let as_viewer = |args: &[&str]| mesh.aish([&["--creds", creds.as_str()], args].concat());
    let plan = as_viewer(&["deploy", &id, "--dry-run", "--json"]).good().json();
    assert_eq!(plan[0]["action"], "create");
    let _ = as_viewer(&["deploy", &id]).failed(77);
    let _ = as_viewer(&["deployments", "hold", "all", "--why", "x"]).failed(77);
    assert_eq!(as_viewer(&["deployments", "list", "--json"]).good().json(), json!([]));
    assert_eq!(project.running(), 0);
}

#[test]
fn pkg_60_pkg_68_another_node_goes_on_where_the_one_that_carried_it_died() {
    let (alpha, project) = (Mesh::up(), Project::new("first"));
    let beta = alpha.joined("beta");
    let depends = [
        ("api", json!({"depends_on": [project.container("db")], "place": {"node": "alpha"}})),
        ("db", json!({"place": {"node": "beta"}})),
    ];
    project.manifest(&SERVES, &depends);
    let path = project.directory.path().to_str().unwrap().to_owned();
    let id = done(alpha.aish(["packages", "build", &path])).stdout.trim().to_owned();
    let deploying = alpha.running(["deploy", &id]);
    let shown = || {
        let ran = alpha.aish(["deployments", "show", &project.name, "--json"]);
        (ran.code == 0).then(|| ran.json())
    };
    let carrier = until("the first replica is made", LIMIT, || {
        let shown = shown()?;
        let is_made = shown["events"].as_array()?.iter().any(|event| event["what"] == "created");
        is_made.then(|| shown["carried_by"].as_str().map(str::to_owned)).flatten()
    });
    let died = if carrier == "alpha" { &alpha } else { &beta };
    died.kill("node.pid");
    until("another node has it", LIMIT, || {
        let shown = shown()?;
        (shown["carried_by"] != json!(carrier) && shown["release"]["n"] == 1).then_some(())
    });
    died.start();
    let ended = until("it ends", LIMIT, || shown().filter(|shown| shown["release"]["outcome"] != "running"));
    let ran = deploying.end(LIMIT);
    assert_eq!(ran.code == 0, ended["release"]["outcome"] == "deployed", "{ran:?} {ended}");
    // Where the replicas of the one that died could not wait for it, the next deploy goes on.
    done(project.deploy(&alpha, &[]));
    assert_eq!(project.running(), 2, "one container for each replica");
    assert_eq!(project.fetched("api", "db"), "first", "by its name, from another node");
    let why = alpha.aish(["why", &project.name]).good();
    assert!(why.stdout.contains("is not beta"), "{why:?}");
    done(alpha.aish(["deployments", "remove", &project.name, "--volumes", "--yes"]));
    assert_eq!(project.running(), 0);
}
