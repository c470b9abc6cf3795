use aigis_proxy::{Address, Code, Error, Meta, SkillPath, client::Response};
use aigis_registry::{Addressee, Asking};

use clap_complete::ArgValueCompleter;

use crate::{
    ask::{How, ask},
    completion,
    context::Context,
    exit::Failure,
    frames, message, render,
    values::{Arguments, Words},
};

/// Call one skill of one CI
///
/// A VALUE is JSON if it parses as JSON, else a string; - is what standard input brings. A string is printed as it is, and so
/// are bytes, but not on a terminal; a stream as it comes, with --json as JSON Lines.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  aish call web.status\n  aish call web.logs tail=20 follow=true\n  aish call web@beta.stop grace_s=30"
)]
pub(crate) struct Call {
    /// The CI and its skill, such as web.status or web@beta.optimize.apply
    #[arg(value_name = "ADDRESS.SKILL", add = ArgValueCompleter::new(completion::paths))]
    target: String,
    #[command(flatten)]
    words: Words,
    /// The call's own id, of 1 to 64 letters, digits, - and _: within 10 minutes, who calls again with it gets the first
    /// outcome, not a second effect; give it before the VALUEs
    #[arg(long, value_name = "ID", value_parser = id)]
    id: Option<String>,
}

impl Call {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Failure> {
        let target = target(&self.target)?;
        let input = match self.words.inputs() {
            0 => None,
            1 => Some(frames::field(message::read_input(&context.output).await?)),
            _ => return Err(Failure::usage("there is one standard input", "write - once")),
        };
        let arguments = Arguments::read(&self.words, input.as_ref())?;
        let asked = Asked { arguments, id: self.id, terminal: false };
        let session = context.session().await?;
        let (found, path) = match target {
            Target::Of(address, path) => (session.find(&address).map_err(Failure::Address)?, path),
            Target::Path(path) => {
                let found = session.find_path(&path);
                found.or_else(|error| folded(&session, &path).ok_or(error)).map_err(of_path)?
            }
        };
        print(context, &session, &found, &path, asked).await
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
pub(super) async fn run(context: &Context, address: &Address, path: &SkillPath, asked: Asked) -> Result<(), Failure> {
    let session = context.session().await?;
    let found = session.find(address).map_err(Failure::Address)?;
    print(context, &session, &found, path, asked).await
}

async fn print(
    context: &Context,
    session: &Asking,
    found: &Addressee,
    path: &SkillPath,
    Asked { arguments, id, terminal }: Asked,
) -> Result<(), Failure> {
    let how = How { timeout: context.global.timeout, id };
    match ask(session, found, path, arguments, how).await? {
        Response::Value(value) => render::result(&context.output, path.as_str(), &value, &found.address),
        Response::Stream(stream) => {
            let code = frames::print(session, &context.output, found, path, terminal, stream).await?;
            match code {
                None | Some(0) => Ok(()),
                Some(code) => Err(Failure::Said(code)),
            }
        }
    }
}

/// What is to be called.
#[derive(Debug)]
enum Target {
    /// That skill of that CI.
    Of(Address, SkillPath),
    /// What that means in the mesh's namespace: a CI and its skill, or a leaf that a plugin claims.
    Path(SkillPath),
}

/// Reads `ADDRESS.SKILL`, split at its first dot, since no address holds one; or a path of the namespace.
fn target(text: &str) -> Result<Target, Failure> {
    if let Ok(path) = SkillPath::parse(text) {
        return Ok(Target::Path(path));
    }
    let Some((address, path)) = text.split_once('.') else {
        let address = Address::parse(text)?;
        return Err(Failure::usage(
            format!("\"{address}\" names a CI and no skill"),
            format!("write ADDRESS.SKILL, such as {address}.status; see: aish describe {address}"),
        ));
    };
    Ok(Target::Of(Address::parse(address)?, SkillPath::parse(path)?))
}

/// What a path means whose first name is a CI's, written in capitals: people may do that.
fn folded(session: &Asking, path: &SkillPath) -> Option<(Addressee, SkillPath)> {
    let (first, rest) = path.as_str().split_once('.')?;
    let folded = first.to_ascii_lowercase();
    let is_new = folded != first;
    let path = is_new.then(|| SkillPath::parse(&format!("{folded}.{rest}")))?.ok()?;
    session.find_path(&path).ok()
}

/// Why a path leads nowhere: its first name means nothing, or more than one thing, else only its rest is unknown.
fn of_path(error: Error) -> Failure {
    let of_a_ci = error.detail("kind").is_some() || error.code != Code::NotFound;
    if of_a_ci { Failure::Address(error) } else { Failure::Call(error) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_an_address_and_a_path() {
        let Target::Of(address, path) = target("Web@beta.optimize.apply").unwrap() else { panic!("no address") };
        assert_eq!((address.to_string().as_str(), path.as_str()), ("web@beta", "optimize.apply"));
        for leaf in ["web.status", "backloggery.getFortuneCookie", "alone"] {
            assert!(matches!(target(leaf).unwrap(), Target::Path(path) if path.as_str() == leaf), "{leaf}");
        }
        assert!(matches!(target("my-web.status").unwrap(), Target::Of(..)));
    }

    #[test]
    fn bad_02_bad_03_targets_are_usage_errors() {
        for bad in [
            "",
            "my-web",
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
