//! A Python environment for each plugin: made beside the former one, taken once it is whole, and found again by what went
//! into it.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::ExitStatus,
    time::Duration,
};

use aigis_proxy::{Code, text_file::shown, with_causes};
use data_encoding::HEXLOWER;
use ring::digest::{Context, SHA256};
use tokio::process::Command as Program;

use super::Command;
use crate::plugins::{
    Folder,
    child::{self, Bounds},
    interpreter::Interpreter,
    manifest::Manifest,
};

/// How long installing may take; some packages are compiled without a word.
const BOUNDS: Bounds = Bounds { total: Duration::from_secs(15 * 60), silence: Duration::from_secs(15 * 60) };
/// Largest requirement file, in bytes.
const LARGEST: u64 = 16 << 20;
/// Lies in an environment that is whole.
const WHOLE: &str = ".aigis-whole";
/// How much of the digest is its key.
const KEY: usize = 32;
/// What an installation sees of the environment of the node, by name or beginning: where the host's own settings stand.
const SEEN: [&str; 16] = [
    "PATH",
    "HOME",
    "LANG",
    "LC_ALL",
    "TZ",
    "TMPDIR",
    "PIP_",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "ALL_PROXY",
    "SSL_CERT_",
    "REQUESTS_CA_BUNDLE",
    "XDG_CACHE_HOME",
    "XDG_CONFIG_",
    "NETRC",
];

/// What is to be installed.
#[derive(Debug)]
pub struct Installation<'a> {
    /// Whose.
    pub folder: &'a Folder,
    /// What the plugin says of itself.
    pub manifest: &'a Manifest,
    /// Where the plugin's tree lies now, while what is said of it is about the runtime copy.
    pub tree: &'a Path,
    /// What runs the plugin.
    pub interpreter: &'a Interpreter,
}

/// An environment that is whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Environment {
    /// Its directory.
    pub path: PathBuf,
    /// The digest of all that went into it.
    pub key: String,
    /// Whether it was there before.
    pub is_reused: bool,
}

impl Environment {
    /// Its interpreter.
    #[must_use]
    pub fn python(&self) -> PathBuf {
        self.path.join("bin/python")
    }

    /// Removes the plugin's other environments.
    ///
    /// # Errors
    ///
    /// The operating system refuses.
    pub fn keep_alone(&self, folder: &Folder) -> io::Result<()> {
        for entry in fs::read_dir(folder.path())? {
            let path = entry?.path();
            let is_environment = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"venv-"));
            if is_environment && path != self.path {
                fs::remove_dir_all(path)?;
            }
        }
        Ok(())
    }
}

/// Why requirements are not installed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The command cannot be run as it is.
    #[error("the requirement command cannot be run: {0}")]
    Refused(#[from] super::Refusal),
    /// The requirement file cannot be read.
    #[error("{} cannot be read", shown(.path))]
    File {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The environment cannot be written.
    #[error("the environment {} cannot be made", shown(.path))]
    Write {
        /// Its directory.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// A command failed.
    #[error("{command} failed with {}{}", ended(*.status), tail(.last))]
    Failed {
        /// The command.
        command: String,
        /// How it ended.
        status: ExitStatus,
        /// Its last lines.
        last: Vec<String>,
    },
    /// A command did not start or did not end.
    #[error("{command}: {reason}")]
    Broken {
        /// The command.
        command: String,
        /// What was the matter.
        reason: String,
    },
}

fn ended(status: ExitStatus) -> String {
    status.code().map_or_else(|| status.to_string(), |code| format!("exit code {code}"))
}

fn tail(last: &[String]) -> String {
    last.iter().map(|line| format!("\n{line}")).collect()
}

impl From<Error> for aigis_proxy::Error {
    fn from(error: Error) -> Self {
        let code = match &error {
            Error::Refused(_) => Code::InvalidArgument,
            _ => Code::FailedPrecondition,
        };
        let failure = Self::new(code, with_causes(&error));
        match error {
            Error::Failed { status, last, .. } => failure.with("exit_code", status.code()).with("last_lines", last),
            _ => failure,
        }
    }
}

/// Makes a plugin's environment, if there is none yet of what is asked for, and installs its requirements; each line that
/// is said meanwhile goes to `line`.
///
/// # Errors
///
/// A command is refused or fails, or something cannot be written. Environments that are whole stay as they were.
///
/// # Cancel safety
///
/// What runs is ended; what is half made is made anew the next time.
pub async fn install(
    installation: &Installation<'_>,
    line: &mut (dyn FnMut(&str) + Send),
) -> Result<Environment, Error> {
    let Installation { folder, manifest, tree, interpreter } = installation;
    let command = match (&manifest.requirement_command, &manifest.requirement_file) {
        (Some(words), _) => Some(Command::read(words)?),
        (None, Some(_)) => Some(Command::usual()),
        (None, None) => None,
    };
    // It is read where it lies now, and told as it will lie.
    let file = manifest
        .requirement_file
        .as_ref()
        .map(|file| file.strip_prefix(folder.copy()).map_or_else(|_| file.clone(), |within| tree.join(within)));
    let key = key(interpreter, command.as_ref(), file.as_deref())?;
    let path = folder.environment(&key);
    if path.join(WHOLE).is_file() {
        return Ok(Environment { path, key, is_reused: true });
    }
    let failed = |source| Error::Write { path: path.clone(), source };
    match fs::remove_dir_all(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    let installed = async {
        let mut make = Program::new(&interpreter.path);
        make.args(["-I", "-m", "venv"]);
        if command.is_none() {
            // It takes seconds, and nothing is installed.
            make.arg("--without-pip");
        }
        make.arg("--").arg(&path);
        run(make, "/".as_ref(), &path, format!("{} -m venv", shown(&interpreter.path)), line).await?;
        if let Some(command) = &command {
            let argv = command.argv(&path, file.as_deref());
            if let Some((program, arguments)) = argv.split_first() {
                let mut install = Program::new(program);
                install.args(arguments);
                let entrypoint = &manifest.entrypoint;
                let place =
                    entrypoint.strip_prefix(folder.copy()).map_or_else(|_| entrypoint.clone(), |it| tree.join(it));
                run(install, &place, &path, command.written(), line).await?;
            }
        }
        see_host(&path).and_then(|()| fs::write(path.join(WHOLE), [])).map_err(failed)
    };
    if let Err(error) = installed.await {
        // What is left of it is removed the next time.
        let _ = fs::remove_dir_all(&path);
        return Err(error);
    }
    Ok(Environment { path, key, is_reused: false })
}

/// Lets a plugin find among the host's own packages what is not in its environment: many a plugin does not require all that it
/// uses. It is done last, so that what it requires is installed whether the host has it or not.
fn see_host(environment: &Path) -> io::Result<()> {
    let file = environment.join("pyvenv.cfg");
    let settings = fs::read_to_string(&file)?;
    fs::write(file, settings.replace("include-system-site-packages = false", "include-system-site-packages = true"))
}

/// The digest of all that goes into an environment.
fn key(interpreter: &Interpreter, command: Option<&Command>, file: Option<&Path>) -> Result<String, Error> {
    let mut context = Context::new(&SHA256);
    let mut add = |bytes: &[u8]| {
        context.update(&(bytes.len() as u64).to_be_bytes());
        context.update(bytes);
    };
    add(interpreter.path.as_os_str().as_encoded_bytes());
    add(interpreter.version.to_string().as_bytes());
    add(interpreter.platform.as_bytes());
    let written = match command {
        Some(Command::Pip { written: words, .. } | Command::Other(words)) => words.as_slice(),
        None => &[],
    };
    add(&(written.len() as u64).to_be_bytes());
    written.iter().for_each(|word| add(word.as_bytes()));
    if let Some(path) = file {
        match contents(path) {
            // A command of the plugin's own may be what makes it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            read => add(&read.map_err(|source| Error::File { path: path.to_owned(), source })?),
        }
    }
    let digest = HEXLOWER.encode(context.finish().as_ref());
    Ok(digest.get(..KEY).unwrap_or(&digest).to_owned())
}

fn contents(path: &Path) -> io::Result<Vec<u8>> {
    use io::Read as _;
    let mut bytes = Vec::new();
    fs::File::open(path)?.take(LARGEST + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LARGEST {
        Err(io::Error::other(format!("it is larger than {LARGEST} bytes")))
    } else {
        Ok(bytes)
    }
}

/// Runs a command within an environment, and fails if it does.
async fn run(
    mut program: Program,
    place: &Path,
    environment: &Path,
    command: String,
    line: &mut (dyn FnMut(&str) + Send),
) -> Result<(), Error> {
    program.current_dir(place).env_clear();
    for (name, value) in std::env::vars_os() {
        let text = name.to_string_lossy().to_ascii_uppercase();
        if SEEN.iter().any(|seen| text == *seen || (seen.ends_with('_') && text.starts_with(seen))) {
            program.env(&name, value);
        }
    }
    let own = [environment.join("bin")].into_iter();
    let others = std::env::var_os("PATH").unwrap_or_default();
    if let Ok(path) = std::env::join_paths(own.chain(std::env::split_paths(&others))) {
        program.env("PATH", path);
    }
    program.env("VIRTUAL_ENV", environment).env("PYTHONUNBUFFERED", "1");
    // What the host's settings say of the user's own packages has no meaning in an environment.
    program.envs([("PIP_USER", "0"), ("PIP_NO_INPUT", "1"), ("PIP_DISABLE_PIP_VERSION_CHECK", "1")]);
    match child::run(program, BOUNDS, line).await {
        Ok(ended) if ended.status.success() => Ok(()),
        Ok(ended) => Err(Error::Failed { command, status: ended.status, last: ended.last }),
        Err(error) => Err(Error::Broken { command, reason: with_causes(&error) }),
    }
}
