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
        if away.is_empty() {
            return Ok(());
        }
        let message = format!("{}: the bus server of {} did not answer", revoked.name, away.join(" and that of "));
        let hint = "it is told as soon as it is back; until then it may let that user in, whom every node refuses";
        Err(Error::precondition(message).hint(hint).into())
    }
}
