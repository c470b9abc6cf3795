//! The key pair by which a node opens what is sealed to it: made on its machine, kept there.

use std::{fmt, path::Path, str::FromStr};

use data_encoding::BASE64URL_NOPAD;
use serde::{Deserialize, Serialize, de};
use zeroize::Zeroizing;

use super::hpke;
use crate::{
    MeshName, NodeName,
    identity::{Credential, FileError, key::verifies, private_file},
};

/// What is signed with a public key, before mesh, node and the key itself: so that it is nothing else.
const SIGNED: &str = "aigis sealing 1";

/// A node's private key for what is sealed to it; wiped from memory when it is dropped, and never shown.
pub struct SealingKey {
    secret: Zeroizing<[u8; hpke::KEY]>,
    public: SealingPublic,
}

/// Why a node's sealing key cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// The file.
    #[error(transparent)]
    File(#[from] FileError),
    /// It holds something else.
    #[error(
        "{file} holds no sealing key; without it nothing that was sealed to this node can be opened: move it away, start the node, and set its secrets again"
    )]
    Damaged {
        /// The file.
        file: std::path::PathBuf,
    },
    /// The operating system.
    #[error("the operating system gives no random numbers")]
    NoChance,
}

impl SealingKey {
    /// Makes a key from the operating system's randomness.
    ///
    /// # Errors
    ///
    /// [`KeyFileError::NoChance`].
    pub fn generate() -> Result<Self, KeyFileError> {
        hpke::random().map(Self::of).ok_or(KeyFileError::NoChance)
    }

    /// Reads the key in a file of mode 0600, and makes both where there is none.
    ///
    /// # Errors
    ///
    /// The file is damaged, or others could read or change it.
    pub fn open(file: &Path) -> Result<Self, KeyFileError> {
        match private_file::read(file) {
            Ok(text) => Self::read(&text).ok_or_else(|| KeyFileError::Damaged { file: file.to_owned() }),
            Err(FileError::Missing { .. }) => {
                let key = Self::generate()?;
                private_file::write(file, &Zeroizing::new(BASE64URL_NOPAD.encode(key.secret.as_ref()) + "\n"))?;
                Ok(key)
            }
            Err(error) => Err(error.into()),
        }
    }

    fn read(text: &str) -> Option<Self> {
        let mut secret = Zeroizing::new([0; hpke::KEY]);
        let decoded = Zeroizing::new(BASE64URL_NOPAD.decode(text.trim_ascii_end().as_bytes()).ok()?);
        (decoded.len() == secret.len()).then(|| secret.copy_from_slice(&decoded))?;
        Some(Self::of(secret))
    }

    fn of(secret: Zeroizing<[u8; hpke::KEY]>) -> Self {
        let public = SealingPublic(hpke::public(&secret));
        Self { secret, public }
    }

    /// The public half.
    #[must_use]
    pub fn public(&self) -> SealingPublic {
        self.public
    }

    pub(super) fn open_sealed(&self, info: &[u8], sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        hpke::open(&self.secret, info, sealed)
    }
}

impl fmt::Debug for SealingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SealingKey").field("public", &self.public).finish_non_exhaustive()
    }
}

/// The public half of a node's sealing key: an X25519 key, base64url without padding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SealingPublic([u8; hpke::KEY]);

impl SealingPublic {
    pub(super) fn seal(&self, info: &[u8], plain: &[u8]) -> Option<Vec<u8>> {
        hpke::seal(&self.0, info, plain)
    }
}

impl fmt::Display for SealingPublic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&BASE64URL_NOPAD.encode(&self.0))
    }
}

impl FromStr for SealingPublic {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bytes = BASE64URL_NOPAD.decode(text.as_bytes()).ok().and_then(|bytes| bytes.try_into().ok());
        bytes.map(Self).ok_or("a sealing key is not 32 bytes as base64url without padding")
    }
}

impl Serialize for SealingPublic {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for SealingPublic {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// A node's public sealing key as its record shows it: signed with the key of the node's user, for which the issuer
/// vouches. So nobody else can have secrets sealed to himself in that node's name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedSealing {
    key: SealingPublic,
    signature: String,
}

impl SignedSealing {
    /// Signs a key with the credential of its node.
    #[must_use]
    pub fn sign(key: SealingPublic, node: &Credential) -> Self {
        let text = signed(node.mesh(), &node.name().node(), &key);
        Self { key, signature: BASE64URL_NOPAD.encode(&node.sign(text.as_bytes())) }
    }

    /// The key that the node's record shows, whoever wrote it: to be told, not to be sealed to.
    #[must_use]
    pub fn unverified(&self) -> SealingPublic {
        self.key
    }

    /// The key, if the user of that public key says that it is that node's.
    #[must_use]
    pub fn verify(&self, mesh: &MeshName, node: &NodeName, user: &str) -> Option<SealingPublic> {
        let signature = BASE64URL_NOPAD.decode(self.signature.as_bytes()).ok()?;
        verifies(user, signed(mesh, node, &self.key).as_bytes(), &signature).then_some(self.key)
    }
}

fn signed(mesh: &MeshName, node: &NodeName, key: &SealingPublic) -> String {
    format!("{SIGNED}\n{mesh}\n{node}\n{key}")
}

#[cfg(test)]
mod tests {
    use std::{os::unix::fs::PermissionsExt as _, time::Duration};

    use super::*;
    use crate::{Role, UserName, identity::MeshKeys};

    #[test]
    fn a_key_is_made_once_and_its_file_is_its_owners_alone() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("sealing.key");
        let made = SealingKey::open(&file).unwrap();
        assert_eq!(SealingKey::open(&file).unwrap().public(), made.public());
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(!format!("{made:?}").contains(std::fs::read_to_string(&file).unwrap().trim()));
        std::fs::write(&file, "c2hvcnQ\n").unwrap();
        assert!(matches!(SealingKey::open(&file), Err(KeyFileError::Damaged { .. })));
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(SealingKey::open(&file), Err(KeyFileError::File(FileError::Mode { .. }))));
    }

    #[test]
    fn atk_56_only_a_node_itself_says_what_is_sealed_to_it() {
        let directory = tempfile::tempdir().unwrap();
        let mesh = MeshName::parse("main").unwrap();
        let keys = MeshKeys::create(directory.path(), &mesh).unwrap();
        let credential = |name: &str| {
            let key = Credential::generate().unwrap();
            let name = UserName::parse(name).unwrap();
            let token = keys.issue(&name, Role::Node, key.public(), Duration::from_secs(60)).unwrap();
            Credential::new(&token, key, None).unwrap()
        };
        let (alpha, mallory) = (credential("alpha"), credential("mallory"));
        let key = SealingKey::generate().unwrap().public();
        let node = alpha.name().node();
        let signed = SignedSealing::sign(key, &alpha);
        assert_eq!(signed.verify(&mesh, &node, alpha.public()), Some(key));
        assert_eq!(signed.verify(&mesh, &node, mallory.public()), None);
        assert_eq!(signed.verify(&mesh, &mallory.name().node(), alpha.public()), None);
        assert_eq!(signed.verify(&MeshName::parse("other").unwrap(), &node, alpha.public()), None);
        let own = SignedSealing { key: SealingKey::generate().unwrap().public(), ..signed };
        assert_eq!(own.verify(&mesh, &node, alpha.public()), None);
        assert_eq!(SignedSealing::sign(key, &mallory).verify(&mesh, &node, alpha.public()), None);
    }
}
