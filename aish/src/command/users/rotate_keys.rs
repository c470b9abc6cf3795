use aigis_proxy::services::Rotation;

use crate::{context::Context, exit::Failure, issuer::Desk};

/// How many names are shown of those who have not renewed yet.
const SHOWN: usize = 10;

/// Have new keys sign credentials
///
/// Nodes renew theirs at once, people with their next command. The former keys count until nobody stands on them, or
/// until every credential that they signed has ended; then they are removed. Done again, it says how far that is.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  aish users rotate-keys\n  aish users rotate-keys --end")]
pub(super) struct RotateKeys {
    /// Remove the former keys now: who still stands on them is cut off, and needs a new credential or join token
    #[arg(long)]
    end: bool,
}

impl RotateKeys {
    pub(super) async fn run(self, context: &Context) -> Result<(), Failure> {
        if self.end {
            // Else the end of the former keys would be that of this command.
            context.stand_on_new_keys().await?;
        }
        let rotation = Desk::of(context).await?.rotate_keys(self.end).await?;
        if context.output.is_json() {
            return context.output.json(&rotation);
        }
        let Rotation { began, former_keys_until, waiting, .. } = rotation;
        let Some(until) = former_keys_until else {
            return context.output.text("new keys sign credentials; the former ones were removed");
        };
        let begun = if began { "new keys sign credentials from now on" } else { "new keys sign credentials" };
        let text = match waiting.len() {
            0 => format!("{begun}; nobody needs the former ones, which are removed in a moment"),
            count => {
                let names = waiting.iter().take(SHOWN).map(ToString::to_string).collect::<Vec<_>>().join(", ");
                let more = count.checked_sub(SHOWN).filter(|more| *more > 0);
                let more = more.map(|more| format!(" and {more} more")).unwrap_or_default();
                format!("{begun}; the former ones count until {until} at most, for: {names}{more}")
            }
        };
        context.output.text(&text)
    }
}
