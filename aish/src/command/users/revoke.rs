use aigis_proxy::{Error, UserName};

use crate::{context::Context, exit::Failure, issuer::Desk};

/// End a user: its connections, its calls and its credential
///
/// The bus ends its connections before this returns, and every node refuses its calls from then on. Who was revoked
/// gets a credential again by: aish users create
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  aish users revoke olga")]
pub(super) struct Revoke {
    /// The user
    name: UserName,
}

impl Revoke {
    pub(super) async fn run(self, context: &Context) -> Result<(), Failure> {
        let Self { name } = self;
        let revoked = Desk::of(context).await?.revoke(name).await?;
        if context.output.is_json() {
            context.output.json(&revoked)?;
        } else {
            let how = if revoked.changed { "was revoked" } else { "was revoked before" };
            context.output.text(&format!("{} {how} ({})", revoked.name, revoked.revoked_at))?;
        }
        let sites = revoked.sites_away.iter().map(|site| format!("the site {site}"));
        let away: Vec<_> = revoked.away.iter().map(ToString::to_string).chain(sites).collect();
        let mut left = Vec::new();
        if !away.is_empty() {
            left.push(format!("the bus server of {} did not answer", away.join(" and that of ")));
        }
        if !revoked.noted {
            left.push("the registry has not taken the record of it yet".to_owned());
        }
        if left.is_empty() {
            return Ok(());
        }
        let hint = if revoked.noted {
            "it is told as soon as it is back; until then it may let that user in, whom every node refuses"
        } else {
            "both are made good as soon as the servers can: every node refuses that user once aish users list says so"
        };
        Err(Error::precondition(format!("{}: {}", revoked.name, left.join(", and "))).hint(hint).into())
    }
}
