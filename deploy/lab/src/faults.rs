//! What can be done to a host's link.

use std::{fmt, str::FromStr, time::Duration};

use crate::{
    Error, Lab, Link,
    lab::BRIDGE,
    program::{find, own, run, spawn_detached, within},
    state::BUS,
};

/// How long a wire may take until it carries.
const READY: Duration = Duration::from_secs(10);

/// Which way packets go, seen from the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// To the host.
    In,
    /// From the host.
    Out,
    /// Both ways.
    Both,
}

impl Direction {
    /// The tables, chains and matches of the rules that lose such packets, those of containers too.
    fn rules(self) -> &'static [[&'static str; 4]] {
        const RULES: [[&str; 4]; 2] = [["raw", "PREROUTING", "-i", "eth0"], ["mangle", "POSTROUTING", "-o", "eth0"]];
        match self {
            Self::In => &RULES[..1],
            Self::Out => &RULES[1..],
            Self::Both => &RULES,
        }
    }
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::In => "in",
            Self::Out => "out",
            Self::Both => "both",
        })
    }
}

impl FromStr for Direction {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "in" => Ok(Self::In),
            "out" => Ok(Self::Out),
            "both" => Ok(Self::Both),
            _ => Err("write in, out or both".to_owned()),
        }
    }
}

/// Faults of links. Each takes a host's name, or `bus`.
impl Lab {
    /// Cuts the link, as a pulled cable does: both ends see it.
    ///
    /// # Errors
    ///
    /// No such station.
    pub fn cut(&self, station: &str) -> Result<(), Error> {
        let port = self.state().port(station)?;
        self.state().switch().ip(&format!("link set port{port} down")).map(drop)
    }

    /// Heals what [`Lab::cut`] did.
    ///
    /// # Errors
    ///
    /// No such station.
    pub fn heal(&self, station: &str) -> Result<(), Error> {
        let port = self.state().port(station)?;
        self.state().switch().ip(&format!("link set port{port} up")).map(drop)
    }

    /// Loses every packet of that direction, and tells nobody: no end sees a reset.
    ///
    /// # Errors
    ///
    /// No such station, or there is no `iptables`.
    pub fn drop_packets(&self, station: &str, direction: Direction) -> Result<(), Error> {
        self.pass_packets(station)?;
        direction.rules().iter().try_for_each(|rule| self.rule(station, "-I", rule))
    }

    /// Ends what [`Lab::drop_packets`] did.
    fn pass_packets(&self, station: &str) -> Result<(), Error> {
        self.state().port(station)?;
        for rule in Direction::Both.rules() {
            while self.rule(station, "-C", rule).is_ok() {
                self.rule(station, "-D", rule)?;
            }
        }
        Ok(())
    }

    fn rule(&self, station: &str, action: &str, [table, chain, which, device]: &[&str; 4]) -> Result<(), Error> {
        let mut command = self.state().namespace(station).command(find("iptables")?);
        command.args(["-w", "10", "-t", table, action, chain, which, device, "-j", "DROP"]);
        run(&mut command).map(drop)
    }

    /// Makes the link a bad one, both ways, in place of what it was.
    ///
    /// # Errors
    ///
    /// No such station, or the wire cannot be made.
    pub fn slow(&self, station: &str, link: &Link) -> Result<(), Error> {
        self.straighten(station)?;
        let (switch, port) = (self.state().switch(), self.state().port(station)?);
        let (near, far, bridge) = (format!("near{port}"), format!("far{port}"), format!("wire{port}"));
        let mut command = switch.command(own()?);
        command.arg("wire").arg(self.wire_file(station)).args([&near, &far]).args(link.arguments());
        spawn_detached(&command, &self.directory().join("wires.log"))?;
        // The ends of a wire are there once its process has made them.
        let there = || switch.process(&self.wire_file(station));
        within(READY, there).ok_or_else(|| Error::NotReady {
            what: format!("the wire of {station} carries"),
            seconds: READY.as_secs(),
            log: Some(self.directory().join("wires.log")),
        })?;
        switch.ip(&format!("link add {bridge} type bridge"))?;
        switch.ip(&format!("link set {bridge} up"))?;
        switch.ip(&format!("link set {near} master {BRIDGE} up"))?;
        switch.ip(&format!("link set {far} master {bridge} up"))?;
        switch.ip(&format!("link set port{port} master {bridge}")).map(drop)
    }

    /// Ends what [`Lab::slow`] did.
    fn straighten(&self, station: &str) -> Result<(), Error> {
        let (switch, port) = (self.state().switch(), self.state().port(station)?);
        if let Some(wire) = switch.process(&self.wire_file(station)) {
            // Its ends go with it.
            let _ = wire.kill();
        }
        let _ = std::fs::remove_file(self.wire_file(station));
        switch.ip(&format!("link set port{port} master {BRIDGE}"))?;
        if switch.ip(&format!("link show wire{port}")).is_ok() {
            switch.ip(&format!("link delete wire{port}"))?;
        }
        Ok(())
    }

    /// Makes the link a good one again, whatever was done to it.
    ///
    /// # Errors
    ///
    /// No such station.
    pub fn clear(&self, station: &str) -> Result<(), Error> {
        self.heal(station)?;
        self.pass_packets(station)?;
        self.straighten(station)
    }

    /// Says what was done to a link, in a few words; nothing if it is a good one.
    ///
    /// # Errors
    ///
    /// No such station.
    pub fn faults(&self, station: &str) -> Result<Vec<String>, Error> {
        let (switch, port) = (self.state().switch(), self.state().port(station)?);
        let mut faults = Vec::new();
        if !switch.ip(&format!("-oneline link show port{port}"))?.contains(",UP") {
            faults.push("cut".to_owned());
        }
        for direction in [Direction::In, Direction::Out] {
            if direction.rules().iter().all(|rule| self.rule(station, "-C", rule).is_ok()) {
                faults.push(format!("drops {direction}"));
            }
        }
        if switch.process(&self.wire_file(station)).is_some() {
            faults.push("slow".to_owned());
        }
        Ok(faults)
    }

    /// Holds the process id of the wire that a station's link goes through.
    fn wire_file(&self, station: &str) -> std::path::PathBuf {
        debug_assert!(station == BUS || self.host(station).is_ok(), "only a station's name becomes a path");
        self.directory().join(format!("{station}.wire"))
    }
}
