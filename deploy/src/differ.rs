//! In what two builds of the same image differ: entry by entry of their layers, and place by place of their configurations.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io::{self, BufReader, Read, Seek as _, SeekFrom},
};

use aigis_proxy::{Code, Error, blob::Hasher};
use aigis_registry::archive::{Member, Members, What};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    Digest,
    image::Platform,
    json::step,
    layer::{Kind, Layer},
    package::{Blobs, ImageRecord},
};

mod hint;

const BUFFER: usize = 128 * 1024;
/// How much of a file is looked at to say why it differs, in bytes.
const LOOKED_AT: u64 = 8 * 1024 * 1024;
/// Where a configuration names its layers, which are told one by one.
const LAYERS: &str = "/rootfs/diff_ids";

/// How something differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum How {
    /// What a file holds, or its capabilities.
    Content,
    /// Permission bits.
    Mode,
    /// User or group.
    Owner,
    /// Where a link leads.
    Link,
    /// It is in the second build alone, or is something else there.
    Added,
    /// It is in the first build alone, or is something else there.
    Removed,
    /// What the configuration says.
    Config,
}

/// One difference between two builds of an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    /// Of which container.
    pub container: String,
    /// For what machine.
    pub platform: Platform,
    /// In which layer: what it brings, and whose it is; none for one of the configuration.
    pub layer: Option<String>,
    /// A path below the root, or a JSON pointer (RFC 6901) into the configuration.
    pub path: String,
    /// How.
    pub kind: How,
    /// What the first build has: a digest, mode bits, an owner, a target, a value.
    pub a: Value,
    /// What the second has.
    pub b: Value,
    /// The first byte of a file that differs, counted from 0, as far as files are looked at: 8 MiB.
    pub offset: Option<u64>,
    /// What may be behind it, if its bytes tell.
    pub hint: Option<String>,
}

/// In what two builds of the same image differ, by path.
///
/// # Errors
///
/// `data_loss` for content that is not there, or cannot be read.
pub fn images(blobs: &Blobs, a: &ImageRecord, b: &ImageRecord) -> Result<Vec<Difference>, Error> {
    let mut found = Found { container: &a.container, platform: a.platform, all: Vec::new() };
    let (of_a, of_b) = (named(&a.layers), named(&b.layers));
    let names: BTreeSet<&String> = of_a.keys().chain(of_b.keys()).collect();
    for name in names {
        let (one, other) = (of_a.get(name), of_b.get(name));
        if one != other {
            layers(blobs, name, [one, other], &mut found)?;
        }
    }
    let config = |image: &ImageRecord| -> Result<Value, Error> {
        let document = blobs.document(&image.config)?;
        serde_json::from_slice(&document).map_err(|error| odd(&format!("the configuration {}", image.config), &error))
    };
    values("", Some(&config(a)?), Some(&config(b)?), &mut found);
    found.all.sort_by(|a, b| (&a.path, a.kind, &a.layer).cmp(&(&b.path, b.kind, &b.layer)));
    Ok(found.all)
}

/// The differences of an image so far.
struct Found<'a> {
    container: &'a str,
    platform: Platform,
    all: Vec<Difference>,
}

impl Found<'_> {
    fn add(&mut self, layer: Option<&str>, path: &str, kind: How, a: Value, b: Value) {
        let (container, platform) = (self.container.to_owned(), self.platform);
        let (layer, path) = (layer.map(str::to_owned), path.to_owned());
        self.all.push(Difference { container, platform, layer, path, kind, a, b, offset: None, hint: None });
    }
}

/// Layers by what they are called: what they bring and whose they are, those of a base by their place.
fn named(layers: &[Layer]) -> BTreeMap<String, Digest> {
    let name = |(at, layer): (usize, &Layer)| match (&layer.application, layer.kind) {
        (Some(application), kind) => (format!("{kind} {application}"), layer.digest),
        (None, Kind::Base) => (format!("base {at}"), layer.digest),
        (None, kind) => (kind.to_string(), layer.digest),
    };
    layers.iter().enumerate().map(name).collect()
}

/// The members of a layer by path, and the archive in which they lie.
struct Opened {
    file: File,
    members: BTreeMap<String, Member>,
}

impl Opened {
    fn of(blobs: &Blobs, digest: &Digest) -> Result<Self, Error> {
        let (file, _) = blobs.open_blob(digest)?;
        let mut reading = Members::new(BufReader::with_capacity(BUFFER, &file));
        let mut members = BTreeMap::new();
        while let Some(member) = reading.next().map_err(|error| odd(&format!("the layer {digest}"), &error))? {
            members.insert(member.path.clone(), member);
        }
        Ok(Self { file, members })
    }

    fn content(&self, member: &Member) -> io::Result<impl Read> {
        (&self.file).seek(SeekFrom::Start(member.at))?;
        Ok((&self.file).take(member.size))
    }

    /// The first bytes of a file.
    fn beginning(&self, member: &Member) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.content(member)?.take(LOOKED_AT).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// What stands for a member: the digest of a file with its capabilities, the target of a link, a directory's slash.
    fn told(&self, member: &Member) -> io::Result<Value> {
        Ok(match &member.what {
            What::File => {
                let mut hasher = Hasher::new();
                let mut content = self.content(member)?;
                let mut buffer = vec![0; BUFFER];
                loop {
                    match content.read(&mut buffer)? {
                        0 => break,
                        count => hasher.add(buffer.get(..count).unwrap_or_default()),
                    }
                }
                let digest = hasher.end().to_string();
                match &member.capability {
                    None => digest,
                    Some(capability) => format!("{digest} with the capabilities {}", Digest::of(capability)),
                }
                .into()
            }
            What::Directory => "/".into(),
            What::Link(target) | What::HardLink(target) => target.clone().into(),
            What::Other => Value::Null,
        })
    }
}

/// The differences of a layer; one build may lack it.
fn layers(blobs: &Blobs, layer: &str, digests: [Option<&Digest>; 2], found: &mut Found<'_>) -> Result<(), Error> {
    let open = |digest: Option<&Digest>| digest.map(|digest| Opened::of(blobs, digest)).transpose();
    let (a, b) = (open(digests[0])?, open(digests[1])?);
    let members = |of: &'_ Option<Opened>| of.iter().flat_map(|of| of.members.keys().cloned()).collect::<BTreeSet<_>>();
    let paths: BTreeSet<String> = members(&a).union(&members(&b)).cloned().collect();
    for path in paths {
        let of = |opened: &'_ Option<Opened>| opened.as_ref().and_then(|opened| opened.members.get(&path).cloned());
        entry(layer, [(a.as_ref(), of(&a)), (b.as_ref(), of(&b))], found)
            .map_err(|error| odd(&format!("the layer \"{layer}\" at {}", aigis_proxy::quoted(&path)), &error))?;
    }
    Ok(())
}

/// The differences of what stands at a path.
fn entry(layer: &str, sides: [(Option<&Opened>, Option<Member>); 2], found: &mut Found<'_>) -> io::Result<()> {
    let layer = Some(layer);
    let (one, other) = match sides {
        [(Some(of_a), Some(a)), (Some(of_b), Some(b))] => ((of_a, a), (of_b, b)),
        [(Some(of_a), Some(a)), _] => {
            found.add(layer, &a.path, How::Removed, of_a.told(&a)?, Value::Null);
            return Ok(());
        }
        [_, (Some(of_b), Some(b))] => {
            found.add(layer, &b.path, How::Added, Value::Null, of_b.told(&b)?);
            return Ok(());
        }
        _ => return Ok(()),
    };
    let ((of_a, a), (of_b, b)) = (one, other);
    match (&a.what, &b.what) {
        (What::Link(from), What::Link(to)) if from != to => {
            found.add(layer, &a.path, How::Link, from.clone().into(), to.clone().into());
        }
        (from, to) if from != to => {
            found.add(layer, &a.path, How::Removed, of_a.told(&a)?, Value::Null);
            found.add(layer, &a.path, How::Added, Value::Null, of_b.told(&b)?);
            return Ok(());
        }
        (What::File, What::File) => {
            let (from, to) = (of_a.told(&a)?, of_b.told(&b)?);
            if from != to {
                let (one, other) = (of_a.beginning(&a)?, of_b.beginning(&b)?);
                let offset = first(&one, &other);
                found.add(layer, &a.path, How::Content, from, to);
                if let (Some(at), Some(difference)) = (offset, found.all.last_mut()) {
                    difference.offset = Some(at as u64);
                    difference.hint = hint::of(&a.path, &one, &other, at).map(str::to_owned);
                }
            }
        }
        _ => {}
    }
    if a.mode != b.mode {
        let told = |mode: u32| Value::from(format!("{mode:04o}"));
        found.add(layer, &a.path, How::Mode, told(a.mode), told(b.mode));
    }
    if a.owner != b.owner {
        let told = |(user, group): (u32, u32)| Value::from(format!("{user}:{group}"));
        found.add(layer, &a.path, How::Owner, told(a.owner), told(b.owner));
    }
    Ok(())
}

/// The first place at which two contents differ.
fn first(a: &[u8], b: &[u8]) -> Option<usize> {
    let same = a.iter().zip(b).take_while(|(a, b)| a == b).count();
    (same < a.len().max(b.len())).then_some(same)
}

/// Where two configurations differ: as deep as both are objects, or arrays of one length.
fn values(at: &str, a: Option<&Value>, b: Option<&Value>, found: &mut Found<'_>) {
    match (a, b) {
        (a, b) if a == b || at == LAYERS => {}
        (Some(Value::Object(a)), Some(Value::Object(b))) => {
            let keys: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
            for key in keys {
                values(&format!("{at}/{}", step(key)), a.get(key), b.get(key), found);
            }
        }
        (Some(Value::Array(a)), Some(Value::Array(b))) if a.len() == b.len() => {
            for (index, (a, b)) in a.iter().zip(b).enumerate() {
                values(&format!("{at}/{index}"), Some(a), Some(b), found);
            }
        }
        (a, b) => {
            let told = |value: Option<&Value>| value.cloned().unwrap_or_default();
            found.add(None, at, How::Config, told(a), told(b));
        }
    }
}

fn odd(what: &str, error: &impl std::fmt::Display) -> Error {
    Error::new(Code::DataLoss, format!("{what} cannot be read: {error}")).hint("build or import the package again")
}

#[cfg(test)]
mod tests;
