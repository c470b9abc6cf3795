//! What the images of a package say of themselves.

use aigis_proxy::{Code, Error};
use serde_json::Value;

use super::{
    super::{ImageRecord, Record, Store},
    Found, Outcome, all,
};
use crate::{
    Digest,
    manifest::{Health, Lock, Manifest},
};

/// What the configuration of each image comes to.
pub(super) fn each(
    store: &Store,
    record: &Record,
    judge: impl Fn(&ImageRecord, &Value) -> Found,
) -> Result<Found, Error> {
    store.bring(record, |digest| record.images.iter().any(|image| image.config == *digest))?;
    let mut parts = Vec::new();
    for image in &record.images {
        let config = store.value(&image.config)?;
        parts.push(judge(image, config.get("config").unwrap_or(&Value::Null)));
    }
    Ok(all(parts))
}

/// As whom an image runs: a name may be of any number, so it tells nothing.
pub(super) fn user(image: &ImageRecord, config: &Value) -> Found {
    let user = config.get("User").and_then(Value::as_str).unwrap_or_default();
    let shown = if user.is_empty() { "nobody in particular, so root" } else { user };
    let name = user.split(':').next().unwrap_or_default();
    let outcome = match name.parse::<u64>() {
        Ok(0) => Outcome::Fail,
        Ok(_) => Outcome::Pass,
        Err(_) if matches!(name, "" | "root") => Outcome::Fail,
        Err(_) => Outcome::Unknown,
    };
    (outcome, vec![format!("{} {} runs as {shown}", image.container, image.platform)])
}

/// How the health of an image is looked at: by itself, or by the node as the manifest says.
pub(super) fn health(manifest: &Manifest, image: &ImageRecord, config: &Value) -> Found {
    let of = format!("{} {}", image.container, image.platform);
    let test = config.pointer("/Healthcheck/Test").and_then(Value::as_array).cloned().unwrap_or_default();
    let words: Vec<&str> = test.iter().filter_map(Value::as_str).collect();
    if let Some((&("CMD" | "CMD-SHELL"), command @ [_, ..])) = words.split_first() {
        return (Outcome::Pass, vec![format!("{of}: {}", command.join(" "))]);
    }
    let said = manifest.containers.get(image.container.as_str()).and_then(|container| container.health.as_ref());
    match said {
        Some(Health { http: Some(path), .. }) => (Outcome::Pass, vec![format!("{of}: its node asks for {path}")]),
        Some(Health { tcp: Some(port), .. }) => (Outcome::Pass, vec![format!("{of}: its node connects to {port}")]),
        _ => (Outcome::Fail, vec![format!("{of} has no health check")]),
    }
}

/// Whether what each image stands on is content that the lock knows, or that its reference names.
pub(super) fn pinned(store: &Store, record: &Record) -> Result<Found, Error> {
    store.bring(record, |digest| *digest == record.lock)?;
    let lock = Lock::read(&store.blobs().document(&record.lock)?)
        .map_err(|error| Error::new(Code::DataLoss, error.to_string()))?;
    Ok(all(record.images.iter().flat_map(|image| of_image(&lock, image))))
}

fn of_image(lock: &Lock, image: &ImageRecord) -> Vec<Found> {
    let of = format!("{} {}", image.container, image.platform);
    if image.bases.is_empty() {
        let (outcome, shown) = match image.tier {
            2 => (Outcome::Unknown, "its Dockerfile alone says what it stands on"),
            _ => (Outcome::Pass, "it stands on no image from elsewhere"),
        };
        return vec![(outcome, vec![format!("{of}: {shown}")])];
    }
    let judge = |(reference, config): (&String, &Digest)| {
        let locked = lock.bases.get(reference).and_then(|platforms| platforms.get(&image.platform));
        match locked {
            Some(base) if base.config == *config => {
                (Outcome::Pass, vec![format!("{of}: {reference} is {config} in aigis.lock")])
            }
            _ if reference.contains("@sha256:") => (Outcome::Pass, vec![format!("{of}: {reference}")]),
            _ => (Outcome::Fail, vec![format!("{of}: aigis.lock does not know {reference}")]),
        }
    };
    image.bases.iter().map(judge).collect()
}
