//! What is asked of a place, and who may ask it: coordinators, which are nodes.

use std::sync::Arc;

use aigis_proxy::{
    Code, Error, Role,
    chain::{Attempt, ChainId},
    dispatch::Journal,
    rpc,
    services::steps::{Bid, Known, News, Order, STEPS, Steps, Wanted},
    subject::Caller,
    task,
};
use futures::FutureExt as _;
use tarpc::{context::Context, server::Serve as _};

use super::place::Place;

/// A request, and whose it is.
#[derive(Clone)]
struct Desk {
    place: Arc<Place>,
    caller: Caller,
}

/// Serves a place until the returned values are dropped; what ran here before a restart is taken up again.
///
/// # Errors
///
/// As [`aigis_proxy::Bus::subscribe`].
pub(crate) async fn serve(place: &Arc<Place>, refusals: Arc<dyn Journal>) -> Result<[task::Owned; 2], Error> {
    place.take_up();
    let (target, desk) = (place.parts.node.to_string(), place.clone());
    let serving = rpc::serve(&place.parts.bus, &target, STEPS, refusals, move |caller, context, request| {
        let desk = Desk { place: desk.clone(), caller };
        async move { desk.serve().serve(context, request).await }.boxed()
    });
    let serving = serving.await?;
    let swept = place.clone();
    Ok([serving, task::Owned::spawn("sweep of steps", async move { swept.keep_swept().await })])
}

impl Desk {
    fn permit(&self) -> Result<(), Error> {
        if self.caller.role == Role::Node {
            return Ok(());
        }
        let message = format!("{} is no coordinator", self.caller.name);
        Err(Error::new(Code::PermissionDenied, message).hint("push an app: aish push").sent(false))
    }
}

impl Steps for Desk {
    async fn bid(self, _: Context, wanted: Wanted) -> Result<Bid, Error> {
        self.permit()?;
        self.place.bid(wanted).await
    }

    async fn decline(self, _: Context, chain: ChainId) -> Result<(), Error> {
        self.permit()?;
        self.place.rooms.decline(&chain);
        Ok(())
    }

    async fn run(self, _: Context, order: Order) -> Result<(), Error> {
        self.permit()?;
        self.place.run(order).await
    }

    async fn follow(self, _: Context, attempt: Attempt, known: Known) -> Result<News, Error> {
        self.permit()?;
        self.place.known(&attempt)?.news(known).await
    }

    async fn answer(self, _: Context, attempt: Attempt, id: String, value: String) -> Result<(), Error> {
        self.permit()?;
        let live = self.place.known(&attempt)?;
        live.answers.answer(&live, &id, &value)
    }

    async fn end(self, _: Context, attempt: Attempt, epoch: u64) -> Result<(), Error> {
        self.permit()?;
        self.place.end(&attempt, epoch)
    }

    async fn forget(self, _: Context, chain: ChainId, step: u32, epoch: u64) -> Result<(), Error> {
        self.permit()?;
        self.place.forget(&chain, step, Some(epoch)).await
    }
}
