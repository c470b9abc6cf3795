//! What the records say of secrets: which nodes one is for, and whether somebody who knew it is no longer of the mesh.

use std::{collections::BTreeMap, sync::Arc};

use aigis_proxy::{
    NodeName,
    secret::{SecretName, Selector},
};

use crate::{
    record::{NodeRecord, SecretRecord},
    snapshot::Snapshot,
};

/// The records of secrets, sorted by name.
pub type Secrets = Arc<BTreeMap<SecretName, Arc<SecretRecord>>>;

impl Snapshot {
    /// The issuer's record of a secret.
    #[must_use]
    pub fn secret(&self, name: &SecretName) -> Option<&Arc<SecretRecord>> {
        self.secrets.get(name)
    }

    /// The issuer's records of secrets: the same pointer as long as nothing of them changes.
    #[must_use]
    pub fn secrets(&self) -> &Secrets {
        &self.secrets
    }

    /// The nodes that are selected, sorted by name.
    pub fn selected(&self, selectors: &[Selector]) -> impl Iterator<Item = &Arc<NodeRecord>> {
        self.nodes().filter(move |node| selectors.iter().any(|selector| selector.selects(&node.name, &node.labels)))
    }

    /// Why a secret is due for change: who could open its value, or knew it, and no longer may. Empty if it is not.
    #[must_use]
    pub fn due(&self, secret: &SecretRecord) -> Vec<String> {
        let of_nodes = secret.copies.iter().filter_map(|(node, copy)| self.has_left(node, &copy.user));
        let by = self.user(&secret.set_by).and_then(|user| user.revoked_at);
        let by = by.map(|at| format!("{}, who set it, was revoked at {at}", secret.set_by));
        of_nodes.chain(by).collect()
    }

    /// Whether a node that had that user's key is the mesh's no more.
    fn has_left(&self, node: &NodeName, key: &str) -> Option<String> {
        if let Some(removal) = self.removal(node) {
            return Some(format!("the node {node} was removed at {}", removal.at));
        }
        match self.user(&node.user()) {
            Some(user) => match user.revoked_at {
                Some(at) => Some(format!("the node {node} was revoked at {at}")),
                None => (user.public_key != key).then(|| {
                    format!("the node {node} is another since {}: the former one could open it", user.issued_at)
                }),
            },
            None => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use aigis_proxy::{
        Role, UserName,
        blob::{Blob, Content, Digest},
        secret::{SealedKey, SealingKey},
    };

    use super::*;
    use crate::{
        record::{RemovalRecord, SecretCopy, UserRecord},
        timestamp::Timestamp,
    };

    fn user(name: &str, key: &str, revoked: bool) -> (UserName, Arc<UserRecord>) {
        let now = Timestamp::now();
        let name = UserName::parse(name).unwrap();
        let revoked_at = revoked.then_some(now);
        let (role, public_key) = (Role::Node, key.to_owned());
        let record = UserRecord {
            name: name.clone(),
            role,
            public_key,
            signer: String::new(),
            issued_at: now,
            expires_at: now,
            revoked_at,
            is_removed: false,
            grants: Vec::new(),
        };
        (name, Arc::new(record))
    }

    #[test]
    fn a_secret_is_due_once_somebody_who_knew_it_has_left() {
        let beta = NodeName::parse("beta").unwrap();
        let to = SealingKey::generate().unwrap().public();
        let sealed = SealedKey { to, key: Content(vec![1].into()) };
        let secret = SecretRecord {
            name: SecretName::parse("db").unwrap(),
            version: 1,
            set_by: UserName::parse("adam").unwrap(),
            set_at: Timestamp::now(),
            selectors: vec![Selector::Node(beta.clone())],
            content: Blob { digest: Digest::of(b""), size: 0 },
            copies: BTreeMap::from([(beta.clone(), SecretCopy { user: "UB".to_owned(), sealed })]),
        };
        let written = serde_json::to_string(&secret).unwrap();
        assert_eq!(serde_json::from_str::<SecretRecord>(&written).unwrap(), secret);
        let due = |users: Vec<(UserName, Arc<UserRecord>)>, removed: bool| {
            let removal = RemovalRecord { node: beta.clone(), by: secret.set_by.clone(), at: Timestamp::now() };
            let removed = removed.then(|| (beta.clone(), Arc::new(removal)));
            let snapshot = Snapshot {
                users: Arc::new(users.into_iter().collect()),
                removed: Arc::new(removed.into_iter().collect()),
                ..Snapshot::default()
            };
            snapshot.due(&secret).join("; ")
        };
        assert_eq!(due(vec![user("beta", "UB", false), user("adam", "UA", false)], false), "");
        assert!(due(vec![user("beta", "UB", true)], false).contains("beta was revoked"));
        assert!(due(vec![user("beta", "UX", false)], false).contains("beta is another"));
        assert!(due(vec![user("beta", "UB", false)], true).contains("beta was removed"));
        assert!(due(vec![user("beta", "UB", false), user("adam", "UA", true)], false).contains("adam, who set it"));
    }
}
