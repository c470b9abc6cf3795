//! Containers, clocks, doubled requests and credentials that go wrong under calls.

use std::{
    fs,
    time::{Duration, Instant},
};

use aigis_proxy::{
    Bus, Code, Role, UserName,
    bus::Options,
    identity::{CaCertificate, Credential, MeshKeys},
};
use aigis_tests::{Events, Mesh, docker, inside, nonce, until};

use crate::{
    row::{Row, Run},
    scene::{BUSYBOX, Scene},
};

pub(crate) const ROWS: &[Row] = &[
    Row { id: "FLT-38", what: "a container runs out of memory", play: out_of_memory },
    Row { id: "FLT-41", what: "requests come twice, and replies too late", play: doubles },
    Row { id: "FLT-44", what: "a credential ends in use", play: credential_ends },
];

/// What a call or a list may take beyond its row on a machine that does much else.
const SLACK: Duration = Duration::from_secs(2);
/// A bound for what no row bounds.
const PATIENCE: Duration = Duration::from_secs(60);

fn engine(scene: &Scene, host: &str) -> String {
    scene.fleet.lab().host(host).unwrap_or_else(|error| panic!("{error}")).engine().host()
}

/// FLT-38.
fn out_of_memory(scene: &mut Scene, run: &mut Run) {
    // The child is killed for memory; what started it takes no notice and goes on, or ends as if all were well.
    let greedy = "dd if=/dev/zero of=/dev/null bs=64M count=1; echo over";
    let options = ["--memory", "16m", "--memory-swap", "16m"];
    let host = engine(scene, "beta");
    let ended = scene.fleet.container("beta", "greedy", &options, BUSYBOX, &["sh", "-c", &format!("{greedy}; exit 0")]);
    let begun = Instant::now();
    let status = until("its status tells", PATIENCE, || {
        let status = scene.on("alpha").aish(["call", "--json", "greedy.status"]);
        Some(status).filter(|status| status.code == 0).map(|status| status.json()).filter(|it| it["state"] == "exited")
    });
    run.took("told", begun.elapsed());
    let inspected = &ended.inspect()["State"];
    assert_eq!((&inspected["ExitCode"], &inspected["OOMKilled"]), (&0.into(), &true.into()), "{inspected}");
    assert_eq!(status["oom_killed"], true, "{status}");
    let health = scene.on("alpha").aish(["call", "--json", "greedy.health"]).good().json();
    assert_ne!(health["verdict"], "healthy", "{health}");
    drop(ended);
    let lives = format!("{greedy}; sleep 1000");
    let lives = scene.fleet.container("beta", "greedy", &options, BUSYBOX, &["sh", "-c", &lives]);
    let verdict = until("it is degraded", PATIENCE, || {
        let health = scene.on("alpha").aish(["call", "--json", "greedy.health"]);
        Some(health)
            .filter(|health| health.code == 0)
            .map(|health| health.json())
            .filter(|it| it["verdict"] == "degraded")
    });
    assert!(verdict.to_string().contains("memory"), "{verdict}");
    assert_eq!(docker(Some(&host), &["inspect", "--format", "{{.State.Running}}", &lives.id]), "true");
}

/// The mesh's signing keys.
pub(crate) fn keys(scene: &Scene) -> MeshKeys {
    MeshKeys::open(&scene.on("alpha").path().join("issuer")).unwrap_or_else(|error| panic!("{error}"))
}

/// FLT-41.
fn doubles(scene: &mut Scene, run: &mut Run) {
    let (alpha, one) = (scene.on("alpha"), scene.container("one-beta"));
    let mut events = Events::follow_on(Some(&engine(scene, "beta")));
    let (name, id) = (format!("olga-{}", nonce()), nonce());
    let olga = Plain::log_in(scene, &name, Role::Operator);
    let body = format!(r#"{{"kwargs":{{"grace_s":0}},"meta":{{"call":"{id}","timeout_ms":30000}}}}"#);
    let subject = format!("aigis.v1.main.to.beta.operator.{name}.one-beta.restart");
    let begun = Instant::now();
    let mut replies = olga.thrice(&subject, &body);
    run.took("three replies", begun.elapsed());
    assert_eq!(replies.len(), 3);
    replies.dedup();
    assert_eq!(replies.len(), 1, "one outcome: {replies:?}");
    let deaths = |events: &mut Events| events.of(one).iter().filter(|action| *action == "die").count();
    assert_eq!(deaths(&mut events), 1, "one effect");
    // An acknowledgement that was lost: the same call again, much later.
    assert_eq!(olga.thrice(&subject, &body)[0], replies[0]);
    assert_eq!(deaths(&mut events), 1);

    // A reply after the deadline finds nobody, does no harm, and is counted.
    assert_eq!(olga.bus.late_replies(), 0);
    let body = r#"{"kwargs":{"grace_s":1},"meta":{"timeout_ms":30000}}"#;
    let asked = olga.bus.request(subject, None, body.into(), Duration::from_millis(300));
    let waited = olga.runtime.block_on(asked);
    assert!(waited.as_ref().is_err_and(|error| error.code == Code::DeadlineExceeded), "{waited:?}");
    let begun = Instant::now();
    until("the late reply is counted", PATIENCE, || (olga.bus.late_replies() == 1).then_some(()));
    run.took("a late reply is counted", begun.elapsed());
    let told = alpha.aish(["call", "beta.status", "--json"]).good().json();
    assert!(told["late_replies"].is_u64(), "{told}");
    let late = alpha.aish(["--timeout", "300ms", "call", "one-beta.restart", "grace_s=2"]);
    assert_eq!(late.code, 75, "{late:?}");
    until("the container runs", PATIENCE, || (one.inspect()["State"]["Running"] == true).then_some(()));
    assert_eq!(alpha.aish(["call", "one-beta.status"]).code, 0);
}

/// A connection of nobody's in particular, with what the bus asks for and no more.
struct Plain {
    runtime: tokio::runtime::Runtime,
    bus: Bus,
}

impl Plain {
    fn log_in(scene: &Scene, name: &str, role: Role) -> Self {
        let alpha = scene.on("alpha");
        let file = alpha.user(name, role.as_str());
        let credential = Credential::read(file.as_ref(), None).unwrap_or_else(|error| panic!("{error}"));
        let ca = CaCertificate::read(&alpha.path().join("ca.pem")).unwrap_or_else(|error| panic!("{error}"));
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.unwrap_or_else(|error| panic!("{error}"));
        let options =
            Options { url: alpha.bus(), ca: Some(ca), credential: credential.into(), label: "plain".to_owned() };
        let host = scene.fleet.lab().host("alpha").unwrap_or_else(|error| panic!("{error}"));
        let connected = inside(host.namespace(), || runtime.block_on(Bus::connect(options)));
        Self { bus: connected.unwrap_or_else(|error| panic!("{error}")), runtime }
    }

    /// Sends the same bytes three times at once, and gives the replies.
    fn thrice(&self, subject: &str, body: &str) -> Vec<Vec<u8>> {
        let ask = || self.bus.request(subject.to_owned(), None, body.to_owned().into(), PATIENCE);
        let (a, b, c) = self.runtime.block_on(async { tokio::join!(ask(), ask(), ask()) });
        let bytes = |reply: Result<aigis_proxy::bus::Message, _>| match reply {
            Ok(reply) => reply.payload.to_vec(),
            Err(error) => panic!("{error}"),
        };
        [a, b, c].map(bytes).to_vec()
    }
}

/// FLT-44.
fn credential_ends(scene: &mut Scene, run: &mut Run) {
    let (alpha, beta) = (scene.on("alpha"), scene.on("beta"));
    // Over the bus, and over the socket of the node that serves.
    for caller in [alpha, beta] {
        let (vera, adam) = (person(alpha, "vera", "viewer"), person(alpha, "adam", "admin"));
        let follow = caller.running(["--creds", &vera.1, "call", "one-beta.logs", "follow=true", "tail=0"]);
        let restart = caller.running(["--creds", &adam.1, "call", "one-beta.restart", "grace_s=20"]);
        until("both run", PATIENCE, || (in_flight(beta) == Some(2)).then_some(()));
        for (name, ran) in [(vera.0, follow), (adam.0, restart)] {
            let revoked = alpha.aish(["users", "revoke", &name]);
            let since = Instant::now();
            assert_eq!(revoked.code, 0, "{revoked:?}");
            run.took("revoked", revoked.took);
            let ran = ran.end(PATIENCE);
            run.took("cut", since.elapsed());
            assert!(ran.code == 77 && since.elapsed() < 2 * SLACK, "{ran:?}");
            assert!(ran.stderr.contains("revoked"), "{ran:?}");
        }
        until("nothing is in flight", PATIENCE, || (in_flight(beta) == Some(0)).then_some(()));
    }
    let one = scene.container("one-beta");
    until("the container runs", PATIENCE, || (one.inspect()["State"]["Running"] == true).then_some(()));

    // One that is not renewed, because its file cannot be had, ends what runs when its time is over.
    let life = Duration::from_secs(run.of(30, 12));
    for (caller, name) in [(alpha, "short-a"), (beta, "short-b")] {
        let key = Credential::generate().unwrap_or_else(|error| panic!("{error}"));
        let user = UserName::parse(name).unwrap_or_else(|error| panic!("{error}"));
        let token = keys(scene).issue(&user, Role::Viewer, key.public(), life);
        let credential = Credential::new(&token.unwrap_or_else(|error| panic!("{error}")), key, None);
        let credential = credential.unwrap_or_else(|error| panic!("{error}"));
        let file = caller.path().join(format!("creds/{name}.creds"));
        credential.write(&file).unwrap_or_else(|error| panic!("{error}"));
        let issued = Instant::now();
        let follow =
            caller.running(["--creds", &file.display().to_string(), "call", "one-beta.logs", "follow=true", "tail=0"]);
        until("it runs", PATIENCE, || (in_flight(beta) == Some(1)).then_some(()));
        fs::remove_file(&file).unwrap_or_else(|error| panic!("{error}"));
        let ran = follow.end(PATIENCE);
        let late = issued.elapsed().saturating_sub(life);
        run.took("ended", late);
        assert!(ran.code == 77 && late < 2 * SLACK && ran.stderr.contains("ended"), "{ran:?}");
    }
}

/// A user of that role, by a name of its own, and its credential's file.
fn person(alpha: &Mesh, name: &str, role: &str) -> (String, String) {
    let name = format!("{name}-{}", nonce());
    let file = alpha.user(&name, role);
    (name, file)
}

/// The calls and streams under way at a node, but the one that asks, as it says itself.
fn in_flight(node: &Mesh) -> Option<u64> {
    let status = node.aish(["call", "beta.status", "--json"]);
    (status.code == 0).then(|| status.json()["calls_in_flight"].as_u64()).flatten()
}
