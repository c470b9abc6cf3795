use std::path::PathBuf;

use aigis_proxy::{
    Bus, Code, Error, NodeName, Role, UserName,
    identity::Credential,
    rpc::{self, Asker},
    services::{ISSUER, IssuerClient},
};
use aigis_registry::State;
use serde_json::json;
use tarpc::context;

use revoke::Revoke;

use crate::{
    context::{Context, chain},
    exit::Failure,
};

mod revoke;

/// Manage the users of the mesh
#[derive(Debug, clap::Args)]
pub(crate) struct Users {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Create(Create),
    Revoke(Revoke),
}

/// Make a user, and write its credential file
///
/// The key is made here and leaves this host in that file alone.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  aish users create olga --role viewer\n  aish --creds FILE list")]
struct Create {
    /// The user
    #[arg(value_parser = UserName::choose)]
    name: UserName,
    /// What it may do: viewer, operator, admin, node, plugin
    #[arg(long)]
    role: Role,
    /// Where to write the credential [default: creds/NAME.creds in the mesh's data directory]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

impl Users {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Failure> {
        match self.command {
            Command::Create(create) => create.run(context).await,
            Command::Revoke(revoke) => revoke.run(context).await,
        }
    }
}

impl Create {
    async fn run(self, context: &Context) -> Result<(), Failure> {
        let Self { name, role, out } = self;
        let file = match out {
            Some(file) => file,
            None => context.home()?.credential(&name),
        };
        if file.exists() {
            let message = format!("{} exists already; it was left as it is", file.display());
            return Err(Error::new(Code::AlreadyExists, message).hint("name another file: --out FILE").into());
        }
        let bus = context.connect().await?;
        let key = Credential::generate().map_err(|error| Error::internal(error.to_string()))?;
        let token = issue(context, &bus, &name, role, key.public()).await?;
        let known = context.issuer()?;
        let credential = Credential::new(&token, key, known.as_ref())
            .map_err(|flaw| Error::internal(format!("the issuer's token cannot be used: {flaw}")))?;
        credential.write(&file).map_err(|error| Error::precondition(chain(&error)))?;
        if context.output.is_json() {
            return context.output.json(&json!({"name": name, "role": role, "file": file}));
        }
        context.output.text(&file.display().to_string())
    }
}

/// Asks the node that holds the mesh's signing keys: usually this host's, else the one of all that answers.
async fn issue(context: &Context, bus: &Bus, name: &UserName, role: Role, public: &str) -> Result<String, Failure> {
    let own = context.mesh_file()?.map(|mesh| mesh.node);
    let rows = context.session().await?.snapshot().node_rows();
    let others = rows.into_iter().filter(|row| row.state == State::Live && Some(&row.name) != own.as_ref());
    let nodes: Vec<NodeName> = own.iter().cloned().chain(others.map(|row| row.name)).collect();
    let mut deadline = context::current();
    if let Some(timeout) = context.global.timeout {
        deadline.deadline = std::time::Instant::now() + timeout;
    }
    for node in nodes {
        let issuer = IssuerClient::from(Asker::new(bus, node.as_str(), ISSUER));
        let issued = issuer.issue(deadline, name.clone(), role, public.to_owned()).await;
        match issued.map_err(|error| rpc::error(&error)).and_then(|issued| issued) {
            Err(error) if error.code == Code::Unavailable && error.detail("sent") == Some(&false.into()) => {}
            other => return Ok(other?),
        }
    }
    Err(Error::unavailable("no node that issues credentials is on the bus").hint("see: aish nodes").sent(false).into())
}
