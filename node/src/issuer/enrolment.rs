//! The servers of the bus: an invited node's server is taken as one of them, and given what it starts with.

use std::time::SystemTime;

use aigis_proxy::{
    Error, Role,
    identity::ca,
    services::{Enrolled, Station},
    subject::Caller,
};
use serde_json::{Value, json};

use super::Office;
use crate::cluster::{SERVERS, member};

/// The name under which it is put on record.
const PATH: &str = "bus.enroll";

impl Office {
    /// Takes the caller's server, if its node is invited.
    ///
    /// # Errors
    ///
    /// `permission_denied` for who is no invited node, `failed_precondition` for a place that is another's.
    pub(super) async fn enroll(&self, caller: &Caller, station: Station, public_key: &str) -> Result<Enrolled, Error> {
        let invited = caller.role == Role::Node && station.node.as_str() == caller.name.as_str();
        let cluster = self.cluster.as_ref().filter(|(cluster, _)| invited && cluster.invites(caller.name.as_str()));
        let Some((cluster, authority)) = cluster else {
            let reason = format!("{} was not invited to run a server of the bus", caller.name);
            let hint =
                format!("on {}, name its node when the mesh is brought up: aish up --bus-cluster=NODE,NODE", self.node);
            return Err(self.refuse(caller, PATH, reason, &hint).await);
        };
        let own = cluster.own().ok_or_else(|| Error::internal("the issuer's server is not known"))?;
        if !member::is_sound(&station, &own) {
            let message = format!("no server of the bus can be reached at {} and {}", station.listen, station.routes);
            return Err(Error::invalid(message).hint("one address of that host: --listen IP"));
        }
        if let Some(reason) = cluster.refuses(&station) {
            return Err(Error::precondition(reason).hint("start it where it was, or at an address of its own"));
        }
        let unmade = |error: ca::Error| Error::invalid(error.to_string());
        let expires = SystemTime::now() + ca::SERVER_LIFE;
        let certificate = authority.issue_for(public_key, station.listen.ip(), expires).map_err(unmade)?;
        if !cluster.servers().contains(&station) {
            let deed =
                async { cluster.enroll(&station).map(drop).map_err(|error| Error::precondition(error.to_string())) };
            self.audited(caller, PATH, json!({ "server": station }), deed, |()| Value::Null).await?;
            tracing::info!(node = %station.node, listen = %station.listen, "a server of the bus was enrolled");
        }
        Ok(Enrolled {
            servers: cluster.servers(),
            wanted: SERVERS,
            charter: self.keys.charter(),
            certificate,
            ca: authority.certificate().to_text(),
        })
    }
}
