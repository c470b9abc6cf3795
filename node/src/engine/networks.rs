//! Networks and volumes, by their names and labels.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    time::Duration,
};

use hyper::Method;
use serde_json::{Value, json};

use super::{Engine, Error, REQUEST, error::Asked, query};

/// How long an engine may take to look at all that its volumes hold.
const SIZES: Duration = Duration::from_secs(60);

/// A bridge network, as this host sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bridge {
    /// This host's own address there.
    pub gateway: IpAddr,
    /// How many bits of an address all of the network have in common with it.
    pub bits: u32,
}

impl Bridge {
    fn read(value: &Value) -> Option<Self> {
        let configs = value.get("IPAM")?.get("Config")?.as_array()?;
        configs.iter().find_map(|config| {
            let subnet = config.get("Subnet")?.as_str()?;
            let (first, bits) = subnet.split_once('/')?;
            let gateway = match config.get("Gateway").and_then(Value::as_str) {
                Some(gateway) => gateway.split('/').next()?.parse().ok()?,
                // The engine takes the first one that it can.
                None => match first.parse().ok()? {
                    IpAddr::V4(first) => Ipv4Addr::from_bits(first.to_bits().checked_add(1)?).into(),
                    IpAddr::V6(first) => Ipv6Addr::from_bits(first.to_bits().checked_add(1)?).into(),
                },
            };
            Some(Self { gateway, bits: bits.parse().ok()? })
        })
    }

    /// Whether that is an address of the network, and not this host's own.
    #[must_use]
    pub fn has(&self, address: IpAddr) -> bool {
        let differs = match (self.gateway, address.to_canonical()) {
            (own, other) if own == other => return false,
            (IpAddr::V4(own), IpAddr::V4(other)) => (own.to_bits() ^ other.to_bits()).leading_zeros(),
            (IpAddr::V6(own), IpAddr::V6(other)) => (own.to_bits() ^ other.to_bits()).leading_zeros(),
            _ => return false,
        };
        differs >= self.bits
    }
}

impl Engine {
    /// How this host sees a bridge network; `None` if there is none of that name, or it has no addresses.
    ///
    /// # Errors
    ///
    /// As every request.
    pub async fn bridge(&self, name: &str) -> Result<Option<Bridge>, Error> {
        const ASK: Asked = Asked { what: "inspect the network", endpoint: "GET /networks/NAME" };
        match self.json(ASK, &format!("/networks/{}", query::escape(name))).await {
            Ok(value) => Ok(Bridge::read(&value)),
            Err(Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Makes a volume; one of that name that is there already is taken as it is.
    ///
    /// # Errors
    ///
    /// As every request.
    pub async fn create_volume(&self, name: &str, labels: &BTreeMap<String, String>) -> Result<(), Error> {
        const ASK: Asked = Asked { what: "make the volume", endpoint: "POST /volumes/create" };
        let body = json!({ "Name": name, "Labels": labels });
        self.ask(ASK, REQUEST, Method::POST, "/volumes/create", Some(&body)).await.map(drop)
    }

    /// The names of the volumes that bear a label of that value.
    ///
    /// # Errors
    ///
    /// As every request.
    pub async fn volumes_with(&self, label: &str, value: &str) -> Result<Vec<String>, Error> {
        const ASK: Asked = Asked { what: "list its volumes", endpoint: "GET /volumes" };
        let mut asked = query::Query::new();
        asked.add("filters", &json!({ "label": [format!("{label}={value}")] }).to_string());
        let found = self.json(ASK, &format!("/volumes{asked}")).await?;
        let found = found.get("Volumes").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        Ok(found.iter().filter_map(|volume| volume.get("Name")?.as_str()).map(str::to_owned).collect())
    }

    /// The volumes that bear all of these labels, by name, with how many bytes each holds.
    ///
    /// # Errors
    ///
    /// As every request; [`Error::Conflict`] or [`Error::Refused`] while the engine works that out for somebody else.
    pub async fn volume_sizes(&self, labels: &BTreeMap<String, String>) -> Result<BTreeMap<String, u64>, Error> {
        const ASK: Asked = Asked { what: "tell the sizes of its volumes", endpoint: "GET /system/df" };
        // An engine that does not know how to be asked for volumes alone tells the rest too.
        let value = self.ask(ASK, SIZES, Method::GET, "/system/df?type=volume", None).await?;
        let found = value.get("Volumes").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        let read = |volume: &Value| {
            let own = volume.get("Labels")?;
            let bears = labels.iter().all(|(key, value)| own.get(key).and_then(Value::as_str) == Some(value));
            let size = volume.pointer("/UsageData/Size").and_then(Value::as_u64).unwrap_or_default();
            Some((volume.get("Name")?.as_str()?.to_owned(), size)).filter(|_| bears)
        };
        Ok(found.iter().filter_map(read).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pkg_60_who_is_in_a_network_is_told_by_its_addresses() {
        let read = |config: Value| Bridge::read(&json!({ "IPAM": { "Config": [config] } }));
        let bridge = read(json!({ "Subnet": "172.18.0.0/16", "Gateway": "172.18.0.1" })).unwrap();
        assert_eq!((bridge.gateway.to_string().as_str(), bridge.bits), ("172.18.0.1", 16));
        for (address, is_in) in [("172.18.3.4", true), ("172.18.0.1", false), ("172.19.0.2", false), ("::1", false)] {
            assert_eq!(bridge.has(address.parse().unwrap()), is_in, "{address}");
        }
        let bridge = read(json!({ "Subnet": "10.231.0.16/28" })).unwrap();
        assert_eq!(bridge.gateway.to_string(), "10.231.0.17");
        assert!(bridge.has("10.231.0.30".parse().unwrap()) && !bridge.has("10.231.0.33".parse().unwrap()));
        assert_eq!(read(json!({ "Gateway": "10.0.0.1" })), None);
    }
}
