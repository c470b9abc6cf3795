//! Builds by the engine's own BuildKit: a context goes in, what is done is told line by line, an image comes out.
//!
//! No session is opened for it: the context travels as the request's body, and whoever builds has seen to it that the
//! engine has the bases. So nothing outlives the request, and a request that is dropped ends the build.

use std::collections::BTreeMap;

use bollard::models::{BuildInfo, BuildInfoAux};
use bytes::Bytes;
use futures::Stream;
use hyper::Method;
use serde_json::Value;

use super::{Engine, Error, error::Asked, query, raw::Lines};

const BUILD: Asked = Asked { what: "build the image", endpoint: "POST /build" };

/// What is to be built.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BuildRequest {
    /// The path of the Dockerfile in the context.
    pub dockerfile: String,
    /// What the image is called, if anything.
    pub tag: Option<String>,
    /// Whether nothing is taken from the engine's cache.
    pub fresh: bool,
}

/// What a build tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// A part of it began; the engine's words for that.
    Began(String),
    /// A part of it had been done before.
    Cached(String),
    /// A part of it failed: its words, and why.
    Failed(String, String),
    /// What a command of it wrote.
    Output(Vec<u8>),
    /// The image's id.
    Image(String),
}

/// A build that runs; dropping it ends it.
#[derive(Debug)]
pub struct Building {
    engine: Engine,
    lines: Lines,
    vertices: Vertices,
    ready: std::collections::VecDeque<Progress>,
}

impl Engine {
    /// Begins to build; `context` is an archive of the context.
    ///
    /// # Errors
    ///
    /// As every request.
    pub async fn build(
        &self,
        context: impl Stream<Item = Result<Bytes, std::io::Error>> + Send + 'static,
        wanted: &BuildRequest,
    ) -> Result<Building, Error> {
        let mut asked = query::Query::new();
        asked.add("version", "2").add("rm", "1").add("forcerm", "1").add("dockerfile", &wanted.dockerfile);
        if wanted.fresh {
            asked.add("nocache", "1");
        }
        if let Some(tag) = &wanted.tag {
            asked.add("t", tag);
        }
        let (path, body) = (format!("/build{asked}"), bollard::body_try_stream(context));
        let body = self.ask_long(BUILD, Method::POST, &path, "application/x-tar", body).await?;
        let lines = Lines::new(self, BUILD, body);
        Ok(Building { engine: self.clone(), lines, vertices: Vertices::default(), ready: Default::default() })
    }
}

impl Building {
    /// What comes next; `None` once it has ended well.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`] with the engine's words if the build failed; as every request.
    pub async fn next(&mut self) -> Result<Option<Progress>, Error> {
        loop {
            if let Some(progress) = self.ready.pop_front() {
                return Ok(Some(progress));
            }
            let Some(line) = self.lines.next().await? else { return Ok(None) };
            self.engine.said_error(BUILD, &line)?;
            self.ready.extend(self.vertices.read(line));
        }
    }
}

/// The parts of a build that were told of.
#[derive(Debug, Default)]
struct Vertices {
    told: BTreeMap<String, Told>,
}

#[derive(Debug, Default)]
struct Told {
    began: bool,
    ended: bool,
}

impl Vertices {
    fn read(&mut self, line: Value) -> Vec<Progress> {
        // A line that a newer engine writes in another way tells nothing, and the build goes on.
        let Ok(info) = serde_json::from_value::<BuildInfo>(line) else { return Vec::new() };
        let status = match info.aux {
            Some(BuildInfoAux::BuildKit(status)) => status,
            Some(BuildInfoAux::Default(image)) => return image.id.map(Progress::Image).into_iter().collect(),
            None => return Vec::new(),
        };
        let mut found = Vec::new();
        for vertex in status.vertexes {
            let told = self.told.entry(vertex.digest).or_default();
            if vertex.cached && !told.began {
                (told.began, told.ended) = (true, true);
                found.push(Progress::Cached(vertex.name));
                continue;
            }
            if vertex.started.is_some() && !std::mem::replace(&mut told.began, true) {
                found.push(Progress::Began(vertex.name.clone()));
            }
            if vertex.completed.is_some() && !std::mem::replace(&mut told.ended, true) && !vertex.error.is_empty() {
                found.push(Progress::Failed(vertex.name, vertex.error));
            }
        }
        found.extend(status.logs.into_iter().map(|log| Progress::Output(log.msg)));
        found
    }
}
