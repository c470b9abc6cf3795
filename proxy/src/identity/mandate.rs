//! What a person has asked the mesh to do on their behalf, signed with the person's own key: a node that acts on another
//! node's word checks it, so that no node can make up a person's wish.

use std::time::SystemTime;

use data_encoding::BASE64URL_NOPAD;
use serde::{Deserialize, Serialize};

use super::{Credential, jwt, key};
use crate::{MeshName, Name, UserName, blob::Digest};

/// What a mandate is about. One that was signed for the one does not hold for the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// That a source tree becomes an app.
    App,
    /// That a package is what runs of a project; without one, that nothing does.
    Deployment,
}

impl Purpose {
    /// What is bound to every signature first.
    fn salt(self) -> &'static str {
        match self {
            Self::App => "aigis mandate 1\n",
            Self::Deployment => "aigis mandate of deployment 1\n",
        }
    }
}

/// A wish: that the tree of that digest becomes that app, or that package what runs of that project.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wish {
    /// Who wishes.
    pub by: UserName,
    /// In which mesh.
    pub mesh: MeshName,
    /// Which app or project it is about.
    pub app: Name,
    /// The digest of the source tree, none if that is empty or comes from elsewhere; or of the package.
    pub tree: Option<Digest>,
    /// When, in seconds since 1970.
    pub at: i64,
}

/// A [`Wish`] as text, with the signature of the person's key over that text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mandate {
    wish: String,
    signature: String,
}

impl Mandate {
    /// Signs a wish of that person.
    #[must_use]
    pub fn sign(person: &Credential, purpose: Purpose, app: Name, tree: Option<Digest>) -> Self {
        let (by, mesh) = (person.name().clone(), person.mesh().clone());
        let wish = Wish { by, mesh, app, tree, at: jwt::seconds(SystemTime::now()) };
        let wish = serde_json::to_string(&wish).unwrap_or_default();
        let signature = BASE64URL_NOPAD.encode(&person.sign(format!("{}{wish}", purpose.salt()).as_bytes()));
        Self { wish, signature }
    }

    /// The wish, whoever may have written it.
    #[must_use]
    pub fn unverified(&self) -> Option<Wish> {
        serde_json::from_str(&self.wish).ok()
    }

    /// The wish, if the key of that public key signed it for that purpose.
    #[must_use]
    pub fn verify(&self, purpose: Purpose, public_key: &str) -> Option<Wish> {
        let signature = BASE64URL_NOPAD.decode(self.signature.as_bytes()).ok()?;
        let is_signed = key::verifies(public_key, format!("{}{}", purpose.salt(), self.wish).as_bytes(), &signature);
        is_signed.then(|| self.unverified()).flatten()
    }
}
