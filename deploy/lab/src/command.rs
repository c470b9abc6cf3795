//! What each command does.

use std::{
    env,
    error::Error as _,
    fmt::Write as _,
    io::{self, Write as _},
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::ExitCode,
};

use aigis_lab::{Error, Lab, abandoned, reap, remove, wire};

use crate::cli::{Cli, Command, Victim};

/// What hosts are called that were only counted.
const NAMES: [&str; 8] = ["alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta"];

/// Why a command ends without success.
#[derive(Debug)]
pub(crate) enum Failure {
    /// What to say.
    Failed(String),
    /// The reader of our output is gone, which is its right.
    Closed,
}

impl Failure {
    fn new(what: &str, hint: Option<&str>) -> Self {
        let hint = hint.map(|hint| format!("hint: {hint}\n")).unwrap_or_default();
        Self::Failed(format!("lab: error: {what}\n{hint}"))
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let mut what = error.to_string();
        let mut cause = error.source();
        while let Some(inner) = cause {
            // A string takes all that is written to it.
            let _ = write!(what, ": {inner}");
            cause = inner.source();
        }
        Self::new(&what, error.hint().as_deref())
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::Closed,
            _ => Self::new(&error.to_string(), None),
        }
    }
}

/// Runs a command.
pub(crate) fn run(cli: Cli) -> Result<ExitCode, Failure> {
    let directory = cli.dir.unwrap_or_else(default_directory);
    let open = || Lab::open(&directory);
    match cli.command {
        Command::Up { hosts, image } => up(&directory, hosts, &image)?,
        Command::List => list(&open()?)?,
        Command::Address { station } => {
            let lab = open()?;
            let address = if station == "bus" { lab.bus_address() } else { lab.host(&station)?.address() };
            print(&format!("{address}\n"))?;
        }
        Command::Run { host, program } => {
            let mut words = program.into_iter();
            let mut command = open()?.host(&host)?.command(words.next().unwrap_or_default());
            // It takes this process's place, and so its terminal, signals and exit code.
            return Err(command.args(words).exec().into());
        }
        Command::Cut(station) => open()?.cut(&station.name)?,
        Command::Heal(station) => open()?.heal(&station.name)?,
        Command::Drop { station, direction } => open()?.drop_packets(&station.name, direction)?,
        Command::Slow { station, link } => open()?.slow(&station.name, &link)?,
        Command::Clear(station) => open()?.clear(&station.name)?,
        Command::Kill { host, what: Victim::Engine } => open()?.host(&host)?.engine().kill()?,
        Command::Kill { host, what: Victim::Node } => {
            let node = open()?.host(&host)?.node().ok_or_else(|| Error::NotRunning(format!("the node of {host}")))?;
            if !node.kill() {
                return Err(Failure::new("the node does not end", None));
            }
        }
        Command::Start { host } => open()?.engine(&host).map(drop)?,
        Command::Down { all } => down(&directory, all)?,
        Command::Reap { directory } => reap(&directory)?,
        Command::Wire { pid_file, near, far, link } => {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(wire::carry(&pid_file, &near, &far, link))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn up(directory: &Path, hosts: Vec<String>, images: &[String]) -> Result<(), Failure> {
    let hosts = match hosts.as_slice() {
        [count] if count.bytes().all(|byte| byte.is_ascii_digit()) => counted(count)?,
        _ => hosts,
    };
    let lab = Lab::create(directory, &hosts)?;
    lab.start_engines()?;
    for image in images {
        for host in lab.hosts() {
            host.engine().load(image)?;
        }
    }
    list(&lab)
}

fn counted(count: &str) -> Result<Vec<String>, Failure> {
    let known = |count: &usize| (1..=NAMES.len()).contains(count);
    let count = count.parse().ok().filter(known).ok_or_else(|| {
        let most = NAMES.len();
        Failure::new(
            &format!("{count} hosts cannot be named: 1 to {most} can"),
            Some("name them: lab up one two three"),
        )
    })?;
    Ok(NAMES[..count].iter().map(ToString::to_string).collect())
}

fn list(lab: &Lab) -> Result<(), Failure> {
    let mut table = format!("{:<12}{:<16}{:<10}{:<10}{}\n", "HOST", "ADDRESS", "ENGINE", "NODE", "LINK");
    let mut row = |name: &str, address, engine, node| {
        let faults = lab.faults(name)?;
        let link = if faults.is_empty() { "good".to_owned() } else { faults.join(", ") };
        // A string takes all that is written to it.
        let _ = writeln!(table, "{name:<12}{address:<16}{engine:<10}{node:<10}{link}");
        Ok::<_, Error>(())
    };
    row("bus", lab.bus_address(), "-", "-")?;
    let running = |runs| if runs { "running" } else { "-" };
    for host in lab.hosts() {
        let (engine, node) = (host.engine().process().is_some(), host.node().is_some());
        row(host.name(), host.address(), running(engine), running(node))?;
    }
    print(&table)
}

fn down(directory: &Path, all: bool) -> Result<(), Failure> {
    let result = remove(directory);
    if !all {
        return Ok(result?);
    }
    match result {
        Ok(()) | Err(Error::NoLab(_)) => {}
        Err(error) => return Err(error.into()),
    }
    for left in abandoned() {
        remove(&left)?;
        print(&format!("removed {}\n", left.display()))?;
    }
    Ok(())
}

fn default_directory() -> PathBuf {
    let data = env::var_os("AIGIS_DATA").map(PathBuf::from);
    let home = || PathBuf::from(env::var_os("HOME").unwrap_or_default()).join(".local/share/aigis");
    data.unwrap_or_else(home).join("lab")
}

fn print(text: &str) -> Result<(), Failure> {
    let mut output = io::stdout().lock();
    Ok(output.write_all(text.as_bytes()).and_then(|()| output.flush())?)
}
