//! Whether a deployed container answers as its manifest says: at a path of HTTP, or at a port.

use std::{net::IpAddr, time::Duration};

use serde_json::Value;

use super::{
    deployed::Deployed,
    health::{Check, Outcome},
};
use crate::{
    engine::{Inspection, State},
    listening,
};

/// The name of the check.
pub(crate) const ANSWERS: &str = "answers";
/// How long an answer may take at most: whoever asks for the health waits for it.
const LONGEST: Duration = Duration::from_secs(3);
/// From this status on, an answer of HTTP says that something is wrong.
const FAILS: u16 = 500;

/// How it is looked from outside whether a container is well.
#[derive(Debug, PartialEq, Eq)]
struct Probe {
    port: u16,
    /// A path of HTTP; without one it is enough that the port accepts.
    path: Option<String>,
    timeout: Duration,
    /// How long after the start a failure does not count, in seconds.
    start_s: u64,
}

impl Probe {
    /// The one that a manifest asks for; none where it asks for none, or for a command, which the engine runs.
    fn of(deployed: &Deployed) -> Option<Self> {
        let about = deployed.about.as_ref()?;
        let said = about.get("health")?;
        let number = |key| said.get(key).and_then(Value::as_u64);
        let port = |value: &Value| value.as_u64().and_then(|port| u16::try_from(port).ok());
        // Whoever made the container wrote the label.
        let is_path = |path: &&str| path.starts_with('/') && path.bytes().all(|byte| byte.is_ascii_graphic());
        let path = said.get("http").and_then(Value::as_str).filter(is_path).map(str::to_owned);
        let port = match &path {
            Some(_) => port(about.get("ports")?.get(0)?)?,
            None => port(said.get("tcp")?)?,
        };
        let timeout = number("timeout_s").map_or(LONGEST, Duration::from_secs).min(LONGEST);
        Some(Self { port, path, timeout, start_s: number("start_s").unwrap_or(0) })
    }

    /// What is wrong at that address; nothing if all is well.
    async fn ask(&self, at: IpAddr) -> Result<String, String> {
        let Self { port, path, timeout, .. } = self;
        let Some(path) = path else {
            let silent = tokio::time::timeout(*timeout, listening::silent(at, &[*port])).await;
            return match silent {
                Ok(silent) if silent.is_empty() => Ok(format!("{port}/tcp accepts")),
                _ => Err(format!("{port}/tcp does not accept")),
            };
        };
        match listening::status(at, *port, path, *timeout).await {
            Some(status) if status < FAILS => Ok(format!("GET {path} is answered with {status}")),
            Some(status) => Err(format!("GET {path} is answered with {status}")),
            None => Err(format!("GET {path} is not answered within {} s", timeout.as_secs())),
        }
    }
}

/// What a container that was deployed answers, if its manifest says how that is looked at.
pub(super) async fn look(deployed: &Deployed, seen: &Inspection, uptime_s: Option<u64>) -> Option<Check> {
    let probe = Probe::of(deployed)?;
    let check = |outcome, detail: String| Some(Check { name: ANSWERS.to_owned(), outcome, detail });
    if seen.state != State::Running {
        return check(Outcome::Unknown, "nothing is expected to answer now".to_owned());
    }
    let Some(at) = seen.networks.iter().find_map(|network| listening::address(seen, &network.name)) else {
        return check(Outcome::Unknown, "it has no address at which it could be asked".to_owned());
    };
    let is_early = uptime_s.is_some_and(|seconds| seconds < probe.start_s);
    match probe.ask(at).await {
        Ok(detail) => check(Outcome::Pass, detail),
        Err(detail) if is_early => check(Outcome::Warn, format!("{detail}; it is within its start period")),
        Err(detail) => check(Outcome::Fail, detail),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
    };

    use super::*;

    fn probe(health: Value) -> Option<Probe> {
        let about = Some(json!({"ports": [8080, 9090], "health": health}));
        Probe::of(&Deployed { about, ..Deployed::default() })
    }

    #[test]
    fn pkg_61_a_manifest_says_where_a_container_answers() {
        let http = probe(json!({"http": "/up", "timeout_s": 1, "start_s": 7})).unwrap();
        let wanted = Probe { port: 8080, path: Some("/up".to_owned()), timeout: Duration::from_secs(1), start_s: 7 };
        assert_eq!(http, wanted);
        let tcp = probe(json!({"tcp": 9090, "timeout_s": 60})).unwrap();
        assert_eq!(tcp, Probe { port: 9090, path: None, timeout: LONGEST, start_s: 0 });
        for none in [
            json!(null),
            json!({}),
            json!({"command": ["true"]}),
            json!({"tcp": 70_000}),
            json!({"http": "/ HTTP/1.1\r\nX: y"}),
        ] {
            assert_eq!(probe(none), None);
        }
        assert_eq!(Probe::of(&Deployed::default()), None);
    }

    #[tokio::test]
    async fn pkg_63_what_answers_with_a_fault_or_not_at_all_is_not_well() {
        let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (at, port) = (server.local_addr().unwrap().ip(), server.local_addr().unwrap().port());
        let asked = |path: &str, answer: &'static str| {
            let probe = Probe { port, path: Some(path.to_owned()), timeout: LONGEST, start_s: 0 };
            let server = &server;
            async move {
                let serve = async {
                    let (mut stream, _) = server.accept().await.unwrap();
                    let mut head = vec![0; 256];
                    let length = stream.read(&mut head).await.unwrap();
                    stream.write_all(answer.as_bytes()).await.unwrap();
                    String::from_utf8_lossy(head.get(..length).unwrap_or_default()).into_owned()
                };
                tokio::join!(probe.ask(at), serve)
            }
        };
        let (said, head) = asked("/up", "HTTP/1.1 404 Not Found\r\n\r\n").await;
        assert_eq!(said, Ok("GET /up is answered with 404".to_owned()));
        assert!(head.starts_with("GET /up HTTP/1.1\r\n"), "{head}");
        assert_eq!(asked("/", "HTTP/1.1 503 No\r\n\r\n").await.0, Err("GET / is answered with 503".to_owned()));
        assert_eq!(asked("/", "hello").await.0, Err("GET / is not answered within 3 s".to_owned()));
        let probe = Probe { port, path: None, timeout: LONGEST, start_s: 0 };
        assert!(probe.ask(at).await.is_ok());
        drop(server);
        assert_eq!(probe.ask(at).await, Err(format!("{port}/tcp does not accept")));
    }
}
