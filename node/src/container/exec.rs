//! `exec`: a command in a running container, its output as frames, its end with its caller.

mod run;

use std::{collections::BTreeMap, sync::Arc};

use aigis_proxy::{
    Effect, Error, quoted,
    skill::{Call, Input, Table},
};
use data_encoding::BASE64;
use futures::{Stream, StreamExt, stream};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Container, lifecycle::Target};
use crate::engine::{ExecOutput, ExecRequest};

pub(super) use run::to_the_end;
use run::{Running, begin};

/// Most bytes of output in one frame, so that it fits into a message whatever its bytes are.
const FRAME: usize = 64 * 1024;

/// What is to be run, and how.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Exec {
    /// The program and its arguments, as they are: no shell.
    #[schemars(length(min = 1))]
    argv: Vec<String>,
    /// What its standard input reads; without it, that is empty.
    #[serde(default)]
    input: Option<Bytes>,
    /// Environment variables beside the container's own.
    #[serde(default)]
    env: BTreeMap<String, String>,
    /// The working directory; the container's own if absent.
    #[serde(default)]
    workdir: Option<String>,
    /// The user, or `USER:GROUP`; the container's own if absent.
    #[serde(default)]
    user: Option<String>,
    /// Whether it gets a terminal.
    #[serde(default)]
    tty: bool,
}

impl Input for Exec {
    const POSITIONAL: &'static [&'static str] = &["argv"];
}

/// Bytes, as text where they are text.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "a text, or {\"$bytes\": \"<base64>\"}")]
enum Bytes {
    Text(String),
    Raw(RawBytes),
}

#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct RawBytes {
    #[serde(rename = "$bytes")]
    base64: String,
}

impl Bytes {
    fn read(self) -> Result<Vec<u8>, Error> {
        match self {
            Self::Text(text) => Ok(text.into_bytes()),
            Self::Raw(RawBytes { base64 }) => BASE64
                .decode(base64.as_bytes())
                .map_err(|error| Error::invalid(format!("argument \"input\": $bytes is no base64: {error}"))),
        }
    }
}

/// A frame of `exec`.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(untagged)]
pub(super) enum Frame {
    /// A piece of output.
    Output {
        /// `stdout` or `stderr`; a terminal's is all `stdout`.
        source: String,
        /// Text, or `{"$bytes": base64}` of what is no UTF-8.
        data: Value,
    },
    /// The last frame.
    End {
        /// How the command ended.
        exit_code: i64,
    },
}

/// Adds the skill.
pub(super) fn add(table: &mut Table<Container>) {
    table.stream(
        "exec",
        Effect::Admin,
        "Runs a command in the container and streams its output; the last frame has its exit code.",
        exec,
    );
}

async fn exec(
    container: Arc<Container>,
    _call: Call,
    exec: Exec,
) -> Result<impl Stream<Item = Result<Frame, Error>> + Send + 'static, Error> {
    let (request, input) = exec.check()?;
    let (bound, address) = (container.bound(), container.address().to_string());
    // Not bounded by the call's deadline: that is for the first answer, and a command may run for longer.
    let target = Target { engine: &container.host().engine, id: bound.id(), address: &address };
    let running = begin(target, request, input).await?;
    Ok(frames(running))
}

impl Exec {
    /// Takes the arguments apart, and refuses what no program can be given.
    fn check(self) -> Result<(ExecRequest, Option<Vec<u8>>), Error> {
        let Self { argv, input, env, workdir, user, tty } = self;
        if argv.first().is_none_or(String::is_empty) {
            return Err(Error::invalid("argument \"argv\" names no program; write argv='[\"hostname\"]'"));
        }
        let texts = argv.iter().chain(env.keys()).chain(env.values()).chain(&workdir).chain(&user);
        if texts.into_iter().any(|text| text.contains('\0')) {
            return Err(Error::invalid("an argument holds a NUL, which no program can be given"));
        }
        if let Some(name) = env.keys().find(|name| name.is_empty() || name.contains('=')) {
            let name = quoted(name);
            return Err(Error::invalid(format!("argument \"env\": \"{name}\" is no name of a variable")));
        }
        let mut input = input.map(Bytes::read).transpose()?;
        if let Some(bytes) = input.as_mut().filter(|_| tty) {
            // A terminal has no end but its end-of-input character: once on an empty line, twice after a text.
            let open = bytes.last().is_some_and(|last| *last != b'\n');
            bytes.extend_from_slice(if open { b"\x04\x04" } else { b"\x04" });
        }
        let env = env.into_iter().map(|(name, value)| format!("{name}={value}")).collect();
        let filled = |text: Option<String>| text.filter(|text| !text.is_empty());
        let request =
            ExecRequest { argv, env, workdir: filled(workdir), user: filled(user), tty, input: input.is_some() };
        Ok((request, input))
    }
}

/// The frames of a command. Dropping them ends the command.
fn frames(running: Running) -> impl Stream<Item = Result<Frame, Error>> + Send + 'static {
    stream::unfold(Some(running), |running| async move {
        let mut running = running?;
        match running.next().await {
            Some(Ok(output)) => Some((stream::iter(pieces(&output)).left_stream(), Some(running))),
            Some(Err(error)) => Some((one(Err(error)).right_stream(), None)),
            None => {
                let end = running.exit_code().await.map(|exit_code| Frame::End { exit_code });
                Some((one(end).right_stream(), None))
            }
        }
    })
    .flatten()
}

fn one(frame: Result<Frame, Error>) -> impl Stream<Item = Result<Frame, Error>> + Send {
    stream::once(std::future::ready(frame))
}

fn pieces(output: &ExecOutput) -> Vec<Result<Frame, Error>> {
    let source = output.source.as_str();
    output.bytes.chunks(FRAME).map(|bytes| Ok(Frame::Output { source: source.to_owned(), data: data(bytes) })).collect()
}

/// Bytes as they stand in JSON.
fn data(bytes: &[u8]) -> Value {
    match std::str::from_utf8(bytes) {
        Ok(text) => json!(text),
        Err(_) => json!({"$bytes": BASE64.encode(bytes)}),
    }
}

#[cfg(test)]
mod tests {
    use aigis_proxy::{Code, Request, skill};

    use super::*;

    fn checked(arguments: Value) -> Result<(ExecRequest, Option<Vec<u8>>), Error> {
        let Value::Object(kwargs) = arguments else { panic!("no object") };
        skill::arguments::<Exec>(&Request { kwargs, ..Request::default() })?.check()
    }

    #[test]
    fn arguments_go_to_the_engine_as_they_are() {
        let (request, input) = checked(json!({"argv": ["sh", "-c", "echo $X; exit 7"], "env": {"X": "a=b"},
            "user": "", "input": {"$bytes": "AP8="}}))
        .unwrap();
        assert_eq!(request.argv, ["sh", "-c", "echo $X; exit 7"]);
        assert_eq!((request.env, request.user, request.input), (vec!["X=a=b".to_owned()], None, true));
        assert_eq!(input.unwrap(), [0, 255]);
        let (_, input) = checked(json!({"argv": ["sh"], "tty": true, "input": "exit"})).unwrap();
        assert_eq!(input.unwrap(), b"exit\x04\x04");
    }

    #[test]
    fn what_no_program_can_be_given_is_refused_by_name() {
        for (arguments, named) in [
            (json!({}), "argv"),
            (json!({"argv": []}), "argv"),
            (json!({"argv": [""]}), "argv"),
            (json!({"argv": "ls -l"}), "argv"),
            (json!({"argv": ["a\0b"]}), "NUL"),
            (json!({"argv": ["a"], "env": {"A=B": "c"}}), "env"),
            (json!({"argv": ["a"], "input": 7}), "$bytes"),
            (json!({"argv": ["a"], "input": {"$bytes": "?"}}), "base64"),
            (json!({"argv": ["a"], "shell": true}), "shell"),
        ] {
            let error = checked(arguments.clone()).unwrap_err();
            assert_eq!(error.code, Code::InvalidArgument, "{arguments}");
            assert!(error.message.contains(named), "{arguments}: {error}");
        }
    }

    #[test]
    fn output_that_is_no_text_travels_as_bytes() {
        assert_eq!(data("é\n".as_bytes()), json!("é\n"));
        assert_eq!(data(&[0xff, 0]), json!({"$bytes": "/wA="}));
        let end = serde_json::to_value(Frame::End { exit_code: 7 }).unwrap();
        assert_eq!(end, json!({"exit_code": 7}));
    }
}
