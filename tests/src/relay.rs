//! A link between two servers that can be cut.

use std::net::{Ipv4Addr, SocketAddr};

use aigis_proxy::task;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    runtime::Runtime,
    sync::watch,
};

/// How much is carried at once.
const PORTION: usize = 64 * 1024;

/// How the link is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    /// Connections end, and nobody gets a new one.
    Cut,
    /// What is sent goes nowhere, and nobody is told.
    Silent,
}

/// A link on this host that ends with this.
#[derive(Debug)]
pub struct Relay {
    address: SocketAddr,
    state: watch::Sender<State>,
    _runtime: Runtime,
}

impl Relay {
    /// Listens on a free port, and carries what comes to `port` of this host.
    ///
    /// # Panics
    ///
    /// Panics when the operating system gives neither port nor thread.
    #[must_use]
    pub fn to(port: u16) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.unwrap_or_else(|error| panic!("{error}"));
        let listener = runtime.block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)));
        let listener = listener.unwrap_or_else(|error| panic!("{error}"));
        let address = listener.local_addr().unwrap_or_else(|error| panic!("{error}"));
        let (state, changes) = watch::channel(State::Open);
        runtime.block_on(async {
            drop(task::spawn("relay", async move {
                while let Ok((stream, _)) = listener.accept().await {
                    drop(task::spawn("relayed", carry(stream, port, changes.clone())));
                }
            }));
        });
        Self { address, state, _runtime: runtime }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends its connections, and every new one at once.
    pub fn cut(&self) {
        self.state.send_replace(State::Cut);
    }

    /// Carries nothing more, and says so to nobody.
    pub fn silence(&self) {
        self.state.send_replace(State::Silent);
    }

    /// Carries again.
    pub fn heal(&self) {
        self.state.send_replace(State::Open);
    }
}

async fn carry(near: TcpStream, port: u16, mut state: watch::Receiver<State>) {
    if *state.borrow() == State::Cut {
        return;
    }
    let Ok(far) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await else { return };
    let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
    let (there, back) = (pour(near_in, far_out, state.clone()), pour(far_in, near_out, state.clone()));
    // One direction that ends is the end of both.
    tokio::select! {
        () = there => {}
        () = back => {}
        _ = state.wait_for(|state| *state == State::Cut) => {}
    }
}

async fn pour(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut state: watch::Receiver<State>) {
    let mut portion = vec![0; PORTION];
    loop {
        let Ok(length @ 1..) = from.read(&mut portion).await else { return };
        let carries = state.wait_for(|state| *state != State::Silent).await.is_ok();
        if !carries || to.write_all(&portion[..length]).await.is_err() {
            return;
        }
    }
}
