//! A user's credential: a token from the issuer and the key that never leaves this machine.
//!
//! It lies in one file of the standard NATS form, so that any NATS client can use it.

use std::{
    fmt,
    path::Path,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use zeroize::Zeroizing;

use super::{
    jwt,
    key::{Key, KeyError, Kind},
    mesh::Login,
    private_file,
    vouched::Vouched,
};
use crate::{MeshName, Role, UserName, sync::lock};
use check::vouched;

mod check;
mod error;
mod issuer;
mod term;
mod text;

pub(super) use check::examine;
pub use error::{Error, Flaw};
pub use issuer::Issuer;
pub use term::{Instant, Term};
pub(super) use text::{seed, to_text};

/// A user's credential that was verified and held when it was read.
#[derive(Clone)]
pub struct Credential {
    name: UserName,
    role: Role,
    mesh: MeshName,
    key: Key,
    /// Shared by all clones, which a renewal reaches too.
    token: Arc<Mutex<Token>>,
}

/// What the issuer gives anew from time to time.
#[derive(Debug, Clone)]
struct Token {
    jwt: String,
    signer: String,
    issued: i64,
    expires: Option<i64>,
}

impl Credential {
    /// Makes a user's key on this machine; its public half goes to the issuer.
    ///
    /// # Errors
    ///
    /// As [`Key::generate`].
    pub fn generate() -> Result<Key, KeyError> {
        Key::generate(Kind::User)
    }

    /// Joins a token from the issuer with the key that it was issued for, and checks both.
    ///
    /// # Errors
    ///
    /// Says what is wrong; with `issuer`, also a token that this issuer did not sign.
    pub fn new(jwt: &str, key: Key, issuer: Option<&Issuer>) -> Result<Self, Flaw> {
        Self::check(jwt, key, issuer, Some(jwt::seconds(SystemTime::now())))
    }

    /// Joins a token and its key as [`Credential::new`] does, but leaves it to the bus to judge by its own clock whether
    /// the token's time is over: for a host that has just been given it, whose clock may be wrong.
    ///
    /// # Errors
    ///
    /// Says what is wrong.
    pub fn timeless(jwt: &str, key: Key) -> Result<Self, Flaw> {
        Self::check(jwt, key, None, None)
    }

    /// Reads a credential file, which must be its owner's alone.
    ///
    /// # Errors
    ///
    /// Names the file and what is wrong with it, and shows nothing of its content.
    pub fn read(file: &Path, issuer: Option<&Issuer>) -> Result<Self, Error> {
        let text = private_file::read(file)?;
        Self::parse(&text, issuer).map_err(|flaw| Error::Flawed { file: file.to_owned(), flaw })
    }

    /// Reads a credential file as [`Credential::read`] does, also where its time is over: for whoever may renew it.
    ///
    /// # Errors
    ///
    /// As [`Credential::read`].
    pub fn read_ended(file: &Path, issuer: Option<&Issuer>) -> Result<Self, Error> {
        let text = private_file::read(file)?;
        let flawed = |flaw| Error::Flawed { file: file.to_owned(), flaw };
        text::split(&text).and_then(|(jwt, key)| Self::check(jwt, key, issuer, None)).map_err(flawed)
    }

    /// Writes the credential whole, with mode 0600.
    ///
    /// # Errors
    ///
    /// [`Error::File`].
    pub fn write(&self, file: &Path) -> Result<(), Error> {
        Ok(private_file::write(file, &self.to_text())?)
    }

    /// Puts the credential in the place of the one in a file, in one step; what names the file, and its owner's rights on
    /// it, stay.
    ///
    /// # Errors
    ///
    /// [`Error::File`].
    pub fn replace(&self, file: &Path) -> Result<(), Error> {
        Ok(private_file::replace(file, &self.to_text())?)
    }

    fn to_text(&self) -> Zeroizing<String> {
        text::to_text(&self.jwt(), &self.key, self.name.as_str())
    }

    /// The user's name.
    #[must_use]
    pub fn name(&self) -> &UserName {
        &self.name
    }

    /// The user's role, as the token's tags say; the bus goes by the signing key.
    #[must_use]
    pub fn role(&self) -> Role {
        self.role
    }

    /// The mesh.
    #[must_use]
    pub fn mesh(&self) -> &MeshName {
        &self.mesh
    }

    /// When it was issued.
    #[must_use]
    pub fn issued(&self) -> SystemTime {
        instant(lock(&self.token).issued)
    }

    /// When it ends; never if `None`.
    #[must_use]
    pub fn expires(&self) -> Option<SystemTime> {
        lock(&self.token).expires.map(instant)
    }

    /// When it ends, beside what time it is here; `None` if it never does.
    #[must_use]
    pub fn term(&self) -> Option<Term> {
        let ends = lock(&self.token).expires.map(Instant)?;
        Some(Term { ends, now: Instant(jwt::seconds(SystemTime::now())) })
    }

    /// What logs in at the bus.
    #[must_use]
    pub fn login(&self) -> Login {
        Login::new(self.jwt(), self.key.clone())
    }

    /// The token.
    #[must_use]
    pub fn jwt(&self) -> String {
        lock(&self.token).jwt.clone()
    }

    /// The user's public key.
    #[must_use]
    pub fn public(&self) -> &str {
        self.key.public()
    }

    /// The prefix of the only inbox subjects that the user may subscribe to.
    #[must_use]
    pub fn inbox(&self) -> String {
        format!("_INBOX.{}", self.name)
    }

    /// Signs the nonce that the bus sends at login, or a record.
    #[must_use]
    pub fn sign(&self, bytes: &[u8]) -> Vec<u8> {
        self.key.sign(bytes)
    }

    /// Takes the token of a renewal, for all that share this credential: the bus is told it at the next login.
    ///
    /// # Errors
    ///
    /// What is wrong with it; [`Flaw::Contradiction`] if it is somebody else's. Then the token stays that was.
    pub fn renew(&self, jwt: &str, issuer: Option<&Issuer>) -> Result<(), Flaw> {
        let Vouched { name, role, mesh, signer, issued, expires, .. } =
            vouched(jwt, &self.key, issuer, Some(jwt::seconds(SystemTime::now())))?;
        if (&name, role, &mesh) != (&self.name, self.role, &self.mesh) {
            return Err(Flaw::Contradiction);
        }
        *lock(&self.token) = Token { jwt: jwt.to_owned(), signer, issued, expires };
        Ok(())
    }

    /// The public key that signed the token.
    #[must_use]
    pub fn signer(&self) -> String {
        lock(&self.token).signer.clone()
    }

    /// When it is to be renewed: once a third of its life is over; never if it has no end.
    #[must_use]
    pub fn due(&self) -> Option<SystemTime> {
        let (issued, expires) = (self.issued(), self.expires()?);
        Some(issued + expires.duration_since(issued).unwrap_or_default() / 3)
    }

    /// Whether it is to be renewed now: it is time, or the key that signed it signs no more.
    #[must_use]
    pub fn is_due(&self, issuer: &Issuer) -> bool {
        self.due().is_some_and(|due| due <= SystemTime::now()) || issuer.is_former(&self.signer())
    }

    fn parse(text: &str, issuer: Option<&Issuer>) -> Result<Self, Flaw> {
        let (jwt, key) = text::split(text)?;
        Self::new(jwt, key, issuer)
    }

    fn check(jwt: &str, key: Key, issuer: Option<&Issuer>, now: Option<i64>) -> Result<Self, Flaw> {
        let Vouched { name, role, mesh, signer, issued, expires, .. } = vouched(jwt, &key, issuer, now)?;
        let token = Arc::new(Mutex::new(Token { jwt: jwt.to_owned(), signer, issued, expires }));
        Ok(Self { name, role, mesh, key, token })
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credential")
            .field("name", &self.name)
            .field("role", &self.role)
            .field("mesh", &self.mesh)
            .field("public", &self.key.public())
            .finish_non_exhaustive()
    }
}

pub(super) fn instant(seconds: i64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).unwrap_or_default())
}

#[cfg(test)]
mod tests;
