//! Many clients that lose the bus at once.

use std::{
    net::TcpStream,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use aigis_proxy::{
    Bus, bus,
    identity::{CaCertificate, Credential},
    task,
};
use aigis_tests::{Mesh, inside, until};
use tokio::runtime;

use crate::{row::Run, scene::Scene};

/// What every member may ask of the bus.
const QUESTION: &str = "$JS.API.STREAM.INFO.KV_records";
/// The file with the bus server's process id.
const SERVER: &str = "bus/nats-server.pid";
/// How long the whole may take, before and after.
const LIMIT: Duration = Duration::from_secs(120);
/// The row grants 2 s to 99 of 100, and 5 s to all; twice that, since clients and server share a machine.
const MOST_BACK: Duration = Duration::from_secs(4);
const ALL_BACK: Duration = Duration::from_secs(10);
/// How long a client that is refused waits before it asks again: its question alone is to be no storm.
const PAUSE: Duration = Duration::from_millis(200);

pub(super) fn storm(scene: &mut Scene, run: &mut Run) {
    let count = run.of(1000, 200);
    let alpha = scene.on("alpha");
    let options = options(alpha);
    let address = format!("{}:{}", scene.fleet.lab().bus_address(), port(&alpha.bus()));
    let host = scene.fleet.lab().host("gamma").unwrap_or_else(|error| panic!("{error}"));
    // The clients live where the host is: their connections go over its link.
    let mut took = inside(host.namespace(), || {
        let runtime = runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.unwrap_or_else(|error| panic!("{error}"));
        let begun = Instant::now();
        let clients = runtime.block_on(connect(&options, count));
        run.took("connecting, ten at a time", begun.elapsed());
        let awaiting: Vec<_> = clients.iter().map(|bus| (bus.clone(), bus.link().borrow().server.clone())).collect();
        let awaiting: Vec<_> = awaiting
            .into_iter()
            .map(|(bus, former)| task::spawn_on(runtime.handle(), "client", back(bus, former)))
            .collect();
        let killed = alpha.kill(SERVER);
        std::thread::scope(|scope| {
            let ready = scope.spawn(|| {
                until("another server runs", LIMIT, || alpha.pid(SERVER).filter(|pid| *pid != killed));
                until("the bus is back", LIMIT, || TcpStream::connect(&address).ok());
                Instant::now()
            });
            let all =
                runtime.block_on(async { tokio::time::timeout(LIMIT, futures::future::join_all(awaiting)).await });
            let all = all.unwrap_or_else(|_| panic!("not all of {count} clients are back within {LIMIT:?}"));
            let ready = super::joined(ready);
            let back = all.into_iter().map(|back| back.unwrap_or_else(|error| panic!("{error}")));
            back.map(|back| back.saturating_duration_since(ready)).collect::<Vec<_>>()
        })
    });
    scene.bus_started();
    took.sort();
    let (percentile, last) = (took[took.len() * 99 / 100 - 1], took[took.len() - 1]);
    run.took("half is back", took[took.len() / 2]);
    run.took("99 of 100 are back", percentile);
    run.took("all are back", last);
    assert!(percentile <= MOST_BACK && last <= ALL_BACK, "{percentile:?} {last:?}");
}

fn options(mesh: &Mesh) -> bus::Options {
    let file = mesh.user("storm", "viewer");
    let credential = Credential::read(Path::new(&file), None).unwrap_or_else(|error| panic!("{error}"));
    let ca = CaCertificate::read(&mesh.path().join("ca.pem")).unwrap_or_else(|error| panic!("{error}"));
    bus::Options { url: mesh.bus(), ca: Some(ca), credential: Arc::new(credential), label: "storm".to_owned() }
}

fn port(url: &str) -> &str {
    url.rsplit_once(':').map_or(url, |(_, port)| port)
}

/// Makes so many connections, a few at a time. Some may be late on a machine that does much else: these are tried again.
async fn connect(options: &bus::Options, count: usize) -> Vec<Bus> {
    let (begun, mut clients) = (Instant::now(), Vec::with_capacity(count));
    while clients.len() < count {
        let some = (0..10.min(count - clients.len())).map(|_| Bus::connect(options.clone()));
        for made in futures::future::join_all(some).await {
            match made {
                Ok(bus) => clients.push(bus),
                Err(error) => assert!(begun.elapsed() < LIMIT, "{} of {count} connected: {error}", clients.len()),
            }
        }
    }
    clients
}

/// When a client has an answer from a server that is not the former one.
async fn back(bus: Bus, former: String) -> Instant {
    let mut link = bus.link();
    loop {
        let is_closed = link.wait_for(|link| link.up && link.server != former).await.is_err();
        assert!(!is_closed, "the connection was closed");
        let asked = bus.request(QUESTION.to_owned(), None, bytes::Bytes::new(), Duration::from_secs(5)).await;
        if asked.is_ok() {
            return Instant::now();
        }
        tokio::time::sleep(PAUSE).await;
    }
}
