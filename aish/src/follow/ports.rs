//! The app's ports on this host, for as long as somebody follows.

use std::{fmt, str::FromStr};

use aigis_proxy::{Error, Name, tunnel::Hub};
use aigis_registry::{Asking, Reach, shared::Instance};
use serde_json::json;

use super::teller::Teller;
use crate::{exit::Failure, forward::Forward};

/// A port of this host and one of the app.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pair {
    /// Here.
    pub(crate) local: u16,
    /// There.
    pub(crate) port: u16,
}

/// What was said of ports on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PortOption {
    /// That none comes to this host.
    None,
    /// That this one of the app comes here as that one.
    Pair(Pair),
}

impl FromStr for PortOption {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || "write LOCAL:PORT, PORT or none; a port is 1 to 65535".to_owned();
        let number = |text: &str| match text.parse::<u16>() {
            Ok(port) if port > 0 && text.bytes().all(|byte| byte.is_ascii_digit()) => Ok(port),
            _ => Err(wrong()),
        };
        if text == "none" {
            return Ok(Self::None);
        }
        let (local, port) = text.split_once(':').unwrap_or((text, text));
        Ok(Self::Pair(Pair { local: number(local)?, port: number(port)? }))
    }
}

/// Which ports come to this host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Wish {
    /// Whether none does.
    pub(crate) none: bool,
    /// Which come as which; the others come as themselves.
    pub(crate) pairs: Vec<Pair>,
}

impl Wish {
    /// What the options say together.
    ///
    /// # Errors
    ///
    /// A usage error for options that do not go together.
    pub(crate) fn of(options: &[PortOption]) -> Result<Self, Failure> {
        let none = options.contains(&PortOption::None);
        let pairs = options.iter().filter_map(|option| match option {
            PortOption::Pair(pair) => Some(*pair),
            PortOption::None => None,
        });
        let pairs: Vec<Pair> = pairs.collect();
        if none && !pairs.is_empty() {
            return Err(Failure::usage("--port none goes with no other --port", "leave one of them out"));
        }
        Ok(Self { none, pairs })
    }

    /// Says whether the ports that were asked for are free here.
    ///
    /// # Errors
    ///
    /// `failed_precondition` that names one that is not.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        for Pair { local, port } in &self.pairs {
            std::net::TcpListener::bind(("127.0.0.1", *local)).map_err(|error| {
                Error::precondition(format!("the port {local} of this host cannot be had: {error}"))
                    .hint(format!("name another one: --port LOCAL:{port}"))
            })?;
        }
        Ok(())
    }
}

impl fmt::Display for Pair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.local, self.port)
    }
}

/// The ports that are here.
pub(crate) struct Ports {
    asking: Asking,
    app: Name,
    wish: Wish,
    reach: Option<Reach>,
    forwards: Vec<Forward>,
    /// What was tried already, whatever came of it.
    tried: Vec<u16>,
}

impl Ports {
    /// Begins with none.
    pub(crate) fn new(asking: &Asking, app: &Name, wish: &Wish) -> Self {
        let (asking, app, wish) = (asking.clone(), app.clone(), wish.clone());
        Self { asking, app, wish, reach: None, forwards: Vec::new(), tried: Vec::new() }
    }

    /// Brings the ports of an instance here, once it serves. They stay when another takes its place.
    ///
    /// # Errors
    ///
    /// What keeps from writing.
    pub(crate) async fn update(&mut self, serving: Option<&Instance>, teller: &Teller) -> Result<(), Failure> {
        let Some(instance) = serving.filter(|_| !self.wish.none) else { return Ok(()) };
        let wished = self.wish.pairs.iter().map(|pair| (Some(pair.local), pair.port));
        let own = instance.ports.iter().filter(|port| !self.wish.pairs.iter().any(|pair| pair.port == **port));
        let wanted = wished.chain(own.map(|port| (None, *port)));
        let fresh: Vec<_> = wanted.filter(|(_, port)| !self.tried.contains(port)).collect();
        for (local, port) in fresh {
            self.tried.push(port);
            match self.bring(local, port).await {
                Ok(forward) => {
                    let fields =
                        json!({ "ports": [{"local": forward.local.port(), "port": port, "url": forward.url()}] });
                    teller.event("ports", fields, forward.words(&self.app)).await?;
                    self.forwards.push(forward);
                }
                Err(error) => teller.note(format!("port {port} of {} does not come here: {error}", self.app)).await?,
            }
        }
        Ok(())
    }

    async fn bring(&mut self, local: Option<u16>, port: u16) -> Result<Forward, Error> {
        let reach = match &self.reach {
            Some(reach) => reach,
            None => {
                let hub = Hub::open(self.asking.bus()).await?;
                self.reach.insert(Reach::new(&hub, &self.asking.shared(), Some(&self.app)))
            }
        };
        Forward::listen(reach, &self.app, local, port).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chn_38_ports_are_read() {
        let pair = |local, port| Ok(PortOption::Pair(Pair { local, port }));
        assert_eq!("5000:80".parse(), pair(5000, 80));
        assert_eq!("80".parse(), pair(80, 80));
        assert_eq!("none".parse(), Ok(PortOption::None));
        for bad in ["", "0:80", "80:0", "x", "1:2:3", "70000", "+1:2", ":80", "80:"] {
            assert!(bad.parse::<PortOption>().is_err(), "{bad}");
        }
        let both = [PortOption::None, PortOption::Pair(Pair { local: 1, port: 1 })];
        assert_eq!(Wish::of(&both).unwrap_err().code(), 2);
    }

    #[test]
    fn chn_38_a_port_that_is_taken_is_refused_before_anything_is_sent() {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let local = taken.local_addr().unwrap().port();
        let wish = Wish { none: false, pairs: vec![Pair { local, port: 5000 }] };
        assert_eq!(wish.check().unwrap_err().code(), 1);
    }
}
