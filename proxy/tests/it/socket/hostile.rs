//! BAD-24: what a hostile peer sends to the node's socket costs it its connection, and nobody else anything.

use std::time::Duration;

use aigis_proxy::{Role, socket::Limits};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
};

use super::{Host, introduction::Wire};
use crate::calls::{request, target, until};

const PATIENCE: Duration = Duration::from_secs(60);

fn short() -> Limits {
    Limits { patience: Duration::from_millis(300), introduction: Duration::from_secs(2), ..Limits::default() }
}

/// Whether the node closes the connection, whatever it says before.
async fn closes(stream: &mut UnixStream) -> bool {
    let mut rest = Vec::new();
    tokio::time::timeout(PATIENCE, stream.read_to_end(&mut rest)).await.is_ok()
}

#[tokio::test]
async fn bad_24_frames_that_are_none_close_the_connection() {
    let host = Host::up(Limits::default()).await;
    let (_bus, olga) = host.caller("olga", Role::Operator).await;
    let hostile: [&[u8]; 8] = [
        &[0xFF, 0xFF, 0xFF, 0xFF],
        &[0x04, 0, 0, 1],
        &[0, 0, 0, 0],
        &[0, 0, 0, 4, 1, 0, 0, 0],
        &[0, 0, 0, 5, 0, 0, 0, 0, 0],
        &[0, 0, 0, 5, 1, 0, 0, 0, 0],
        &[0, 0, 0, 5, 16, 0, 0, 0, 0],
        &[0, 0, 0, 5, 255, 0, 0, 0, 0],
    ];
    for bytes in hostile {
        let wire = Wire::admitted(&host, "mallory", Role::Viewer).await;
        let mut stream = wire.0.into_inner();
        stream.write_all(bytes).await.unwrap();
        assert!(closes(&mut stream).await, "{bytes:?}");
        assert_eq!(olga.call(&target("echo"), request(&["x"])).await.unwrap(), json!("x"));
    }
    // Before the introduction is over a frame is small.
    let mut stream = UnixStream::connect(host.path()).await.unwrap();
    stream.write_all(&[0, 1, 0, 0]).await.unwrap();
    assert!(closes(&mut stream).await);
}

#[tokio::test]
async fn bad_24_two_calls_of_one_id_close_the_connection_and_end_both() {
    let host = Host::up(Limits::default()).await;
    let mut wire = Wire::admitted(&host, "mallory", Role::Viewer).await;
    for _ in 0..2 {
        wire.send(&b"\x01\0\0\0\x01echo.hang\n{}"[..]).await;
    }
    assert!(wire.next().await.is_none(), "closed");
    until("its call ended", || host.running() == 0).await;
    until("nothing is in flight", || host.server.counters().in_flight.load(std::sync::atomic::Ordering::SeqCst) == 0)
        .await;
}

#[tokio::test]
async fn bad_24_half_a_frame_does_not_wait_for_ever() {
    let host = Host::up(short()).await;
    let (_bus, olga) = host.caller("olga", Role::Operator).await;
    // A connection that says nothing at all is in nobody's way, once it is introduced.
    let mut idle = Wire::admitted(&host, "vera", Role::Viewer).await;
    for half in [&[0][..], &[0, 0, 1, 0], &[0, 0, 1, 0, 1, 0, 0, 0, 1, b'e']] {
        let mut stream = Wire::admitted(&host, "mallory", Role::Viewer).await.0.into_inner();
        stream.write_all(half).await.unwrap();
        assert!(closes(&mut stream).await, "{half:?}");
    }
    let mut silent = UnixStream::connect(host.path()).await.unwrap();
    assert!(closes(&mut silent).await, "no introduction");
    idle.send(&b"\x01\0\0\0\x01echo.echo\n{\"args\":[\"x\"]}"[..]).await;
    assert_eq!(&idle.next().await.unwrap()[..], b"\x10\0\0\0\x01\"x\"");
    assert_eq!(olga.call(&target("echo"), request(&["x"])).await.unwrap(), json!("x"));
}

#[tokio::test]
async fn bad_24_a_peer_that_reads_nothing_is_closed_and_grows_nothing() {
    let host = Host::up(short()).await;
    let mut stream = Wire::admitted(&host, "mallory", Role::Viewer).await.0.into_inner();
    let text = "x".repeat(256 * 1024);
    let body = format!("echo.echo\n{{\"args\":[\"{text}\"]}}");
    let length = u32::try_from(body.len() + 5).unwrap().to_be_bytes();
    let mut sent = 0_u32;
    // The node stops reading long before 512 MiB; then it closes.
    let flood = async {
        while sent < 2_048 {
            sent += 1;
            let frame = [&length[..], &[1], &sent.to_be_bytes(), body.as_bytes()].concat();
            if stream.write_all(&frame).await.is_err() {
                break;
            }
        }
    };
    tokio::time::timeout(PATIENCE, flood).await.unwrap();
    assert!(sent < 256, "{sent} requests of 256 KiB were taken from one who reads no answer");
    until("nothing is in flight", || host.server.counters().in_flight.load(std::sync::atomic::Ordering::SeqCst) == 0)
        .await;
}

#[tokio::test]
async fn bad_24_a_peer_has_so_many_connections_and_no_more() {
    let host = Host::up(Limits { connections: 8, ..Limits::default() }).await;
    let mut wires = Vec::new();
    for _ in 0..8 {
        wires.push(Wire::admitted(&host, "mallory", Role::Viewer).await);
    }
    for _ in 0..200 {
        let mut beyond = UnixStream::connect(host.path()).await.unwrap();
        assert!(closes(&mut beyond).await);
    }
    wires[0].send(&b"\x01\0\0\0\x01echo.echo\n{\"args\":[\"x\"]}"[..]).await;
    assert_eq!(&wires[0].next().await.unwrap()[..], b"\x10\0\0\0\x01\"x\"");
    wires.pop();
    let again = async {
        loop {
            let mut stream = UnixStream::connect(host.path()).await.unwrap();
            let mut byte = [0];
            if stream.read(&mut byte).await.unwrap() == 1 {
                break;
            }
        }
    };
    tokio::time::timeout(PATIENCE, again).await.expect("the place of one that ended is free again");
}
