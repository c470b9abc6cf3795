//! What a message is made of: the words of the command line, standard input, or both.

use std::{
    io::{self, Read},
    os::fd::AsFd,
    time::Duration,
};

use aigis_proxy::{Code, Error, body::MAX_BODY};
use rustix::fs::FileType;

use crate::{exit::Failure, output::Output};

/// The most of standard input that is read to be counted alone.
const MAX_READ: u64 = 1024 * 1024 * 1024;
/// How long nothing may come before it is said what is awaited.
const PATIENCE: Duration = Duration::from_secs(2);

/// What standard input is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stdin {
    /// A pipe or a regular file: meant for us.
    Data,
    /// A terminal, another device, a socket, or nothing: read only where `-` asks for it.
    Other,
}

/// What to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Plan {
    /// The words alone.
    Words(String),
    /// The words, and the input if it is not empty.
    WordsAndInput(String),
    /// The input is the message.
    Input,
    /// Nothing to send.
    Nothing,
    /// `-` and `-n` contradict each other.
    Contradiction,
}

/// Decides by the words, `-n` and what standard input is; reads nothing.
pub(crate) fn plan(words: &[String], no_stdin: bool, stdin: Stdin) -> Plan {
    let (words, asked) = match words.split_last() {
        Some((last, before)) if last == "-" => (before, true),
        _ => (words, false),
    };
    if asked && no_stdin {
        return Plan::Contradiction;
    }
    let read = asked || (!no_stdin && stdin == Stdin::Data);
    let text = words.join(" ");
    match (text.is_empty(), read) {
        (true, true) => Plan::Input,
        (true, false) => Plan::Nothing,
        (false, _) if text.trim().is_empty() => Plan::Nothing,
        (false, true) => Plan::WordsAndInput(text),
        (false, false) => Plan::Words(text),
    }
}

impl Plan {
    /// Why there is nothing to send, where that is known without reading.
    pub(crate) fn refusal(&self) -> Option<Failure> {
        match self {
            Self::Nothing => {
                Some(Failure::usage("there is no message", "say one: aish CI MESSAGE, such as: aish web status"))
            }
            Self::Contradiction => {
                Some(Failure::usage("\"-\" reads standard input, and --no-stdin forbids it", "leave one of them out"))
            }
            _ => None,
        }
    }
}

/// Looks at what standard input is.
pub(crate) fn stdin() -> Stdin {
    match rustix::fs::fstat(io::stdin().as_fd()).map(|stat| FileType::from_raw_mode(stat.st_mode)) {
        Ok(FileType::Fifo | FileType::RegularFile) => Stdin::Data,
        _ => Stdin::Other,
    }
}

/// A message, ready to be sent.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Message {
    /// The text.
    pub(crate) text: String,
    /// How many bytes of input stood beside it.
    pub(crate) beside: u64,
    /// The input, unless it was dropped.
    pub(crate) input: Option<Vec<u8>>,
}

/// Makes the message of a plan, reading standard input where the plan says so. `takes_input` says whether the CI
/// could use input beside a message; if not, it is counted and dropped.
///
/// # Errors
///
/// A usage error, `invalid_argument` for input that is no message, `resource_exhausted` for too much of it.
pub(crate) async fn make(plan: Plan, takes_input: bool, output: &Output) -> Result<Message, Failure> {
    match plan {
        Plan::Words(text) => Ok(Message { text, beside: 0, input: None }),
        Plan::WordsAndInput(text) => {
            let (beside, input) = read(if takes_input { MAX_BODY } else { 0 }, "input", output).await?;
            if takes_input {
                whole(beside, &input)?;
            }
            let input = (takes_input && beside > 0).then_some(input);
            Ok(Message { text, beside, input })
        }
        Plan::Input => {
            let (length, bytes) = read(MAX_BODY, "the message", output).await?;
            Ok(Message { text: text(length, bytes)?, beside: 0, input: None })
        }
        refused => Err(refused.refusal().unwrap_or(Failure::Said(2))),
    }
}

/// Refuses input that is more than was kept.
fn whole(length: u64, bytes: &[u8]) -> Result<(), Error> {
    if length == bytes.len() as u64 {
        return Ok(());
    }
    let message = format!("standard input is {length} bytes; a call takes at most {MAX_BODY}");
    Err(Error::new(Code::ResourceExhausted, message).hint("give it in parts, or as a file where it is needed"))
}

/// Reads a message out of what standard input brought.
fn text(length: u64, bytes: Vec<u8>) -> Result<String, Error> {
    const GIVE: &str = "give a message: aish CI MESSAGE";
    whole(length, &bytes)?;
    let mut text = String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        Error::invalid(format!("standard input is no message: it is not UTF-8 at byte {at}")).hint(GIVE)
    })?;
    if text.ends_with('\n') {
        text.pop();
    }
    if text.trim().is_empty() {
        return Err(Error::invalid("standard input is empty: nothing was called")
            .hint("an earlier part of the pipe may have failed"));
    }
    Ok(text)
}

/// Reads standard input to its end on a thread of its own; answers with its length and its first `keep` bytes.
async fn read(keep: usize, awaited: &str, output: &Output) -> Result<(u64, Vec<u8>), Failure> {
    let (first_sender, first) = tokio::sync::oneshot::channel();
    let mut reading = tokio::task::spawn_blocking(move || {
        let mut first = Some(first_sender);
        consume(io::stdin().lock(), keep, || {
            if let Some(first) = first.take() {
                let _ = first.send(());
            }
        })
    });
    let quiet = async {
        if tokio::time::timeout(PATIENCE, first).await.is_err() {
            output.progress(&format!("waiting for {awaited} on standard input; --no-stdin goes without"));
        }
        std::future::pending::<()>().await;
    };
    let read = tokio::select! {
        read = &mut reading => read,
        () = quiet => return Err(Error::internal("the wait for standard input ended").into()),
    };
    Ok(read.map_err(|error| Error::internal(format!("standard input could not be read: {error}")))??)
}

fn consume(mut source: impl Read, keep: usize, mut came: impl FnMut()) -> Result<(u64, Vec<u8>), Error> {
    let mut kept = Vec::new();
    let mut length = 0_u64;
    let mut chunk = vec![0; 64 * 1024];
    loop {
        let count = match source.read(&mut chunk) {
            Ok(0) => return Ok((length, kept)),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(Error::invalid(format!("standard input cannot be read: {error}"))),
        };
        came();
        length += count as u64;
        if length > MAX_READ {
            return Err(Error::new(Code::ResourceExhausted, "standard input is over 1 GiB"));
        }
        let room = keep.saturating_sub(kept.len()).min(count);
        kept.extend_from_slice(&chunk[..room]);
    }
}

/// Reads standard input to its end, as the input of a command.
///
/// # Errors
///
/// `resource_exhausted` for more than one request holds.
pub(crate) async fn read_input(output: &Output) -> Result<Vec<u8>, Failure> {
    let (length, bytes) = read(MAX_BODY, "the command's input", output).await?;
    whole(length, &bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split_terminator('|').map(str::to_owned).collect()
    }

    #[test]
    fn ci_58_the_table_of_standard_input() {
        let both = |text: &str| Plan::WordsAndInput(text.to_owned());
        let alone = |text: &str| Plan::Words(text.to_owned());
        for (given, no_stdin, stdin, expected) in [
            ("hi|there", false, Stdin::Other, alone("hi there")),
            ("hi", false, Stdin::Data, both("hi")),
            ("hi", true, Stdin::Data, alone("hi")),
            ("", false, Stdin::Data, Plan::Input),
            ("", false, Stdin::Other, Plan::Nothing),
            ("", true, Stdin::Data, Plan::Nothing),
            ("-", false, Stdin::Other, Plan::Input),
            ("-", false, Stdin::Data, Plan::Input),
            ("hi|-", false, Stdin::Other, both("hi")),
            ("-|hi", false, Stdin::Other, alone("- hi")),
            ("-", true, Stdin::Data, Plan::Contradiction),
            (" |", false, Stdin::Other, Plan::Nothing),
            ("  ", false, Stdin::Data, Plan::Nothing),
        ] {
            assert_eq!(plan(&words(given), no_stdin, stdin), expected, "{given:?} {no_stdin} {stdin:?}");
        }
        assert_eq!(plan(&[String::new()], false, Stdin::Other), Plan::Nothing);
        assert_eq!(plan(&[String::new()], false, Stdin::Data), Plan::Input);
    }

    #[test]
    fn ci_58_empty_or_unreadable_input_is_no_message() {
        for bad in [&b""[..], b"\n", b" \n\n", b"a\xffb"] {
            let error = text(bad.len() as u64, bad.to_vec()).unwrap_err();
            assert_eq!(error.code, Code::InvalidArgument, "{bad:?}");
        }
        assert_eq!(text(3, b"hi\n".to_vec()).unwrap(), "hi");
        assert_eq!(text(4, b"hi\n\n".to_vec()).unwrap(), "hi\n");
        assert_eq!(text(5, b"hi".to_vec()).unwrap_err().code, Code::ResourceExhausted);
    }

    #[test]
    fn input_that_is_not_kept_is_counted() {
        assert_eq!(consume(&[7; 100_000][..], 10, || ()).unwrap(), (100_000, vec![7; 10]));
    }
}
