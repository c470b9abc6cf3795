//! Why the keys of a mesh are of no use.

use std::{io, path::PathBuf};

use crate::{
    Role, SiteName, UserName,
    identity::{
        jwt,
        key::{KeyError, Kind},
        private_file,
    },
};

/// Why the keys of a mesh cannot be made, read or used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file cannot be read or written, or others could.
    #[error(transparent)]
    File(#[from] private_file::Error),
    /// There are keys already.
    #[error("{directory} already holds something; open the keys that are there, or choose an empty directory")]
    Exists {
        /// The directory.
        directory: PathBuf,
    },
    /// A seed file holds no such seed.
    #[error("{file} holds no seed of kind {kind}; restore it from a backup of the keys")]
    Seed {
        /// The file.
        file: PathBuf,
        /// The kind of key that belongs there.
        kind: Kind,
        /// What is wrong with it.
        #[source]
        source: KeyError,
    },
    /// A token file is damaged.
    #[error("{file} holds no usable token; restore it from a backup of the keys")]
    Damaged {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        #[source]
        source: jwt::Error,
    },
    /// A token is well made, but not of these keys.
    #[error("{file} is not a token of the keys beside it; restore both from the same backup")]
    Foreign {
        /// The file.
        file: PathBuf,
    },
    /// A token could not be made.
    #[error("cannot make a token of kind {kind}")]
    Token {
        /// The kind of token.
        kind: &'static str,
        /// Why not.
        #[source]
        source: jwt::Error,
    },
    /// A key could not be made.
    #[error("cannot make a key")]
    Key(#[source] KeyError),
    /// The public key to issue a credential for is not a user's.
    #[error(
        "the public key for {name} is not the public key of a user: such a key begins with U and has 56 characters"
    )]
    PublicKey {
        /// The user that the credential was for.
        name: UserName,
    },
    /// The name stands for something else in subjects.
    #[error("\"{name}\" stands for the issuer of the mesh in subjects; choose another name")]
    Name {
        /// The name.
        name: UserName,
    },
    /// The role is that of tokens.
    #[error("no user is given the role {0}")]
    Role(Role),
    /// What is noted of a rotation cannot be read.
    #[error("{file} does not say how the signing keys were rotated; restore it from a backup of the keys")]
    Rotation {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
    /// What is noted of the sites cannot be read.
    #[error("{file} does not say which sites the mesh has; restore it from a backup of the keys")]
    Sites {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
    /// There is no such site.
    #[error("the mesh has no site \"{site}\"")]
    NoSite {
        /// The site.
        site: SiteName,
    },
    /// The keys were made, but could not be put in their place.
    #[error("cannot put the new keys at {directory}")]
    Place {
        /// The directory.
        directory: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
}
