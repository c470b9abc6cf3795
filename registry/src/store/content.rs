//! What stands under a node's own keys: one record of each kind, read and sealed.

use aigis_proxy::{
    Error,
    identity::SignedIssuer,
    kv::{Entry, Operation},
};

use crate::{
    audit::Head,
    record::{
        BusRecord, CiRecord, ClaimRecord, Key, NodeRecord, RemovalRecord, SecretRecord, TokenRecord, UserRecord, open,
        seal,
    },
};

/// What this node last wrote, or found, under a key of its own.
#[derive(Debug, Default)]
pub(super) struct Own {
    pub(super) revision: u64,
    pub(super) content: Content,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub(super) enum Content {
    #[default]
    Nothing,
    Damaged,
    Ci(Box<CiRecord>),
    Node(Box<NodeRecord>),
    Bus(BusRecord),
    User(Box<UserRecord>),
    Token(Box<TokenRecord>),
    Removal(Box<RemovalRecord>),
    Secret(Box<SecretRecord>),
    Vouches(Box<SignedIssuer>),
    Audit(Box<Head>),
    Claim(Box<ClaimRecord>),
}

impl Content {
    pub(super) fn read(key: &Key, entry: &Entry) -> Self {
        if entry.operation != Operation::Put {
            return Self::Nothing;
        }
        let read = match key {
            Key::Ci(..) => open(&entry.value).map(|record| Self::Ci(Box::new(record))),
            Key::Node(_) => open(&entry.value).map(|record| Self::Node(Box::new(record))),
            Key::Bus(..) => open(&entry.value).map(Self::Bus),
            Key::User(..) => open(&entry.value).map(Self::User),
            Key::Token(..) => open(&entry.value).map(Self::Token),
            Key::Removed(..) => open(&entry.value).map(Self::Removal),
            Key::Secret(..) => open(&entry.value).map(Self::Secret),
            Key::Vouches(_) => open(&entry.value).map(Self::Vouches),
            Key::Audit(_) => open(&entry.value).map(Self::Audit),
            Key::Claim(..) => open(&entry.value).map(|record| Self::Claim(Box::new(record))),
        };
        read.unwrap_or_else(|damage| {
            tracing::error!(key = entry.key, %damage, "an own record on the bus is damaged; it will be written again");
            Self::Damaged
        })
    }

    pub(super) fn seal(&self) -> Result<Vec<u8>, Error> {
        let sealed = match self {
            Self::Ci(record) => seal(record),
            Self::Node(record) => seal(record),
            Self::Bus(record) => seal(record),
            Self::User(record) => seal(record),
            Self::Token(record) => seal(record),
            Self::Removal(record) => seal(record),
            Self::Secret(record) => seal(record),
            Self::Vouches(record) => seal(record),
            Self::Audit(record) => seal(record),
            Self::Claim(record) => seal(record),
            Self::Nothing | Self::Damaged => Ok(Vec::new()),
        };
        sealed.map_err(|error| Error::internal(format!("a record has no JSON form: {error}")))
    }

    pub(super) fn says_the_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Ci(a), Self::Ci(b)) => a.says_the_same(b),
            (Self::Node(a), Self::Node(b)) => a.says_the_same(b),
            _ => self == other,
        }
    }
}
