use aigis_proxy::{Address, Code, Error, NodeName, SkillPath, client::Response};
use aigis_registry::Kind;

use super::broadcast::{self, Selector};
use crate::{
    ask::ask,
    cli::near_command,
    context::Context,
    exit::{Failure, Usage},
    frames,
    message::{self, Plan, plan},
    render,
    values::Arguments,
};

/// Send a message to a CI, or to many
///
/// The words are the message. Standard input goes with it if it is a pipe or a file, and is the message if there are
/// no words. `@word` selects by purpose, `@KEY=VALUE` by label.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  aish web status\n  aish web \"what is running?\"\n  aish web restart --yes\n  aish @coding status\n  aish --all health"
)]
pub(crate) struct Message {
    /// The CI (NAME or NAME@NODE) or @SELECTOR, then the words of the message; a last word - reads standard input
    #[arg(value_name = "CI [MESSAGE]", required = true)]
    pub(crate) words: Vec<String>,
    /// Ask every CI of the mesh
    #[arg(long)]
    pub(crate) all: bool,
    /// Never read standard input
    #[arg(short, long)]
    pub(crate) no_stdin: bool,
    /// Let the message change something
    #[arg(long)]
    pub(crate) yes: bool,
    /// With --all or @SELECTOR: only of this kind
    #[arg(long, value_name = "K")]
    pub(crate) kind: Vec<Kind>,
    /// With --all or @SELECTOR: only on this node
    #[arg(long, value_name = "N")]
    pub(crate) node: Vec<NodeName>,
}

impl Message {
    pub(crate) async fn run(mut self, context: &Context) -> Result<(), Failure> {
        let selector = match self.words.first().and_then(|word| word.strip_prefix('@')) {
            Some(selector) if !self.all => Some(Selector::parse(selector)?),
            _ => self.all.then_some(Selector::Everyone),
        };
        if selector.is_none() || !self.all {
            let first = self.words.remove(0);
            if selector.is_none() {
                return self.one(context, &Address::parse(&first)?).await;
            }
        }
        match selector {
            Some(selector) => self.many(context, selector).await,
            None => Ok(()),
        }
    }

    async fn one(self, context: &Context, address: &Address) -> Result<(), Failure> {
        if !self.kind.is_empty() || !self.node.is_empty() {
            return Err(Failure::usage("--kind and --node narrow --all or @SELECTOR", format!("write {address}@NODE")));
        }
        let plan = self.plan().map_err(|failure| meant(failure, address))?;
        let session = context.session().await?;
        let takes_input = session.find(address).map_err(|error| meant(Failure::Address(error), address))?.takes_input();
        let message = message::make(plan, takes_input, &context.output).await?;
        // Reading may have taken long: what the name means is asked anew.
        let found = session.find(address).map_err(Failure::Address)?;
        let mut arguments = Arguments::default();
        arguments.args.push(message.text.into());
        if let Some(input) = message.input {
            arguments.kwargs.insert("input".to_owned(), frames::field(input));
        }
        if self.yes {
            arguments.kwargs.insert("confirm".to_owned(), true.into());
        }
        let path = SkillPath::parse("message")?;
        let result = match ask(&session, &found, &path, arguments, context.global.timeout.into()).await? {
            Response::Value(value) => render::reply(&context.output, &value, &found.address),
            Response::Stream(stream) => {
                frames::print(&session, &context.output, &found, &path, false, stream).await.map(drop)
            }
        };
        if result.is_ok() && message.beside > 0 && !takes_input {
            context.output.note(&format!(
                "{} bytes of standard input were not used: {} takes none",
                message.beside, found.address
            ));
        }
        result
    }

    async fn many(self, context: &Context, selector: Selector) -> Result<(), Failure> {
        if self.yes {
            return Err(Failure::usage(
                "--yes does not go with many CIs: only read skills run there",
                "change them one by one: aish CI MESSAGE --yes",
            ));
        }
        let message = message::make(self.plan()?, false, &context.output).await?;
        if message.beside > 0 {
            context.output.note(&format!("{} bytes of standard input were not used", message.beside));
        }
        broadcast::run(context, &selector, &self.kind, &self.node, &message.text).await
    }

    /// What the message is made of; nothing to send is known before anything is connected.
    fn plan(&self) -> Result<Plan, Failure> {
        let plan = plan(&self.words, self.no_stdin, message::stdin());
        match plan.refusal() {
            Some(failure) => Err(failure),
            None => Ok(plan),
        }
    }
}

/// Says which command a word is near that is no CI, or to which nothing is said.
fn meant(failure: Failure, address: &Address) -> Failure {
    let Some(command) = near_command(address.name.as_str()).filter(|_| address.node.is_none()) else { return failure };
    let hint = |own: Option<String>| {
        let command = format!("did you mean: {command}");
        Some(own.map_or_else(|| command.clone(), |own| format!("{command}; or {own}")))
    };
    match failure {
        Failure::Usage(usage) => Failure::Usage(Usage { hint: hint(usage.hint), ..usage }),
        Failure::Address(error) if error.code == Code::NotFound => {
            Failure::Address(Error { hint: hint(error.hint), ..error })
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistyped_command_is_recognised() {
        let hint = |address: &str, failure: Failure| match meant(failure, &Address::parse(address).unwrap()) {
            Failure::Usage(usage) => usage.hint,
            Failure::Address(error) => error.hint,
            other => panic!("{other:?}"),
        };
        let nothing = || Failure::usage("there is no message", "say one");
        assert_eq!(hint("lst", nothing()).as_deref(), Some("did you mean: aish list; or say one"));
        assert_eq!(hint("web", nothing()).as_deref(), Some("say one"));
        let none = Failure::Address(Error::new(Code::NotFound, "no CI is called lgos"));
        assert_eq!(hint("lgos", none).as_deref(), Some("did you mean: aish logs"));
    }
}
