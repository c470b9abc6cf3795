//! The node's end of offers: what one connection has on offer, in the order in which it said so.

use std::{collections::BTreeSet, sync::Arc};

use bytes::Bytes;
use tokio::sync::mpsc;

use super::{
    calls::Calls,
    frame::Kind,
    offer::{MAX_OFFERS, Offer, OfferedCi, Offers, Peer},
};
use crate::{
    Name, UserName,
    error::{Code, Error},
};

/// How many offers and withdrawals of one connection may wait.
const WAITING: usize = 2 * MAX_OFFERS;

/// What a peer says of its offers.
#[derive(Debug)]
pub(super) struct Order {
    pub(super) kind: Kind,
    pub(super) id: u32,
    pub(super) body: Bytes,
}

/// What one connection has on offer.
#[derive(Debug)]
pub(super) struct Desk {
    offers: Option<Arc<dyn Offers>>,
    peer: Peer,
    server: UserName,
    calls: Arc<Calls>,
    names: BTreeSet<Name>,
    orders: mpsc::Receiver<Order>,
}

impl Desk {
    /// A desk with nothing on offer, and the way to it.
    pub(super) fn new(
        offers: Option<Arc<dyn Offers>>,
        peer: Peer,
        server: UserName,
        calls: Arc<Calls>,
    ) -> (Self, mpsc::Sender<Order>) {
        let (sender, orders) = mpsc::channel(WAITING);
        (Self { offers, peer, server, calls, names: BTreeSet::new(), orders }, sender)
    }

    /// Does what the peer says until its connection has ended, and tells the node of that.
    pub(super) async fn run(mut self) {
        while let Some(Order { kind, id, body }) = self.orders.recv().await {
            let outcome = if kind == Kind::Offer { self.offer(id, &body).await } else { self.withdraw(&body).await };
            let (kind, body) = match outcome {
                Ok(()) => (Kind::Value, b"{}".to_vec()),
                Err(error) => (Kind::Error, serde_json::to_vec(&error).unwrap_or_default()),
            };
            // On a connection that ended there is nobody left to be told.
            let _ = self.calls.link().push(kind, id, &[&body]);
        }
        if let Some(offers) = self.offers.filter(|_| !self.names.is_empty()) {
            offers.hung_up(&self.peer).await;
        }
    }

    async fn offer(&mut self, id: u32, body: &[u8]) -> Result<(), Error> {
        let offer = Offer::read(body)?;
        let Some(offers) = &self.offers else {
            return Err(Error::new(Code::Unimplemented, "this node takes no offers"));
        };
        if self.names.len() >= MAX_OFFERS && !self.names.contains(&offer.name) {
            let message = format!("this connection offers {MAX_OFFERS} CIs, which is the limit");
            return Err(Error::new(Code::ResourceExhausted, message).hint("open another connection"));
        }
        let (node, server) = (offers.node().clone(), self.server.clone());
        let ci = Arc::new(OfferedCi::new(&offer, node, server, self.calls.clone(), id));
        let name = offer.name.clone();
        offers.take(&self.peer, offer, ci).await?;
        self.names.insert(name);
        Ok(())
    }

    async fn withdraw(&mut self, body: &[u8]) -> Result<(), Error> {
        let name = Name::parse(&String::from_utf8_lossy(body))?;
        if !self.names.remove(&name) {
            return Err(Error::new(Code::NotFound, format!("{name} is not offered on this connection")));
        }
        if let Some(offers) = &self.offers {
            offers.withdraw(&self.peer, &name).await;
        }
        Ok(())
    }
}
