//! How somebody is known to a registry: by what Docker keeps of logins in its `config.json`.

use std::{collections::BTreeMap, fmt};

use aigis_proxy::{Code, Error};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde::Deserialize;

/// A user's name and password at one registry.
#[derive(Clone, PartialEq, Eq)]
pub struct Login {
    pub(super) user: String,
    pub(super) password: String,
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login").field("user", &self.user).finish_non_exhaustive()
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Config {
    #[serde(default)]
    auths: BTreeMap<String, Entry>,
    #[serde(default)]
    cred_helpers: BTreeMap<String, String>,
    creds_store: Option<String>,
}

#[derive(Deserialize)]
struct Entry {
    #[serde(default)]
    auth: String,
}

impl Login {
    /// The login at a registry, by its host and port, as a `config.json` keeps it; `None` if it knows none.
    ///
    /// # Errors
    ///
    /// `invalid_argument` for a file of another form; `unimplemented` where a program keeps the login: none is run.
    pub fn read(config: &[u8], host: &str) -> Result<Option<Self>, Error> {
        let config: Config = serde_json::from_slice(config)
            .map_err(|error| Error::invalid(format!("Docker's config.json cannot be used: {error}")))?;
        let wanted = canonical(host);
        let kept = config.auths.iter().find(|(name, _)| canonical(name) == wanted);
        match kept {
            Some((_, entry)) if !entry.auth.is_empty() => entry.decoded(host).map(Some),
            // A store writes an entry without a login for each registry that it knows.
            known => match config.cred_helpers.get(host).or(config.creds_store.filter(|_| known.is_some()).as_ref()) {
                Some(helper) => {
                    let message = format!(
                        "the login at {host} is kept by the program docker-credential-{helper}, and none is run"
                    );
                    Err(Error::new(Code::Unimplemented, message)
                        .hint("keep it in a config.json without that program, and name its directory: DOCKER_CONFIG"))
                }
                None => Ok(None),
            },
        }
    }
}

impl Entry {
    fn decoded(&self, host: &str) -> Result<Login, Error> {
        let text = BASE64_STANDARD.decode(self.auth.trim()).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        let pair = text.as_deref().and_then(|text| text.split_once(':'));
        // Never with what it holds.
        let (user, password) = pair.ok_or_else(|| {
            Error::invalid(format!("Docker's config.json holds no login that could be used at {host}"))
        })?;
        Ok(Login { user: user.to_owned(), password: password.trim_end_matches('\0').to_owned() })
    }
}

/// A registry as logins name it: Docker's own has several names, and some are written as addresses.
fn canonical(name: &str) -> &str {
    let name = name.trim_start_matches("https://").trim_start_matches("http://");
    match name.split_once('/').map_or(name, |(host, _)| host) {
        "index.docker.io" | "registry-1.docker.io" => "docker.io",
        host => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_is_that_of_its_registry() {
        let config =
            br#"{"auths":{"https://index.docker.io/v1/":{"auth":"YW5uOnM6ZWNyZXQ="},"r:5000":{},"q":{"auth":"eA=="}},
            "credsStore":"pass","credHelpers":{"h":"ecr"},"HttpHeaders":{}}"#;
        let found = Login::read(config, "index.docker.io").unwrap().unwrap();
        assert_eq!((found.user.as_str(), found.password.as_str()), ("ann", "s:ecret"));
        assert!(!format!("{found:?}").contains("ecret"));
        assert_eq!(Login::read(config, "other").unwrap(), None);
        for (host, program) in [("r:5000", "docker-credential-pass"), ("h", "docker-credential-ecr")] {
            let refused = Login::read(config, host).unwrap_err();
            assert!(refused.code == Code::Unimplemented && refused.message.contains(program), "{refused:?}");
        }
        assert_eq!(Login::read(config, "q").unwrap_err().code, Code::InvalidArgument);
        assert_eq!(Login::read(b"[", "q").unwrap_err().code, Code::InvalidArgument);
    }
}
