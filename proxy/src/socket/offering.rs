//! The peer's end of offers: a process that serves a CI through the node of its host, and goes on doing so when the
//! node was away.

use std::{
    fmt,
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::Instant,
};

use super::{
    Limits,
    calls::{Calls, Ongoing, Replies},
    client,
    frame::Kind,
    link::Link,
    offer::{Given, Offer, ProcessGroup},
    reader::End,
};
use crate::{
    UserName,
    error::{Code, Error},
    identity::Credential,
    skill::Ci,
    task,
};

mod served;

use served::Served;

/// How long connecting may take, and the node's answer to an offer.
const PATIENCE: Duration = Duration::from_secs(20);
/// How soon the node is sought again, at first and at most.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(3));
/// How long calls that still run may take after the offer was withdrawn.
const LAST_ANSWERS: Duration = Duration::from_secs(1);
/// How often it is looked whether the credential was renewed, at most and at least.
const LOOK: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// How many frames may wait that answer one offer: that it is taken, its secrets, and why it stands no more.
const ANSWERS: usize = 64;

/// Where the node of this host is, and as whom to come.
pub struct Host {
    /// Its socket.
    pub path: PathBuf,
    /// The user that serves there.
    pub server: UserName,
    /// Reads the credential, anew for each connection: it may have been renewed.
    pub credential: Box<dyn Fn() -> Result<Credential, Error> + Send + Sync>,
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Host").field("path", &self.path).field("server", &self.server).finish_non_exhaustive()
    }
}

/// How an offer stands.
#[derive(Debug, Clone, PartialEq)]
enum Standing {
    /// The node has not answered yet.
    Made,
    /// The node serves it.
    Taken,
    /// The node is away, and is sought.
    Sought,
    /// It is over.
    Over(Error),
}

enum Order {
    Amend(Option<ProcessGroup>),
    Withdraw(oneshot::Sender<()>),
}

/// A CI that this process serves through the node of its host, for as long as this is held. Where the node is away, it
/// is sought, and the offer made again.
#[derive(Debug)]
pub struct Offering {
    orders: mpsc::Sender<Order>,
    standing: watch::Receiver<Standing>,
    given: watch::Receiver<Option<Arc<Given>>>,
    _keeper: task::Owned,
}

impl Offering {
    /// Offers a CI, and returns once the node serves it and has given its secrets.
    ///
    /// # Errors
    ///
    /// `unavailable` where there is no node, and the node's refusal: `permission_denied`, `already_exists` with
    /// `data.holder`, and others.
    pub async fn begin(host: Host, offer: Offer, ci: Arc<dyn Ci>) -> Result<Self, Error> {
        let (orders, taken) = mpsc::channel(4);
        let (publish, mut standing) = watch::channel(Standing::Made);
        let (give, given) = watch::channel(None);
        let wants = !offer.secrets.is_empty();
        let keeper = Keeper { host, offer, ci, orders: taken, publish, give };
        let keeper = task::Owned::spawn("offering", keeper.run());
        let answered = standing.wait_for(|standing| !matches!(standing, Standing::Made)).await;
        match answered.map(|standing| standing.clone()) {
            Ok(Standing::Over(error)) => return Err(error),
            Ok(_) => {}
            Err(_) => return Err(Error::internal("the offer ended before it was answered")),
        }
        if wants {
            let mut first = given.clone();
            let came = tokio::time::timeout(PATIENCE, first.wait_for(Option::is_some)).await;
            if !came.is_ok_and(|given| given.is_ok()) {
                return Err(Error::unavailable("the node did not give the secrets in time"));
            }
        }
        Ok(Self { orders, standing, given, _keeper: keeper })
    }

    /// The secrets that were asked for, as they stand; nothing where none were.
    #[must_use]
    pub fn given(&self) -> watch::Receiver<Option<Arc<Given>>> {
        self.given.clone()
    }

    /// Tells the node which process group stands behind the CI now.
    ///
    /// # Errors
    ///
    /// `unavailable` when the offer is over.
    pub async fn stands_on(&self, process: Option<ProcessGroup>) -> Result<(), Error> {
        let sent = self.orders.send(Order::Amend(process)).await;
        sent.map_err(|_| Error::unavailable("the offer is over"))
    }

    /// Lets go of the name; returns once the node has, or is not there.
    pub async fn withdraw(&self) {
        let (done, withdrawn) = oneshot::channel();
        if self.orders.send(Order::Withdraw(done)).await.is_ok() {
            let _ = withdrawn.await;
        }
    }

    /// What tells when the node refuses the offer for good.
    #[must_use]
    pub fn watch(&self) -> Watch {
        Watch(self.standing.clone())
    }
}

/// Tells when an offer is over.
#[derive(Debug)]
pub struct Watch(watch::Receiver<Standing>);

impl Watch {
    /// Resolves when the node refuses the offer for good, with why.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn over(mut self) -> Error {
        let over = self.0.wait_for(|standing| matches!(standing, Standing::Over(_))).await;
        match over.map(|standing| standing.clone()) {
            Ok(Standing::Over(error)) => error,
            _ => Error::internal("the offer ended by itself"),
        }
    }
}

/// Why a connection is not gone on with.
enum Left {
    /// It broke, or the node could not take the offer now.
    Broken(Error),
    /// The node refuses.
    Refused(Error),
    /// The offer was withdrawn, or nobody holds it any more.
    Withdrawn(Option<oneshot::Sender<()>>),
}

impl From<Error> for Left {
    fn from(error: Error) -> Self {
        match error.code {
            Code::Unavailable | Code::DeadlineExceeded | Code::ResourceExhausted => Self::Broken(error),
            _ => Self::Refused(error),
        }
    }
}

struct Keeper {
    host: Host,
    offer: Offer,
    ci: Arc<dyn Ci>,
    orders: mpsc::Receiver<Order>,
    publish: watch::Sender<Standing>,
    give: watch::Sender<Option<Arc<Given>>>,
}

impl Keeper {
    async fn run(mut self) {
        let mut wait = BACK_OFF.0;
        loop {
            let left = match self.connection().await {
                Ok(never) => match never {},
                Err(left) => left,
            };
            match left {
                Left::Withdrawn(done) => {
                    if let Some(done) = done {
                        let _ = done.send(());
                    }
                    return;
                }
                Left::Refused(error) => return self.end(error),
                // The first time, nobody waits for a node that is not there.
                Left::Broken(error) if *self.publish.borrow() == Standing::Made => return self.end(error),
                Left::Broken(error) => {
                    if self.publish.send_replace(Standing::Sought) == Standing::Taken {
                        wait = BACK_OFF.0;
                    }
                    tracing::debug!(ci = %self.offer.name, %error, "the node is sought");
                }
            }
            if let Some(done) = self.heard_while(tokio::time::sleep(wait)).await {
                if let Some(done) = done {
                    let _ = done.send(());
                }
                return;
            }
            wait = (wait * 2).min(BACK_OFF.1);
        }
    }

    fn end(&self, error: Error) {
        self.publish.send_replace(Standing::Over(error));
    }

    /// Waits, and notes what is said meanwhile; gives who waits for it if the offer is withdrawn.
    async fn heard_while(&mut self, wait: impl Future<Output = ()>) -> Option<Option<oneshot::Sender<()>>> {
        tokio::pin!(wait);
        loop {
            tokio::select! {
                () = &mut wait => return None,
                order = self.orders.recv() => match order {
                    None => return Some(None),
                    Some(Order::Withdraw(done)) => return Some(Some(done)),
                    Some(Order::Amend(process)) => self.offer.process = process,
                },
            }
        }
    }

    /// One connection, from the introduction to its end.
    async fn connection(&mut self) -> Result<std::convert::Infallible, Left> {
        let mut credential = (self.host.credential)()?;
        let opening = client::open(&self.host.path, &self.host.server, &credential);
        let late = |_| Error::unavailable("the node's socket does not answer");
        let (mut reader, write) = tokio::time::timeout(PATIENCE, opening).await.map_err(late)??;
        let link = Link::new(write);
        let calls = Calls::new(link.clone());
        let served = Served::new(self.ci.clone(), link.clone());
        let talk = async {
            let driven = link.run(&mut reader, Limits::default().patience, |frame| match frame.kind {
                Kind::Value | Kind::Error => {
                    calls.take(frame);
                    Ok(())
                }
                _ => served.take(frame),
            });
            let end = driven.await;
            calls.end(&end);
            end
        };
        tokio::pin!(talk);
        let mut standing = None;
        let mut look = Instant::now() + until_look(&credential);
        loop {
            let broken =
                |end: End| Left::Broken(Error::unavailable(format!("the node let go of the connection: {end}")));
            tokio::select! {
                end = &mut talk => return Err(broken(end)),
                offered = offer(&calls, &self.offer), if standing.is_none() => {
                    let (ongoing, replies, first) = offered?;
                    standing = Some((ongoing, replies));
                    if let Some(given) = given(&first) {
                        self.give.send_replace(Some(Arc::new(given)));
                    }
                    self.publish.send_replace(Standing::Taken);
                }
                () = tokio::time::sleep_until(look) => {
                    // What runs over this connection is to outlive the token that it was made with.
                    if let Ok(now) = (self.host.credential)()
                        && now.jwt() != credential.jwt()
                    {
                        let _ = link.push(Kind::Renew, 0, &[now.jwt().as_bytes()]);
                        credential = now;
                    }
                    look = Instant::now() + until_look(&credential);
                }
                word = heard(&mut standing), if standing.is_some() => match word {
                    Word::Refused(error) => return Err(error.into()),
                    Word::Given(given) => {
                        self.give.send_replace(Some(Arc::new(given)));
                    }
                },
                order = self.orders.recv(), if standing.is_some() => match order {
                    None => return Err(Left::Withdrawn(None)),
                    Some(Order::Amend(process)) => {
                        self.offer.process = process;
                        standing = None;
                    }
                    Some(Order::Withdraw(done)) => {
                        let parting = async {
                            let _ = ask(&calls, Kind::Withdraw, self.offer.name.as_str().as_bytes()).await;
                            // Whoever was answered by the end of what is offered has to hear of it.
                            let _ = tokio::time::timeout(LAST_ANSWERS, served.idle()).await;
                            link.flushed().await;
                        };
                        tokio::select! {
                            _ = &mut talk => {}
                            _ = tokio::time::timeout(PATIENCE, parting) => {}
                        }
                        return Err(Left::Withdrawn(Some(done)));
                    }
                },
            }
        }
    }
}

/// How long until it is looked whether a credential was renewed.
fn until_look(credential: &Credential) -> Duration {
    let left = credential.expires().and_then(|end| end.duration_since(SystemTime::now()).ok());
    left.map_or(LOOK.1, |left| (left / 4).clamp(LOOK.0, LOOK.1))
}

/// Makes the offer, and gives what tells more of it, and what was told first.
async fn offer(calls: &Arc<Calls>, offer: &Offer) -> Result<(Ongoing, Replies, Bytes), Error> {
    ask(calls, Kind::Offer, &serde_json::to_vec(offer).unwrap_or_default()).await
}

/// Sends what the node answers once, at first.
async fn ask(calls: &Arc<Calls>, kind: Kind, body: &[u8]) -> Result<(Ongoing, Replies, Bytes), Error> {
    let closed = || Error::unavailable("the connection to the node is closed");
    let (ongoing, mut replies) = calls.send(kind, &[body], ANSWERS).ok_or_else(closed)?;
    let late = |_| Error::new(Code::DeadlineExceeded, "the node did not answer the offer in time");
    match tokio::time::timeout(PATIENCE, replies.next()).await.map_err(late)? {
        Some(Ok((Kind::Value, body))) => Ok((ongoing, replies, body)),
        Some(Ok((_, body))) => Err(read(&body)),
        Some(Err(error)) => Err(error),
        None => Err(closed()),
    }
}

/// What the node says of an offer that stands.
enum Word {
    /// It stands no more.
    Refused(Error),
    /// Its secrets.
    Given(Given),
}

/// Resolves when the node says something of an offer that stands.
async fn heard(standing: &mut Option<(Ongoing, Replies)>) -> Word {
    if let Some((_, replies)) = standing {
        while let Some(Ok((kind, body))) = replies.next().await {
            match (kind, given(&body)) {
                (Kind::Error, _) => return Word::Refused(read(&body)),
                (Kind::Value, Some(given)) => return Word::Given(given),
                _ => {}
            }
        }
    }
    // The connection's own end says it.
    std::future::pending().await
}

fn given(body: &Bytes) -> Option<Given> {
    serde_json::from_slice(body).ok()
}

fn read(body: &[u8]) -> Error {
    serde_json::from_slice(body).unwrap_or_else(|_| Error::internal("the node's answer to the offer is unreadable"))
}
