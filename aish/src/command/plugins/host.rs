//! This host as a place for the plugins of others.

use std::collections::BTreeMap;

use aigis_node::{
    Home,
    plugin_host::{HostFile, PluginHost},
};
use aigis_proxy::{Code, Error, NodeName, Role, UserName, identity::JoinToken, with_causes};
use serde_json::json;

use crate::{
    command::{join, list::label, up},
    context::{Context, damaged},
    exit::Failure,
    signals::Signals,
};

/// Run plugins of other nodes on this host, which needs no Docker and is no node
///
/// With a token of the role plugin this host joins once, under a key that is made here and stays here; later starts need no
/// token. Plugins come to it by their HOST: its name, or one of its labels. It runs until it is told to end.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  ssh alpha aish tokens create --role plugin --ttl 1h | aish plugins host - --name tiny\n  \
    aish plugins host\n  aish plugins host --label gpu=true"
)]
pub(crate) struct Host {
    /// The token that an admin made with `aish tokens create --role plugin`; - reads it from standard input
    #[arg(value_name = "TOKEN|-", hide_possible_values = true)]
    token: Option<String>,
    /// Its name in the mesh [default: the token's, else the host's]
    #[arg(long)]
    name: Option<NodeName>,
    /// A label, by which plugins may ask for it
    #[arg(long, value_name = "KEY=VALUE", value_parser = label)]
    label: Vec<(String, String)>,
}

impl Host {
    pub(super) async fn run(self, context: &Context, mut signals: Signals) -> Result<(), Failure> {
        tokio::select! {
            host = Box::pin(self.start(context)) => {
                let host = host?;
                signals.any().await;
                tracing::info!("the plugin host ends");
                host.stop().await;
                Ok(())
            }
            () = signals.any() => Err(Error::new(Code::Cancelled, "the plugin host was told to end before it was up").into()),
        }
    }

    async fn start(self, context: &Context) -> Result<PluginHost, Failure> {
        let (home, file) = match &self.token {
            Some(token) => self.join(context, &join::read(token).await?).await?,
            None => self.known(context)?,
        };
        let (name, mesh) = (file.name.clone(), home.mesh().clone());
        let host = Box::pin(PluginHost::start(home, file)).await.map_err(up::failure)?;
        match context.output.is_json() {
            true => context.output.json(&json!({"name": name, "mesh": mesh, "pid": std::process::id()}))?,
            false => context.output.text(&format!("plugin host {name} of mesh {mesh} is up"))?,
        }
        Ok(host)
    }

    /// What this host joined as before.
    fn known(&self, context: &Context) -> Result<(Home, HostFile), Failure> {
        let home = context.home()?;
        let known = HostFile::read(&home).map_err(damaged)?;
        let known = known.filter(|known| self.name.as_ref().is_none_or(|name| *name == known.name));
        let Some(known) = known else {
            return Err(Failure::usage(
                "this host has not joined as a plugin host",
                "ask an admin for a token: aish tokens create --role plugin; then: aish plugins host TOKEN",
            ));
        };
        let file = HostFile { labels: self.labels(known.labels), name: known.name };
        file.write(&home).map_err(damaged)?;
        Ok((home, file))
    }

    /// Makes this host one.
    async fn join(&self, context: &Context, token: &JoinToken) -> Result<(Home, HostFile), Failure> {
        let home = Home::new(context.data()?, token.mesh.clone());
        if token.role != Role::Plugin {
            let message = format!("the token is for the role {}, and a plugin host needs one for plugin", token.role);
            return Err(Error::invalid(message).hint("aish tokens create --role plugin").sent(false).into());
        }
        let known = home.read_mesh().map_err(damaged)?;
        if let Some(node) = known.and_then(|known| known.node) {
            let message = format!("this host is the node {node} of the mesh {}, which runs plugins itself", token.mesh);
            return Err(Error::precondition(message).hint("keep the two apart by --data DIR").sent(false).into());
        }
        join::same_mesh(&home, token)?;
        let name = match (&self.name, &token.name) {
            (Some(name), _) => name.clone(),
            (None, Some(name)) => NodeName::parse(name.as_str()).map_err(Error::from)?,
            (None, None) => up::host_name()?,
        };
        let user: UserName = name.user();
        context.output.progress(&format!("joining the mesh \"{}\" as {name}", token.mesh));
        let mut membership = join::exchange(context, token, &user).await?;
        membership.hosts = true;
        membership.write(&home).map_err(|error| Error::precondition(with_causes(&error)))?;
        let file = HostFile { name, labels: self.labels(BTreeMap::new()) };
        file.write(&home).map_err(damaged)?;
        Ok((home, file))
    }

    fn labels(&self, known: BTreeMap<String, String>) -> BTreeMap<String, String> {
        if self.label.is_empty() { known } else { self.label.iter().cloned().collect() }
    }
}
