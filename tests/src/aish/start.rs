//! How a mesh of one node is started: where, with which options, over which engine.

use std::path::{Path, PathBuf};

use super::{Mesh, Place, Ran};
use crate::Disk;

impl Mesh {
    /// Starts a mesh of one node, `alpha`, over the machine's engine.
    #[must_use]
    pub fn up() -> Self {
        Self::up_over(None)
    }

    /// Starts a mesh over the engine at that address.
    ///
    /// # Panics
    ///
    /// Panics when it does not come up.
    #[must_use]
    pub fn up_over(engine: Option<&str>) -> Self {
        Self::up_in(engine.map(|engine| ("DOCKER_HOST", engine.to_owned())).into_iter().collect())
    }

    /// The directory of a mesh that nobody has started yet.
    #[must_use]
    pub fn absent() -> Self {
        Self::new(&[], Vec::new())
    }

    /// As [`Mesh::absent`], on that disk.
    #[must_use]
    pub fn absent_on(disk: &Disk) -> Self {
        Self::below(disk.path(), &[], Vec::new())
    }

    /// Starts a mesh of one node, `alpha`, on that disk.
    ///
    /// # Panics
    ///
    /// As [`Mesh::up_over`].
    #[must_use]
    pub fn up_on(disk: &Disk) -> Self {
        let mesh = Self::below(disk.path(), &["--name", "alpha", "--listen", "127.0.0.1:0"], Vec::new());
        mesh.start();
        mesh
    }

    /// Starts a mesh whose bus listens there.
    ///
    /// # Panics
    ///
    /// As [`Mesh::up_over`].
    #[must_use]
    pub fn up_at(listen: &str) -> Self {
        let mesh = Self::new(&["--name", "alpha", "--listen", listen], Vec::new());
        mesh.start();
        mesh
    }

    /// Starts a mesh of one node, `alpha`, with more options of `aish up`.
    ///
    /// # Panics
    ///
    /// As [`Mesh::up_over`].
    #[must_use]
    pub fn up_with(options: &[&str]) -> Self {
        let mesh = Self::new(&[&["--name", "alpha", "--listen", "127.0.0.1:0"], options].concat(), Vec::new());
        mesh.start();
        mesh
    }

    /// Starts a mesh, every command of it with these variables in its environment.
    ///
    /// # Panics
    ///
    /// As [`Mesh::up_over`].
    #[must_use]
    pub fn up_in(environment: Vec<(&'static str, String)>) -> Self {
        let mesh = Self::new(&["--name", "alpha", "--listen", "127.0.0.1:0"], environment);
        mesh.start();
        mesh
    }

    /// Starts a mesh of one node, `alpha`, whose Aigis config file holds that text.
    ///
    /// # Panics
    ///
    /// As [`Mesh::up_over`].
    #[must_use]
    pub fn hosting(config: &str) -> Self {
        Self::hosting_in(config, Vec::new())
    }

    /// As [`Mesh::hosting`], every command of it with these variables in its environment.
    ///
    /// # Panics
    ///
    /// As [`Mesh::up_over`].
    #[must_use]
    pub fn hosting_in(config: &str, environment: Vec<(&'static str, String)>) -> Self {
        let mesh = Self::new(&["--name", "alpha", "--listen", "127.0.0.1:0"], environment);
        mesh.configure(config);
        mesh.start();
        mesh
    }

    /// Writes that into the node's Aigis config file.
    ///
    /// # Panics
    ///
    /// Panics when it cannot be written.
    pub fn configure(&self, config: &str) {
        std::fs::write(self.config(), config).unwrap_or_else(|error| panic!("{error}"));
    }

    /// Where that file lies.
    #[must_use]
    pub fn config(&self) -> PathBuf {
        self.data.join("config.aigis")
    }

    pub(super) fn new(up: &[&str], environment: Vec<(&'static str, String)>) -> Self {
        Self::below(&std::env::temp_dir(), up, environment)
    }

    fn below(place: &Path, up: &[&str], environment: Vec<(&'static str, String)>) -> Self {
        let directory = tempfile::Builder::new().prefix("aigis-mesh").tempdir_in(place);
        let directory = directory.unwrap_or_else(|error| panic!("{error}"));
        let data = directory.path().to_owned();
        Self { binary: binary(), data, place: Place::Here(directory), up: up_detached(up), environment }
    }

    /// The node of a lab's host, which nobody has started yet.
    pub(crate) fn on(host: aigis_lab::Host, up: &[&str]) -> Self {
        let (data, up) = (host.data(), up_detached(up));
        Self { binary: binary(), data, place: Place::Host(host), up, environment: Vec::new() }
    }

    /// The node of a lab's host that runs a bus server of its own, by that program.
    pub(crate) fn with_server(host: aigis_lab::Host, up: &[&str], program: &Path) -> Self {
        let mut node = Self::on(host, up);
        node.environment.push(("AIGIS_NATS_SERVER", program.display().to_string()));
        node
    }

    /// Starts the node, as at first or after a stop.
    ///
    /// # Panics
    ///
    /// Panics when it does not come up.
    pub fn start(&self) {
        let up = self.try_start();
        assert_eq!(up.code, 0, "{up:?}\n{}", self.log());
    }

    /// Starts the node with these variables in its environment as well.
    ///
    /// # Panics
    ///
    /// As [`Mesh::start`].
    pub fn start_with(&self, environment: &[(&str, String)]) {
        let up = self.aish_in(environment, &self.up);
        assert_eq!(up.code, 0, "{up:?}\n{}", self.log());
    }

    /// Starts the node if that can be done.
    pub fn try_start(&self) -> Ran {
        self.aish(&self.up)
    }
}

fn up_detached(options: &[&str]) -> Vec<String> {
    ["up", "--detach"].iter().chain(options).map(ToString::to_string).collect()
}

/// The binary that was built with this test.
fn binary() -> PathBuf {
    let test = std::env::current_exe().unwrap_or_else(|error| panic!("{error}"));
    let target = test.ancestors().find(|path| path.join("aish").is_file()).map(Path::to_path_buf);
    target.unwrap_or_else(|| panic!("build the binary first: cargo build --bin aish")).join("aish")
}
