//! Connections over the bus: bytes both ways between a process of the mesh and a TCP port of an app at its place.
//!
//! A tunnel is opened by a typed call at the place, so that the bus vouches for who opens it. What follows goes between two
//! subjects that only the two sides know, as numbered frames under credit: a slow reader slows the writer, the
//! end of one direction leaves the other open, and a break is a break on both sides. A frame that was lost, or a side that says
//! nothing any more, ends the connection: it is for who dialled to dial again.

mod flow;
mod frame;
mod hub;
mod pipe;
mod place;

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tarpc::context;

use crate::{
    error::{Code, Error},
    name::{Name, NodeName},
    rpc,
    services::chains::InstanceId,
    subject::Token,
};

pub use hub::Hub;
pub use pipe::Tunnel;
pub use place::{Dialled, serve};

/// The service name of [`Tunnels`]; its target is the place.
pub const TUNNELS: &str = "tunnels";

/// How long a place may take to connect to the app, and to say so.
const DIALLING: Duration = Duration::from_secs(10);

/// One side of a tunnel, for the other side to send to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Side {
    hub: String,
    connection: String,
}

impl Side {
    fn new(hub: &Token, connection: &Token) -> Self {
        Self { hub: hub.as_str().to_owned(), connection: connection.as_str().to_owned() }
    }

    fn tokens(&self) -> Result<(Token, Token), Error> {
        let read = |text: &str| Token::parse(text).ok_or_else(|| Error::invalid("the side of the tunnel is none"));
        Ok((read(&self.hub)?, read(&self.connection)?))
    }
}

/// A place, as those ask it who want to speak with an app there. For operators, admins and nodes.
#[tarpc::service(derive = [serde::Serialize, serde::Deserialize])]
pub trait Tunnels {
    /// Connects to a port of an app, and answers with this place's side once the app has taken the connection.
    async fn open(app: Name, port: u16, back: Side) -> Result<Opened, Error>;
}

/// What a place answers of a tunnel that it has opened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Opened {
    side: Side,
    instance: InstanceId,
}

/// Opens a tunnel to a port of an app that runs on that node, and says to which of its instances it leads.
///
/// # Errors
///
/// `not_found` if the app does not run there, `unavailable` if nothing listens on the port, or the node is away.
///
/// # Cancel safety
///
/// Dropped, the place finds within seconds that nobody is there.
pub async fn dial(hub: &Hub, node: &NodeName, app: &Name, port: u16) -> Result<(Tunnel, InstanceId), Error> {
    let asker = rpc::Asker::new(hub.bus(), node.as_str(), TUNNELS);
    let (connection, opening) = hub.expect()?;
    let mut context = context::current();
    context.deadline = std::time::Instant::now() + DIALLING;
    let client = TunnelsClient::from(asker);
    let back = Side::new(hub.token(), &connection);
    let Opened { side, instance } = rpc::answered(client.open(context, app.clone(), port, back).await)?;
    let (there, their_connection) =
        side.tokens().map_err(|error| Error::new(Code::Internal, format!("{node} answered so that {error}")))?;
    let subject = hub.bus().subjects().tunnel(&node.user(), &there, &their_connection);
    Ok((opening.begin(subject), instance))
}
