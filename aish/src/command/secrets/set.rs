use std::{ffi::OsString, path::PathBuf};

use aigis_node::mask;
use aigis_proxy::{
    Code, Error, NodeName,
    secret::{self, Place, SecretName, Selector},
    services::WantedSecret,
};
use aigis_registry::Snapshot;
use serde_json::json;

use super::{called::Called, joined, recipients, value};
use crate::{context::Context, exit::Failure, issuer::Desk};

/// How often a value is sealed again because another one came first.
const ROUNDS: usize = 5;

/// Set a secret, or change its value
///
/// The value comes from standard input or a file, byte for byte; on a terminal it is asked for and not shown. It is sealed
/// here to the nodes that it is for: nobody else can open it, neither the bus nor the issuer. Without --for it stays for
/// those that it was for; a new one is for the home node of its plugin, or else for this host's node.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  aish secrets set db-password\n  printf %s \"$KEY\" | aish secrets set api-key --for beta\n  aish secrets set tls.key --file tls.key --for role=web\n  aish secrets set plugin/dice api.key --file api.key\n  printf %s \"$TOKEN\" | aish secrets set project/shop NPM_TOKEN"
)]
pub(super) struct Set {
    /// The secret: letters, digits, . _ - and / between parts; plugin/NAME for one of a plugin, project/NAME for one of a project
    #[arg(value_name = "NAME")]
    name: OsString,
    /// A node that needs it, or the nodes with that label; may be repeated
    #[arg(long = "for", value_name = "NODE|KEY=VALUE")]
    selectors: Vec<Selector>,
    /// The file that holds the value
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// The key of a secret of a plugin or a project, after its NAME. A value is never taken: everyone can read the arguments of a command
    #[arg(value_name = "KEY", num_args = 0..)]
    more: Vec<OsString>,
}

impl Set {
    pub(super) async fn run(self, context: &Context) -> Result<(), Failure> {
        let key = self.more.first().map(OsString::as_os_str);
        let Some(called) = Called::read(&self.name, key).filter(|_| self.more.len() <= 1) else {
            let message = "the value of a secret is no argument: everyone on this host can read those";
            let hint = "give it on standard input, by --file FILE, or type it: aish secrets set NAME; choose another value now";
            return Err(Failure::usage(message, hint));
        };
        let called = called?;
        let name = called.name.clone();
        let value = value::read(&name, self.file.as_deref(), &context.output).await?;
        secret::check(&name, &value)?;
        if !mask::is_masked(&value) {
            let least = mask::SHORTEST;
            context.output.note(&format!(
                "the value of {name} has fewer than {least} bytes: where a program prints it, it cannot be masked"
            ));
        }
        let home = |snapshot: &Snapshot| called.home(snapshot);
        let wanted = if self.selectors.is_empty() { For::Before(&home) } else { For::These(self.selectors) };
        let Kept { version, selectors, nodes } = keep(context, &name, &value, wanted).await?;
        if context.output.is_json() {
            return context.output.json(&json!({"name": name, "version": version, "for": selectors, "nodes": nodes}));
        }
        context.output.text(&format!("{name} has version {version}, for {}", joined(&nodes)))
    }
}

/// Whom a secret is for.
pub(crate) enum For<'a> {
    /// These.
    These(Vec<Selector>),
    /// Those that it was for before; a new one for its home, or else for this host.
    Before(&'a dyn Fn(&Snapshot) -> Result<Option<Selector>, Failure>),
}

/// A value that is kept.
pub(crate) struct Kept {
    version: u64,
    selectors: Vec<Selector>,
    nodes: Vec<NodeName>,
}

/// Seals a value to the nodes that it is for, and has it kept.
///
/// # Errors
///
/// What the issuer says.
pub(crate) async fn keep(context: &Context, name: &SecretName, value: &[u8], wanted: For<'_>) -> Result<Kept, Failure> {
    let issuer = Desk::of(context).await?;
    let snapshot = context.session().await?.snapshot();
    let known = snapshot.secret(name);
    let selectors = match (wanted, known) {
        (For::These(selectors), _) => selectors,
        (For::Before(_), Some(known)) => known.selectors.clone(),
        (For::Before(home), None) => match home(&snapshot)? {
            Some(home) => vec![home],
            None => vec![this_host(context)?],
        },
    };
    let mesh = &context.global.mesh;
    let nodes = recipients::find(&snapshot, mesh, &selectors)?;
    let mut version = known.map_or(0, |known| known.version) + 1;
    for _ in 0..ROUNDS {
        let sealed = secret::seal(Place { mesh, name, version }, value, &nodes)?;
        let wanted = WantedSecret { name: name.clone(), version, selectors: selectors.clone(), sealed };
        match issuer.set_secret(wanted).await {
            Ok(()) => return Ok(Kept { version, selectors, nodes: nodes.into_keys().collect() }),
            // Another admin was first; the later value counts, and this is the later one.
            Err(Error { code: Code::FailedPrecondition, data: Some(data), .. }) if data["version"].is_u64() => {
                version = data["version"].as_u64().unwrap_or_default() + 1;
            }
            Err(error) => return Err(error.into()),
        }
    }
    Err(Error::unavailable(format!("the secret {name} changes too often; try again")).sent(false).into())
}

fn this_host(context: &Context) -> Result<Selector, Failure> {
    let node = context.mesh_file()?.and_then(|mesh| mesh.node);
    node.map(Selector::Node).ok_or_else(|| {
        Failure::usage(
            "this host has no node that the secret could be for",
            "say who needs it: --for NODE or KEY=VALUE",
        )
    })
}
