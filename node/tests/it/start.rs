//! A node that does not start leaves the host as it was, on a real bus server.

use std::{
    fs,
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use aigis_node::{Home, LogTap, Node, Options, bus_server, mesh, node};
use aigis_proxy::{MeshName, NodeName, UserName, identity::ServerFiles};

const SOON: Duration = Duration::from_secs(60);

/// A node over no engine, with a bus of its own that listens there.
pub(crate) fn options(home: &Home, listen: SocketAddr) -> Options {
    Options {
        home: home.clone(),
        node: NodeName::parse("alpha").unwrap(),
        listen: Some(listen),
        bus: None,
        ca: None,
        credential_life: mesh::CREDENTIAL_LIFE,
        new_store: false,
        bus_cluster: None,
        bus_sites: Vec::new(),
        ended_sites: Vec::new(),
        labels: Default::default(),
        metrics: None,
        gateway: None,
        engine: Some("unix:///nowhere/docker.sock".to_owned()),
        images: Default::default(),
        audit_room: None,
        plugins: None,
        logs: LogTap::default(),
    }
}

fn any() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

/// The processes that run over that configuration of a bus server.
fn servers(home: &Home) -> Vec<i32> {
    let config = ServerFiles::new(home.bus()).config();
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let ids = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    ids.filter(|id: &i32| {
        let command = fs::read(Path::new("/proc").join(id.to_string()).join("cmdline")).unwrap_or_default();
        command.split(|byte| *byte == 0).any(|argument| argument == config.as_os_str().as_encoded_bytes())
    })
    .collect()
}

/// The address of the mesh's bus, as the node left it.
fn bus(home: &Home) -> SocketAddr {
    home.read_mesh().unwrap().unwrap().bus.trim_start_matches("nats://").parse().unwrap()
}

/// A server that ends with the test.
struct Outlived(Child);

impl Drop for Outlived {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

async fn fails(home: &Home) -> node::Error {
    let started = tokio::time::timeout(SOON * 3, Node::start(options(home, any()))).await;
    started.expect("the start ends").expect_err("the start fails")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_that_fails_ends_the_bus_server_that_it_started_and_no_other() {
    let directory = tempfile::tempdir().unwrap();
    let home = Home::new(directory.path(), MeshName::parse("main").unwrap());
    home.create().unwrap();

    // While the mesh is brought up: the node's credential cannot be written.
    let credential = home.credential(&UserName::parse("alpha").unwrap());
    fs::create_dir_all(&credential).unwrap();
    let error = fails(&home).await;
    assert!(matches!(error, node::Error::Mesh(mesh::Error::Credential(_))), "{error:?}");
    assert_eq!(servers(&home), Vec::<i32>::new());
    fs::remove_dir(credential).unwrap();

    // After it is up: the journal's directory is a file.
    fs::write(home.audit(), "").unwrap();
    let error = fails(&home).await;
    assert!(matches!(error, node::Error::Journal(_)), "{error:?}");
    assert_eq!(servers(&home), Vec::<i32>::new());
    let address = bus(&home);
    drop(TcpListener::bind(address).unwrap());

    // One that outlived the node before is adopted, and stays.
    let (files, port) = (ServerFiles::new(home.bus()), address.port().to_string());
    let mut command = Command::new("nats-server");
    command.arg("--config").arg(files.config()).args(["--port", &port]).stdout(Stdio::null()).stderr(Stdio::null());
    let mut outlived = Outlived(command.spawn().unwrap());
    let pid = outlived.0.id().to_string();
    let end = Instant::now() + SOON;
    while TcpStream::connect(address).is_err() || fs::read_to_string(files.pid()).unwrap_or_default().trim() != pid {
        assert!(Instant::now() < end, "the server does not listen");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let error = fails(&home).await;
    assert!(matches!(error, node::Error::Journal(_)), "{error:?}");
    assert_eq!(servers(&home), [pid.parse::<i32>().unwrap()]);
    assert_eq!(outlived.0.try_wait().unwrap(), None);
    TcpStream::connect(address).unwrap();

    // And it is ended in order by the node that starts at last.
    fs::remove_file(home.audit()).unwrap();
    let node = tokio::time::timeout(SOON * 3, Node::start(options(&home, any()))).await.unwrap().unwrap();
    assert_eq!(bus(&home), address);
    node.stop(Duration::ZERO).await;
    assert!(outlived.0.wait().unwrap().success());
    assert_eq!(servers(&home), Vec::<i32>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_another_program_has_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let home = Home::new(directory.path(), MeshName::parse("main").unwrap());
    let holder = TcpListener::bind(any()).unwrap();
    let taken = holder.local_addr().unwrap();
    let error = Node::start(options(&home, taken)).await.unwrap_err();
    let told =
        matches!(error, node::Error::Mesh(mesh::Error::Server(bus_server::Error::Taken { listen })) if listen == taken);
    assert!(told, "{error:?}");
    let message = error.to_string();
    assert!(message.contains(&taken.to_string()) && message.contains("--listen"), "{message}");
    assert_eq!(servers(&home), Vec::<i32>::new());
}
