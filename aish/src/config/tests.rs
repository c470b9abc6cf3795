use super::*;

const WHOLE: &str = r#"
name = "alpha"
credential_life = "2d"

[labels]
zone = "a"
"disk type" = "ssd"

[bus]
listen = "127.0.0.1"
port = 4333

[engine]
address = "unix:///run/docker.sock"

[metrics]
port = 9464

[audit]
room = "128 MiB"

[apps]
python_image = "registry.example:5000/python@sha256:1"

[builds]
base_images = { "python:3.12-slim" = "localhost:5000/python:3.12-slim" }
mirrors = { "docker.io" = "localhost:5000" }

[shutdown]
grace = "30s"
"#;

fn pair(key: &str, value: &str) -> BTreeMap<String, String> {
    BTreeMap::from([(key.to_owned(), value.to_owned())])
}

fn given(text: &str) -> (tempfile::TempDir, std::path::PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("node.toml");
    std::fs::write(&path, text).unwrap();
    (directory, path)
}

/// What is said of the file, after its name.
fn refused(text: &str) -> String {
    let (_directory, path) = given(text);
    let failure = Config::read(&path).unwrap_err();
    assert_eq!(failure.code(), 65, "{text:?}: {failure:?}");
    let message = words(failure);
    assert!(!message.chars().any(char::is_control), "{message:?}");
    message.strip_prefix(&format!("{}:", path.display())).unwrap_or_else(|| panic!("{message}")).to_owned()
}

fn starts(text: &str, place: &str, says: &[&str]) {
    let message = refused(text);
    assert!(message.starts_with(&format!("{place}: ")), "{text:?}: {message}");
    for word in says {
        assert!(message.contains(word), "{text:?}: {word:?} is not in: {message}");
    }
}

#[test]
fn a_whole_file_is_read_and_an_empty_one_says_nothing() {
    let (_directory, path) = given(WHOLE);
    let labels = [("disk type", "ssd"), ("zone", "a")].map(|(key, value)| (key.to_owned(), value.to_owned()));
    let whole = Config {
        name: Some(NodeName::parse("alpha").unwrap()),
        credential_life: Some(Duration::from_secs(2 * 24 * 60 * 60)),
        labels: labels.into(),
        bus: None,
        listen: Some("127.0.0.1:4333".parse().unwrap()),
        engine: Some("unix:///run/docker.sock".to_owned()),
        metrics: Some("127.0.0.1:9464".parse().unwrap()),
        audit_room: Some(128 << 20),
        python_image: Some("registry.example:5000/python@sha256:1".to_owned()),
        images: supply::Settings {
            base_images: pair("python:3.12-slim", "localhost:5000/python:3.12-slim"),
            mirrors: pair("docker.io", "localhost:5000"),
        },
        grace: Some(Duration::from_secs(30)),
    };
    assert_eq!(Config::read(&path).unwrap(), whole);
    let (_directory, path) = given("");
    assert_eq!(Config::read(&path).unwrap(), Config::default());
    let (_directory, path) = given("bus.url = \"nats://bus.example:4222\"");
    assert_eq!(Config::read(&path).unwrap().bus.as_deref(), Some("nats://bus.example:4222"));
    let (_directory, path) = given("bus.listen = \"127.0.0.1\"");
    assert_eq!(Config::read(&path).unwrap().listen, Some("127.0.0.1:4222".parse().unwrap()));
}

#[test]
fn bad_37_what_is_no_toml_or_unknown_or_doubled() {
    starts("name = ", "1:8", &[]);
    starts("\n[bus\nport = 1", "2:5", &[]);
    starts("name 'alpha'", "1:6", &[]);
    starts("nmae = \"a\"", "1:1", &["unknown key \"nmae\"", "did you mean \"name\"?"]);
    starts("[buss]\nport = 1", "1:2", &["unknown table \"buss\"", "did you mean \"bus\"?"]);
    starts("[bus]\nlisten = \"127.0.0.1\"\nprot = 1", "3:1", &["\"prot\" in [bus]", "did you mean \"port\"?"]);
    starts(
        "frobnicate = 1",
        "1:1",
        &["known here: name, credential_life, labels, bus, engine, metrics, audit, apps, builds, shutdown"],
    );
    starts("x.y.z = 1", "1:1", &["unknown table \"x\""]);
    starts("name = \"a\"\nname = \"b\"", "2:1", &["\"name\"", "on line 1 and on line 2"]);
    starts("[bus]\nport = 1\n[labels]\na = \"b\"\n[bus]\n", "5:2", &["\"bus\"", "on line 1 and on line 5"]);
    starts("[labels]\nport = \"x\"\n[bus]\nport = 1\n\n\"port\" = 2", "6:1", &["on line 4 and on line 6"]);
    starts("name = 3", "1:8", &["name is of type integer", "quotes"]);
    starts("bus = \"nats://a:1\"", "1:7", &["bus is of type string", "table"]);
    starts("[[bus]]\nport = 1", "1:1", &["bus is of type array"]);
    starts("[labels]\nzone = true", "2:8", &["labels.zone is of type boolean"]);
    starts(&format!("\"{}\" = 1", "k\\u001b".repeat(500)), "1:1", &["unknown key", "\\u{1b}"]);
    assert!(refused(&format!("\"{}\" = 1", "k".repeat(5000))).len() < 300);
    starts(&format!("name = {}", "[".repeat(100_000)), "1:88", &[]);
}

#[test]
fn bad_38_a_file_that_is_no_text_or_cannot_be_had() {
    starts(&format!("#{}", "x".repeat(256 * 1024)), "1:1", &["262144"]);
    starts("\u{feff}name = \"a\"", "1:1", &["byte order mark"]);
    starts("name = \"a\"\n# \0", "2:3", &["NUL"]);
    let (directory, path) = given("");
    std::fs::write(&path, b"name = \"\xff\"").unwrap();
    assert!(words(Config::read(&path).unwrap_err()).contains(":1:9: the file is not UTF-8"));
    for path in [directory.path().to_owned(), directory.path().join("none"), path.join("inside")] {
        let failure = Config::read(&path).unwrap_err();
        assert_eq!(failure.code(), 2, "{failure:?}");
        assert!(words(failure).contains(&path.display().to_string()));
    }
}

#[test]
fn bad_39_values_out_of_range() {
    for port in ["0", "70000", "-1", "0x1_0000", "99999999999999999999999"] {
        starts(&format!("[bus]\nport = {port}"), "2:8", &["bus.port", "1 to 65535"]);
    }
    for port in ["\"80\"", "80.0", "[80]", "true"] {
        starts(&format!("[bus]\nport = {port}"), "2:8", &["bus.port is of type", "1 to 65535"]);
    }
    starts("[bus]\nlisten = \"192.0.2.1\"", "2:10", &["bus.listen", "192.0.2.1 is no address of this host"]);
    starts("[bus]\nlisten = \"localhost\"", "2:10", &["bus.listen", "IP address"]);
    for all in ["0.0.0.0", "::"] {
        starts(&format!("[bus]\nlisten = \"{all}\""), "2:10", &["bus.listen", "every container"]);
    }
    starts("[bus]\nurl = \"nats://h:1\"\nport = 1", "3:8", &["bus.port", "keep one"]);
    starts("[bus]\nurl = \"nats://u:hunter2@h\"", "2:7", &["bus.url", "password"]);
    assert!(!refused("[bus]\nurl = \"nats://u:hunter2@h\"").contains("hunter2"));
    starts("[metrics]\nlisten = \"192.0.2.1\"\nport = 1", "2:10", &["metrics.listen", "127.0.0.1"]);
    starts("[shutdown]\ngrace = \"5 parsecs\"", "2:9", &["shutdown.grace", "5 parsecs", "at most 24h"]);
    for grace in ["0s", "-1s", "25h"] {
        starts(&format!("[shutdown]\ngrace = \"{grace}\""), "2:9", &["shutdown.grace", "at most 24h"]);
    }
    starts("[apps]\npython_image = \"-x\"", "2:16", &["apps.python_image: write an image's name"]);
    starts("[builds]\nmirror = 1", "2:1", &["\"mirror\" in [builds]", "did you mean \"mirrors\"?"]);
    starts("[builds.base_images]\n\"-x\" = \"y\"", "2:1", &["write an image's name"]);
    starts("[builds.base_images]\nx = \"a b\"", "2:5", &["write an image's name"]);
    starts("[builds.mirrors]\nhub = \"localhost:5000\"", "2:1", &["write a registry's host"]);
    starts("[builds.mirrors]\n\"docker.io\" = \"http://localhost\"", "2:15", &["no http://"]);
    starts("[shutdown]\ngrace = 10", "2:9", &["shutdown.grace is of type integer"]);
    for room in ["-1 MiB", "64", "1 KiB", "2 GiB", "lots"] {
        starts(&format!("[audit]\nroom = \"{room}\""), "2:8", &["audit.room", room, "1 MiB to 1 GiB"]);
    }
    starts("[engine]\naddress = \"tcp://h:2375\"", "2:11", &["engine.address", "unix://"]);
    starts("name = \"A b\"", "1:8", &["node name", "position 1"]);
    starts("name = \"list\"", "1:8", &["reserved"]);
    starts("[labels]\n\"\" = \"x\"", "2:6", &["a label needs a key"]);
    starts(&format!("name = \"{}\"", "x".repeat(200_000)), "1:8", &["200000 bytes"]);
}

proptest::proptest! {
    #[test]
    fn bad_37_any_text_is_read_or_refused(text in "(\\[?[a-z.\"]{0,8}\\]?[ =\n]{0,3}[0-9\"'{}\\[\\]a-z]{0,6}\n?){0,6}") {
        let (_directory, path) = given(&text);
        if let Err(failure) = Config::read(&path) {
            proptest::prop_assert_eq!(failure.code(), 65);
        }
    }
}

#[test]
fn bad_39_credentials_live_a_minute_to_a_week() {
    for (text, seconds) in [("1m", 60), ("24h", 86_400), ("7d", 604_800)] {
        let (_directory, path) = given(&format!("credential_life = \"{text}\""));
        assert_eq!(Config::read(&path).unwrap().credential_life, Some(Duration::from_secs(seconds)));
    }
    for text in ["59s", "8d", "0d", "-1d", "d", "a week", ""] {
        starts(&format!("credential_life = \"{text}\""), "1:19", &["1m to 7d"]);
    }
}
