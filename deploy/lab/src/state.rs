//! What is written down of a lab: enough to find everything else.

use std::{fs, io, net::Ipv4Addr, path::Path};

use serde::{Deserialize, Serialize};

use crate::{Error, Namespace, program::ip};

/// The file that makes a directory a lab.
pub(crate) const FILE: &str = "lab.json";
/// The station that is no host.
pub(crate) const BUS: &str = "bus";
/// The most hosts of one lab.
pub(crate) const MOST: usize = 64;
const LONGEST_NAME: usize = 32;
/// The bus's place in the range; hosts follow from [`FIRST_HOST`] on.
const BUS_PLACE: u8 = 2;
const FIRST_HOST: u8 = 11;

/// A lab's identity and its hosts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct State {
    /// Tells the namespaces of this lab from those of others.
    pub(crate) id: String,
    /// The first three numbers of its addresses.
    pub(crate) range: [u8; 3],
    /// Its hosts, the first being the one that starts the mesh.
    pub(crate) hosts: Vec<String>,
}

impl State {
    /// Chooses an identity and a range that nothing on this machine uses.
    pub(crate) fn choose(hosts: &[impl AsRef<str>]) -> Result<Self, Error> {
        let hosts: Vec<_> = hosts.iter().map(|host| host.as_ref().to_owned()).collect();
        check(&hosts)?;
        let routes = ip("-4 route show table all")?;
        let free = |range: &[u8; 3]| !routes.contains(&format!("{}.{}.{}.", range[0], range[1], range[2]));
        let random = std::iter::repeat_with(|| [10, fastrand::u8(64..=254), fastrand::u8(..)]);
        // A range in use is bad luck; a hundred in a row are none.
        let range = random.take(100).find(free).unwrap_or([10, 64, 0]);
        Ok(Self { id: format!("{:08x}", fastrand::u32(..)), range, hosts })
    }

    pub(crate) fn read(directory: &Path) -> Result<Self, Error> {
        let path = directory.join(FILE);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(Error::NoLab(directory.to_owned())),
            Err(source) => return Err(Error::Io { path, source }),
        };
        serde_json::from_str(&text).map_err(|source| Error::State { path, source })
    }

    pub(crate) fn write(&self, directory: &Path) -> Result<(), Error> {
        let path = directory.join(FILE);
        let text = serde_json::to_string(self).map_err(|source| Error::State { path: path.clone(), source })?;
        fs::write(&path, text).map_err(|source| Error::Io { path, source })
    }

    /// The namespace that holds the bridge.
    pub(crate) fn switch(&self) -> Namespace {
        Namespace::new(format!("aigis-{}-switch", self.id))
    }

    /// The namespace of a host or of the bus.
    pub(crate) fn namespace(&self, station: &str) -> Namespace {
        // Prefixed: a host may be called `switch`.
        let prefix = if station == BUS { "" } else { "host-" };
        Namespace::new(format!("aigis-{}-{prefix}{station}", self.id))
    }

    /// The number of a station's port at the switch: 0 is the bus.
    pub(crate) fn port(&self, station: &str) -> Result<u8, Error> {
        if station == BUS {
            return Ok(0);
        }
        let place = self.hosts.iter().position(|host| host == station);
        let port = place.and_then(|place| u8::try_from(place + 1).ok());
        port.ok_or_else(|| Error::NoHost { name: station.to_owned(), known: self.hosts.join(", ") })
    }

    pub(crate) fn address(&self, port: u8) -> Ipv4Addr {
        let [a, b, c] = self.range;
        let last = if port == 0 { BUS_PLACE } else { FIRST_HOST + (port - 1) };
        Ipv4Addr::new(a, b, c, last)
    }
}

fn check(hosts: &[String]) -> Result<(), Error> {
    if hosts.is_empty() || hosts.len() > MOST {
        return Err(Error::Count { count: hosts.len(), most: MOST });
    }
    for (place, name) in hosts.iter().enumerate() {
        let grammar = name.starts_with(|first: char| first.is_ascii_lowercase())
            && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
        let why = if !grammar {
            "write lower-case letters, digits and hyphens, a letter first"
        } else if name.len() > LONGEST_NAME {
            "it is longer than 32 characters"
        } else if name == BUS {
            "that is the bus's own"
        } else if hosts[..place].contains(name) {
            "it is there twice"
        } else {
            continue;
        };
        return Err(Error::Name { name: name.clone(), why });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state() -> State {
        State { id: "00000000".to_owned(), range: [10, 70, 3], hosts: vec!["alpha".to_owned(), "beta".to_owned()] }
    }

    #[test]
    fn stations_have_ports_and_addresses_of_their_own() {
        let state = state();
        assert_eq!(state.port(BUS).unwrap(), 0);
        assert_eq!(state.address(0), Ipv4Addr::new(10, 70, 3, 2));
        assert_eq!(state.port("beta").unwrap(), 2);
        assert_eq!(state.address(2), Ipv4Addr::new(10, 70, 3, 12));
        assert_eq!(state.port("gamma").unwrap_err().to_string(), "the lab has no host \"gamma\"; it has alpha, beta");
    }

    #[test]
    fn names_that_no_host_can_have_are_refused() {
        for hosts in [&["Alpha"][..], &["a/b"], &[""], &["1st"], &["bus"], &["a", "a"], &[]] {
            let hosts: Vec<_> = hosts.iter().map(ToString::to_string).collect();
            assert!(check(&hosts).is_err(), "{hosts:?}");
        }
        assert!(check(&state().hosts).is_ok());
    }

    #[test]
    fn a_lab_is_read_as_it_was_written() {
        let directory = tempfile::tempdir().unwrap();
        state().write(directory.path()).unwrap();
        assert_eq!(State::read(directory.path()).unwrap(), state());
        assert!(matches!(State::read(&directory.path().join("none")), Err(Error::NoLab(_))));
    }
}
