//! The files that a supervised `nats-server` starts with: its configuration and the accounts' tokens.
//!
//! The server may change its copies of the account tokens, and one message to the system account can plant a token
//! that locks every user out at the next start. So the files are written anew before each start.

use std::{
    fmt::Write as _,
    fs, io,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use super::{charter::Charter, jwt, private_file, site};
use crate::name::quoted;

/// Largest body plus headers of a message, in bytes.
pub const MAX_PAYLOAD: u32 = 1024 * 1024;
/// The share of a partition that the store may fill, in hundredths. Above the partition's size a full store would
/// show as time-outs; below it, as a quick refusal.
const STORE_SHARE: u64 = 75;
/// More accounts than any supervised server holds.
const MAX_ACCOUNTS: usize = 1000;

/// How often a silent client is asked whether it is there, in seconds.
const PING: u32 = 3;
/// How many of these it may leave unanswered.
const MISSED: u32 = 3;
// The first is spared where the client was heard since the one before, and what ends it is the one after the last.
const _: () = assert!(PING * (MISSED + 2) <= 15, "a half-open link is to be noticed within 15 s");
/// More files of ports than any number of killed servers leaves between two starts.
const MAX_PORTS: usize = 1000;

/// Why a server's files cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file cannot be written.
    #[error(transparent)]
    File(#[from] private_file::Error),
    /// A path cannot stand in the configuration.
    #[error("the path {shown} is not UTF-8, so it cannot stand in the bus server's configuration; choose another")]
    Path {
        /// The path, escaped.
        shown: String,
    },
    /// Every address of the host, the engine's bridges among them, would lead to the bus.
    #[error("the bus cannot listen on {address}: containers would reach it; name one address of this host")]
    Everywhere {
        /// The address.
        address: SocketAddr,
    },
    /// Credentials would be proved over a plain connection.
    #[error("the bus cannot listen on {address} without TLS; give a certificate and its key, or listen on loopback")]
    Plain {
        /// The address.
        address: SocketAddr,
    },
    /// There is no port for the servers of sites.
    #[error("a bus with sites needs a port of its own below {}, not {}: name it with --listen IP:PORT", u16::MAX - site::BEHIND + 1, .address.port())]
    LeafPort {
        /// Where it was to listen.
        address: SocketAddr,
    },
    /// The stored account tokens cannot be looked through.
    #[error("cannot look through {directory}")]
    Accounts {
        /// The directory.
        directory: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// What a former server left cannot be removed.
    #[error("cannot remove what a former bus server left in {directory}")]
    Forget {
        /// The directory.
        directory: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The partition of the store cannot be measured.
    #[error("cannot measure the room on the partition of {directory}")]
    Room {
        /// The directory.
        directory: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

/// A certificate and its key, both PEM files.
#[derive(Debug, Clone)]
pub struct Tls {
    /// The certificate chain.
    pub certificate: PathBuf,
    /// The private key.
    pub key: PathBuf,
}

/// How the server runs.
#[derive(Debug, Clone)]
pub struct ServerOptions {
    /// Its name, which must be its own among the servers of a cluster.
    pub name: String,
    /// Where it listens; port 0 lets the server choose, and [`ServerFiles::ports`] says what it chose.
    pub listen: SocketAddr,
    /// Where JetStream keeps its data.
    pub store: PathBuf,
    /// Bytes that JetStream may keep on disk; see [`room`].
    pub max_file_store: u64,
    /// Bytes that JetStream may keep in memory.
    pub max_memory_store: u64,
    /// Certificate and key; needed beyond loopback.
    pub tls: Option<Tls>,
    /// Where it logs; to standard error if absent.
    pub log: Option<PathBuf>,
    /// The cluster that it is one of the servers of; alone if absent.
    pub cluster: Option<Cluster>,
}

/// How a server meets the others of its cluster.
#[derive(Debug, Clone)]
pub struct Cluster {
    /// The cluster's name.
    pub name: String,
    /// Where it listens for the others, and nobody else: each side shows a certificate of the mesh's CA.
    pub listen: SocketAddr,
    /// Where all of them listen for each other, this one too.
    pub routes: Vec<SocketAddr>,
    /// Its certificate and key.
    pub tls: Tls,
    /// The certificate of the mesh's CA.
    pub ca: PathBuf,
}

/// What [`ServerFiles::write`] did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// The configuration file, for `nats-server --config`.
    pub config: PathBuf,
    /// Accounts whose stored token was not ours and was put back.
    pub restored: Vec<String>,
    /// Stored tokens that the operator never signed, which were removed.
    pub removed: Vec<PathBuf>,
}

/// The directory of a supervised server's files.
#[derive(Debug, Clone)]
pub struct ServerFiles {
    directory: PathBuf,
}

impl ServerFiles {
    /// Names the directory; nothing is written yet.
    #[must_use]
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self { directory: directory.into() }
    }

    /// The configuration file.
    #[must_use]
    pub fn config(&self) -> PathBuf {
        self.directory.join("nats-server.conf")
    }

    /// The file in which the server writes its process id.
    #[must_use]
    pub fn pid(&self) -> PathBuf {
        self.directory.join("nats-server.pid")
    }

    /// The directory in which the server writes a file `*.ports`, JSON that says where it listens.
    #[must_use]
    pub fn ports(&self) -> PathBuf {
        self.directory.join("ports")
    }

    /// Where a certificate of the mesh's own CA and its key are put.
    #[must_use]
    pub fn tls(&self) -> Tls {
        Tls { certificate: self.directory.join("server.pem"), key: self.directory.join("server.key") }
    }

    /// The directory of the accounts' tokens.
    #[must_use]
    pub fn accounts(&self) -> PathBuf {
        self.directory.join("accounts")
    }

    /// Writes everything that the server starts with, and puts back what was altered since. To be called before
    /// each start, while the server is down.
    ///
    /// # Errors
    ///
    /// Says which file or option, and why.
    pub fn write(&self, charter: &Charter, options: &ServerOptions) -> Result<Written, Error> {
        if options.listen.ip().is_unspecified() {
            return Err(Error::Everywhere { address: options.listen });
        }
        if !options.listen.ip().is_loopback() && options.tls.is_none() {
            return Err(Error::Plain { address: options.listen });
        }
        for directory in [&self.directory, &self.accounts(), &self.ports(), &options.store] {
            private_file::make_directory(directory)?;
        }
        self.forget_ports()?;
        let removed = self.remove_foreign(charter)?;
        let restored = self.restore(charter)?;
        let config = self.config();
        private_file::write(&config, &self.render(charter, options)?)?;
        Ok(Written { config, restored, removed })
    }

    /// A killed server leaves its file of ports behind, and the next one may get the same process id.
    fn forget_ports(&self) -> Result<(), Error> {
        let directory = self.ports();
        let failed = |source| Error::Forget { directory: directory.clone(), source };
        for entry in fs::read_dir(&directory).map_err(failed)?.take(MAX_PORTS) {
            fs::remove_file(entry.map_err(failed)?.path()).map_err(failed)?;
        }
        Ok(())
    }

    fn restore(&self, charter: &Charter) -> Result<Vec<String>, Error> {
        let mut restored = Vec::new();
        for token in &charter.accounts {
            let file = self.accounts().join(format!("{}.jwt", token.account));
            match fs::read(&file) {
                Ok(stored) if stored == token.jwt.as_bytes() => continue,
                Ok(_) => restored.push(token.account.clone()),
                Err(_) => {}
            }
            private_file::write(&file, &token.jwt)?;
        }
        Ok(restored)
    }

    fn remove_foreign(&self, charter: &Charter) -> Result<Vec<PathBuf>, Error> {
        let directory = self.accounts();
        let failed = |source| Error::Accounts { directory: directory.clone(), source };
        let mut removed = Vec::new();
        for entry in fs::read_dir(&directory).map_err(failed)?.take(MAX_ACCOUNTS) {
            let file = entry.map_err(failed)?.path();
            let ours =
                charter.accounts.iter().any(|token| file.file_stem().is_some_and(|stem| *stem == *token.account));
            if ours
                || file.extension().is_none_or(|extension| extension != "jwt")
                || signed_by(&charter.operator, &file)
            {
                continue;
            }
            fs::remove_file(&file).map_err(failed)?;
            removed.push(file);
        }
        Ok(removed)
    }

    fn render(&self, charter: &Charter, options: &ServerOptions) -> Result<String, Error> {
        let mut text = format!(
            "server_name: {name}\n\
             host: {host}\n\
             port: {port}\n\
             pid_file: {pid}\n\
             ports_file_dir: {ports}\n\
             max_payload: {MAX_PAYLOAD}\n\
             max_control_line: 4096\n\
             ping_interval: \"{PING}s\"\n\
             ping_max: {MISSED}\n\
             write_deadline: \"5s\"\n\
             authorization {{ timeout: 2 }}\n\
             operator: {operator}\n\
             system_account: {system}\n\
             resolver {{\n  type: full\n  dir: {accounts}\n  allow_delete: false\n  interval: \"2m\"\n  limit: {MAX_ACCOUNTS}\n}}\n\
             jetstream {{\n  store_dir: {store}\n  max_file_store: {file}\n  max_memory_store: {memory}\n  \
             sync_interval: always\n}}\n",
            name = string(&options.name),
            host = string(&options.listen.ip().to_string()),
            // The server takes -1, not 0, for a port of its own choice.
            port = if options.listen.port() == 0 { -1 } else { i32::from(options.listen.port()) },
            pid = path(&self.pid())?,
            ports = path(&self.ports())?,
            operator = string(&charter.operator_token),
            system = string(&charter.system_account),
            accounts = path(&self.accounts())?,
            store = path(&options.store)?,
            file = options.max_file_store,
            memory = options.max_memory_store,
        );
        // Writing to a string cannot fail.
        if let Some(tls) = &options.tls {
            let (certificate, key) = (path(&tls.certificate)?, path(&tls.key)?);
            let _ = writeln!(
                text,
                "tls {{\n  cert_file: {certificate}\n  key_file: {key}\n  min_version: \"1.2\"\n  timeout: 2\n}}"
            );
        }
        if let Some(cluster) = &options.cluster {
            text.push_str(&render_cluster(cluster, &options.name)?);
        }
        if let Some(account) = charter.bridged() {
            text.push_str(&render_leaf_nodes(options)?);
            text.push_str(&site::default_domain(&account));
        }
        if let Some(log) = &options.log {
            let _ = writeln!(text, "log_file: {}\nlogfile_size_limit: 10485760\nlogfile_max_num: 3", path(log)?);
        }
        Ok(text)
    }
}

/// The part of a server of a cluster. Its tag is its name: by it a stream is placed where its content is.
fn render_cluster(cluster: &Cluster, server: &str) -> Result<String, Error> {
    let routes: Vec<_> = cluster.routes.iter().map(|route| string(&format!("nats-route://{route}"))).collect();
    Ok(format!(
        "server_tags: [{tag}]\n\
         cluster {{\n  name: {name}\n  host: {host}\n  port: {port}\n  routes: [{routes}]\n  \
         ping_interval: \"{PING}s\"\n  ping_max: {MISSED}\n  \
         tls {{\n    cert_file: {certificate}\n    key_file: {key}\n    ca_file: {ca}\n    verify: true\n    \
         min_version: \"1.2\"\n    timeout: 2\n  }}\n}}\n",
        tag = string(server),
        name = string(&cluster.name),
        host = string(&cluster.listen.ip().to_string()),
        port = cluster.listen.port(),
        routes = routes.join(", "),
        certificate = path(&cluster.tls.certificate)?,
        key = path(&cluster.tls.key)?,
        ca = path(&cluster.ca)?,
    ))
}

/// The part that lets the servers of sites connect, as it lets clients.
fn render_leaf_nodes(options: &ServerOptions) -> Result<String, Error> {
    let listen = site::port(options.listen).ok_or(Error::LeafPort { address: options.listen })?;
    let mut text = format!("leafnodes {{\n  host: {}\n  port: {}\n", string(&listen.ip().to_string()), listen.port());
    if let Some(tls) = &options.tls {
        let (certificate, key) = (path(&tls.certificate)?, path(&tls.key)?);
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "  tls {{\n    cert_file: {certificate}\n    key_file: {key}\n    min_version: \"1.2\"\n    timeout: 2\n  }}"
        );
    }
    text.push_str("}\n");
    Ok(text)
}

/// How many bytes the store may fill: 75 % of what is free on its partition, counting what it holds already as free.
///
/// # Errors
///
/// [`Error::Room`] if the partition cannot be measured.
pub fn room(store: &Path) -> Result<u64, Error> {
    private_file::make_directory(store)?;
    let failed = |source| Error::Room { directory: store.to_owned(), source };
    let partition = rustix::fs::statvfs(store).map_err(|error| failed(error.into()))?;
    let free = partition.f_bavail.saturating_mul(partition.f_frsize);
    let held = held(store).map_err(failed)?;
    Ok(free.saturating_add(held) / 100 * STORE_SHARE)
}

/// Bytes in the files below a directory. Links are not followed; a million entries bound the walk.
fn held(directory: &Path) -> io::Result<u64> {
    let (mut bytes, mut left, mut waiting) = (0_u64, 1_000_000_u32, vec![directory.to_owned()]);
    while let Some(directory) = waiting.pop() {
        // A server that still runs, or is just ending, removes what it wrote: what is gone holds nothing.
        let Some(entries) = there(fs::read_dir(directory))? else { continue };
        for entry in entries {
            let entry = entry?;
            let Some(metadata) = there(entry.metadata())? else { continue };
            if metadata.is_dir() {
                waiting.push(entry.path());
            } else {
                bytes = bytes.saturating_add(metadata.len());
            }
            left = left.saturating_sub(1);
            if left == 0 {
                return Ok(bytes);
            }
        }
    }
    Ok(bytes)
}

/// What was found, if it is still there.
fn there<T>(found: io::Result<T>) -> io::Result<Option<T>> {
    match found {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn signed_by(operator: &str, file: &Path) -> bool {
    fs::read_to_string(file).is_ok_and(|text| {
        jwt::decode(text.trim())
            .is_ok_and(|claims| claims.iss == operator && file.file_stem().is_some_and(|stem| *stem == *claims.sub))
    })
}

fn path(path: &Path) -> Result<String, Error> {
    path.to_str().map(string).ok_or_else(|| Error::Path { shown: quoted(&path.to_string_lossy()) })
}

/// A quoted string of the server's configuration language, which knows few escapes.
pub(super) fn string(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for character in text.chars() {
        match character {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            other => quoted.push(other),
        }
    }
    quoted.push('"');
    quoted
}
