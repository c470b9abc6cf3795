//! Packages that are deployed on a node.

mod project;

use std::{
    net::TcpListener,
    process::{Command, Stdio},
    time::Duration,
};

use aigis_registry::Timestamp;
use aigis_tests::{Container, Events, Mesh, Ran, Running, docker, nonce, now, until};
use rustix::process::Signal;
use serde_json::{Value, json};

use project::Project;

/// A bound on every wait, far above what is granted: what is asked here is whether, not how soon.
const LIMIT: Duration = Duration::from_secs(180);

const SERVES: [&str; 6] = ["/bin/httpd", "-f", "-p", "8080", "-h", "/app"];

/// A command that is to end well, whatever it says on the way.
fn done(ran: Ran) -> Ran {
    assert_eq!(ran.code, 0, "{ran:?}");
    ran
}

/// The containers of a project as its engine starts them, each with its image.
fn started(project: &Project) -> Running {
    let label = format!("label=aigis.deployment={}", project.name);
    let mut command = Command::new("docker");
    command.args(["events", "--since", &now(), "--filter", &label, "--filter", "event=start"]);
    command.args(["--format", "{{.Actor.Attributes.name}} {{.Actor.Attributes.image}}"]);
    Running::new(command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap())
}

fn has_image(id: &str) -> bool {
    docker(None, &["images", "-aq", "--no-trunc"]).lines().any(|known| known == id)
}

/// The event of that kind about a container: where it stands among all.
fn event(deployed: &Value, what: &str, name: &str) -> usize {
    let events = deployed["events"].as_array().unwrap();
    let found = events.iter().position(|event| event["what"] == what && event["name"] == name);
    found.unwrap_or_else(|| panic!("{what} {name} is not told: {deployed}"))
}

#[test]
fn pkg_60_pkg_65_pkg_66_pkg_69_a_project_is_deployed_kept_held_rolled_back_and_removed() {
    let (first, second) = (nonce(), nonce());
    let (mesh, project) = (Mesh::up(), Project::new(&first));
    let depends =
        [("api", json!({"depends_on": [project.container("db")]})), ("db", json!({"volumes": {"data": "/data"}}))];
    project.manifest(&SERVES, &depends);
    // Whoever waits for it may go: it goes on.
    let mut deploying = Running::of_stderr(mesh.spawn(["deploy", &project.path()]));
    deploying.until("the first replica is made", LIMIT, |line| line.starts_with("created").then_some(()));
    deploying.signal(Signal::INT);
    let left = deploying.end(LIMIT);
    assert_eq!(left.code, 130, "{left:?}");
    let words = [format!("aish deployments show {}", project.name), format!("aish deployments hold {}", project.name)];
    assert!(words.iter().all(|words| left.stderr.contains(words)), "{left:?}");
    let deployed =
        until("it ends", LIMIT, || project.shown(&mesh).filter(|shown| shown["release"]["outcome"] != "running"));
    let (api, db) = (project.container("api"), project.container("db"));
    assert_eq!((&deployed["release"]["n"], &deployed["release"]["outcome"]), (&json!(1), &json!("deployed")));
    assert!(event(&deployed, "healthy", &db) < event(&deployed, "created", &api), "{deployed}");
    assert_eq!(project.fetched("api", "db"), first);
    // Nothing is touched that is as it is wanted.
    let ids = (project.id("api"), project.id("db"));
    let mut events = Events::follow();
    let again = done(project.deploy(&mesh, &[]));
    assert_eq!((project.id("api"), project.id("db")), ids, "{again:?}");
    for id in [&ids.0, &ids.1] {
        // It is looked at all the while.
        let touched = |action: &String| !action.starts_with("exec_") && !action.starts_with("health_status");
        let touched: Vec<String> = events.about(id).into_iter().filter(touched).collect();
        assert_eq!(touched, [""; 0]);
    }
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
    // A later package with the same images touches nothing, and is what is told.
    let ids = (project.id("api"), project.id("db"));
    project.amend(|manifest| manifest["project"]["description"] = "a shop".into());
    assert_eq!(project.deployed(&mesh)["release"], 3);
    assert_eq!((project.id("api"), project.id("db")), ids);
    let package = mesh.aish(["packages", "show", &project.name, "--json"]).good().json();
    let described = until("its CI answers", LIMIT, || {
        Some(mesh.aish(["describe", &api, "--json"])).filter(|ran| ran.code == 0).map(|ran| ran.json())
    });
    let told = &described["manifest"];
    assert_eq!(told["package"], package["id"], "{told}");
    let image = package["images"].as_array().unwrap().iter().find(|image| image["container"] == json!(api)).unwrap();
    for digest in ["spec", "inputs", "output"] {
        assert_eq!(told[digest], image[digest], "{digest}");
    }
    let part = mesh.aish(["call", &format!("{api}.manifest")]).good().json();
    assert_eq!((&part["manifest"], &part["document"]["containers"][&api]["depends_on"]), (told, &json!([db])));
    // Another version, which somebody holds back first.
    project.write("index.html", &second);
    let _ = mesh.aish(["deployments", "hold", &project.name]).failed(2);
    let held = mesh.aish(["deployments", "hold", &project.name, "--why", "the bus moves"]).good();
    assert_eq!(held.stderr, "");
    let slip = format!("{}/nosuch", project.name);
    let held = mesh.aish(["deployments", "hold", &slip, "--why", "a slip"]);
    assert!(held.code == 0 && held.stderr.contains(&format!("there is no {slip} so far")), "{held:?}");
    let _ = mesh.aish(["deployments", "resume", &slip]).good();
    let held = [project.deploy(&mesh, &[]), mesh.aish(["deployments", "remove", &project.name])];
    for held in held.map(|ran| ran.failed(1)) {
        assert!(held.stderr.contains("the bus moves") && held.stderr.contains("is held by"), "{held:?}");
    }
    let _ = mesh.aish(["deployments", "resume", &project.name]).good();
    let _ = mesh.aish(["deployments", "resume", &project.name]).failed(1);
    let images = [project.image("api"), project.image("db")];
    project.deployed(&mesh);
    assert_eq!(project.fetched("api", "db"), second);
    // Back to what the engine does not have any more, once a hold is over.
    images.iter().filter(|image| has_image(image)).for_each(|image| drop(docker(None, &["rmi", image])));
    assert!(!images.iter().any(|image| has_image(image)), "{images:?}");
    let _ = mesh.aish(["deployments", "hold", &project.name, "--why", "the disk moves", "--until", "+20s"]).good();
    let shown = project.shown(&mesh).unwrap();
    let (until_text, by) = (shown["holds"][0]["until"].as_str().unwrap(), shown["release"]["by"].as_str().unwrap());
    let held = mesh.aish(["deployments", "rollback", &project.name]).failed(1);
    for words in ["the disk moves", &format!("is held by {by}"), &format!("until {until_text}")] {
        assert!(held.stderr.contains(words), "{words} in {held:?}");
    }
    let rolled = until("the hold is over", LIMIT, || {
        Some(mesh.aish(["deployments", "rollback", &project.name, "--json"])).filter(|ran| ran.code == 0)
    });
    let at = |text: &str| text.parse::<Timestamp>().unwrap();
    assert!(at(rolled.json()["events"][0]["at"].as_str().unwrap()) >= at(until_text), "{rolled:?}");
    assert_eq!(project.fetched("api", "db"), first);
    assert_eq!([project.image("api"), project.image("db")], images);
    let outcomes: Vec<String> = project.history(&mesh).into_iter().map(|(_, outcome)| outcome).collect();
    assert_eq!(outcomes, ["deployed"; 5]);
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
    assert_eq!((project.running().len(), project.id("api").is_empty()), (0, false));
    project.manifest(&SERVES, &once);
    project.deployed(&mesh);
    let before = project.image("api");
    // One that ends, one that never listens, and one that answers with a fault; the manifest says where they are to.
    let looked = |how: Value| {
        let mut health = json!({"start_s": 1, "interval_s": 1, "retries": 2});
        health.as_object_mut().unwrap().extend(how.as_object().unwrap().clone());
        [("api", json!({"restart": "no", "health": health}))]
    };
    let (silent, faulty) = (looked(json!({"tcp": 8080})), looked(json!({"http": "/cgi-bin/fault"})));
    let fault = "echo other words; cd /tmp; mkdir cgi-bin; \
        printf '#!/bin/sh\\necho \"Status: 503 No\"; echo; echo' > cgi-bin/fault; chmod 755 cgi-bin/fault; \
        exec httpd -f -p 8080 -h /tmp";
    for (n, script, containers) in
        [(3, "echo other words; exit 3", &once), (4, "echo other words; exec sleep 600", &silent), (5, fault, &faulty)]
    {
        project.manifest(&["/bin/sh", "-c", script], containers);
        let failed = project.deploy(&mesh, &[]).failed(1);
        let error: Value = serde_json::from_str(failed.stderr.lines().last().unwrap()).unwrap();
        let data = &error["data"];
        assert_eq!((&data["outcome"], &data["lines"]), (&json!("rolled_back"), &json!(["other words"])), "{error}");
        assert!(data["verdict"].is_string() && !data["checks"].is_null(), "{error}");
        let message = error["message"].as_str().unwrap();
        assert!(n != 4 || message.contains("nothing listens on 8080"), "{error}");
        let said = "GET /cgi-bin/fault is answered with 503";
        let checks = data["checks"].as_array().unwrap();
        assert_eq!(checks.iter().any(|check| check["name"] == "answers" && check["detail"] == said), n == 5, "{error}");
        assert_eq!(project.image("api"), before);
        assert_eq!(project.fetched("api", "api"), "first");
        assert_eq!(project.history(&mesh).last().unwrap(), &(n, "rolled_back".to_owned()));
    }
    // A port of the host that another program has: nothing is touched.
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let id = project.id("api");
    project.manifest(&SERVES, &[("api", json!({"restart": "no", "publish": {"8080": port}}))]);
    let failed = project.deploy(&mesh, &[]).failed(1);
    assert!(failed.stderr.contains(&port) && failed.stderr.contains("another program"), "{failed:?}");
    assert_eq!((project.id("api"), project.fetched("api", "api")), (id, "first".to_owned()));
    assert_eq!(project.history(&mesh).last().unwrap(), &(6, "rolled_back".to_owned()));
    // A container of somebody else is in the way, and is not touched.
    let other = Project::new("other");
    let foreign = Container::run(&other.container("api"), &[], "busybox", &["sleep", "600"]);
    let mut events = Events::follow();
    other.manifest(&SERVES, &once);
    let refused = other.deploy(&mesh, &[]).failed(1);
    assert!(refused.stderr.contains("already_exists"), "{refused:?}");
    assert_eq!(other.id("api"), foreign.id);
    assert!(events.of(&foreign).is_empty());
}

#[test]
fn pkg_60_pkg_64_pkg_66_replicas_are_replaced_one_after_the_other_behind_the_release_command() {
    let (mesh, project) = (Mesh::up(), Project::new("first"));
    let three = [("api", json!({"replicas": 3}))];
    let prepared_by = |command: &[&str]| {
        project.manifest_of(json!({"run_command": SERVES, "release_command": command}), &three);
    };
    prepared_by(&["/bin/cat", "/app/index.html"]);
    project.deployed(&mesh);
    assert_eq!(project.running().len(), 3);
    for command in ["packages show", "packages build --parent", "deployments history", "why"] {
        assert_eq!(mesh.offered(&format!("aish {command} ''")), [project.name.as_str()], "{command}");
    }
    project.write("index.html", "second");
    let path = project.path();
    let mut started = started(&project);
    let mut deploying = mesh.running(["deploy", &path]);
    let mut least = 3;
    until("it ends", LIMIT, || {
        least = least.min(project.running().len());
        deploying.has_ended().then_some(())
    });
    let ran = deploying.end(LIMIT);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(least >= 2, "only {least} of three ran");
    let named = |number: u32| format!("{}-{number}", project.container("api"));
    let of = |number: u32| docker(None, &["exec", &named(number), "cat", "/app/index.html"]);
    assert_eq!([of(1), of(2), of(3)], ["second"; 3]);
    // Once, of the new image, before the first replica.
    started.until("the last is started", LIMIT, |line| line.starts_with(&named(3)).then_some(()));
    let seen: Vec<(&str, &str)> = started.seen().iter().filter_map(|line| line.split_once(' ')).collect();
    let image = docker(None, &["inspect", "--format", "{{.Image}}", &named(1)]);
    assert!(seen[0].0.starts_with("aigis-release-") && seen.iter().all(|(_, of)| *of == image), "{seen:?}");
    assert_eq!(seen[1..].iter().map(|(name, _)| *name).collect::<Vec<_>>(), [named(1), named(2), named(3)]);
    // Where it fails nothing is touched.
    let ids = || [1, 2, 3].map(|number| docker(None, &["inspect", "--format", "{{.Id}}", &named(number)]));
    let before = ids();
    project.write("index.html", "broken");
    prepared_by(&["/bin/sh", "-c", "echo no such table; exit 3"]);
    let failed = project.deploy(&mesh, &[]).failed(1);
    let error: Value = serde_json::from_str(failed.stderr.lines().last().unwrap()).unwrap();
    assert_eq!(error["data"]["lines"], json!(["no such table"]), "{error}");
    assert_eq!((ids(), project.running().len()), (before.clone(), 3));
    assert_eq!(project.history(&mesh).last().unwrap(), &(3, "rolled_back".to_owned()));
    // It runs as well where the images are what they were, and all replicas stay.
    project.write("index.html", "second");
    prepared_by(&["/bin/echo", "again"]);
    let kept = project.deployed(&mesh);
    event(&kept, "prepared", &project.container("api"));
    assert_eq!((ids(), kept["events"].as_array().unwrap().len()), (before, 1), "{kept}");
    // A hold in the middle stops it before the next replica.
    project.write("index.html", "third");
    prepared_by(&["/bin/true"]);
    let deploying = mesh.running(["deploy", &path]);
    until("the first is of the new version", LIMIT, || {
        let shown = project.shown(&mesh)?;
        let is_it = |event: &Value| event["what"] == "replaced" && event["name"] == json!(named(1));
        (shown["release"]["n"] == 5 && shown["events"].as_array()?.iter().any(is_it)).then_some(())
    });
    let _ = mesh.aish(["deployments", "hold", &project.name, "--why", "enough"]).good();
    let ran = deploying.end(LIMIT);
    assert_eq!(ran.code, 1, "{ran:?}");
    // The hold may be set while the second is replaced; the third is not touched then.
    let words = [of(1), of(2), of(3)];
    assert!((words[0].as_str(), words[2].as_str()) == ("third", "second"), "{words:?}");
    assert_eq!(project.history(&mesh).last().unwrap().1, "stopped");
}

#[test]
fn pkg_59_who_only_reads_deploys_nothing() {
    let (mesh, project) = (Mesh::up(), Project::new("first"));
    project.manifest(&SERVES, &[("api", json!({}))]);
    let id = done(mesh.aish(["packages", "build", &project.path()])).stdout.trim().to_owned();
    let creds = mesh.user("vera", "viewer");
    let as_viewer = |args: &[&str]| mesh.aish([&["--creds", creds.as_str()], args].concat());
    let plan = as_viewer(&["deploy", &id, "--dry-run", "--json"]).good().json();
    assert_eq!(plan[0]["action"], "create");
    let _ = as_viewer(&["deploy", &id]).failed(77);
    let _ = as_viewer(&["deployments", "hold", "all", "--why", "x"]).failed(77);
    assert_eq!(as_viewer(&["deployments", "list", "--json"]).good().json(), json!([]));
    assert!(project.running().is_empty());
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
    let id = done(alpha.aish(["packages", "build", &project.path()])).stdout.trim().to_owned();
    let deploying = alpha.running(["deploy", &id]);
    let shown = || project.shown(&alpha);
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
    assert_eq!(project.running().len(), 2, "one container for each replica");
    assert_eq!(project.fetched("api", "db"), "first", "by its name, from another node");
    let why = alpha.aish(["why", &project.name]).good();
    assert!(why.stdout.contains("is not beta"), "{why:?}");
    done(alpha.aish(["deployments", "remove", &project.name, "--volumes", "--yes"]));
    assert!(project.running().is_empty());
}
