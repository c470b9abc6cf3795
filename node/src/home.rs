//! Where a mesh keeps its files on this host: `DATA/<mesh>/`.

use std::{
    fs, io,
    io::Write as _,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use aigis_proxy::{
    MeshName, NodeName, SiteName, UserName,
    identity::{CaCertificate, Issuer, certificate},
    kv::KnownStore,
    text_file,
};
use serde::{Deserialize, Serialize};

/// The directory of one mesh on this host.
#[derive(Debug, Clone)]
pub struct Home {
    data: PathBuf,
    mesh: MeshName,
}

/// What every process on this host must know to reach the mesh: `mesh.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Written")]
pub struct MeshFile {
    /// The mesh.
    pub mesh: MeshName,
    /// The bus's address.
    pub bus: String,
    /// This host's node; none where only a person joined.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<NodeName>,
    /// The node that holds the mesh's signing keys.
    pub issuer: NodeName,
    /// Whether this host's node supervises the bus server.
    pub supervised: bool,
}

impl MeshFile {
    /// Whether this host joined a mesh whose signing keys are elsewhere.
    #[must_use]
    pub fn is_member(&self) -> bool {
        self.node.as_ref() != Some(&self.issuer)
    }
}

/// `mesh.json` as it is read: before hosts could join, each node had the signing keys itself.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    mesh: MeshName,
    bus: String,
    node: Option<NodeName>,
    issuer: Option<NodeName>,
    supervised: bool,
}

impl TryFrom<Written> for MeshFile {
    type Error = &'static str;

    fn try_from(written: Written) -> Result<Self, Self::Error> {
        let Written { mesh, bus, node, issuer, supervised } = written;
        let issuer = issuer.or_else(|| node.clone()).ok_or("it names neither node nor issuer")?;
        Ok(Self { mesh, bus, node, issuer, supervised })
    }
}

/// Why a file of the mesh is not usable.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It cannot be written.
    #[error("{} cannot be used", text_file::shown(.path))]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// It cannot be had, or holds something else.
    #[error(transparent)]
    File(#[from] text_file::Error),
}

impl Home {
    /// The directory of `mesh` below the data directory; nothing is made yet.
    #[must_use]
    pub fn new(data: impl Into<PathBuf>, mesh: MeshName) -> Self {
        Self { data: data.into(), mesh }
    }

    /// Makes the directory, readable by its owner alone.
    ///
    /// # Errors
    ///
    /// The directory cannot be made.
    pub fn create(&self) -> Result<(), Error> {
        for path in [self.root(), self.root().join("creds")] {
            make_directory(&path)?;
        }
        Ok(())
    }

    /// The mesh.
    #[must_use]
    pub fn mesh(&self) -> &MeshName {
        &self.mesh
    }

    /// The data directory, shared by all meshes.
    #[must_use]
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// The mesh's own directory.
    #[must_use]
    pub fn root(&self) -> PathBuf {
        self.data.join(self.mesh.as_str())
    }

    /// The credential of that user.
    #[must_use]
    pub fn credential(&self, user: &UserName) -> PathBuf {
        self.root().join("creds").join(format!("{user}.creds"))
    }

    /// The credential that commands use when none is named.
    #[must_use]
    pub fn default_credential(&self) -> PathBuf {
        self.root().join("creds").join("default.creds")
    }

    /// The mesh's signing keys, on the issuer alone.
    #[must_use]
    pub fn issuer(&self) -> PathBuf {
        self.root().join("issuer")
    }

    /// Who vouches for the mesh's users: public, and what credentials are checked against.
    #[must_use]
    pub fn issuer_file(&self) -> PathBuf {
        self.root().join("issuer.json")
    }

    /// The certificate of the mesh's CA, where its bus speaks TLS.
    #[must_use]
    pub fn ca_file(&self) -> PathBuf {
        self.root().join("ca.pem")
    }

    /// Which store of the bus is the mesh's.
    #[must_use]
    pub fn store_file(&self) -> PathBuf {
        self.root().join("store.json")
    }

    /// The supervised server's files.
    #[must_use]
    pub fn bus(&self) -> PathBuf {
        self.root().join("bus")
    }

    /// What the server of a site is given.
    #[must_use]
    pub fn site(&self, site: &SiteName) -> PathBuf {
        self.bus().join("sites").join(site.as_str())
    }

    /// What the supervised server writes.
    #[must_use]
    pub fn bus_log(&self) -> PathBuf {
        self.bus().join("server.log")
    }

    /// The journal of what changed something.
    #[must_use]
    pub fn audit(&self) -> PathBuf {
        self.root().join("audit")
    }

    /// What the node tells of itself, until the bus has it.
    #[must_use]
    pub fn report(&self) -> PathBuf {
        self.root().join("report")
    }

    /// What became of each instance of an app that ran here.
    #[must_use]
    pub fn apps(&self) -> PathBuf {
        self.root().join("apps")
    }

    /// What admins asked of the node at run time.
    #[must_use]
    pub fn duties_file(&self) -> PathBuf {
        self.root().join("duties.json")
    }

    /// What makes this host a plugin host, if it is one.
    #[must_use]
    pub fn plugin_host_file(&self) -> PathBuf {
        self.root().join("plugin-host.json")
    }

    /// The key that opens what is sealed to this host's node.
    #[must_use]
    pub fn sealing_key(&self) -> PathBuf {
        self.root().join("sealing.key")
    }

    /// Holds the node's process id; locked while it runs.
    #[must_use]
    pub fn pid_file(&self) -> PathBuf {
        self.root().join("node.pid")
    }

    /// Exists while the node answers; holds its process id.
    #[must_use]
    pub fn ready_file(&self) -> PathBuf {
        self.root().join("node.ready")
    }

    /// Where the node takes calls of this host.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.root().join("node.sock")
    }

    /// What a detached node writes.
    #[must_use]
    pub fn log_file(&self) -> PathBuf {
        self.root().join("node.log")
    }

    fn mesh_file(&self) -> PathBuf {
        self.root().join("mesh.json")
    }

    /// Reads `mesh.json`; `None` if this host is no part of this mesh.
    ///
    /// # Errors
    ///
    /// Unreadable, or malformed with its place.
    pub fn read_mesh(&self) -> Result<Option<MeshFile>, Error> {
        Ok(present(text_file::read_json(&self.mesh_file()))?)
    }

    /// Reads who vouches for the mesh's users; `None` if this host does not know.
    ///
    /// # Errors
    ///
    /// Unreadable, or malformed with its place.
    pub fn read_issuer(&self) -> Result<Option<Issuer>, Error> {
        Ok(present(text_file::read_json(&self.issuer_file()))?)
    }

    /// Reads which store of the bus is the mesh's; `None` if this host does not know yet.
    ///
    /// # Errors
    ///
    /// Unreadable, or malformed with its place.
    pub fn read_store(&self) -> Result<Option<KnownStore>, Error> {
        Ok(present(text_file::read_json(&self.store_file()))?)
    }

    /// Reads what a server at that address is checked by: the CA of the mesh, if it is known and the address asks for
    /// TLS.
    ///
    /// # Errors
    ///
    /// The file is unreadable, or holds something else.
    pub fn read_ca(&self, url: &str) -> Result<Option<CaCertificate>, certificate::Error> {
        if !url.split(',').any(|url| url.starts_with("tls://")) {
            return Ok(None);
        }
        match CaCertificate::read(&self.ca_file()) {
            Err(certificate::Error::Read(text_file::Error::Missing { .. })) => Ok(None),
            read => read.map(Some),
        }
    }

    /// Writes `mesh.json` in one step.
    ///
    /// # Errors
    ///
    /// The file cannot be written.
    pub fn write_mesh(&self, file: &MeshFile) -> Result<(), Error> {
        let text = serde_json::to_string_pretty(file).unwrap_or_default();
        replace(&self.mesh_file(), text.as_bytes())
    }

    /// Writes who vouches for the mesh's users in one step.
    ///
    /// # Errors
    ///
    /// The file cannot be written.
    pub fn write_issuer(&self, issuer: &Issuer) -> Result<(), Error> {
        let text = serde_json::to_string_pretty(issuer).unwrap_or_default();
        replace(&self.issuer_file(), text.as_bytes())
    }
}

/// Writes which store of the bus is the mesh's in one step, unless the file says so already.
///
/// # Errors
///
/// The file cannot be written.
pub fn write_store(file: &Path, known: &KnownStore) -> Result<(), Error> {
    let text = serde_json::to_string_pretty(known).unwrap_or_default();
    match fs::read(file).is_ok_and(|written| written == text.as_bytes()) {
        true => Ok(()),
        false => replace(file, text.as_bytes()),
    }
}

/// What was read, or nothing where there is no such file.
fn present<T>(read: Result<T, text_file::Error>) -> Result<Option<T>, text_file::Error> {
    match read {
        Ok(value) => Ok(Some(value)),
        Err(text_file::Error::Missing { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Makes a directory, readable by its owner alone.
///
/// # Errors
///
/// It cannot be made.
pub(crate) fn make_directory(path: &Path) -> Result<(), Error> {
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|source| Error::Io { path: path.to_owned(), source })
}

/// Replaces a file's content in one step, flushed, readable by its owner alone.
///
/// # Errors
///
/// The file cannot be written.
pub fn replace(path: &Path, content: &[u8]) -> Result<(), Error> {
    write_whole(path, content).map_err(|source| Error::Io { path: path.to_owned(), source })
}

/// As [`replace`], for those whose errors name the file themselves.
pub(crate) fn write_whole(path: &Path, content: &[u8]) -> io::Result<()> {
    let fresh = path.with_extension("new");
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&fresh, path)?;
    // The new name outlives a loss of power only once its directory is flushed too.
    fs::File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mesh_file_reads_back_and_a_bad_one_names_its_place() {
        let directory = tempfile::tempdir().unwrap();
        let home = Home::new(directory.path(), MeshName::parse("main").unwrap());
        home.create().unwrap();
        assert_eq!(home.read_mesh().unwrap(), None);
        let file = MeshFile {
            mesh: home.mesh().clone(),
            bus: "nats://127.0.0.1:4222".to_owned(),
            node: Some(NodeName::parse("alpha").unwrap()),
            issuer: NodeName::parse("alpha").unwrap(),
            supervised: true,
        };
        home.write_mesh(&file).unwrap();
        assert_eq!(home.read_mesh().unwrap(), Some(file.clone()));
        let before = r#"{"mesh": "main", "bus": "nats://127.0.0.1:4222", "node": "alpha", "supervised": true}"#;
        fs::write(home.mesh_file(), before).unwrap();
        assert_eq!(home.read_mesh().unwrap(), Some(file), "as it was written before hosts could join");
        fs::write(home.mesh_file(), "{\n  \"mesh\": 3}").unwrap();
        assert!(home.read_mesh().unwrap_err().to_string().contains("mesh.json:2:"));
    }

    #[test]
    fn bad_41_an_issuer_file_with_a_doubled_key_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let home = Home::new(directory.path(), MeshName::parse("main").unwrap());
        home.create().unwrap();
        assert_eq!(home.read_issuer().unwrap(), None);
        let text = "{\"mesh\": \"main\", \"account\": \"A\", \"roles\": {\"K\": \"viewer\",\n \"K\": \"admin\"}}";
        fs::write(home.issuer_file(), text).unwrap();
        let message = home.read_issuer().unwrap_err().to_string();
        assert!(message.contains("issuer.json:2:") && message.contains("$.roles.K"), "{message}");
    }
}
