//! A package as a file: an OCI image layout, and what `docker load` takes, in one archive. What comes in that way is
//! believed in nothing: every digest is made again.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{self, Read, Write},
    path::Path,
    time::Duration,
};

use aigis_proxy::{Code, Error, blob::Hasher, quoted};
use aigis_registry::archive::{self, Existing, Limits, Sink as _, Writer};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    ImageRecord, Known, Parents, Record, Registered, Registration, State, Store, blobs::unwritable, is_tag,
    store::IMPORTING, verify,
};
use crate::{Digest, image::media, json::canonical, source::of_file};

/// What an archive may hold: more than a tree in bytes, and far fewer files.
const LIMITS: Limits = Limits {
    entries: 20_000,
    file_bytes: 8 * 1024 * 1024 * 1024 - 1,
    total_bytes: 64 * 1024 * 1024 * 1024,
    time: Duration::from_secs(60 * 60),
};
/// Largest document of an archive beside its blobs.
const MAX_DOCUMENT: u64 = 8 * 1024 * 1024;
const RECORD: &str = "aigis/record.json";
const STATE: &str = "aigis/state.json";
const BUFFER: usize = 64 * 1024;

/// What of a package's state goes with it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Said {
    tags: BTreeSet<String>,
    labels: BTreeMap<String, String>,
    description: Option<String>,
}

impl Said {
    fn of(state: &State) -> Self {
        let State { tags, labels, description, .. } = state.clone();
        Self { tags, labels, description }
    }
}

/// The documents that go with a package's content: its record, and what is said of it.
///
/// # Errors
///
/// What makes JSON of them refuses.
pub(super) fn beside(known: &Known) -> Result<[Vec<u8>; 2], Error> {
    let value = |value: serde_json::Result<Value>| {
        value.map(|value| canonical(&value)).map_err(io::Error::from).map_err(stream)
    };
    Ok([value(serde_json::to_value(&known.record))?, value(serde_json::to_value(Said::of(&known.state)))?])
}

/// Writes a package as an archive, with its source trees if they are wanted. This blocks.
///
/// # Errors
///
/// `data_loss` for content that is not there, or is not what its name says; what `out` refuses.
pub fn export<W: Write>(store: &Store, known: &Known, sources: bool, out: W) -> Result<W, Error> {
    let record = &known.record;
    let made_of = record.sources();
    store.bring(record, |digest| sources || !made_of.contains(digest))?;
    let mut blobs = store.content(record)?;
    if sources {
        blobs.extend(made_of);
    }
    let mut documents = documents(store, record)?;
    let [own, said] = beside(known)?;
    documents.insert(RECORD.to_owned(), own);
    documents.insert(STATE.to_owned(), said);
    let mut entries: BTreeMap<String, Option<Digest>> = documents.keys().map(|path| (path.clone(), None)).collect();
    entries.extend(blobs.iter().map(|digest| (path_of(digest), Some(*digest))));
    let mut writer = Writer::new(out);
    let mut made = BTreeSet::new();
    for (path, blob) in &entries {
        for (end, _) in path.match_indices('/') {
            let above = path.get(..end).unwrap_or_default();
            if made.insert(above) {
                writer.directory(above).map_err(stream)?;
            }
        }
        match blob {
            None => {
                let bytes = documents.get(path).map(Vec::as_slice).unwrap_or_default();
                writer.file(path, false, bytes.len() as u64).map_err(stream)?;
                writer.content(bytes).map_err(stream)?;
                writer.end_file(bytes.len() as u64).map_err(stream)?;
            }
            Some(digest) => copy(store, digest, &mut writer)?,
        }
    }
    writer.end().map_err(stream)
}

/// Writes a blob, and sees to it that it is what its name says.
pub(super) fn copy<W: Write>(store: &Store, digest: &Digest, writer: &mut Writer<W>) -> Result<(), Error> {
    let (mut file, size) = store.blobs().open_blob(digest)?;
    writer.file(&path_of(digest), false, size).map_err(stream)?;
    let mut hasher = Hasher::new();
    let mut buffer = vec![0; BUFFER];
    let mut copied = 0;
    loop {
        let count = file.read(&mut buffer).map_err(|error| damaged(digest, &error.to_string()))?;
        let bytes = buffer.get(..count).unwrap_or_default();
        copied += count as u64;
        if count == 0 || copied > size {
            break;
        }
        hasher.add(bytes);
        writer.content(bytes).map_err(stream)?;
    }
    if copied != size || hasher.end() != *digest {
        return Err(damaged(digest, "it holds something else"));
    }
    writer.end_file(size).map_err(stream)
}

/// What an archive holds beside blobs, by path: what readers of OCI layouts and `docker load` look for.
fn documents(store: &Store, record: &Record) -> Result<BTreeMap<String, Vec<u8>>, Error> {
    let sized = |digest: &Digest| store.blobs().open_blob(digest).map(|(_, size)| size);
    let mut manifests = vec![json!({
        "mediaType": media::INDEX, "digest": record.id, "size": sized(&record.id)?,
        "annotations": {"org.opencontainers.image.ref.name": record.short()},
    })];
    let mut loaded = Vec::new();
    for image in &record.images {
        let name = engine_name(record, image);
        manifests.push(json!({
            "mediaType": media::MANIFEST, "digest": image.output, "size": sized(&image.output)?,
            "platform": {"architecture": image.platform.architecture(), "os": "linux"},
            "annotations": {
                "io.containerd.image.name": format!("docker.io/{name}"), "org.opencontainers.image.ref.name": name,
            },
        }));
        let layers: Vec<String> = image.layers.iter().map(|layer| path_of(&layer.digest)).collect();
        loaded.push(json!({"Config": path_of(&image.config), "RepoTags": [name], "Layers": layers}));
    }
    let index = json!({"schemaVersion": 2, "mediaType": media::INDEX, "manifests": manifests});
    Ok([
        ("index.json", canonical(&index)),
        ("manifest.json", canonical(&Value::from(loaded))),
        ("oci-layout", canonical(&json!({"imageLayoutVersion": "1.0.0"}))),
    ]
    .map(|(path, bytes)| (path.to_owned(), bytes))
    .into())
}

/// What an engine that takes in the archive of a package calls one of its images.
#[must_use]
pub fn engine_name(record: &Record, image: &ImageRecord) -> String {
    let several = record.images.iter().filter(|other| other.container == image.container).count() > 1;
    let machine = if several { format!("-{}", image.platform.architecture()) } else { String::new() };
    format!("{}/{}:{}{machine}", record.project, image.container, record.short())
}

/// Takes in a package that [`export`] wrote: all of it is judged before anything is kept. This blocks.
///
/// # Errors
///
/// `invalid_argument` that names what is wrong with it.
pub fn import(store: &Store, reader: impl Read) -> Result<Registered, Error> {
    let place = tempfile::Builder::new().prefix(IMPORTING).tempdir_in(store.root());
    let place = place.map_err(|error| unwritable(store.root(), &error))?;
    let tree = place.path().join("tree");
    archive::unpack(reader, &tree, Existing::Refuse, &LIMITS).map_err(|error| match error {
        // Too much is wrong with an archive as well as anything else.
        archive::Error::Limit { .. } => Error { code: Code::InvalidArgument, ..Error::from(error) },
        error => error.into(),
    })?;
    let (files, blobs) = listed(&tree)?;
    let record: Record = document(&tree, RECORD)?;
    let said: Said = document(&tree, STATE)?;
    // It is judged where it lies, as a store of its own would be.
    let own = Store::open(&place.path().join("store"))?;
    for digest in &blobs {
        let file = tree.join(path_of(digest));
        own.blobs().adopt(&file, digest).map_err(|error| unwritable(&file, &error))?;
    }
    let named = verify::verify(own.blobs(), &record).map_err(refused)?;
    let expected = documents(&own, &record).map_err(refused)?;
    for (path, bytes) in &expected {
        if fs::read(tree.join(path)).ok().as_ref() != Some(bytes) {
            return Err(wrong(&format!("{path} is not what the package's record says")));
        }
    }
    let is_part = |path: &String| path == RECORD || path == STATE || expected.contains_key(path);
    if let Some(path) = files.iter().find(|path| !is_part(path)) {
        return Err(wrong(&format!("\"{}\" is no part of a package", quoted(path))));
    }
    take(store, &own, &blobs, &named, record, said)
}

/// Registers a package that was judged, and keeps its content, which lies in a store of its own.
pub(super) fn take(
    store: &Store,
    own: &Store,
    blobs: &[Digest],
    named: &BTreeSet<Digest>,
    record: Record,
    said: Said,
) -> Result<Registered, Error> {
    if let Some(digest) = blobs.iter().find(|digest| !named.contains(digest)) {
        return Err(wrong(&format!("the content {digest} is no part of the package")));
    }
    let Said { tags, labels, description } = said;
    if let Some(tag) = tags.iter().find(|tag| !is_tag(tag)) {
        return Err(wrong(&format!("\"{}\" is no tag", quoted(tag))));
    }
    for digest in blobs {
        let file = own.blobs().path(digest);
        store.blobs().adopt(&file, digest).map_err(|error| unwritable(&file, &error))?;
    }
    store.register(Registration { record, build: None, tags, labels, description, parents: Parents::Recorded })
}

/// The files of an unpacked archive, and its blobs, each of which is what its name says.
fn listed(tree: &Path) -> Result<(Vec<String>, Vec<Digest>), Error> {
    let unreadable = |error: io::Error| unwritable(tree, &error);
    let (mut files, mut blobs) = (Vec::new(), Vec::new());
    let mut waiting = vec![String::new()];
    while let Some(above) = waiting.pop() {
        for entry in fs::read_dir(tree.join(&above)).map_err(unreadable)? {
            let entry = entry.map_err(unreadable)?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let path = if above.is_empty() { name.clone() } else { format!("{above}/{name}") };
            let kind = entry.file_type().map_err(unreadable)?;
            if kind.is_dir() {
                waiting.push(path);
            } else if kind.is_symlink() {
                return Err(wrong(&format!("\"{}\" is a link", quoted(&path))));
            } else if above == "blobs/sha256" {
                let digest: Digest = format!("sha256:{name}").parse().map_err(refused)?;
                if of_file(&entry.path()).map_err(unreadable)? != digest {
                    return Err(wrong(&format!("{path} does not hold what its name says")));
                }
                blobs.push(digest);
            } else {
                files.push(path);
            }
        }
    }
    Ok((files, blobs))
}

/// A document of an unpacked archive.
fn document<T: serde::de::DeserializeOwned>(tree: &Path, path: &str) -> Result<T, Error> {
    let mut bytes = Vec::new();
    let file = fs::File::open(tree.join(path)).map_err(|_| wrong(&format!("{path} is missing")))?;
    file.take(MAX_DOCUMENT).read_to_end(&mut bytes).map_err(|error| unwritable(tree, &error))?;
    parsed(&bytes, path)
}

/// What a document says that came from elsewhere.
pub(super) fn parsed<T: serde::de::DeserializeOwned>(bytes: &[u8], path: &str) -> Result<T, Error> {
    let value = aigis_proxy::json::read(bytes).map_err(|error| wrong(&format!("{path}: {}", error.message)))?;
    serde_json::from_value(value).map_err(|error| wrong(&format!("{path}: {error}")))
}

pub(super) fn path_of(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

/// Refuses an archive.
pub(super) fn wrong(what: &str) -> Error {
    Error::invalid(format!("this is no package that could be taken: {what}"))
        .hint("nothing was kept; export it again where it is known: aish packages export ID -o FILE, or push it again")
}

/// Whatever is wrong with what an archive holds is the archive's fault.
pub(super) fn refused(error: Error) -> Error {
    if error.code == Code::InvalidArgument { error } else { wrong(&error.message) }
}

pub(super) fn stream(error: io::Error) -> Error {
    archive::Error::Stream(error).into()
}

fn damaged(digest: &Digest, why: &str) -> Error {
    Error::new(Code::DataLoss, format!("the content {digest} of the package cannot be read: {why}"))
        .hint("build or import the package again")
}
