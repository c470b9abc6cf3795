//! Bodies that are too large for a message: they travel as passing blobs, and the message carries a reference.
//!
//! Every member of the mesh may read its blobs, so the content is sealed, with a key that only the reference holds.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use data_encoding::BASE64URL_NOPAD;
use futures::{FutureExt, future::BoxFuture};
use ring::{
    aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    rand::{SecureRandom, SystemRandom},
};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::Instant,
};

use crate::{
    blob::{Blob, Digest, Life, PASSING, Store},
    bus::Bus,
    dispatch::Incoming,
    envelope::DEFAULT_TIMEOUT,
    error::{Code, Error},
};

/// Largest body of a request, a reply or a frame, in bytes, whichever way it goes: each is read whole into memory.
pub const MAX_BODY: usize = crate::socket::MAX_BODY;
/// From this size on a body travels as a blob.
const LARGE: usize = 512 * 1024;
/// What headers may take of a message.
const HEADERS: usize = 4 * 1024;
/// No reference is longer.
const MAX_REFERENCE: usize = 1024;
/// How many KiB of bodies that came as blobs a process holds at once; further ones wait.
const ROOM: usize = 256 * 1024;
/// What sealing adds to a body.
const TAG: u64 = 16;

static HELD: Semaphore = Semaphore::const_new(ROOM);

/// What stands in a message in place of its body.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Message {
    #[serde(rename = "$blob")]
    blob: Reference,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Reference {
    digest: Digest,
    size: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key: Option<Key>,
}

/// Seals one body, and never another.
#[derive(Clone, PartialEq)]
struct Key([u8; 32]);

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key")
    }
}

impl Serialize for Key {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&BASE64URL_NOPAD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        let bytes = BASE64URL_NOPAD.decode(text.as_bytes()).ok().and_then(|bytes| bytes.try_into().ok());
        bytes.map(Self).ok_or_else(|| de::Error::custom("the key is not 32 bytes as base64url without padding"))
    }
}

impl Key {
    fn random() -> Result<Self, Error> {
        let mut key = [0; 32];
        let filled = SystemRandom::new().fill(&mut key);
        filled.map_err(|_| Error::internal("the operating system gives no random numbers"))?;
        Ok(Self(key))
    }

    fn cipher(&self) -> Option<LessSafeKey> {
        UnboundKey::new(&CHACHA20_POLY1305, &self.0).ok().map(LessSafeKey::new)
    }

    /// The key serves for one body alone, so that one nonce is enough.
    fn nonce() -> Nonce {
        Nonce::assume_unique_for_key([0; NONCE_LEN])
    }

    fn seal(&self, mut body: Vec<u8>) -> Option<Vec<u8>> {
        self.cipher()?.seal_in_place_append_tag(Self::nonce(), Aad::empty(), &mut body).ok()?;
        Some(body)
    }

    fn open(&self, mut sealed: Vec<u8>) -> Option<Vec<u8>> {
        let length = self.cipher()?.open_in_place(Self::nonce(), Aad::empty(), &mut sealed).ok()?.len();
        sealed.truncate(length);
        Some(sealed)
    }
}

/// What is to be sent instead of `body`: itself, or the reference of a blob that holds it.
///
/// # Errors
///
/// `resource_exhausted` for one that is too large, `deadline_exceeded`, and what forbids storing it; nothing was sent.
pub(crate) async fn outgoing(bus: &Bus, body: Bytes, deadline: Instant) -> Result<Bytes, Error> {
    if body.len() < LARGE.min(bus.max_payload().saturating_sub(HEADERS)) {
        return Ok(body);
    }
    if body.len() > MAX_BODY {
        return Err(too_large(body.len() as u64).sent(false));
    }
    let stored = tokio::time::timeout_at(deadline, store(bus, body)).await;
    stored.unwrap_or_else(|_| Err(late("stored"))).map_err(|error| error.sent(false))
}

/// The body itself, whether it came in the message or as a blob.
///
/// # Errors
///
/// `invalid_argument` for a reference that is none, `not_found` or `data_loss` for one that leads nowhere or elsewhere,
/// `resource_exhausted` for too much.
pub(crate) async fn incoming(bus: &Bus, body: Bytes, deadline: Instant) -> Result<Bytes, Error> {
    match read(&body) {
        Some(reference) => open(bus, reference?, deadline).await,
        None => Ok(body),
    }
}

async fn open(bus: &Bus, reference: Reference, deadline: Instant) -> Result<Bytes, Error> {
    let fetched = tokio::time::timeout_at(deadline, fetch(bus, reference)).await;
    fetched.unwrap_or_else(|_| Err(late("read")))
}

/// A body that is being fetched; `None` for one that is itself.
pub(crate) fn opening(bus: &Bus, body: &Bytes, deadline: Instant) -> Option<Opening> {
    let (reference, bus) = (read(body)?, bus.clone());
    Some(Opening(async move { open(&bus, reference?, deadline).await }.boxed()))
}

/// The future of [`opening`].
pub(crate) struct Opening(BoxFuture<'static, Result<Bytes, Error>>);

impl std::fmt::Debug for Opening {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Opening")
    }
}

impl Future for Opening {
    type Output = Result<Bytes, Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.poll_unpin(context)
    }
}

/// [`incoming`] for a request, which its caller may cancel meanwhile, and does when its deadline is over.
///
/// # Errors
///
/// As [`incoming`], and `cancelled`.
pub(crate) async fn received(bus: &Bus, mut request: Incoming) -> Result<Incoming, Error> {
    if read(&request.body).is_some() {
        let body = std::mem::take(&mut request.body);
        request.body = tokio::select! {
            body = incoming(bus, body, Instant::now() + PASSING) => body?,
            () = request.cancelled.cancelled() => {
                return Err(Error::new(Code::Cancelled, "the call was cancelled by its caller"));
            }
        };
    }
    Ok(request)
}

/// Reads a body as a reference, if it looks like one.
fn read(body: &[u8]) -> Option<Result<Reference, Error>> {
    let inner = body.trim_ascii_start().strip_prefix(b"{")?.trim_ascii_start();
    if body.len() > MAX_REFERENCE || !inner.starts_with(b"\"$blob\"") {
        return None;
    }
    let read = serde_json::from_slice(body).map(|Message { blob }| blob);
    Some(read.map_err(|error| Error::invalid(format!("$.$blob is no reference of a blob: {error}"))))
}

fn store(bus: &Bus, body: Bytes) -> BoxFuture<'_, Result<Bytes, Error>> {
    async move {
        let key = Key::random()?;
        let sealing = key.clone();
        let sealed = aside(move || sealing.seal(body.into())).await?;
        let sealed = sealed.ok_or_else(|| Error::internal("the body could not be sealed"))?;
        let Blob { digest, size } = Store::new(bus).put_passing(sealed).await?;
        let message = Message { blob: Reference { digest, size, key: Some(key) } };
        Ok(serde_json::to_vec(&message).unwrap_or_default().into())
    }
    .boxed()
}

fn fetch(bus: &Bus, reference: Reference) -> BoxFuture<'_, Result<Bytes, Error>> {
    async move {
        let Reference { digest, size, key } = reference;
        if size > MAX_BODY as u64 + TAG {
            return Err(too_large(size));
        }
        let kibibytes = u32::try_from(size.div_ceil(1024)).unwrap_or(u32::MAX);
        let Ok(Ok(room)) = tokio::time::timeout(DEFAULT_TIMEOUT, HELD.acquire_many(kibibytes)).await else {
            let message = format!("this process holds {} MiB of large bodies, which is the limit", ROOM / 1024);
            return Err(Error::new(Code::ResourceExhausted, message).hint("wait for some of its calls to end"));
        };
        let (store, blob) = (Store::new(bus), Blob { digest, size });
        let Some(key) = key else {
            // What was put there by hand, for a while or for good.
            let content = match store.read(Life::Passing, &blob).await {
                Err(error) if error.code == Code::NotFound => store.read(Life::Kept, &blob).await?,
                other => other?,
            };
            return Ok(Bytes::from_owner(Held { content, _room: room }));
        };
        let sealed = store.read_sealed(&blob).await?;
        let content = aside(move || key.open(sealed)).await?.ok_or_else(|| {
            Error::new(Code::DataLoss, format!("the blob {blob} cannot be opened with the key in its reference"))
        })?;
        Ok(Bytes::from_owner(Held { content, _room: room }))
    }
    .boxed()
}

/// A body that counts against the room until nobody holds it.
struct Held {
    content: Vec<u8>,
    _room: SemaphorePermit<'static>,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.content
    }
}

/// Does what takes the processor for long where nothing waits for it.
async fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Error> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| Error::internal(format!("the work on a body ended: {error}")))
}

/// What is said of a body over the limit.
pub(crate) fn too_large(size: u64) -> Error {
    Error::new(Code::ResourceExhausted, format!("the body is {size} bytes; a body has at most {MAX_BODY}"))
        .hint("send it in parts, or ask for less of it at once")
}

fn late(what: &str) -> Error {
    Error::new(Code::DeadlineExceeded, format!("the body could not be {what} as a blob before the deadline"))
        .hint("give it longer: --timeout 2m")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(body: &str) -> Error {
        read(body.as_bytes()).unwrap().unwrap_err()
    }

    #[test]
    fn bad_14_references_that_are_none() {
        let digest = Digest::of(b"x");
        for bad in [
            r#"{"$blob":{"digest":"sha256:../../records.ci.web","size":1}}"#,
            r#"{"$blob":{"digest":"../","size":1}}"#,
            r#"{"$blob":"x"}"#,
            r#"{"$blob":"#,
            &format!(r#"{{"$blob":{{"digest":"{digest}"}}}}"#),
            &format!(r#"{{"$blob":{{"digest":"{digest}","size":-1}}}}"#),
            &format!(r#"{{"$blob":{{"digest":"{digest}","size":1,"key":"short"}}}}"#),
            &format!(r#"{{"$blob":{{"digest":"{digest}","size":1}},"args":[]}}"#),
        ] {
            assert_eq!(error(bad).code, Code::InvalidArgument, "{bad}");
        }
        let good = format!(" {{ \"$blob\" : {{\"digest\":\"{digest}\",\"size\":1}}}}");
        assert_eq!(read(good.as_bytes()).unwrap().unwrap(), Reference { digest, size: 1, key: None });
    }

    #[test]
    fn other_bodies_are_no_references() {
        let long = format!("{{\"$blob\":\"{}\"}}", "x".repeat(MAX_REFERENCE));
        for other in ["", "{}", r#"{"args":[{"$blob":1}]}"#, r#"{"$blobs":1}"#, "\"$blob\"", long.as_str()] {
            assert!(read(other.as_bytes()).is_none(), "{other}");
        }
    }

    #[test]
    fn a_sealed_body_opens_with_its_own_key_alone() {
        let key = Key::random().unwrap();
        let sealed = key.seal(b"body".to_vec()).unwrap();
        assert_eq!((sealed.len(), key.open(sealed.clone()).unwrap().as_slice()), (20, &b"body"[..]));
        assert!(Key::random().unwrap().open(sealed.clone()).is_none());
        let mut damaged = sealed;
        damaged[0] ^= 1;
        assert!(key.open(damaged).is_none());
    }
}
