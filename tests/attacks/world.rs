//! A mesh of one node with a container on it, and what of it must be as before after an attack.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use aigis_tests::{Container, Mesh, nonce, now, until};
use serde_json::{Value, json};

use crate::wire::{SOON, Wire};

pub(crate) const BUSYBOX: &str = "aigis-test/busybox";

/// A mesh, and a container that is attacked.
pub(crate) struct World {
    pub(crate) web: Container,
    /// The container's name.
    pub(crate) name: String,
    pub(crate) mesh: Mesh,
}

/// What of the world may not change.
#[derive(Debug)]
pub(crate) struct Before {
    since: String,
    records: BTreeMap<String, (u64, Vec<u8>)>,
    files: BTreeMap<PathBuf, Vec<u8>>,
    deeds: Vec<Value>,
}

impl World {
    pub(crate) fn up() -> Self {
        Self::with(&[], &["sleep", "100000"])
    }

    /// A world whose container runs that.
    pub(crate) fn with(options: &[&str], command: &[&str]) -> Self {
        let mesh = Mesh::up();
        let name = format!("x-{}", nonce());
        let web = Container::run(&name, options, BUSYBOX, command);
        let _row = mesh.live(&name, &web.id);
        Self { web, name, mesh }
    }

    /// Makes a user of that role, and logs in as it.
    pub(crate) fn user(&self, name: &str, role: &str) -> Wire {
        Wire::log_in(&self.mesh, name, &self.mesh.user(name, role))
    }

    /// What there is now. Users that attack are to be made before.
    pub(crate) fn before(&self) -> Before {
        Before { since: now(), records: self.records(), files: self.files(), deeds: self.deeds() }
    }

    /// Asserts that records, engine, files and what was done are as before, and that honest calls work.
    pub(crate) fn is_as(&self, before: &Before) {
        assert_eq!(self.web.events_since(&before.since), [""; 0], "the engine");
        assert_eq!(self.records(), before.records, "the records");
        assert_eq!(self.deeds(), before.deeds, "what was done");
        let files = self.files();
        assert_eq!(files.keys().collect::<Vec<_>>(), before.files.keys().collect::<Vec<_>>(), "the files");
        let changed: Vec<_> = files.iter().filter(|(path, bytes)| before.files[*path] != **bytes).collect();
        assert!(changed.is_empty(), "{:?}", changed.iter().map(|(path, _)| path).collect::<Vec<_>>());
        let status = self.mesh.aish([self.name.as_str(), "status", "--json"]).good().json();
        assert_eq!(status["container_id"], self.web.id.as_str(), "honest calls work");
    }

    /// Waits until that many refusals of that caller with such a skill are on record, those without a line of their own
    /// counted; gives the lines.
    pub(crate) fn on_record(&self, caller: &str, skill: &str, least: usize) -> Vec<Value> {
        until(&format!("{least} refusals of {skill} to {caller} are on record"), SOON, || {
            let lines = self.audit(caller);
            let of = |line: &Value| {
                // A line without a skill counts those that have none of their own.
                line["phase"] == "refused" && (line["skill"].is_null() || line["skill"].as_str() == Some(skill))
            };
            let lines: Vec<Value> = lines.into_iter().filter(of).collect();
            let told = |line: &Value| 1 + usize::try_from(line["more"].as_u64().unwrap_or_default()).unwrap();
            (lines.iter().map(told).sum::<usize>() >= least).then_some(lines)
        })
    }

    /// The audit lines of a caller.
    pub(crate) fn audit(&self, caller: &str) -> Vec<Value> {
        let lines = self.mesh.aish(["audit", "--json", "--limit", "100000", "--caller", caller]).good().json();
        lines.as_array().cloned().unwrap_or_default()
    }

    /// Everything that anyone has had done.
    fn deeds(&self) -> Vec<Value> {
        let lines = self.mesh.aish(["audit", "--json", "--limit", "100000"]).good().json();
        let lines = lines.as_array().cloned().unwrap_or_default();
        lines.into_iter().filter(|line| line["phase"] != "refused").collect()
    }

    /// The records of the container, and all that the issuer says: others come and go on the same engine.
    fn records(&self) -> BTreeMap<String, (u64, Vec<u8>)> {
        let login = fs::read_to_string(self.mesh.path().join("creds/default.creds")).unwrap();
        let name = login.lines().find_map(|line| line.split_once("holder is ")?.1.split(':').next()).unwrap();
        let file = self.mesh.path().join("creds/default.creds").display().to_string();
        let mut admin = Wire::log_in(&self.mesh, name, &file);
        let ours = |key: &str| {
            let issued = ["$KV.records.user.", "$KV.records.token.", "$KV.records.removed.", "$KV.records.claim."];
            key.contains(&self.name) || issued.iter().any(|begin| key.starts_with(begin))
        };
        records(&mut admin).into_iter().filter(|(key, _)| ours(key)).collect()
    }

    /// The files of the mesh on this host, but for those that it writes to of its own.
    fn files(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut files = BTreeMap::new();
        walk(&self.mesh.path(), &mut files);
        let lively = [
            "audit",
            "report",
            "bus/store",
            "node.log",
            "bus/server.log",
            "bus/server.read.json",
            "bus/server.read.new",
            "node.sock",
        ];
        files.retain(|path, _| !lively.iter().any(|name| path.starts_with(self.mesh.path().join(name))));
        files
    }
}

/// All that the bucket of records holds: each key's revision and value.
pub(crate) fn records(wire: &mut Wire) -> BTreeMap<String, (u64, Vec<u8>)> {
    // The store delivers only where somebody subscribes to exactly that subject.
    let inbox = format!("_INBOX.{}.{}", wire.name(), nonce());
    let watch = wire.subscribe(&inbox);
    let config = json!({
        "deliver_subject": inbox, "deliver_policy": "last_per_subject", "filter_subject": "$KV.records.>", "ack_policy": "none", "replay_policy": "instant",
        "mem_storage": true, "num_replicas": 1,
    });
    let body = json!({"stream_name": "KV_records", "config": config}).to_string();
    let made = wire.request("$JS.API.CONSUMER.CREATE.KV_records", &body).json();
    let mut all = BTreeMap::new();
    if made["num_pending"].as_u64().unwrap_or_else(|| panic!("{made}")) == 0 {
        wire.unsubscribe(watch);
        return all;
    }
    loop {
        let heard = wire.delivered(SOON).unwrap_or_else(|| panic!("the records do not come: {all:?}"));
        // $JS.ACK.<stream>.<consumer>.<times>.<sequence>.<of the consumer>.<time>.<pending>
        let place = heard.reply.clone().unwrap_or_default();
        let numbers: Vec<u64> = place.split('.').skip(4).map(|word| word.parse().unwrap_or_default()).collect();
        all.insert(heard.subject, (numbers[1], heard.body));
        if numbers[4] == 0 {
            wire.unsubscribe(watch);
            return all;
        }
    }
}

fn walk(directory: &Path, files: &mut BTreeMap<PathBuf, Vec<u8>>) {
    for entry in fs::read_dir(directory).unwrap().map(Result::unwrap) {
        let path = entry.path();
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            walk(&path, files);
        } else if kind.is_file() {
            files.insert(path.clone(), fs::read(&path).unwrap_or_default());
        }
    }
}
