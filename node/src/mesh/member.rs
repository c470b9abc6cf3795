//! A host that joined: it has credentials and knows whom to believe; the signing keys are elsewhere.

use std::{
    fs,
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, Mutex},
};

use aigis_proxy::{
    NodeName, Role,
    identity::{CaCertificate, Credential, Issuer},
};

use super::{Error, Mesh, Wanted};
use crate::{
    bus_server::{BusServer, Papers},
    cluster::{self, Cluster},
    home::{Home, MeshFile},
};

/// What a host is told when it is admitted.
#[derive(Debug)]
pub struct Membership {
    /// The credential of the node, or of the person.
    pub credential: Credential,
    /// Who vouches for the mesh's users.
    pub issuer: Issuer,
    /// The node that holds the signing keys.
    pub node: NodeName,
    /// The bus's address.
    pub bus: String,
    /// Who vouches for the bus, where that speaks TLS.
    pub ca: Option<CaCertificate>,
    /// Whether this host is to be a plugin host: then the credential is no person's.
    pub hosts: bool,
}

impl Membership {
    /// Writes what makes this host a member; all of it, or nothing.
    ///
    /// # Errors
    ///
    /// The file that cannot be written.
    pub fn write(self, home: &Home) -> Result<MeshFile, Error> {
        home.create()?;
        let known = home.read_mesh()?;
        let name = self.credential.name();
        let (credential, node) = match self.credential.role() {
            Role::Node => (home.credential(name), NodeName::parse(name.as_str()).ok()),
            Role::Plugin if self.hosts => (home.credential(name), None),
            _ => (home.default_credential(), known.as_ref().and_then(|known| known.node.clone())),
        };
        let supervised = known.is_some_and(|known| known.supervised);
        let file = MeshFile { mesh: home.mesh().clone(), bus: self.bus, node, issuer: self.node, supervised };
        // What says that this host is a member comes last.
        let fresh: Vec<PathBuf> = [credential.clone(), home.issuer_file(), home.ca_file()]
            .into_iter()
            .filter(|path| !path.exists())
            .collect();
        let written = self.credential.write(&credential).map_err(Error::from).and_then(|()| {
            home.write_issuer(&self.issuer)?;
            if let Some(ca) = &self.ca {
                ca.write(&home.ca_file())?;
            }
            Ok(home.write_mesh(&file)?)
        });
        if written.is_err() {
            for path in fresh {
                // What made the writing fail matters more than a failure here.
                let _ = fs::remove_file(path);
            }
        }
        written.map(|()| file)
    }
}

/// Brings up what of the mesh is this host's.
pub(super) async fn up(home: &Home, wanted: &Wanted, known: &MeshFile) -> Result<Mesh, Error> {
    let refused = |why: String| Error::Joined { mesh: known.mesh.clone(), why };
    let Some(node) = &known.node else {
        let why = "only a person did, so it has no node; ask an admin for a token: aish tokens create --role node";
        return Err(refused(why.to_owned()));
    };
    if *node != wanted.node {
        return Err(refused(format!("it is the node {node} there, and cannot be {}", wanted.node)));
    }
    if wanted.new_store {
        return Err(refused(format!(
            "a new store is accepted on the host of {}, which holds the signing keys",
            known.issuer
        )));
    }
    if !wanted.sites.is_empty() || !wanted.ended_sites.is_empty() {
        return Err(refused(format!(
            "sites are made and ended on the host of {}, which holds the signing keys",
            known.issuer
        )));
    }
    let cluster = cluster(home, wanted, node)?;
    if let (Some(listen), None) = (wanted.listen, &cluster) {
        return Err(refused(format!(
            "its bus is {}, so nothing can listen at {listen}; leave --listen away, or make this host's server one of \
             the bus: --bus-cluster",
            known.bus
        )));
    }
    let missing = || refused("its issuer.json is missing; ask an admin for a token, and join again".to_owned());
    let issuer = home.read_issuer()?.ok_or_else(missing)?;
    let credential = Credential::read(&home.credential(&node.user()), Some(&issuer))?;
    let listen = cluster.as_ref().and_then(|(cluster, listen)| cluster.is_complete().then_some(*listen));
    let bus = match (&wanted.bus, &cluster, listen) {
        (Some(bus), ..) => bus.clone(),
        (None, Some((cluster, _)), Some(listen)) => cluster.addresses(super::bus::scheme(listen)),
        _ => known.bus.clone(),
    };
    let file = MeshFile { bus, supervised: listen.is_some(), ..known.clone() };
    if file != *known {
        home.write_mesh(&file)?;
    }
    let ca = super::trusted(home, wanted, &file.bus)?;
    let store = super::store::Pin::open(home, issuer.clone())?;
    let server = match &cluster {
        Some((cluster, _)) if listen.is_some() => Some(serve(home, cluster).await?),
        _ => None,
    };
    let cluster = cluster.map(|(cluster, _)| Arc::new(cluster));
    Ok(Mesh { file, ca, credential: Arc::new(credential), issuer, office: None, store, server, cluster })
}

/// The cluster that this host has a server of, or is to have, and where that listens.
fn cluster(home: &Home, wanted: &Wanted, node: &NodeName) -> Result<Option<(Cluster, SocketAddr)>, Error> {
    let known = Cluster::open(home)?;
    if known.is_none() && wanted.bus_cluster.is_none() {
        return Ok(None);
    }
    let before = known.and_then(|known| known.own()).map(|own| own.listen);
    let listen = wanted
        .listen
        .or(before)
        .ok_or(cluster::Error::Asked("say where this host's server of the bus listens for clients: --listen IP"))?;
    let joined = Cluster::join(home, node, wanted.bus_cluster.as_deref(), listen, false)?;
    Ok(joined.map(|cluster| (cluster, listen)))
}

/// Starts this host's server with what the issuer gave for it.
async fn serve(home: &Home, cluster: &Cluster) -> Result<BusServer, Error> {
    let charter = cluster.charter().ok_or(cluster::Error::Asked(
        "cluster.json does not hold what the server starts with: remove it, and enrol again with --bus-cluster",
    ))?;
    super::start_station(home, cluster, Papers::Given(Arc::new(Mutex::new(charter)))).await
}

#[cfg(test)]
mod tests {
    use std::{os::unix::fs::PermissionsExt, time::Duration};

    use super::*;
    use crate::mesh::CREDENTIAL_LIFE;
    use aigis_proxy::{MeshName, UserName, identity::MeshKeys};

    fn admitted(directory: &std::path::Path, name: &str, role: Role) -> Membership {
        let keys = directory.join(format!("keys-{name}"));
        let keys = MeshKeys::create(&keys, &MeshName::parse("main").unwrap()).unwrap();
        let (issuer, key) = (keys.issuer(), Credential::generate().unwrap());
        let name = UserName::parse(name).unwrap();
        let token = keys.issue(&name, role, key.public(), Duration::from_secs(60)).unwrap();
        let credential = Credential::new(&token, key, Some(&issuer)).unwrap();
        let node = NodeName::parse("alpha").unwrap();
        Membership { credential, issuer, node, bus: "nats://192.0.2.1:4222".to_owned(), ca: None, hosts: false }
    }

    fn wanted(node: &str) -> Wanted {
        Wanted {
            node: NodeName::parse(node).unwrap(),
            listen: None,
            bus_cluster: None,
            sites: Vec::new(),
            ended_sites: Vec::new(),
            bus: None,
            ca: None,
            credential_life: CREDENTIAL_LIFE,
            new_store: false,
        }
    }

    #[tokio::test]
    async fn a_member_is_written_whole_or_not_at_all() {
        let directory = tempfile::tempdir().unwrap();
        let home = Home::new(directory.path(), MeshName::parse("main").unwrap());
        home.create().unwrap();
        let blocked = home.root().join("mesh.new");
        fs::create_dir(&blocked).unwrap();
        assert!(admitted(directory.path(), "beta", Role::Node).write(&home).is_err());
        assert!(home.read_mesh().unwrap().is_none() && home.read_issuer().unwrap().is_none());
        assert_eq!(fs::read_dir(home.root().join("creds")).unwrap().count(), 0);

        fs::remove_dir(&blocked).unwrap();
        let membership = admitted(directory.path(), "gamma", Role::Node);
        let issuer = membership.issuer.clone();
        let file = membership.write(&home).unwrap();
        assert!(file.is_member() && home.read_issuer().unwrap() == Some(issuer));
        for path in ["creds/gamma.creds", "mesh.json", "issuer.json"] {
            let mode = fs::metadata(home.root().join(path)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{path}");
        }
        assert!(super::up(&home, &wanted("gamma"), &file).await.unwrap().office.is_none());
        assert!(super::up(&home, &wanted("delta"), &file).await.unwrap_err().to_string().contains("gamma"));
    }

    #[tokio::test]
    async fn a_person_beside_a_node_leaves_the_node() {
        let directory = tempfile::tempdir().unwrap();
        let home = Home::new(directory.path(), MeshName::parse("main").unwrap());
        let file = admitted(directory.path(), "olga", Role::Operator).write(&home).unwrap();
        assert_eq!(file.node, None);
        assert!(super::up(&home, &wanted("beta"), &file).await.unwrap_err().to_string().contains("--role node"));
        admitted(directory.path(), "beta", Role::Node).write(&home).unwrap();
        let file = admitted(directory.path(), "vera", Role::Viewer).write(&home).unwrap();
        assert_eq!(file.node.unwrap().as_str(), "beta");
    }
}
