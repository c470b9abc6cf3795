//! A site with a bus server of its own, joined to the mesh's bus as a leaf node.

use std::{
    fs,
    net::{TcpListener, TcpStream},
    os::unix::fs::PermissionsExt as _,
    time::{Duration, Instant},
};

use aigis_proxy::{
    MeshName,
    identity::{Login, MeshKeys},
};
use aigis_tests::{Container, ForeignBus, Mesh, Relay, nonce, now, until};
use async_nats::{HeaderMap, jetstream};
use rustix::process::Signal;
use serde_json::Value;

use crate::client::Client;

mod hub;

const BUSYBOX: &str = "aigis-test/busybox";
const SOON: Duration = Duration::from_secs(60);
/// More than is promised after a cut has healed, for a machine that does much else.
const HEALED: Duration = Duration::from_secs(60);
/// Longer than a lease, and than an observer may be in doubt.
const WATCHED: Duration = Duration::from_secs(20);
/// How long the credentials hold that a test makes.
const LIFE: Duration = Duration::from_secs(600);

/// A mesh on a bus of others, and a site whose server runs with accounts and JetStream of its own.
struct Site {
    mesh: Mesh,
    /// The bus server of the mesh, on which alpha is.
    hub: ForeignBus,
    /// The keys of the site's own accounts.
    own: MeshKeys,
    server: ForeignBus,
    link: Relay,
}

impl Site {
    fn up() -> Self {
        let (mesh, mut hub, server) = (Mesh::absent(), ForeignBus::new(), ForeignBus::new());
        let site = ["up", "--detach", "--name", "alpha", "--bus", &hub.url(), "--bus-site", "paris"];
        // There is no server yet; what both must be given is written all the same.
        let refused = mesh.aish(site);
        assert_ne!(refused.code, 0, "{refused:?}");
        let leaves = free_port();
        fs::copy(mesh.path().join("bus/operator.conf"), hub.place().join("operator.conf")).unwrap();
        hub.serve(&format!(
            "include \"operator.conf\"\nleafnodes {{ listen: \"127.0.0.1:{leaves}\", no_advertise: true }}"
        ));
        let up = mesh.aish(site);
        assert!(up.code == 0 && up.stderr.contains("bus/sites/paris"), "{up:?}");

        let link = Relay::to(leaves);
        let given = mesh.path().join("bus/sites/paris");
        let text = fs::read_to_string(given.join("site.conf")).unwrap();
        let moved = text.replace("127.0.0.1:7422", &link.address().to_string());
        assert_ne!(text, moved, "{text}");
        fs::write(server.place().join("site.conf"), moved).unwrap();
        fs::copy(given.join("site.creds"), server.place().join("site.creds")).unwrap();
        let own = MeshKeys::create(&server.place().join("own"), &MeshName::parse("office").unwrap()).unwrap();
        let mut site = Self { mesh, hub, own, server, link };
        site.set_up_anew();
        site
    }

    /// Starts the site's server with what it was given when the mesh came up, and its own accounts.
    fn set_up_anew(&mut self) {
        self.server.end();
        let accounts = self.server.place().join("aigis-main-accounts");
        let _ = fs::remove_dir_all(&accounts);
        fs::create_dir(&accounts).unwrap();
        for token in self.own.accounts() {
            fs::write(accounts.join(format!("{}.jwt", token.account)), token.jwt).unwrap();
        }
        let (operator, store) = (self.own.operator_token(), self.server.place().join("store").display().to_string());
        self.server.serve(&format!(
            "include \"site.conf\"\noperator: [ $aigis_operator, \"{operator}\" ]\n\
             jetstream {{ domain: paris, store_dir: \"{store}\" }}"
        ));
    }

    /// A host of the site.
    fn joined(&self, name: &str) -> Mesh {
        self.mesh.joined_by(name, &["--bus", &self.server.url()])
    }

    /// The streams that an account of a server holds.
    fn streams(url: &str, login: Login, more: &[&str]) -> Vec<String> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let jwt = login.jwt().to_owned();
            let signed = move |nonce: Vec<u8>| std::future::ready(Ok(login.sign(&nonce)));
            let client = async_nats::ConnectOptions::with_jwt(jwt, signed).connect(url).await.unwrap();
            let store = jetstream::new(client);
            for name in more {
                let (name, subjects) = ((*name).to_owned(), vec![format!("{name}.>")]);
                let config = jetstream::stream::Config { name, subjects, ..Default::default() };
                let stream = store.create_stream(config).await.unwrap();
                let subject = format!("{}.first", stream.cached_info().config.name);
                let stored = store.publish(subject, "kept here".into()).await.unwrap().await.unwrap();
                assert_eq!((stored.sequence, stored.domain.as_str()), (1, "paris"));
            }
            let mut names: Vec<String> = futures::TryStreamExt::try_collect(store.stream_names()).await.unwrap();
            names.sort();
            names
        })
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Awaits that each of these is listed as live by a new process.
fn all_live(mesh: &Mesh, names: &[&str], within: Duration) {
    until(&format!("{names:?} are live"), within, || {
        let rows = mesh.rows(&[]);
        let live = |name: &&str| rows.iter().any(|row| row["name"] == **name && row["state"] == "live");
        names.iter().all(live).then_some(())
    });
}

/// Awaits that a site's server has found the mesh's bus.
fn bridged(mesh: &Mesh, server: &ForeignBus) {
    until("the site's server is connected", SOON, || {
        (mesh.aish(["--bus", &server.url(), "list"]).code == 0).then_some(())
    });
}

fn code(answer: &async_nats::Message) -> String {
    let header = answer.headers.as_ref().and_then(|headers| headers.get("Aigis-Error"));
    header.map(ToString::to_string).unwrap_or_default()
}

#[test]
fn a_site_with_a_server_of_its_own_is_part_of_the_mesh() {
    let site = Site::up();
    let (alpha, beta) = (&site.mesh, site.joined("beta"));
    for mesh in [alpha, &beta] {
        all_live(mesh, &["alpha", "beta"], SOON);
    }
    let known = fs::read_to_string(beta.path().join("mesh.json")).unwrap();
    assert!(known.contains(&site.server.url()), "{known}");

    // The site's own accounts and JetStream are nobody else's, and what is the mesh's is at the hub alone.
    let own = || site.own.store_credential(LIFE).unwrap();
    assert_eq!(Site::streams(&site.server.url(), own(), &["OFFICE"]), ["OFFICE"]);
    let keys = MeshKeys::open(&alpha.path().join("issuer")).unwrap();
    let at_hub = Site::streams(&site.hub.url(), keys.store_credential(LIFE).unwrap(), &[]);
    assert!(at_hub.contains(&"KV_records".to_owned()) && !at_hub.contains(&"OFFICE".to_owned()), "{at_hub:?}");

    // Calls both ways, what they stream, and what is too large for a message.
    let container = Container::run(
        &format!("x-{}", nonce()),
        &[],
        BUSYBOX,
        &["sh", "-c", "i=0; while true; do i=$((i+1)); echo line $i; sleep 0.2; done"],
    );
    let mut watch = beta.running(["list", "--watch", "--json"]);
    let (there, here) = (format!("{}@alpha", container.name), format!("{}@beta", container.name));
    watch.until("a record of the hub's side", SOON, |line| {
        let row: Value = serde_json::from_str(line).unwrap();
        (row["row"]["name"] == container.name.as_str() && row["row"]["node"] == "alpha").then_some(())
    });
    for (mesh, ci, node) in [(&beta, &there, "alpha"), (alpha, &here, "beta")] {
        let status = until("its status", SOON, || {
            let ran = mesh.aish(["call", &format!("{ci}.status"), "--json"]);
            (ran.code == 0).then(|| ran.json())
        });
        assert_eq!((&status["node"], &status["container_id"]), (&node.into(), &container.id.as_str().into()));
        let mut logs = mesh.running(["logs", "--follow", ci]);
        logs.until("a line", SOON, |line| line.starts_with("line ").then_some(()));
        logs.until("another one", SOON, |line| line.starts_with("line ").then_some(()));
        let large = vec![b'x'; 2_000_000];
        let said = mesh.with_input(["exec", ci, "--", "cat"], Some(&large)).good();
        assert!(said.stdout.as_bytes() == large, "{} bytes came back", said.stdout.len());
    }
    let _set = beta.with_input(["secrets", "set", "of-paris", "--for", "alpha"], Some(b"kept"));
    let listed = alpha.aish(["secrets", "list", "--json"]).good().json();
    assert!(listed.as_array().unwrap().iter().any(|row| row["name"] == "of-paris"), "{listed}");

    // Who somebody is, the site's server says too.
    let olga = Client::log_in(&beta, "olga", &alpha.user("olga", "operator"));
    let since = now();
    for subject in [
        format!("aigis.v1.main.call.admin.olga.{there}.stop"),
        format!("aigis.v1.main.to.alpha.operator.vera.{there}.restart"),
        "aigis.v1.main.site.paris.accounts".to_owned(),
        "$KV.records.node.alpha".to_owned(),
        "$JS.API.STREAM.DELETE.KV_records".to_owned(),
        "$JS.paris.API.STREAM.NAMES".to_owned(),
    ] {
        olga.publish(&subject, Some("_INBOX.olga.x"), HeaderMap::new(), "{}");
        olga.refused("publish", &subject);
    }
    for subject in ["aigis.v1.main.call.>", "aigis.v1.main.to.alpha.>", "_INBOX.beta.>", "$SYS.>", "OFFICE.>"] {
        let _refused = olga.subscribe(subject);
        olga.refused("subscription", subject);
    }
    let denied = olga.request(&format!("aigis.v1.main.call.operator.olga.{there}.exec"), "{}");
    assert_eq!((code(&denied).as_str(), container.events_since(&since)), ("permission_denied", Vec::new()));

    // The credential of the site's server is no client's.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let refused = runtime.block_on(async {
        let options = async_nats::ConnectOptions::with_credentials_file(site.server.place().join("site.creds"));
        options.await.unwrap().connect(site.hub.url()).await
    });
    assert!(refused.is_err(), "a client logged in with it");
    let own = site.own.store_credential(LIFE).unwrap();
    assert_eq!(Site::streams(&site.server.url(), own, &[]), ["OFFICE"]);
}

#[test]
fn flt_27_a_site_that_is_cut_off_says_so_and_calls_nobody_dead() {
    let site = Site::up();
    let alpha = &site.mesh;
    let (beta, gamma) = (site.joined("beta"), site.joined("gamma"));
    let container = Container::run(&format!("x-{}", nonce()), &[], BUSYBOX, &["sleep", "1000"]);
    let there = format!("{}@alpha", container.name);
    for mesh in [alpha, &beta, &gamma] {
        all_live(mesh, &["alpha", "beta", "gamma", &container.name], SOON);
    }
    let olga = Client::log_in(&gamma, "olga", &alpha.user("olga", "operator"));
    let since = now();
    for silently in [false, true] {
        let mut watch = beta.running(["list", "--watch", "--json"]);
        watch.until("synced", SOON, |line| line.contains("synced").then_some(()));
        let cut = Instant::now();
        if silently {
            site.link.silence();
        } else {
            site.link.cut();
        }
        let noticed = until("the site says that it is cut off", SOON, || {
            let ran = beta.aish(["--timeout", "5s", &there, "restart", "--yes"]);
            assert!([69, 75].contains(&ran.code), "{ran:?}");
            (ran.code == 69).then(|| cut.elapsed())
        });
        eprintln!("cut{}: 69 after {noticed:?}", if silently { " silently" } else { "" });
        while cut.elapsed() < WATCHED {
            let list = beta.aish(["list", "--json", "--state", "offline", "--state", "gone"]);
            match list.code {
                0 => assert_eq!(list.stdout, "[]\n", "{}", beta.log()),
                _ => drop(list.failed(69)),
            }
        }
        // The bus is young: for half a minute nobody is called dead there.
        until("the hub calls the site's hosts offline", 2 * SOON, || {
            alpha.row("beta").filter(|row| row["state"] == "offline")
        });
        // Hosts of the site still hear each other.
        let answer = olga.request("aigis.v1.main.call.operator.olga.beta@beta.status", "{}");
        assert_eq!(code(&answer), "", "{answer:?}");

        site.link.heal();
        let healing = Instant::now();
        for mesh in [alpha, &beta, &gamma] {
            all_live(mesh, &["alpha", "beta", "gamma"], HEALED);
        }
        eprintln!("healed after {:?}", healing.elapsed());
        let rows = beta.rows(&[]);
        let doubles = rows.iter().filter(|row| row["name"] == container.name.as_str()).count();
        assert_eq!(doubles, 3, "one on each node: {rows:?}");
        watch.signal(Signal::INT);
        let seen = watch.end(SOON).stdout;
        assert!(!seen.contains("\"offline\"") && !seen.contains("\"gone\""), "{seen}");
    }
    assert_eq!(container.events_since(&since), [""; 0], "nothing was queued");
}

#[test]
fn a_revoked_user_is_refused_at_a_site_too_and_a_site_can_be_ended() {
    let mut site = Site::up();
    let beta = site.joined("beta");
    all_live(&beta, &["alpha", "beta"], SOON);
    let login = |creds: &str| beta.aish(["--creds", creds, "list"]).code;
    let (olga, vera) = (site.mesh.user("olga", "operator"), site.mesh.user("vera", "viewer"));
    assert_eq!((login(&olga), login(&vera)), (0, 0));
    let _revoked = site.mesh.aish(["users", "revoke", "olga"]).good();
    assert_eq!(login(&olga), 77, "the site's server was told before the command returned");

    // A site that cannot be told is named, and told once it is there again; meanwhile every callee beyond it refuses.
    let by_hand = Client::log_in(&beta, "vera", &vera);
    site.link.cut();
    let revoked = until("the bus has noticed", SOON, || {
        let away = site.mesh.aish(["users", "revoke", "vera"]);
        away.stderr.contains("site paris").then_some(away)
    });
    assert_eq!(revoked.code, 1, "{revoked:?}");
    site.link.heal();
    until("the site was told", HEALED, || (login(&vera) == 77).then_some(()));
    drop(by_hand);

    // A server that was set up anew by what it was given once lets her in, and every callee refuses her.
    site.set_up_anew();
    until("the bus hears beta", HEALED, || (site.mesh.aish(["beta", "status"]).code == 0).then_some(()));
    let vera = Client::log_in(&beta, "vera", &vera);
    let denied = vera.request("aigis.v1.main.call.viewer.vera.beta.status", "{}");
    assert_eq!(code(&denied), "permission_denied", "{denied:?}");

    // An ended site is cut off for good.
    let _down = site.mesh.aish(["down"]).good();
    let up = site.mesh.aish(["up", "--detach", "--name", "alpha", "--bus", &site.hub.url(), "--end-bus-site", "paris"]);
    assert_eq!(up.code, 0, "{up:?}");
    until("the site is cut off", HEALED, || (beta.aish(["list"]).code == 69).then_some(()));
    assert!(!site.mesh.path().join("bus/sites/paris").exists());
    let unknown = {
        let _down = site.mesh.aish(["down"]).good();
        site.mesh.aish(["up", "--detach", "--name", "alpha", "--bus", &site.hub.url(), "--end-bus-site", "paris"])
    };
    assert!(unknown.code == 1 && unknown.stderr.contains("no site \"paris\""), "{unknown:?}");
}

#[test]
fn a_supervised_bus_listens_for_sites_only_where_it_has_some() {
    let (mesh, mut server) = (Mesh::absent(), ForeignBus::new());
    let clients = free_port();
    let (listen, leaves) = (format!("127.0.0.1:{clients}"), clients + 3_200);
    let up = |more: &[&str]| mesh.aish([&["up", "--detach", "--name", "alpha"], more].concat());
    let listens = || TcpStream::connect(("127.0.0.1", leaves)).is_ok();
    assert_eq!(up(&["--listen", &listen]).code, 0, "{}", mesh.log());
    assert!(!listens(), "nobody asked for it");
    let _down = mesh.aish(["down"]).good();
    let refused = up(&["--listen", "127.0.0.1:63000", "--bus-site", "paris"]);
    assert!(refused.code == 1 && refused.stderr.contains("below 62336"), "{refused:?}");
    assert_eq!(up(&["--listen", &listen, "--bus-site", "paris"]).code, 0, "{}", mesh.log());
    assert!(listens());

    for file in ["site.conf", "site.creds"] {
        fs::copy(mesh.path().join("bus/sites/paris").join(file), server.place().join(file)).unwrap();
    }
    let mode = fs::metadata(mesh.path().join("bus/sites/paris/site.creds")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    server.serve("include \"site.conf\"");
    bridged(&mesh, &server);
    let beta = mesh.joined_by("beta", &["--bus", &server.url()]);
    for mesh in [&mesh, &beta] {
        all_live(mesh, &["alpha", "beta"], SOON);
    }
    let elsewhere = beta.aish(["up", "--bus-site", "lyon"]);
    assert_eq!(elsewhere.code, 0, "it is up already: {elsewhere:?}");
    let _down = beta.aish(["down"]).good();
    let refused = beta.aish(["up", "--bus-site", "lyon"]).failed(1);
    assert!(refused.stderr.contains("on the host of alpha"), "{refused:?}");
}
