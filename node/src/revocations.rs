//! Those whom the issuer revoked, kept out of this node: their calls are refused, those that run end, and so do their
//! connections to the socket.

use std::collections::BTreeMap;

use aigis_proxy::{UserName, identity::Revocations, serve::Server, task};
use aigis_registry::{Cache, Snapshot};
use tokio::sync::watch;

/// Watches the issuer's records until the returned value is dropped.
pub(crate) fn watch(cache: &Cache, server: &Server, socket: watch::Sender<Revocations>) -> task::Owned {
    let (mut snapshots, server) = (cache.changed(), server.clone());
    task::Owned::spawn("revocations", async move {
        let mut known = (BTreeMap::new(), BTreeMap::new());
        loop {
            let now = {
                let snapshot = snapshots.borrow_and_update();
                (revoked(&snapshot), holders(&snapshot))
            };
            if now != known {
                let (revoked, holders) = &now;
                server.shut_out(revoked.keys().cloned().collect());
                socket.send_modify(|all| {
                    all.extend(revoked.values().cloned());
                    all.hold(holders.clone());
                });
                known = now;
            }
            if snapshots.changed().await.is_err() {
                return;
            }
        }
    })
}

/// The users that are revoked, with their keys and when it was, in seconds since 1970.
fn revoked(snapshot: &Snapshot) -> BTreeMap<UserName, (String, i64)> {
    let revoked = snapshot.users().filter_map(|user| {
        let at = user.revoked_at?.time().unix_timestamp();
        Some((user.name.clone(), (user.public_key.clone(), at)))
    });
    revoked.collect()
}

/// The one key of each name: whoever had another before counts no more.
fn holders(snapshot: &Snapshot) -> BTreeMap<UserName, String> {
    snapshot.users().map(|user| (user.name.clone(), user.public_key.clone())).collect()
}
