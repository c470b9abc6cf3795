//! What makes containers and networks, waits for them, and removes them.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use http_body_util::BodyExt as _;
use hyper::Method;
use serde_json::{Value, json};

use super::{ContainerId, Engine, Error, Inspection, REQUEST, RestartPolicy, error::Asked, query};

/// How long making or removing a container may take on a busy host.
const LONG: Duration = Duration::from_secs(60);

/// A directory or file of this host that a container sees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bind {
    /// Where it is on this host.
    pub source: PathBuf,
    /// Where the container finds it.
    pub target: String,
    /// Whether the container may write there.
    pub writable: bool,
}

/// A volume of the engine that a container sees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume {
    /// The volume's name; it is made if there is none.
    pub name: String,
    /// Where the container finds it.
    pub target: String,
}

/// A container that is to be made. It is never privileged and gains no privileges.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Recipe {
    /// The image, by id or name.
    pub image: String,
    /// In place of the image's `ENTRYPOINT`, if present.
    pub entrypoint: Option<Vec<String>>,
    /// In place of the image's `CMD`, if present.
    pub command: Option<Vec<String>>,
    /// `KEY=VALUE` lines besides the image's own; the engine shows them to whoever inspects it.
    pub env: Vec<String>,
    /// In place of the image's `WORKDIR`, if present.
    pub workingdir: Option<String>,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// What it sees of this host.
    pub binds: Vec<Bind>,
    /// The volumes that it sees.
    pub volumes: Vec<Volume>,
    /// Its network: `none`, `bridge`, or one that was made.
    pub network: String,
    /// Most bytes of memory, swap included.
    pub memory: Option<u64>,
    /// Processors, in billionths.
    pub nano_cpus: Option<u64>,
    /// Most processes.
    pub pids: Option<u64>,
    /// What it is called inside, if that is to be known.
    pub hostname: Option<String>,
    /// In place of the image's `USER`, if present.
    pub user: Option<String>,
    /// Which of the usual capabilities it lacks.
    pub without: Vec<String>,
    /// Whether its standard input stays open, though nobody writes to it.
    pub input: bool,
    /// Its names in its network, beside its own.
    pub aliases: Vec<String>,
    /// Names of others, each with the address by which it reaches them.
    pub hosts: BTreeMap<String, IpAddr>,
    /// Addresses of this host that lead to its TCP ports.
    pub publish: BTreeMap<u16, SocketAddr>,
    /// What the engine does when it ends; nothing if absent.
    pub restart: Option<RestartPolicy>,
    /// How long it has to end by itself, in seconds, where nobody says otherwise.
    pub grace_s: Option<u32>,
}

impl Recipe {
    fn body(&self) -> Value {
        let binds = self.binds.iter().map(
            |bind| json!({ "Type": "bind", "Source": bind.source, "Target": bind.target, "ReadOnly": !bind.writable }),
        );
        let volumes = self
            .volumes
            .iter()
            .map(|volume| json!({ "Type": "volume", "Source": volume.name, "Target": volume.target }));
        let mounts: Vec<Value> = binds.chain(volumes).collect();
        let port = |port: &u16| format!("{port}/tcp");
        let hosts: Vec<String> = self.hosts.iter().map(|(name, address)| format!("{name}:{address}")).collect();
        let published = self.publish.iter().map(|(inside, at)| {
            (port(inside), json!([{ "HostIp": at.ip().to_string(), "HostPort": at.port().to_string() }]))
        });
        let published: serde_json::Map<String, Value> = published.collect();
        let exposed: serde_json::Map<String, Value> =
            self.publish.keys().map(|inside| (port(inside), json!({}))).collect();
        let restart = self.restart.clone().unwrap_or_default();
        let mut body = json!({
            "Image": self.image,
            "ExposedPorts": exposed,
            "Env": self.env,
            "Labels": self.labels,
            "HostConfig": {
                "Mounts": mounts,
                "NetworkMode": self.network,
                "Memory": self.memory.unwrap_or(0),
                "MemorySwap": self.memory.unwrap_or(0),
                "NanoCpus": self.nano_cpus.unwrap_or(0),
                "PidsLimit": self.pids,
                "Privileged": false,
                "CapDrop": self.without,
                "SecurityOpt": ["no-new-privileges"],
                "RestartPolicy": {
                    "Name": if restart.name.is_empty() { "no" } else { &restart.name },
                    "MaximumRetryCount": restart.maximum_retries,
                },
                "ExtraHosts": hosts,
                "PortBindings": published,
                // Its log is read as it grows; what was read long ago need not fill the disk.
                "LogConfig": { "Type": "json-file", "Config": { "max-size": "64m", "max-file": "2" } },
            },
        });
        let mut set = |key: &str, value: Option<Value>| {
            if let (Some(value), Some(body)) = (value, body.as_object_mut()) {
                body.insert(key.to_owned(), value);
            }
        };
        set("Entrypoint", self.entrypoint.as_ref().map(|words| json!(words)));
        set("Cmd", self.command.as_ref().map(|words| json!(words)));
        set("Hostname", self.hostname.as_ref().map(|name| json!(name)));
        set("User", self.user.as_ref().map(|user| json!(user)));
        set("OpenStdin", self.input.then(|| json!(true)));
        set("StopTimeout", self.grace_s.map(|seconds| json!(seconds)));
        let named = json!({ "EndpointsConfig": { (self.network.clone()): { "Aliases": self.aliases } } });
        set("NetworkingConfig", (!self.aliases.is_empty()).then_some(named));
        set("WorkingDir", self.workingdir.as_ref().map(|path| json!(path)));
        body
    }
}

impl Engine {
    /// Makes a container under that name, and does not start it.
    ///
    /// # Errors
    ///
    /// As every request; [`Error::Conflict`] if the name is taken, [`Error::NotFound`] if there is no such image.
    pub async fn create(&self, name: &str, recipe: &Recipe) -> Result<ContainerId, Error> {
        const ASK: Asked = Asked { what: "make the container", endpoint: "POST /containers/create" };
        let mut asked = query::Query::new();
        asked.add("name", name);
        let path = format!("/containers/create{asked}");
        let made = self.ask(ASK, LONG, Method::POST, &path, Some(&recipe.body())).await?;
        let id = made.get("Id").and_then(Value::as_str).unwrap_or_default();
        id.parse().map_err(|error: super::InvalidContainerId| self.malformed(ASK, error.to_string()))
    }

    /// Reads about the container of that name; `None` if there is none.
    ///
    /// # Errors
    ///
    /// As every request.
    pub async fn find(&self, name: &str) -> Result<Option<Inspection>, Error> {
        const ASK: Asked = Asked { what: "inspect the container", endpoint: "GET /containers/NAME/json" };
        match self.json(ASK, &format!("/containers/{}/json", query::escape(name))).await {
            Ok(value) => Inspection::read(value).map(Some).map_err(|what| self.malformed(ASK, what)),
            Err(Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Waits until a container has ended, however long that takes, and gives its exit code.
    ///
    /// # Errors
    ///
    /// As every request; [`Error::NotFound`] if it is gone.
    pub async fn wait(&self, id: &ContainerId) -> Result<i64, Error> {
        const ASK: Asked = Asked { what: "wait for the container", endpoint: "POST /containers/ID/wait" };
        let path = format!("/containers/{id}/wait");
        let body = bollard::body_full(bytes::Bytes::new());
        let answer = self.ask_long(ASK, Method::POST, &path, "application/json", body).await?;
        let bytes = http_body_util::Limited::new(answer, 64 * 1024).collect().await;
        let bytes = match bytes {
            Ok(bytes) => bytes.to_bytes(),
            // The engine went away meanwhile, and whoever waits looks again.
            Err(_) => {
                self.ping(REQUEST).await?;
                return Err(self.malformed(ASK, "it broke off".to_owned()));
            }
        };
        let value: Value =
            serde_json::from_slice(&bytes).map_err(|error| self.malformed(ASK, format!("no exit code: {error}")))?;
        let code = value.get("StatusCode").and_then(Value::as_i64);
        code.ok_or_else(|| self.malformed(ASK, "it has no StatusCode".to_owned()))
    }

    /// Sends a signal, such as `SIGTERM`, to a container's first process.
    ///
    /// # Errors
    ///
    /// As every request; [`Error::Conflict`] if it does not run.
    pub async fn signal(&self, id: &ContainerId, signal: &str) -> Result<(), Error> {
        const ASK: Asked = Asked { what: "signal the container", endpoint: "POST /containers/ID/kill" };
        let mut asked = query::Query::new();
        asked.add("signal", signal);
        self.ask(ASK, REQUEST, Method::POST, &format!("/containers/{id}/kill{asked}"), None).await.map(drop)
    }

    /// Removes a container with its anonymous volumes, whether it runs or not; nothing happens if it is gone.
    ///
    /// # Errors
    ///
    /// As every request.
    pub async fn remove(&self, id: &ContainerId) -> Result<(), Error> {
        const ASK: Asked = Asked { what: "remove the container", endpoint: "DELETE /containers/ID" };
        match self.ask(ASK, LONG, Method::DELETE, &format!("/containers/{id}?force=1&v=1"), None).await {
            // Gone, or on its way.
            Err(Error::NotFound { .. } | Error::Conflict { .. }) => Ok(()),
            removed => removed.map(drop),
        }
    }

    /// Makes a bridge network; one of that name that is there already is taken.
    ///
    /// # Errors
    ///
    /// As every request.
    pub async fn create_network(&self, name: &str, labels: &BTreeMap<String, String>) -> Result<(), Error> {
        self.create_network_at(name, labels, None).await
    }

    /// Makes a bridge network as [`Engine::create_network`] does, with these addresses, such as `10.231.0.0/28`.
    ///
    /// # Errors
    ///
    /// As every request; [`Error::Refused`] where they overlap those of another network.
    pub async fn create_network_at(
        &self,
        name: &str,
        labels: &BTreeMap<String, String>,
        addresses: Option<&str>,
    ) -> Result<(), Error> {
        const ASK: Asked = Asked { what: "make the network", endpoint: "POST /networks/create" };
        let mut body = json!({ "Name": name, "CheckDuplicate": true, "Driver": "bridge", "Labels": labels });
        if let (Some(addresses), Some(body)) = (addresses, body.as_object_mut()) {
            body.insert("IPAM".to_owned(), json!({ "Config": [{ "Subnet": addresses }] }));
        }
        match self.ask(ASK, LONG, Method::POST, "/networks/create", Some(&body)).await {
            Err(Error::Conflict { .. }) => Ok(()),
            made => made.map(drop),
        }
    }

    /// Removes a network; nothing happens if it is gone.
    ///
    /// # Errors
    ///
    /// As every request; [`Error::Refused`] while a container is on it.
    pub async fn remove_network(&self, name: &str) -> Result<(), Error> {
        const ASK: Asked = Asked { what: "remove the network", endpoint: "DELETE /networks/NAME" };
        match self.ask(ASK, LONG, Method::DELETE, &format!("/networks/{}", query::escape(name)), None).await {
            Err(Error::NotFound { .. }) => Ok(()),
            removed => removed.map(drop),
        }
    }

    /// The names of the networks that bear a label of that key, with their labels.
    ///
    /// # Errors
    ///
    /// As every request.
    pub async fn networks(&self, label: &str) -> Result<BTreeMap<String, BTreeMap<String, String>>, Error> {
        const ASK: Asked = Asked { what: "list its networks", endpoint: "GET /networks" };
        let mut asked = query::Query::new();
        asked.add("filters", &json!({ "label": [label] }).to_string());
        let value = self.json(ASK, &format!("/networks{asked}")).await?;
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let read = |network: &Value| {
            let labels = network.get("Labels").and_then(Value::as_object);
            let labels = labels.into_iter().flatten().filter_map(|(key, value)| Some((key.clone(), text(value)?)));
            Some((network.get("Name").and_then(text)?, labels.collect()))
        };
        let found = value.as_array().map_or(&[][..], Vec::as_slice);
        Ok(found.iter().filter_map(read).collect())
    }

    /// The names of all volumes.
    ///
    /// # Errors
    ///
    /// As every request.
    pub async fn volumes(&self) -> Result<Vec<String>, Error> {
        const ASK: Asked = Asked { what: "list its volumes", endpoint: "GET /volumes" };
        let value = self.json(ASK, "/volumes").await?;
        let found = value.get("Volumes").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        Ok(found.iter().filter_map(|volume| volume.get("Name")?.as_str()).map(str::to_owned).collect())
    }

    /// Removes a volume; nothing happens if it is gone.
    ///
    /// # Errors
    ///
    /// As every request; [`Error::Conflict`] while a container uses it.
    pub async fn remove_volume(&self, name: &str) -> Result<(), Error> {
        const ASK: Asked = Asked { what: "remove the volume", endpoint: "DELETE /volumes/NAME" };
        match self.ask(ASK, LONG, Method::DELETE, &format!("/volumes/{}", query::escape(name)), None).await {
            Err(Error::NotFound { .. }) => Ok(()),
            removed => removed.map(drop),
        }
    }
}
