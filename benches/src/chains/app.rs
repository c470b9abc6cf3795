//! An app's port, through the mesh and without it.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use aigis_tests::{Mesh, Running, docker, nonce, until};

use crate::{
    Effort,
    error::{Error, system},
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
    let relayed = format!("127.0.0.1:{}", socat.port);
    let rounds = turns(effort.large, || -> Result<_, Error> {
        Ok((download(&direct)?, download(&tunnel)?, download(&relayed)?))
    })?;
    let rates = |which: fn(&(f64, f64, f64)) -> f64| median(rounds.iter().map(which));
    let shown = |rate: f64| format!("{:.0} MiB/s", rate / 1024.0 / 1024.0);
    let ratios: Figures = rounds.iter().map(|(direct, tunnel, _)| tunnel / direct).collect();
    let raw = format!("{} direct", shown(rates(|round| round.0)));
    table.row("download through a tunnel", shown(rates(|r| r.1)), raw, &ratios, Goal::AtLeast(0.5));
    let ratios: Figures = rounds.iter().map(|(_, tunnel, socat)| tunnel / socat).collect();
    let raw = format!("{} socat", shown(rates(|round| round.2)));
    table.row("download through a tunnel", shown(rates(|r| r.1)), raw, &ratios, Goal::None);
    let firsts = turns(effort.asks, || -> Result<_, Error> {
        Ok((first_byte(&direct)?, first_byte(&tunnel)?, first_byte(&relayed)?))
    })?;
    let times = |which: fn(&(f64, f64, f64)) -> f64| median(firsts.iter().map(which));
    let ratios: Figures = firsts.iter().map(|(direct, tunnel, _)| tunnel / direct).collect();
    let raw = format!("{} direct", microseconds(times(|first| first.0)));
    table.row("connection, request and first byte, tunnel", microseconds(times(|f| f.1)), raw, &ratios, Goal::None);
    let ratios: Figures = firsts.iter().map(|(_, tunnel, socat)| tunnel / socat).collect();
    let raw = format!("{} socat", microseconds(times(|first| first.2)));
    table.row("connection, request and first byte, tunnel", microseconds(times(|f| f.1)), raw, &ratios, Goal::None);
    Ok(())
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
