//! A version of a shared record as it is stored: its content, its digest, and who says so.

use aigis_proxy::{NodeName, identity::Credential};
use data_encoding::BASE64URL_NOPAD;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::Key;
use crate::record::{Damage, digest};

/// What is bound to every signature first.
const PURPOSE: &str = "aigis shared 1";

/// A record, and the revision at which it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version<T> {
    /// Its place among all writes of the bucket; what the next version follows.
    pub revision: u64,
    /// What it says.
    pub content: T,
}

#[derive(Serialize, Deserialize)]
struct Stored {
    digest: String,
    content: Box<RawValue>,
    /// The revision that it took the place of.
    follows: u64,
    by: NodeName,
    signature: String,
}

/// What a writer signs.
fn signed(key: &Key, follows: u64, digest: &str) -> String {
    format!("{PURPOSE}\n{key}\n{follows}\n{digest}")
}

pub(super) fn seal(
    key: &Key,
    content: &impl Serialize,
    follows: u64,
    node: &Credential,
) -> Result<Vec<u8>, serde_json::Error> {
    let content = serde_json::value::to_raw_value(content)?;
    let digest = digest(content.get().as_bytes());
    let signature = BASE64URL_NOPAD.encode(&node.sign(signed(key, follows, &digest).as_bytes()));
    let by = NodeName::parse(node.name().as_str()).map_err(serde::ser::Error::custom)?;
    serde_json::to_vec(&Stored { digest, content, follows, by, signature })
}

/// Reads a version. `follows` is what the store checked it against; `public_key` tells the key of a node, if it is one.
pub(super) fn open(
    key: &Key,
    bytes: &[u8],
    follows: Option<u64>,
    public_key: impl Fn(&NodeName) -> Option<String>,
) -> Result<Box<RawValue>, Damage> {
    let stored: Stored =
        serde_json::from_slice(bytes).map_err(|error| Damage::Form(aigis_proxy::quoted_within(&error.to_string())))?;
    if digest(stored.content.get().as_bytes()) != stored.digest {
        return Err(Damage::Digest);
    }
    if follows != Some(stored.follows) {
        return Err(Damage::Order);
    }
    let signature = BASE64URL_NOPAD.decode(stored.signature.as_bytes()).map_err(|_| Damage::Writer)?;
    let public = public_key(&stored.by).ok_or(Damage::Writer)?;
    let signed = signed(key, stored.follows, &stored.digest);
    if !aigis_proxy::identity::verifies(&public, signed.as_bytes(), &signature) {
        return Err(Damage::Writer);
    }
    Ok(stored.content)
}
