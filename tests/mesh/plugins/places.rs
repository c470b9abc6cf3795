//! Plugins whose processes run on other hosts: nodes, and plugin hosts.

use std::os::unix::fs::PermissionsExt as _;

use aigis_tests::Running;

use super::*;

/// A process that does that once, and stays.
fn stays(body: &str) -> String {
    format!("{body}\ntime.sleep(1000)")
}

/// A variable of a process.
fn variable(pid: &Value, name: &str) -> Option<String> {
    let found = read(&PathBuf::from(format!("/proc/{pid}/environ")));
    found.split('\0').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('=').map(str::to_owned))
}

fn is_gone(pid: &Value) {
    until(&format!("the process {pid} has ended"), LIMIT, || {
        (!Path::new(&format!("/proc/{pid}")).exists()).then_some(())
    });
}

fn terminated(running: Running) -> Ran {
    running.signal(rustix::process::Signal::TERM);
    running.end(LIMIT)
}

#[test]
fn plg_64_a_plugin_waits_for_its_host_and_runs_there_when_it_comes() {
    let plugins = Plugins::new();
    let body = stays("print('six is', aigis.cool.nolog(3), os.environ['AIGIS_NODE'])");
    plugins.fx().internal("far", "internal-remote", "HOST = \"gamma\"", &body);
    let tables = [plugins.table("core", &["fx"]), plugins.table("internal-remote", &["far"])].concat();
    let mesh = Mesh::hosting(&tables);
    let row = settled(&mesh, "far", "waiting");
    assert!(row["error"].as_str().unwrap().contains("gamma") && row["pid"].is_null(), "{row}");

    let gamma = mesh.joined("gamma");
    let row = settled(&mesh, "far", "running");
    assert_eq!((&row["node"], variable(&row["pid"], "AIGIS_NODE").as_deref()), (&"gamma".into(), Some("gamma")));
    let _said = logged(&mesh, "far", "six is 6 gamma");
    assert!(copy(&gamma, "far").join("main.py").exists());
    let status = mesh.aish(["call", "far.status", "--json"]).good().json();
    assert_eq!((&status["node"], &status["place"]), (&"alpha".into(), &"gamma".into()));
    assert!(status["memory_bytes"].as_u64().unwrap() > 1 << 20, "{status}");
    let line = mesh.aish(["plugins", "logs", "far", "--source", "stdout", "--json"]).good().stdout;
    assert_eq!(serde_json::from_str::<Value>(line.lines().next().unwrap()).unwrap()["node"], "gamma");

    // It goes with its host, and comes back with it.
    assert_eq!(gamma.aish(["down"]).code, 0);
    is_gone(&row["pid"]);
    let waits = settled(&mesh, "far", "waiting");
    assert!(waits["error"].as_str().unwrap().contains("offline"), "{waits}");
    gamma.start();
    let again = settled(&mesh, "far", "running");
    assert_ne!(again["pid"], row["pid"]);

    // A start of its home changes nothing: the process goes on where it is.
    mesh.kill("node.pid");
    mesh.start();
    assert_eq!(settled(&mesh, "far", "running")["pid"], again["pid"]);

    // What its home stops or removes ends there too, and leaves nothing.
    let _stopped = mesh.aish(["call", "far.stop"]).good();
    is_gone(&again["pid"]);
    assert_eq!(settled(&mesh, "far", "stopped")["pid"], Value::Null);
    let _started = mesh.aish(["call", "far.start"]).good();
    let last = settled(&mesh, "far", "running");
    let _removed = mesh.aish(["plugins", "remove", "far"]).good();
    is_gone(&last["pid"]);
    until("nothing of it is left", LIMIT, || (!gamma.path().join("plugins/far").exists()).then_some(()));
    assert!(!gamma.path().join("creds/plugin-far.creds").exists(), "not even its key");
    let users = mesh.aish(["users", "list", "--json"]).good().json();
    let user = users.as_array().unwrap().iter().find(|user| user["name"] == "plugin-far").cloned();
    assert_eq!(user.map(|user| user["state"].clone()), Some("revoked".into()));
}

#[test]
fn plg_38_values_keep_their_types_between_hosts() {
    let plugins = Plugins::new();
    let body = r#"
import datetime, decimal, math, random, uuid
rng = random.Random(7)
def value(depth=0):
    kinds = [lambda: rng.getrandbits(70) - 2**69, lambda: rng.random(), lambda: "x" * rng.randrange(9), lambda: None,
        lambda: rng.random() < 0.5, lambda: rng.randbytes(rng.randrange(20)), lambda: decimal.Decimal(rng.randrange(999)) / 7,
        lambda: uuid.UUID(int=rng.getrandbits(128)), lambda: datetime.timedelta(microseconds=rng.getrandbits(40)),
        lambda: complex(rng.random(), rng.random())]
    if depth < 3:
        kinds += [lambda: [value(depth + 1) for _ in range(3)], lambda: tuple(value(depth + 1) for _ in range(3)),
            lambda: {str(i): value(depth + 1) for i in range(3)}, lambda: {i: value(depth + 1) for i in range(3)}]
    return rng.choice(kinds)()
tz = datetime.timezone(datetime.timedelta(hours=2))
special = [2**100, {"$ref": 1}, {1: 2}, datetime.datetime(2026, 1, 2, 3, 4, 5, 6, tz), os.urandom(5_000_000), {1, 2}, -0.0]
right = 0
for one in special + [value() for _ in range(1000 - len(special))]:
    back = aigis.cool.echo(one)
    right += back == one and type(back) is type(one)
print("right", right, math.isnan(aigis.cool.echo(float("nan"))))
"#;
    plugins.fx().internal("caller", "internal-remote", "HOST = \"beta\"", &stays(body.trim()));
    let mesh = Mesh::hosting(&plugins.table("core", &["fx"]));
    let _beta = mesh.joined("beta");
    let source = plugins.path("caller");
    let _added = mesh.aish(["plugins", "add", "caller", source.to_str().unwrap()]).good();
    let log = logged(&mesh, "caller", "right ");
    assert!(log.contains("right 1000 True"), "{log}");
}

#[test]
fn plg_44_leaving_a_stream_of_another_host_closes_it_there() {
    let plugins = Plugins::new();
    let body = "got = []\nfor x in aigis.cool.gen(10**6):\n    got.append(x)\n    if len(got) == 5: break\nprint('got', got)\n\
        print('back', aigis.cool.back(lambda x: f'{2 * x} ' + os.environ['AIGIS_PLUGIN'], 5))";
    plugins.fx().internal("caller", "internal", "HOST = \"beta\"", &stays(body));
    let mesh = Mesh::hosting(&plugins.table("core", &["fx"]));
    let _beta = mesh.joined("beta");
    let _added = mesh.aish(["plugins", "add", "caller", plugins.path("caller").to_str().unwrap()]).good();
    let _got = logged(&mesh, "caller", "got [0, 1, 2, 3, 4]");
    let _called_back = logged(&mesh, "caller", "back 10 caller");
    let closed =
        until("the generator was closed", LIMIT, || read(&copy(&mesh, "fx").join("closed")).parse::<u64>().ok());
    assert!(closed <= 40, "{closed} were made");
}

#[test]
fn plg_61_a_secret_reaches_another_host_sealed_and_is_found_nowhere() {
    let plugins = Plugins::new();
    let secret = format!("S3CRET-{}", aigis_tests::nonce());
    let settings = "HOST = \"beta\"\nSECRETS = {\"key.txt\": \"{root}/keys\"}";
    let body = stays("print('it is', open('keys/key.txt').read(), oct(os.stat('keys/key.txt').st_mode & 0o777))");
    plugins.internal("caller", "internal", settings, &body);
    let mesh = Mesh::hosting("");
    let beta = mesh.joined("beta");
    let config = mesh.config();
    let beside = config.parent().unwrap().join("secrets/caller");
    fs::create_dir_all(&beside).unwrap();
    let file = beside.join("key.txt");
    fs::write(&file, &secret).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    let _added = mesh.aish(["plugins", "add", "caller", plugins.path("caller").to_str().unwrap()]).good();
    let log = logged(&mesh, "caller", "it is");
    assert!(log.contains("it is *** 0o600") && !log.contains(&secret), "{log}");
    assert_eq!(read(&copy(&beta, "caller").join("keys/key.txt")), secret);
    assert!(!copy(&mesh, "caller").join("keys").exists(), "only who runs it has it as a file");
    // Neither the bus's store nor any log or record holds it in clear.
    let holds = |folder: &Path| {
        let found = std::process::Command::new("grep").args(["-rlF", &secret]).arg(folder).output().unwrap();
        String::from_utf8(found.stdout).unwrap()
    };
    let found = [holds(&mesh.path()), holds(&beta.path())].concat();
    let found: Vec<&str> = found.lines().filter(|path| !path.ends_with("source/keys/key.txt")).collect();
    assert!(found.is_empty(), "{found:?}");
}

#[test]
fn what_is_wrong_with_a_new_version_leaves_the_old_one_running_elsewhere() {
    let plugins = Plugins::new();
    let mesh = Mesh::hosting("");
    let beta = mesh.joined("beta");
    plugins.internal("far", "internal", "HOST = \"beta\"", &stays("print('first')"));
    let _added = mesh.aish(["plugins", "add", "far", plugins.path("far").to_str().unwrap()]).good();
    let first = settled(&mesh, "far", "running");
    fs::write(copy(&beta, "far").join("state.txt"), "its own").unwrap();
    plugins.internal("far", "internal", "HOST = \"beta\"\nSYSTEM_REQUIREMENTS = [\"no-such-program\"]", &stays("pass"));
    let refused = mesh.aish(["plugins", "reload", "far"]).failed(1);
    assert!(refused.stderr.contains("no-such-program") && refused.stderr.contains("runs as before"), "{refused:?}");
    assert_eq!(settled(&mesh, "far", "running")["pid"], first["pid"]);
    plugins.internal("far", "internal", "HOST = \"beta\"", &stays("print('second')"));
    let _reloaded = mesh.aish(["plugins", "reload", "far"]).good();
    let _said = logged(&mesh, "far", "second");
    is_gone(&first["pid"]);
    assert_eq!(read(&copy(&beta, "far").join("state.txt")), "its own");
}

#[test]
fn plg_65_a_host_without_docker_and_node_runs_plugins() {
    let plugins = Plugins::new();
    plugins.fx().internal("far", "internal-remote", "HOST = \"tiny\"", &stays("print('six is', aigis.cool.nolog(3))"));
    let tables = [plugins.table("core", &["fx"]), plugins.table("internal-remote", &["far"])].concat();
    let mesh = Mesh::hosting(&tables);
    let tiny = Mesh::absent();
    let token = mesh.token("plugin");
    let host = |words: &[&str]| {
        let mut host: Running = tiny.running([&["plugins", "host"], words].concat());
        host.until("it is up", LIMIT, |line| line.contains("tiny").then_some(()));
        host
    };
    let running = host(&[&token, "--name", "tiny"]);
    let row = settled(&mesh, "far", "running");
    assert_eq!((&row["node"], variable(&row["pid"], "AIGIS_NODE").as_deref()), (&"tiny".into(), Some("tiny")));
    let _said = logged(&mesh, "far", "six is 6");
    let nodes = mesh.aish(["nodes", "--json"]).good().json();
    let listed = nodes.as_array().unwrap().iter().find(|node| node["name"] == "tiny").unwrap();
    assert!(listed["engine"].is_null() && listed["state"] == "live", "{listed}");

    // It ends in order with its plugins, and later starts need no token.
    let ended = terminated(running);
    assert_eq!(ended.code, 0, "{ended:?}");
    is_gone(&row["pid"]);
    settled(&mesh, "far", "waiting");
    let running = host(&[]);
    settled(&mesh, "far", "running");
    let _ended = terminated(running);
    // A token serves once, here and elsewhere.
    let again = tiny.aish(["plugins", "host", &token, "--name", "tiny"]);
    assert_eq!(again.code, 77, "{again:?}");
    let other = Mesh::absent();
    assert_eq!(other.aish(["plugins", "host", &token, "--name", "other"]).code, 77);
    // What a plugin host is let do is what plugins are let do.
    let wrong = other.aish(["plugins", "host", &mesh.token("node")]);
    assert!(wrong.code == 65 && wrong.stderr.contains("role"), "{wrong:?}");
}

#[test]
fn a_plugin_with_a_label_moves_when_its_host_is_gone_and_runs_once() {
    let plugins = Plugins::new();
    plugins.internal("far", "internal", "HOST = \"disk=fast\"", &stays("print('on', os.environ['AIGIS_NODE'])"));
    let mesh = Mesh::hosting("");
    let (beta, gamma) =
        (mesh.joined_by("beta", &["--label", "disk=fast"]), mesh.joined_by("gamma", &["--label", "disk=fast"]));
    let _added = mesh.aish(["plugins", "add", "far", plugins.path("far").to_str().unwrap()]).good();
    let first = settled(&mesh, "far", "running");
    let (here, there) = if first["node"] == "beta" { (&beta, "gamma") } else { (&gamma, "beta") };
    // Its host stands still: nobody can tell its process anything.
    let node = here.pid("node.pid").unwrap();
    rustix::process::kill_process(node, rustix::process::Signal::STOP).unwrap();
    let moved = until("it runs on the other", 3 * LIMIT, || {
        row(&mesh, "far").filter(|row| row["state"] == "running" && row["node"] == there)
    });
    assert_ne!(moved["pid"], first["pid"]);
    rustix::process::kill_process(node, rustix::process::Signal::CONT).unwrap();
    is_gone(&first["pid"]);
    assert_eq!(settled(&mesh, "far", "running")["pid"], moved["pid"]);
}

#[test]
fn a_plugin_does_not_wait_for_a_host_that_ends_while_it_installs() {
    let plugins = Plugins::new();
    // It installs until the test is over.
    let (script, installs) = (plugins.path("install.sh"), plugins.path("installs"));
    let settings = format!("HOST = \"beta\"\nREQUIREMENT_COMMAND = \"sh {}\"", script.display());
    plugins.internal("far", "internal", &settings, &stays("pass"));
    fs::write(&script, format!(": > {0}; while [ -e {0} ]; do sleep 0.2; done", installs.display())).unwrap();
    let table = plugins.table("internal", &["far"]);
    let mesh = Mesh::hosting(&table);
    let beta = mesh.joined("beta");
    let installing = || until("it installs", LIMIT, || installs.exists().then_some(()));
    let waits = || {
        let error = || Some(row(&mesh, "far")?["error"].as_str()?.to_owned());
        until("it waits for its host", LIMIT, || error()?.contains("which is offline").then_some(()));
    };
    installing();
    let _down = beta.aish(["down"]).good();
    waits();
    fs::remove_file(&installs).unwrap();
    beta.start();
    installing();
    beta.kill("node.pid");
    waits();
}

#[test]
fn a_place_takes_orders_from_the_home_of_a_plugin_alone() {
    let plugins = Plugins::new();
    plugins.internal("far", "internal", "HOST = \"beta\"", &stays("pass"));
    let mesh = Mesh::hosting("");
    let beta = mesh.joined("beta");
    let _added = mesh.aish(["plugins", "add", "far", plugins.path("far").to_str().unwrap()]).good();
    let row = settled(&mesh, "far", "running");
    let file = mesh.path().join("creds/default.creds");
    let admin = crate::client::Client::log_in(&mesh, "admin", file.to_str().unwrap());
    let node = crate::client::Client::log_in(&mesh, "beta", beta.path().join("creds/beta.creds").to_str().unwrap());
    let orders = [
        r#"{"End":{"plugin":"far","remove":true}}"#,
        r#"{"Follow":{"plugin":"far","known":{"told":null,"read":{"number":0,"offset":0}}}}"#,
        r#"{"Bring":{"plugin":"far","piece":{"tree":"sha256:0000000000000000000000000000000000000000000000000000000000000000","offset":0,"content":"","is_last":true}}}"#,
    ];
    for order in orders {
        for (asker, subject) in
            [(&admin, "aigis.v1.main.rpc.admin.admin.beta.places"), (&node, "aigis.v1.main.rpc.node.beta.beta.places")]
        {
            let answer = asker.request(subject, &format!("{{\"request\":{order}}}"));
            let text = String::from_utf8_lossy(&answer.payload).into_owned();
            assert!(text.contains("permission_denied") && text.contains("not the home"), "{order}: {text}");
        }
    }
    assert_eq!(settled(&mesh, "far", "running")["pid"], row["pid"]);
}
