//! The introduction: the node names itself and draws a nonce, the caller shows its token and signs the nonce, the node
//! says as whom it takes it.

use data_encoding::BASE64URL_NOPAD;
use ring::rand::{SecureRandom, SystemRandom};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tokio::{io::AsyncWriteExt, net::unix::OwnedWriteHalf};

use super::{
    reader::{End, Reader},
    server::Gate,
};
use crate::{
    Code, Error, MeshName, UserName,
    identity::{Credential, Vouched},
    json,
    subject::Caller,
};

/// The version of frames and introduction.
const VERSION: u32 = 1;
/// The largest frame before the introduction is over: a token is about 1 KiB.
pub(super) const FIRST_FRAMES: usize = 16 * 1024;
/// What a nonce is: so many random bytes, as base64url.
const NONCE: usize = 32;

/// The node's first word.
#[derive(Debug, Serialize, Deserialize)]
struct Hello {
    aigis: u32,
    mesh: MeshName,
    server: UserName,
    nonce: String,
}

/// The caller's answer.
#[derive(Debug, Serialize, Deserialize)]
struct Proof {
    aigis: u32,
    jwt: String,
    signature: String,
}

/// The node's last word before calls.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Verdict {
    Welcome { role: crate::Role, name: UserName },
    Refused(Error),
}

/// What is signed. The words before the nonce keep it from being the nonce of a bus, so that nobody who sits at a socket
/// can have a login at the bus signed.
fn signed(mesh: &MeshName, server: &UserName, nonce: &str) -> String {
    format!("aigis socket {VERSION}\n{mesh}\n{server}\n{nonce}")
}

async fn send(write: &mut OwnedWriteHalf, message: &impl Serialize) -> Result<(), End> {
    let body = serde_json::to_vec(message).unwrap_or_default();
    let mut frame = u32::try_from(body.len()).unwrap_or_default().to_be_bytes().to_vec();
    frame.extend_from_slice(&body);
    Ok(write.write_all(&frame).await?)
}

async fn receive<T: DeserializeOwned>(reader: &mut Reader) -> Result<T, End> {
    let bytes = reader.frame().await?;
    let value = json::read(&bytes).map_err(|_| End::Violation)?;
    serde_json::from_value(value).map_err(|_| End::Violation)
}

/// Why a caller was not let in, and who it is where its token says so truly.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) error: Error,
    pub(super) caller: Option<Caller>,
}

/// The node's side.
///
/// # Errors
///
/// The connection's end; inside, a refusal that the caller has been told.
pub(super) async fn admit(
    reader: &mut Reader,
    write: &mut OwnedWriteHalf,
    server: &UserName,
    gate: &Gate,
) -> Result<Result<Vouched, Refusal>, End> {
    let mesh = gate.issuer.borrow().mesh.clone();
    let mut bits = [0; NONCE];
    SystemRandom::new().fill(&mut bits).map_err(|_| End::Violation)?;
    let nonce = BASE64URL_NOPAD.encode(&bits);
    let text = signed(&mesh, server, &nonce);
    send(write, &Hello { aigis: VERSION, mesh, server: server.clone(), nonce }).await?;
    let proof: Proof = receive(reader).await?;
    let judged = judge(&proof, &text, gate);
    let verdict = match &judged {
        Ok(user) => {
            let Caller { role, name } = user.caller();
            Verdict::Welcome { role, name }
        }
        Err(refusal) => Verdict::Refused(refusal.error.clone()),
    };
    send(write, &verdict).await?;
    Ok(judged)
}

fn judge(proof: &Proof, text: &str, gate: &Gate) -> Result<Vouched, Refusal> {
    let denied = |reason: String, caller: Option<Caller>| Refusal {
        error: Error::new(Code::PermissionDenied, format!("the node's socket refuses the credential: {reason}"))
            .hint("ask an admin for a new credential")
            .sent(false),
        caller,
    };
    if proof.aigis != VERSION {
        return Err(denied(format!("it speaks version {}, the node {VERSION}", proof.aigis), None));
    }
    let user = gate.issuer.borrow().vouch(&proof.jwt).map_err(|flaw| denied(flaw.to_string(), None))?;
    let signature = BASE64URL_NOPAD.decode(proof.signature.as_bytes()).unwrap_or_default();
    if !user.signed(text.as_bytes(), &signature) {
        let reason = "the nonce is not signed by the key of the token".to_owned();
        return Err(denied(reason, Some(user.caller())));
    }
    if gate.revoked.borrow().end(&user) {
        return Err(denied("it was revoked".to_owned(), Some(user.caller())));
    }
    Ok(user)
}

/// The caller's side: returns once the node has let it in.
///
/// # Errors
///
/// Says why this is no way to that server.
pub(super) async fn introduce(
    reader: &mut Reader,
    write: &mut OwnedWriteHalf,
    server: &UserName,
    credential: &Credential,
) -> Result<(), Error> {
    let broken = |end: End| Error::unavailable(format!("the node's socket does not answer: {end}"));
    let hello: Hello = receive(reader).await.map_err(broken)?;
    if hello.aigis != VERSION || hello.server != *server || hello.mesh != *credential.mesh() {
        let Hello { aigis, mesh, server, .. } = hello;
        return Err(Error::unavailable(format!("the socket is that of \"{server}\" in mesh {mesh}, version {aigis}")));
    }
    if !BASE64URL_NOPAD.decode(hello.nonce.as_bytes()).is_ok_and(|bits| bits.len() == NONCE) {
        return Err(broken(End::Violation));
    }
    let signature = credential.sign(signed(&hello.mesh, server, &hello.nonce).as_bytes());
    let proof = Proof { aigis: VERSION, jwt: credential.jwt(), signature: BASE64URL_NOPAD.encode(&signature) };
    send(write, &proof).await.map_err(broken)?;
    match receive(reader).await.map_err(broken)? {
        Verdict::Welcome { role, name } if role == credential.role() && name == *credential.name() => Ok(()),
        Verdict::Welcome { .. } => Err(broken(End::Violation)),
        Verdict::Refused(error) => Err(error),
    }
}
