//! Images and packages as the OCI image specification writes them: canonical JSON, so that equal content has equal digests.

use std::{collections::BTreeMap, str::FromStr};

use aigis_proxy::{Error, blob::Digest};
use serde_json::{Map, Value, json};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

pub use crate::manifest::Platform;
use crate::{json::canonical, layer::Layer, plan::Health};

/// Media types.
pub mod media {
    /// Of an index.
    pub const INDEX: &str = "application/vnd.oci.image.index.v1+json";
    /// Of an image's manifest.
    pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
    /// Of an image's configuration.
    pub const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
    /// Of a layer that is not compressed.
    pub const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
    /// Of a configuration that says nothing.
    pub const EMPTY: &str = "application/vnd.oci.empty.v1+json";
    /// Of a package's document.
    pub const PACKAGE: &str = "application/vnd.aigis.package.v1+json";
    /// Of the manifest of a project.
    pub const PROJECT: &str = "application/vnd.aigis.manifest.v1+json";
    /// Of its lock.
    pub const LOCK: &str = "application/vnd.aigis.lock.v1+json";
    /// Of a layer that gzip compressed.
    pub const GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
    /// Of what is known of a package beside its content.
    pub const RECORD: &str = "application/vnd.aigis.record.v1+json";
    /// Of what is said of a package.
    pub const STATE: &str = "application/vnd.aigis.state.v1+json";
}

/// What programs are looked for in where no base says it.
const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// The configuration of a document: it has none.
pub const NOTHING: &[u8] = b"{}";
const SECOND: u64 = 1_000_000_000;

impl FromStr for Platform {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        [Self::Amd64, Self::Arm64].into_iter().find(|platform| platform.to_string() == text).ok_or_else(|| {
            let shown = aigis_proxy::quoted(text);
            Error::invalid(format!("\"{shown}\" is no platform; known are linux/amd64 and linux/arm64"))
        })
    }
}

/// What an image stands on.
#[derive(Debug, Clone)]
pub struct Base {
    /// The digest of its configuration, by which it is known.
    pub digest: Digest,
    /// Its configuration.
    pub config: Value,
    /// Its layers.
    pub layers: Vec<Layer>,
}

/// What an image is to be.
#[derive(Debug, Clone)]
pub struct Settings {
    /// For what machine.
    pub platform: Platform,
    /// The time of all that it says, in seconds since 1970.
    pub epoch: u64,
    /// Its environment over that of the base, in this order.
    pub env: Vec<(String, String)>,
    /// Its command.
    pub argv: Vec<String>,
    /// `UID:GID` as whom it runs.
    pub user: String,
    /// Where it runs.
    pub directory: String,
    /// The ports on which it listens.
    pub ports: Vec<u16>,
    /// Its labels over those of the base.
    pub labels: BTreeMap<String, String>,
    /// How its health is looked at.
    pub health: Option<Health>,
}

/// An image: two documents, and layers that lie elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// Its configuration.
    pub config: Vec<u8>,
    /// Its manifest, whose digest is the image's.
    pub manifest: Vec<u8>,
    /// Its layers, the base's first.
    pub layers: Vec<Layer>,
    /// Which of several machines of its architecture it is for, if its base says so.
    pub variant: Option<String>,
}

impl Image {
    /// The image of these layers on a base, or on nothing.
    ///
    /// # Errors
    ///
    /// `invalid_argument` for a time that no date has.
    pub fn of(settings: &Settings, base: Option<&Base>, layers: &[Layer]) -> Result<Self, Error> {
        let nothing = Value::Null;
        let above = base.and_then(|base| base.config.get("config")).unwrap_or(&nothing);
        Self::assembled(settings.platform, settings.epoch, runs(settings, above), base, layers)
    }

    /// The image of these layers on a base, or on nothing, of which is said how its containers run; what is empty of that is
    /// left out.
    ///
    /// # Errors
    ///
    /// As [`Image::of`].
    pub fn assembled(
        platform: Platform,
        epoch: u64,
        runs: Map<String, Value>,
        base: Option<&Base>,
        layers: &[Layer],
    ) -> Result<Self, Error> {
        let created = instant(epoch)?;
        let nothing = Value::Null;
        let above = base.map_or(&nothing, |base| &base.config);
        let own: Vec<&Layer> = layers.iter().collect();
        let all: Vec<Layer> = base.iter().flat_map(|base| &base.layers).chain(own.iter().copied()).cloned().collect();
        let mut history = above.get("history").and_then(Value::as_array).cloned().unwrap_or_default();
        history.extend(own.iter().map(|layer| {
            let whose = layer.application.as_ref().map(|name| format!(" {name}")).unwrap_or_default();
            json!({"created": created, "created_by": format!("aigis {}{whose}", layer.kind)})
        }));
        let diff_ids: Vec<&Digest> = all.iter().map(|layer| &layer.digest).collect();
        let variant = above.get("variant").and_then(Value::as_str).map(str::to_owned);
        let mut config = json!({
            "architecture": platform.architecture(), "os": "linux", "created": created, "history": history,
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
            "config": runs.into_iter().filter(|(_, value)| !is_empty(value)).collect::<Map<_, _>>(),
        });
        if let (Some(variant), Some(config)) = (&variant, config.as_object_mut()) {
            config.insert("variant".to_owned(), variant.as_str().into());
        }
        let config = canonical(&config);
        let manifest = manifest(&config, &all);
        Ok(Self { config, manifest, layers: all, variant })
    }
}

/// The part of a configuration that says how a container runs.
fn runs(settings: &Settings, base: &Value) -> Map<String, Value> {
    let mut config = Map::new();
    let mut put = |key: &str, value: Value| drop(config.insert(key.to_owned(), value));
    let over = |key: &str, ours: Map<String, Value>| {
        let mut all = base.get(key).and_then(Value::as_object).cloned().unwrap_or_default();
        all.extend(ours);
        Value::Object(all)
    };
    put("Env", environment(&settings.env, base).into());
    put("Cmd", settings.argv.clone().into());
    put("User", settings.user.clone().into());
    put("WorkingDir", settings.directory.clone().into());
    put(
        "ExposedPorts",
        over("ExposedPorts", settings.ports.iter().map(|port| (format!("{port}/tcp"), json!({}))).collect()),
    );
    put(
        "Labels",
        over("Labels", settings.labels.iter().map(|(key, value)| (key.clone(), value.clone().into())).collect()),
    );
    put("Volumes", over("Volumes", Map::new()));
    put("StopSignal", base.get("StopSignal").cloned().unwrap_or_default());
    if let Some(health) = &settings.health {
        put("Healthcheck", healthcheck(health));
    }
    config
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(items) => items.is_empty(),
        Value::String(text) => text.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    }
}

/// How a configuration says that the health of its containers is looked at.
pub(crate) fn healthcheck(health: &Health) -> Value {
    let test: Vec<&str> = std::iter::once("CMD").chain(health.argv.iter().map(String::as_str)).collect();
    let nanoseconds = |seconds: u32| u64::from(seconds) * SECOND;
    json!({
        "Test": test, "Interval": nanoseconds(health.interval_s), "Timeout": nanoseconds(health.timeout_s),
        "StartPeriod": nanoseconds(health.start_s), "Retries": health.retries,
    })
}

/// The base's variables in its order, ours in their places, and behind them what it has not.
pub(crate) fn environment(own: &[(String, String)], base: &Value) -> Vec<String> {
    let mut all: Vec<String> = match base.get("Env").and_then(Value::as_array) {
        Some(lines) => lines.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        None => vec![PATH.to_owned()],
    };
    for (name, value) in own {
        let line = format!("{name}={value}");
        match all.iter_mut().find(|known| known.split_once('=').is_some_and(|(known, _)| known == name)) {
            Some(known) => *known = line,
            None => all.push(line),
        }
    }
    all
}

/// What names some content: its type, its digest, its size.
#[must_use]
pub fn descriptor(media_type: &str, content: &[u8]) -> Value {
    json!({"mediaType": media_type, "digest": Digest::of(content), "size": content.len()})
}

/// The manifest of an image with that configuration and these layers.
#[must_use]
pub fn manifest(config: &[u8], layers: &[Layer]) -> Vec<u8> {
    let layers =
        layers.iter().map(|layer| json!({"mediaType": media::LAYER, "digest": layer.digest, "size": layer.size_bytes}));
    canonical(&json!({
        "schemaVersion": 2, "mediaType": media::MANIFEST, "config": descriptor(media::CONFIG, config),
        "layers": layers.collect::<Vec<_>>(),
    }))
}

/// What a project's documents are in its package: an image manifest without an image.
#[must_use]
pub fn document(manifest: &[u8], lock: &[u8]) -> Vec<u8> {
    canonical(&json!({
        "schemaVersion": 2, "mediaType": media::MANIFEST, "artifactType": media::PACKAGE,
        "config": descriptor(media::EMPTY, NOTHING),
        "layers": [descriptor(media::PROJECT, manifest), descriptor(media::LOCK, lock)],
    }))
}

/// A package: the index of its document and its images, each with its container and platform, sorted by these.
#[must_use]
pub fn index(project: &str, document: &[u8], images: &[(&str, Platform, &Image)]) -> Vec<u8> {
    let mut first = descriptor(media::MANIFEST, document);
    first["artifactType"] = media::PACKAGE.into();
    let mut manifests = vec![first];
    manifests.extend(images.iter().map(|(container, platform, image)| {
        let mut described = descriptor(media::MANIFEST, &image.manifest);
        described["platform"] = json!({"architecture": platform.architecture(), "os": "linux"});
        if let Some(variant) = &image.variant {
            described["platform"]["variant"] = variant.as_str().into();
        }
        described["annotations"] = json!({"aigis.container": container});
        described
    }));
    canonical(&json!({
        "schemaVersion": 2, "mediaType": media::INDEX, "manifests": manifests, "annotations": {"aigis.project": project},
    }))
}

/// A time as images write it: RFC 3339 in UTC.
fn instant(epoch: u64) -> Result<String, Error> {
    let time = i64::try_from(epoch).ok().and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok());
    time.and_then(|time| time.format(&Rfc3339).ok())
        .ok_or_else(|| Error::invalid(format!("the epoch {epoch} lies beyond the year 9999; give an earlier one")))
}

#[cfg(test)]
mod tests;
