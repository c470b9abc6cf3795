//! The renewal of a node's lease: a thread that does nothing else, on a connection that carries nothing else.

use std::{
    io, thread,
    time::{Duration, Instant},
};

use aigis_proxy::{
    Bus, NodeName, bus,
    kv::{self, Bucket},
    subject::Token,
};
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::{sleep, timeout},
};

use crate::{
    observer::{LEASE, RENEWAL},
    record::Lease,
    timestamp::Timestamp,
};

/// How long before its time a renewal begins: so it is done by then, also where the key is not as it was left.
const EARLY: Duration = Duration::from_millis(500);
/// How soon a failed renewal is repeated.
const AGAIN: Duration = Duration::from_millis(500);
/// How long one attempt may take: the next one must find time before the lease ends.
const ATTEMPT: Duration = Duration::from_secs(2);
/// After how many failed attempts another of several servers is used: the connection itself notices only after 12 s that its
/// server is silent, and by then the lease is as good as over.
const PATIENT: u32 = 2;

/// How the lease stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Status {
    /// When it was renewed last.
    pub renewed: Option<Instant>,
    /// Why the last attempt failed, if it did.
    pub failure: Option<String>,
}

/// Keeps a lease alive until it says goodbye. Dropped without a goodbye, it falls silent, as if the process had died.
#[derive(Debug)]
pub struct LeaseKeeper {
    goodbye: mpsc::Sender<oneshot::Sender<()>>,
    status: watch::Receiver<Status>,
    begun: watch::Sender<bool>,
}

impl LeaseKeeper {
    /// Starts to renew the lease of that node, over a connection of its own. It goes on trying while the bus is away.
    ///
    /// # Errors
    ///
    /// If the operating system gives no thread.
    pub fn start(options: bus::Options, node: &NodeName) -> io::Result<Self> {
        Self::spawn(options, node, None, true)
    }

    /// Connects as [`LeaseKeeper::start`] does, for no store but the mesh's, and renews nothing before
    /// [`LeaseKeeper::begin`].
    ///
    /// # Errors
    ///
    /// As [`LeaseKeeper::start`].
    pub fn prepare(options: bus::Options, node: &NodeName, store: kv::StoreGuard) -> io::Result<Self> {
        Self::spawn(options, node, Some(store), false)
    }

    /// From now on the lease is renewed.
    pub fn begin(&self) {
        self.begun.send_replace(true);
    }

    fn spawn(options: bus::Options, node: &NodeName, store: Option<kv::StoreGuard>, begun: bool) -> io::Result<Self> {
        let (goodbye, farewells) = mpsc::channel(1);
        let (begun, beginning) = watch::channel(begun);
        let (sender, status) = watch::channel(Status::default());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let keeper = Keeper {
            options,
            store,
            key: format!("live.{node}"),
            lease: Lease {
                boot: Token::random().as_str().to_owned(),
                counter: 0,
                since_at: Timestamp::now(),
                goodbye: false,
            },
            revision: None,
            failed: 0,
            status: sender,
        };
        thread::Builder::new()
            .name("lease".to_owned())
            .spawn(move || runtime.block_on(keeper.run(farewells, beginning)))?;
        Ok(Self { goodbye, status, begun })
    }

    /// How the lease stands, as it changes.
    #[must_use]
    pub fn status(&self) -> watch::Receiver<Status> {
        self.status.clone()
    }

    /// Waits until the lease was renewed for the first time.
    ///
    /// # Errors
    ///
    /// Why it was not, when the time is over.
    pub async fn ready(&self, within: Duration) -> Result<(), aigis_proxy::Error> {
        let mut status = self.status();
        let renewed = timeout(within, status.wait_for(|status| status.renewed.is_some())).await;
        if matches!(renewed, Ok(Ok(_))) {
            return Ok(());
        }
        let failure = self.status.borrow().failure.clone().unwrap_or_else(|| "the bus is silent".to_owned());
        Err(aigis_proxy::Error::unavailable(format!("the lease of this node cannot be renewed: {failure}")))
    }

    /// Says that the node ends now, so that nobody waits for the lease to do so; gives up after `grace`.
    pub async fn goodbye(self, grace: Duration) {
        let (sender, said) = oneshot::channel();
        let farewell = async {
            if self.goodbye.send(sender).await.is_ok() {
                let _ = said.await;
            }
        };
        if timeout(grace, farewell).await.is_err() {
            tracing::warn!("no goodbye could be said; this node will show as unknown, then offline");
        }
    }
}

struct Keeper {
    options: bus::Options,
    store: Option<kv::StoreGuard>,
    key: String,
    lease: Lease,
    /// The newest revision under the key, once it is known.
    revision: Option<u64>,
    /// How many attempts have failed since one was done.
    failed: u32,
    status: watch::Sender<Status>,
}

impl Keeper {
    async fn run(mut self, mut farewells: mpsc::Receiver<oneshot::Sender<()>>, mut begun: watch::Receiver<bool>) {
        let mut bus = None;
        if !*begun.borrow() {
            // A bus that is away is tried again with the first renewal.
            let _ = self.connect(&mut bus).await;
        }
        // Whoever drops the handle before it begins never was there.
        if begun.wait_for(|begun| *begun).await.is_err() {
            return;
        }
        self.lease.since_at = Timestamp::now();
        let farewell = loop {
            let begun = Instant::now();
            let work = self.renew_over(&mut bus);
            let renewed = tokio::select! {
                farewell = farewells.recv() => break farewell,
                renewed = work => renewed,
            };
            let wait = match renewed {
                Ok(()) => {
                    self.status.send_replace(Status { renewed: Some(begun), failure: None });
                    RENEWAL.saturating_sub(EARLY + begun.elapsed())
                }
                Err(failure) => {
                    tracing::debug!(failure, "the lease was not renewed");
                    self.status.send_modify(|status| status.failure = Some(failure));
                    AGAIN
                }
            };
            tokio::select! {
                farewell = farewells.recv() => break farewell,
                () = sleep(wait) => {}
            }
        };
        // Without a farewell the handle was dropped: whoever dies says nothing.
        let Some(said) = farewell else { return };
        self.lease.goodbye = true;
        while !said.is_closed() && self.renew_over(&mut bus).await.is_err() {
            sleep(AGAIN).await;
        }
        let _ = said.send(());
    }

    async fn connect<'a>(&self, bus: &'a mut Option<Bus>) -> Result<&'a Bus, String> {
        match bus {
            Some(bus) => Ok(bus),
            None => {
                let connected = Bus::connect(self.options.clone()).await.map_err(|error| error.to_string())?;
                self.store.iter().for_each(|store| connected.guard_store(store.clone()));
                Ok(bus.insert(connected))
            }
        }
    }

    async fn renew_over(&mut self, bus: &mut Option<Bus>) -> Result<(), String> {
        let used = self.connect(bus).await?;
        let renewed = self.renew(used).await.map_err(|error| error.to_string());
        self.failed = if renewed.is_ok() { 0 } else { self.failed + 1 };
        if self.failed >= PATIENT && used.has_several() {
            self.failed = 0;
            *bus = None;
        }
        renewed
    }

    /// Renews it; where somebody emptied the bucket, or the write before was done after all, again at once.
    async fn renew(&mut self, bus: &Bus) -> Result<(), kv::Error> {
        match self.write(bus).await {
            Err(kv::Error::WrongRevision { .. }) => self.write(bus).await,
            written => written,
        }
    }

    async fn write(&mut self, bus: &Bus) -> Result<(), kv::Error> {
        let revision = match self.revision {
            Some(revision) => revision,
            None => kv::get(bus, Bucket::Leases, &self.key, ATTEMPT).await?.map_or(0, |entry| entry.revision),
        };
        self.lease.counter += 1;
        let body = serde_json::to_vec(&self.lease).unwrap_or_default();
        match kv::put_lease(bus, &self.key, body.into(), revision, LEASE, ATTEMPT).await {
            Ok(revision) => {
                self.revision = Some(revision);
                Ok(())
            }
            Err(error) => {
                // The lease may have ended, leaving a mark, or the write may have been done: look before the next.
                self.revision = None;
                Err(error)
            }
        }
    }
}
