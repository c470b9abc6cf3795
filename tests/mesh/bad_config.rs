//! The node's configuration file and the JSON files of a mesh: what they do, and how bad ones are refused.

use std::{
    fs,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    os::unix::fs::PermissionsExt,
    path::PathBuf,
};

use aigis_tests::{Mesh, Ran};
use serde_json::json;

fn file(mesh: &Mesh) -> PathBuf {
    let file = mesh.path().join("node.toml");
    fs::create_dir_all(mesh.path()).unwrap();
    fs::set_permissions(mesh.path(), fs::Permissions::from_mode(0o700)).unwrap();
    file
}

/// Whether what is said begins with that place of the file, and has these words.
fn placed(ran: &Ran, file: &std::path::Path, place: &str, words: &[&str]) {
    let message = ran.stderr.strip_prefix("aish: error: ").unwrap_or_else(|| panic!("{ran:?}"));
    assert!(message.starts_with(&format!("{}:{place}", file.display())), "{ran:?}");
    for word in words {
        assert!(ran.stderr.contains(word), "{word:?} is not in {ran:?}");
    }
}

/// A port that nobody has at the moment.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

#[test]
fn a_node_runs_as_its_file_says_and_flags_go_before_it() {
    let mesh = Mesh::absent();
    let (bus, metrics) = (free_port(), free_port());
    let text = format!(
        "name = \"gamma\"\n[labels]\nzone = \"a\"\nrack = \"1\"\n[bus]\nlisten = \"127.0.0.1\"\nport = {bus}\n\
         [engine]\naddress = \"unix:///nowhere/docker.sock\"\n[metrics]\nport = {metrics}\n\
         [audit]\nroom = \"8 MiB\"\n[shutdown]\ngrace = \"2s\"\n"
    );
    fs::write(file(&mesh), text).unwrap();
    let up = mesh.aish(["up", "--detach", "--label", "zone=b", "--json"]);
    assert!(up.code == 0, "{up:?}\n{}", mesh.log());
    assert_eq!((&up.json()["node"], &up.json()["bus"]), (&json!("gamma"), &json!(format!("nats://127.0.0.1:{bus}"))));
    let nodes = mesh.aish(["nodes", "--json"]).good().json();
    assert_eq!(nodes[0]["labels"], json!({"rack": "1", "zone": "b"}));
    let status = mesh.aish(["call", "gamma.status", "--json"]).good();
    assert!(status.stdout.contains("/nowhere/docker.sock"), "{status:?}");
    let mut stream = TcpStream::connect(("127.0.0.1", metrics)).unwrap();
    write!(stream, "GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.contains("node=\"gamma\""), "{answer}");
    let _down = mesh.aish(["down"]).good();

    let (other, named) = (free_port(), mesh.path().join("other.toml"));
    fs::write(&named, format!("name = \"gamma\"\n[bus]\nport = {bus}\n")).unwrap();
    let listen = format!("127.0.0.1:{other}");
    let named = named.display().to_string();
    let up = mesh.aish(["up", "--detach", "--node-config", &named, "--listen", &listen]).good();
    assert!(up.stdout.contains(&format!("node gamma of mesh main is up, bus nats://{listen}")), "{up:?}");
    let nodes = mesh.aish(["nodes", "--json"]).good().json();
    assert_eq!(nodes[0]["labels"], json!({}), "the usual file is not read beside another");
}

#[test]
fn bad_37_bad_39_what_is_wrong_in_the_file_is_told_with_its_place() {
    let mesh = Mesh::absent();
    let file = file(&mesh);
    for (text, place, words) in [
        ("name = ", "1:8: ", &[][..]),
        ("nmae = \"a\"", "1:1: ", &["\"nmae\"", "\"name\""]),
        ("[buss]\nport = 1", "1:2: ", &["\"buss\"", "\"bus\""]),
        ("[bus]\nport = 1\nport = 2", "3:1: ", &["line 2", "line 3"]),
        ("name = 3", "1:8: ", &["integer"]),
        ("[bus]\nport = 0", "2:8: ", &["bus.port", "1 to 65535"]),
        ("[bus]\nport = 70000", "2:8: ", &["bus.port", "1 to 65535"]),
        ("[bus]\nport = -1", "2:8: ", &["bus.port", "1 to 65535"]),
        ("[bus]\nport = \"80\"", "2:8: ", &["bus.port", "without quotes"]),
        ("[bus]\nlisten = \"192.0.2.1\"", "2:10: ", &["no address of this host"]),
        ("[bus]\nlisten = \"0.0.0.0\"", "2:10: ", &["every container"]),
        ("[shutdown]\ngrace = \"5 parsecs\"", "2:9: ", &["5 parsecs", "24h"]),
        ("[audit]\nroom = \"-1 MiB\"", "2:8: ", &["-1 MiB", "1 MiB to 1 GiB"]),
    ] {
        fs::write(&file, text).unwrap();
        for detach in [&["up"][..], &["up", "--detach"]] {
            placed(&mesh.aish(detach).refused(65), &file, place, words);
        }
        let named = file.display().to_string();
        placed(&mesh.aish(["up", "--node-config", &named]).refused(65), &file, place, words);
    }
    let left: Vec<_> = fs::read_dir(mesh.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["node.toml"], "nothing was made");
}

#[test]
fn bad_38_a_file_that_cannot_be_read() {
    let mesh = Mesh::absent();
    let path = file(&mesh);
    for content in [&vec![b'#'; 256 * 1024 + 1][..], b"\xef\xbb\xbfname = \"a\"", b"name = \"\xff\"", b"#\0"] {
        fs::write(&path, content).unwrap();
        placed(&mesh.aish(["up"]).refused(65), &path, "1:", &[]);
    }
    fs::write(&path, vec![b'#'; 256 * 1024 + 1]).unwrap();
    placed(&mesh.aish(["up"]).refused(65), &path, "1:1: ", &["262144"]);
    fs::remove_file(&path).unwrap();
    let named = path.display().to_string();
    let refused = |why: &str| {
        let ran = mesh.aish(["up", "--node-config", &named]).refused(2);
        assert!(ran.stderr.contains(&named) && ran.stderr.contains(why), "{ran:?}");
    };
    refused("does not exist");
    fs::create_dir(&path).unwrap();
    refused("not a regular file");
    let _usual = mesh.aish(["up"]).refused(2);
    fs::remove_dir(&path).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, &path, rustix::fs::Mode::RWXU).unwrap();
    refused("not a regular file");
    fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink(&path, &path).unwrap();
    refused("cannot be read");
    let _usual = mesh.aish(["up"]).refused(2);
}

#[test]
fn bad_41_json_files_are_read_strictly() {
    let mesh = Mesh::up();
    let read = |name: &str| fs::read_to_string(mesh.path().join(name)).unwrap();
    for name in ["mesh.json", "issuer.json"] {
        let (path, good) = (mesh.path().join(name), read(name));
        let doubled = good.replacen('{', "{\n  \"mesh\": \"main\",", 1);
        let utf16: Vec<u8> = [0xff, 0xfe].into_iter().chain(good.encode_utf16().flat_map(u16::to_le_bytes)).collect();
        for (content, place, words) in [
            (good.replacen('{', "{ // a comment\n", 1).into_bytes(), "1:3: ", &[][..]),
            (good.trim_end().trim_end_matches('}').trim_end().to_owned().into_bytes(), "", &[]),
            (
                format!("{},\n}}", good.trim_end().trim_end_matches('}').trim_end()).into_bytes(),
                "",
                &["trailing comma"],
            ),
            (doubled.into_bytes(), "3:", &["mesh"]),
            (good.replacen("\"main\"", "NaN", 1).into_bytes(), "2:", &[]),
            (good.replacen("\"main\"", "\"\u{1b}\"", 1).into_bytes(), "2:", &[]),
            (utf16, "1:1: ", &["UTF-8"]),
            (vec![b' '; 256 * 1024 + 1], "1:1: ", &["262144"]),
        ] {
            fs::write(&path, content).unwrap();
            placed(&mesh.aish(["list"]).refused(65), &path, place, words);
        }
        fs::write(&path, good).unwrap();
        let _list = mesh.aish(["list"]).good();
    }
}
