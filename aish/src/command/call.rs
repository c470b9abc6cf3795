use aigis_proxy::{Address, SkillPath, client::Response};

use crate::{ask::ask, context::Context, exit::Failure, frames, render, values::Arguments};

/// Call one skill of one CI
///
/// A VALUE is JSON if it parses as JSON, else a string. A stream is printed as it comes, with --json as JSON Lines.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  aish call web.status\n  aish call web.logs tail=20 follow=true\n  aish call web@beta.stop grace_s=30"
)]
pub(crate) struct Call {
    /// The CI and its skill, such as web.status or web@beta.optimize.apply
    #[arg(value_name = "ADDRESS.SKILL")]
    target: String,
    /// Arguments, by place or by name
    #[arg(value_name = "VALUE|KEY=VALUE", allow_negative_numbers = true)]
    words: Vec<String>,
}

impl Call {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Failure> {
        let (address, path) = target(&self.target)?;
        let arguments = Arguments::read(&self.words)?;
        run(context, &address, &path, arguments, false).await
    }
}

/// Calls a skill and prints what it answers; a `terminal`'s bytes as they are.
///
/// # Errors
///
/// What the call, or the printing, meets; the exit code that a stream's last frame carries.
pub(super) async fn run(
    context: &Context,
    address: &Address,
    path: &SkillPath,
    arguments: Arguments,
    terminal: bool,
) -> Result<(), Failure> {
    let session = context.session().await?;
    let found = session.find(address)?;
    match ask(&session, &found, path, arguments, context.global.timeout).await? {
        Response::Value(value) => render::result(&context.output, path.as_str(), &value, &found.address),
        Response::Stream(stream) => {
            let code = frames::print(&session, &context.output, &found, path, terminal, stream).await?;
            match code {
                None | Some(0) => Ok(()),
                Some(code) => Err(Failure::Said(code)),
            }
        }
    }
}

/// Splits `ADDRESS.SKILL` at its first dot: no address holds one.
fn target(text: &str) -> Result<(Address, SkillPath), Failure> {
    let Some((address, path)) = text.split_once('.') else {
        let address = Address::parse(text)?;
        return Err(Failure::usage(
            format!("\"{address}\" names a CI and no skill"),
            format!("write ADDRESS.SKILL, such as {address}.status; see: aish describe {address}"),
        ));
    };
    Ok((Address::parse(address)?, SkillPath::parse(path)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_an_address_and_a_path() {
        let (address, path) = target("Web@beta.optimize.apply").unwrap();
        assert_eq!((address.to_string().as_str(), path.as_str()), ("web@beta", "optimize.apply"));
    }

    #[test]
    fn bad_02_bad_03_targets_are_usage_errors() {
        for bad in [
            "",
            "web",
            "web.",
            "web..x",
            "web.$JS",
            ".status",
            "web@.status",
            "web@b@c.status",
            "web@*.status",
            "$SYS.x",
            &format!("web.{}", "a".repeat(65)),
        ] {
            assert_eq!(target(bad).unwrap_err().code(), 2, "{bad}");
        }
    }
}
