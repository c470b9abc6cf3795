//! Who is let in at the node's socket: nobody but the holder of a key that this mesh's issuer vouches for now.

use std::time::Duration;

use aigis_proxy::{
    MeshName, Role, UserName,
    identity::{Credential, Key, MeshKeys, Revocations},
    socket::Limits,
};
use bytes::{Bytes, BytesMut};
use data_encoding::BASE64URL_NOPAD;
use futures::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::{UnixListener, UnixStream};
use tokio_util::codec::{Framed, LengthDelimitedCodec};

use super::Host;
use crate::calls::{request, target, until};

const PATIENCE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);

/// A connection spoken by hand.
pub(super) struct Wire(pub(super) Framed<UnixStream, LengthDelimitedCodec>);

impl Wire {
    pub(super) async fn connect(host: &Host) -> (Self, Value) {
        let stream = UnixStream::connect(host.path()).await.unwrap();
        let codec = LengthDelimitedCodec::builder().max_frame_length(64 * 1024 * 1024).new_codec();
        let mut wire = Self(Framed::new(stream, codec));
        let hello = wire.json().await.unwrap();
        (wire, hello)
    }

    /// Takes one caller in as a node would, whoever it is.
    pub(super) async fn accept(listener: &UnixListener, name: &str, role: Role) -> Self {
        let (stream, _) = listener.accept().await.unwrap();
        let mut wire = Self(Framed::new(stream, LengthDelimitedCodec::new()));
        let nonce = BASE64URL_NOPAD.encode(&[7; 32]);
        wire.send(json!({"aigis": 1, "mesh": "main", "server": "alpha", "nonce": nonce}).to_string()).await;
        let proof = wire.json().await.unwrap();
        assert!(proof["jwt"].is_string() && proof["signature"].is_string());
        wire.send(json!({"welcome": {"role": role.as_str(), "name": name}}).to_string()).await;
        wire
    }

    /// The next frame; `None` once the node has closed the connection.
    pub(super) async fn next(&mut self) -> Option<BytesMut> {
        let next = tokio::time::timeout(PATIENCE, self.0.next()).await.expect("a frame or the end");
        next.and_then(Result::ok)
    }

    pub(super) async fn json(&mut self) -> Option<Value> {
        self.next().await.map(|bytes| serde_json::from_slice(&bytes).unwrap())
    }

    pub(super) async fn send(&mut self, bytes: impl Into<Bytes>) {
        self.0.send(bytes.into()).await.unwrap();
    }

    /// Shows a token with a signature of that key over this text.
    async fn prove(&mut self, jwt: &str, key: &Key, text: &str) -> Value {
        let signature = BASE64URL_NOPAD.encode(&key.sign(text.as_bytes()));
        self.send(json!({"aigis": 1, "jwt": jwt, "signature": signature}).to_string()).await;
        self.json().await.unwrap()
    }

    /// Comes in as a fresh user.
    pub(super) async fn admitted(host: &Host, name: &str, role: Role) -> Self {
        let (jwt, key) = user(&host.bus.keys, name, role, HOUR);
        let (mut wire, hello) = Self::connect(host).await;
        let verdict = wire.prove(&jwt, &key, &text(&hello)).await;
        assert_eq!(verdict, json!({"welcome": {"role": role.as_str(), "name": name}}));
        wire
    }
}

fn text(hello: &Value) -> String {
    let part = |key: &str| hello[key].as_str().unwrap();
    format!("aigis socket 1\n{}\n{}\n{}", part("mesh"), part("server"), part("nonce"))
}

fn user(keys: &MeshKeys, name: &str, role: Role, life: Duration) -> (String, Key) {
    let key = Credential::generate().unwrap();
    let jwt = keys.issue(&UserName::parse(name).unwrap(), role, key.public(), life).unwrap();
    (jwt, key)
}

fn reason(verdict: &Value) -> &str {
    assert_eq!(verdict["refused"]["code"], "permission_denied", "{verdict}");
    verdict["refused"]["message"].as_str().unwrap()
}

#[tokio::test]
async fn atk_09_each_connection_has_a_nonce_of_its_own_and_nothing_runs_before_the_proof() {
    let host = Host::up(Limits::default()).await;
    let ((mut one, first), (_, second)) = (Wire::connect(&host).await, Wire::connect(&host).await);
    assert_eq!((&first["mesh"], &first["server"]), (&json!("main"), &json!("alpha")));
    assert_ne!(first["nonce"], second["nonce"]);
    one.send(&b"\x01\0\0\0\x01echo.write\n{}"[..]).await;
    assert!(one.next().await.is_none(), "closed");
    assert_eq!(host.echo.writes.load(std::sync::atomic::Ordering::SeqCst), 0);
}

#[tokio::test]
async fn atk_09_foreign_expired_altered_and_borrowed_tokens_are_refused() {
    let host = Host::up(Limits::default()).await;
    let keys = &host.bus.keys;
    let elsewhere = tempfile::tempdir().unwrap();
    let foreign = MeshKeys::create(&elsewhere.path().join("keys"), &MeshName::parse("main").unwrap()).unwrap();
    let (own, key) = user(keys, "adam", Role::Admin, HOUR);
    let (vera, veras) = user(keys, "vera", Role::Viewer, HOUR);
    let parts: Vec<&str> = vera.split('.').collect();
    let claims = String::from_utf8(BASE64URL_NOPAD.decode(parts[1].as_bytes()).unwrap()).unwrap();
    let raised = BASE64URL_NOPAD.encode(claims.replace("role:viewer", "role:admin").as_bytes());
    let raised = format!("{}.{raised}.{}", parts[0], parts[2]);
    let (foreign, foreigns) = user(&foreign, "adam", Role::Admin, HOUR);
    let (expired, expireds) = user(keys, "adam", Role::Admin, Duration::ZERO);
    for (jwt, key, why) in [
        (&foreign, &foreigns, "no signing key of this mesh"),
        (&expired, &expireds, "ended at"),
        (&raised, &veras, "altered or forged"),
        (&own, &veras, "not signed by the key of the token"),
        (&"a.b".to_owned(), &key, "three"),
    ] {
        let (mut wire, hello) = Wire::connect(&host).await;
        let verdict = wire.prove(jwt, key, &text(&hello)).await;
        assert!(reason(&verdict).contains(why), "{why}: {verdict}");
        assert!(wire.next().await.is_none(), "closed");
    }
    // The right key, over the nonce alone as for the bus, or over the nonce of another connection.
    let (mut wire, hello) = Wire::connect(&host).await;
    assert!(reason(&wire.prove(&own, &key, hello["nonce"].as_str().unwrap()).await).contains("not signed"));
    let (mut wire, _) = Wire::connect(&host).await;
    assert!(reason(&wire.prove(&own, &key, &text(&hello)).await).contains("not signed"));
    let refusals = host.refusals.0.lock().unwrap().clone();
    assert_eq!(refusals, ["admin.adam socket"; 3], "audited where the token is true");
}

#[tokio::test]
async fn name_and_role_are_those_of_the_token_whatever_a_request_says() {
    let host = Host::up(Limits::default()).await;
    let mut vera = Wire::admitted(&host, "vera", Role::Viewer).await;
    for (id, tail) in [(1_u8, "echo.write"), (2, "admin.adam.echo.write"), (3, "echo@beta.write"), (4, "nothing")] {
        let body = format!("{tail}\n{{\"meta\":{{\"role\":\"admin\",\"caller\":\"adam\"}}}}");
        vera.send([&[1, 0, 0, 0, id], body.as_bytes()].concat()).await;
        let answer = vera.next().await.unwrap();
        assert_eq!(answer[..5], [17, 0, 0, 0, id], "an error: {tail}");
    }
    assert_eq!(host.echo.writes.load(std::sync::atomic::Ordering::SeqCst), 0);
    assert_eq!(host.refusals.0.lock().unwrap().first().unwrap(), "viewer.vera echo@alpha write");
}

#[tokio::test]
async fn a_call_of_another_connection_cannot_be_cancelled() {
    let host = Host::up(Limits::default()).await;
    let mut one = Wire::admitted(&host, "olga", Role::Operator).await;
    let mut other = Wire::admitted(&host, "olga", Role::Operator).await;
    one.send(&b"\x01\0\0\0\x07echo.hang\n{}"[..]).await;
    until("the call runs", || host.running() == 1).await;
    other.send(&b"\x02\0\0\0\x07"[..]).await;
    other.send(&b"\x01\0\0\0\x07echo.echo\n{\"args\":[\"x\"]}"[..]).await;
    assert_eq!(&other.next().await.unwrap()[..], b"\x10\0\0\0\x07\"x\"");
    assert_eq!(host.running(), 1);
    one.send(&b"\x02\0\0\0\x07"[..]).await;
    until("the call ended", || host.running() == 0).await;
    assert_eq!(one.next().await.unwrap()[0], 17);
}

#[tokio::test]
async fn a_revoked_user_is_cut_off_and_kept_out() {
    let host = Host::up(Limits::default()).await;
    let (jwt, key) = user(&host.bus.keys, "olga", Role::Operator, HOUR);
    let (mut wire, hello) = Wire::connect(&host).await;
    assert!(wire.prove(&jwt, &key, &text(&hello)).await["welcome"].is_object());
    wire.send(&b"\x01\0\0\0\x01echo.hang\n{}"[..]).await;
    until("the call runs", || host.running() == 1).await;
    let _kept = Wire::admitted(&host, "vera", Role::Viewer).await;
    host.bus.keys.revoke(key.public()).unwrap();
    let revocations: Revocations = host.bus.keys.revocations();
    assert_ne!(revocations, Revocations::default());
    host.revoked.send(revocations).unwrap();
    assert!(dismissal(&mut wire).await.contains("revoked"));
    until("its call ended", || host.running() == 0).await;
    let (mut wire, hello) = Wire::connect(&host).await;
    assert!(reason(&wire.prove(&jwt, &key, &text(&hello)).await).contains("revoked"));
}

#[tokio::test]
async fn a_connection_ends_with_its_credential() {
    let host = Host::up(Limits::default()).await;
    let (jwt, key) = user(&host.bus.keys, "olga", Role::Operator, Duration::from_secs(4));
    let (mut wire, hello) = Wire::connect(&host).await;
    assert!(wire.prove(&jwt, &key, &text(&hello)).await["welcome"].is_object());
    assert!(dismissal(&mut wire).await.contains("ended"));
}

/// What the node says before it closes the connection, which it does.
async fn dismissal(wire: &mut Wire) -> String {
    let last = wire.next().await.unwrap();
    assert_eq!(last[..5], [20, 0, 0, 0, 0]);
    assert!(wire.next().await.is_none(), "closed");
    String::from_utf8(last[5..].to_vec()).unwrap()
}

#[tokio::test]
async fn a_caller_who_is_refused_calls_over_the_bus() {
    let host = Host::up(Limits::default()).await;
    let (_bus, olga) = host.caller("olga", Role::Operator).await;
    let everyone = [("*".to_owned(), i64::MAX)].into();
    host.revoked.send(Revocations::new(everyone)).unwrap();
    assert_eq!(olga.call(&target("write"), request(&[])).await.unwrap(), json!(1));
    assert_eq!(*host.refusals.0.lock().unwrap(), ["operator.olga socket"]);
}
