use std::{net::IpAddr, time::Duration};

use aigis_proxy::{
    Error, Role, UserName,
    identity::{CaCertificate, Credential, JoinToken},
    services::WantedToken,
};
use aigis_registry::{Timestamp, record::TokenRecord};
use serde::Serialize;
use serde_json::json;

use crate::{
    context::Context,
    duration,
    exit::Failure,
    issuer::{self, Desk},
};

const HEADER: [&str; 7] = ["ID", "STATE", "ROLE", "NAME", "USES", "EXPIRES", "BY"];
const STATE: usize = 1;

/// Manage the tokens by which hosts and people join the mesh
#[derive(Debug, clap::Args)]
pub(crate) struct Tokens {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
#[command(defer = true)]
enum Command {
    Create(Create),
    List(List),
    Revoke(Revoke),
}

/// Make a join token, and print it
///
/// Whoever has it can join once, or as often as --uses says: hand it on as you would a password.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  aish tokens create --role node --ttl 10m\n  aish tokens create --role viewer --name olga"
)]
struct Create {
    /// What it gives: viewer, operator, admin, node, plugin
    #[arg(long, value_parser = Role::choose)]
    role: Role,
    /// How long it can be used: 1s to 24h
    #[arg(long, value_name = "D", default_value = "1h", value_parser = ttl)]
    ttl: Duration,
    /// How often it can be used: 1 to 1000
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000))]
    uses: u32,
    /// The one name that it gives [default: whoever joins chooses]
    #[arg(long, value_parser = UserName::choose)]
    name: Option<UserName>,
}

/// List the join tokens
///
/// Those that can be used, and for some time those that no longer can. The tokens themselves are not kept.
#[derive(Debug, clap::Args)]
struct List {}

/// End a join token
///
/// Whoever has joined with it stays.
#[derive(Debug, clap::Args)]
struct Revoke {
    /// Its id, as `aish tokens list` shows it
    #[arg(value_name = "ID")]
    id: UserName,
}

/// Reads how long a token can be used.
fn ttl(text: &str) -> Result<Duration, String> {
    const FORM: &str = "write 1s to 24h, in whole seconds, such as 30s, 10m or 1h";
    let duration = duration::parse(text).map_err(|_| FORM.to_owned())?;
    if duration.subsec_nanos() == 0 { Ok(duration) } else { Err(FORM.to_owned()) }
}

impl Tokens {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Failure> {
        match self.command {
            Command::Create(create) => create.run(context).await,
            Command::List(list) => list.run(context).await,
            Command::Revoke(revoke) => revoke.run(context).await,
        }
    }
}

impl Create {
    async fn run(self, context: &Context) -> Result<(), Failure> {
        let Self { role, ttl, uses, name } = self;
        if name.is_some() && uses > 1 {
            return Err(Failure::usage("a token for one name can be used once", "leave away --uses or --name"));
        }
        let issuer = Desk::of(context).await?;
        let key = Credential::generate().map_err(|error| Error::internal(error.to_string()))?;
        let wanted = WantedToken { role, name: name.clone(), ttl_s: ttl.as_secs(), uses };
        let granted = issuer.create_token(key.public(), wanted).await?;
        if is_loopback(&granted.bus) {
            let bus = &granted.bus;
            context.output.note(&format!("the bus is {bus}, so only this host can join with this token"));
        }
        let ca = granted.ca.as_deref().map(CaCertificate::from_text).transpose();
        let ca =
            ca.map_err(|error| Error::internal(format!("the CA that the issuer names cannot be used: {error}")))?;
        let (id, expires_at) = (granted.id, granted.expires_at);
        let token = JoinToken {
            mesh: context.global.mesh.clone(),
            bus: granted.bus,
            ca,
            issuer: granted.issuer,
            account: granted.account,
            role,
            name,
            jwt: granted.jwt,
            key,
        };
        let text = token.to_text();
        if context.output.is_json() {
            let text = text.as_str();
            return context
                .output
                .json(&json!({"token": text, "id": id, "role": role, "expires_at": expires_at, "uses": uses}));
        }
        context.output.text(&text)
    }
}

/// Whether a bus can be reached from its own host alone.
fn is_loopback(url: &str) -> bool {
    let url = crate::url::first(url);
    let host = url.split_once("://").map_or(url, |(_, rest)| rest);
    let host = host.rsplit_once(':').map_or(host, |(host, _)| host).trim_matches(['[', ']']);
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[derive(Debug, Serialize)]
struct Row {
    id: UserName,
    state: &'static str,
    role: Role,
    name: Option<UserName>,
    uses_left: u32,
    expires_at: Timestamp,
    made_by: UserName,
}

impl Row {
    fn of(token: &TokenRecord, now: Timestamp) -> Self {
        let state = token.spent(now).unwrap_or("valid");
        let TokenRecord { id, role, name, made_by, expires_at, uses, used, .. } = token.clone();
        Self { id, state, role, name, uses_left: uses.saturating_sub(used), expires_at, made_by }
    }

    fn fields(&self) -> Vec<String> {
        let Self { id, state, role, name, uses_left, expires_at, made_by } = self;
        let name = name.as_ref().map(ToString::to_string).unwrap_or_default();
        let (uses, expires) = (uses_left.to_string(), expires_at.to_string());
        vec![id.to_string(), (*state).to_owned(), role.to_string(), name, uses, expires, made_by.to_string()]
    }
}

impl List {
    async fn run(self, context: &Context) -> Result<(), Failure> {
        issuer::known(context)?;
        let snapshot = context.session().await?.snapshot();
        let rows: Vec<Row> = snapshot.tokens().map(|token| Row::of(token, Timestamp::now())).collect();
        context.output.rows(&HEADER, &rows, Row::fields, STATE)
    }
}

impl Revoke {
    async fn run(self, context: &Context) -> Result<(), Failure> {
        let Self { id } = self;
        Desk::of(context).await?.revoke_token(id.clone()).await?;
        if context.output.is_json() {
            return context.output.json(&json!({"id": id, "state": "revoked"}));
        }
        context.output.text(&format!("the join token {id} is revoked"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_this_host_alone() {
        for own in ["nats://127.0.0.1:4222", "nats://[::1]:4222", "tls://localhost:4222", "nats://127.0.0.9"] {
            assert!(is_loopback(own), "{own}");
        }
        for other in ["nats://192.0.2.1:4222", "tls://bus.example", "nats://[2001:db8::1]:4222"] {
            assert!(!is_loopback(other), "{other}");
        }
    }

    #[test]
    fn bad_49_times_say_the_range() {
        assert_eq!(ttl("1s").unwrap().as_secs(), 1);
        assert_eq!(ttl("24h").unwrap().as_secs(), 86_400);
        for bad in ["0", "-1h", "25h", "500ms", "1500ms", "x"] {
            assert!(ttl(bad).unwrap_err().contains("1s to 24h"), "{bad}");
        }
    }
}
