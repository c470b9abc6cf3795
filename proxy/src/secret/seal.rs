//! A value as it is kept: encrypted once, and its key sealed to each node that may open it.

use std::{collections::BTreeMap, fmt};

use bytes::Bytes;
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{MAX_VALUE, SealingKey, SealingPublic, SecretName, hpke};
use crate::{
    MeshName, NodeName,
    blob::Content,
    error::{Code, Error},
};

/// What is bound to every ciphertext first.
const SEALED: &str = "aigis secret 1";
/// Values are filled up to a multiple of this, so that what is kept says little of how long they are.
const BLOCK: usize = 256;
/// Ends a value; zeros follow (ISO/IEC 7816-4).
const END: u8 = 0x80;

/// Where a value stands: a ciphertext opens nowhere else.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    /// The mesh.
    pub mesh: &'a MeshName,
    /// The secret.
    pub name: &'a SecretName,
    /// Which of its values.
    pub version: u64,
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SEALED}\n{}\n{}\n{}", self.mesh, self.name, self.version)
    }
}

/// The key of a value, sealed to one node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealedKey {
    /// The node's key that opens it.
    pub to: SealingPublic,
    /// The ciphertext.
    pub key: Content,
}

/// A value, sealed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sealed {
    /// The encrypted value.
    pub content: Content,
    /// Its key, for each node that may open it.
    pub keys: BTreeMap<NodeName, SealedKey>,
}

/// Seals a value to nodes.
///
/// # Errors
///
/// As [`check`]; `failed_precondition` for a node whose key is none, and `internal` where the system gives no random
/// numbers.
pub fn seal(place: Place<'_>, value: &[u8], nodes: &BTreeMap<NodeName, SealingPublic>) -> Result<Sealed, Error> {
    let name = place.name;
    check(name, value)?;
    let chance = || Error::internal("the operating system gives no random numbers");
    let key = hpke::random().ok_or_else(chance)?;
    let mut content = Zeroizing::new(Vec::with_capacity(value.len() + BLOCK + CHACHA20_POLY1305.tag_len()));
    content.extend_from_slice(value);
    content.push(END);
    let filled = content.len().next_multiple_of(BLOCK);
    content.resize(filled, 0);
    let bound = place.to_string();
    let encrypted =
        cipher(&key).and_then(|cipher| cipher.seal_in_place_append_tag(nonce(), Aad::from(&bound), &mut *content).ok());
    encrypted.ok_or_else(|| Error::internal(format!("the value of {name} cannot be encrypted")))?;
    let keys = nodes.iter().map(|(node, to)| {
        let sealed = to.seal(info(place, node).as_bytes(), key.as_ref()).map(|key| Content(key.into()));
        let unusable = || Error::precondition(format!("the sealing key of the node {node} is of no use"));
        Ok((node.clone(), SealedKey { to: *to, key: sealed.ok_or_else(unusable)? }))
    });
    let keys = keys.collect::<Result<_, Error>>()?;
    Ok(Sealed { content: Content(Bytes::copy_from_slice(&content)), keys })
}

/// Opens a value that was sealed to that node.
///
/// # Errors
///
/// `permission_denied` for one that was sealed to another key, `data_loss` for one that was changed, or belongs elsewhere.
pub fn open(
    place: Place<'_>,
    node: &NodeName,
    with: &SealingKey,
    key: &SealedKey,
    content: Vec<u8>,
) -> Result<Zeroizing<Vec<u8>>, Error> {
    let name = place.name;
    if key.to != with.public() {
        let message = format!("the secret {name} is sealed to another key than the node {node} has now");
        return Err(Error::new(Code::PermissionDenied, message).hint("set it again: aish secrets set"));
    }
    let damaged = || Error::new(Code::DataLoss, format!("the secret {name} is damaged")).hint("set it again");
    let opened = with.open_sealed(info(place, node).as_bytes(), &key.key.0).ok_or_else(damaged)?;
    let opened: &[u8; hpke::KEY] = opened.as_slice().try_into().map_err(|_| damaged())?;
    let mut value = Zeroizing::new(content);
    let bound = place.to_string();
    let length = cipher(opened)
        .and_then(|cipher| cipher.open_in_place(nonce(), Aad::from(&bound), &mut value).ok().map(|plain| plain.len()))
        .ok_or_else(damaged)?;
    value.truncate(length);
    let end =
        value.iter().rposition(|byte| *byte != 0).filter(|at| value.get(*at) == Some(&END)).ok_or_else(damaged)?;
    value.truncate(end);
    Ok(value)
}

/// Whether that can be the value of a secret.
///
/// # Errors
///
/// `invalid_argument` for an empty one, `resource_exhausted` for one that is too large.
pub fn check(name: &SecretName, value: &[u8]) -> Result<(), Error> {
    if value.is_empty() {
        return Err(Error::invalid(format!("the value of {name} is empty")).sent(false));
    }
    if value.len() > MAX_VALUE {
        let message = format!("the value of {name} is larger than {MAX_VALUE} bytes");
        let hint = "keep what is large elsewhere, encrypted, and its key here";
        return Err(Error::new(Code::ResourceExhausted, message).hint(hint).sent(false));
    }
    Ok(())
}

fn info(place: Place<'_>, node: &NodeName) -> String {
    format!("{place}\n{node}")
}

fn cipher(key: &[u8; hpke::KEY]) -> Option<LessSafeKey> {
    UnboundKey::new(&CHACHA20_POLY1305, key).ok().map(LessSafeKey::new)
}

/// Each key serves for one value alone, so that one nonce is enough.
fn nonce() -> Nonce {
    Nonce::assume_unique_for_key([0; NONCE_LEN])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn node(name: &str) -> NodeName {
        NodeName::parse(name).unwrap()
    }

    #[test]
    fn atk_56_what_is_sealed_opens_in_its_place_alone() {
        let (mesh, other_mesh) = (MeshName::parse("main").unwrap(), MeshName::parse("other").unwrap());
        let (name, other_name) = (SecretName::parse("db").unwrap(), SecretName::parse("web").unwrap());
        let (alpha, beta) = (SealingKey::generate().unwrap(), SealingKey::generate().unwrap());
        let place = Place { mesh: &mesh, name: &name, version: 3 };
        let nodes = BTreeMap::from([(node("alpha"), alpha.public()), (node("beta"), beta.public())]);
        let sealed = seal(place, b"hunter22", &nodes).unwrap();
        let open_as = |place, name: &str, key: &SealingKey, from: &str| {
            open(place, &node(name), key, &sealed.keys[from], sealed.content.0.to_vec())
        };
        assert_eq!(**open_as(place, "alpha", &alpha, "alpha").unwrap(), *b"hunter22");
        assert_eq!(**open_as(place, "beta", &beta, "beta").unwrap(), *b"hunter22");
        let code = |opened: Result<Zeroizing<Vec<u8>>, Error>| opened.unwrap_err().code;
        assert_eq!(code(open_as(place, "alpha", &alpha, "beta")), Code::PermissionDenied);
        for elsewhere in
            [Place { version: 2, ..place }, Place { name: &other_name, ..place }, Place { mesh: &other_mesh, ..place }]
        {
            assert_eq!(code(open_as(elsewhere, "alpha", &alpha, "alpha")), Code::DataLoss);
        }
        // Another node's part under this node's name.
        assert_eq!(code(open_as(place, "beta", &alpha, "alpha")), Code::DataLoss);
        let kept = serde_json::to_string(&sealed).unwrap();
        assert!(!kept.contains("hunter22") && serde_json::from_str::<Sealed>(&kept).unwrap() == sealed);
    }

    #[test]
    fn bad_72_what_is_no_value_is_refused() {
        let (mesh, name) = (MeshName::parse("main").unwrap(), SecretName::parse("db").unwrap());
        let place = Place { mesh: &mesh, name: &name, version: 1 };
        let sealed = |length: usize| seal(place, &vec![0; length], &BTreeMap::new());
        assert_eq!(sealed(0).unwrap_err().code, Code::InvalidArgument);
        assert_eq!(sealed(MAX_VALUE + 1).unwrap_err().code, Code::ResourceExhausted);
        assert!(sealed(MAX_VALUE).is_ok());
        // All short values look the same.
        assert_eq!(sealed(1).unwrap().content.0.len(), sealed(200).unwrap().content.0.len());
    }

    proptest! {
        #[test]
        fn bad_72_values_are_kept_byte_for_byte(value in proptest::collection::vec(any::<u8>(), 1..600), at in any::<prop::sample::Index>()) {
            let (mesh, name) = (MeshName::parse("main").unwrap(), SecretName::parse("db").unwrap());
            let place = Place { mesh: &mesh, name: &name, version: 1 };
            let key = SealingKey::generate().unwrap();
            let sealed = seal(place, &value, &BTreeMap::from([(node("alpha"), key.public())])).unwrap();
            let part = &sealed.keys["alpha"];
            let opened = open(place, &node("alpha"), &key, part, sealed.content.0.to_vec()).unwrap();
            prop_assert_eq!(&*opened, &value);
            let mut changed = sealed.content.0.to_vec();
            let at = at.index(changed.len());
            changed[at] ^= 1;
            prop_assert!(open(place, &node("alpha"), &key, part, changed).is_err());
        }
    }
}
