//! In what two packages differ: from what is kept of both, without building either.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, BufReader},
};

use aigis_proxy::{
    Error,
    blob::{Digest, Hasher},
};
use aigis_registry::archive::{self, Limits, Sink};
use serde::Serialize;
use serde_json::Value;

use super::{CONTEXT, Record, Store};
use crate::{image::Platform, json::step, layer::Kind};

/// In what a package differs from another.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Differences {
    /// What of the manifest: JSON pointers (RFC 6901).
    pub spec: Vec<String>,
    /// What of the source trees.
    pub files: Vec<FileDifference>,
    /// What of the lock files, by application and path; `aigis.lock` is that of the project.
    pub locks: Vec<LockDifference>,
    /// What of the bases.
    pub bases: Vec<ImageDifference>,
    /// What of the layers.
    pub layers: Vec<ImageDifference>,
}

/// How a file differs.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct FileDifference {
    /// Whose source it is.
    pub application: String,
    /// Where in it.
    pub path: String,
    /// How.
    pub kind: Change,
}

/// What happened to a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Change {
    /// It is in the package alone.
    Added,
    /// It is in the other alone.
    Removed,
    /// What it holds, or where it leads.
    Content,
    /// Whether it can be run.
    Mode,
}

/// A lock file that differs.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct LockDifference {
    /// Whose it is; nobody's, if it is the project's.
    pub application: Option<String>,
    /// Its path in the project.
    pub file: String,
}

/// Something of an image that differs.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct ImageDifference {
    /// Of which container.
    pub container: String,
    /// For what machine.
    pub platform: Platform,
    /// Which: a base's reference, or a layer's kind and application.
    pub what: String,
    /// In the package.
    pub a: Option<Digest>,
    /// In the other.
    pub b: Option<Digest>,
}

impl Differences {
    /// In what `a` differs from `b`.
    ///
    /// # Errors
    ///
    /// `data_loss` for content that cannot be read.
    pub fn of(store: &Store, a: &Record, b: &Record) -> Result<Self, Error> {
        let needed: BTreeSet<Digest> =
            [a, b].into_iter().flat_map(|record| record.sources().into_iter().chain([record.spec])).collect();
        for record in [a, b] {
            store.bring(record, |digest| needed.contains(digest))?;
        }
        let mut found = Self::default();
        pointers("", Some(&manifest(store, a)?), Some(&manifest(store, b)?), &mut found.spec);
        found.files = files(store, a, b)?;
        found.files.extend(dockerfiles(store, a, b)?);
        found.locks = locks(a, b);
        found.bases = images(a, b, |record| {
            let of = |image: &super::ImageRecord| image.bases.clone().into_iter().collect();
            record.images.iter().map(|image| ((image.container.clone(), image.platform), of(image))).collect()
        });
        found.layers = images(a, b, |record| {
            let of = |image: &super::ImageRecord| {
                let named = |(at, layer): (usize, &crate::layer::Layer)| match (&layer.application, layer.kind) {
                    (Some(application), kind) => (format!("{kind} {application}"), layer.digest),
                    (None, Kind::Base) => (format!("base {at}"), layer.digest),
                    (None, kind) => (kind.to_string(), layer.digest),
                };
                image.layers.iter().enumerate().map(named).collect()
            };
            record.images.iter().map(|image| ((image.container.clone(), image.platform), of(image))).collect()
        });
        Ok(found)
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// The manifest that a package carries.
fn manifest(store: &Store, record: &Record) -> Result<Value, Error> {
    store.value(&record.spec)
}

/// The places at which two values differ: as deep as both are objects, or arrays of one length.
fn pointers(at: &str, a: Option<&Value>, b: Option<&Value>, found: &mut Vec<String>) {
    match (a, b) {
        (Some(Value::Object(a)), Some(Value::Object(b))) => {
            let keys: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
            for key in keys {
                pointers(&format!("{at}/{}", step(key)), a.get(key), b.get(key), found);
            }
        }
        (Some(Value::Array(a)), Some(Value::Array(b))) if a.len() == b.len() => {
            for (index, (a, b)) in a.iter().zip(b).enumerate() {
                pointers(&format!("{at}/{index}"), Some(a), Some(b), found);
            }
        }
        (a, b) if a == b => {}
        _ => found.push(at.to_owned()),
    }
}

fn files(store: &Store, a: &Record, b: &Record) -> Result<Vec<FileDifference>, Error> {
    let mut found = Vec::new();
    let applications: BTreeSet<&String> = a.trees.keys().chain(b.trees.keys()).collect();
    for application in applications {
        let (of_a, of_b) = (a.trees.get(application), b.trees.get(application));
        if of_a == of_b {
            continue;
        }
        let (of_a, of_b) = (listed(store, of_a)?, listed(store, of_b)?);
        let paths: BTreeSet<&String> = of_a.keys().chain(of_b.keys()).collect();
        let change = |path: &String| match (of_a.get(path), of_b.get(path)) {
            (Some(_), None) => Some(Change::Added),
            (None, Some(_)) => Some(Change::Removed),
            (Some((_, a)), Some((_, b))) if a != b => Some(Change::Content),
            (Some((a, _)), Some((b, _))) if a != b => Some(Change::Mode),
            _ => None,
        };
        let differing = paths.into_iter().filter_map(|path| Some((path, change(path)?)));
        found.extend(differing.map(|(path, kind)| FileDifference {
            application: application.clone(),
            path: path.clone(),
            kind,
        }));
    }
    Ok(found)
}

/// The Dockerfiles that differ, by the paths at which they were.
fn dockerfiles(store: &Store, a: &Record, b: &Record) -> Result<Vec<FileDifference>, Error> {
    let of = |record: &Record| -> BTreeMap<String, Digest> {
        record.images.iter().filter_map(|image| Some((image.container.clone(), image.dockerfile?))).collect()
    };
    let (manifest, before) = (manifest(store, a)?, of(b));
    let changed = of(a).into_iter().filter(|(name, own)| before.get(name).is_some_and(|other| other != own));
    let path = |name: &str| manifest["containers"][name]["dockerfile"].as_str().unwrap_or_default().to_owned();
    let paths: BTreeSet<String> = changed.map(|(name, _)| path(&name)).collect();
    let difference = |path| FileDifference { application: CONTEXT.to_owned(), path, kind: Change::Content };
    Ok(paths.into_iter().map(difference).collect())
}

/// By path: the mode, and what is there.
type Listed = BTreeMap<String, (char, Digest)>;

fn listed(store: &Store, tree: Option<&Digest>) -> Result<Listed, Error> {
    let mut listing = Listing::default();
    if let Some(tree) = tree {
        let (file, _) = store.blobs().open_blob(tree)?;
        archive::read(BufReader::new(file), &mut listing, &Limits::TREE)?;
    }
    Ok(listing.files)
}

/// Takes the files of a tree by their digests.
#[derive(Default)]
struct Listing {
    files: Listed,
    open: Option<(String, char, Hasher)>,
}

impl Sink for Listing {
    fn directory(&mut self, _: &str) -> io::Result<()> {
        Ok(())
    }

    fn link(&mut self, path: &str, target: &str) -> io::Result<()> {
        self.files.insert(path.to_owned(), ('l', Digest::of(target.as_bytes())));
        Ok(())
    }

    fn file(&mut self, path: &str, executable: bool, _: u64) -> io::Result<()> {
        self.open = Some((path.to_owned(), if executable { 'x' } else { '-' }, Hasher::new()));
        Ok(())
    }

    fn content(&mut self, bytes: &[u8]) -> io::Result<()> {
        if let Some((_, _, hasher)) = &mut self.open {
            hasher.add(bytes);
        }
        Ok(())
    }

    fn end_file(&mut self, _: u64) -> io::Result<()> {
        if let Some((path, mode, hasher)) = self.open.take() {
            self.files.insert(path, (mode, hasher.end()));
        }
        Ok(())
    }
}

fn locks(a: &Record, b: &Record) -> Vec<LockDifference> {
    let flat = |record: &Record| -> BTreeMap<(Option<String>, String), Digest> {
        let of = record.locked.iter().flat_map(|(application, locks)| {
            locks.iter().map(|(file, digest)| ((Some(application.clone()), file.clone()), *digest))
        });
        of.chain([((None, "aigis.lock".to_owned()), record.lock)]).collect()
    };
    let (a, b) = (flat(a), flat(b));
    let keys: BTreeSet<&(Option<String>, String)> = a.keys().chain(b.keys()).collect();
    let differing = keys.into_iter().filter(|key| a.get(key) != b.get(key));
    differing
        .map(|(application, file)| LockDifference { application: application.clone(), file: file.clone() })
        .collect()
}

/// By image, what of it is named how.
type Named = BTreeMap<(String, Platform), BTreeMap<String, Digest>>;

fn images(a: &Record, b: &Record, named: impl Fn(&Record) -> Named) -> Vec<ImageDifference> {
    let (a, b) = (named(a), named(b));
    let nothing = BTreeMap::new();
    let mut found = Vec::new();
    let images: BTreeSet<&(String, Platform)> = a.keys().chain(b.keys()).collect();
    for image in images {
        let (of_a, of_b) = (a.get(image).unwrap_or(&nothing), b.get(image).unwrap_or(&nothing));
        let names: BTreeSet<&String> = of_a.keys().chain(of_b.keys()).collect();
        for name in names.into_iter().filter(|name| of_a.get(*name) != of_b.get(*name)) {
            found.push(ImageDifference {
                container: image.0.clone(),
                platform: image.1,
                what: name.clone(),
                a: of_a.get(name).copied(),
                b: of_b.get(name).copied(),
            });
        }
    }
    found
}
