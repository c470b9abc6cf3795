//! What a node does for those who may not write to the bucket: it takes their chunks, and checks them.

use std::{fmt, sync::Arc};

use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use futures::FutureExt;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser};
use serde_json::value::RawValue;
use tarpc::{context::Context, server::Serve};
use tokio::sync::Semaphore;

use super::{Blob, Digest, Index, Life, MAX_CHUNK, Part, Store};
use crate::{
    bus::Bus,
    dispatch::Journal,
    error::{Code, Error},
    role::Effect,
    rpc,
    services::{BLOBS, Blobs},
    subject::Caller,
    task,
};

/// How many chunks a node takes at once.
const AT_ONCE: usize = 64;

/// A chunk's content; base64 in JSON.
#[derive(Clone, PartialEq, Eq)]
pub struct Content(pub Bytes);

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

impl Serialize for Content {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // No byte of it needs an escape, so that it is not looked through for any.
        let mut text = String::with_capacity(self.0.len().div_ceil(3) * 4 + 2);
        text.push('"');
        BASE64_STANDARD.encode_string(&self.0, &mut text);
        text.push('"');
        RawValue::from_string(text).map_err(ser::Error::custom)?.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Content {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        BASE64_STANDARD.decode(text.as_bytes()).map(|bytes| Self(bytes.into())).map_err(de::Error::custom)
    }
}

/// Takes chunks from those who may not write them, until the returned value is dropped. All nodes share the work.
///
/// # Errors
///
/// As [`Bus::subscribe`].
pub async fn serve(bus: &Bus, journal: Arc<dyn Journal>) -> Result<task::Owned, Error> {
    let store = Store::new(bus);
    let room = Arc::new(Semaphore::new(AT_ONCE));
    rpc::serve_shared(bus, BLOBS, journal, move |caller, context, request| {
        let keeper = Keeper { store: store.clone(), room: room.clone(), caller };
        async move { keeper.serve().serve(context, request).await }.boxed()
    })
    .await
}

#[derive(Clone)]
struct Keeper {
    store: Store,
    room: Arc<Semaphore>,
    caller: Caller,
}

impl Keeper {
    /// Anyone may call, so anyone may store what a call carries; keeping content is a change of the mesh.
    fn permit(&self, life: Life) -> Result<(), Error> {
        if life == Life::Passing || self.caller.role.permits(Effect::Write) {
            return Ok(());
        }
        let reason =
            format!("keeping a blob needs a role that may write; {} is {}", self.caller.name, self.caller.role);
        Err(Error::new(Code::PermissionDenied, reason).hint("ask an operator or admin of this mesh"))
    }
}

impl Blobs for Keeper {
    async fn put_chunk(self, _: Context, life: Life, digest: Digest, content: Content) -> Result<(), Error> {
        self.permit(life)?;
        let Content(chunk) = content;
        if chunk.is_empty() || chunk.len() > MAX_CHUNK {
            return Err(Error::invalid(format!("a chunk has 1 to {MAX_CHUNK} bytes, not {}", chunk.len())));
        }
        let part = Part::of(&chunk);
        if part.0 != digest {
            return Err(Error::invalid(format!("the chunk is {}, not {digest}", part.0)));
        }
        let _place = self.room.acquire().await;
        self.store.put_chunk(life, part, chunk).await
    }

    async fn put_index(self, _: Context, life: Life, digest: Digest, index: Index) -> Result<(), Error> {
        self.permit(life)?;
        index.check().map_err(|reason| Error::invalid(format!("the index of {digest} is unusable: {reason}")))?;
        let blob = Blob { digest, size: index.size };
        let _place = self.room.acquire().await;
        // Without a mark it is read before it is kept: whoever may not write to the bucket must not be able to put
        // another's blob out of use.
        self.store.put_index(life, &blob, index, None).await
    }

    async fn doubt(self, _: Context, life: Life, part: Part) -> Result<(), Error> {
        let _place = self.room.acquire().await;
        self.store.remove_if_damaged(life, part).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_is_base64_in_json() {
        for (bytes, text) in [(&b""[..], "\"\""), (b"\xff\0", "\"/wA=\""), (b"abc", "\"YWJj\"")] {
            let content = Content(Bytes::from_static(bytes));
            assert_eq!(serde_json::to_string(&content).unwrap(), text);
            assert_eq!(serde_json::from_str::<Content>(text).unwrap(), content);
        }
        assert!(serde_json::from_str::<Content>("\"YWJ\"").is_err());
    }
}
