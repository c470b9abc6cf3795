//! The side of a tunnel where the app runs.

use std::{fmt, sync::Arc};

use futures::{FutureExt as _, future::BoxFuture};
use tarpc::{context::Context, server::Serve as _};
use tokio::net::TcpStream;

use super::{Hub, Side, TUNNELS, Tunnels};
use crate::{
    dispatch::Journal,
    error::{Code, Error},
    name::Name,
    role::Role,
    rpc,
    subject::Caller,
    task,
};

/// A connection to an app that is being made.
pub type Dialled = BoxFuture<'static, Result<TcpStream, Error>>;

type Dial = dyn Fn(Name, u16) -> Dialled + Send + Sync;

#[derive(Clone)]
struct Place {
    hub: Hub,
    dial: Arc<Dial>,
    caller: Caller,
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Place").field("caller", &self.caller).finish_non_exhaustive()
    }
}

/// Serves tunnels to the apps of this node, under the name of the bus's user, until the returned value is dropped. `dial` makes
/// the connections; what it refuses is the caller's answer.
///
/// # Errors
///
/// As [`crate::Bus::subscribe`].
pub async fn serve(
    hub: &Hub,
    journal: Arc<dyn Journal>,
    dial: impl Fn(Name, u16) -> Dialled + Send + Sync + 'static,
) -> Result<task::Owned, Error> {
    let (own, dial): (Hub, Arc<Dial>) = (hub.clone(), Arc::new(dial));
    let target = hub.bus().user().to_string();
    rpc::serve(hub.bus(), &target, TUNNELS, journal, move |caller, context, request| {
        let place = Place { hub: own.clone(), dial: dial.clone(), caller };
        async move { place.serve().serve(context, request).await }.boxed()
    })
    .await
}

impl Tunnels for Place {
    async fn open(self, _: Context, app: Name, port: u16, back: Side) -> Result<Side, Error> {
        let Caller { role, name } = &self.caller;
        if !matches!(role, Role::Operator | Role::Admin | Role::Node) {
            let message = format!("the role {role} does not permit {name} to speak with {app}");
            return Err(Error::new(Code::PermissionDenied, message)
                .hint("ask an admin for an operator's credential")
                .sent(false));
        }
        let (hub, connection) = back.tokens()?;
        let tcp = (self.dial)(app, port).await?;
        let subject = self.hub.bus().subjects().tunnel(name, &hub, &connection);
        let (own, opening) = self.hub.expect()?;
        let tunnel = opening.begin(subject);
        // What is small is for somebody who waits for it.
        let _ = tcp.set_nodelay(true);
        // It ends with the connection on either side.
        drop(task::spawn("tunnel to an app", tunnel.join(tcp)));
        Ok(Side::new(self.hub.token(), &own))
    }
}
