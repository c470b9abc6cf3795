//! Users of what nodes host: one for each plugin, one for the core plugins of a node, issued to the node itself.

use std::time::Duration;

use aigis_proxy::{Code, Error, Grant, Name, NodeName, Role, UserName, subject::Caller};
use aigis_registry::{Kind, Snapshot, Timestamp, record::UserRecord};
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

    /// Refuses a user that would hear what is sent to another: nodes and plugins hear calls by their own names, and a plugin's
    /// user may serve by the name of its plugin besides.
    ///
    /// # Errors
    ///
    /// `already_exists`.
    pub(super) fn hears_alone(&self, name: &UserName, role: Role) -> Result<(), Error> {
        let snapshot = self.cache.snapshot();
        let hears = |name: &str| {
            let user = UserName::parse(name).ok().and_then(|name| snapshot.user(&name).cloned());
            user.is_some_and(|user| {
                user.revoked_at.is_none()
                    && (user.role == Role::Node || user.role == Role::Plugin && user.expires_at > Timestamp::now())
            })
        };
        let Some(other) = also_heard_by(name, role, hears) else { return Ok(()) };
        let message = format!("{name} would hear the calls of {other}, which is another user");
        Err(Error::new(Code::AlreadyExists, message).hint("choose another name"))
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

/// The user, among those that hear calls, by whose name such a user would hear calls too, or the other way round.
fn also_heard_by(name: &UserName, role: Role, hears: impl Fn(&str) -> bool) -> Option<String> {
    if !matches!(role, Role::Node | Role::Plugin) {
        return None;
    }
    let plugin = name.as_str().strip_prefix(OF_PLUGIN).filter(|_| role == Role::Plugin);
    let others = [plugin.map(str::to_owned), Some(format!("{OF_PLUGIN}{name}"))];
    others.into_iter().flatten().find(|other| hears(other))
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

    #[test]
    fn plg_69_nobody_hears_what_is_sent_to_another() {
        let known = ["beta", "plugin-dice", "plugin-x"];
        let other =
            |name: &str, role| also_heard_by(&UserName::parse(name).unwrap(), role, |other| known.contains(&other));
        assert_eq!(other("plugin-beta", Role::Plugin).as_deref(), Some("beta"), "a plugin that is called like a node");
        assert_eq!(other("dice", Role::Node).as_deref(), Some("plugin-dice"), "a node that is called like a plugin");
        assert_eq!(other("plugin-plugin-x", Role::Plugin).as_deref(), Some("plugin-x"));
        for (name, role) in [("plugin-dice", Role::Plugin), ("beta", Role::Node), ("dice", Role::Operator)] {
            assert_eq!(other(name, role), None, "{name}");
        }
    }
}
