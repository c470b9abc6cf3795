//! Signing keys: an nkey with its seed, wiped from memory when it is dropped.

use std::{fmt, sync::Arc};

use nkeys::{KeyPair, KeyPairType};
use ring::signature::Ed25519KeyPair;
use zeroize::Zeroizing;

/// What a key stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Vouches for accounts.
    Operator,
    /// Vouches for users.
    Account,
    /// Logs in at the bus.
    User,
}

impl Kind {
    /// The kind of a public key, if it is a well-formed key of one of the three kinds.
    #[must_use]
    pub fn of(public: &str) -> Option<Self> {
        KeyPair::from_public_key(public).ok().and_then(|pair| Self::of_pair(&pair))
    }

    fn of_pair(pair: &KeyPair) -> Option<Self> {
        match pair.key_pair_type() {
            KeyPairType::Operator => Some(Self::Operator),
            KeyPairType::Account => Some(Self::Account),
            KeyPairType::User => Some(Self::User),
            _ => None,
        }
    }

    fn nkey(self) -> KeyPairType {
        match self {
            Self::Operator => KeyPairType::Operator,
            Self::Account => KeyPairType::Account,
            Self::User => KeyPairType::User,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Operator => "operator",
            Self::Account => "account",
            Self::User => "user",
        })
    }
}

/// Why a seed is no key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The text does not decode, or its checksum is wrong.
    #[error("the seed is damaged: its length or checksum is wrong")]
    Damaged,
    /// The key is good, but of another kind.
    #[error("the seed is of another kind of key; a seed of kind {expected} is needed")]
    Kind {
        /// The kind that is needed here.
        expected: Kind,
    },
}

/// A key pair that signs. Neither `Debug` nor any message shows its seed.
#[derive(Clone)]
pub struct Key {
    seed: Zeroizing<String>,
    signer: Arc<Ed25519KeyPair>,
    public: String,
    kind: Kind,
}

impl Key {
    /// Makes a new key of that kind from the operating system's randomness.
    ///
    /// # Errors
    ///
    /// [`KeyError::Damaged`] if the fresh key cannot be encoded, which no sound build does.
    pub fn generate(kind: Kind) -> Result<Self, KeyError> {
        let seed = Zeroizing::new(KeyPair::new(kind.nkey()).seed().map_err(|_| KeyError::Damaged)?);
        Self::from_seed(&seed, kind)
    }

    /// Reads a seed, which must be of that kind.
    ///
    /// # Errors
    ///
    /// Says whether the seed is damaged or of another kind; never shows it.
    pub fn from_seed(seed: &str, kind: Kind) -> Result<Self, KeyError> {
        let pair = KeyPair::from_seed(seed).map_err(|_| KeyError::Damaged)?;
        if Kind::of_pair(&pair) != Some(kind) {
            return Err(KeyError::Kind { expected: kind });
        }
        let raw = nkeys::decode_seed(seed).map(|(_, raw)| Zeroizing::new(raw)).map_err(|_| KeyError::Damaged)?;
        let signer = Ed25519KeyPair::from_seed_unchecked(raw.as_slice()).map_err(|_| KeyError::Damaged)?;
        let seed = Zeroizing::new(seed.to_owned());
        Ok(Self { seed, signer: Arc::new(signer), public: pair.public_key(), kind })
    }

    /// The public key, as it stands in credentials.
    #[must_use]
    pub fn public(&self) -> &str {
        &self.public
    }

    /// What the key stands for.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Signs bytes, such as the nonce of the bus.
    #[must_use]
    pub fn sign(&self, bytes: &[u8]) -> Vec<u8> {
        self.signer.sign(bytes).as_ref().to_vec()
    }

    pub(crate) fn seed(&self) -> &str {
        &self.seed
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key").field("public", &self.public).finish_non_exhaustive()
    }
}

/// Whether `signature` is that of the public key over `bytes` (Ed25519, RFC 8032).
#[must_use]
pub fn verifies(public: &str, bytes: &[u8], signature: &[u8]) -> bool {
    KeyPair::from_public_key(public).is_ok_and(|pair| pair.verify(bytes, signature).is_ok())
}
