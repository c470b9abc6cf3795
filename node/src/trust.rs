//! Who vouches for the mesh's users, as this host has it pinned: renewed by what the mesh's account itself has signed.

use std::sync::Arc;

use aigis_proxy::{identity::Issuer, task};
use aigis_registry::Snapshot;
use tokio::sync::watch;

use crate::home::Home;

/// Takes in what the mesh's account says of who vouches for its users, if that is newer than what is pinned: in its file,
/// and for all who check by it.
pub fn pin(snapshot: &Snapshot, pinned: &watch::Sender<Issuer>, home: &Home) {
    let said = {
        let known = pinned.borrow();
        snapshot.vouches().and_then(|said| said.verify(&known.account)).filter(|said| said.follows(&known))
    };
    let Some(said) = said else { return };
    if let Err(error) = home.write_issuer(&said) {
        tracing::error!(%error, "who vouches for users was not written down; it is known to this process alone");
    }
    tracing::info!(serial = said.serial, "the mesh's account says anew who vouches for its users");
    pinned.send_replace(said);
}

/// Takes in who vouches for users as another process of this host has written it down meanwhile.
pub fn look(home: &Home, pinned: &watch::Sender<Issuer>) {
    if let Ok(Some(written)) = home.read_issuer() {
        pinned.send_if_modified(|known| {
            let is_news = written.follows(known);
            if is_news {
                *known = written;
            }
            is_news
        });
    }
}

/// Keeps what is pinned up to date, until the returned value is dropped.
#[must_use]
pub fn watch(mut snapshots: watch::Receiver<Arc<Snapshot>>, pinned: watch::Sender<Issuer>, home: Home) -> task::Owned {
    task::Owned::spawn("trust", async move {
        loop {
            let snapshot = snapshots.borrow_and_update().clone();
            pin(&snapshot, &pinned, &home);
            if snapshots.changed().await.is_err() {
                return;
            }
        }
    })
}
