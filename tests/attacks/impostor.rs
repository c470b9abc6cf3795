//! Who plays the bus, who found a token, and who sits on the same host: ATK-03, 04, 08, 09.

use std::{
    fs,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    os::unix::fs::PermissionsExt,
    path::Path,
    process::Command,
    sync::mpsc::{Receiver, channel},
    time::Duration,
};

use aigis_tests::{Cases, Container, Mesh, nonce, until};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use nkeys::KeyPair;
use ring::digest::{SHA256, digest};
use serde_json::{Value, json};

use crate::{
    wire::{SOON, Said, Wire},
    world::{BUSYBOX, World},
};

/// Signs what a socket asks to be signed, as an attacker would.
type Signer = Box<dyn Fn(&str) -> String>;

const C: &str = "aigis.v1.main";

/// A server that says this to whoever comes, and tells what it was told.
fn stranger(greeting: &'static [u8]) -> (u16, Receiver<Vec<u8>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (send, heard) = channel();
    // It ends with the test's process.
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let _ = send.send(listen(stream, greeting));
        }
    });
    (port, heard)
}

fn listen(mut stream: TcpStream, greeting: &[u8]) -> Vec<u8> {
    let mut said = Vec::new();
    let _ = stream.set_read_timeout(Some(Duration::from_secs(2)));
    let _ = stream.write_all(greeting);
    let mut bytes = [0; 4096];
    while let Ok(read @ 1..) = stream.read(&mut bytes) {
        said.extend_from_slice(&bytes[..read]);
    }
    said
}

/// Two meshes whose buses speak TLS, each with a CA of its own, on the bridge of the host's containers.
fn two_meshes() -> (Container, Mesh, Mesh) {
    let up = Container::run(&format!("x-{}", nonce()), &[], BUSYBOX, &["sleep", "100000"]);
    let gateway = crate::container::gateway(&up);
    let [one, two] = [(); 2].map(|()| Mesh::up_at(&format!("{gateway}:0")));
    (up, one, two)
}

const PLAIN: &[u8] = b"INFO {\"server_id\":\"N\",\"version\":\"2.15.1\",\"max_payload\":1048576,\"headers\":true,\"nonce\":\"abc\",\"auth_required\":true}\r\n";
const TLS: &[u8] = b"INFO {\"server_id\":\"N\",\"version\":\"2.15.1\",\"max_payload\":1048576,\"headers\":true,\"nonce\":\"abc\",\"auth_required\":true,\"tls_required\":true}\r\n";
const GARBAGE: &[u8] = b"HTTP/1.1 400 Bad Request\r\n\r\n";

#[test]
fn atk_03_who_plays_the_bus_is_told_nothing() {
    let (_up, mesh, other) = two_meshes();
    let olga = mesh.user("olga", "operator");
    let mut cases = Cases::of("ATK-03");
    for greeting in [PLAIN, TLS, GARBAGE, b""] {
        let (port, heard) = stranger(greeting);
        let bus = format!("tls://127.0.0.1:{port}");
        let ran =
            cases.case(String::from_utf8_lossy(greeting), || mesh.aish(["--bus", &bus, "--creds", &olga, "list"]));
        assert_eq!(ran.code, 69, "{ran:?}");
        let told: Vec<u8> = heard.try_iter().flatten().collect();
        let told = String::from_utf8_lossy(&told);
        assert!(!told.contains("CONNECT") && !told.contains("eyJ") && !told.contains("olga"), "{told}");
    }
    let ran = cases.case("a real bus of another CA", || mesh.aish(["--bus", &other.bus(), "--creds", &olga, "list"]));
    assert_eq!((ran.code, ran.stderr.matches("sha256:").count()), (69, 2), "both fingerprints: {ran:?}");
    // The other mesh's bus heard of nobody who tried to log in.
    let log = fs::read_to_string(other.path().join("bus/server.log")).unwrap();
    assert!(!log.contains("authentication error"), "{log}");
    assert_eq!(mesh.aish(["--creds", &olga, "list"]).code, 0, "its own is used");
}

/// The parts of a join token, and one with other parts.
fn opened(token: &str) -> Value {
    let bytes = URL_SAFE_NO_PAD.decode(token.strip_prefix("aigis1-").unwrap()).unwrap();
    serde_json::from_slice(&bytes[..bytes.len() - 8]).unwrap()
}

fn closed(parts: &Value) -> String {
    let mut bytes = parts.to_string().into_bytes();
    let sum = digest(&SHA256, &bytes);
    bytes.extend_from_slice(&sum.as_ref()[..8]);
    format!("aigis1-{}", URL_SAFE_NO_PAD.encode(bytes))
}

#[test]
fn atk_04_who_plays_the_bus_at_a_join_hears_no_secret() {
    let (_up, mesh, other) = two_meshes();
    let token = mesh.token("node");
    let parts = opened(&token);
    assert_eq!(opened(&closed(&parts)), parts);
    let mut cases = Cases::of("ATK-04");
    let mut elsewhere = |what: &str, bus: &str| {
        let mut parts = parts.clone();
        parts["bus"] = bus.into();
        let host = Mesh::absent();
        let ran = cases.case(what, || host.aish(["join", &closed(&parts), "--name", "beta", "--no-start"]));
        assert_eq!(ran.code, 69, "{what}: {ran:?}");
        assert!(!host.path().join("mesh.json").exists() && !host.path().join("creds").exists(), "{what}");
        ran
    };
    let ran = elsewhere("a real bus of another CA", &other.bus());
    assert_eq!(ran.stderr.matches("sha256:").count(), 2, "both fingerprints: {ran:?}");
    let log = fs::read_to_string(other.path().join("bus/server.log")).unwrap();
    assert!(!log.contains("authentication error"), "{log}");
    for greeting in [PLAIN, TLS, GARBAGE] {
        let (port, heard) = stranger(greeting);
        let _ran = elsewhere(&String::from_utf8_lossy(greeting), &format!("tls://127.0.0.1:{port}"));
        let told: Vec<u8> = heard.try_iter().flatten().collect();
        let told = String::from_utf8_lossy(&told);
        assert!(!told.contains("CONNECT") && !told.contains("eyJ"), "{told}");
    }
    let lines = mesh.aish(["tokens", "list", "--json"]).good().json();
    assert_eq!(lines[0]["uses_left"], 1, "and the token still works");
}

#[test]
fn atk_08_a_found_token_gives_once_what_it_says() {
    let world = World::up();
    let mesh = &world.mesh;
    let parts = opened(&mesh.token("viewer"));
    let jwt = parts["jwt"].as_str().unwrap().to_owned();
    let seed = parts["seed"].as_str().unwrap().to_owned();
    let before = world.before();
    let mut cases = Cases::of("ATK-08");
    let claims = crate::wire::Papers { jwt: jwt.clone(), seed: seed.clone() }.claims();
    let id = claims["name"].as_str().unwrap().to_owned();
    let login = || {
        let mut wire = Wire::dial(mesh);
        let sig = wire.proof(&seed);
        assert_eq!(wire.connect(&json!({"jwt": jwt, "sig": sig})), Said::Pong);
        wire.named(&id)
    };
    // Its credential asks for admission, and for nothing else.
    let mut finder = login();
    let web = &world.name;
    let beyond = [
        format!("{C}.call.join.{id}.{web}.status"),
        format!("{C}.to.alpha.join.{id}.{web}.status"),
        format!("{C}.rpc.join.{id}.alpha.users"),
        format!("{C}.rpc.join.token-1.issuer.join"),
        format!("{C}.rpc.admin.{id}.issuer.join"),
        format!("{C}.rpc.join.{id}._.blobs"),
        "$JS.API.STREAM.INFO.KV_records".to_owned(),
        "$KV.records.user.zoe.alpha".to_owned(),
        "$SRV.PING".to_owned(),
        "_INBOX.adam.x".to_owned(),
    ];
    finder.is_refused(
        &mut cases,
        &beyond,
        &["_INBOX.>", "aigis.v1.main.event.ci.>", "aigis.v1.main.rpc.*.*.issuer.join"],
    );
    world.is_as(&before);
    // Names and keys that nobody is given.
    let join = format!("{C}.rpc.join.{id}.issuer.join");
    let ask = |wire: &mut Wire, key: &str, name: &str| {
        let body = json!({"request": {"Join": {"public_key": key, "wanted_name": name}}}).to_string();
        String::from_utf8_lossy(&wire.request(&join, &body).body).into_owned()
    };
    let key = || KeyPair::new_user().public_key();
    for name in ["alpha", "issuer", "*", "list", "a.b", ">"] {
        let said = cases.case(format!("as {name:?}"), || ask(&mut finder, &key(), name));
        assert!(said.contains("already_exists") || said.contains("invalid_argument"), "{name}: {said}");
    }
    for public in ["", "U", &KeyPair::new_account().public_key(), &KeyPair::new_server().public_key()] {
        let said = cases.case(format!("the key {public:?}"), || ask(&mut finder, public, "zoe"));
        assert!(!said.contains("\"Ok\""), "{public}: {said}");
    }
    // Two at once, each with a key of its own: one is admitted.
    let mut two = [login(), login()];
    let asked: Vec<String> = two
        .iter_mut()
        .zip(["zoe", "zara"])
        .map(|(wire, name)| {
            let body = json!({"request": {"Join": {"public_key": key(), "wanted_name": name}}}).to_string();
            wire.ask(&join, "", body.as_bytes())
        })
        .collect();
    let said: Vec<String> = two
        .iter_mut()
        .zip(&asked)
        .map(|(wire, reply)| {
            // Both hear both: it is one user's inbox.
            let heard = wire.answer(reply, SOON).unwrap();
            String::from_utf8_lossy(&heard.body).into_owned()
        })
        .collect();
    cases.begin("two at once");
    assert!(said.iter().any(|said| said.contains("\"Ok\"")), "{said:?}");
    let users = mesh.aish(["users", "list", "--json"]).good().json();
    let joined =
        users.as_array().unwrap().iter().filter(|user| user["name"] == "zoe" || user["name"] == "zara").count();
    assert_eq!(joined, 1, "{users}");
    let again = cases.case("once more", || ask(&mut finder, &key(), "zita"));
    assert!(again.contains("permission_denied") && again.contains("used up"), "{again}");
    world.on_record(&id, "join", 1);
    // Another role, and a longer life, are not in the token to take.
    for (what, change) in [("role", json!("admin")), ("name", json!("adam"))] {
        let mut altered = parts.clone();
        altered[what] = change;
        let host = Mesh::absent();
        let ran = cases.case(format!("{what} altered"), || host.aish(["join", &closed(&altered), "--name", "adam"]));
        assert!([2, 77].contains(&ran.code), "{ran:?}");
    }
}

/// Runs a command as a user of the host who is nobody in particular.
fn as_nobody(words: &[&str]) -> std::process::Output {
    let mut command = Command::new("setpriv");
    command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups", "--"]).args(words);
    command.output().unwrap()
}

#[test]
fn atk_09_another_user_of_the_host_gets_nothing() {
    let world = World::up();
    let mesh = &world.mesh;
    let data = mesh.path().parent().unwrap().to_owned();
    let olga = mesh.user("olga", "operator");
    let before = world.before();
    let mut cases = Cases::of("ATK-09");
    // The directory that holds the data need not be private for what is in it to be.
    fs::set_permissions(&data, fs::Permissions::from_mode(0o755)).unwrap();
    assert!(as_nobody(&["ls", data.to_str().unwrap()]).status.success());
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode(&mesh.path()), 0o700);
    let mut files = Vec::new();
    let mut waiting = vec![mesh.path()];
    while let Some(directory) = waiting.pop() {
        for entry in fs::read_dir(directory).unwrap().flatten() {
            if entry.file_type().unwrap().is_dir() { waiting.push(entry.path()) } else { files.push(entry.path()) }
        }
    }
    files.push(olga.into());
    assert!(files.len() > 20, "{files:?}");
    for file in &files {
        cases.case(file.display(), || {
            let ran = as_nobody(&["cat", file.to_str().unwrap()]);
            assert!(!ran.status.success() && ran.stdout.is_empty(), "{}", file.display());
        });
    }
    // What holds a secret is private by itself as well.
    for secret in files.iter().filter(|file| {
        let name = file.to_string_lossy().into_owned();
        [".creds", ".seed", ".key", ".sock"].iter().any(|end| name.ends_with(end)) || name.contains("/audit/")
    }) {
        cases.case(secret.display(), || assert_eq!(mode(secret) & 0o077, 0, "{}", secret.display()));
    }
    let socket = mesh.path().join("node.sock").display().to_string();
    cases.case("the node's socket", || {
        let ran = as_nobody(&["curl", "-sS", "-m", "3", "--unix-socket", &socket, "http://x/"]);
        assert!(!ran.status.success(), "{ran:?}");
    });
    // Nobody's arguments and environment show a secret either.
    for file in ["node.pid", "bus/nats-server.pid"] {
        let pid = mesh.pid(file).unwrap().as_raw_nonzero();
        for part in ["cmdline", "environ"] {
            cases.case(format!("{part} of {file}"), || {
                let bytes = fs::read(format!("/proc/{pid}/{part}")).unwrap();
                let text = String::from_utf8_lossy(&bytes);
                assert!(!text.contains("eyJ0eXAi") && !text.contains("\0SU") && !text.contains("\0SA"), "{text}");
            });
        }
    }
    world.is_as(&before);
}

#[test]
fn atk_09_the_nodes_socket_takes_nobody_at_its_word() {
    let world = World::up();
    let mesh = &world.mesh;
    let olga = crate::wire::Papers::read(&mesh.user("olga", "operator"));
    let vera = crate::wire::Papers::read(&mesh.user("vera", "viewer"));
    let before = world.before();
    let mut cases = Cases::of("ATK-09");
    let stranger = KeyPair::new_user().seed().unwrap();
    let introduced = |jwt: &str, sign: &dyn Fn(&str) -> String| {
        let mut socket = Socket::dial(&mesh.path().join("node.sock"));
        let hello: Value = serde_json::from_slice(&socket.frame().unwrap()).unwrap();
        let nonce = hello["nonce"].as_str().unwrap().to_owned();
        let proof = json!({"aigis": 1, "jwt": jwt, "signature": sign(&nonce)});
        socket.send(proof.to_string().as_bytes());
        socket.frame().map(|frame| serde_json::from_slice::<Value>(&frame).unwrap())
    };
    let words = |nonce: &str| format!("aigis socket 1\nmain\nalpha\n{nonce}");
    let welcome = introduced(&olga.jwt, &|nonce| olga.sign(words(nonce).as_bytes()));
    assert_eq!(welcome.unwrap()["welcome"]["name"], "olga", "an honest one is let in");
    let old = introduced;
    let tries: Vec<(&str, String, Signer)> = vec![
        ("no signature", olga.jwt.clone(), Box::new(|_| String::new())),
        ("the bus's own form", olga.jwt.clone(), {
            let olga = olga.clone();
            Box::new(move |nonce| olga.sign(nonce.as_bytes()))
        }),
        ("another nonce", olga.jwt.clone(), {
            let olga = olga.clone();
            Box::new(move |_| olga.sign(words("A").as_bytes()))
        }),
        ("another mesh", olga.jwt.clone(), {
            let olga = olga.clone();
            Box::new(move |nonce| olga.sign(format!("aigis socket 1\nother\nalpha\n{nonce}").as_bytes()))
        }),
        ("another node", olga.jwt.clone(), {
            let olga = olga.clone();
            Box::new(move |nonce| olga.sign(format!("aigis socket 1\nmain\nbeta\n{nonce}").as_bytes()))
        }),
        ("another's key", olga.jwt.clone(), {
            let vera = vera.clone();
            Box::new(move |nonce| vera.sign(words(nonce).as_bytes()))
        }),
        ("a stranger's key", olga.jwt.clone(), {
            let seed = stranger.clone();
            Box::new(move |nonce| crate::wire::sign(&seed, words(nonce).as_bytes()))
        }),
        ("no token", String::new(), {
            let olga = olga.clone();
            Box::new(move |nonce| olga.sign(words(nonce).as_bytes()))
        }),
        ("a token that it made", crate::wire::token(&olga.seed, &olga.claims()), {
            let olga = olga.clone();
            Box::new(move |nonce| olga.sign(words(nonce).as_bytes()))
        }),
        ("a token of 1 MB", "e".repeat(1_000_000), Box::new(|_| String::new())),
    ];
    for (what, jwt, sign) in &tries {
        cases.refusal(what, || {
            let answer = old(jwt, sign.as_ref());
            let refused = answer.as_ref().is_none_or(|answer| answer["refused"]["code"] == "permission_denied");
            assert!(refused, "{what}: {answer:?}");
        });
    }
    for (what, bytes) in [
        ("a length of 4 GiB", &[0xff; 8][..]),
        ("a request before the proof", b"\0\0\0\x0a\x01\0\0\0\x01x.stop"),
        ("HTTP", b"GET / HTTP/1.1\r\n\r\n"),
        ("half a frame", b"\0\0"),
    ] {
        cases.case(what, || {
            let mut socket = Socket::dial(&mesh.path().join("node.sock"));
            let _hello = socket.frame();
            socket.stream.write_all(bytes).unwrap();
            let answer = socket.frame();
            let refused = answer.as_ref().is_none_or(|frame| String::from_utf8_lossy(frame).contains("refused"));
            assert!(refused, "{what}: {answer:?}");
        });
    }
    until("what bore a name is on record", SOON, || (!world.audit("olga").is_empty()).then_some(()));
    world.is_as(&before);
}

/// The node's socket, by hand.
struct Socket {
    stream: std::os::unix::net::UnixStream,
}

impl Socket {
    fn dial(path: &Path) -> Self {
        let stream = std::os::unix::net::UnixStream::connect(path).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        Self { stream }
    }

    fn send(&mut self, body: &[u8]) {
        let mut frame = u32::try_from(body.len()).unwrap().to_be_bytes().to_vec();
        frame.extend_from_slice(body);
        // It may hang up on what is too large.
        let _ = self.stream.write_all(&frame);
    }

    /// The next frame; nothing once the node has hung up.
    fn frame(&mut self) -> Option<Vec<u8>> {
        let mut length = [0; 4];
        self.stream.read_exact(&mut length).ok()?;
        let mut body = vec![0; usize::try_from(u32::from_be_bytes(length)).unwrap()];
        self.stream.read_exact(&mut body).ok()?;
        Some(body)
    }
}
