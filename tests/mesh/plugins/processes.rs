//! The processes of plugins: how often they run, what they say, what they are given.

use std::os::unix::fs::PermissionsExt as _;

use super::*;

#[test]
fn plg_56_so_many_runs_as_the_plugin_asks_for() {
    let plugins = Plugins::new();
    let body = |end: &str| format!("with open(\"runs\", \"a\") as f: f.write(\"x\")\n{end}");
    plugins.internal("twice", "internal", "RESTART = 1", &body("sys.exit(0)"));
    plugins.internal("once", "internal", "", &body("sys.exit(0)"));
    plugins.internal("fails", "internal", "RESTART = True", &body("sys.exit(3)"));
    plugins.internal("enough", "internal", "RESTART = True\nRESTART_ON = \"failure\"", &body("sys.exit(0)"));
    let mesh = Mesh::hosting(&plugins.table("internal", &["twice", "once", "fails", "enough"]));
    for (name, state, runs) in
        [("twice", "done", 2), ("once", "done", 1), ("fails", "failed", 2), ("enough", "done", 1)]
    {
        let row = settled(&mesh, name, state);
        assert_eq!(read(&copy(&mesh, name).join("runs")).len(), runs, "{name}");
        assert_eq!(row["last_exit"]["code"], if name == "fails" { 3 } else { 0 }, "{row}");
    }
}

#[test]
fn plg_57_what_ends_at_once_is_a_crash_loop() {
    let plugins = Plugins::new();
    let settings = "PLUGIN_TYPE = \"external\"\nENTRYPOINT = \"{root}\"\nRESTART = -1\nLAUNCH = [\"sh\", \"-c\", \"echo x >>runs; exit 1\"]\n";
    plugins.write("looping", &[("AIGIS/AIGIS.config", settings)]);
    let mesh = Mesh::hosting(&plugins.table("external", &["looping"]));
    let row = settled(&mesh, "looping", "crash_looping");
    assert_eq!(row["last_exit"]["code"], 1);
    assert!(read(&copy(&mesh, "looping").join("runs")).lines().count() <= 7);
    let ran = mesh.aish(["looping", "health"]).good();
    assert!(ran.stdout.contains("unhealthy"), "{ran:?}");
}

#[test]
fn plg_59_every_line_is_kept_in_order() {
    let plugins = Plugins::new();
    let nonce = aigis_tests::nonce();
    let python =
        format!("for i in range(10000): print(\"{nonce}\", i, file=[sys.stdout, sys.stderr][i % 2])\ntime.sleep(1000)");
    plugins.internal("talks", "internal", "", &python);
    let shell = format!(
        "i=0; while [ $i -lt 10000 ]; do echo {nonce} $i; echo {nonce} $((i+1)) >&2; i=$((i+2)); done; sleep 1000"
    );
    let settings =
        format!("PLUGIN_TYPE = \"external\"\nENTRYPOINT = \"{{root}}\"\nLAUNCH = [\"sh\", \"-c\", \"{shell}\"]\n");
    plugins.write("shell", &[("AIGIS/AIGIS.config", &settings)]);
    let mesh = Mesh::hosting(&[plugins.table("internal", &["talks"]), plugins.table("external", &["shell"])].concat());
    let beta = mesh.joined("beta");
    for name in ["talks", "shell"] {
        let lines = until(&format!("all lines of {name} are there"), LIMIT, || {
            let read = beta.aish(["plugins", "logs", name, "--tail", "20000", "--json"]).good().stdout;
            let lines: Vec<Value> = read.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
            let said: Vec<Value> =
                lines.into_iter().filter(|line| line["line"].as_str().unwrap().starts_with(&nonce)).collect();
            (said.len() == 10_000).then_some(said)
        });
        for (source, first) in [("stdout", 0), ("stderr", 1)] {
            let of_source = lines.iter().filter(|line| line["source"] == source);
            let numbers: Vec<usize> = of_source
                .map(|line| line["line"].as_str().unwrap().rsplit(' ').next().unwrap().parse().unwrap())
                .collect();
            assert_eq!(numbers, (first..10_000).step_by(2).collect::<Vec<_>>(), "{name} {source}");
        }
        assert!(lines.iter().all(|line| line["plugin"] == name && line["node"] == "alpha"));
    }
}

#[test]
fn plg_60_plg_61_secrets_come_as_files_and_are_masked_in_logs() {
    let plugins = Plugins::new();
    let secret = format!("hidden-{}", aigis_tests::nonce());
    let body = "with open(\"keys/api\") as f: print(\"it is\", f.read(), flush=True)\ntime.sleep(1000)";
    let secrets = "SECRETS = {\"deep/api\": \"{root}/keys\"}";
    plugins.internal("spy", "internal", secrets, body);
    plugins.internal("lacks", "internal", "SECRETS = {\"deep/api\": \"{root}/k\", \"one\": \"{root}/k\"}", body);
    plugins.internal("out", "internal", "SECRETS = {\"../x\": \"{root}/k\"}", body);
    let mesh = Mesh::absent();
    for name in ["spy", "lacks"] {
        let folder = mesh.config().with_file_name("secrets").join(name).join("deep");
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("api"), &secret).unwrap();
        fs::set_permissions(folder.join("api"), fs::Permissions::from_mode(0o600)).unwrap();
    }
    mesh.configure(&plugins.table("internal", &["spy", "lacks", "out"]));
    let up = mesh.aish(["up", "--name", "alpha", "--listen", "127.0.0.1:0", "--detach"]).good();
    assert!(up.stdout.contains("is up"), "{up:?}");
    let text = logged(&mesh, "spy", "it is");
    assert!(text.contains("it is ***") && !text.contains(&secret), "{text}");
    let file = copy(&mesh, "spy").join("keys/api");
    assert_eq!((read(&file), file.metadata().unwrap().permissions().mode() & 0o777), (secret, 0o600));
    let lacks = settled(&mesh, "lacks", "failed");
    assert!(lacks["error"].as_str().unwrap().contains("one"), "{lacks}");
    assert!(!copy(&mesh, "lacks").join("k").exists());
    settled(&mesh, "out", "failed");
    let _down = mesh.aish(["down"]).good();
}

#[test]
fn plg_64_a_plugin_whose_host_is_elsewhere_waits_and_never_runs_here() {
    let plugins = Plugins::new();
    plugins.internal("far", "internal", "HOST = \"gamma\"", "time.sleep(1000)");
    plugins.internal("here", "internal", "HOST = \"localhost\"", "time.sleep(1000)");
    let mesh = Mesh::hosting(&plugins.table("internal", &["far", "here"]));
    let waiting = settled(&mesh, "far", "waiting");
    assert!(waiting["error"].as_str().unwrap().contains("gamma") && waiting["pid"].is_null(), "{waiting}");
    settled(&mesh, "here", "running");
}
