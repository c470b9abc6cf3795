use aigis_proxy::MeshName;

use super::*;

fn node(name: &str) -> NodeName {
    NodeName::parse(name).unwrap()
}

fn station(name: &str, address: &str) -> Station {
    let listen: SocketAddr = address.parse().unwrap();
    Station { node: node(name), listen, routes: SocketAddr::new(listen.ip(), listen.port() + ROUTES) }
}

fn home() -> (tempfile::TempDir, Home) {
    let directory = tempfile::tempdir().unwrap();
    let home = Home::new(directory.path(), MeshName::parse("main").unwrap());
    home.create().unwrap();
    (directory, home)
}

fn join(home: &Home, asked: Option<&[NodeName]>, listen: &str) -> Result<Option<Cluster>, Error> {
    Cluster::join(home, &node("alpha"), asked, listen.parse().unwrap(), true)
}

#[test]
fn three_servers_make_a_cluster_and_keep_their_places() {
    let (_directory, home) = home();
    let others = [node("beta"), node("gamma")];
    assert!(join(&home, None, "192.0.2.1:4222").unwrap().is_none());
    let cluster = join(&home, Some(&others), "192.0.2.1:4222").unwrap().unwrap();
    assert_eq!(cluster.servers(), [station("alpha", "192.0.2.1:4222")]);
    assert!(cluster.invites("beta") && !cluster.invites("alpha") && !cluster.invites("delta"));
    assert!(cluster.enroll(&station("beta", "192.0.2.2:4222")).unwrap());
    assert!(!cluster.enroll(&station("beta", "192.0.2.2:4222")).unwrap(), "known already");
    assert!(cluster.enroll(&station("beta", "192.0.2.9:4222")).unwrap(), "it may move while it is not needed");
    assert!(cluster.refuses(&station("gamma", "192.0.2.9:4222")).unwrap().contains("beta"));
    assert!(!cluster.is_complete());
    assert!(cluster.enroll(&station("gamma", "192.0.2.3:4222")).unwrap() && cluster.is_complete());
    assert!(cluster.refuses(&station("gamma", "192.0.2.4:4222")).is_some());
    assert_eq!(cluster.addresses("tls"), "tls://192.0.2.1:4222,tls://192.0.2.9:4222,tls://192.0.2.3:4222");

    let again = join(&home, None, "192.0.2.1:4222").unwrap().unwrap();
    assert!(again.is_complete() && again.servers() == cluster.servers(), "as before");
    assert!(matches!(join(&home, None, "192.0.2.8:4222"), Err(Error::Moved { .. })));
}

#[test]
fn what_makes_no_cluster_is_said() {
    let (_directory, home) = home();
    let words = |asked: &[&str], listen: &str| {
        let asked: Vec<_> = asked.iter().map(|name| node(name)).collect();
        join(&home, Some(&asked), listen).unwrap_err().to_string()
    };
    assert!(words(&[], "192.0.2.1:4222").contains("--bus-cluster=NODE,NODE"));
    for bad in [&["beta"][..], &["beta", "beta"], &["alpha", "beta"], &["beta", "gamma", "delta"]] {
        assert!(words(bad, "192.0.2.1:4222").contains("two other nodes"), "{bad:?}");
    }
    assert!(words(&["beta", "gamma"], "192.0.2.1:0").contains("--listen"));
    assert!(words(&["beta", "gamma"], "192.0.2.1:65000").contains("63536"));
    assert!(Cluster::open(&home).unwrap().is_none(), "nothing was written");
    let member = Cluster::join(&home, &node("beta"), Some(&[node("x")]), "192.0.2.2:4222".parse().unwrap(), false);
    assert!(member.unwrap_err().to_string().contains("--bus-cluster alone"));
}
