//! A project to be deployed.

use std::fs;

use aigis_tests::{Mesh, Ran, docker, nonce};
use serde_json::{Value, json};

/// A project of which each container serves a directory; what engines have of it goes with this.
pub(super) struct Project {
    directory: tempfile::TempDir,
    pub(super) name: String,
}

impl Project {
    pub(super) fn new(word: &str) -> Self {
        let project = Self { directory: tempfile::tempdir().unwrap(), name: format!("shop-{}", nonce()) };
        project.write("index.html", word);
        project
    }

    pub(super) fn container(&self, name: &str) -> String {
        format!("{name}-{}", self.name)
    }

    pub(super) fn write(&self, file: &str, content: &str) {
        fs::write(self.directory.path().join(file), content).unwrap();
    }

    pub(super) fn path(&self) -> String {
        self.directory.path().to_str().unwrap().to_owned()
    }

    /// Writes a manifest of these containers; `command` is what runs in all.
    pub(super) fn manifest(&self, command: &[&str], containers: &[(&str, Value)]) {
        self.manifest_of(json!({"run_command": command}), containers);
    }

    /// Writes a manifest of these containers, in which an application of these keys runs.
    pub(super) fn manifest_of(&self, mut application: Value, containers: &[(&str, Value)]) {
        application["type"] = "files".into();
        let container = |(name, keys): &(&str, Value)| {
            let mut all = json!({"base_image": "busybox", "applications": ["site"], "ports": [8080], "grace_s": 1});
            all.as_object_mut().unwrap().extend(keys.as_object().unwrap().clone());
            (self.container(name), all)
        };
        let manifest = json!({
            "manifest_version": "1.0", "project": {"name": self.name},
            "applications": {"site": application},
            "containers": containers.iter().map(container).collect::<serde_json::Map<_, _>>(),
        });
        self.write("aigis.json", &manifest.to_string());
    }

    /// Changes the manifest.
    pub(super) fn amend(&self, change: impl FnOnce(&mut Value)) {
        let text = fs::read(self.directory.path().join("aigis.json")).unwrap();
        let mut manifest = serde_json::from_slice(&text).unwrap();
        change(&mut manifest);
        self.write("aigis.json", &manifest.to_string());
    }

    pub(super) fn deploy(&self, mesh: &Mesh, options: &[&str]) -> Ran {
        mesh.aish([&["deploy", &self.path(), "--json"], options].concat())
    }

    pub(super) fn deployed(&self, mesh: &Mesh) -> Value {
        let ran = self.deploy(mesh, &[]);
        assert_eq!(ran.code, 0, "{ran:?}\n{}", mesh.log());
        ran.json()
    }

    pub(super) fn id(&self, container: &str) -> String {
        docker(None, &["ps", "-aq", "--no-trunc", "--filter", &format!("name=^{}$", self.container(container))])
    }

    /// The names of its containers that run, without those that only run a command.
    pub(super) fn running(&self) -> Vec<String> {
        let (of, replicas) = (format!("label=aigis.deployment={}", self.name), "label=aigis.container");
        let names = docker(None, &["ps", "--filter", &of, "--filter", replicas, "--format", "{{.Names}}"]);
        names.lines().map(str::to_owned).collect()
    }

    /// The id of the image that a container runs.
    pub(super) fn image(&self, container: &str) -> String {
        docker(None, &["inspect", "--format", "{{.Image}}", &self.container(container)])
    }

    /// What is known of it, if anything is.
    pub(super) fn shown(&self, mesh: &Mesh) -> Option<Value> {
        let ran = mesh.aish(["deployments", "show", &self.name, "--json"]);
        (ran.code == 0).then(|| ran.json())
    }

    /// What one container gets from another by its name.
    pub(super) fn fetched(&self, from: &str, of: &str) -> String {
        let url = format!("http://{}:8080/index.html", self.container(of));
        docker(None, &["exec", &self.container(from), "wget", "-qO-", &url])
    }

    pub(super) fn history(&self, mesh: &Mesh) -> Vec<(u64, String)> {
        let history = mesh.aish(["deployments", "history", &self.name, "--json"]).good().json();
        let one = |release: &Value| (release["n"].as_u64().unwrap(), release["outcome"].as_str().unwrap().to_owned());
        history.as_array().unwrap().iter().map(one).collect()
    }
}

impl Drop for Project {
    fn drop(&mut self) {
        let label = format!("label=aigis.deployment={}", self.name);
        for id in docker(None, &["ps", "-aq", "--filter", &label]).lines() {
            docker(None, &["rm", "-f", "-v", id]);
        }
        let owner = format!("label=aigis.owner=deployment/{}", self.name);
        for kind in ["network", "volume"] {
            for id in docker(None, &[kind, "ls", "-q", "--filter", &owner]).lines() {
                docker(None, &[kind, "rm", id]);
            }
        }
    }
}
