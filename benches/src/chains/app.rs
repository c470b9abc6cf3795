//! An app's port, through the mesh and without it.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    path::Path,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use aigis_proxy::{
    Bus, Name, NodeName,
    bus::Options,
    identity::Credential,
    task,
    tunnel::{self, Hub},
};
use aigis_tests::{Mesh, Running, docker, nonce, until};

use crate::{
    Effort,
    error::{Error, part, system},
    rounds::{Figures, median, turns},
    table::{Goal, Table, microseconds},
};

/// How many bytes are downloaded.
const BYTES: usize = 256 * 1024 * 1024;
/// How long an app may take to be there.
const WITHIN: Duration = Duration::from_secs(120);
const PORT: u16 = 8080;

pub(super) fn measure(mesh: &Mesh, effort: Effort, table: &mut Table) -> Result<(), Error> {
    let (name, folder) = (format!("bench-{}", nonce()), tempfile::tempdir().map_err(system("make a directory"))?);
    let write = |file: &str, text: &str| fs::write(folder.path().join(file), text).map_err(system("write an app"));
    write("small", "x")?;
    write(
        "Dockerfile",
        &format!(
            "FROM busybox\nCOPY small /www/small\nRUN head -c {BYTES} /dev/zero > /www/large\nEXPOSE {PORT}\n\
            CMD [\"httpd\", \"-f\", \"-p\", \"{PORT}\", \"-h\", \"/www\"]\n"
        ),
    )?;
    let path = folder.path().to_str().unwrap_or_default().to_owned();
    let pushed = mesh.aish(["push", &path, "--name", &name, "--until", "ready", "--no-save"]);
    if pushed.code != 0 {
        return Err(Error::Part { what: "push an app", reason: pushed.stderr });
    }
    let measured = beside(mesh, &name, effort, table);
    let _removed = mesh.aish(["apps", "rm", &name, "--yes", "--data"]);
    measured
}

fn beside(mesh: &Mesh, name: &str, effort: Effort, table: &mut Table) -> Result<(), Error> {
    let id = docker(None, &["ps", "-q", "--filter", &format!("label=aigis.owner=app/{name}")]);
    let format = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}";
    let direct = format!("{}:{PORT}", docker(None, &["inspect", "--format", format, &id]));
    let mut forward = Running::new(mesh.spawn(["apps", "forward", name, &PORT.to_string()]));
    let tunnel = forward.until("the port is here", WITHIN, |line| {
        let port = line.split_once(" -> ")?.0.rsplit(':').next()?.trim().parse::<u16>().ok()?;
        Some(format!("127.0.0.1:{port}"))
    });
    let socat = Socat::start(&direct)?;
    let bridged = bridge(mesh, name)?;
    let ways = [direct, format!("127.0.0.1:{}", socat.port), tunnel, format!("127.0.0.1:{}", bridged.local_port)];
    let each = |measured: fn(&str) -> Result<f64, Error>| {
        move |ways: &[String; 4]| -> Result<[f64; 4], Error> {
            let [direct, socat, forward, tunnel] = ways;
            Ok([measured(direct)?, measured(socat)?, measured(forward)?, measured(tunnel)?])
        }
    };
    let rates = turns(effort.large, || each(download)(&ways))?;
    let firsts = turns(effort.asks, || each(first_byte)(&ways))?;
    let mebibytes = |rate: f64| format!("{:.0} MiB/s", rate / 1024.0 / 1024.0);
    let mut rows = |work: &str, figures: &[[f64; 4]], shown: &dyn Fn(f64) -> String, goals: [Goal; 2]| {
        for (way, name, goal) in
            [(2, "by a forward of the app's host", goals[0]), (3, "by a tunnel over the bus", goals[1])]
        {
            for (raw, beside, goal) in [(0, "direct", goal), (1, "socat", Goal::None)] {
                let middle = |way: usize| shown(median(figures.iter().map(|round| round[way])));
                let ratios: Figures = figures.iter().map(|round| round[way] / round[raw]).collect();
                table.row(&format!("{work} {name}"), middle(way), format!("{} {beside}", middle(raw)), &ratios, goal);
            }
        }
    };
    rows("download", &rates, &mebibytes, [Goal::AtLeast(0.5); 2]);
    rows("connection, request and first byte", &firsts, &microseconds, [Goal::None; 2]);
    Ok(())
}

/// A port of this host whose connections go over the bus, as those of another host do.
struct Bridge {
    local_port: u16,
    _runtime: tokio::runtime::Runtime,
}

fn bridge(mesh: &Mesh, app: &str) -> Result<Bridge, Error> {
    // On one thread, as `aish` is.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .map_err(system("make a runtime"))?;
    let file = mesh.user("olga", "operator");
    let credential = Credential::read(Path::new(&file), None).map_err(part("read the credential"))?;
    let url = crate::mesh::url(mesh)?;
    let options = Options { url, ca: None, credential: Arc::new(credential), label: "bench".to_owned() };
    let app: Name = Name::parse(app).map_err(part("read a name"))?;
    let node: NodeName = NodeName::parse("alpha").map_err(part("read a name"))?;
    let local_port = runtime.block_on(async {
        let bus = Bus::connect(options).await.map_err(part("connect to the bus"))?;
        let hub = Hub::open(&bus).await.map_err(part("make a hub"))?;
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.map_err(system("listen"))?;
        let local_port = listener.local_addr().map_err(system("listen"))?.port();
        // They end with the runtime.
        drop(task::spawn("bench: bridge", async move {
            while let Ok((tcp, _)) = listener.accept().await {
                let (hub, node, app) = (hub.clone(), node.clone(), app.clone());
                let _ = tcp.set_nodelay(true);
                drop(task::spawn("bench: tunnel", async move {
                    if let Ok((tunnel, _)) = tunnel::dial(&hub, &node, &app, PORT).await {
                        tunnel.join(tcp).await;
                    }
                }));
            }
        }));
        Ok::<_, Error>(local_port)
    })?;
    Ok(Bridge { local_port, _runtime: runtime })
}

fn asked(address: &str, path: &str) -> Result<TcpStream, Error> {
    let mut stream = TcpStream::connect(address).map_err(system("connect"))?;
    stream.set_read_timeout(Some(WITHIN)).map_err(system("bound a read"))?;
    write!(stream, "GET {path} HTTP/1.0\r\n\r\n").map_err(system("ask"))?;
    Ok(stream)
}

/// Bytes in a second.
#[expect(clippy::cast_precision_loss, reason = "the size is far below 2^52")]
fn download(address: &str) -> Result<f64, Error> {
    let (begun, mut stream, mut buffer, mut got) = (Instant::now(), asked(address, "/large")?, vec![0; 1 << 20], 0);
    loop {
        match stream.read(&mut buffer).map_err(system("download"))? {
            0 => break,
            read => got += read,
        }
    }
    if got < BYTES {
        return Err(Error::Part { what: "download", reason: format!("{got} bytes came of {BYTES}") });
    }
    Ok(got as f64 / begun.elapsed().as_secs_f64())
}

/// Seconds until the first byte of an answer.
fn first_byte(address: &str) -> Result<f64, Error> {
    let (begun, mut stream) = (Instant::now(), asked(address, "/small")?);
    stream.read_exact(&mut [0]).map_err(system("read an answer"))?;
    let took = begun.elapsed().as_secs_f64();
    let _ = stream.read_to_end(&mut Vec::new());
    Ok(took)
}

/// A `socat` in between; ended with this.
struct Socat {
    child: Child,
    port: u16,
}

impl Socat {
    fn start(to: &str) -> Result<Self, Error> {
        let free = std::net::TcpListener::bind("127.0.0.1:0").map_err(system("find a port"))?;
        let port = free.local_addr().map_err(system("find a port"))?.port();
        drop(free);
        let listen = format!("TCP-LISTEN:{port},bind=127.0.0.1,fork,reuseaddr");
        let mut command = Command::new("socat");
        command.args([&listen, &format!("TCP:{to}")]).stderr(Stdio::null());
        let child = command.spawn().map_err(system("start socat"))?;
        let started = Self { child, port };
        until("socat listens", WITHIN, || TcpStream::connect(("127.0.0.1", port)).ok());
        Ok(started)
    }
}

impl Drop for Socat {
    fn drop(&mut self) {
        // It is only ours to wait for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
