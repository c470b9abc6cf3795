//! Users of what nodes host: one for each plugin, one for the core plugins of a node, issued to the node itself.

use std::time::Duration;

use aigis_proxy::{Code, Error, Grant, Name, NodeName, Role, UserName, subject::Caller};
use aigis_registry::{Kind, Snapshot, record::UserRecord};
use serde_json::json;

use super::{Office, grants, nothing};

/// How such names begin.
const OF_PLUGIN: &str = "plugin-";
const OF_CORE: &str = "core-";
/// The names under which it is put on record.
const PATH: &str = "plugins.user";
const END: &str = "plugins.user.end";
/// How long the issuer's own copy of the records may take to show a plugin that was just claimed.
const SEEN: Duration = Duration::from_secs(5);

/// Refuses a name that is for what nodes host: no two users may share an inbox.
///
/// # Errors
///
/// `invalid_argument`.
pub(super) fn is_free(name: &UserName) -> Result<(), Error> {
    match [OF_PLUGIN, OF_CORE].into_iter().find(|prefix| name.as_str().starts_with(prefix)) {
        Some(prefix) => Err(Error::invalid(format!(
            "the name {name} is for what nodes host: no other user has one that begins with {prefix}"
        ))
        .hint("choose another name")),
        None => Ok(()),
    }
}

impl Office {
    /// Issues the credential of a user that the calling node hosts.
    ///
    /// # Errors
    ///
    /// `permission_denied` for who is no node, for what that node does not host, and for a user that was revoked;
    /// `invalid_argument` for too many grants; and what the store says.
    pub(super) async fn host_plugin(
        &self,
        caller: &Caller,
        name: UserName,
        public_key: String,
        mut grants: Vec<Grant>,
    ) -> Result<String, Error> {
        self.check_host(caller, PATH, &name).await?;
        grants::settle(&mut grants)?;
        let kwargs = json!({"name": name, "public_key": public_key, "grants": grants});
        let issued = async {
            let revoked =
                |known: Option<&UserRecord>| known.is_some_and(|known| known.revoked_at.is_some() && !known.is_removed);
            let denied = || {
                Error::new(Code::PermissionDenied, format!("the user {name} was revoked"))
                    .hint("an admin can let it in again: remove the plugin, and add it under another name")
            };
            if revoked(self.cache.snapshot().user(&name).map(|user| &**user)) {
                return Err(denied());
            }
            self.supersede(&name, &public_key).await?;
            let token = self
                .sign(&name, Role::Plugin, &public_key, |known| if revoked(known) { Err(denied()) } else { Ok(()) })
                .await?;
            self.grant(&name, grants).await?;
            Ok(token)
        };
        Box::pin(self.audited(caller, PATH, kwargs, issued, nothing)).await
    }

    /// Ends the user of a plugin that the calling node removes; there may be none.
    ///
    /// # Errors
    ///
    /// `permission_denied` for who is no node, and for what is no plugin whose home that node is; `unavailable` if no server
    /// of the bus was told; and what the store says.
    pub(super) async fn end_plugin(&self, caller: &Caller, name: UserName) -> Result<(), Error> {
        self.check_host(caller, END, &name).await?;
        if !name.as_str().starts_with(OF_PLUGIN) {
            let reason = format!("{name} is no plugin's user");
            return Err(self.refuse(caller, END, reason, "the user of core plugins stays with its node").await);
        }
        let kwargs = json!({"name": name});
        let ended = async {
            match self.revoke_for(&name, true).await {
                Ok(_) => Ok(()),
                // Core plugins have none of their own.
                Err(error) if error.code == Code::NotFound => Ok(()),
                Err(error) => Err(error),
            }
        };
        Box::pin(self.audited(caller, END, kwargs, ended, nothing)).await
    }

    /// Refuses whoever is not the node that hosts what the user is for.
    async fn check_host(&self, caller: &Caller, path: &str, user: &UserName) -> Result<(), Error> {
        let node = NodeName::parse(caller.name.as_str()).ok().filter(|_| caller.role == Role::Node);
        let hosts = match &node {
            Some(node) => self.hosts(node, user).await,
            None => false,
        };
        if hosts {
            return Ok(());
        }
        let reason = format!("{user} is no plugin that {} hosts", caller.name);
        Err(self.refuse(caller, path, reason, "a node asks for its own plugins alone").await)
    }

    /// Whether that node hosts what the user is for; a plugin that was just claimed is awaited.
    async fn hosts(&self, node: &NodeName, user: &UserName) -> bool {
        if let Some(core) = user.as_str().strip_prefix(OF_CORE) {
            return core == node.as_str();
        }
        let Some(name) = user.as_str().strip_prefix(OF_PLUGIN).and_then(|name| Name::parse(name).ok()) else {
            return false;
        };
        let stands = |snapshot: &Snapshot| snapshot.hosts(&name, node, Kind::Plugin);
        let mut changed = self.cache.changed();
        let shown = changed.wait_for(|snapshot| stands(snapshot));
        matches!(tokio::time::timeout(SEEN, shown).await, Ok(Ok(_)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_have_no_names_of_what_nodes_host() {
        for (name, free) in
            [("olga", true), ("plugin", true), ("core", true), ("plugin-fx", false), ("core-alpha", false)]
        {
            assert_eq!(is_free(&UserName::parse(name).unwrap()).is_ok(), free, "{name}");
        }
    }
}
