//! A link between some nodes and the bus that can be cut: what is sent then goes nowhere, and nobody is told.

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use aigis_proxy::task;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
};

/// How much is carried at once.
const PORTION: usize = 64 * 1024;
/// How long the bus may take to accept.
const CONNECT: Duration = Duration::from_secs(5);

/// The link.
pub(crate) struct Relay {
    address: SocketAddr,
    open: watch::Sender<bool>,
    _carried: task::Owned,
}

impl Relay {
    /// Listens on a free port of this host, and carries what comes to `bus`. Within a runtime.
    pub(crate) async fn start(bus: SocketAddr) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap_or_else(|error| panic!("{error}"));
        let address = listener.local_addr().unwrap_or_else(|error| panic!("{error}"));
        let (open, is_open) = watch::channel(true);
        let carried = task::Owned::spawn("relay", async move {
            while let Ok((stream, _)) = listener.accept().await {
                drop(task::spawn("relayed", carry(stream, bus, is_open.clone())));
            }
        });
        Self { address, open, _carried: carried }
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Cuts the link, or heals it.
    pub(crate) fn set(&self, open: bool) {
        self.open.send_replace(open);
    }
}

async fn carry(near: TcpStream, bus: SocketAddr, open: watch::Receiver<bool>) {
    let mut is_open = open.clone();
    if is_open.wait_for(|open| *open).await.is_err() {
        return;
    }
    let Ok(Ok(far)) = tokio::time::timeout(CONNECT, TcpStream::connect(bus)).await else { return };
    for stream in [&near, &far] {
        // Small messages wait for nobody; a link that cannot do that is only slower.
        let _ = stream.set_nodelay(true);
    }
    let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
    // One direction that ends is the end of both.
    tokio::select! {
        () = pour(near_in, far_out, open.clone()) => {}
        () = pour(far_in, near_out, open) => {}
    }
}

async fn pour(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut open: watch::Receiver<bool>) {
    let mut portion = vec![0; PORTION];
    loop {
        let Ok(length @ 1..) = from.read(&mut portion).await else { return };
        if open.wait_for(|open| *open).await.is_err() || to.write_all(&portion[..length]).await.is_err() {
            return;
        }
    }
}
