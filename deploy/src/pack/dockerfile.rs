//! Images that Dockerfiles make: an engine builds them, and what it put above the base is put together anew (tier 2).

use std::{
    collections::BTreeMap,
    fs,
    io::{BufWriter, Read as _},
};

use aigis_proxy::{Code, Error, Name, quoted, services::builds::DOCKERFILE};
use serde_json::{Map, Value, json};

use super::{BUFFER, Packer, epoch, health, not_kept, stream};
use crate::{
    Digest, dockerfile,
    image::{Base, Image, Platform},
    inputs::Inputs,
    layer::{
        Kind, Layer,
        entries::{Entries, Form},
    },
    manifest::Container,
    package::{CONTEXT, Record},
    phase::ImageBuild,
    source::{self, Source},
};

/// By what images of Dockerfiles are put together: raised whenever the bytes would change.
const BUILDER: &str = "dockerfile/1";
/// Longest Dockerfile, in bytes.
const LONGEST: u64 = 1024 * 1024;
/// What of a configuration says how a container runs.
const RUNS: [&str; 12] = [
    "Cmd",
    "Entrypoint",
    "Env",
    "ExposedPorts",
    "Healthcheck",
    "Labels",
    "OnBuild",
    "Shell",
    "StopSignal",
    "User",
    "Volumes",
    "WorkingDir",
];

impl<'a> Packer<'a> {
    /// The image of a container that has a Dockerfile.
    pub(super) fn by_dockerfile(
        &mut self,
        name: &'a Name,
        container: &'a Container,
        path: &str,
        platform: Platform,
    ) -> Result<(), Error> {
        let request = self.request;
        let builder = request.builder.ok_or_else(|| Error::internal("a Dockerfile is built without an engine"))?;
        let engine = builder.engine(platform)?;
        let epoch = epoch(request.document.manifest.packaging.epoch, request.commit_epoch)?;
        let text = match request.recorded {
            Some(recorded) => self.recorded_text(recorded, name, platform)?,
            None => read(request.project, path)?,
        };
        let context = self.context()?;
        let said = dockerfile::images(&text).map_err(|line| {
            let message = format!("{}:{line} names an image that only the build could tell", quoted(path));
            Error::invalid(message).hint("write the image out, or give its ARG a value above the first FROM")
        })?;
        let mut bases = BTreeMap::new();
        for reference in &said.all {
            bases.insert(reference.clone(), self.engines(reference, platform)?);
        }
        let base = said.base.as_ref().map(|base| self.image_base(name, base, platform)).transpose()?;
        builder.say(&format!("=> {name} is built by {path}"));
        let dockerfile = self.blobs.put(text.as_bytes())?;
        let wanted = ImageBuild { dockerfile: text, context, bases: bases.clone(), platform, fresh: request.fresh };
        let made = builder
            .build(self.blobs, &wanted)
            .map_err(|error| Error { message: format!("the container \"{name}\": {}", error.message), ..error })?;
        // Whether the engine took anything from its cache is not known: it may have.
        self.cache_hits += u64::from(!request.fresh);
        let made: Value = serde_json::from_slice(&self.blobs.document(&made)?)
            .map_err(|error| odd(&format!("its configuration is no JSON: {error}")))?;
        let layers = self.above(&made, base.as_ref(), epoch)?;
        let runs = self.runs(name, container, &made);
        let image = Image::assembled(platform, epoch, runs, base.as_ref(), &layers)?;
        let spec = request.document.slice_spec(name.as_str());
        let inputs = Inputs {
            spec: spec
                .ok_or_else(|| Error::internal(format!("the container \"{name}\" has no part in its manifest")))?,
            sources: BTreeMap::from([("context".to_owned(), context)]),
            locks: BTreeMap::new(),
            bases,
            platform,
            builder: format!("{BUILDER} {engine} buildkit"),
            epoch,
            system_packages: BTreeMap::new(),
            dockerfile: Some(dockerfile),
        };
        self.keep(name, 2, image, inputs, Vec::new())
    }

    /// The Dockerfile of a container of a package that is built again.
    fn recorded_text(&self, recorded: &Record, name: &Name, platform: Platform) -> Result<String, Error> {
        let images = &recorded.images;
        let image = images.iter().find(|image| image.container == name.as_str() && image.platform == platform);
        let digest = image.and_then(|image| image.dockerfile).filter(|digest| self.blobs.has(digest));
        let bytes = self.blobs.document(&digest.ok_or_else(|| not_kept(recorded))?)?;
        String::from_utf8(bytes).map_err(|_| odd("its Dockerfile is no text"))
    }

    /// Packs what Dockerfiles of the project may copy, once for all of them.
    fn context(&mut self) -> Result<Digest, Error> {
        if let Some((tree, _)) = self.sources.get(CONTEXT) {
            return Ok(*tree);
        }
        if let Some(recorded) = self.request.recorded {
            let tree = recorded.trees.get(CONTEXT).copied().filter(|tree| self.blobs.has(tree));
            let tree = tree.ok_or_else(|| not_kept(recorded))?;
            self.sources.insert(CONTEXT, (tree, BTreeMap::new()));
            return Ok(tree);
        }
        let project = self.request.project;
        let source = Source { project, root: ".", exclude: &[] };
        let begin = || self.blobs.begin().map(|blob| BufWriter::with_capacity(BUFFER, blob));
        let (_, writing) = source.pack_context(&source::dockerignore(project)?, begin)?;
        let writing = writing.into_inner().map_err(|error| stream(error.into_error()))?;
        let (tree, _) = self.blobs.keep(writing)?;
        self.sources.insert(CONTEXT, (tree, BTreeMap::new()));
        Ok(tree)
    }

    /// The layers of an image above its base, in system form.
    fn above(&self, made: &Value, base: Option<&Base>, epoch: u64) -> Result<Vec<Layer>, Error> {
        let all: Vec<Digest> = made
            .pointer("/rootfs/diff_ids")
            .and_then(|ids| serde_json::from_value(ids.clone()).ok())
            .ok_or_else(|| odd("it does not say which layers it has"))?;
        let below: Vec<Digest> = base.iter().flat_map(|base| &base.layers).map(|layer| layer.digest).collect();
        let own = all.strip_prefix(&below[..]).ok_or_else(|| odd("it does not stand on the layers of its base"))?;
        let mut layers = Vec::new();
        for (at, digest) in own.iter().enumerate() {
            // The Dockerfile travels beside the context, and no source of the project is called so.
            let mut entries =
                Entries::read(self.blobs, digest)?.only(|path| path.rsplit('/').next() != Some(DOCKERFILE));
            if entries.lacks_directories() {
                // They stay as what lies under the layer has them.
                for under in below.iter().chain(own.iter().take(at)).rev() {
                    entries.take_directories(&Entries::read(self.blobs, under)?);
                }
            }
            if entries.is_nothing() {
                continue;
            }
            let (digest, size_bytes) = entries.write(self.blobs, Form::System, epoch)?;
            layers.push(Layer { digest, size_bytes, kind: Kind::System, application: None });
        }
        Ok(layers)
    }

    /// How a container of the image runs: as the engine built it, and what the manifest says over that.
    fn runs(&self, name: &Name, container: &Container, made: &Value) -> Map<String, Value> {
        let built = made.get("config").and_then(Value::as_object);
        let mut runs: Map<String, Value> = built
            .into_iter()
            .flatten()
            .filter(|(key, _)| RUNS.contains(&key.as_str()))
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect();
        let mut over = |key: &str, ours: Map<String, Value>| {
            let mut all = runs.get(key).and_then(Value::as_object).cloned().unwrap_or_default();
            all.extend(ours);
            runs.insert(key.to_owned(), all.into());
        };
        over("ExposedPorts", container.ports.iter().map(|port| (format!("{port}/tcp"), json!({}))).collect());
        over("Labels", container.labels.iter().map(|(key, value)| (key.clone(), value.as_str().into())).collect());
        let env: Vec<(String, String)> = container.env.clone().into_iter().collect();
        let env = crate::image::environment(&env, &Value::from(runs.clone()));
        runs.insert("Env".to_owned(), env.into());
        // A user that nobody wrote is the Dockerfile's own.
        let given = self.request.document.slice(name.as_str());
        if given.is_some_and(|given| given.pointer("/container/user").is_some()) {
            runs.insert("User".to_owned(), container.user.as_str().into());
        }
        if let Some(health) = container.health.as_ref().and_then(health) {
            runs.insert("Healthcheck".to_owned(), crate::image::healthcheck(&health));
        }
        runs
    }
}

/// The text of a Dockerfile.
fn read(project: &std::path::Path, path: &str) -> Result<String, Error> {
    let unreadable = |why: &str| Error::invalid(format!("the Dockerfile {} cannot be read: {why}", quoted(path)));
    let place = project.join(path);
    // Nobody waits for who writes into a FIFO.
    if !fs::metadata(&place).is_ok_and(|about| about.is_file()) {
        return Err(unreadable("it is no file"));
    }
    let file = fs::File::open(place).map_err(|error| unreadable(&error.to_string()))?;
    let mut bytes = Vec::new();
    file.take(LONGEST + 1).read_to_end(&mut bytes).map_err(|error| unreadable(&error.to_string()))?;
    if bytes.len() as u64 > LONGEST {
        return Err(unreadable(&format!("it has more than {LONGEST} bytes")));
    }
    String::from_utf8(bytes).map_err(|_| unreadable("it is no UTF-8 text"))
}

fn odd(what: &str) -> Error {
    Error::new(Code::DataLoss, format!("the image that the engine built cannot be taken in: {what}"))
        .hint("build it again, or look at the image that the Dockerfile begins with")
}

#[cfg(test)]
mod tests;
