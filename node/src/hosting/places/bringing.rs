//! Bringing a plugin to a place: its tree, the credential of its user, its secrets, and the order to run it.

use std::{collections::BTreeMap, time::Duration};

use aigis_proxy::{
    Code, Error, NodeName,
    blob::Digest,
    rpc::{self, Asker},
    secret::{self, SecretName},
    services::{ISSUER, IssuerClient},
};

use super::{
    super::ways::Ways,
    Part, Secret,
    placement::{Client, Inner, Parts, SHORT, Wanted, sealed_as},
    tree::Packed,
};
use crate::plugins::{
    secret_files::{self, Stored},
    users,
};

/// How long a place may take to install what a plugin needs.
const LONG: Duration = Duration::from_secs(20 * 60);
/// How often a tree is sent anew.
const TRIES: usize = 3;

impl Inner {
    /// Brings the plugin to a place, and has it run there.
    pub(super) async fn bring(&self, place: &NodeName, wanted: &Wanted) -> Result<(), Error> {
        let (plugin, asker, entry) = (&self.plugin.name, self.parts.asker(place), self.plugin.entry());
        let tree = wanted.tree()?;
        let mut offer = rpc::answered(asker.offer(rpc::within(SHORT), plugin.clone(), tree).await)?;
        let mut tries = 0;
        while !offer.has_tree {
            tries += 1;
            let sent = self.send(&asker, tree, wanted).await;
            match sent {
                Err(error) if tries >= TRIES || error.code != Code::FailedPrecondition => return Err(error),
                Err(error) => tracing::debug!(%error, %plugin, %place, "the tree is sent again"),
                Ok(()) => offer.has_tree = true,
            }
        }
        let user = users::of_plugin(plugin)?;
        let grants = Ways::grants(entry.grants.as_ref())?;
        let issuer = IssuerClient::from(Asker::new(&self.parts.bus, self.parts.issuer.as_str(), ISSUER));
        let token = issuer.host_plugin(rpc::within(SHORT), user, offer.public_key, grants.clone()).await;
        let token = rpc::answered(token)?;
        let secrets = self.seal(place, &wanted.secrets).await?;
        let (env, python) = (entry.env.clone(), entry.python.clone());
        let part = Part { plugin: plugin.clone(), tree, env, python, grants, secrets, token };
        rpc::answered(asker.run(rpc::within(LONG), part).await)?;
        self.plugin.journal.note("info", &format!("it runs on {place}"));
        Ok(())
    }

    async fn send(&self, asker: &Client, tree: Digest, wanted: &Wanted) -> Result<(), Error> {
        let packed = Packed::of(&self.plugin.folder, &wanted.prepared.manifest).await?;
        let mut offset = 0;
        loop {
            let piece = packed.piece(tree, offset).await?;
            offset += piece.content.0.len() as u64;
            let is_last = piece.is_last;
            rpc::answered(asker.bring(rpc::within(LONG), self.plugin.name.clone(), piece).await)?;
            if is_last {
                return Ok(());
            }
        }
    }

    /// Seals the secrets to the place.
    async fn seal(&self, place: &NodeName, secrets: &Stored) -> Result<Vec<Secret>, Error> {
        if secrets.is_empty() {
            return Ok(Vec::new());
        }
        let Parts { mesh, ways, .. } = &*self.parts;
        let to = ways.cache().await?.snapshot().sealing_key(mesh, place)?;
        let to = BTreeMap::from([(place.clone(), to)]);
        let seal = |(key, stored): (&SecretName, &secret_files::Secret)| {
            let name = sealed_as(&self.plugin.name, key)?;
            let bound = secret::Place { mesh, name: &name, version: 0 };
            let sealed = secret::seal(bound, &stored.value, &to)?;
            Ok(Secret { key: key.clone(), version: stored.version.clone(), mode: stored.mode, sealed })
        };
        secrets.iter().map(seal).collect()
    }
}
