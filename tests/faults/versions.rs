//! Versions that do not fit: of the bus's server, and of Aigis itself.

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use aigis_proxy::Bus;
use aigis_tests::Mesh;
use serde_json::{Value, json};

use crate::{
    row::{Row, Run},
    scene::Scene,
};

pub(crate) const ROWS: &[Row] = &[
    Row { id: "FLT-18", what: "a bus server is too old", play: server },
    Row { id: "FLT-43", what: "the caller is of another version than the nodes", play: callers },
];

/// Names a real `nats-server` 2.9.10, if there is one.
const OLD_SERVER: &str = "AIGIS_OLD_NATS_SERVER";
/// What the command answers within; nothing of it is a wait.
const SOON: Duration = Duration::from_secs(10);

fn server(_scene: &mut Scene, run: &mut Run) {
    let directory = tempfile::tempdir().unwrap_or_else(|error| panic!("{error}"));
    let mut own: Vec<(PathBuf, &str)> =
        ["2.9.10", "2.11.0", "2.11.15", "2.13.9"].map(|version| (program(directory.path(), version), version)).to_vec();
    let old = std::env::var_os(OLD_SERVER).filter(|named| !named.is_empty()).map(PathBuf::from);
    own.extend(old.iter().map(|old| (old.clone(), "2.9.10")));
    for (program, version) in own {
        let mesh = Mesh::absent();
        let up = mesh.shell(&format!("AIGIS_NATS_SERVER='{}' aish up --detach --name alpha", program.display()));
        refused(&mesh, &up, version, "2.11.16");
        run.took("refused as an own server", up.took);
    }
    let foreign = Foreign::start("2.9.10");
    let mesh = Mesh::absent();
    let up = mesh.aish(["up", "--detach", "--name", "alpha", "--bus", &foreign.url()]);
    refused(&mesh, &up, "2.9.10", "2.11.0");
    run.took("refused as a foreign server", up.took);
    let said = foreign.said();
    assert!(said.iter().all(|verb| ["CONNECT", "PING", "PONG"].contains(&verb.as_str())), "{said:?}");
    assert!(said.iter().any(|verb| verb == "CONNECT"), "the version was never asked for: {said:?}");
    if let Some(old) = old {
        real(&old, directory.path(), run);
    }
}

/// A foreign server of that version itself, with a store.
fn real(program: &Path, directory: &Path, run: &mut Run) {
    let (ports, store) = (directory.join("ports"), directory.join("store"));
    fs::create_dir(&ports).unwrap_or_else(|error| panic!("{error}"));
    let mut command = std::process::Command::new(program);
    command.args(["--addr", "127.0.0.1", "--port", "-1", "--jetstream", "--ports_file_dir"]).arg(&ports);
    command.arg("--store_dir").arg(&store).stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
    let mut server = command.spawn().unwrap_or_else(|error| panic!("{}: {error}", program.display()));
    let url = aigis_tests::until("the old server listens", SOON, || {
        let said = fs::read_dir(&ports).ok()?.flatten().next()?;
        let said: Value = serde_json::from_slice(&fs::read(said.path()).ok()?).ok()?;
        said["nats"][0].as_str().map(str::to_owned)
    });
    let mesh = Mesh::absent();
    let up = mesh.aish(["up", "--detach", "--name", "alpha", "--bus", &url]);
    let _ = server.kill();
    let _ = server.wait();
    refused(&mesh, &up, "2.9.10", "2.11.0");
    run.took("refused as a foreign server of that version", up.took);
    assert!(!store.join("jetstream/$G").exists(), "something was made in its store");
}

/// Asserts that nothing came up, with both versions named.
fn refused(mesh: &Mesh, up: &aigis_tests::Ran, found: &str, floor: &str) {
    assert!(up.code == 1 && up.stdout.is_empty() && up.took < SOON, "{up:?}");
    assert!(up.stderr.contains(found) && up.stderr.contains(floor), "{up:?}");
    for file in ["mesh.json", "store.json", "bus/store"] {
        assert!(!mesh.path().join(file).exists(), "{file} was written: {up:?}");
    }
}

/// A program that says that it is a `nats-server` of that version, and is nothing else.
fn program(directory: &Path, version: &str) -> PathBuf {
    let path = directory.join(format!("nats-server-{version}"));
    let written = fs::write(&path, format!("#!/bin/sh\necho 'nats-server: v{version}'\n"));
    let made = written.and_then(|()| fs::set_permissions(&path, fs::Permissions::from_mode(0o755)));
    made.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    path
}

/// Something that speaks as a server of that version does, and notes what it is told.
struct Foreign {
    address: SocketAddr,
    said: Arc<Mutex<Vec<String>>>,
}

impl Foreign {
    fn start(version: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap_or_else(|error| panic!("{error}"));
        let address = listener.local_addr().unwrap_or_else(|error| panic!("{error}"));
        let said: Arc<Mutex<Vec<String>>> = Arc::default();
        let info = json!({
            "server_id": "OLD", "server_name": "old", "version": version, "proto": 1, "go": "go1.19",
            "host": "127.0.0.1", "port": address.port(), "headers": true, "jetstream": true, "max_payload": 1_048_576,
        });
        let noted = said.clone();
        // It ends with the process: a listener has no other end.
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (noted, info) = (noted.clone(), format!("INFO {info}\r\n"));
                thread::spawn(move || serve(stream, &info, &noted));
            }
        });
        Self { address, said }
    }

    fn url(&self) -> String {
        format!("nats://{}", self.address)
    }

    fn said(&self) -> Vec<String> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn serve(mut stream: TcpStream, info: &str, said: &Mutex<Vec<String>>) {
    let _ = stream.write_all(info.as_bytes());
    let Ok(reader) = stream.try_clone() else { return };
    for line in BufReader::new(reader).lines().map_while(Result::ok) {
        let verb = line.split_ascii_whitespace().next().unwrap_or_default().to_ascii_uppercase();
        if verb == "PING" && stream.write_all(b"PONG\r\n").is_err() {
            return;
        }
        said.lock().unwrap_or_else(PoisonError::into_inner).push(verb);
    }
}

/// Asks as versions would that know more, or less, than these nodes.
fn callers(scene: &mut Scene, run: &mut Run) {
    let alpha = scene.on("alpha");
    let name = format!("newer-{}", aigis_tests::nonce());
    let file = alpha.user(&name, "admin");
    let began = Instant::now();
    scene.over_the_bus(&file, async |bus: Bus| {
        let ask = |subject: String, body: Value| {
            let (bus, body) = (bus.clone(), body.to_string());
            async move {
                let reply =
                    bus.request(subject, None, body.into(), SOON).await.unwrap_or_else(|error| panic!("{error}"));
                let error = reply.headers.as_ref().and_then(|headers| headers.get("Aigis-Error"));
                let code = error.map(|code| code.as_str().to_owned()).unwrap_or_default();
                let said: Value = serde_json::from_slice(&reply.payload).unwrap_or_else(|error| panic!("{error}"));
                (code, said)
            }
        };
        let service = bus.subjects().rpc(bus.caller(), "alpha", "users");
        // A method that only the newer one has.
        let (code, said) = ask(service.clone(), json!({"aigis": "9.9.9", "request": {"Transmute": {}}})).await;
        let words = said["message"].as_str().unwrap_or_default();
        assert!(
            code == "unimplemented" && words.contains("9.9.9") && words.contains(env!("CARGO_PKG_VERSION")),
            "{said}"
        );
        // What the newer one adds to what both have is left aside.
        let revoke =
            json!({"aigis": "9.9.9", "later": 1, "request": {"RevokeToken": {"id": "nobody", "why": "later"}}});
        let refused = |said: &Value| said["RevokeToken"]["Err"]["code"].clone();
        let (code, said) = ask(service.clone(), revoke).await;
        assert!(code.is_empty() && refused(&said) == "not_found", "{code} {said}");
        // The older one does not say its version, nor whatever came later.
        let revoke = json!({"request": {"RevokeToken": {"id": "nobody"}}});
        let (code, said) = ask(service, revoke).await;
        assert!(code.is_empty() && refused(&said) == "not_found", "{code} {said}");
        let call = format!("aigis.v1.main.call.admin.{name}.one-beta.");
        let (code, said) = ask(format!("{call}status"), json!({"meta": {"later": [1]}})).await;
        assert!(code.is_empty() && said["name"] == "one-beta", "{code} {said}");
        let (code, said) = ask(format!("{call}transmute"), json!({})).await;
        assert!(code == "not_found" || code == "invalid_argument", "{code} {said}");
    });
    run.took("five answers", began.elapsed());
}
