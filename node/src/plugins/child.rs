//! Programs that run for a while and are waited for: git, pip, an interpreter. Each has a group of its own and a
//! bound in time, and its output is read line by line.

use std::{collections::VecDeque, io, process::ExitStatus, process::Stdio, time::Duration};

use aigis_proxy::socket::ProcessGroup;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _},
    process::{Child, ChildStdin, ChildStdout, Command},
    time::Instant,
};

use crate::process;

/// How many of its last lines are kept to tell why it failed.
const LAST_LINES: usize = 20;
/// Longest line, in bytes; what is longer comes in parts.
const LONGEST: usize = 16 * 1024;
/// Longest answer, in bytes; what is longer is cut off.
const ANSWER: usize = 16 * 1024 * 1024;
/// How much output is taken at once; on the heap, since a future that holds it would be as large.
const CHUNK: usize = 8 * 1024;
/// How long output may still come after the program has ended: a grandchild may hold its pipe.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// How long a program may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// In all.
    pub(super) total: Duration,
    /// Without a word.
    pub(super) silence: Duration,
}

/// How a program ended.
#[derive(Debug)]
pub(super) struct Ended {
    /// What it answered on its standard output, if it was asked for that.
    pub(super) answer: String,
    /// As the operating system has it.
    pub(super) status: ExitStatus,
    /// Its last lines, of both outputs.
    pub(super) last: Vec<String>,
}

/// Why it did not end by itself.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// It did not start, or cannot be watched.
    #[error("{program} cannot be run")]
    Io {
        program: String,
        #[source]
        source: io::Error,
    },
    /// It took too long.
    #[error("{program} was ended after {took:?}")]
    TooLong { program: String, took: Duration },
    /// It said nothing for too long.
    #[error("{program} was ended: nothing came for {silence:?}")]
    Silent { program: String, silence: Duration },
}

/// Runs a program to its end and gives each line of its output to `line`.
///
/// # Cancel safety
///
/// Dropping the future kills the program, and all of its group.
pub(super) async fn run(command: Command, bounds: Bounds, line: &mut (dyn FnMut(&str) + Send)) -> Result<Ended, Error> {
    watch(command, Vec::new(), bounds, false, line).await
}

/// Runs a program that reads `input`, and answers on its standard output; of the other one each line is given to `line`.
///
/// # Cancel safety
///
/// As [`run`].
pub(super) async fn ask(
    command: Command,
    input: Vec<u8>,
    bounds: Bounds,
    line: &mut (dyn FnMut(&str) + Send),
) -> Result<Ended, Error> {
    watch(command, input, bounds, true, line).await
}

async fn watch(
    mut command: Command,
    input: Vec<u8>,
    bounds: Bounds,
    answers: bool,
    line: &mut (dyn FnMut(&str) + Send),
) -> Result<Ended, Error> {
    let program = command.as_std().get_program().to_string_lossy().into_owned();
    let failed = |source| Error::Io { program: program.clone(), source };
    let stdin = if input.is_empty() { Stdio::null() } else { Stdio::piped() };
    command.process_group(0).stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut running = Running::start(&mut command).map_err(failed)?;
    drop(command);
    let mut feeding = running.child.stdin.take().map(|stdin| Box::pin(feed(stdin, input)));
    let (out, mut err) = (running.child.stdout.take(), running.child.stderr.take().map(Lines::new));
    let (mut asked, out) = if answers { (out, None) } else { (None, out) };
    let (mut out, mut answer) = (out.map(Lines::new), Vec::new());
    let start = Instant::now();
    let mut heard = start;
    let mut last = VecDeque::new();
    let mut take = |text: String| {
        line(&text);
        last.extend([text]);
        last.drain(..last.len().saturating_sub(LAST_LINES));
    };
    let mut status = None;
    loop {
        let until = match status {
            None => (start + bounds.total).min(heard + bounds.silence),
            Some((_, at)) => at + LAST_WORDS,
        };
        tokio::select! {
            read = next(&mut out), if out.is_some() => {
                heard = Instant::now();
                read.into_iter().for_each(&mut take);
            }
            () = more(&mut asked, &mut answer), if asked.is_some() => heard = Instant::now(),
            read = next(&mut err), if err.is_some() => {
                heard = Instant::now();
                read.into_iter().for_each(&mut take);
            }
            () = async { if let Some(feeding) = &mut feeding { feeding.await } }, if feeding.is_some() => feeding = None,
            waited = running.child.wait(), if status.is_none() => status = Some((waited.map_err(failed)?, Instant::now())),
            () = tokio::time::sleep_until(until) => match status {
                // Whoever holds its output still has nothing to do with it.
                Some((status, _)) => return Ok(ended(status, &answer, last)),
                None if heard + bounds.silence <= Instant::now() => {
                    return Err(Error::Silent { program, silence: bounds.silence });
                }
                None => return Err(Error::TooLong { program, took: bounds.total }),
            },
        }
        if let Some((status, _)) = status
            && out.is_none()
            && err.is_none()
            && asked.is_none()
        {
            return Ok(ended(status, &answer, last));
        }
    }
}

fn ended(status: ExitStatus, answer: &[u8], last: VecDeque<String>) -> Ended {
    Ended { status, answer: String::from_utf8_lossy(answer).into_owned(), last: last.into() }
}

/// Gives a program what it is to read. One that reads no more is told by how it ends.
async fn feed(mut stdin: ChildStdin, input: Vec<u8>) {
    let _ = stdin.write_all(&input).await;
}

/// Takes more of an answer; none is left once it has ended, or is longer than any is.
async fn more(asked: &mut Option<ChildStdout>, answer: &mut Vec<u8>) {
    let Some(reader) = asked else { return };
    let mut chunk = vec![0; CHUNK];
    let count = reader.read(&mut chunk).await.unwrap_or_default();
    answer.extend(chunk.iter().take(count));
    if count == 0 || answer.len() > ANSWER {
        *asked = None;
    }
}

/// What came of it; none once it has ended, and then it is read no more.
async fn next<R: AsyncRead + Unpin>(lines: &mut Option<Lines<R>>) -> Vec<String> {
    let Some(reader) = lines else { return Vec::new() };
    let (read, is_open) = reader.next().await;
    if !is_open {
        *lines = None;
    }
    read
}

/// Output, cut at ends of lines: also at the carriage returns by which progress is drawn.
#[derive(Debug)]
struct Lines<R> {
    reader: R,
    rest: Vec<u8>,
}

impl<R: AsyncRead + Unpin> Lines<R> {
    fn new(reader: R) -> Self {
        Self { reader, rest: Vec::new() }
    }

    async fn next(&mut self) -> (Vec<String>, bool) {
        let mut chunk = vec![0; CHUNK];
        let count = self.reader.read(&mut chunk).await.unwrap_or_default();
        self.rest.extend(chunk.iter().take(count));
        let mut lines = Vec::new();
        while let Some(end) = self.rest.iter().position(|byte| matches!(byte, b'\n' | b'\r')) {
            lines.push(self.cut(end));
            self.rest.drain(..1);
        }
        while self.rest.len() > LONGEST {
            lines.push(self.cut(LONGEST));
        }
        if count == 0 && !self.rest.is_empty() {
            lines.push(self.cut(self.rest.len()));
        }
        lines.retain(|line| !line.trim().is_empty());
        (lines, count > 0)
    }

    fn cut(&mut self, end: usize) -> String {
        String::from_utf8_lossy(&self.rest.drain(..end).collect::<Vec<u8>>()).into_owned()
    }
}

/// A program, and all of its group; ended when this is dropped.
#[derive(Debug)]
struct Running {
    child: Child,
    group: Option<process::Group>,
}

impl Running {
    fn start(command: &mut Command) -> io::Result<Self> {
        let child = command.spawn()?;
        let id = |number: u32| i32::try_from(number).ok();
        let led = child.id().and_then(id).and_then(ProcessGroup::led_by);
        let group = led.and_then(|led| process::Group::open(led, id(std::process::id())).ok().flatten());
        Ok(Self { child, group })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // What it started may live on without it.
        if let Some(group) = &self.group {
            group.kill();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: Bounds = Bounds { total: Duration::from_secs(20), silence: Duration::from_secs(10) };

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[tokio::test]
    async fn lines_of_both_outputs_come_and_the_last_ones_stay() {
        let mut lines = Vec::new();
        let script = "i=0; while [ $i -lt 30 ]; do echo $i; i=$((i+1)); done; printf 'a\\rb' >&2; exit 3";
        let ended = run(shell(script), SHORT, &mut |line| lines.push(line.to_owned())).await.unwrap();
        assert_eq!((ended.status.code(), lines.len(), ended.last.len()), (Some(3), 32, LAST_LINES));
        assert!(lines.contains(&"a".to_owned()) && lines.contains(&"b".to_owned()));
    }

    #[tokio::test]
    async fn an_answer_comes_whole_however_long_its_line_is() {
        let input = "é".repeat(100_000).into_bytes();
        let mut lines = Vec::new();
        let asked =
            ask(shell("echo heard >&2; cat"), input.clone(), SHORT, &mut |line| lines.push(line.to_owned())).await;
        let ended = asked.unwrap();
        assert!(ended.status.success() && ended.answer.as_bytes() == input);
        assert_eq!(lines, ["heard"]);
        let ended = ask(shell("exit 4"), input, SHORT, &mut |_| {}).await.unwrap();
        assert_eq!((ended.status.code(), ended.answer.as_str()), (Some(4), ""));
    }

    #[tokio::test]
    async fn what_takes_too_long_or_says_nothing_is_ended_with_all_it_started() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("pid");
        let script = format!("sleep 600 & echo $! > {}; wait", file.display());
        let bounds = Bounds { silence: Duration::from_millis(500), ..SHORT };
        let error = run(shell(&script), bounds, &mut |_| {}).await.unwrap_err();
        assert!(matches!(error, Error::Silent { .. }), "{error}");
        let pid: i32 = std::fs::read_to_string(file).unwrap().trim().parse().unwrap();
        let sleeper = crate::process::Process::open(pid);
        if let Some(sleeper) = sleeper {
            tokio::time::timeout(Duration::from_secs(10), sleeper.ended()).await.unwrap();
        }
        let bounds = Bounds { total: Duration::from_millis(500), ..SHORT };
        let error = run(shell("while :; do echo x; sleep 0.05; done"), bounds, &mut |_| {}).await.unwrap_err();
        assert!(matches!(error, Error::TooLong { .. }), "{error}");
    }

    #[tokio::test]
    async fn a_program_that_there_is_not_is_named() {
        let error = run(Command::new("/no/such/program"), SHORT, &mut |_| {}).await.unwrap_err();
        assert!(error.to_string().contains("/no/such/program"), "{error}");
    }
}
