//! The way of a program on the bridge into the mesh, and the streams that the bridge stands on.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
};

use aigis_proxy::{NodeName, bridge::Welcome};
use aigis_registry::Asking;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::unix::pipe,
};

use crate::{context::Context, exit::Failure};

/// Connects to the mesh, and says as whom.
///
/// # Errors
///
/// What keeps from it.
pub(crate) async fn join(context: &Context) -> Result<(Asking, Welcome), Failure> {
    let asking = context.session().await?;
    let user = asking.bus().caller().name.clone();
    let node: Option<NodeName> = context.mesh_file()?.and_then(|mesh| mesh.node);
    let welcome = Welcome::client(context.global.mesh.clone(), node, user);
    Ok((asking, welcome))
}

/// What bytes come from, and go to.
type Streams = (Box<dyn AsyncRead + Send + Unpin>, Box<dyn AsyncWrite + Send + Unpin>);

/// Our standard input and output: where they are pipes, without a thread in between.
///
/// # Errors
///
/// What the operating system says.
pub(crate) fn standard() -> io::Result<Streams> {
    let own = |fd: &dyn AsFd| -> io::Result<OwnedFd> { fd.as_fd().try_clone_to_owned() };
    let input: Box<dyn AsyncRead + Send + Unpin> = match pipe::Receiver::from_owned_fd(own(&io::stdin())?) {
        Ok(pipe) => Box::new(pipe),
        Err(_) => Box::new(tokio::io::stdin()),
    };
    let output: Box<dyn AsyncWrite + Send + Unpin> = match pipe::Sender::from_owned_fd(own(&io::stdout())?) {
        Ok(pipe) => Box::new(pipe),
        Err(_) => Box::new(tokio::io::stdout()),
    };
    Ok((input, output))
}
