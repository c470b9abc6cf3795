//! Apps over several hosts: what becomes of them when their node is lost, comes back, or is drained.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    time::Duration,
};

use aigis_tests::{Fleet, Mesh, docker, inside, nonce, until};
use serde_json::Value;

use crate::chains::{LIMIT, Work, becomes, slow};

/// Where the gateway listens, in a network of its host's own.
const GATEWAY: &str = "127.0.0.1:8480";
/// An app that shows a page of its image.
const WEB: &str = "FROM busybox\nCOPY index.html /www/index.html\nEXPOSE 8080\nCMD [\"httpd\",\"-f\",\"-p\",\"8080\",\"-h\",\"/www\"]\n";
/// An app that shows what it wrote into its volume when it was started there first.
const KEEPS: &str = "FROM busybox\nCOPY index.html /first\nVOLUME /data\nEXPOSE 8080\n\
    CMD [ -e /data/index.html ] || cat /first /proc/sys/kernel/random/uuid > /data/index.html; exec httpd -f -p 8080 -h /data\n";

/// A node with a gateway, and one without again after that.
struct Gateway<'a>(&'a Fleet);

impl<'a> Gateway<'a> {
    fn on_gamma(fleet: &'a Fleet) -> Self {
        let gamma = fleet.on("gamma");
        let _down = gamma.aish(["down"]).good();
        let up = gamma.aish(["up", "--detach", "--name", "gamma", "--gateway", GATEWAY]);
        assert_eq!(up.code, 0, "{up:?}\n{}", gamma.log());
        Self(fleet)
    }

    /// What a GET of an app answers, if it does.
    fn get(&self, app: &str) -> Option<String> {
        inside(self.0.lab().host("gamma").unwrap().namespace(), || {
            let mut stream = TcpStream::connect(GATEWAY).ok()?;
            stream.set_read_timeout(Some(Duration::from_secs(10))).ok()?;
            write!(stream, "GET / HTTP/1.1\r\nHost: {app}.localhost\r\nConnection: close\r\n\r\n").ok()?;
            let mut answer = String::new();
            let _ = stream.read_to_string(&mut answer);
            answer.starts_with("HTTP/1.1 200").then_some(answer)
        })
    }

    fn answers(&self, app: &str) -> String {
        until(&format!("{app} answers"), LIMIT, || self.get(app))
    }
}

impl Drop for Gateway<'_> {
    fn drop(&mut self) {
        let down = self.0.on("gamma").aish(["down"]);
        let up = self.0.on("gamma").try_start();
        assert!((down.code, up.code) == (0, 0) || std::thread::panicking(), "{down:?} {up:?}");
    }
}

/// The containers of an app on a host, whatever they do.
fn containers(fleet: &Fleet, host: &str, app: &str) -> usize {
    let engine = fleet.lab().engine(host).unwrap().host();
    docker(Some(&engine), &["ps", "-aq", "--filter", &format!("label=aigis.owner=app/{app}")]).lines().count()
}

fn listed(mesh: &Mesh, app: &str) -> Option<Value> {
    let ran = mesh.aish(["apps", "list", "--json"]);
    let rows = (ran.code == 0).then(|| ran.json())?;
    rows.as_array()?.iter().find(|row| row["name"] == app).cloned()
}

fn is(row: &Value, key: &str, value: &str) -> bool {
    row[key].as_str() == Some(value)
}

/// Labels hosts so that steps and apps can be asked to run on these alone.
fn label(fleet: &Fleet, label: &str, hosts: &[&str]) {
    let alpha = fleet.on("alpha");
    for host in hosts {
        let _labelled = alpha.aish(["nodes", "label", host, &format!("{label}=x")]).good();
    }
    until("the labels are known", LIMIT, || {
        let nodes = alpha.aish(["nodes", "--json"]).good().json();
        let bears = |node: &Value| hosts.iter().any(|host| node["name"] == *host) && node["labels"][label] == "x";
        (nodes.as_array()?.iter().filter(|node| bears(node)).count() == hosts.len()).then_some(())
    });
}

fn app(fleet: &Fleet, dockerfile: &str, body: &str, on: &str) -> Work {
    let work = Work::new(fleet, &["beta", "gamma"]);
    work.write("Dockerfile", dockerfile);
    work.write("index.html", body);
    let ran = work.push(fleet.on("alpha"), &["--until", "ready", "--on", on]);
    assert_eq!(ran.code, 0, "{ran:?}");
    work
}

fn remove(fleet: &Fleet, work: &Work) {
    let removed = work.aish(fleet.on("alpha"), &["apps", "rm", &work.name, "--delete-data", "--yes"]);
    assert_eq!(removed.code, 0, "{removed:?}");
    for host in ["alpha", "beta", "gamma"] {
        until("no container is left", LIMIT, || (containers(fleet, host, &work.name) == 0).then_some(()));
    }
}

#[test]
fn chn_55_chn_56_an_app_serves_elsewhere_when_its_node_dies_and_one_that_is_bound_stays() {
    let fleet = Fleet::alone();
    fleet.past_the_guard();
    let (alpha, mark) = (fleet.on("alpha"), format!("w{}", nonce()));
    let gateway = Gateway::on_gamma(&fleet);
    label(&fleet, &mark, &["beta"]);
    let on = format!("{mark}=x");
    let moves = app(&fleet, WEB, "moves", &on);
    let bound = app(&fleet, WEB, "bound", "beta");
    let keeps = app(&fleet, KEEPS, "keeps", &on);
    label(&fleet, &mark, &["gamma"]);
    assert!(gateway.answers(&moves.name).contains("moves") && gateway.answers(&bound.name).contains("bound"));
    let written = gateway.answers(&keeps.name);
    let url = format!("http://{}.localhost:8480", moves.name);
    assert!(is(&listed(fleet.on("gamma"), &moves.name).unwrap(), "url", &url), "where the gateway is");
    assert!(listed(alpha, &moves.name).unwrap()["url"].is_null(), "it is of no use elsewhere");

    assert!(fleet.lab().host("beta").unwrap().node().unwrap().kill());
    let row = until("it serves elsewhere", LIMIT, || {
        listed(alpha, &moves.name).filter(|row| is(row, "node", "gamma") && is(row, "status", "serving"))
    });
    assert!(gateway.answers(&moves.name).contains("moves"), "{row}");
    for (work, why) in [(&bound, "bound to it"), (&keeps, "its volumes are there")] {
        let row = until("it says why it stays", LIMIT, || {
            listed(alpha, &work.name).filter(|row| row["reason"].as_str().is_some_and(|reason| reason.contains(why)))
        });
        assert!(is(&row, "status", "offline") && is(&row, "node", "beta"), "{row}");
        assert!(gateway.get(&work.name).is_none());
    }

    fleet.on("beta").start();
    until("what ran there is ended", LIMIT, || (containers(&fleet, "beta", &moves.name) == 0).then_some(()));
    assert_eq!(containers(&fleet, "gamma", &moves.name), 1);
    for work in [&bound, &keeps] {
        until("it serves again", LIMIT, || {
            listed(alpha, &work.name).filter(|row| is(row, "status", "serving") && row["reason"].is_null())
        });
        assert_eq!(containers(&fleet, "beta", &work.name), 1);
    }
    let body = |answer: &str| answer.rsplit("\r\n\r\n").next().map(str::to_owned);
    assert_eq!(body(&gateway.answers(&keeps.name)), body(&written), "what it wrote is there");
    assert!(gateway.answers(&bound.name).contains("bound"));
    [moves, bound, keeps].iter().for_each(|work| remove(&fleet, work));
}

#[test]
fn a_drain_moves_apps_and_steps_and_no_request_fails() {
    let fleet = Fleet::alone();
    let (alpha, mark) = (fleet.on("alpha"), format!("w{}", nonce()));
    let gateway = Gateway::on_gamma(&fleet);
    label(&fleet, &mark, &["beta"]);
    let on = format!("{mark}=x");
    let web = app(&fleet, WEB, "served on", &on);
    let steps = Work::new(&fleet, &["beta", "gamma"]);
    let folder = steps.assistant("slow", &slow(20));
    let id = steps.begun(alpha, &["--assistant", &folder, "--on", &on]);
    let _running = becomes(alpha, &id, "its step runs", |chain| chain["steps"][0]["status"] == "running");
    label(&fleet, &mark, &["gamma"]);
    let _answer = gateway.answers(&web.name);

    let _drained = alpha.aish(["nodes", "drain", "beta"]).good();
    let mut failed = 0;
    until("it serves elsewhere", LIMIT, || {
        failed += usize::from(gateway.get(&web.name).is_none());
        listed(alpha, &web.name).filter(|row| is(row, "node", "gamma") && is(row, "status", "serving"))
    });
    until("nothing of it is left", LIMIT, || {
        failed += usize::from(gateway.get(&web.name).is_none());
        (containers(&fleet, "beta", &web.name) == 0).then_some(())
    });
    assert_eq!(failed, 0, "requests that failed");
    let chain = becomes(alpha, &id, "it ends elsewhere", |chain| chain["status"] == "done");
    let step = &chain["steps"][0];
    assert!(is(step, "node", "gamma") && step["attempt"].as_u64() >= Some(2), "{chain}");
    let _uncordoned = alpha.aish(["nodes", "uncordon", "beta"]).good();
    remove(&fleet, &web);
    remove(&fleet, &steps);
}
