//! Readers of what goes on: one that leaves ends the command, and one that stands still keeps it from nothing.

use std::time::Duration;

use aigis_tests::{Container, Mesh, nonce, until};
use rustix::{
    io::ioctl_fionread,
    process::{Pid, Signal, kill_process},
};

const BUSYBOX: &str = "aigis-test/busybox";
const WITHIN: Duration = Duration::from_secs(60);

#[test]
fn what_only_reads_ends_with_its_reader_and_what_changes_something_does_not() {
    let mesh = Mesh::up();
    // It prints nothing, so that no write can notice that the reader is gone.
    let silent = Container::run(&format!("silent-{}", nonce()), &[], BUSYBOX, &["sleep", "1000"]);
    let name = &silent.name;
    let _row = mesh.live(name, &silent.id);
    for line in [
        "aish events".to_owned(),
        format!("aish logs {name} --follow"),
        format!("aish logs {name} --follow --json"),
        format!("aish call {name}.monitor interval_s=3600"),
    ] {
        let ran = mesh.shell(&format!("timeout 20 {line} | true"));
        assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{line}");
    }
    let made = mesh.shell(&format!("timeout 60 aish exec {name} -- sh -c 'sleep 3; echo >/tmp/made' | true"));
    assert_eq!((made.code, made.stderr.as_str()), (0, ""));
    assert_eq!(mesh.aish(["exec", name, "--", "ls", "/tmp/made"]).code, 0);
}

#[test]
fn a_reader_that_stands_still_keeps_nobody_from_ctrl_c() {
    let mesh = Mesh::up();
    let many = ["sh", "-c", "seq 1 50000; sleep 1000"];
    let loud = Container::run(&format!("loud-{}", nonce()), &[], BUSYBOX, &many);
    let _row = mesh.live(&loud.name, &loud.id);
    let mut follow = mesh.spawn(["logs", &loud.name, "--follow", "--tail", "50000"]);
    let pipe = follow.stdout.take().unwrap();
    // A pipe has room for 64 KiB, and a write to a full one waits.
    until("the pipe is full", WITHIN, || (ioctl_fionread(&pipe).unwrap() > 60_000).then_some(()));
    kill_process(Pid::from_child(&follow), Signal::INT).unwrap();
    let code = until("it ends", WITHIN, || follow.try_wait().unwrap()).code();
    assert_eq!(code, Some(130));
}
