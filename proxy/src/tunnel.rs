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
mod splice;
mod way;

use std::{net::SocketAddr, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{
    error::{Code, Error},
    name::{Name, NodeName},
    rpc,
    services::chains::InstanceId,
    subject::Token,
};

pub use hub::Hub;
use hub::Opening;
pub use pipe::Tunnel;
pub use place::{At, Found, serve};
pub use way::{Connection, Network};

/// The service name of [`Tunnels`]; its target is the place.
pub const TUNNELS: &str = "tunnels";

/// How long a place may take to connect to the app, and to say so.
const DIALLING: Duration = Duration::from_secs(10);

/// The detail of an error that came up here and not at the place.
const HERE: &str = "here";

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
    /// Connects to a port of an app, and answers with this place's side once the app has taken the connection. Whoever says that
    /// they are in the place's own network is told the app's address instead, and connects to it.
    async fn open(app: Name, port: u16, back: Side, network: Option<Network>) -> Result<Opened, Error>;
    /// Connects to a declared port of a container of a project in the same way, for nodes alone: those where other containers
    /// of the project are.
    async fn reach(to: Container, port: u16, back: Side, network: Option<Network>) -> Result<Reached, Error>;
}

/// A container that a deployment has set up at a place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Container {
    /// Its project.
    pub project: Name,
    /// Its name in the place's engine.
    pub name: Name,
}

/// The way to a container that a place has opened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reached {
    way: Way,
}

/// The way that a place has opened, and to which instance of the app it leads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Opened {
    way: Way,
    instance: InstanceId,
}

/// A way to an app.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Way {
    /// A tunnel, with the place's side of it.
    Side(Side),
    /// In the network that both are in.
    Address(SocketAddr),
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
    match open(hub, node, app, port, None).await? {
        (Connection::Tunnel(tunnel), instance) => Ok((tunnel, instance)),
        (Connection::Direct(_), _) => Err(astray(node)),
    }
}

/// Connects to a port of an app that runs on that node: directly if this process is in the same network of the same host, else by a
/// tunnel. The place is asked either way.
///
/// # Errors
///
/// As [`dial`].
///
/// # Cancel safety
///
/// As [`dial`].
pub async fn connect(hub: &Hub, node: &NodeName, app: &Name, port: u16) -> Result<(Connection, InstanceId), Error> {
    match open(hub, node, app, port, Network::own()).await {
        // Something may keep this process, and not its place, from the app's address.
        Err(error) if error.detail(HERE).is_some() => open(hub, node, app, port, None).await,
        done => done,
    }
}

async fn open(
    hub: &Hub,
    node: &NodeName,
    app: &Name,
    port: u16,
    network: Option<Network>,
) -> Result<(Connection, InstanceId), Error> {
    let (connection, opening) = hub.expect()?;
    let (back, is_near) = (Side::new(hub.token(), &connection), network.is_some());
    let asking = client(hub, node).open(rpc::within(DIALLING), app.clone(), port, back, network).await;
    let Opened { way, instance } = rpc::answered(asking)?;
    Ok((begin(hub, node, &format!("the app {app}"), port, way, is_near, opening).await?, instance))
}

/// Connects to a declared port of a container that a deployment has set up at that node, as [`connect`] does to an app.
///
/// # Errors
///
/// `not_found` if the node has no such container, `permission_denied` if the port is not one of its own, `unavailable` if
/// nothing listens there, or the node is away.
///
/// # Cancel safety
///
/// As [`dial`].
pub async fn reach(hub: &Hub, node: &NodeName, to: &Container, port: u16) -> Result<Connection, Error> {
    let reach = async |network: Option<Network>| {
        let (connection, opening) = hub.expect()?;
        let (back, is_near) = (Side::new(hub.token(), &connection), network.is_some());
        let asking = client(hub, node).reach(rpc::within(DIALLING), to.clone(), port, back, network).await;
        let Reached { way } = rpc::answered(asking)?;
        begin(hub, node, &format!("the container {}", to.name), port, way, is_near, opening).await
    };
    match reach(Network::own()).await {
        Err(error) if error.detail(HERE).is_some() => reach(None).await,
        done => done,
    }
}

fn client(hub: &Hub, node: &NodeName) -> TunnelsClient<rpc::Asker<TunnelsRequest, TunnelsResponse>> {
    TunnelsClient::from(rpc::Asker::new(hub.bus(), node.as_str(), TUNNELS))
}

/// Takes the way that a node has opened.
async fn begin(
    hub: &Hub,
    node: &NodeName,
    what: &str,
    port: u16,
    way: Way,
    is_near: bool,
    opening: Opening,
) -> Result<Connection, Error> {
    let side = match way {
        Way::Side(side) => side,
        Way::Address(address) if is_near => {
            let tcp = way::to(what, port, address).await.map_err(|error| error.with(HERE, true))?;
            return Ok(Connection::Direct(tcp));
        }
        Way::Address(_) => return Err(astray(node)),
    };
    let (there, their_connection) =
        side.tokens().map_err(|error| Error::new(Code::Internal, format!("{node} answered so that {error}")))?;
    let subject = hub.bus().subjects().tunnel(&node.user(), &there, &their_connection);
    Ok(Connection::Tunnel(opening.begin(subject)))
}

fn astray(node: &NodeName) -> Error {
    Error::internal(format!("{node} answered as if this process were in its network"))
}
