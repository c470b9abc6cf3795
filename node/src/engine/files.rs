//! The files of a container: what goes in, what differs from its image, and all of them.

use std::time::Duration;

use bytes::Bytes;
use futures::Stream;
use http_body_util::BodyExt as _;
use hyper::Method;
use serde_json::Value;

use super::{ContainerId, Engine, Error, error::Asked, query, raw::pieces};

/// How long the engine may take to compare a container with its image.
const COMPARING: Duration = Duration::from_secs(5 * 60);

/// How a path differs from the image's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// It is another, or something below it is.
    Modified,
    /// The image has none.
    Added,
    /// It is gone.
    Deleted,
}

/// A path that differs from the image's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changed {
    /// The path, absolute.
    pub path: String,
    /// How.
    pub change: Change,
}

impl Engine {
    /// Unpacks an archive at the root of a container, which need not run.
    ///
    /// # Errors
    ///
    /// As every request; [`Error::Refused`] for what is no archive.
    pub async fn unpack(
        &self,
        id: &ContainerId,
        archive: impl Stream<Item = Result<Bytes, std::io::Error>> + Send + 'static,
    ) -> Result<(), Error> {
        const ASK: Asked = Asked { what: "put files into the container", endpoint: "PUT /containers/ID/archive" };
        let mut asked = query::Query::new();
        asked.add("path", "/");
        let (path, body) = (format!("/containers/{id}/archive{asked}"), bollard::body_try_stream(archive));
        let answer = self.ask_long(ASK, Method::PUT, &path, "application/x-tar", body).await?;
        answer.collect().await.map(drop).map_err(|error| self.failed(ASK, &error.into()))
    }

    /// What differs from a container's image.
    ///
    /// # Errors
    ///
    /// As every request.
    pub async fn changes(&self, id: &ContainerId) -> Result<Vec<Changed>, Error> {
        const ASK: Asked = Asked { what: "compare the container", endpoint: "GET /containers/ID/changes" };
        let value = self.ask(ASK, COMPARING, Method::GET, &format!("/containers/{id}/changes"), None).await?;
        let read = |row: &Value| {
            let change = match row.get("Kind")?.as_u64()? {
                0 => Change::Modified,
                1 => Change::Added,
                2 => Change::Deleted,
                _ => return None,
            };
            Some(Changed { path: row.get("Path")?.as_str()?.to_owned(), change })
        };
        let rows = match &value {
            // Nothing differs.
            Value::Null => &[],
            rows => rows.as_array().ok_or_else(|| self.malformed(ASK, "it is no array".to_owned()))?.as_slice(),
        };
        rows.iter().map(|row| read(row).ok_or_else(|| self.malformed(ASK, format!("{row} is no change")))).collect()
    }

    /// Reads all files of a container as an archive.
    ///
    /// # Errors
    ///
    /// As every request. The stream's own errors end it.
    pub async fn export(
        &self,
        id: &ContainerId,
    ) -> Result<impl Stream<Item = Result<Bytes, std::io::Error>> + Send + Unpin + 'static + use<>, Error> {
        const ASK: Asked = Asked { what: "hand out the container's files", endpoint: "GET /containers/ID/export" };
        let (path, empty) = (format!("/containers/{id}/export"), bollard::body_full(Bytes::new()));
        Ok(pieces(self.ask_long(ASK, Method::GET, &path, "application/json", empty).await?))
    }

    /// Reads one file of a container as an archive.
    ///
    /// # Errors
    ///
    /// As [`Engine::export`].
    pub async fn file(
        &self,
        id: &ContainerId,
        path: &str,
    ) -> Result<impl Stream<Item = Result<Bytes, std::io::Error>> + Send + Unpin + 'static + use<>, Error> {
        const ASK: Asked = Asked { what: "hand out the file", endpoint: "GET /containers/ID/archive" };
        let mut asked = query::Query::new();
        asked.add("path", path);
        let (path, empty) = (format!("/containers/{id}/archive{asked}"), bollard::body_full(Bytes::new()));
        Ok(pieces(self.ask_long(ASK, Method::GET, &path, "application/json", empty).await?))
    }
}
