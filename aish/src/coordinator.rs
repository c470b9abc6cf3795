//! The coordinators of the mesh, as a command asks them: any of them, or the one of a node.

use std::time::Duration;

use aigis_proxy::{
    Bus, Code, Error, Name, NodeName,
    chain::ChainId,
    rpc::{self, Asker},
    services::chains::{
        AppChange, CHAINS, ChainsClient, ChainsRequest, ChainsResponse, Control, LogPiece, NewAssistant, Push, Wish,
    },
};
use tarpc::client::RpcError;

/// How long a request may take: the servers of a bus may have to choose who leads first.
const WITHIN: Duration = Duration::from_secs(30);
/// How long a question for more of a log may take; the coordinator answers sooner, with nothing.
const LONG: Duration = Duration::from_secs(40);

/// Whoever answers for chains.
#[derive(Clone)]
pub(crate) struct Coordinator {
    client: ChainsClient<Asker<ChainsRequest, ChainsResponse>>,
}

impl Coordinator {
    /// Any of them.
    pub(crate) fn any(bus: &Bus) -> Self {
        Self { client: ChainsClient::from(Asker::new(bus, rpc::SHARED, CHAINS)) }
    }

    /// The one of that node.
    pub(crate) fn of(bus: &Bus, node: &NodeName) -> Self {
        Self { client: ChainsClient::from(Asker::new(bus, node.as_str(), CHAINS)) }
    }

    /// Asks whether a push would be taken.
    ///
    /// # Errors
    ///
    /// What it says, or that none is there.
    pub(crate) async fn announce(&self, wish: Wish) -> Result<(), Error> {
        answered(self.client.announce(rpc::within(WITHIN), wish).await)
    }

    /// Begins a chain.
    ///
    /// # Errors
    ///
    /// As [`Coordinator::announce`].
    pub(crate) async fn push(&self, push: Push) -> Result<ChainId, Error> {
        answered(self.client.push(rpc::within(WITHIN), push).await)
    }

    /// Does something with a chain; answers with its status then.
    ///
    /// # Errors
    ///
    /// As [`Coordinator::announce`].
    pub(crate) async fn control(&self, chain: &ChainId, control: Control) -> Result<String, Error> {
        answered(self.client.control(rpc::within(WITHIN), chain.clone(), control).await)
    }

    /// Waits for more of the log of a step.
    ///
    /// # Errors
    ///
    /// As [`Coordinator::announce`].
    pub(crate) async fn log(&self, chain: &ChainId, step: u32, from: u64) -> Result<LogPiece, Error> {
        answered(self.client.log(rpc::within(LONG), chain.clone(), step, from).await)
    }

    /// Makes an assistant known.
    ///
    /// # Errors
    ///
    /// As [`Coordinator::announce`].
    pub(crate) async fn keep_assistant(&self, assistant: NewAssistant) -> Result<(), Error> {
        answered(self.client.keep_assistant(rpc::within(WITHIN), assistant).await)
    }

    /// Removes an assistant.
    ///
    /// # Errors
    ///
    /// As [`Coordinator::announce`].
    pub(crate) async fn remove_assistant(&self, name: String) -> Result<(), Error> {
        answered(self.client.remove_assistant(rpc::within(WITHIN), name).await)
    }

    /// Does something with an app.
    ///
    /// # Errors
    ///
    /// As [`Coordinator::announce`].
    pub(crate) async fn change_app(&self, app: Name, change: AppChange) -> Result<(), Error> {
        answered(self.client.change_app(rpc::within(WITHIN), app, change).await)
    }
}

/// Whether a request surely reached nobody.
pub(crate) fn is_unsent(error: &Error) -> bool {
    error.code == Code::Unavailable && error.detail("sent") == Some(&false.into())
}

fn answered<T>(answer: Result<Result<T, Error>, RpcError>) -> Result<T, Error> {
    rpc::answered(answer).map_err(|error| match is_unsent(&error) {
        true => Error::unavailable("no coordinator of chains is on the bus")
            .hint("start a node: aish up --detach; see: aish nodes")
            .sent(false),
        false => error,
    })
}
