//! The text that an admin hands to whoever is to join: where the mesh is, what to check it by, and a credential that
//! can ask for admission and nothing else.

use std::fmt;

use data_encoding::BASE64URL_NOPAD;
use ring::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{
    certificate::CaCertificate,
    credential::{Credential, Flaw},
    key::{Key, Kind},
};
use crate::{MeshName, NodeName, Role, UserName};

/// How a token begins; the number is that of its form.
const PREFIX: &str = "aigis1-";
/// How many bytes of the content's SHA-256 stand at its end.
const CHECK: usize = 8;
/// Longer than any token: what is longer is something else.
const LONGEST: usize = 16 * 1024;

/// Why a text is no token. Nothing of the text is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Damaged {
    /// It does not begin like one.
    #[error("this is no join token: one begins with {PREFIX}")]
    Foreign,
    /// It was one.
    #[error("the join token is damaged: a part of it is missing or was changed")]
    Altered,
}

/// A join token, read or about to be written. Neither `Debug` nor any message shows its secret.
#[derive(Clone)]
pub struct JoinToken {
    /// The mesh.
    pub mesh: MeshName,
    /// The bus's address.
    pub bus: String,
    /// Who vouches for the bus, where that speaks TLS.
    pub ca: Option<CaCertificate>,
    /// The node that admits.
    pub issuer: NodeName,
    /// The public key of the mesh's account, which says who vouches for users.
    pub account: String,
    /// The role that it gives.
    pub role: Role,
    /// The name that it gives, where it is for one name alone.
    pub name: Option<UserName>,
    /// What admits it at the bus, as the issuer signed it.
    pub jwt: String,
    /// The key of that.
    pub key: Key,
}

/// What stands in the text.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Content<'a> {
    mesh: MeshName,
    bus: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ca: Option<String>,
    issuer: NodeName,
    account: String,
    role: Role,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    name: Option<UserName>,
    jwt: String,
    /// Borrowed, so that there is no copy to wipe.
    seed: &'a str,
}

impl JoinToken {
    /// The text: one word.
    #[must_use]
    pub fn to_text(&self) -> Zeroizing<String> {
        let content = Content {
            mesh: self.mesh.clone(),
            bus: self.bus.clone(),
            ca: self.ca.as_ref().map(CaCertificate::to_text),
            issuer: self.issuer.clone(),
            account: self.account.clone(),
            role: self.role,
            name: self.name.clone(),
            jwt: self.jwt.clone(),
            seed: self.key.seed(),
        };
        let mut bytes = Zeroizing::new(serde_json::to_vec(&content).unwrap_or_default());
        let check = digest(&SHA256, &bytes);
        bytes.extend(check.as_ref().iter().take(CHECK));
        let encoded = Zeroizing::new(BASE64URL_NOPAD.encode(&bytes));
        Zeroizing::new(format!("{PREFIX}{}", encoded.as_str()))
    }

    /// Reads a token as somebody has pasted it: white space around and within it does not count.
    ///
    /// # Errors
    ///
    /// [`Damaged`], whatever was changed.
    pub fn parse(text: &str) -> Result<Self, Damaged> {
        // A bound before the copy; what a terminal or a mail program put between is little.
        if text.len() > 2 * LONGEST {
            return Err(Damaged::Foreign);
        }
        let word: Zeroizing<String> = Zeroizing::new(text.chars().filter(|c| !c.is_whitespace()).collect());
        let encoded = word.strip_prefix(PREFIX).filter(|_| word.len() <= LONGEST).ok_or(Damaged::Foreign)?;
        let bytes = Zeroizing::new(BASE64URL_NOPAD.decode(encoded.as_bytes()).map_err(|_| Damaged::Altered)?);
        let (content, check) = bytes.split_last_chunk::<CHECK>().ok_or(Damaged::Altered)?;
        if !digest(&SHA256, content).as_ref().starts_with(check) {
            return Err(Damaged::Altered);
        }
        let content: Content<'_> = serde_json::from_slice(content).map_err(|_| Damaged::Altered)?;
        let key = Key::from_seed(content.seed, Kind::User).map_err(|_| Damaged::Altered)?;
        let ca = content.ca.as_deref().map(CaCertificate::from_text).transpose().map_err(|_| Damaged::Altered)?;
        let Content { mesh, bus, issuer, account, role, name, jwt, .. } = content;
        Ok(Self { mesh, bus, ca, issuer, account, role, name, jwt, key })
    }

    /// The credential within. Whether its time is over is for the bus to say.
    ///
    /// # Errors
    ///
    /// Says what is wrong with it.
    pub fn credential(&self) -> Result<Credential, Flaw> {
        Credential::timeless(&self.jwt, self.key.clone())
    }
}

impl fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinToken")
            .field("mesh", &self.mesh)
            .field("bus", &self.bus)
            .field("issuer", &self.issuer)
            .field("role", &self.role)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
