//! Which app a host name means.

use std::{fmt, str::FromStr};

use aigis_proxy::Name;

/// A domain below which each app has a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Domain(String);

/// A text that is no domain.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is no domain: write one such as localhost or apps.example.org")]
pub struct InvalidDomain(String);

impl FromStr for Domain {
    type Err = InvalidDomain;

    fn from_str(text: &str) -> Result<Self, InvalidDomain> {
        let domain = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
        let good = |label: &str| {
            (1..=63).contains(&label.len())
                && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
                && !label.starts_with('-')
                && !label.ends_with('-')
        };
        match domain.len() <= 189 && domain.split('.').all(good) {
            true => Ok(Self(domain)),
            false => Err(InvalidDomain(aigis_proxy::quoted_within(text))),
        }
    }
}

impl Default for Domain {
    fn default() -> Self {
        Self("localhost".to_owned())
    }
}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl Domain {
    /// What a host name may mean, the likeliest first: an app and its main port, or an app and that port.
    pub(super) fn read(&self, host: &str) -> Vec<(Name, Option<u16>)> {
        let port = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        let host = host.rsplit_once(':').filter(|(_, text)| port(text)).map_or(host, |(host, _)| host);
        let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
        let Some(label) = host.strip_suffix(&self.0).and_then(|rest| rest.strip_suffix('.')) else { return Vec::new() };
        let whole = Name::parse(label).ok().map(|app| (app, None));
        let with_port = label.rsplit_once('-').and_then(|(app, port)| {
            let port = port.parse().ok().filter(|port| *port > 0)?;
            Some((Name::parse(app).ok()?, Some(port)))
        });
        whole.into_iter().chain(with_port).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chn_40_a_host_name_means_an_app_and_perhaps_a_port() {
        let name = |text: &str| Name::parse(text).unwrap();
        let domain: Domain = "Apps.example.org.".parse().unwrap();
        assert_eq!(domain.read("hello.apps.example.org"), [(name("hello"), None)]);
        assert_eq!(domain.read("HELLO.apps.EXAMPLE.org.:8080"), [(name("hello"), None)]);
        let both = [(name("hello-81"), None), (name("hello"), Some(81))];
        assert_eq!(domain.read("hello-81.apps.example.org:80"), both);
        for none in
            ["", "apps.example.org", "a.b.apps.example.org", "helloapps.example.org", "hello.localhost", "[::1]:80"]
        {
            assert_eq!(domain.read(none), [], "{none}");
        }
        assert_eq!(Domain::default().read("hello.localhost:8000"), [(name("hello"), None)]);
        for bad in ["", ".", "a..b", "-a", "a_b", "a b", "http://x"] {
            assert!(bad.parse::<Domain>().is_err(), "{bad}");
        }
    }
}
