//! Three servers that somebody else runs, of which one is killed under writes and calls.

use std::{
    cell::Cell,
    fs,
    sync::Arc,
    time::{Duration, Instant},
};

use aigis_proxy::{
    Bus, Meta, Name, NodeName, Request, SkillPath, bus,
    client::{Client, Target},
    identity::Credential,
    kv::{self, Bucket, Expect},
};
use aigis_tests::{ForeignCluster, Mesh, until};
use tokio::sync::Notify;

use super::{SOON, up};

/// A bus whose servers choose who leads lets writes wait for up to 9 s; twice that on a machine that does much else.
const PATIENT: Duration = Duration::from_secs(18);
/// How long three servers may take to have all that one of them missed.
const CAUGHT_UP: Duration = Duration::from_secs(60);
/// How many writes and calls are made before one server is killed, and how many after.
const ROUNDS: u64 = 40;
/// The key that is written: one of beta's, which nobody reads as anything.
const KEY: &str = "load.acknowledged.beta";

#[test]
fn a_cluster_that_keeps_nobody_apart_outlives_one_of_its_servers() {
    let (mesh, mut bus) = (Mesh::absent(), ForeignCluster::discreet());
    bus.serve("");
    outlives_one(&mesh, &mut bus);
}

#[test]
fn a_cluster_with_the_accounts_of_the_mesh_outlives_one_of_its_servers() {
    let (mesh, mut bus) = (Mesh::absent(), ForeignCluster::new());
    // There are no servers yet; what each must be given is written all the same.
    let refused = mesh.aish(["up", "--detach", "--name", "alpha", "--bus", &bus.url()]);
    assert_ne!(refused.code, 0, "{refused:?}");
    for place in bus.places() {
        fs::copy(mesh.path().join("bus/operator.conf"), place.join("operator.conf")).unwrap();
    }
    bus.serve("include \"operator.conf\"");
    outlives_one(&mesh, &mut bus);
    let doctor = mesh.aish(["doctor"]).good();
    assert!(doctor.stdout.contains("pass  isolation"), "{doctor:?}");
    // All three are told who is let in no more.
    let vera = mesh.user("vera", "viewer");
    let _revoked = mesh.aish(["users", "revoke", "vera"]).good();
    for url in bus.url().split(',') {
        let _refused = mesh.aish(["--bus", url, "--creds", &vera, "list"]).failed(77);
    }
}

/// Brings a mesh up on that bus, kills the server that leads its registry, and starts it again.
fn outlives_one(mesh: &Mesh, bus: &mut ForeignCluster) {
    let _said = up(mesh, &bus.url());
    let beta = mesh.joined("beta");
    for known in [mesh, &beta] {
        assert_eq!(known.bus(), bus.url(), "every host knows all three");
    }
    let whole = |mesh: &Mesh| mesh.aish(["doctor"]).stdout.contains("pass  copies: whole on 3 bus servers");
    until("three servers have all of the store", CAUGHT_UP, || whole(&beta).then_some(()));
    let mut watch = mesh.running(["list", "--watch", "--json"]);
    watch.until("synced", SOON, |line| line.contains("synced").then_some(()));

    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (lost, longest) = runtime.block_on(busy(&beta, bus));
    eprintln!("{} was killed; the longest write or call took {longest:?}", ForeignCluster::name(lost));
    let user = mesh.user("late", "viewer");
    let _made = mesh.aish(["--creds", &user, "list"]).good();
    watch.signal(rustix::process::Signal::INT);
    let seen = watch.end(SOON).stdout;
    assert!(!seen.contains("\"offline\"") && !seen.contains("\"gone\""), "{seen}");
    // While the others choose who leads, nobody answers for the store.
    let named = || mesh.aish(["doctor"]).stdout.contains(&ForeignCluster::name(lost));
    until("who is away is named", CAUGHT_UP, || named().then_some(()));

    bus.start(lost);
    until("it has caught up", CAUGHT_UP, || whole(mesh).then_some(()));
}

/// Writes and calls, as beta's node, over one connection, and kills the server that leads the registry meanwhile: every call
/// is answered but one that was under way just then, which is told to have been sent, and all that was acknowledged is
/// there. Gives which was killed, and how long anything took.
async fn busy(beta: &Mesh, cluster: &mut ForeignCluster) -> (usize, Duration) {
    let credential = Credential::read(&beta.path().join("creds/beta.creds"), None).unwrap();
    let options =
        bus::Options { url: beta.bus(), ca: None, credential: Arc::new(credential), label: "busy".to_owned() };
    let bus = Bus::connect(options).await.unwrap();
    let standing = kv::standing(&bus, PATIENT).await.unwrap();
    assert!(standing.iter().all(|stream| stream.replicas == 3), "{standing:?}");
    let leader = standing.into_iter().find(|stream| stream.stream == Bucket::Records.stream()).unwrap().leader;
    let leads = |which: &usize| leader.as_deref() == Some(ForeignCluster::name(*which).as_str());
    let victim = (0..3).find(leads).unwrap_or_else(|| panic!("{leader:?} leads"));

    let (written, longest, cut_off) = (Cell::new(0), Cell::new(Duration::ZERO), Cell::new(0));
    let half = Notify::new();
    let took = |begun: Instant| longest.set(longest.get().max(begun.elapsed()));
    let writing = async {
        let mut revision = 0;
        while written.get() < 2 * ROUNDS {
            let (value, begun) = (written.get().to_string(), Instant::now());
            match kv::put(&bus, Bucket::Records, KEY, value.into(), Expect::Revision(revision), PATIENT).await {
                Ok(newer) => {
                    revision = newer;
                    written.set(written.get() + 1);
                    if written.get() == ROUNDS {
                        half.notify_one();
                    }
                }
                // What was sent before may have been written: its acknowledgement was lost.
                Err(kv::Error::WrongRevision { .. }) => {
                    let there = kv::get(&bus, Bucket::Records, KEY, PATIENT).await.unwrap().unwrap();
                    assert!(there.revision >= revision, "{revision} was acknowledged, there is {}", there.revision);
                    revision = there.revision;
                }
                Err(error) => panic!("a write failed: {error}"),
            }
            took(begun);
        }
        revision
    };
    let calling = async {
        let client = Client::new(bus.clone());
        let node = NodeName::parse("alpha").unwrap();
        let path = SkillPath::parse("status").unwrap();
        let target = Target { server: node.user(), ci: Name::parse("alpha").unwrap(), path, timeout: None };
        while written.get() < 2 * ROUNDS {
            let (meta, begun) = (Meta { timeout: Some(PATIENT), ..Meta::default() }, Instant::now());
            match client.call(&target, Request { meta, ..Request::default() }).await {
                Ok(_) => {}
                // What the killed server had taken and not yet handed on is nowhere; its caller is told that it may have run.
                Err(error) => {
                    assert_eq!(error.detail("sent"), Some(&true.into()), "{error:?}");
                    cut_off.set(cut_off.get() + 1);
                }
            }
            took(begun);
        }
    };
    let killing = async {
        half.notified().await;
        cluster.kill(victim);
    };
    let (acknowledged, (), ()) = tokio::join!(writing, calling, killing);
    // They are made one after the other, so that one at most was under way.
    assert!(cut_off.get() <= 1, "{} calls were not answered", cut_off.get());
    let there = kv::get(&bus, Bucket::Records, KEY, PATIENT).await.unwrap().unwrap();
    assert!(there.revision >= acknowledged, "{acknowledged} was acknowledged, there is {}", there.revision);
    (victim, longest.get())
}
