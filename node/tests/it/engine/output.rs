use std::{process::Command, time::Duration};

use aigis_node::engine::{Error, ExecRequest, LogQuery, LogStream, Source};
use futures::StreamExt;
use tokio::io::AsyncWriteExt;

use super::real;
use crate::images::{Running, docker};

const LIMIT: Duration = Duration::from_secs(30);

async fn all(mut log: LogStream) -> (Vec<u8>, Vec<u8>) {
    let mut found = (Vec::new(), Vec::new());
    while let Some(entry) = tokio::time::timeout(LIMIT, log.next()).await.unwrap() {
        let entry = entry.unwrap();
        assert!(entry.at.is_some(), "{entry:?}");
        match entry.source {
            Source::Stdout => found.0.extend_from_slice(&entry.bytes),
            Source::Stderr => found.1.extend_from_slice(&entry.bytes),
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn ci_39_log_bytes_are_the_engine_s() {
    let script = "i=0; while [ $i -lt 10000 ]; do echo line $i; i=$((i+1)); done; \
        head -c 40000 /dev/zero | tr '\\0' x; echo; printf '\\001\\377' ; echo err >&2";
    let container = Running::busybox(&[], &["sh", "-c", script]);
    docker(&["wait", container.id.as_str()]);
    let query = LogQuery { tail: Some(10_000), ..LogQuery::default() };
    let (out, err) = all(real().logs(&container.id, false, &query).await.unwrap()).await;
    let told = Command::new("docker").args(["logs", "--tail", "10000", container.id.as_str()]).output().unwrap();
    assert_eq!(err, told.stderr);
    assert!(out == told.stdout, "{} and {} bytes", out.len(), told.stdout.len());
    let only = LogQuery { stdout: false, tail: None, ..LogQuery::default() };
    let (out, err) = all(real().logs(&container.id, false, &only).await.unwrap()).await;
    assert_eq!((out, err), (Vec::new(), b"err\n".to_vec()));
}

#[tokio::test(flavor = "multi_thread")]
async fn ci_39_a_terminal_s_log_is_the_engine_s() {
    let script = "echo one; head -c 40000 /dev/zero | tr '\\0' x; echo; echo two >&2; printf prompt";
    let container = Running::busybox(&["-t"], &["sh", "-c", script]);
    docker(&["wait", container.id.as_str()]);
    let query = LogQuery { tail: None, ..LogQuery::default() };
    let (out, err) = all(real().logs(&container.id, true, &query).await.unwrap()).await;
    let told = Command::new("docker").args(["logs", container.id.as_str()]).output().unwrap();
    assert!(err.is_empty());
    assert!(out == told.stdout, "{} and {} bytes", out.len(), told.stdout.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn ci_40_a_followed_log_goes_on_until_the_container_ends() {
    let container = Running::busybox(&[], &["sh", "-c", "echo first; sleep 1; echo last; sleep 1000"]);
    let engine = real();
    let query = LogQuery { follow: true, ..LogQuery::default() };
    let mut log = engine.logs(&container.id, false, &query).await.unwrap();
    for wanted in ["first\n", "last\n"] {
        let entry = tokio::time::timeout(LIMIT, log.next()).await.unwrap().unwrap().unwrap();
        assert_eq!(entry.bytes, wanted);
    }
    engine.stop(&container.id, Duration::ZERO).await.unwrap();
    assert!(tokio::time::timeout(LIMIT, log.next()).await.unwrap().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn ci_42_a_log_that_cannot_be_read_is_refused_with_words() {
    let container = Running::busybox(&["--log-driver", "none"], &["sleep", "1000"]);
    let engine = real();
    assert!(!engine.inspect(&container.id).await.unwrap().log_is_readable());
    let outcome = match engine.logs(&container.id, false, &LogQuery::default()).await {
        Ok(mut log) => log.next().await.unwrap().map(|_| ()),
        Err(error) => Err(error),
    };
    let error = outcome.unwrap_err();
    assert!(matches!(error, Error::Refused { .. } | Error::Malformed { .. }), "{error}");
}

async fn run(container: &Running, request: ExecRequest, input: &[u8]) -> Result<(Vec<u8>, Vec<u8>, i64), Error> {
    let mut session = real().exec(&container.id, request).await?;
    if let Some(writer) = &mut session.input {
        writer.write_all(input).await.unwrap();
        writer.shutdown().await.unwrap();
    }
    let (mut out, mut err) = (Vec::new(), Vec::new());
    while let Some(piece) = tokio::time::timeout(LIMIT, session.output.next()).await.unwrap() {
        let piece = piece?;
        match piece.source {
            Source::Stdout => out.extend_from_slice(&piece.bytes),
            Source::Stderr => err.extend_from_slice(&piece.bytes),
        }
    }
    Ok((out, err, session.handle.exit_code().await?))
}

fn request(argv: &[&str]) -> ExecRequest {
    ExecRequest { argv: argv.iter().map(|word| (*word).to_owned()).collect(), ..ExecRequest::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn ci_53_a_command_s_output_and_exit_code_come_back() {
    let container = Running::busybox(&["--hostname", "inside"], &["sleep", "1000"]);
    assert_eq!(run(&container, request(&["hostname"]), b"").await.unwrap(), (b"inside\n".to_vec(), Vec::new(), 0));
    let script = request(&["sh", "-c", "echo $A in $(pwd) as $(id -u); echo oops >&2; exit 7"]);
    let script = ExecRequest {
        env: vec!["A=b".to_owned()],
        workdir: Some("/tmp".to_owned()),
        user: Some("33".to_owned()),
        ..script
    };
    let done = run(&container, script, b"").await.unwrap();
    assert_eq!(done, (b"b in /tmp as 33\n".to_vec(), b"oops\n".to_vec(), 7));
    let bytes: Vec<u8> = (0..300_000_u32).map(|number| (number % 251) as u8).collect();
    let cat = ExecRequest { input: true, ..request(&["cat"]) };
    assert!(run(&container, cat, &bytes).await.unwrap() == (bytes, Vec::new(), 0));
    let tty = ExecRequest { tty: true, ..request(&["sh", "-c", "test -t 1 && echo yes"]) };
    assert_eq!(run(&container, tty, b"").await.unwrap(), (b"yes\r\n".to_vec(), Vec::new(), 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn ci_54_what_cannot_run_is_refused_and_named() {
    let container = Running::busybox(&[], &["sleep", "1000"]);
    let error = run(&container, request(&["no-such-program"]), b"").await.unwrap_err();
    assert!(matches!(&error, Error::Refused { words, .. } if words.contains("no-such-program")), "{error}");
    let engine = real();
    engine.pause(&container.id).await.unwrap();
    let error = engine.exec(&container.id, request(&["true"])).await.unwrap_err();
    assert!(matches!(&error, Error::Conflict { words, .. } if words.contains("paused")), "{error}");
    engine.unpause(&container.id).await.unwrap();
    engine.stop(&container.id, Duration::ZERO).await.unwrap();
    let error = engine.exec(&container.id, request(&["true"])).await.unwrap_err();
    assert!(matches!(error, Error::Conflict { .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_is_killed_by_its_handle_and_the_container_runs_on() {
    let container = Running::busybox(&[], &["sleep", "1000"]);
    let engine = real();
    let mut session = engine.exec(&container.id, request(&["sh", "-c", "echo up; exec sleep 1000"])).await.unwrap();
    let first = tokio::time::timeout(LIMIT, session.output.next()).await.unwrap().unwrap().unwrap();
    assert_eq!(first.bytes, "up\n");
    assert!(session.handle.kill().await.unwrap());
    assert!(tokio::time::timeout(LIMIT, session.output.next()).await.unwrap().is_none());
    assert_eq!(session.handle.exit_code().await.unwrap(), 137);
    assert!(!session.handle.kill().await.unwrap());
    assert_eq!(container.field("{{.State.Running}}"), "true");
}
