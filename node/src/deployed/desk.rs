//! What is asked of this node for deployments, and who may ask it: nodes that carry one, operators and admins, each with the
//! mandate of the person who wished it.

use std::{
    collections::BTreeSet,
    sync::{Arc, Weak},
    time::Duration,
};

use aigis_proxy::{
    Code, Error, Name, Role,
    blob::{Blob, Digest},
    dispatch::Journal,
    identity::{Mandate, Purpose},
    rpc,
    services::deployments::{DEPLOYMENTS, Deployments, Judgement, Ran, Replica, Survey},
    subject::Caller,
    task,
};
use futures::FutureExt as _;
use tarpc::{context::Context, server::Serve as _};

use super::Deployed;
use crate::mandate::{self, Asked};

#[derive(Clone)]
struct Desk {
    deployed: Weak<Deployed>,
    caller: Caller,
    journal: Arc<dyn Journal>,
}

/// Serves deployments until the returned value is dropped.
pub(super) async fn serve(deployed: &Arc<Deployed>, journal: Arc<dyn Journal>) -> Result<task::Owned, Error> {
    let (target, own, refusals) = (deployed.parts.node.to_string(), Arc::downgrade(deployed), journal.clone());
    rpc::serve(&deployed.parts.bus, &target, DEPLOYMENTS, refusals, move |caller, context, request| {
        let desk = Desk { deployed: own.clone(), caller, journal: journal.clone() };
        async move { desk.serve().serve(context, request).await }.boxed()
    })
    .await
}

/// What a mandate has to say of the package.
enum About {
    /// That just this one is to run.
    Package(Digest),
    /// That one is to run.
    Some,
    /// Anything: it is about what is not to run any more.
    Any,
}

impl Desk {
    fn deployed(&self) -> Result<Arc<Deployed>, Error> {
        self.deployed.upgrade().ok_or_else(|| Error::unavailable("the node ends").sent(false))
    }

    /// Looks whether caller and mandate permit that.
    async fn permit(
        &self,
        mandate: &Mandate,
        project: &Name,
        about: About,
        what: &str,
    ) -> Result<Arc<Deployed>, Error> {
        let deployed = self.deployed()?;
        let Err(why) = self.is_permitted(&deployed, mandate, project, about).await else { return Ok(deployed) };
        let message = format!("{what} is refused: {why}");
        self.journal.refused(&self.caller, what, &message).await;
        let hint = "deploy as an operator or admin of this mesh";
        Err(Error::new(Code::PermissionDenied, message).hint(hint).sent(false))
    }

    async fn is_permitted(
        &self,
        deployed: &Deployed,
        mandate: &Mandate,
        project: &Name,
        about: About,
    ) -> Result<(), String> {
        let Caller { role, name } = &self.caller;
        if !matches!(role, Role::Node | Role::Operator | Role::Admin) {
            return Err(format!("the role {role} does not permit {name} to ask for it"));
        }
        let parts = &deployed.parts;
        let asked = Asked { mesh: &parts.mesh, purpose: Purpose::Deployment, name: project, mandate };
        let wish = mandate::permit(&parts.cache, asked).await?;
        match about {
            About::Package(package) if wish.tree != Some(package) => {
                Err(format!("{} signed for another package", wish.by))
            }
            About::Some if wish.tree.is_none() => Err(format!("{} signed that nothing is to run", wish.by)),
            _ => Ok(()),
        }
    }
}

fn left(context: &Context) -> Duration {
    context.deadline.saturating_duration_since(std::time::Instant::now())
}

impl Deployments for Desk {
    async fn survey(self, _: Context, project: Name, names: BTreeSet<Name>) -> Result<Survey, Error> {
        self.deployed()?.survey(&project, &names).await
    }

    async fn load(
        self,
        _: Context,
        mandate: Mandate,
        project: Name,
        image: Digest,
        archive: Blob,
    ) -> Result<(), Error> {
        let deployed = self.permit(&mandate, &project, About::Some, &format!("an image for {project}")).await?;
        Deployed::to_the_end(async move { deployed.load(image, &archive).await }).await
    }

    async fn replace(self, _: Context, mandate: Mandate, replica: Replica) -> Result<String, Error> {
        let (what, about) = (format!("a new container {}", replica.name), About::Package(replica.package));
        let deployed = self.permit(&mandate, &replica.project, about, &what).await?;
        Deployed::to_the_end(async move { deployed.replace(&replica).await }).await
    }

    async fn tell(self, _: Context, mandate: Mandate, replica: Replica) -> Result<(), Error> {
        let (what, about) = (format!("a note on {}", replica.name), About::Package(replica.package));
        let deployed = self.permit(&mandate, &replica.project, about, &what).await?;
        Deployed::to_the_end(async move { deployed.tell(&replica).await }).await
    }

    async fn run(
        self,
        context: Context,
        mandate: Mandate,
        replica: Replica,
        command: Vec<String>,
    ) -> Result<Ran, Error> {
        let (what, about) = (format!("a command for {}", replica.project), About::Package(replica.package));
        let deployed = self.permit(&mandate, &replica.project, about, &what).await?;
        let within = left(&context);
        Deployed::to_the_end(async move { deployed.run(&replica, command, within).await }).await
    }

    async fn judge(self, _: Context, project: Name, name: Name) -> Result<Judgement, Error> {
        self.deployed()?.judge(&project, &name).await
    }

    async fn stop(self, _: Context, mandate: Mandate, project: Name, name: Name) -> Result<(), Error> {
        let deployed = self.permit(&mandate, &project, About::Any, &format!("the end of {name}")).await?;
        Deployed::to_the_end(async move { deployed.stop(&project, &name).await }).await
    }

    async fn remove(self, _: Context, mandate: Mandate, project: Name, name: Name) -> Result<(), Error> {
        let deployed = self.permit(&mandate, &project, About::Any, &format!("the removal of {name}")).await?;
        Deployed::to_the_end(async move { deployed.remove(&project, &name).await }).await
    }

    async fn clear(self, _: Context, mandate: Mandate, project: Name, volumes: bool) -> Result<(), Error> {
        let deployed = self.permit(&mandate, &project, About::Any, &format!("the removal of {project}")).await?;
        Deployed::to_the_end(async move { deployed.clear(&project, volumes).await }).await
    }
}
