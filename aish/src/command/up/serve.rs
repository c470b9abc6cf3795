//! From the command's options to the running node, and what its failures mean.

use std::time::Duration;

use aigis_node::{Node, Options, mesh, node};
use aigis_proxy::{Code, Error, bus::ConnectError, kv::SetupError, with_causes};

use tokio::time::{Instant, sleep};

use super::{coordinator, deployments, packages, projects};
use crate::{
    exit::Failure,
    signals::{Hangup, Hangups, Signals},
};

/// How long a new start may take.
const PATIENCE: Duration = Duration::from_secs(300);
/// How long is waited between two attempts.
const AGAIN: Duration = Duration::from_secs(2);

/// Starts the node.
///
/// # Errors
///
/// What keeps it from coming up.
pub(super) async fn start(options: Options) -> Result<Node, Failure> {
    let is_member = options.home.read_mesh().is_ok_and(|mesh| mesh.is_some_and(|mesh| mesh.is_member()));
    match Node::start(options).await {
        Err(node::Error::Connect(error @ ConnectError::Unreachable { .. })) if is_member => {
            let hint = "this host joined: does the bus run where it is, and can this host reach it?";
            Err(Error::from(error).hint(hint).into())
        }
        started => started.map_err(failure),
    }
}

/// Serves until a signal comes; by SIGHUP the Aigis config file is read again. A node that must start anew does so here: whoever keeps this process sees nothing of it.
///
/// # Errors
///
/// What keeps it from coming up again, within five minutes.
pub(super) async fn until_told(
    mut node: Node,
    options: Options,
    grace: Duration,
    python_image: Option<&str>,
    (signals, hangups): (&mut Signals, &mut Hangups),
) -> Result<(), Failure> {
    projects::serve(&node);
    let mut chains = coordinator::start(&node, python_image).await;
    let mut registering = packages::start(&node).await;
    let mut carrying = deployments::start(&node).await;
    loop {
        let must_end = tokio::select! {
            () = signals.any() => true,
            hangup = hangups.next() => match hangup {
                Hangup::Over => true,
                Hangup::Again => {
                    node.read_config_again();
                    continue;
                }
            },
            () = node.must_restart() => false,
        };
        drop(registering.take());
        drop(carrying.take());
        if let Some(chains) = chains.take() {
            chains.stop().await;
        }
        if must_end {
            tracing::info!("the node ends");
            node.stop(grace).await;
            return Ok(());
        }
        node.stop(grace).await;
        node = tokio::select! {
            node = again(&options) => node?,
            () = signals.any() => return Ok(()),
        };
        projects::serve(&node);
        chains = coordinator::start(&node, python_image).await;
        registering = packages::start(&node).await;
        carrying = deployments::start(&node).await;
    }
}

/// Starts the node anew, as often as it takes: the others of its bus start anew as well.
async fn again(options: &Options) -> Result<Node, Failure> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match start(options.clone()).await {
            Err(failure) if Instant::now() < deadline => {
                tracing::warn!(?failure, "the node did not start anew; trying again");
                sleep(AGAIN).await;
            }
            started => return started,
        }
    }
}

/// What it means that a node, or a plugin host, does not start.
pub(in crate::command) fn failure(error: node::Error) -> Failure {
    let message = with_causes(&error);
    let error = match error {
        node::Error::Running { .. } => Error::new(Code::AlreadyExists, message).hint("stop it: aish down"),
        node::Error::Start { what, source } => {
            let message = format!("the node cannot {what}: {}", source.message);
            Error { message, ..source }
        }
        node::Error::Connect(error) => error.into(),
        node::Error::Mesh(mesh::Error::Store(SetupError::Untrusted(untrusted))) => untrusted.into(),
        node::Error::Mesh(mesh::Error::OtherStore(other)) => other.into(),
        node::Error::Mesh(mesh::Error::Store(SetupError::TooOld { .. })) => {
            Error::precondition(message).hint("update the server of that bus")
        }
        node::Error::Mesh(mesh::Error::Stranger { ref include, .. }) => {
            let (file, include) = (include.display(), include.file_name().unwrap_or_default().to_string_lossy());
            Error::new(Code::PermissionDenied, message).sent(false).hint(format!(
                "give that server {file}: copy it beside its configuration, and add these two lines there: \
                 include \"{include}\" and jetstream {{ sync_interval: always }}"
            ))
        }
        node::Error::Mesh(mesh::Error::Store(SetupError::Clock { .. })) => {
            Error::new(Code::PermissionDenied, message).sent(false).hint("set the clock that is wrong, then: aish up")
        }
        node::Error::Mesh(mesh::Error::Store(SetupError::Connect { url, source })) => {
            // Its text holds its cause.
            let message = format!("cannot log in to the store of the bus at {url}: {source}");
            Error::unavailable(message)
                .hint("does it run there? without --bus, aish up starts one of its own")
                .sent(false)
        }
        _ => Error::precondition(message),
    };
    Failure::Call(error)
}
