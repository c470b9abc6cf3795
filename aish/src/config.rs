//! The file that says how this host's node runs: what `aish up` takes, and what is tuned.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    time::Duration,
};

use aigis_node::{
    mesh::{CREDENTIAL_LIFE, DEFAULT_PORT},
    supply,
};
use aigis_proxy::{NodeName, text_file::Error};
use aigis_registry::toml_file::{self, Table};

use crate::{
    duration,
    exit::{Failure, Usage},
    quantity, url,
};

/// Its name in the mesh's directory.
pub(crate) const FILE: &str = "node.toml";
/// Where metrics are served if no port is named: where collectors look for an exporter of this kind.
pub(crate) const METRICS_PORT: u16 = 9464;

/// What the file says; what it does not say is left to the flags and their defaults.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Config {
    /// The node's name.
    pub(crate) name: Option<NodeName>,
    /// How long the credentials hold that this node issues.
    pub(crate) credential_life: Option<Duration>,
    /// The node's labels.
    pub(crate) labels: BTreeMap<String, String>,
    /// An existing bus to use.
    pub(crate) bus: Option<String>,
    /// Where an own bus listens.
    pub(crate) listen: Option<SocketAddr>,
    /// Where the engine is asked.
    pub(crate) engine: Option<String>,
    /// Where `/metrics` is served.
    pub(crate) metrics: Option<SocketAddr>,
    /// How many bytes of audit may wait for the bus.
    pub(crate) audit_room: Option<u64>,
    /// What Python apps are built on.
    pub(crate) python_image: Option<String>,
    /// What is said of the images that builds and apps name.
    pub(crate) images: supply::Settings,
    /// How long running calls get when the node ends.
    pub(crate) grace: Option<Duration>,
}

/// Where the files lie that a user writes: in `AIGIS_CONFIG_DIR`, else in `aigis` below `XDG_CONFIG_HOME` or `~/.config`.
pub(crate) fn folder() -> Option<PathBuf> {
    let named = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    named("AIGIS_CONFIG_DIR")
        .or_else(|| named("XDG_CONFIG_HOME").map(|path| path.join("aigis")))
        .or_else(|| named("HOME").map(|path| path.join(".config/aigis")))
}

impl Config {
    /// Reads the file.
    ///
    /// # Errors
    ///
    /// A usage error for a file that cannot be had; `invalid_argument`, beginning with the place, for what is wrong
    /// in it.
    pub(crate) fn read(path: &Path) -> Result<Self, Failure> {
        read(path).map_err(|error| match error {
            Error::Malformed { .. } => aigis_proxy::Error::invalid(error.to_string()).into(),
            _ => Failure::Usage(Usage {
                message: format!("the configuration file {}", aigis_proxy::with_causes(&error)),
                hint: Some("name another: aish up --node-config FILE".to_owned()),
            }),
        })
    }
}

fn read(path: &Path) -> Result<Config, Error> {
    toml_file::read(
        path,
        &["name", "credential_life", "labels", "bus", "engine", "metrics", "audit", "apps", "builds", "shutdown"],
        |root| {
            let mut config = Config {
                name: root.text("name", NodeName::choose)?,
                credential_life: root.text("credential_life", life)?,
                ..Config::default()
            };
            if let Some(labels) = root.table("labels", None)? {
                config.labels = read_labels(&labels)?;
            }
            if let Some(bus) = root.table("bus", Some(&["url", "listen", "port"]))? {
                config.bus = bus.text("url", |text| url::check("the address", text).map_err(words))?;
                config.listen = address(&bus, DEFAULT_PORT, own_address)?;
                if let Some(own) = ["listen", "port"].into_iter().find(|key| bus.has("url") && bus.has(key)) {
                    return Err(bus.refuse(own, "it is for a bus of this node's own, and url names another; keep one"));
                }
            }
            if let Some(engine) = root.table("engine", Some(&["address"]))? {
                config.engine = engine.text("address", engine_address)?;
            }
            if let Some(metrics) = root.table("metrics", Some(&["listen", "port"]))? {
                config.metrics = address(&metrics, METRICS_PORT, loopback)?;
            }
            if let Some(audit) = root.table("audit", Some(&["room"]))? {
                config.audit_room = audit.text("room", room)?;
            }
            if let Some(apps) = root.table("apps", Some(&["python_image"]))? {
                config.python_image = apps.text("python_image", image)?;
            }
            if let Some(builds) = root.table("builds", Some(&["base_images", "mirrors"]))? {
                if let Some(images) = builds.table("base_images", None)? {
                    config.images.base_images = pairs(&images, image, image)?;
                }
                if let Some(mirrors) = builds.table("mirrors", None)? {
                    config.images.mirrors = pairs(&mirrors, registry, mirror)?;
                }
            }
            if let Some(shutdown) = root.table("shutdown", Some(&["grace"]))? {
                config.grace = shutdown.text("grace", duration::parse)?;
            }
            Ok(config)
        },
    )
}

/// The pairs of a table whose keys are the author's own.
fn pairs(
    table: &Table<'_>,
    key: impl Fn(&str) -> Result<String, &'static str>,
    value: impl Fn(&str) -> Result<String, &'static str>,
) -> Result<BTreeMap<String, String>, Error> {
    let mut read = BTreeMap::new();
    for entry in table.entries() {
        let name = key(entry.key()).map_err(|why| entry.refuse_key(why))?;
        read.extend(table.text(entry.key(), &value)?.map(|value| (name, value)));
    }
    Ok(read)
}

fn read_labels(labels: &Table<'_>) -> Result<BTreeMap<String, String>, Error> {
    let mut read = BTreeMap::new();
    for entry in labels.entries() {
        let key = entry.key();
        let value =
            labels.text(key, |value| if key.is_empty() { Err("a label needs a key") } else { Ok(value.to_owned()) })?;
        read.extend(value.map(|value| (key.to_owned(), value)));
    }
    Ok(read)
}

/// The keys `listen` and `port` of a table, if one of them is there.
fn address(
    table: &Table<'_>,
    usual: u16,
    allowed: fn(IpAddr) -> Result<IpAddr, String>,
) -> Result<Option<SocketAddr>, Error> {
    let listen = table.text("listen", |text| {
        text.parse().map_err(|_| "write an IP address, such as 127.0.0.1".to_owned()).and_then(allowed)
    })?;
    let port = table.integer("port", 1..=u16::MAX)?;
    if listen.is_none() && port.is_none() {
        return Ok(None);
    }
    Ok(Some(SocketAddr::new(listen.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST)), port.unwrap_or(usual))))
}

/// An address of this host alone.
fn loopback(address: IpAddr) -> Result<IpAddr, String> {
    let reason = || format!("{address} is reached from other hosts; metrics are served on loopback: write 127.0.0.1");
    address.is_loopback().then_some(address).ok_or_else(reason)
}

/// One address of this host.
fn own_address(address: IpAddr) -> Result<IpAddr, String> {
    named(address)?;
    match TcpListener::bind((address, 0)) {
        Ok(_) => Ok(address),
        Err(error) => Err(format!("{address} is no address of this host ({error}); see: ip address")),
    }
}

/// Refuses the addresses that stand for all of a host's.
///
/// # Errors
///
/// Says why.
pub(crate) fn named(address: IpAddr) -> Result<IpAddr, String> {
    // Even containers on a network without a way out reach the host's services by their bridge's address.
    let reason = || {
        format!("{address} would offer the bus to every container of this host; name one address, such as 127.0.0.1")
    };
    (!address.is_unspecified()).then_some(address).ok_or_else(reason)
}

fn engine_address(text: &str) -> Result<String, String> {
    let path = text.strip_prefix("unix://").unwrap_or_default();
    let form = || "write the engine's socket, such as unix:///var/run/docker.sock".to_owned();
    path.starts_with('/').then(|| text.to_owned()).ok_or_else(form)
}

fn image(text: &str) -> Result<String, &'static str> {
    let form = "write an image's name, such as python:3.12-slim";
    aigis_registry::app_state::is_image(text).then(|| text.to_owned()).ok_or(form)
}

fn registry(text: &str) -> Result<String, &'static str> {
    let is_host = supply::is_registry(text) && aigis_registry::app_state::is_image(text) && !text.contains(['/', '@']);
    is_host.then(|| text.to_owned()).ok_or("write a registry's host, such as docker.io or ghcr.io")
}

fn mirror(text: &str) -> Result<String, &'static str> {
    let host = text.split('/').next().unwrap_or_default();
    let form =
        "write a mirror's host, perhaps with a path, and no http://, such as localhost:5000 or mirror.example/hub";
    let is_mirror = registry(host).is_ok() && aigis_registry::app_state::is_image(text) && !text.contains('@');
    is_mirror.then(|| text.to_owned()).ok_or(form)
}

/// How long a credential holds: the form of durations, and days.
fn life(text: &str) -> Result<Duration, String> {
    const SHORTEST: Duration = Duration::from_secs(60);
    let days = text.strip_suffix('d').and_then(|days| days.parse::<u8>().ok());
    let read = match days {
        Some(days) => Some(Duration::from_secs(u64::from(days) * 24 * 60 * 60)),
        None => duration::parse(text).ok(),
    };
    let form = || format!("\"{}\" is out of range: write 1m to 7d, such as 24h", aigis_proxy::quoted(text));
    read.filter(|life| (SHORTEST..=CREDENTIAL_LIFE).contains(life)).ok_or_else(form)
}

fn room(text: &str) -> Result<u64, String> {
    const RANGE: std::ops::RangeInclusive<u64> = 1 << 20..=1 << 30;
    let form = || format!("\"{}\" is out of range: write 1 MiB to 1 GiB, such as 64 MiB", aigis_proxy::quoted(text));
    quantity::parse(text).filter(|bytes| RANGE.contains(bytes)).ok_or_else(form)
}

/// The words of a failure that stands within another.
fn words(failure: Failure) -> String {
    let error = failure.into_error();
    error.message
}

#[cfg(test)]
mod tests;
