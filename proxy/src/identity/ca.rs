//! The mesh's own CA: it vouches for bus servers, so that a client knows whom it tells its credential.
//!
//! Its key lies beside the mesh's signing keys and never leaves the issuer. What it issues lives for two weeks: a
//! server's certificate is made anew at each start, and while it runs before half of that time is over.

use std::{
    net::IpAddr,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use data_encoding::BASE64;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PublicKeyData, SanType, SignatureAlgorithm,
};
use rustls::pki_types::{PrivatePkcs8KeyDer, pem::PemObject};
use zeroize::Zeroizing;

use super::{
    certificate::{self, CaCertificate, pem},
    private_file,
    server::Tls,
};
use crate::MeshName;

/// How long a server's certificate holds.
pub const SERVER_LIFE: Duration = Duration::from_secs(14 * 24 * 60 * 60);
/// How long the CA holds: its end is the end of every host's trust in the mesh.
const CA_LIFE: Duration = Duration::from_secs(30 * 365 * 24 * 60 * 60);
/// How far certificates reach back, for hosts whose clock is late.
const BACK: Duration = Duration::from_secs(2 * 24 * 60 * 60);

const PRIVATE_KEY: &str = "PRIVATE KEY";

/// Why the CA cannot be made, read or used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file cannot be read or written, or others could.
    #[error(transparent)]
    File(#[from] private_file::Error),
    /// The certificate's file.
    #[error(transparent)]
    Certificate(#[from] certificate::Error),
    /// There is a certificate of a CA, but its key is gone. A new one would be trusted by nobody.
    #[error("{} is missing, and {} is of no use without it; restore it from a backup of the keys", .key.display(), .certificate.display())]
    Lost {
        /// The key's file.
        key: PathBuf,
        /// The certificate's file.
        certificate: PathBuf,
    },
    /// The key's file holds something else.
    #[error("{} holds no ECDSA P-256 key; restore it from a backup of the keys", .file.display())]
    Key {
        /// The file.
        file: PathBuf,
    },
    /// What was to be certified is no key of the kind that servers have.
    #[error("this is no public key of a bus server: an ECDSA P-256 key is")]
    PublicKey,
    /// A key or certificate could not be made.
    #[error("cannot make the {what}")]
    Make {
        /// What.
        what: &'static str,
        /// Why not.
        #[source]
        source: rcgen::Error,
    },
}

/// The mesh's CA, open for issuing.
#[derive(Debug)]
pub struct MeshCa {
    mesh: MeshName,
    key: KeyPair,
    certificate: CaCertificate,
}

/// A bus server's certificate and key, both PEM.
#[derive(Debug)]
pub struct ServerCertificate {
    chain: String,
    key: Zeroizing<String>,
}

impl ServerCertificate {
    /// Writes both files whole, for their owner alone.
    ///
    /// # Errors
    ///
    /// [`Error::File`].
    pub fn write(&self, files: &Tls) -> Result<(), Error> {
        private_file::write(&files.key, &self.key)?;
        Ok(private_file::write(&files.certificate, &self.chain)?)
    }
}

/// The key of a bus server whose certificate the issuer makes: it stays on the server's host.
#[derive(Debug)]
pub struct ServerKey(KeyPair);

impl ServerKey {
    /// Reads the key, or makes it where there is none.
    ///
    /// # Errors
    ///
    /// Names the file that is damaged, or open to others.
    pub fn open(file: &Path) -> Result<Self, Error> {
        match private_file::read(file) {
            Ok(text) => read_key(&text).map(Self).ok_or_else(|| Error::Key { file: file.to_owned() }),
            Err(private_file::Error::Missing { .. }) => {
                let key = make_key()?;
                private_file::write(file, &key_pem(&key))?;
                Ok(Self(key))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Its public half, as text.
    #[must_use]
    pub fn public(&self) -> String {
        BASE64.encode(self.0.der_bytes())
    }

    /// Writes the certificate that was made for it.
    ///
    /// # Errors
    ///
    /// [`Error::File`].
    pub fn write_certificate(&self, chain: &str, files: &Tls) -> Result<(), Error> {
        Ok(private_file::write(&files.certificate, chain)?)
    }
}

/// The public half of a key that is elsewhere.
struct Public(Vec<u8>);

impl Public {
    /// Reads an uncompressed point of the curve.
    fn read(text: &str) -> Option<Self> {
        const LENGTH: usize = 65;
        let bytes = BASE64.decode(text.as_bytes()).ok()?;
        (bytes.len() == LENGTH && bytes.first() == Some(&4)).then_some(Self(bytes))
    }
}

impl PublicKeyData for Public {
    fn der_bytes(&self) -> &[u8] {
        &self.0
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ECDSA_P256_SHA256
    }
}

impl MeshCa {
    /// Opens the CA in the directory of the mesh's keys, or makes it where there is none.
    ///
    /// # Errors
    ///
    /// Names the file that is missing, damaged, or open to others.
    pub fn open(directory: &Path, mesh: &MeshName) -> Result<Self, Error> {
        let (key_file, file) = (directory.join("ca.key"), directory.join("ca.pem"));
        let key = match private_file::read(&key_file) {
            Ok(text) => read_key(&text).ok_or(Error::Key { file: key_file })?,
            Err(private_file::Error::Missing { .. }) if file.exists() => {
                return Err(Error::Lost { key: key_file, certificate: file });
            }
            Err(private_file::Error::Missing { .. }) => {
                let key = make_key()?;
                private_file::write(&key_file, &key_pem(&key))?;
                key
            }
            Err(error) => return Err(error.into()),
        };
        let certificate = if file.exists() {
            CaCertificate::read(&file)?
        } else {
            let made = parameters(mesh, SystemTime::now() + CA_LIFE).self_signed(&key);
            let made = made.map_err(|source| Error::Make { what: "mesh's CA", source })?;
            let certificate = CaCertificate::new(made.der().to_vec())
                .map_err(|_| certificate::Error::NotOne { file: file.clone() })?;
            certificate.write(&file)?;
            certificate
        };
        Ok(Self { mesh: mesh.clone(), key, certificate })
    }

    /// The CA's certificate, which every host of the mesh trusts.
    #[must_use]
    pub fn certificate(&self) -> &CaCertificate {
        &self.certificate
    }

    /// Issues a certificate, with a fresh key, for the bus server at that address.
    ///
    /// # Errors
    ///
    /// [`Error::Make`].
    pub fn issue(&self, address: IpAddr, expires: SystemTime) -> Result<ServerCertificate, Error> {
        let key = make_key()?;
        let chain = self.certify(&key, address, expires)?;
        Ok(ServerCertificate { chain, key: key_pem(&key) })
    }

    /// Issues a certificate for the bus server at that address that holds the private half of `public`, and gives it
    /// with the CA's own, as PEM.
    ///
    /// # Errors
    ///
    /// [`Error::PublicKey`] or [`Error::Make`].
    pub fn issue_for(&self, public: &str, address: IpAddr, expires: SystemTime) -> Result<String, Error> {
        self.certify(&Public::read(public).ok_or(Error::PublicKey)?, address, expires)
    }

    fn certify(&self, key: &impl PublicKeyData, address: IpAddr, expires: SystemTime) -> Result<String, Error> {
        let failed = |source| Error::Make { what: "bus server's certificate", source };
        let mut wanted = CertificateParams::default();
        wanted.distinguished_name = named(format!("Aigis bus of {}", self.mesh));
        wanted.subject_alt_names = vec![SanType::IpAddress(address)];
        wanted.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        // Servers of a cluster are each other's clients.
        wanted.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        wanted.use_authority_key_identifier_extension = true;
        wanted.not_before = (SystemTime::now() - BACK).into();
        wanted.not_after = expires.into();
        let issuer = rcgen::Issuer::new(parameters(&self.mesh, expires), &self.key);
        let made = wanted.signed_by(key, &issuer).map_err(failed)?;
        // The CA goes along: who expects another one can then say which it met.
        Ok(format!("{}{}", pem("CERTIFICATE", made.der()), self.certificate.pem()))
    }
}

/// What the CA says of itself. Its name and key alone matter to what it signs.
fn parameters(mesh: &MeshName, expires: SystemTime) -> CertificateParams {
    let mut wanted = CertificateParams::default();
    wanted.distinguished_name = named(format!("Aigis CA of {mesh}"));
    wanted.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    wanted.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    wanted.not_before = (SystemTime::now() - BACK).into();
    wanted.not_after = expires.into();
    wanted
}

fn named(name: String) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::CommonName, name);
    distinguished
}

fn make_key() -> Result<KeyPair, Error> {
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)
        .map_err(|source| Error::Make { what: "key of a certificate", source })
}

fn key_pem(key: &KeyPair) -> Zeroizing<String> {
    Zeroizing::new(pem(PRIVATE_KEY, key.serialized_der()))
}

fn read_key(text: &str) -> Option<KeyPair> {
    let der = PrivatePkcs8KeyDer::from_pem_slice(text.as_bytes()).ok()?;
    KeyPair::from_pkcs8_der_and_sign_algo(&der, &PKCS_ECDSA_P256_SHA256).ok()
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt};

    use super::*;

    fn open(directory: &Path) -> Result<MeshCa, Error> {
        MeshCa::open(directory, &MeshName::parse("main").unwrap())
    }

    #[test]
    fn the_ca_is_made_once_and_its_key_is_nobody_elses() {
        let directory = tempfile::tempdir().unwrap();
        let made = open(directory.path()).unwrap().certificate().clone();
        assert_eq!(open(directory.path()).unwrap().certificate(), &made);
        let key = directory.path().join("ca.key");
        assert_eq!(fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
        fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(open(directory.path()), Err(Error::File(private_file::Error::Mode { .. }))));
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(&key, "no key").unwrap();
        assert!(matches!(open(directory.path()), Err(Error::Key { .. })));
        fs::remove_file(&key).unwrap();
        assert!(matches!(open(directory.path()), Err(Error::Lost { .. })));
    }

    #[test]
    fn a_ca_certificate_reads_back_from_its_file_and_its_text() {
        let directory = tempfile::tempdir().unwrap();
        let ca = open(directory.path()).unwrap();
        let certificate = ca.certificate();
        assert_eq!(CaCertificate::from_text(&certificate.to_text()).as_ref(), Ok(certificate));
        let file = directory.path().join("copy.pem");
        certificate.write(&file).unwrap();
        assert_eq!(&CaCertificate::read(&file).unwrap(), certificate);
        assert!(certificate.fingerprint().to_string().starts_with("sha256:"));
        for bad in ["", "no base64", "AAAA"] {
            assert_eq!(CaCertificate::from_text(bad), Err(certificate::NotACertificate), "{bad}");
        }
        let twice = certificate.pem().repeat(2);
        for bad in ["", "hello", twice.as_str(), &certificate.pem()[..200]] {
            fs::write(&file, bad).unwrap();
            let error = CaCertificate::read(&file).unwrap_err();
            assert!(matches!(error, certificate::Error::NotOne { .. }), "{bad}: {error}");
        }
    }
}
