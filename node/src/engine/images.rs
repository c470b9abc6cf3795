//! Images: what they say of themselves, their names, and their way in and out of the engine.

use std::time::Duration;

use bytes::Bytes;
use futures::Stream;
use hyper::Method;
use serde_json::Value;

use super::{
    Engine, Error,
    error::Asked,
    query,
    raw::{BodyType, Lines, pieces},
};

/// How long naming or removing an image may take.
const LONG: Duration = Duration::from_secs(60);

/// What an image says of how it is run. What it does not say is empty.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ImageConfig {
    /// Its id: `sha256:…`.
    pub id: String,
    /// How many bytes it has, where the engine says it.
    pub bytes: Option<u64>,
    /// `ENTRYPOINT`.
    pub entrypoint: Vec<String>,
    /// `CMD`.
    pub cmd: Vec<String>,
    /// `WORKDIR`.
    pub workingdir: String,
    /// `USER`.
    pub user: String,
    /// `ENV`, as `KEY=VALUE`.
    pub env: Vec<String>,
    /// `EXPOSE`, sorted: `3000/tcp`.
    pub exposed: Vec<String>,
    /// `VOLUME`, sorted.
    pub volumes: Vec<String>,
}

impl ImageConfig {
    fn read(value: &Value) -> Option<Self> {
        let config = value.get("Config");
        let field = |name: &str| config.and_then(|config| config.get(name));
        let texts = |name: &str| -> Vec<String> {
            let array = field(name).and_then(Value::as_array);
            array.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
        };
        let text = |name: &str| field(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        let keys = |name: &str| -> Vec<String> {
            let mut keys: Vec<String> =
                field(name).and_then(Value::as_object).into_iter().flat_map(|map| map.keys().cloned()).collect();
            keys.sort();
            keys
        };
        Some(Self {
            id: value.get("Id").and_then(Value::as_str)?.to_owned(),
            bytes: value.get("Size").and_then(Value::as_u64),
            entrypoint: texts("Entrypoint"),
            cmd: texts("Cmd"),
            workingdir: text("WorkingDir"),
            user: text("User"),
            env: texts("Env"),
            exposed: keys("ExposedPorts"),
            volumes: keys("Volumes"),
        })
    }
}

impl Engine {
    /// Reads how an image is run, by its id or name.
    ///
    /// # Errors
    ///
    /// As every request; [`Error::NotFound`] if the engine has no such image.
    pub async fn image_config(&self, image: &str) -> Result<ImageConfig, Error> {
        const ASK: Asked = Asked { what: "inspect the image", endpoint: "GET /images/NAME/json" };
        let value = self.json(ASK, &format!("/images/{}/json", query::escape(image))).await?;
        ImageConfig::read(&value).ok_or_else(|| self.malformed(ASK, "it has no Id".to_owned()))
    }

    /// Whether the engine has an image of that id or name.
    ///
    /// # Errors
    ///
    /// As every request.
    pub async fn has_image(&self, image: &str) -> Result<bool, Error> {
        match self.image_config(image).await {
            Ok(_) => Ok(true),
            Err(Error::NotFound { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Gives an image a name of the form `repository:tag`.
    ///
    /// # Errors
    ///
    /// As every request; [`Error::NotFound`] if the engine has no such image.
    pub async fn tag(&self, image: &str, name: &str) -> Result<(), Error> {
        const ASK: Asked = Asked { what: "name the image", endpoint: "POST /images/NAME/tag" };
        let (repository, tag) = split(name);
        let mut asked = query::Query::new();
        asked.add("repo", repository).add("tag", tag);
        let path = format!("/images/{}/tag{asked}", query::escape(image));
        self.ask(ASK, LONG, Method::POST, &path, None).await.map(drop)
    }

    /// Takes a name from an image, and removes an image that has no other; nothing happens if it is gone.
    ///
    /// # Errors
    ///
    /// As every request; [`Error::Conflict`] while a container uses it.
    pub async fn remove_image(&self, image: &str) -> Result<(), Error> {
        const ASK: Asked = Asked { what: "remove the image", endpoint: "DELETE /images/NAME" };
        match self.ask(ASK, LONG, Method::DELETE, &format!("/images/{}", query::escape(image)), None).await {
            Err(Error::NotFound { .. }) => Ok(()),
            removed => removed.map(drop),
        }
    }

    /// Pulls an image from its registry, without a credential; `progress` is told what the engine says of it.
    ///
    /// # Errors
    ///
    /// As every request; [`Error::Refused`] or [`Error::NotFound`] if it cannot be had.
    pub async fn pull(&self, image: &str, mut progress: impl FnMut(&str)) -> Result<(), Error> {
        const ASK: Asked = Asked { what: "pull the image", endpoint: "POST /images/create" };
        let mut asked = query::Query::new();
        let (repository, tag) = split(image);
        match image.contains('@') {
            true => asked.add("fromImage", image),
            false => asked.add("fromImage", repository).add("tag", tag),
        };
        let path = format!("/images/create{asked}");
        let empty = bollard::body_full(Bytes::new());
        let body = self.ask_long(ASK, Method::POST, &path, "application/json", empty).await?;
        let mut lines = Lines::new(self, ASK, body);
        while let Some(line) = lines.next().await? {
            self.said_error(ASK, &line)?;
            // The layers' own bars say too much.
            if let Some(status) = line.get("status").and_then(Value::as_str)
                && line.get("progressDetail").is_none()
            {
                progress(status);
            }
        }
        Ok(())
    }

    /// Reads an image as the archive that [`Engine::load`] takes.
    ///
    /// # Errors
    ///
    /// As every request; [`Error::NotFound`] if the engine has no such image. The stream's own errors end it.
    pub async fn save(
        &self,
        image: &str,
    ) -> Result<impl Stream<Item = Result<Bytes, std::io::Error>> + Send + Unpin + 'static, Error> {
        const ASK: Asked = Asked { what: "hand out the image", endpoint: "GET /images/NAME/get" };
        let path = format!("/images/{}/get", query::escape(image));
        let body = self.ask_long(ASK, Method::GET, &path, "application/json", bollard::body_full(Bytes::new())).await?;
        Ok(pieces(body))
    }

    /// Takes in an archive of images.
    ///
    /// # Errors
    ///
    /// As every request; [`Error::Refused`] for what is no such archive.
    pub async fn load(
        &self,
        archive: impl Stream<Item = Result<Bytes, std::io::Error>> + Send + 'static,
    ) -> Result<(), Error> {
        const ASK: Asked = Asked { what: "take in the image", endpoint: "POST /images/load" };
        let body: BodyType = bollard::body_try_stream(archive);
        let body = self.ask_long(ASK, Method::POST, "/images/load?quiet=1", "application/x-tar", body).await?;
        let mut lines = Lines::new(self, ASK, body);
        while let Some(line) = lines.next().await? {
            self.said_error(ASK, &line)?;
        }
        Ok(())
    }

    /// The error within a line of a stream.
    pub(super) fn said_error(&self, asked: Asked, line: &Value) -> Result<(), Error> {
        let detail = line.get("errorDetail").and_then(|detail| detail.get("message"));
        let Some(words) = detail.or_else(|| line.get("error")).and_then(Value::as_str) else { return Ok(()) };
        let (engine, words) = (self.address(), words.trim().to_owned());
        Err(Error::Refused { engine, what: asked.what, status: 200, words })
    }
}

/// The repository and the tag of a name; `latest` if it has none.
fn split(name: &str) -> (&str, &str) {
    match name.rsplit_once(':') {
        // What follows the colon of a registry's port has a slash.
        Some((repository, tag)) if !tag.contains('/') => (repository, tag),
        _ => (name, "latest"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_split_at_their_tag() {
        assert_eq!(split("aigis/hello:1"), ("aigis/hello", "1"));
        assert_eq!(split("localhost:5000/hello"), ("localhost:5000/hello", "latest"));
        assert_eq!(split("busybox"), ("busybox", "latest"));
    }

    #[test]
    fn chn_20_what_an_image_says_is_read_and_what_it_does_not_say_is_empty() {
        let value = serde_json::json!({ "Id": "sha256:1", "Config": { "Cmd": ["/bin/sh", "-c", "a b"], "Entrypoint": null,
            "WorkingDir": "/w", "ExposedPorts": { "80/udp": {}, "3000/tcp": {} }, "Volumes": null } });
        let config = ImageConfig::read(&value).unwrap();
        assert_eq!(config.cmd, ["/bin/sh", "-c", "a b"]);
        assert_eq!(config.exposed, ["3000/tcp", "80/udp"]);
        assert!(config.entrypoint.is_empty() && config.volumes.is_empty());
    }
}
