//! A repository in a registry of images, as packages are sent to it and come from it.

use std::{io::Write, net::IpAddr, path::Path, time::Duration};

use aigis_proxy::{Code, Error, quoted};
use futures::{Stream, StreamExt as _};
use oci_client::{
    Client, Reference,
    client::{ClientConfig, ClientProtocol},
    errors::{DigestError, OciDistributionError, OciErrorCode},
    secrets::RegistryAuth,
};
use serde_json::Value;
use tokio::{io::AsyncReadExt as _, runtime::Handle, time::timeout};

use crate::{Digest, image::media};

mod login;

pub use login::Login;

/// How long a registry may take to be reached.
const REACHED: Duration = Duration::from_secs(30);
/// How long it may say nothing.
const SILENT: Duration = Duration::from_secs(120);
/// How long anything but the content of a blob may take.
const ANSWERED: Duration = Duration::from_secs(5 * 60);
/// How long the content of a blob may take.
const CARRIED: Duration = Duration::from_secs(60 * 60);
/// Largest document, in bytes.
const MAX_DOCUMENT: u64 = 8 * 1024 * 1024;
const BUFFER: usize = 256 * 1024;

/// A repository in a registry. All that it does blocks.
pub struct Remote {
    client: Client,
    reference: Reference,
    auth: RegistryAuth,
    runtime: Handle,
}

impl std::fmt::Debug for Remote {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Remote").field("reference", &self.reference.whole()).finish_non_exhaustive()
    }
}

/// What of a package, or of which repository, is meant: `HOST/PATH:TAG`, `HOST/PATH@DIGEST`.
///
/// # Errors
///
/// `invalid_argument` for what is no reference.
pub fn reference(text: &str) -> Result<Reference, Error> {
    text.parse().map_err(|error| {
        Error::invalid(format!("\"{}\" is no reference of a registry: {error}", quoted(text)))
            .hint("write HOST[:PORT]/PATH:TAG, or HOST[:PORT]/PATH@sha256:… to import from there")
    })
}

impl Remote {
    /// The repository of that reference. What is insecure, or on this host, is spoken to without TLS. `runtime` is on which
    /// connections run; this is used on threads that may block.
    #[must_use]
    pub fn new(reference: Reference, login: Option<Login>, insecure: &[String], runtime: Handle) -> Self {
        let host = reference.resolve_registry().to_owned();
        let plain = is_loopback(&host) || insecure.contains(&host);
        let config = ClientConfig {
            protocol: if plain { ClientProtocol::HttpsExcept(vec![host]) } else { ClientProtocol::Https },
            // One request with a length: the content is streamed, and its digest known before.
            use_monolithic_push: true,
            connect_timeout: Some(REACHED),
            read_timeout: Some(SILENT),
            user_agent: concat!("aigis/", env!("CARGO_PKG_VERSION")),
            ..ClientConfig::default()
        };
        let auth = login.map_or(RegistryAuth::Anonymous, |login| RegistryAuth::Basic(login.user, login.password));
        Self { client: Client::new(config), reference, auth, runtime }
    }

    /// Its registry, and its path there.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{}/{}", self.reference.registry(), self.reference.repository())
    }

    /// The tag that is meant.
    #[must_use]
    pub fn tag(&self) -> Option<&str> {
        self.reference.tag()
    }

    fn wait<T>(
        &self,
        limit: Duration,
        asked: impl Future<Output = Result<T, OciDistributionError>>,
    ) -> Result<T, Error> {
        let host = self.reference.resolve_registry();
        let answer = self.runtime.block_on(async {
            self.client.store_auth_if_needed(host, &self.auth).await;
            timeout(limit, asked).await
        });
        match answer {
            Ok(answer) => answer.map_err(|error| refused(host, &error)),
            Err(_) => {
                Err(Error::unavailable(format!("the registry {host} did not answer within {} s", limit.as_secs()))
                    .hint("try again"))
            }
        }
    }

    fn at(&self, digest: &Digest) -> Reference {
        self.reference.clone_with_digest(digest.to_string())
    }

    /// Sends a blob unless it is there; answers with how many bytes were sent.
    pub(super) fn send(&self, digest: &Digest, file: &Path, size: u64) -> Result<u64, Error> {
        let name = digest.to_string();
        if self.wait(ANSWERED, self.client.blob_exists(&self.reference, &name))? {
            return Ok(0);
        }
        let open = std::fs::File::open(file);
        let open =
            open.map_err(|error| Error::new(Code::DataLoss, format!("the content {digest} cannot be read: {error}")))?;
        self.wait(CARRIED, async {
            let content = content(tokio::fs::File::from_std(open).take(size));
            self.client.push_blob_stream(&self.reference, content, &name, Some(size)).await
        })?;
        Ok(size)
    }

    /// As [`Remote::send`], of a document.
    pub(super) fn send_document(&self, digest: &Digest, document: Vec<u8>) -> Result<u64, Error> {
        let (name, size) = (digest.to_string(), document.len() as u64);
        if self.wait(ANSWERED, self.client.blob_exists(&self.reference, &name))? {
            return Ok(0);
        }
        self.wait(ANSWERED, self.client.push_blob(&self.reference, document, &name))?;
        Ok(size)
    }

    /// Puts a manifest, or an index, whose parts are there: under its digest, and under a tag if one is given.
    pub(super) fn put(&self, kind: &'static str, document: Vec<u8>, tag: Option<&str>) -> Result<Digest, Error> {
        let digest = Digest::of(&document);
        let target = match tag {
            Some(tag) => Reference::with_tag(
                self.reference.registry().to_owned(),
                self.reference.repository().to_owned(),
                tag.to_owned(),
            ),
            None => self.at(&digest),
        };
        let kind = kind.parse().map_err(|_| Error::internal("a media type is no header"))?;
        self.wait(ANSWERED, self.client.push_manifest_raw(&target, document, kind))?;
        let found = self.wait(ANSWERED, self.client.fetch_manifest_digest(&self.at(&digest), &self.auth))?;
        if found == digest.to_string() {
            return Ok(digest);
        }
        let host = self.reference.registry();
        let message = format!("the registry {host} keeps {} where {digest} was sent", quoted(&found));
        Err(Error::new(Code::DataLoss, message).hint("ask who runs it whether it changes manifests"))
    }

    /// What its reference means now: the digest of a manifest, or of an index.
    ///
    /// # Errors
    ///
    /// `not_found` for what is not there; why the registry does not say.
    pub fn resolve(&self) -> Result<Digest, Error> {
        let digest = self.wait(ANSWERED, self.client.fetch_manifest_digest(&self.reference, &self.auth))?;
        digest.parse().map_err(|_| self.odd(&format!("its digest of it is none: {}", quoted(&digest))))
    }

    /// A manifest, or an index, by its digest.
    pub(super) fn manifest(&self, digest: &Digest) -> Result<Vec<u8>, Error> {
        let accepted = [media::INDEX, media::MANIFEST];
        let (bytes, _) = self.wait(ANSWERED, self.client.pull_manifest_raw(&self.at(digest), &self.auth, &accepted))?;
        if bytes.len() as u64 > MAX_DOCUMENT || Digest::of(&bytes) != *digest {
            return Err(self.odd(&format!("the manifest {digest} is too large, or another")));
        }
        Ok(bytes.to_vec())
    }

    /// Writes the content of a blob, of which there may be at most so many bytes; what it holds is for the caller to judge.
    pub(super) fn fetch(&self, digest: &Digest, most: u64, out: &mut dyn Write) -> Result<(), Error> {
        let descriptor = oci_client::manifest::OciDescriptor { digest: digest.to_string(), ..Default::default() };
        let mut coming = self.wait(ANSWERED, self.client.pull_blob_stream(&self.reference, &descriptor))?.stream;
        let mut left = most;
        loop {
            let next = self.wait(SILENT, async { coming.next().await.transpose().map_err(judged) })?;
            let Some(bytes) = next else { return Ok(()) };
            left = left
                .checked_sub(bytes.len() as u64)
                .ok_or_else(|| self.odd(&format!("the content {digest} is larger than its descriptor says")))?;
            out.write_all(&bytes)
                .map_err(|error| Error::precondition(format!("the content {digest} cannot be kept: {error}")))?;
        }
    }

    /// A blob that is a document.
    pub(super) fn document(&self, digest: &Digest) -> Result<Vec<u8>, Error> {
        let mut bytes = Vec::new();
        self.fetch(digest, MAX_DOCUMENT, &mut bytes)?;
        if Digest::of(&bytes) == *digest {
            Ok(bytes)
        } else {
            Err(self.odd(&format!("the content {digest} is another")))
        }
    }

    /// The descriptors of manifests that say that they are about that one.
    pub(super) fn referrers(&self, digest: &Digest) -> Result<Vec<Value>, Error> {
        let index = self.wait(ANSWERED, self.client.pull_referrers(&self.at(digest), None))?;
        Ok(index.manifests.iter().filter_map(|entry| serde_json::to_value(entry).ok()).collect())
    }

    fn odd(&self, what: &str) -> Error {
        Error::invalid(format!("what the registry {} keeps cannot be taken: {what}", self.reference.registry()))
    }
}

/// What a file holds, piece by piece.
fn content(
    file: tokio::io::Take<tokio::fs::File>,
) -> impl Stream<Item = Result<bytes::Bytes, OciDistributionError>> + Send + 'static {
    futures::stream::try_unfold(file, |mut file| async move {
        let mut piece = bytes::BytesMut::with_capacity(BUFFER);
        let count = file.read_buf(&mut piece).await?;
        Ok((count > 0).then(|| (piece.freeze(), file)))
    })
}

/// Why content that comes in ends before its end: the connection broke, or it is not what its digest says.
fn judged(error: std::io::Error) -> OciDistributionError {
    error.downcast::<DigestError>().map_or_else(OciDistributionError::IoError, Into::into)
}

/// Whether a registry, by its host and port, is on this host.
fn is_loopback(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let address = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    name == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

/// What a registry's refusal means here. Addresses of uploads stay out of it: who knows one may write there.
fn refused(host: &str, error: &OciDistributionError) -> Error {
    use OciDistributionError as Refused;
    let login = || {
        let message = format!("the registry {host} does not let you do that");
        Error::new(Code::PermissionDenied, message).hint(format!("log in there: docker login {host}"))
    };
    match error {
        Refused::AuthenticationFailure(_) | Refused::UnauthorizedError { .. } => login(),
        Refused::RequestError(error) => match error.status().map(|status| status.as_u16()) {
            Some(401 | 403) => login(),
            Some(status) => Error::precondition(format!("the registry {host} answers with {status}")),
            None => {
                let mut why: &dyn std::error::Error = error;
                while let Some(source) = why.source() {
                    why = source;
                }
                Error::unavailable(format!("the registry {host} cannot be reached: {why}"))
                    .hint("registries without TLS are named in packages.toml: [registries] insecure = [\"HOST:PORT\"]")
            }
        },
        Refused::ServerError { code, .. } if *code >= 500 => {
            Error::unavailable(format!("the registry {host} answers with {code}")).hint("try again")
        }
        Refused::ImageManifestNotFoundError(_) | Refused::ServerError { code: 404, .. } => {
            Error::new(Code::NotFound, format!("the registry {host} does not have that"))
        }
        Refused::RegistryError { envelope, .. } => match envelope.errors.first() {
            Some(first) if matches!(first.code, OciErrorCode::Unauthorized | OciErrorCode::Denied) => login(),
            Some(first) if matches!(first.code, OciErrorCode::ManifestUnknown | OciErrorCode::NameUnknown) => {
                Error::new(Code::NotFound, format!("the registry {host} does not have that"))
            }
            Some(first) if first.code == OciErrorCode::Toomanyrequests => {
                Error::new(Code::ResourceExhausted, format!("the registry {host} was asked too often"))
                    .hint("try later")
            }
            first => {
                let why = first.map_or_else(String::new, |first| quoted(&first.message).to_string());
                Error::precondition(format!("the registry {host} refuses that: {why}"))
            }
        },
        Refused::DigestError(_) => {
            Error::invalid(format!("what the registry {host} keeps is not what its digest says"))
                .hint("nothing was kept; push it again")
        }
        Refused::IoError(error) => {
            Error::unavailable(format!("the connection to the registry {host} broke: {error}")).hint("try again")
        }
        other => Error::precondition(format!("the registry {host} is not understood: {}", quoted(&other.to_string()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_on_this_host_is_known() {
        for (host, is) in [
            ("localhost:5000", true),
            ("127.0.0.1:5000", true),
            ("127.8.0.1", true),
            ("[::1]:5000", true),
            ("10.0.0.1:5000", false),
            ("localhost.example.com", false),
            ("docker.io", false),
        ] {
            assert_eq!(is_loopback(host), is, "{host}");
        }
    }

    #[test]
    fn a_reference_is_refused_with_what_it_is() {
        assert_eq!(reference("127.0.0.1:5000/a/b:v1").unwrap().tag(), Some("v1"));
        for text in ["", "A b", "r/x@sha256:1", "http://r/x"] {
            assert_eq!(reference(text).unwrap_err().code, Code::InvalidArgument, "{text}");
        }
    }
}
