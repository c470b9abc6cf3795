//! From the command's options to the running node, and what its failures mean.

use aigis_node::{
    Node, Options,
    home::{self, Home},
    node,
};
use aigis_proxy::{Code, Error};

use crate::{context::chain, exit::Failure};

/// Starts the node, and says in its file that it answers.
///
/// # Errors
///
/// What keeps it from coming up.
pub(super) async fn start(options: Options) -> Result<Node, Failure> {
    let home = options.home.clone();
    let node = Node::start(options).await.map_err(failure)?;
    match ready(&home) {
        Ok(()) => Ok(node),
        Err(error) => {
            node.stop(node::GRACE).await;
            Err(error.into())
        }
    }
}

fn ready(home: &Home) -> Result<(), Error> {
    let own = format!("{}\n", std::process::id());
    home::replace(&home.ready_file(), own.as_bytes()).map_err(|error| Error::precondition(chain(&error)))
}

fn failure(error: node::Error) -> Failure {
    let message = chain(&error);
    let error = match error {
        node::Error::Running { .. } => Error::new(Code::AlreadyExists, message).hint("stop it: aish down"),
        node::Error::Start { what, source } => {
            let message = format!("the node cannot {what}: {}", source.message);
            Error { message, ..source }
        }
        node::Error::Connect(error) => error.into(),
        _ => Error::precondition(message),
    };
    Failure::Call(error)
}
