//! The commands of a mesh: `aish` with input, at a terminal or left running, and lines of a shell.

use std::{
    ffi::OsStr,
    io::Write as _,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use super::{Mesh, Place, Ran};

impl Mesh {
    /// Runs `aish` with no input.
    pub fn aish<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Ran {
        self.with_input(args, None)
    }

    /// Runs `aish` in that directory, with no input.
    ///
    /// # Panics
    ///
    /// Panics when the binary cannot be run.
    pub fn in_directory<S: AsRef<OsStr>>(&self, directory: &Path, args: impl IntoIterator<Item = S>) -> Ran {
        let started = Instant::now();
        let mut command = self.command();
        command.current_dir(directory).args(args).stdin(Stdio::null());
        Ran::of(command.output().unwrap_or_else(|error| panic!("{error}")), started)
    }

    /// Runs `aish` with these variables in its environment as well.
    ///
    /// # Panics
    ///
    /// Panics when the binary cannot be run.
    pub fn aish_in<S: AsRef<OsStr>>(&self, environment: &[(&str, String)], args: impl IntoIterator<Item = S>) -> Ran {
        let started = Instant::now();
        let mut command = self.command();
        command.envs(environment.iter().map(|(name, value)| (name, value))).args(args).stdin(Stdio::null());
        Ran::of(command.output().unwrap_or_else(|error| panic!("{error}")), started)
    }

    /// Runs `aish` with a pipe as its input.
    ///
    /// # Panics
    ///
    /// Panics when the binary cannot be run.
    pub fn with_input<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>, input: Option<&[u8]>) -> Ran {
        let started = Instant::now();
        let mut command = self.command();
        command.args(args).stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() });
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap_or_else(|e| panic!("{e}"));
        if let (Some(input), Some(mut pipe)) = (input, child.stdin.take()) {
            // A command that does not read its input closes the pipe: that is its right.
            let _ = pipe.write_all(input);
        }
        Ran::of(child.wait_with_output().unwrap_or_else(|error| panic!("{error}")), started)
    }

    /// Starts `aish` and leaves it running, its output piped.
    ///
    /// # Panics
    ///
    /// Panics when the binary cannot be run.
    pub fn spawn<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Child {
        let mut command = self.command();
        command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().unwrap_or_else(|error| panic!("{error}"))
    }

    /// Starts `aish` and leaves it running, its lines to be read as they come.
    ///
    /// # Panics
    ///
    /// Panics when the binary cannot be run.
    pub fn running<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> crate::Running {
        crate::Running::new(self.spawn(args))
    }

    /// Starts `aish` at a terminal of its own.
    ///
    /// # Panics
    ///
    /// Panics when the binary cannot be run.
    pub fn at_terminal<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> crate::Running {
        let mut command = self.command();
        command.args(args);
        crate::Running::at_terminal(command)
    }

    /// Starts `aish wrap` and waits until it says as what the program answers.
    ///
    /// # Panics
    ///
    /// Panics when it does not within 20 s.
    pub fn wrap<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> crate::Running {
        let mut wrap = self.wrapping(args);
        wrap.until("the program is wrapped", Duration::from_secs(20), |line| line.strip_prefix("wrapped ").map(drop));
        wrap
    }

    /// Starts `aish wrap`, its standard error to be read as it comes.
    ///
    /// # Panics
    ///
    /// Panics when the binary cannot be run.
    pub fn wrapping<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> crate::Running {
        let args: Vec<_> = args.into_iter().map(|arg| arg.as_ref().to_owned()).collect();
        crate::Running::of_stderr(self.spawn(std::iter::once("wrap".into()).chain(args)))
    }

    /// Runs a line of `bash` with `pipefail`, in which `aish` is the binary.
    ///
    /// # Panics
    ///
    /// Panics when there is no shell.
    #[must_use]
    pub fn shell(&self, line: &str) -> Ran {
        let started = Instant::now();
        let output = self.shell_command(line).output();
        Ran::of(output.unwrap_or_else(|error| panic!("{error}")), started)
    }

    /// What `bash` offers for the last of these words, beside options.
    ///
    /// # Panics
    ///
    /// Panics when there is no `bash`, or it complains.
    #[must_use]
    pub fn offered(&self, words: &str) -> Vec<String> {
        let line = format!(
            "source <(aish completions bash) && COMP_WORDS=({words}) && COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)) && \
             _clap_complete_aish aish \"${{COMP_WORDS[COMP_CWORD]}}\" && printf '%s\\n' \"${{COMPREPLY[@]}}\""
        );
        let ran = self.shell(&line).good();
        ran.stdout.lines().filter(|line| !line.is_empty() && !line.starts_with('-')).map(str::to_owned).collect()
    }

    /// As [`Mesh::shell`], left running with its output piped.
    ///
    /// # Panics
    ///
    /// Panics when there is no shell.
    pub fn spawn_shell(&self, line: &str) -> Child {
        let mut command = self.shell_command(line);
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        child.unwrap_or_else(|error| panic!("{error}"))
    }

    fn shell_command(&self, line: &str) -> Command {
        let mut command = self.prepared(Path::new("bash"));
        let place = self.binary.parent().unwrap_or(Path::new("/")).display().to_string();
        let path = format!("{place}:{}", std::env::var("PATH").unwrap_or_default());
        command.env("PATH", path).args(["-c", &format!("set -o pipefail; {line}")]).stdin(Stdio::null());
        command
    }

    fn command(&self) -> Command {
        self.prepared(&self.binary)
    }

    fn prepared(&self, program: &Path) -> Command {
        let mut command = match &self.place {
            Place::Here(_) => Command::new(program),
            Place::Host(host) => host.command(program),
        };
        for unset in ["AIGIS_BUS", "AIGIS_CA", "AIGIS_CREDS", "AIGIS_MESH", "AIGIS_LOG"] {
            command.env_remove(unset);
        }
        if matches!(self.place, Place::Here(_)) {
            command.env_remove("DOCKER_HOST");
        }
        // No config file of this machine's user is any test's.
        command.env("AIGIS_CONFIG_DIR", &self.data);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.env("AIGIS_DATA", &self.data);
        command
    }
}
