//! Why a credential cannot be used.

use std::path::PathBuf;

use super::Instant;
use crate::{
    UserName,
    identity::{jwt, key::KeyError, private_file},
};

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
