//! What the three accounts of a mesh claim: the system account, the mesh's own, and its store.
//!
//! JetStream lives in the store alone. In one account, any right to ask JetStream would be a right to write any
//! record, because the asker chooses the subject of the answer.

use std::collections::BTreeMap;

use super::{
    jwt::{
        self, Account, Activation, Body, Claims, Export, Flow, Import, Limits, Permissions, Scope, ScopeKind, VERSION,
    },
    key::Key,
    permissions,
};
use crate::{MeshName, Role, SiteName};

/// Where a server takes the token of an account, in its system account.
const UPDATE: &str = "$SYS.REQ.CLAIMS.UPDATE";

/// The account that observes and steers the servers.
pub(crate) fn system() -> Account {
    account(Vec::new(), Vec::new(), Limits::open())
}

/// The account that holds JetStream and offers some of it to the mesh.
pub(crate) fn store(mesh: &MeshName) -> Account {
    account(Vec::new(), exports(mesh), Limits::open().with_jetstream())
}

/// The account of all users: its imports from the store, and the scope of each role's signing key. Leaf nodes may connect to
/// it where it `has_sites`.
///
/// # Errors
///
/// Says why an activation token could not be signed with the store's key.
pub(crate) fn mesh<'a>(
    mesh: &MeshName,
    public: &str,
    store: &Key,
    roles: impl Iterator<Item = (Role, &'a str)>,
    has_sites: bool,
) -> Result<Account, jwt::Error> {
    let imports = exports(mesh).into_iter().map(|export| import(export, public, store)).collect::<Result<_, _>>()?;
    let signing_keys = roles
        .map(|(role, key)| Scope {
            kind: ScopeKind::UserScope,
            key: key.to_owned(),
            role: role.to_string(),
            template: permissions::template(mesh, role),
        })
        .collect();
    let limits = if has_sites { Limits::open().with_leaf_nodes() } else { Limits::open() };
    Ok(Account { signing_keys, ..account(imports, Vec::new(), limits) })
}

/// What the accounts claim at the server of a site. Users and revocations are those of the bus, but nothing of the store is
/// imported: what is said to it crosses to the bus, and is imported there.
pub(crate) struct OfSite<'a> {
    pub(crate) mesh: &'a MeshName,
    pub(crate) site: &'a SiteName,
    pub(crate) system: &'a Key,
    pub(crate) store: &'a Key,
}

impl OfSite<'_> {
    /// The system account, which lets the mesh's account hand in what the operator signed.
    pub(crate) fn system(&self) -> Account {
        account(Vec::new(), vec![self.update()], Limits::open())
    }

    /// The store: without JetStream, which the mesh has at the bus alone.
    pub(crate) fn store(&self) -> Account {
        account(Vec::new(), self.info(), Limits::open())
    }

    /// The account of all users, made of what it claims at the bus.
    ///
    /// # Errors
    ///
    /// Says why an activation token could not be signed.
    pub(crate) fn mesh(&self, at_the_bus: Account, public: &str) -> Result<Account, jwt::Error> {
        let info = self.info().into_iter().map(|export| import(export, public, self.store));
        let mut imports: Vec<Import> = info.collect::<Result<_, _>>()?;
        let local_subject = permissions::site_subject(self.mesh, self.site);
        imports.push(Import { local_subject, ..import(self.update(), public, self.system)? });
        Ok(Account { imports, ..at_the_bus })
    }

    fn update(&self) -> Export {
        let (name, subject) = ("accounts".to_owned(), UPDATE.to_owned());
        Export { name, subject, flow: Flow::Service, token_req: true }
    }

    /// The import that keeps a server with a JetStream of its own from answering in the store's place.
    fn info(&self) -> Vec<Export> {
        exports(self.mesh).into_iter().take(1).collect()
    }
}

/// Whether two accounts differ in nothing but their activation tokens, which differ each time they are made.
pub(crate) fn say_the_same(one: &Account, other: &Account) -> bool {
    let without_tokens = |account: &Account| {
        let mut account = account.clone();
        account.imports.iter_mut().for_each(|import| import.token.clear());
        account
    };
    without_tokens(one) == without_tokens(other)
}

/// What the store offers to the mesh, and to nobody without an activation token.
///
/// Streams are made, changed and deleted in the store account alone: nothing of that is offered.
fn exports(mesh: &MeshName) -> Vec<Export> {
    let services = [
        // No role may ask for it. An account that imports it gets no responder of its own for the whole JetStream API,
        // which would answer "not enabled for account" beside the store's answers.
        ("account-info", "$JS.API.INFO".to_owned()),
        ("stream-info", "$JS.API.STREAM.INFO.*".to_owned()),
        ("direct-get", "$JS.API.DIRECT.GET.>".to_owned()),
        ("consumer-create", "$JS.API.CONSUMER.CREATE.>".to_owned()),
        ("consumer-info", "$JS.API.CONSUMER.INFO.*.*".to_owned()),
        ("acknowledge", "$JS.ACK.>".to_owned()),
        ("flow-control", "$JS.FC.>".to_owned()),
        ("write", "$KV.>".to_owned()),
        ("audit", permissions::audit_subject(mesh)),
        ("logs", permissions::log_subject(mesh)),
    ];
    services
        .into_iter()
        .map(|(name, subject)| (name, subject, Flow::Service))
        .chain([("deliver", "_INBOX.>".to_owned(), Flow::Stream)])
        .map(|(name, subject, flow)| Export { name: name.to_owned(), subject, flow, token_req: true })
        .collect()
}

fn import(export: Export, importer: &str, exporter: &Key) -> Result<Import, jwt::Error> {
    let Export { name, subject, flow, .. } = export;
    let activation = Activation { subject: subject.clone(), kind: flow, version: VERSION };
    let token = Claims::new(&name, importer, Body::Activation(activation)).encode(exporter)?;
    Ok(Import { name, subject, local_subject: String::new(), account: exporter.public().to_owned(), token, flow })
}

fn account(imports: Vec<Import>, exports: Vec<Export>, limits: Limits) -> Account {
    Account {
        imports,
        exports,
        limits,
        signing_keys: Vec::new(),
        revocations: BTreeMap::new(),
        default_permissions: Permissions::default(),
        version: VERSION,
    }
}
