//! Whom a client takes for the mesh's bus: who shows a certificate of the mesh's own CA, and nobody else.
//!
//! The certificate is checked before the client says who it is, at the first connection and at each one after.

use std::sync::{Arc, Mutex};

use async_nats::ConnectOptions;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::ring,
    pki_types::{CertificateDer, ServerName, UnixTime},
};

use crate::{blob::Digest, error::Error, identity::CaCertificate, sync::lock};

/// The scheme of an address whose server speaks TLS.
const SCHEME: &str = "tls://";

/// Why a server is not taken for the mesh's bus. No credential was told to it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Untrusted {
    /// There is nothing to check its certificate by.
    #[error("the bus at {url} speaks TLS, and the CA of its mesh is not known here")]
    UnknownCa {
        /// The address.
        url: String,
    },
    /// It does not speak TLS.
    #[error("the server at {url} does not speak TLS, as this mesh's bus does; the mesh's CA is {ca}")]
    Plain {
        /// The address.
        url: String,
        /// The fingerprint of the mesh's CA.
        ca: Digest,
    },
    /// Its certificate is not one to trust.
    #[error(
        "the server at {url} is not taken for this mesh's bus: its certificate {reason}; it shows {shown}, and the \
         mesh's CA is {ca}"
    )]
    Certificate {
        /// The address.
        url: String,
        /// What is wrong with the certificate.
        reason: String,
        /// The fingerprint of the CA that the server shows, or of its certificate where it shows no other.
        shown: Digest,
        /// The fingerprint of the mesh's CA.
        ca: Digest,
    },
}

impl From<Untrusted> for Error {
    fn from(error: Untrusted) -> Self {
        let hint = match &error {
            Untrusted::UnknownCa { .. } => "join the mesh on this host, or name its CA's certificate: --ca FILE",
            _ => "is the address right? if it is, somebody may stand in between: compare with ca.pem of the issuer",
        };
        Self::unavailable(error.to_string()).hint(hint).sent(false)
    }
}

/// How one connection checks the server, and what it saw of it.
#[derive(Debug, Clone)]
pub(crate) struct Trust {
    url: String,
    check: Option<(Arc<Check>, ClientConfig)>,
}

impl Trust {
    /// With a CA, TLS is required and that CA alone is trusted; without one, the address must not ask for TLS.
    ///
    /// # Errors
    ///
    /// [`Untrusted::UnknownCa`].
    pub(crate) fn new(url: &str, ca: Option<&CaCertificate>) -> Result<Self, Untrusted> {
        let unknown = || Untrusted::UnknownCa { url: url.to_owned() };
        let check = match ca {
            None if url.split(',').any(|url| url.starts_with(SCHEME)) => return Err(unknown()),
            None => None,
            // A certificate that cannot be trusted is none that is known.
            Some(ca) => Some(configure(ca).ok_or_else(unknown)?),
        };
        Ok(Self { url: url.to_owned(), check })
    }

    /// Makes the connection keep to it.
    pub(crate) fn secure(&self, options: ConnectOptions) -> ConnectOptions {
        match &self.check {
            Some((_, config)) => options.require_tls(true).tls_client_config(config.clone()),
            None => options,
        }
    }

    /// What a failed connection says of the server, if that is why it failed.
    pub(crate) fn refusal(&self, failure: &async_nats::ConnectError) -> Option<Untrusted> {
        let error = rustls_error(failure)?;
        let url = self.url.clone();
        let Some((check, _)) = &self.check else {
            return Some(Untrusted::UnknownCa { url });
        };
        match (error, *lock(&check.shown)) {
            (rustls::Error::InvalidCertificate(reason), Some(shown)) => {
                Some(Untrusted::Certificate { url, reason: words(reason), shown, ca: check.ca })
            }
            (rustls::Error::InvalidMessage(_), _) => Some(Untrusted::Plain { url, ca: check.ca }),
            _ => None,
        }
    }
}

/// TLS as the client speaks it: the check alone decides whom it trusts.
fn configure(ca: &CaCertificate) -> Option<(Arc<Check>, ClientConfig)> {
    let provider = Arc::new(ring::default_provider());
    let usual = WebPkiServerVerifier::builder_with_provider(Arc::new(ca.roots()), provider.clone()).build().ok()?;
    let check = Arc::new(Check { usual, ca: ca.fingerprint(), shown: Mutex::default() });
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().ok()?;
    let config = builder.dangerous().with_custom_certificate_verifier(check.clone()).with_no_client_auth();
    Some((check, config))
}

/// The error of TLS behind a failed connection, if there is one.
fn rustls_error(failure: &async_nats::ConnectError) -> Option<&rustls::Error> {
    let met = std::error::Error::source(failure)?.downcast_ref::<std::io::Error>()?;
    met.get_ref()?.downcast_ref()
}

/// What is wrong with a certificate, as the rest of a sentence about it.
fn words(reason: &CertificateError) -> String {
    match reason {
        CertificateError::UnknownIssuer | CertificateError::BadSignature => "is not signed by the mesh's CA".to_owned(),
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "has expired, by this machine's clock".to_owned()
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "is not valid yet, by this machine's clock".to_owned()
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "is for another address".to_owned()
        }
        other => format!("cannot be used ({other})"),
    }
}

/// The usual check against one CA, which notes what the server shows.
#[derive(Debug)]
struct Check {
    usual: Arc<WebPkiServerVerifier>,
    ca: Digest,
    shown: Mutex<Option<Digest>>,
}

impl ServerCertVerifier for Check {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        stapled: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        *lock(&self.shown) = Some(Digest::of(others.last().unwrap_or(certificate)));
        self.usual.verify_server_cert(certificate, others, name, stapled, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.usual.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.usual.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.usual.supported_verify_schemes()
    }
}
