//! Tunnels over a real bus to real TCP servers: what TCP carries, they carry.

use std::{io::ErrorKind, time::Duration};

use aigis_proxy::{
    Code, Error, Name, NodeName, Role,
    chain::ChainId,
    services::chains::InstanceId,
    task,
    tunnel::{self, Connection, Container, Hub, Tunnel},
};
use futures::{FutureExt as _, future::join_all};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    time::timeout,
};

use crate::{
    bus_server::BusServer,
    calls::{connect, until},
    serving::Permissive,
};

const MIB: usize = 1024 * 1024;

struct Scene {
    bus: BusServer,
    caller: Hub,
    place: Hub,
    _serving: task::Owned,
}

/// A place whose one app is `web`, at whatever port of this host it is asked for.
async fn scene() -> Scene {
    let bus = BusServer::start().await;
    let place = Hub::open(&connect(&bus, "alpha", Role::Node).await).await.unwrap();
    let find = |app: Name, port| {
        async move {
            if app.as_str() != "web" {
                return Err(Error::new(Code::NotFound, format!("no app {app} runs here")));
            }
            let instance = InstanceId { chain: ChainId::new(), step: 1, epoch: 1 };
            Ok((([127, 0, 0, 1], port).into(), instance))
        }
        .boxed()
    };
    let locate = |to: Container, port| {
        async move {
            match (to.project.as_str(), to.name.as_str()) {
                ("shop", "db") => Ok(([127, 0, 0, 1], port).into()),
                _ => Err(Error::new(Code::NotFound, format!("no container {} is here", to.name))),
            }
        }
        .boxed()
    };
    let serving = tunnel::serve(&place, std::sync::Arc::new(Permissive), find, locate);
    let serving = serving.await.unwrap();
    let caller = Hub::open(&connect(&bus, "olga", Role::Operator).await).await.unwrap();
    Scene { bus, caller, place, _serving: serving }
}

async fn dial(hub: &Hub, app: &str, port: u16) -> Result<Tunnel, Error> {
    tunnel::dial(hub, &NodeName::parse("alpha").unwrap(), &Name::parse(app).unwrap(), port)
        .await
        .map(|(tunnel, _)| tunnel)
}

async fn listen() -> (TcpListener, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

async fn within<T>(future: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(60), future).await.expect("it ends within a minute")
}

async fn nothing_is_left(scene: &Scene) {
    until("no tunnel is left", || scene.caller.is_empty() && scene.place.is_empty()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn chn_39_a_server_may_speak_first_and_each_direction_ends_by_itself() {
    let scene = scene().await;
    let (listener, port) = listen().await;
    let server = task::spawn("server", async move {
        let (mut tcp, _) = listener.accept().await.unwrap();
        tcp.write_all(b"220 welcome\n").await.unwrap();
        let mut all = Vec::new();
        // It answers only once the other side has said all.
        tcp.read_to_end(&mut all).await.unwrap();
        all.reverse();
        tcp.write_all(&all).await.unwrap();
    });
    let mut tunnel = dial(&scene.caller, "web", port).await.unwrap();
    let mut greeting = [0; 12];
    within(tunnel.read_exact(&mut greeting)).await.unwrap();
    assert_eq!(&greeting, b"220 welcome\n");
    let sent: Vec<u8> = (0..MIB).map(|n| (n % 251) as u8).collect();
    within(tunnel.write_all(&sent)).await.unwrap();
    tunnel.shutdown().await.unwrap();
    let mut back = Vec::new();
    within(tunnel.read_to_end(&mut back)).await.unwrap();
    back.reverse();
    assert!(back == sent);
    within(server).await.unwrap();
    nothing_is_left(&scene).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn chn_39_many_downloads_at_once_bring_the_right_bytes() {
    const DOWNLOADS: usize = 100;
    let scene = scene().await;
    let (listener, port) = listen().await;
    let serving = task::Owned::spawn("server", async move {
        while let Ok((mut tcp, _)) = listener.accept().await {
            drop(task::spawn("download", async move {
                let seed = tcp.read_u8().await.unwrap();
                tcp.write_all(&vec![seed; MIB]).await.unwrap();
            }));
        }
    });
    let downloads = (0..DOWNLOADS).map(|seed| {
        let hub = &scene.caller;
        async move {
            let mut tunnel = dial(hub, "web", port).await.unwrap();
            tunnel.write_u8(seed as u8).await.unwrap();
            let mut got = Vec::new();
            tunnel.read_to_end(&mut got).await.unwrap();
            got.len() == MIB && got.iter().all(|byte| *byte == seed as u8)
        }
    });
    assert!(within(join_all(downloads)).await.into_iter().all(|right| right));
    drop(serving);
    nothing_is_left(&scene).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn chn_39_a_slow_reader_slows_the_writer() {
    let scene = scene().await;
    let (listener, port) = listen().await;
    let mut tunnel = dial(&scene.caller, "web", port).await.unwrap();
    let (mut tcp, _) = listener.accept().await.unwrap();
    let filled = task::spawn("writer", async move {
        let (mut written, chunk) = (0, vec![7; MIB]);
        // Nobody reads at the other side: what the kernel and the window take is all that leaves.
        while let Ok(Ok(more)) = timeout(Duration::from_secs(2), tunnel.write(&chunk)).await {
            written += more;
        }
        (written, tunnel)
    });
    let (written, mut tunnel) = within(filled).await.unwrap();
    assert!(written > 0 && written < 32 * MIB, "{written}");
    tunnel.shutdown().await.unwrap();
    let mut got = Vec::new();
    within(tcp.read_to_end(&mut got)).await.unwrap();
    assert_eq!(got.len(), written);
}

#[tokio::test(flavor = "multi_thread")]
async fn chn_39_a_break_is_a_break_on_both_sides() {
    let scene = scene().await;
    let (listener, port) = listen().await;
    let mut tunnel = dial(&scene.caller, "web", port).await.unwrap();
    let (tcp, _) = listener.accept().await.unwrap();
    tcp.set_zero_linger().unwrap();
    drop(tcp);
    let broken = within(tunnel.read_u8()).await.unwrap_err();
    assert_eq!(broken.kind(), ErrorKind::ConnectionReset);
    let tunnel = dial(&scene.caller, "web", port).await.unwrap();
    let (mut tcp, _) = listener.accept().await.unwrap();
    tunnel.reset();
    assert_eq!(within(tcp.read_u8()).await.unwrap_err().kind(), ErrorKind::ConnectionReset);
    nothing_is_left(&scene).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_dialled_says_why() {
    let scene = scene().await;
    assert_eq!(dial(&scene.caller, "nosuch", 1).await.unwrap_err().code, Code::NotFound);
    let (listener, port) = listen().await;
    drop(listener);
    assert_eq!(dial(&scene.caller, "web", port).await.unwrap_err().code, Code::Unavailable);
    let viewer = Hub::open(&connect(&scene.bus, "vera", Role::Viewer).await).await.unwrap();
    assert_eq!(dial(&viewer, "web", port).await.unwrap_err().code, Code::PermissionDenied);
    assert!(viewer.is_empty() && scene.caller.is_empty() && scene.place.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn chn_39_who_is_in_the_places_network_goes_there_directly() {
    let scene = scene().await;
    let (listener, port) = listen().await;
    let (node, web) = (NodeName::parse("alpha").unwrap(), Name::parse("web").unwrap());
    let serving = async {
        for _ in 0..2 {
            let (mut app, _) = listener.accept().await.unwrap();
            app.write_all(b"220 hello").await.unwrap();
        }
    };
    let asking = async {
        let (mut near, _) = tunnel::connect(&scene.caller, &node, &web, port).await.unwrap();
        assert!(matches!(near, Connection::Direct(_)) && scene.place.is_empty(), "{near:?}");
        let mut said = String::new();
        near.read_to_string(&mut said).await.unwrap();
        let (mut far, _) = tunnel::dial(&scene.caller, &node, &web, port).await.unwrap();
        far.read_to_string(&mut said).await.unwrap();
        assert_eq!(said, "220 hello220 hello");
    };
    within(Box::pin(async { tokio::join!(serving, asking) })).await;
    drop(listener);
    let refused = tunnel::connect(&scene.caller, &node, &web, port).await.unwrap_err();
    assert_eq!(refused.code, Code::Unavailable);
    nothing_is_left(&scene).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pkg_60_a_container_is_reached_by_nodes_alone() {
    let scene = scene().await;
    let (listener, port) = listen().await;
    let server = task::spawn("server", async move {
        let (mut tcp, _) = listener.accept().await.unwrap();
        tcp.write_all(b"hello").await.unwrap();
    });
    let beta = Hub::open(&connect(&scene.bus, "beta", Role::Node).await).await.unwrap();
    let to = |project: &str, name: &str| Container {
        project: Name::parse(project).unwrap(),
        name: Name::parse(name).unwrap(),
    };
    let alpha = NodeName::parse("alpha").unwrap();
    let refused = tunnel::reach(&scene.caller, &alpha, &to("shop", "db"), port).await.unwrap_err();
    assert_eq!(refused.code, Code::PermissionDenied);
    let other = tunnel::reach(&beta, &alpha, &to("other", "db"), port).await.unwrap_err();
    assert_eq!(other.code, Code::NotFound);
    let mut reached = tunnel::reach(&beta, &alpha, &to("shop", "db"), port).await.unwrap();
    let mut said = Vec::new();
    within(reached.read_to_end(&mut said)).await.unwrap();
    assert_eq!(said, b"hello");
    within(server).await.unwrap();
    nothing_is_left(&scene).await;
}
