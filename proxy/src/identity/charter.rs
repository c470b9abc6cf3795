//! What a bus server has to know of a mesh to serve it: all of it public, and signed by the mesh's operator.

use serde::{Deserialize, Serialize};

use super::{
    credential::Issuer,
    jwt::{self, Body},
    mesh::AccountToken,
};

/// More accounts than a mesh has.
const MOST: usize = 16;

/// The mesh's operator and the tokens of its accounts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Charter {
    /// The operator's public key.
    pub operator: String,
    /// The operator's token.
    pub operator_token: String,
    /// The public key of the system account.
    pub system_account: String,
    /// The tokens of the accounts.
    pub accounts: Vec<AccountToken>,
}

/// A charter that is not the mesh's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("these are not the accounts of this mesh, or not all signed by one operator")]
pub struct NotTheMeshs;

impl Charter {
    /// The account to which servers of sites may connect, if the mesh has sites.
    pub(super) fn bridged(&self) -> Option<String> {
        let leaf = |token: &AccountToken| match jwt::decode(&token.jwt).map(|claims| claims.nats) {
            Ok(Body::Account(account)) => account.limits.leaf,
            _ => 0,
        };
        self.accounts.iter().find(|token| leaf(token) != 0).map(|token| token.account.clone())
    }

    /// Takes a charter that came from elsewhere, if it is of the mesh whose issuer is known here: one operator signed
    /// all of it, and the mesh's account is among it.
    ///
    /// # Errors
    ///
    /// [`NotTheMeshs`].
    pub fn verify(self, issuer: &Issuer) -> Result<Self, NotTheMeshs> {
        let of_operator = |token: &str, subject: &str| {
            jwt::decode(token).ok().filter(|claims| claims.iss == self.operator && claims.sub == subject)
        };
        let operator = of_operator(&self.operator_token, &self.operator);
        let is_operator = operator.is_some_and(|claims| match claims.nats {
            Body::Operator(operator) => operator.system_account == self.system_account,
            _ => false,
        });
        let has = |account: &str| self.accounts.iter().any(|token| token.account == account);
        let signed = self.accounts.iter().all(|token| of_operator(&token.jwt, &token.account).is_some());
        let whole = has(&issuer.account) && has(&self.system_account) && self.accounts.len() <= MOST;
        if is_operator && signed && whole { Ok(self) } else { Err(NotTheMeshs) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{MeshName, identity::MeshKeys};

    #[test]
    fn only_the_charter_of_the_own_mesh_is_taken() {
        let directory = tempfile::tempdir().unwrap();
        let make = |name: &str| MeshKeys::create(&directory.path().join(name), &MeshName::parse("main").unwrap());
        let (own, other) = (make("own").unwrap(), make("other").unwrap());
        let issuer = own.issuer();
        assert_eq!(own.charter().verify(&issuer), Ok(own.charter()));
        assert_eq!(other.charter().verify(&issuer), Err(NotTheMeshs));
        let mixed = Charter { accounts: own.charter().accounts, ..other.charter() };
        assert_eq!(mixed.verify(&issuer), Err(NotTheMeshs));
        let mut planted = own.charter();
        planted.accounts.extend(other.charter().accounts);
        assert_eq!(planted.verify(&issuer), Err(NotTheMeshs));
        let mut lacking = own.charter();
        lacking.accounts.retain(|token| token.account != issuer.account);
        assert_eq!(lacking.verify(&issuer), Err(NotTheMeshs));
    }
}
