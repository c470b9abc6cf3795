//! The networks that this node makes, each with addresses that no other has.

use std::collections::BTreeMap;

use aigis_proxy::{Error, blob::Digest};

use crate::engine::{self, Engine};

/// How many ranges of addresses are tried for a network.
const TURNS: u16 = 64;

/// Makes a network, unless there is one. An engine has addresses of its own for about thirty; beyond these, small
/// ranges are tried of which nobody else makes use.
pub(crate) async fn make(engine: &Engine, name: &str, labels: &BTreeMap<String, String>) -> Result<(), Error> {
    let says = |error: &engine::Error, words: &str| error.words().is_some_and(|said| said.contains(words));
    let spent = match engine.create_network(name, labels).await {
        Err(error) if says(&error, "address pool") => error,
        made => return made.map_err(Error::from),
    };
    let digest = Digest::of(name.as_bytes()).to_string();
    let first = digest.bytes().fold(0_u16, |sum, byte| sum.wrapping_mul(31).wrapping_add(u16::from(byte)));
    for turn in 0..TURNS {
        match engine.create_network_at(name, labels, Some(&addresses(first.wrapping_add(turn)))).await {
            Err(error) if says(&error, "overlap") => {}
            made => return made.map_err(Error::from),
        }
    }
    // Another one may go, or another place have room.
    Err(Error::unavailable(format!("there are no addresses for the network {name}: {spent}")))
}

/// Sixteen of 65,536 addresses.
fn addresses(number: u16) -> String {
    format!("10.231.{}.{}/28", (number >> 4) & 0xff, (number & 0xf) << 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_of_addresses_do_not_overlap() {
        let ranges: std::collections::BTreeSet<String> = (0..4_096).map(addresses).collect();
        assert_eq!(ranges.len(), 4_096);
        assert_eq!((addresses(0), addresses(4_095)), ("10.231.0.0/28".to_owned(), "10.231.255.240/28".to_owned()));
        assert_eq!(addresses(u16::MAX), addresses(4_095));
    }
}
