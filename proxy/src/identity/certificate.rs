//! The certificate of a mesh's CA: public, and what a host trusts instead of the system's roots.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use data_encoding::BASE64;
use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, pem::PemObject},
};

use super::private_file;
use crate::{blob::Digest, text_file};

/// Characters of a line of PEM.
const LINE: usize = 64;

/// Why there is no certificate of a CA.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be had.
    #[error(transparent)]
    Read(#[from] text_file::Error),
    /// The file cannot be written.
    #[error(transparent)]
    Write(#[from] private_file::Error),
    /// It holds none, several, or something else.
    #[error("{} does not hold one certificate of a CA; copy ca.pem again from a host of the mesh", text_file::shown(.file))]
    NotOne {
        /// The file.
        file: PathBuf,
    },
}

/// A text or some bytes that are no certificate of a CA.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this is no certificate of a CA")]
pub struct NotACertificate;

/// The certificate of a mesh's CA.
#[derive(Clone, PartialEq, Eq)]
pub struct CaCertificate(CertificateDer<'static>);

impl CaCertificate {
    /// Reads the certificate's DER form.
    ///
    /// # Errors
    ///
    /// [`NotACertificate`] if nobody could trust it.
    pub fn new(der: Vec<u8>) -> Result<Self, NotACertificate> {
        let certificate = CertificateDer::from(der);
        RootCertStore::empty().add(certificate.clone()).map_err(|_| NotACertificate)?;
        Ok(Self(certificate))
    }

    /// Reads a PEM file that holds this certificate and nothing else.
    ///
    /// # Errors
    ///
    /// Names the file and what is wrong with it.
    pub fn read(file: &Path) -> Result<Self, Error> {
        let text = text_file::read(file)?;
        let mut found = CertificateDer::pem_slice_iter(text.as_bytes());
        match (found.next(), found.next()) {
            (Some(Ok(only)), None) => Self::new(only.to_vec()).ok(),
            _ => None,
        }
        .ok_or_else(|| Error::NotOne { file: file.to_owned() })
    }

    /// Writes it whole, as PEM.
    ///
    /// # Errors
    ///
    /// [`Error::Write`].
    pub fn write(&self, file: &Path) -> Result<(), Error> {
        Ok(private_file::write(file, &self.pem())?)
    }

    /// Its PEM form.
    #[must_use]
    pub fn pem(&self) -> String {
        pem("CERTIFICATE", self.der())
    }

    /// Its form within a join token: the DER in base64, on one line.
    #[must_use]
    pub fn to_text(&self) -> String {
        BASE64.encode(self.der())
    }

    /// Reads what [`CaCertificate::to_text`] wrote.
    ///
    /// # Errors
    ///
    /// [`NotACertificate`].
    pub fn from_text(text: &str) -> Result<Self, NotACertificate> {
        Self::new(BASE64.decode(text.as_bytes()).map_err(|_| NotACertificate)?)
    }

    /// The SHA-256 of its DER form, by which people compare it.
    #[must_use]
    pub fn fingerprint(&self) -> Digest {
        Digest::of(self.der())
    }

    /// Its DER form.
    #[must_use]
    pub fn der(&self) -> &[u8] {
        &self.0
    }

    /// Trust in this CA and no other.
    pub(crate) fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        // It was added to such a store before there was a value of this type.
        let _ = roots.add(self.0.clone());
        roots
    }
}

impl fmt::Debug for CaCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("CaCertificate").field(&self.fingerprint()).finish()
    }
}

/// The PEM form of some DER.
pub(super) fn pem(label: &str, der: &[u8]) -> String {
    let encoded = BASE64.encode(der);
    let mut text = format!("-----BEGIN {label}-----\n");
    for line in encoded.as_bytes().chunks(LINE) {
        text.extend(line.iter().copied().map(char::from));
        text.push('\n');
    }
    text.push_str(&format!("-----END {label}-----\n"));
    text
}
