//! A user's credential: a token from the issuer and the key that never leaves this machine.
//!
//! It lies in one file of the standard NATS form, so that any NATS client can use it.

use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Serialize};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use zeroize::Zeroizing;

use super::{
    jwt::{self, Body, Claims},
    key::{Key, KeyError, Kind},
    mesh::Login,
    private_file,
    vouched::Vouched,
};
use crate::{MeshName, Role, UserName, sync::lock};

const TOKEN: &str = "NATS USER JWT";
const SEED: &str = "USER NKEY SEED";

/// Who vouches for the users of a mesh. It is public, and pinned by whoever joins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Issuer {
    /// The mesh.
    pub mesh: MeshName,
    /// The public key of the mesh's account.
    pub account: String,
    /// The public key that signs for each role.
    pub roles: BTreeMap<String, Role>,
    /// Public keys that signed for a role before the keys were rotated, and still count.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub former: BTreeMap<String, Role>,
    /// How often it has changed: of two statements the one with more is the newer.
    #[serde(default, skip_serializing_if = "is_first")]
    pub serial: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the form that serde asks for")]
fn is_first(serial: &u64) -> bool {
    *serial == 0
}

impl Issuer {
    /// The role for which a key signs, or signed before the keys were rotated.
    #[must_use]
    pub fn role_of(&self, key: &str) -> Option<Role> {
        self.roles.get(key).or_else(|| self.former.get(key)).copied()
    }

    /// Whether that key signed for a role only before the keys were rotated.
    #[must_use]
    pub fn is_former(&self, key: &str) -> bool {
        self.former.contains_key(key)
    }

    /// Whether this says what holds now, where `known` was told before: of the same mesh and account, and newer.
    #[must_use]
    pub fn follows(&self, known: &Self) -> bool {
        self.mesh == known.mesh && self.account == known.account && self.serial > known.serial
    }
}

/// Why a credential cannot be used. No variant shows anything of the file's content but the user's name.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be read or written, or others could.
    #[error(transparent)]
    File(#[from] private_file::Error),
    /// The file was read, but what it holds is no credential to use.
    #[error("credential file {file}: {flaw}")]
    Flawed {
        /// The file.
        file: PathBuf,
        /// What is wrong with its content.
        flaw: Flaw,
    },
}

/// What is wrong with the content of a credential.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Flaw {
    /// Nothing is in it.
    #[error("it is empty; ask an admin for a new credential")]
    Empty,
    /// A part is not there.
    #[error("the part \"{part}\" is missing; ask an admin for a new credential")]
    Missing {
        /// Which part.
        part: &'static str,
    },
    /// A part begins and does not end.
    #[error("it is cut off within the part \"{part}\"; copy the file again, whole")]
    Cut {
        /// Which part.
        part: &'static str,
    },
    /// A part is there more than once.
    #[error("it holds the part \"{part}\" more than once; keep one credential a file")]
    Twice {
        /// Which part.
        part: &'static str,
    },
    /// The seed is no user's key.
    #[error(transparent)]
    Seed(#[from] KeyError),
    /// The token is refused.
    #[error(transparent)]
    Token(#[from] jwt::Error),
    /// The token is of another kind.
    #[error("the token's claim type is not \"user\"")]
    Type,
    /// Token and key belong to different users.
    #[error("token and key differ: the token's claim sub is not the public key of the seed")]
    Mismatch,
    /// The claim is no user name.
    #[error("the token's claim name is no user name: 1 to 63 of a-z 0-9 _ -, beginning with a letter or digit")]
    Name,
    /// The tags do not say role and mesh.
    #[error("the token's claim tags does not name one role and one mesh; it was not made by an Aigis issuer")]
    Tags,
    /// Not issued by this mesh.
    #[error(
        "the token's claim iss is no signing key of this mesh's account; it was issued for another mesh, or the mesh's \
         keys were rotated since: ask an admin for a new one"
    )]
    Issuer,
    /// The tags name another role or mesh than the signing key.
    #[error("the token's claim tags contradicts its claim iss, which decides")]
    Contradiction,
    /// Its time is over.
    #[error(
        "the credential of {name} (claim exp) ended at {ended}, and this machine's clock says {now}; ask an admin for a \
         new one, or set the clock if it is wrong"
    )]
    Expired {
        /// The user.
        name: UserName,
        /// When it ended.
        ended: Instant,
        /// This machine's time.
        now: Instant,
    },
    /// Its time has not come.
    #[error(
        "the credential of {name} (claim nbf) holds from {begins} on, and this machine's clock says {now}; wait until \
         then, or set the clock if it is wrong"
    )]
    NotYet {
        /// The user.
        name: UserName,
        /// When it begins.
        begins: Instant,
        /// This machine's time.
        now: Instant,
    },
}

/// Seconds since 1970, shown as an RFC 3339 instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Instant(i64);

impl From<OffsetDateTime> for Instant {
    fn from(instant: OffsetDateTime) -> Self {
        Self(instant.unix_timestamp())
    }
}

/// When a credential ends, and what time it is here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Term {
    /// When it ends.
    pub ends: Instant,
    /// This machine's time.
    pub now: Instant,
}

impl fmt::Display for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { ends, now } = self;
        let how = if ends > now { "holds until" } else { "ended at" };
        write!(f, "it {how} {ends}, and this machine's clock says {now}")
    }
}

impl fmt::Display for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match OffsetDateTime::from_unix_timestamp(self.0).ok().and_then(|instant| instant.format(&Rfc3339).ok()) {
            Some(text) => f.pad(&text),
            None => write!(f, "{} s after 1970", self.0),
        }
    }
}

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
        Self::split(&text).and_then(|(jwt, key)| Self::check(jwt, key, issuer, None)).map_err(flawed)
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
        to_text(&self.jwt(), &self.key, self.name.as_str())
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
        let (jwt, key) = Self::split(text)?;
        Self::new(jwt, key, issuer)
    }

    fn split(text: &str) -> Result<(&str, Key), Flaw> {
        if text.trim().is_empty() {
            return Err(Flaw::Empty);
        }
        let jwt = part(text, TOKEN)?;
        let seed = part(text, SEED)?;
        Ok((jwt, Key::from_seed(seed, Kind::User)?))
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

/// The text of a credential file.
pub(super) fn to_text(jwt: &str, key: &Key, holder: &str) -> Zeroizing<String> {
    Zeroizing::new(format!(
        "-----BEGIN {TOKEN}-----\n{jwt}\n------END {TOKEN}------\n\n\
         The seed below proves that its holder is {holder}: keep it to yourself.\n\n\
         -----BEGIN {SEED}-----\n{}\n------END {SEED}------\n",
        key.seed(),
    ))
}

/// The key in the text of a credential file, if it holds one.
pub(super) fn seed(text: &str) -> Option<Key> {
    Credential::split(text).ok().map(|(_, key)| key)
}

/// Checks a token that is to go with this key.
fn vouched(jwt: &str, key: &Key, issuer: Option<&Issuer>, now: Option<i64>) -> Result<Vouched, Flaw> {
    let claims = jwt::decode(jwt)?;
    if matches!(claims.nats, Body::User(_)) && claims.sub != key.public() {
        return Err(Flaw::Mismatch);
    }
    examine(claims, issuer, now)
}

/// Checks what a token says: a user of this issuer, where one is given, whose time it is, where that is asked.
pub(super) fn examine(claims: Claims, issuer: Option<&Issuer>, now: Option<i64>) -> Result<Vouched, Flaw> {
    let Body::User(user) = &claims.nats else {
        return Err(Flaw::Type);
    };
    let name = UserName::parse(&claims.name).map_err(|_| Flaw::Name)?;
    let role: Role = tag(user, "role:").and_then(|word| word.parse().ok()).ok_or(Flaw::Tags)?;
    let mesh = tag(user, "mesh:").and_then(|word| MeshName::parse(word).ok()).ok_or(Flaw::Tags)?;
    if let Some(issuer) = issuer {
        let signs_for = issuer.role_of(&claims.iss).filter(|_| user.issuer_account == issuer.account);
        let signs_for = signs_for.ok_or(Flaw::Issuer)?;
        if signs_for != role || issuer.mesh != mesh {
            return Err(Flaw::Contradiction);
        }
    }
    if let Some(now) = now {
        holds(&name, &claims, now)?;
    }
    let Claims { iss: signer, sub: public, iat: issued, exp: expires, .. } = claims;
    Ok(Vouched { name, role, mesh, public, signer, issued, expires })
}

fn holds(name: &UserName, claims: &Claims, now: i64) -> Result<(), Flaw> {
    if let Some(ended) = claims.exp.filter(|ended| *ended <= now) {
        return Err(Flaw::Expired { name: name.clone(), ended: Instant(ended), now: Instant(now) });
    }
    if let Some(begins) = claims.nbf.filter(|begins| *begins > now) {
        return Err(Flaw::NotYet { name: name.clone(), begins: Instant(begins), now: Instant(now) });
    }
    Ok(())
}

/// The one tag with that prefix, without it.
fn tag<'a>(user: &'a jwt::User, prefix: &str) -> Option<&'a str> {
    let mut found = user.tags.iter().filter_map(|tag| tag.strip_prefix(prefix));
    found.next().filter(|_| found.next().is_none())
}

/// The one line between the marks of a part.
fn part<'a>(text: &'a str, name: &'static str) -> Result<&'a str, Flaw> {
    let is_mark = |line: &str, word: &str| {
        let inner = line.trim().trim_matches('-');
        line.trim().starts_with("---") && inner.strip_prefix(word).is_some_and(|rest| rest.trim() == name)
    };
    let mut lines = text.lines();
    if !lines.any(|line| is_mark(line, "BEGIN")) {
        return Err(Flaw::Missing { part: name });
    }
    let mut content = None;
    loop {
        let line = lines.next().ok_or(Flaw::Cut { part: name })?.trim();
        if is_mark(line, "END") {
            break;
        }
        if line.is_empty() {
            continue;
        }
        if line.starts_with("---") {
            return Err(Flaw::Cut { part: name });
        }
        if content.replace(line).is_some() {
            return Err(Flaw::Twice { part: name });
        }
    }
    if lines.any(|line| is_mark(line, "BEGIN")) {
        return Err(Flaw::Twice { part: name });
    }
    content.ok_or(Flaw::Missing { part: name })
}

pub(super) fn instant(seconds: i64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).unwrap_or_default())
}

#[cfg(test)]
mod tests;
