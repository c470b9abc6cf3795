use std::{
    io::{BufRead as _, BufReader},
    process::Command as Blocking,
};

use super::*;
use crate::hosting::tests::Lines;

/// More than anything here takes.
const LONG: Duration = Duration::from_secs(30);
/// Set for the process that is killed.
const KILLED: &str = "AIGIS_TEST_KILLED";

fn spec(arguments: &[&str]) -> Spec {
    Spec {
        arguments: arguments.iter().map(OsString::from).collect(),
        directory: std::env::temp_dir(),
        environment: vec![("PATH".into(), std::env::var_os("PATH").unwrap()), ("GREETING".into(), "hello".into())],
    }
}

fn start(arguments: &[&str]) -> (Process, Arc<Lines>) {
    let lines = Arc::<Lines>::default();
    (Process::spawn(&spec(arguments), lines.clone()).unwrap(), lines)
}

/// Ignores the word to end, as what it started does.
const STUBBORN: &str = r#"trap '' TERM; (while :; do sleep 1; done) & echo $!; while :; do sleep 1; done"#;

async fn bounded<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(LONG, future).await.unwrap()
}

/// Awaits the end of a process that is nobody's child here.
async fn gone(pid: &str) {
    if let Some(process) = Handle::open(pid.trim().parse().unwrap()) {
        bounded(process.ended()).await;
    }
}

#[tokio::test]
async fn plg_59_all_lines_come_in_the_order_of_their_source() {
    let script = "import sys\nfor i in range(10_000):\n    print(i, file=(sys.stdout, sys.stderr)[i % 3 == 0])";
    let (process, lines) = start(&["python3", "-c", script]);
    assert_eq!(bounded(process.ended()).await, Ended { code: Some(0), signal: None });
    let of = |source| lines.of(source).iter().map(|line| line.parse().unwrap()).collect::<Vec<u32>>();
    let (out, err) = (of(Source::Stdout), of(Source::Stderr));
    assert_eq!(out.len() + err.len(), 10_000);
    assert!(out.is_sorted() && err.is_sorted() && err.iter().all(|i| i % 3 == 0));
}

#[tokio::test]
async fn a_process_has_an_empty_input_and_the_variables_it_is_given() {
    let (process, lines) = start(&["sh", "-c", "cat; echo \"$GREETING $HOME\"; exit 7", "x y"]);
    assert_eq!(bounded(process.ended()).await.to_string(), "ended with code 7");
    assert_eq!(lines.of(Source::Stdout), ["hello "]);
    assert!(process.pid() > 1);
}

#[tokio::test]
async fn plg_58_what_ignores_the_word_to_end_is_killed_with_all_it_started() {
    let (process, lines) = start(&["sh", "-c", STUBBORN]);
    bounded(lines.until(|lines| !lines.is_empty())).await;
    let ended = bounded(process.stop(Duration::from_millis(200))).await;
    assert_eq!((ended.signal, ended.to_string().as_str()), (Some(9), "was ended by signal 9"));
    gone(&lines.of(Source::Stdout)[0]).await;
    let (process, _) = start(&["sleep", "1000"]);
    assert_eq!(bounded(process.stop(LONG)).await.signal, Some(15));
}

#[tokio::test]
async fn what_a_process_leaves_behind_ends_with_it() {
    let (process, lines) = start(&["sh", "-c", "sleep 1000 & echo $!"]);
    assert_eq!(bounded(process.ended()).await.code, Some(0));
    gone(&lines.of(Source::Stdout)[0]).await;
    let (process, lines) = start(&["sh", "-c", STUBBORN]);
    bounded(lines.until(|lines| !lines.is_empty())).await;
    drop(process);
    gone(&lines.of(Source::Stdout)[0]).await;
}

#[tokio::test]
async fn what_cannot_be_run_is_named() {
    let spawn = |spec: &Spec| Process::spawn(spec, Arc::<Lines>::default()).unwrap_err();
    for (program, says) in [("no-such-program", "not on PATH"), ("/etc/passwd", "no program"), ("./x", "no program")] {
        let error = spawn(&spec(&[program]));
        assert!(error.code == Code::FailedPrecondition && error.message.contains(says), "{error}");
    }
    let error = spawn(&Spec { directory: "/no/such/folder".into(), ..spec(&["true"]) });
    assert!(error.message.contains("/no/such/folder"), "{error}");
    assert_eq!(spawn(&spec(&[])).code, Code::InvalidArgument);
}

/// A host of its own process, which the next test kills.
#[tokio::test]
async fn a_host_that_waits_to_be_killed() {
    if std::env::var_os(KILLED).is_none() {
        return;
    }
    let (process, lines) = start(&["sh", "-c", STUBBORN]);
    lines.until(|lines| !lines.is_empty()).await;
    println!("\nprocesses {} {}", process.pid(), lines.of(Source::Stdout)[0]);
    std::future::pending::<()>().await;
}

#[tokio::test]
async fn plg_58_nobody_is_left_when_the_host_is_killed() {
    let own = std::env::current_exe().unwrap();
    let mut host = Blocking::new(own);
    host.args(["hosting::process::tests::a_host_that_waits_to_be_killed", "--exact", "--nocapture"]);
    let mut host = host.env(KILLED, "1").stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(host.stdout.take().unwrap()).lines().map_while(Result::ok);
    let said = lines.find_map(|line| line.strip_prefix("processes ").map(str::to_owned)).unwrap();
    host.kill().unwrap();
    host.wait().unwrap();
    for pid in said.split_ascii_whitespace() {
        gone(pid).await;
    }
}
