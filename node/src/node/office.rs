//! What the issuer's node does beside what every node does: it vouches for users, and sees to the bus's store and servers.

use std::{sync::Arc, time::Duration};

use aigis_proxy::{blob::Store, identity::MeshCa, task};
use tokio::sync::watch;

use super::{
    Error,
    ground::{LISTEN, doing, growing},
    parts::Base,
};
use crate::{
    cluster::messenger::Messenger,
    issuer::{self, Office},
    mesh::{self, Mesh},
    upkeep::StoreKeeper,
    witness,
};

/// What an issuer was asked for by whoever started it.
pub(super) struct Asked {
    pub(super) credential_life: Duration,
    /// Whether the bus has sites, or had some, of which it is to be told.
    pub(super) has_other_sites: bool,
}

/// Opens the office of the issuer: whoever asks for a credential is answered from now on.
///
/// # Errors
///
/// Says what did not start, and why.
pub(super) async fn open(
    base: &Base,
    mesh: &Mesh,
    store: StoreKeeper,
    asked: Asked,
    restart: &watch::Sender<bool>,
) -> Result<Vec<task::Owned>, Error> {
    let Asked { credential_life, has_other_sites } = asked;
    let keys = store.keys.clone();
    let (url, ca, cluster) = (mesh.file.bus.clone(), mesh.ca.clone(), mesh.cluster.clone());
    let messenger = Arc::new(Messenger::new(keys.clone(), url, ca, cluster.clone()));
    let mut tasks = vec![messenger.start()];
    // A bus of others goes on with what it was told last, which a start that failed may have changed since.
    if has_other_sites || !mesh.file.supervised {
        let [_, account, _] = keys.accounts();
        match Box::pin(messenger.tell(&account)).await {
            Err(error) if has_other_sites => return Err(doing("tell the bus of its sites")(error)),
            Err(error) => tracing::debug!(%error, "the bus was not told of the accounts"),
            Ok(_) => {}
        }
    }
    let authority = MeshCa::open(&base.home.issuer(), base.home.mesh()).map_err(mesh::Error::from)?;
    tasks.extend(cluster.as_ref().map(|cluster| growing(cluster, restart.clone())));
    let office = Office {
        keys,
        journal: base.journal.clone(),
        node: base.node.clone(),
        store,
        url: mesh.file.bus.clone(),
        ca: mesh.ca.clone(),
        messenger,
        cluster: cluster.map(|cluster| (cluster, authority)),
        registry: base.registry.clone(),
        cache: base.cache.clone(),
        blobs: Store::new(&base.bus),
        credential_life,
        revoking: Arc::default(),
    };
    office.note(&mesh.credential).await.map_err(doing("write its user's record"))?;
    let (file, usual) = (base.home.default_credential(), mesh::first_admin());
    office.first_admin(&file, &usual).await.map_err(doing("see to its admin's credential"))?;
    tasks.push(witness::note(base.journal.clone(), base.cache.clone(), base.node.clone()));
    tasks.extend(issuer::serve(&base.bus, office).await.map_err(doing(LISTEN))?);
    Ok(tasks)
}
