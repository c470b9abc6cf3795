//! Who has no right at all: ATK-01, 02, 05, 06, 07.

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    time::{Duration, Instant},
};

use aigis_tests::{Cases, Mesh, until};
use nkeys::KeyPair;
use serde_json::{Value, json};

use crate::{
    is_long,
    wire::{PROMPT, Papers, SOON, Said, Wire, sign, token},
    world::World,
};

/// How long the bus lets a stranger stand at its door, twice.
const DOOR: Duration = Duration::from_secs(4);

/// Says who one is, and is turned away: by its error, then by the end of the connection.
fn is_turned_away(cases: &mut Cases, mesh: &Mesh, what: &str, who: impl FnOnce(&Wire) -> Value) {
    let mut wire = Wire::dial(mesh);
    let who = who(&wire);
    cases.refusal(what, || match wire.connect(&who) {
        Said::Error(words) => assert_eq!(words, "Authorization Violation", "{what}"),
        Said::Closed => {}
        other => panic!("{what}: {other:?}"),
    });
    let _words = wire.is_closed(DOOR);
}

#[test]
fn atk_01_nobody_logs_in_without_right() {
    let world = World::up();
    let mesh = &world.mesh;
    let olga = Papers::read(&mesh.user("olga", "operator"));
    let vera = Papers::read(&mesh.user("vera", "viewer"));
    let stranger = KeyPair::new_user();
    let (public, seed) = (stranger.public_key(), stranger.seed().unwrap());
    let account = olga.claims()["nats"]["issuer_account"].clone();
    let before = world.before();
    let mut cases = Cases::of("ATK-01");

    // A login that was listened to is of no use on another connection.
    let mut first = Wire::dial(mesh);
    let heard = json!({"jwt": olga.jwt, "sig": first.proof(&olga.seed)});
    assert_eq!(first.connect(&heard), Said::Pong);

    let olgas_key = olga.claims()["sub"].clone();
    let tries: [(&str, Value); 16] = [
        ("nothing", json!({})),
        ("a name and a password", json!({"user": "olga", "pass": "secret"})),
        ("a name alone", json!({"user": "adam"})),
        ("the system's name", json!({"user": "sys", "pass": "sys"})),
        ("a token that is a word", json!({"auth_token": "secret"})),
        ("the account as a name", json!({"user": account, "pass": account})),
        ("an account of its choice", json!({"account": "main", "new_account": true})),
        ("a key that nobody knows", json!({"nkey": public, "sig": ""})),
        ("a key of a user without its token", json!({"nkey": olgas_key, "sig": ""})),
        ("a token without a signature", json!({"jwt": olga.jwt})),
        ("a token with an empty signature", json!({"jwt": olga.jwt, "sig": ""})),
        ("a token with a signature that is none", json!({"jwt": olga.jwt, "sig": "AAAA"})),
        ("a token that is none", json!({"jwt": "eyJ.eyJ.x", "sig": "AAAA"})),
        ("no token", json!({"jwt": "", "sig": "AAAA"})),
        ("the login of before", heard),
        ("a token as a password", json!({"user": "olga", "pass": olga.jwt})),
    ];
    for (what, who) in &tries {
        is_turned_away(&mut cases, mesh, what, |wire| {
            let mut who = who.clone();
            if who.get("nkey").is_some() {
                who["sig"] = wire.proof(&seed).into();
            }
            who
        });
    }
    is_turned_away(
        &mut cases,
        mesh,
        "a signature of something else",
        |_| json!({"jwt": olga.jwt, "sig": sign(&olga.seed, b"something else")}),
    );
    is_turned_away(
        &mut cases,
        mesh,
        "one's token, another's key",
        |wire| json!({"jwt": olga.jwt, "sig": wire.proof(&vera.seed)}),
    );
    is_turned_away(
        &mut cases,
        mesh,
        "one's token, an unknown key",
        |wire| json!({"jwt": olga.jwt, "sig": wire.proof(&seed)}),
    );
    cases.within(PROMPT);
    world.on_record("none", "bus.login", cases.count());
    world.is_as(&before);
}

#[test]
fn atk_02_forged_credentials_do_not_log_in() {
    let world = World::up();
    let mesh = &world.mesh;
    let vera = Papers::read(&mesh.user("vera", "viewer"));
    let claims = vera.claims();
    let stranger = KeyPair::new_account();
    let stranger = (stranger.public_key(), stranger.seed().unwrap());
    let signer = fs::read_to_string(mesh.path().join("issuer/role-viewer.seed")).unwrap();
    let signer = signer.trim();
    let before = world.before();
    let mut cases = Cases::of("ATK-02");
    let edited = |change: &dyn Fn(&mut Value)| {
        let mut claims = claims.clone();
        change(&mut claims);
        claims
    };
    let changes: [(&str, Value); 10] = [
        ("another name", edited(&|claims| claims["name"] = "adam".into())),
        ("another role", edited(&|claims| claims["nats"]["tags"] = json!(["role:admin", "mesh:main"]))),
        ("all subjects", edited(&|claims| claims["nats"]["pub"] = json!({"allow": [">"]}))),
        ("all subscriptions", edited(&|claims| claims["nats"]["sub"] = json!({"allow": [">"]}))),
        ("answers anywhere", edited(&|claims| claims["nats"]["resp"] = json!({"max": -1, "ttl": -1}))),
        ("no end", edited(&|claims| claims["exp"] = Value::Null)),
        ("no signature asked", edited(&|claims| claims["nats"]["bearer_token"] = true.into())),
        ("another account", edited(&|claims| claims["nats"]["issuer_account"] = stranger.0.as_str().into())),
        ("no account", edited(&|claims| claims["nats"]["issuer_account"] = Value::Null)),
        ("another kind", edited(&|claims| claims["nats"]["type"] = "account".into())),
    ];
    let parts: Vec<&str> = vera.jwt.split('.').collect();
    let part = |text: &str| base64::Engine::encode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, text);
    for (what, claims) in &changes {
        // Under the old signature, under the user's own, and under a stranger's.
        let old = format!("{}.{}.{}", parts[0], part(&claims.to_string()), parts[2]);
        let mut foreign = claims.clone();
        foreign["iss"] = stranger.0.as_str().into();
        let foreign = token(&stranger.1, &foreign);
        for (how, jwt) in [("old", old), ("own", token(&vera.seed, claims)), ("a stranger's", foreign)] {
            is_turned_away(
                &mut cases,
                mesh,
                &format!("{what}, {how} signature"),
                |wire| json!({"jwt": jwt, "sig": wire.proof(&vera.seed)}),
            );
        }
    }
    for alg in ["none", "HS256", "RS256", "ed25519"] {
        let header = part(&json!({"typ": "JWT", "alg": alg}).to_string());
        for signature in ["", parts[2]] {
            let jwt = format!("{header}.{}.{signature}", parts[1]);
            is_turned_away(
                &mut cases,
                mesh,
                &format!("signed by {alg}"),
                |wire| json!({"jwt": jwt, "sig": wire.proof(&vera.seed)}),
            );
        }
    }
    // Signed by the very key of the role, and still out of its time.
    let late = edited(&|claims| claims["exp"] = 1_000_000_000.into());
    let early = edited(&|claims| claims["nbf"] = 4_102_444_800_u64.into());
    for (what, claims) in [("expired", late), ("not yet valid", early)] {
        let jwt = token(signer, &claims);
        is_turned_away(&mut cases, mesh, what, |wire| json!({"jwt": jwt, "sig": wire.proof(&vera.seed)}));
    }
    // What the key of the role signs is still confined to the role.
    let wide = edited(&|claims| claims["nats"]["pub"] = json!({"allow": [">"]}));
    let jwt = token(signer, &wide);
    is_turned_away(
        &mut cases,
        mesh,
        "more than the role's key gives",
        |wire| json!({"jwt": jwt, "sig": wire.proof(&vera.seed)}),
    );
    // An account that it does not know the server looks for, until the login has taken too long.
    cases.within(DOOR);
    world.on_record("none", "bus.login", cases.count());
    world.is_as(&before);
}

/// The TCP ports on which processes listen, by their descriptors.
fn doors(mesh: &Mesh) -> Vec<(String, u16)> {
    let pids = ["node.pid", "bus/nats-server.pid"].map(|file| mesh.pid(file).unwrap().as_raw_nonzero());
    let mut sockets = Vec::new();
    for pid in pids {
        for entry in fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten() {
            let link = fs::read_link(entry.path()).unwrap_or_default();
            let inode = link.to_str().and_then(|link| link.strip_prefix("socket:[")?.strip_suffix(']'));
            sockets.extend(inode.map(str::to_owned));
        }
    }
    let mut listening = Vec::new();
    for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
        for line in fs::read_to_string(table).unwrap_or_default().lines().skip(1) {
            let words: Vec<&str> = line.split_whitespace().collect();
            let (address, port) = words[1].rsplit_once(':').unwrap();
            if words[3] == "0A" && sockets.iter().any(|inode| inode == words[9]) {
                listening.push((address.to_owned(), u16::from_str_radix(port, 16).unwrap()));
            }
        }
    }
    listening
}

#[test]
fn atk_05_a_host_has_one_door_and_it_speaks_nothing_else() {
    let world = World::up();
    let mut cases = Cases::of("ATK-05");
    let bus = world.mesh.bus();
    let address = bus.split_once("://").unwrap().1;
    let port: u16 = address.rsplit_once(':').unwrap().1.parse().unwrap();
    let found = cases.case("every socket that listens", || doors(&world.mesh));
    assert_eq!(found, [("0100007F".to_owned(), port)], "one port, of loopback alone");
    // Monitoring, profiling and web sockets are asked for on that one.
    for path in ["/varz", "/connz", "/subsz", "/jsz", "/accountz", "/debug/pprof/", "/"] {
        cases.case(path, || {
            let mut stream = TcpStream::connect(address).unwrap();
            let asked = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
            stream.write_all(asked.as_bytes()).unwrap();
            stream.set_read_timeout(Some(DOOR)).unwrap();
            let mut said = Vec::new();
            // It may end the connection before all was read.
            let _ = stream.read_to_end(&mut said);
            let said = String::from_utf8_lossy(&said);
            assert!(said.starts_with("INFO ") && !said.contains("HTTP/"), "{path}: {said}");
        });
    }
}

#[test]
fn atk_06_strange_protocols_end_their_own_connection_alone() {
    let world = World::up();
    let mesh = &world.mesh;
    let mut olga = world.user("olga", "operator");
    let server = mesh.pid("bus/nats-server.pid");
    let file = mesh.user("vera", "viewer");
    let before = world.before();
    let mut cases = Cases::of("ATK-06");
    let long = |begin: &str, length: usize| [begin.as_bytes(), &vec![b'a'; length]].concat();
    let route = json!({"server_id": "NX", "name": "x", "cluster": "main", "verbose": false, "pedantic": false});
    let mut hello = vec![0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3];
    hello.extend([7; 506]);
    let inputs: Vec<(&str, Vec<u8>)> = vec![
        ("a route", format!("INFO {route}\r\nCONNECT {route}\r\nPING\r\n").into_bytes()),
        ("a route's messages", b"RS+ $G foo\r\nRMSG $G foo 0\r\n\r\n".to_vec()),
        ("a gateway", format!("CONNECT {}\r\nA+ x\r\n", json!({"gateway": "x", "lang": "go"})).into_bytes()),
        ("a leaf node", format!("CONNECT {}\r\nLS+ foo\r\n", json!({"remote": "x", "is_hub": true})).into_bytes()),
        ("HTTP", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec()),
        ("HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec()),
        ("TLS", hello),
        ("MQTT", b"\x10\x0c\x00\x04MQTT\x04\x02\x00\x3c\x00\x00".to_vec()),
        ("SSH", b"SSH-2.0-OpenSSH_9\r\n".to_vec()),
        ("the proxy protocol", b"PROXY TCP4 10.0.0.1 10.0.0.2 1 2\r\n".to_vec()),
        ("Redis", b"*1\r\n$4\r\nPING\r\n".to_vec()),
        ("a line of 5 KiB", long("CONNECT {\"name\":\"", 5 * 1024)),
        ("a line of 5 KiB without a verb", long("", 5 * 1024)),
        ("a publish before the login", b"PUB foo 0\r\n\r\n".to_vec()),
        ("a subscription before the login", b"SUB > 1\r\n".to_vec()),
        ("a length of 2^31", b"PUB foo 2147483648\r\n".to_vec()),
        ("a length of 2^63", b"PUB foo 9223372036854775808\r\n".to_vec()),
        ("a negative length", b"PUB foo -1\r\n\r\n".to_vec()),
        ("headers longer than their message", b"HPUB foo 100 1\r\nx\r\n".to_vec()),
        ("a login that is no JSON", b"CONNECT {\r\n".to_vec()),
        ("a login of the wrong types", b"CONNECT {\"verbose\":[],\"jwt\":{}}\r\n".to_vec()),
        ("a deep login", format!("CONNECT {}\r\n", "[".repeat(1000)).into_bytes()),
        ("the server's own words", b"INFO {}\r\n+OK\r\nMSG foo 1 0\r\n\r\n".to_vec()),
        ("zeros", vec![0; 4096]),
        ("all bytes", (0..=255).cycle().take(4096).collect()),
    ];
    let mut stood = Vec::new();
    for (what, bytes) in &inputs {
        cases.begin(what);
        let mut wire = Wire::dial(mesh);
        wire.send(bytes);
        stood.push((what, wire));
    }
    // All of them at once: who says nothing that counts is shut out after 2 s.
    for (what, mut wire) in stood {
        loop {
            match wire.next(DOOR) {
                Some(Said::Closed) => break,
                Some(Said::Error(_) | Said::Pong) => {}
                other => panic!("{what}: {other:?}"),
            }
        }
    }
    // The same from somebody who is let in: only that connection goes.
    for (what, bytes) in [
        ("a length of 2^31", &b"PUB _INBOX.x.y 2147483648\r\n"[..]),
        ("more than a message may have", b"PUB _INBOX.x.y 1048577\r\n"),
        ("a negative length", b"PUB _INBOX.x.y -1\r\n\r\n"),
        ("headers longer than their message", b"HPUB _INBOX.x.y 100 1\r\nx\r\n"),
        ("an unknown verb", b"BURN x\r\n"),
        ("a subject of 5 KiB", &long("SUB ", 5 * 1024)),
        ("a message in the server's words", b"MSG foo 1 0\r\n\r\n"),
    ] {
        cases.case(format!("let in, {what}"), || {
            let mut vera = Wire::log_in(mesh, "vera", &file);
            vera.send(bytes);
            let _words = vera.is_closed(DOOR);
        });
    }
    assert_eq!(mesh.pid("bus/nats-server.pid"), server, "the server lives");
    assert_eq!(olga.settle(), [], "and so do others' connections");
    world.on_record("none", "bus.connection", 1);
    world.is_as(&before);
}

#[test]
fn atk_07_a_crowd_at_the_door_keeps_nobody_out() {
    let world = World::up();
    let mesh = &world.mesh;
    let file = mesh.user("olga", "operator");
    let (silent, half, slow) = if is_long() { (1000, 200, 50) } else { (200, 50, 20) };
    let mut cases = Cases::of("ATK-07");
    let before = world.before();
    let began = Instant::now();
    let mut crowd: Vec<Wire> = (0..silent)
        .map(|n| {
            cases.begin(format!("silent socket {n}"));
            Wire::dial(mesh)
        })
        .collect();
    crowd.extend((0..half).map(|n| {
        cases.begin(format!("half handshake {n}"));
        let mut wire = Wire::dial(mesh);
        wire.send(b"CONNECT {\"verbose\":false,");
        wire
    }));
    let mut dripping: Vec<Wire> = (0..slow)
        .map(|n| {
            cases.begin(format!("one byte a second {n}"));
            Wire::dial(mesh)
        })
        .collect();
    let mut worst = Duration::ZERO;
    let mut letters = b"CONNECT {\"verbose\":false}\r\n".iter();
    until("everybody has been shut out", SOON, || {
        let login = Instant::now();
        let mut olga = Wire::log_in(mesh, "olga", &file);
        assert_eq!(olga.settle(), []);
        worst = worst.max(login.elapsed());
        let letter = letters.next()?;
        dripping.iter_mut().for_each(|wire| wire.send(&[*letter]));
        let gone = |wire: &mut Wire| {
            while let Some(said) = wire.next(Duration::from_millis(1)) {
                if said == Said::Closed {
                    return true;
                }
            }
            false
        };
        crowd.retain_mut(|wire| !gone(wire));
        dripping.retain_mut(|wire| !gone(wire));
        (crowd.is_empty() && dripping.is_empty()).then_some(())
    });
    println!("shut out after {:?}; a login took at most {worst:?}", began.elapsed());
    // One second, twice.
    assert!(worst < Duration::from_secs(2), "{worst:?}");
    world.is_as(&before);
}
