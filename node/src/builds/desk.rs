//! What is asked of a builder, and who may ask it: operators, for whom it runs what their projects say, and its own node, which
//! packs for those who call its skills.

use std::sync::Arc;

use aigis_proxy::{
    Address, Code, Effect, Error, Request, Role, SkillPath,
    blob::{Blob, Digest},
    dispatch::{Deed, Journal, Outcome},
    rpc,
    services::builds::{BUILDS, BaseImage, Builds, Engine, ImageBuild, Loaded, Phase, Told},
    subject::Caller,
    task,
};
use futures::FutureExt as _;
use serde_json::{Value, json};
use tarpc::{context::Context, server::Serve as _};

use super::{Builder, live::Work};

#[derive(Clone)]
struct Desk {
    builder: Arc<Builder>,
    caller: Caller,
    journal: Arc<dyn Journal>,
}

/// Serves a builder until the returned value is dropped.
pub(super) async fn serve(builder: &Arc<Builder>, journal: Arc<dyn Journal>) -> Result<task::Owned, Error> {
    let (target, own, refusals) = (builder.node.to_string(), builder.clone(), journal.clone());
    rpc::serve(&builder.bus, &target, BUILDS, refusals, move |caller, context, request| {
        let desk = Desk { builder: own.clone(), caller, journal: journal.clone() };
        async move { desk.serve().serve(context, request).await }.boxed()
    })
    .await
}

impl Desk {
    async fn permit(&self, what: &str) -> Result<(), Error> {
        let Caller { role, name } = &self.caller;
        // Whose grants name CIs has no say in what else runs here.
        let is_own = *role == Role::Node && name.as_str() == self.builder.node.as_str();
        if matches!(role, Role::Operator | Role::Admin) || is_own {
            return Ok(());
        }
        let message = format!("the role {role} does not permit {name} to {what}");
        self.journal.refused(&self.caller, what, &message).await;
        Err(Error::new(Code::PermissionDenied, message).hint("ask an operator or admin of this mesh").sent(false))
    }
}

impl Desk {
    /// Puts on record who has commands run that read secrets.
    async fn note(&self, phase: &Phase) -> Result<(), Error> {
        let ci = Address { name: self.builder.node.ci(), node: Some(self.builder.node.clone()) };
        let kwargs = json!({ "names": phase.secrets, "commands": phase.commands });
        let kwargs = kwargs.as_object().cloned().unwrap_or_default();
        let (path, request) = (SkillPath::parse("secrets.give")?, Request { kwargs, ..Request::default() });
        let deed =
            Deed { caller: &self.caller, ci: &ci, path: &path, effect: Effect::Write, request: &request, body: None };
        self.journal.begin(deed).await?;
        self.journal.end(deed, Outcome::Value(&Value::Null)).await;
        Ok(())
    }
}

impl Desk {
    /// The volume of downloads that a phase shares with others. Nobody shares where it has to do with what it gets itself, gets
    /// nothing, or reads secrets, which it could leave there; nor does a node, which vouches for what it builds.
    fn volume(&self, phase: &Phase) -> Option<String> {
        let Caller { role, name } = &self.caller;
        let is_shared = phase.network && !phase.is_fresh && phase.secrets.is_empty() && *role != Role::Node;
        let project = phase.project.as_ref().filter(|_| is_shared)?;
        Some(self.builder.volumes.name(name, project))
    }
}

impl Builds for Desk {
    async fn image(self, _: Context, reference: String, wanted: Option<Digest>) -> Result<BaseImage, Error> {
        self.permit("bring an image").await?;
        self.builder.image(&reference, wanted).await
    }

    async fn engine(self, _: Context) -> Result<Engine, Error> {
        self.permit("use the engine").await?;
        self.builder.about_engine().await
    }

    async fn load(self, _: Context, archive: Blob, images: Vec<Loaded>) -> Result<(), Error> {
        self.permit("load an image").await?;
        self.builder.load(&archive, &images).await
    }

    async fn export(self, _: Context, image: String) -> Result<Blob, Error> {
        self.permit("export an image").await?;
        self.builder.export(&image).await
    }

    async fn begin(self, _: Context, phase: Phase) -> Result<String, Error> {
        self.permit("run a phase of a build").await?;
        let volume = self.volume(&phase);
        let secrets = self.builder.secrets(&phase).await?;
        if !phase.secrets.is_empty() {
            self.note(&phase).await?;
        }
        // Equal phases are one, whatever their projects are, unless downloads may tell them apart.
        self.builder.begin(Work { phase: Phase { project: None, ..phase }, volume }, secrets)
    }

    async fn build(self, _: Context, image: ImageBuild) -> Result<String, Error> {
        self.permit("build an image").await?;
        self.builder.build(image)
    }

    async fn follow(self, _: Context, id: String, from: u64) -> Result<Told, Error> {
        self.permit("follow a phase of a build").await?;
        self.builder.follow(&id, from).await
    }

    async fn end(self, _: Context, id: String) -> Result<(), Error> {
        self.permit("end a phase of a build").await?;
        self.builder.end(&id)
    }
}
