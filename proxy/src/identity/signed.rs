//! Who vouches for the users of a mesh, in a form that can be told by anyone and believed by whoever knows the key of
//! the mesh's account.

use data_encoding::BASE64URL_NOPAD;
use serde::{Deserialize, Serialize};

use super::{
    credential::Issuer,
    key::{self, Key},
};
use crate::MeshName;

/// An [`Issuer`] as text, with the signature of the mesh's account over that text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignedIssuer {
    issuer: String,
    signature: String,
}

impl SignedIssuer {
    pub(super) fn sign(issuer: Issuer, account: &Key) -> Self {
        let issuer = serde_json::to_string(&issuer).unwrap_or_default();
        let signature = BASE64URL_NOPAD.encode(&account.sign(issuer.as_bytes()));
        Self { issuer, signature }
    }

    /// The issuer, if the account of that public key says so.
    #[must_use]
    pub fn verify(&self, account: &str) -> Option<Issuer> {
        let signature = BASE64URL_NOPAD.decode(self.signature.as_bytes()).ok()?;
        if !key::verifies(account, self.issuer.as_bytes(), &signature) {
            return None;
        }
        serde_json::from_str(&self.issuer).ok().filter(|issuer: &Issuer| issuer.account == account)
    }
}

/// What the mesh's account signs for a store, which it accepts as that of this generation.
fn of_store(mesh: &MeshName, id: &str, generation: u64) -> String {
    format!("aigis store 1\n{mesh}\n{id}\n{generation}")
}

pub(super) fn sign_store(mesh: &MeshName, id: &str, generation: u64, account: &Key) -> String {
    BASE64URL_NOPAD.encode(&account.sign(of_store(mesh, id, generation).as_bytes()))
}

impl Issuer {
    /// Whether the mesh's account signed for the store of that id and generation.
    #[must_use]
    pub fn vouches_for_store(&self, id: &str, generation: u64, signature: &str) -> bool {
        BASE64URL_NOPAD.decode(signature.as_bytes()).is_ok_and(|signature| {
            key::verifies(&self.account, of_store(&self.mesh, id, generation).as_bytes(), &signature)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::{Role, identity::Kind};

    #[test]
    fn only_the_account_itself_says_who_signs_for_it() {
        let (account, stranger) = (Key::generate(Kind::Account).unwrap(), Key::generate(Kind::Account).unwrap());
        let issuer = Issuer {
            mesh: MeshName::parse("main").unwrap(),
            account: account.public().to_owned(),
            roles: BTreeMap::from([("K".to_owned(), Role::Admin)]),
            former: BTreeMap::new(),
            serial: 0,
        };
        let signed = SignedIssuer::sign(issuer.clone(), &account);
        assert_eq!(signed.verify(account.public()), Some(issuer.clone()));
        assert_eq!(signed.verify(stranger.public()), None);
        assert_eq!(SignedIssuer::sign(issuer, &stranger).verify(account.public()), None);
        let altered = SignedIssuer { issuer: signed.issuer.replace("admin", "viewer"), ..signed };
        assert_eq!(altered.verify(account.public()), None);
    }
}
