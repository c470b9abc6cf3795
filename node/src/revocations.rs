//! Those whom the issuer revoked, kept out of this node: their calls are refused, those that run end, and so do their
//! connections to the socket.

use std::collections::BTreeMap;

use aigis_proxy::{identity::Revocations, serve::Server, task};
use aigis_registry::{Cache, Snapshot};
use tokio::sync::watch;

/// Watches the issuer's records until the returned value is dropped.
pub(crate) fn watch(cache: &Cache, server: &Server, socket: watch::Sender<Revocations>) -> task::Owned {
    let (mut snapshots, server) = (cache.changed(), server.clone());
    task::Owned::spawn("revocations", async move {
        let mut known = BTreeMap::new();
        loop {
            let revoked = revoked(&snapshots.borrow_and_update());
            if revoked != known {
                server.shut_out(revoked.keys().cloned().collect());
                let keys = revoked.values().cloned();
                socket.send_modify(|all| all.extend(keys));
                known = revoked;
            }
            if snapshots.changed().await.is_err() {
                return;
            }
        }
    })
}

/// The users that are revoked, with their keys and when it was, in seconds since 1970.
fn revoked(snapshot: &Snapshot) -> BTreeMap<aigis_proxy::UserName, (String, i64)> {
    let revoked = snapshot.users().filter_map(|user| {
        let at = user.revoked_at?.time().unix_timestamp();
        Some((user.name.clone(), (user.public_key.clone(), at)))
    });
    revoked.collect()
}
