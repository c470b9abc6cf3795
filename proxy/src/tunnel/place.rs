//! The side of a tunnel where the app runs.

use std::{
    collections::HashMap,
    fmt,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use futures::{FutureExt as _, future::BoxFuture};
use tarpc::{context::Context, server::Serve as _};

use super::{Container, Hub, Network, Opened, Reached, Side, TUNNELS, Tunnels, Way, way};
use crate::{
    dispatch::{Begun, Deed, Journal, Outcome},
    envelope::Request,
    error::{Code, Error},
    name::{Address, Name, NodeName, SkillPath, UserName},
    role::{Effect, Role},
    rpc,
    services::chains::InstanceId,
    subject::Caller,
    sync::lock,
    task,
};

/// For how long after its last connection to a port a person's next one there is the same use of it, on audit.
const USE: Duration = Duration::from_secs(10 * 60);
/// Most uses that are remembered; whoever makes more is noted more often.
const USES: usize = 1_024;

/// Where an app takes connections to a port, and which of its instances that is; or why it takes none.
pub type Found = BoxFuture<'static, Result<(SocketAddr, InstanceId), Error>>;

/// Where a container takes connections to a port; or why it takes none.
pub type At = BoxFuture<'static, Result<SocketAddr, Error>>;

/// Who spoke with which port of which app, and when last.
type Uses = Mutex<HashMap<(UserName, Name, u16), Instant>>;

type Find = dyn Fn(Name, u16) -> Found + Send + Sync;
type Locate = dyn Fn(Container, u16) -> At + Send + Sync;

#[derive(Clone)]
struct Place {
    hub: Hub,
    find: Arc<Find>,
    locate: Arc<Locate>,
    journal: Arc<dyn Journal>,
    uses: Arc<Uses>,
    caller: Caller,
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Place").field("caller", &self.caller).finish_non_exhaustive()
    }
}

/// Serves tunnels to the apps and containers of this node, under the name of the bus's user, until the returned value is
/// dropped. `find` says where an app is, `locate` where a container; what they refuse is the caller's answer.
///
/// # Errors
///
/// As [`crate::Bus::subscribe`].
pub async fn serve(
    hub: &Hub,
    journal: Arc<dyn Journal>,
    find: impl Fn(Name, u16) -> Found + Send + Sync + 'static,
    locate: impl Fn(Container, u16) -> At + Send + Sync + 'static,
) -> Result<task::Owned, Error> {
    let (own, find, locate): (Hub, Arc<Find>, Arc<Locate>) = (hub.clone(), Arc::new(find), Arc::new(locate));
    let (target, refusals, uses) = (hub.bus().user().to_string(), journal.clone(), Arc::<Uses>::default());
    rpc::serve(hub.bus(), &target, TUNNELS, refusals, move |caller, context, request| {
        let (hub, find, locate) = (own.clone(), find.clone(), locate.clone());
        let place = Place { hub, find, locate, journal: journal.clone(), uses: uses.clone(), caller };
        async move { place.serve().serve(context, request).await }.boxed()
    })
    .await
}

impl Place {
    /// Opens a way to the app. What a person does there is on audit, once for each use of a port: a page alone makes dozens of
    /// connections. What a node passes on is asked of it by nobody that the mesh knows.
    async fn audited(&self, app: &Name, port: u16, back: Side, network: Option<Network>) -> Result<Opened, Error> {
        if self.caller.role == Role::Node || !self.is_new(app, port) {
            return self.way(app, port, back, network).await;
        }
        let node = NodeName::parse(self.hub.bus().user().as_str()).ok();
        let (ci, path) = (Address { name: app.clone(), node }, SkillPath::parse("tunnels.open")?);
        let kwargs = serde_json::Map::from_iter([("port".to_owned(), port.into())]);
        let request = Request { kwargs, ..Request::default() };
        let (caller, effect) = (&self.caller, Effect::Write);
        let deed = Deed { caller, ci: &ci, path: &path, effect, request: &request, body: None };
        if let Begun::Repeat(outcome) = self.journal.begin(deed).await? {
            // It has no key, by which it could be one.
            outcome?;
        }
        let opened = self.way(app, port, back, network).await;
        let outcome = opened.as_ref().map(|_| serde_json::Value::Null).map_err(Clone::clone);
        self.journal.end(deed, Outcome::from(&outcome)).await;
        opened
    }

    async fn way(&self, app: &Name, port: u16, back: Side, network: Option<Network>) -> Result<Opened, Error> {
        let (address, instance) = (self.find)(app.clone(), port).await?;
        Ok(Opened { way: self.lead(&format!("the app {app}"), port, address, &back, network).await?, instance })
    }

    /// The way to an address here.
    async fn lead(
        &self,
        what: &str,
        port: u16,
        address: SocketAddr,
        back: &Side,
        network: Option<Network>,
    ) -> Result<Way, Error> {
        let (hub, connection) = back.tokens()?;
        if network.is_some() && network == Network::own() {
            return Ok(Way::Address(address));
        }
        let tcp = way::to(what, port, address).await?;
        let subject = self.hub.bus().subjects().tunnel(&self.caller.name, &hub, &connection);
        let (own, opening) = self.hub.expect()?;
        let tunnel = opening.begin(subject);
        // It ends with the connection on either side.
        drop(task::spawn("tunnel to an app", tunnel.join(tcp)));
        Ok(Way::Side(Side::new(self.hub.token(), &own)))
    }

    /// Whether the caller has not spoken with that port of late; notes that now they do.
    fn is_new(&self, app: &Name, port: u16) -> bool {
        let (now, mut uses) = (Instant::now(), lock(&self.uses));
        if uses.len() >= USES {
            uses.retain(|_, last| now.duration_since(*last) < USE);
        }
        if uses.len() >= USES {
            uses.clear();
        }
        let last = uses.insert((self.caller.name.clone(), app.clone(), port), now);
        last.is_none_or(|last| now.duration_since(last) >= USE)
    }
}

impl Tunnels for Place {
    async fn open(
        self,
        _: Context,
        app: Name,
        port: u16,
        back: Side,
        network: Option<Network>,
    ) -> Result<Opened, Error> {
        let Caller { role, name } = &self.caller;
        if !matches!(role, Role::Operator | Role::Admin | Role::Node) {
            let message = format!("the role {role} does not permit {name} to speak with {app}");
            self.journal.refused(&self.caller, &format!("{app} tunnels.open"), &message).await;
            return Err(Error::new(Code::PermissionDenied, message)
                .hint("ask an admin for an operator's credential")
                .sent(false));
        }
        self.audited(&app, port, back, network).await
    }

    async fn reach(
        self,
        _: Context,
        to: Container,
        port: u16,
        back: Side,
        network: Option<Network>,
    ) -> Result<Reached, Error> {
        let Caller { role, name } = &self.caller;
        if *role != Role::Node {
            let message = format!("the role {role} does not permit {name} to speak with {}", to.name);
            self.journal.refused(&self.caller, &format!("{} tunnels.reach", to.name), &message).await;
            return Err(Error::new(Code::PermissionDenied, message)
                .hint("publish the port in the manifest")
                .sent(false));
        }
        let address = (self.locate)(to.clone(), port).await?;
        Ok(Reached { way: self.lead(&format!("the container {}", to.name), port, address, &back, network).await? })
    }
}
