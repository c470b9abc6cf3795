//! The model of this host: which one its user named in `model.toml`, and the asking.

use std::{net::IpAddr, path::Path, time::Duration};

use aigis_node::plugins::secret_files;
use aigis_proxy::{
    Error, Name,
    secret::SecretName,
    text_file::{self, shown},
    with_causes,
};
use aigis_registry::toml_file;
use reqwest::Url;
use zeroize::Zeroizing;

use crate::{config, exit::Failure};

mod chat;

/// The name of its file in the directory of configuration.
const FILE: &str = "model.toml";
/// Below which name its key lies among the secrets beside that file.
const OWNER: &str = "model";
/// How long an answer may take where nothing is said of it, in seconds; and the most that may be said.
const USUAL: u64 = 60;
const LONGEST: u64 = 240;
/// Most characters of a name.
const NAME: usize = 100;
/// Bits of a mode that let others than its owner at a file.
const OTHERS: u32 = 0o077;

/// A model that can be asked.
pub(crate) struct Model {
    settings: Settings,
    key: Option<Zeroizing<String>>,
}

/// What the file says.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Settings {
    /// Where chats are completed.
    url: Url,
    /// What the server calls the model.
    name: String,
    /// Which secret opens the server.
    key: Option<SecretName>,
    /// How long an answer may take.
    timeout: Duration,
}

impl Model {
    /// The model that this host's user named.
    ///
    /// # Errors
    ///
    /// `failed_precondition` where there is none, or its key cannot be had; `invalid_argument` for a file that cannot be used.
    pub(crate) fn configured() -> Result<Self, Failure> {
        let path = config::folder().map(|folder| folder.join(FILE));
        let Some(path) = path.clone().filter(|path| path.exists()) else {
            let hint = format!(
                "name one in {}: url = \"http://127.0.0.1:11434/v1\" and name = \"MODEL\"; or leave --fill out",
                path.as_deref().map_or_else(|| FILE.to_owned(), shown)
            );
            return Err(Error::precondition("no model is configured on this host").hint(hint).into());
        };
        let text = text_file::read(&path).map_err(|error| Error::invalid(with_causes(&error)))?;
        let settings = Settings::parse(&path, &text).map_err(|error| Error::invalid(with_causes(&error)))?;
        let key = settings.key.as_ref().map(|name| key(&path, name)).transpose()?;
        Ok(Self { settings, key })
    }

    /// What the server calls it.
    pub(crate) fn name(&self) -> &str {
        &self.settings.name
    }
}

impl Settings {
    fn parse(path: &Path, text: &str) -> Result<Self, text_file::Error> {
        toml_file::parse(path, text, &["url", "name", "key", "timeout_s"], |root| {
            let missing = |key: &str, form: &str| root.refuse(key, format!("it is missing; write {form}"));
            let url = root.text("url", url)?;
            let url = url.ok_or_else(|| missing("url", "url = \"http://127.0.0.1:11434/v1\""))?;
            let name = root.text("name", name)?.ok_or_else(|| missing("name", "name = \"MODEL\""))?;
            let key = root.text("key", SecretName::parse)?;
            let timeout = Duration::from_secs(root.integer("timeout_s", 1..=LONGEST)?.unwrap_or(USUAL));
            Ok(Self { url, name, key, timeout })
        })
    }
}

/// The key that lies as `secrets/model/KEY` beside the file, or one level above it.
fn key(file: &Path, name: &SecretName) -> Result<Zeroizing<String>, Failure> {
    let wanted = format!("secrets/{OWNER}/{}", name.as_str());
    let hint = format!("put it into {wanted} beside {FILE}, with the mode 0600; or leave key out");
    let failed = |message: String| Error::precondition(message).hint(hint.clone());
    let mut found = secret_files::beside(file, &Name::parse(OWNER)?, [name])
        .map_err(|error| failed(format!("the key of the model: {}", with_causes(&error))))?;
    let Some((_, secret)) = found.pop_first() else {
        return Err(failed(format!("the key of the model is not there: {wanted} beside {}", shown(file))).into());
    };
    if secret.mode & OTHERS != 0 {
        return Err(failed(format!("others than its owner may read {wanted} (mode {:04o})", secret.mode)).into());
    }
    let text = std::str::from_utf8(&secret.value).map(|text| Zeroizing::new(text.trim_end().to_owned()));
    let text = text.ok().filter(|text| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic()));
    Ok(text.ok_or_else(|| failed(format!("{wanted} holds no key: it is one word of ASCII")))?)
}

/// The address of an API, to which its path for chats is added. Nothing goes in clear further than a private network.
fn url(text: &str) -> Result<Url, &'static str> {
    let form = "write the base of an API of OpenAI's form: http://127.0.0.1:11434/v1";
    let mut url = Url::parse(text).map_err(|_| form)?;
    let is_bare =
        url.username().is_empty() && url.password().is_none() && url.query().is_none() && url.fragment().is_none();
    if !is_bare || url.host_str().is_none_or(str::is_empty) {
        return Err("write an address without user, password, ? and #; the key is a secret: key = \"NAME\"");
    }
    match url.scheme() {
        "https" => {}
        "http" if url.host_str().is_some_and(is_near) => {}
        "http" => return Err("write https: http is for addresses of this host and of private networks alone"),
        _ => return Err(form),
    }
    let path = format!("{}/chat/completions", url.path().trim_end_matches('/'));
    url.set_path(&path);
    Ok(url)
}

/// Whether a host is this one, or an address of a private network.
fn is_near(host: &str) -> bool {
    match host.trim_matches(['[', ']']).parse() {
        Ok(IpAddr::V4(address)) => address.is_loopback() || address.is_private(),
        Ok(IpAddr::V6(address)) => address.is_loopback() || address.is_unique_local(),
        Err(_) => host == "localhost",
    }
}

fn name(text: &str) -> Result<String, &'static str> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || "._-/:@+".contains(c);
    let is_name = !text.is_empty() && text.len() <= NAME && text.chars().all(is_part);
    is_name.then(|| text.to_owned()).ok_or("write the model's name: letters, digits and ._-/:@+ alone, at most 100")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Settings, String> {
        Settings::parse(Path::new("model.toml"), text).map_err(|error| error.to_string())
    }

    #[test]
    fn pkg_24_a_model_is_named_by_its_address_and_its_name() {
        let all =
            "url = \"https://models.example/api/v1/\"\nname = \"org/small:7b\"\nkey = \"api-key\"\ntimeout_s = 5\n";
        let settings = parse(all).unwrap();
        assert_eq!(settings.url.as_str(), "https://models.example/api/v1/chat/completions");
        assert_eq!((settings.timeout.as_secs(), settings.key.unwrap().as_str()), (5, "api-key"));
        for near in [
            "http://127.0.0.1:1/v1",
            "http://[::1]:1/v1",
            "http://localhost/v1",
            "http://10.1.2.3/v1",
            "http://[fd00::1]/v1",
        ] {
            let settings =
                parse(&format!("url = \"{near}\"\nname = \"m\"\n")).unwrap_or_else(|error| panic!("{error}"));
            assert_eq!((settings.timeout.as_secs(), settings.key), (60, None));
        }
        for (text, words) in [
            ("name = \"m\"\n", "url"),
            ("url = \"http://127.0.0.1/v1\"\n", "name"),
            ("url = \"http://models.example/v1\"\nname = \"m\"\n", "write https"),
            ("url = \"http://169.254.169.254/v1\"\nname = \"m\"\n", "write https"),
            ("url = \"http://8.8.8.8/v1\"\nname = \"m\"\n", "write https"),
            ("url = \"https://u:p@x.example/v1\"\nname = \"m\"\n", "the key is a secret"),
            ("url = \"file:///etc/passwd\"\nname = \"m\"\n", "model.toml:1:"),
            ("url = \"https://x.example/v1\"\nname = \"m n\"\n", "model's name"),
            ("url = \"https://x.example/v1\"\nname = \"m\"\nkey = \"../x\"\n", "model.toml:3:"),
            ("url = \"https://x.example/v1\"\nname = \"m\"\ntimeout_s = 0\n", "model.toml:3:"),
            ("url = \"https://x.example/v1\"\nname = \"m\"\ntimeout = 5\n", "did you mean \"timeout_s\"?"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(words), "{text}: {error}");
        }
    }
}
