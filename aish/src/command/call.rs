use aigis_proxy::{Address, Meta, SkillPath, client::Response};

use crate::{
    ask::{How, ask},
    context::Context,
    exit::Failure,
    frames, render,
    values::Arguments,
};

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
    /// The call's own id, of 1 to 64 letters, digits, - and _: within 10 minutes, who calls again with it gets the first
    /// outcome, not a second effect; give it before the VALUEs
    #[arg(long, value_name = "ID", value_parser = id)]
    id: Option<String>,
}

impl Call {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Failure> {
        let (address, path) = target(&self.target)?;
        let arguments = Arguments::read(&self.words)?;
        run(context, &address, &path, Asked { arguments, id: self.id, terminal: false }).await
    }
}

/// Reads a call's id.
fn id(text: &str) -> Result<String, String> {
    Meta::is_call_id(text).then(|| text.to_owned()).ok_or_else(|| "write 1 to 64 of A-Z a-z 0-9 _ -".to_owned())
}

/// What is asked of a skill.
#[derive(Debug, Default)]
pub(super) struct Asked {
    /// With what.
    pub(super) arguments: Arguments,
    /// Under which id, where the call is repeated.
    pub(super) id: Option<String>,
    /// Whether what comes is a terminal's bytes, to be printed as they are.
    pub(super) terminal: bool,
}

/// Calls a skill and prints what it answers.
///
/// # Errors
///
/// What the call, or the printing, meets; the exit code that a stream's last frame carries.
pub(super) async fn run(
    context: &Context,
    address: &Address,
    path: &SkillPath,
    Asked { arguments, id, terminal }: Asked,
) -> Result<(), Failure> {
    let session = context.session().await?;
    let found = session.find(address)?;
    let how = How { timeout: context.global.timeout, id };
    match ask(&session, &found, path, arguments, how).await? {
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
