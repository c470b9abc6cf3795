use std::path::PathBuf;

use aigis_proxy::{Code, Error, Role, UserName, identity::Credential, with_causes};
use aigis_registry::{Timestamp, record::UserRecord};
use serde::Serialize;
use serde_json::json;

use grant::Give;
use revoke::Revoke;
use rotate_keys::RotateKeys;

use crate::{
    context::Context,
    exit::Failure,
    issuer::{self, Desk},
};

mod grant;
mod revoke;
mod rotate_keys;

/// Manage the users of the mesh
#[derive(Debug, clap::Args)]
pub(crate) struct Users {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
#[command(defer = true)]
enum Command {
    Create(Create),
    Grant(Give),
    List(List),
    Revoke(Revoke),
    RotateKeys(RotateKeys),
}

/// List the users of the mesh
///
/// As the issuer has put them on record: persons, nodes and plugin hosts.
#[derive(Debug, clap::Args)]
struct List {}

const HEADER: [&str; 5] = ["NAME", "STATE", "ROLE", "ISSUED", "EXPIRES"];
const STATE: usize = 1;

#[derive(Debug, Serialize)]
struct Row {
    name: UserName,
    state: &'static str,
    role: Role,
    issued_at: Timestamp,
    expires_at: Timestamp,
}

impl List {
    async fn run(self, context: &Context) -> Result<(), Failure> {
        issuer::known(context)?;
        let snapshot = context.session().await?.snapshot();
        let rows: Vec<Row> = snapshot.users().map(|user| Row::of(user, Timestamp::now())).collect();
        context.output.rows(&HEADER, &rows, Row::fields, STATE)
    }
}

impl Row {
    fn of(user: &UserRecord, now: Timestamp) -> Self {
        let state = match user {
            _ if user.revoked_at.is_some() => "revoked",
            _ if user.expires_at <= now => "expired",
            _ => "valid",
        };
        let UserRecord { name, role, issued_at, expires_at, .. } = user.clone();
        Self { name, state, role, issued_at, expires_at }
    }

    fn fields(&self) -> Vec<String> {
        let Self { name, state, role, issued_at, expires_at } = self;
        vec![name.to_string(), (*state).to_owned(), role.to_string(), issued_at.to_string(), expires_at.to_string()]
    }
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
    #[arg(long, value_parser = Role::choose)]
    role: Role,
    /// Where to write the credential [default: creds/NAME.creds in the mesh's data directory]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

impl Users {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Failure> {
        match self.command {
            Command::Create(create) => create.run(context).await,
            Command::Grant(grant) => grant.run(context).await,
            Command::Revoke(revoke) => revoke.run(context).await,
            Command::RotateKeys(rotate) => rotate.run(context).await,
            Command::List(list) => list.run(context).await,
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
        // What is signed is checked by the keys that sign now.
        context.session().await?;
        let issuer = Desk::of(context).await?;
        let key = Credential::generate().map_err(|error| Error::internal(error.to_string()))?;
        let token = issuer.issue(name.clone(), role, key.public()).await?;
        let known = context.issuer()?;
        let credential = Credential::new(&token, key, known.as_ref())
            .map_err(|flaw| Error::internal(format!("the issuer's token cannot be used: {flaw}")))?;
        credential.write(&file).map_err(|error| Error::precondition(with_causes(&error)))?;
        if context.output.is_json() {
            return context.output.json(&json!({"name": name, "role": role, "file": file}));
        }
        context.output.text(&file.display().to_string())
    }
}
