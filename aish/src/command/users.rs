use std::path::PathBuf;

use aigis_proxy::{
    Code, Error, NodeName, Role, UserName,
    identity::Credential,
    rpc::{self, Asker},
    services::{ISSUER, IssuerClient, IssuerRequest, IssuerResponse},
};
use aigis_registry::State;
use serde_json::json;
use tarpc::{client::RpcError, context};

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
        let key = Credential::generate().map_err(|error| Error::internal(error.to_string()))?;
        let ask = async |issuer: AtIssuer, deadline| {
            issuer.issue(deadline, name.clone(), role, key.public().to_owned()).await
        };
        let token = at_issuer(context, ask).await?;
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

/// The issuer's service, asked over the bus.
pub(super) type AtIssuer = IssuerClient<Asker<IssuerRequest, IssuerResponse>>;

/// Asks the node that holds the mesh's signing keys: usually this host's, else the one of all that answers.
///
/// # Errors
///
/// What the issuer says; `unavailable` if none answers.
pub(super) async fn at_issuer<T>(
    context: &Context,
    ask: impl AsyncFn(AtIssuer, context::Context) -> Result<Result<T, Error>, RpcError>,
) -> Result<T, Failure> {
    let bus = context.connect().await?;
    let own = context.mesh_file()?.map(|mesh| mesh.node);
    let rows = context.session().await?.snapshot().node_rows();
    let others = rows.into_iter().filter(|row| row.state == State::Live && Some(&row.name) != own.as_ref());
    let nodes: Vec<NodeName> = own.iter().cloned().chain(others.map(|row| row.name)).collect();
    let mut deadline = context::current();
    if let Some(timeout) = context.global.timeout {
        deadline.deadline = std::time::Instant::now() + timeout;
    }
    for node in nodes {
        let issuer = IssuerClient::from(Asker::new(&bus, node.as_str(), ISSUER));
        let answered = ask(issuer, deadline).await;
        match answered.map_err(|error| rpc::error(&error)).and_then(|answered| answered) {
            Err(error) if error.code == Code::Unavailable && error.detail("sent") == Some(&false.into()) => {}
            other => return Ok(other?),
        }
    }
    Err(Error::unavailable("no node that issues credentials is on the bus").hint("see: aish nodes").sent(false).into())
}
