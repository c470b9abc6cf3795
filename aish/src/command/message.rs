use aigis_proxy::{Address, NodeName, SkillPath, client::Response};
use aigis_registry::Kind;

use super::broadcast::{self, Selector};
use crate::{
    ask::ask,
    context::Context,
    exit::Failure,
    frames::{self, Style},
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
        let plan = self.plan()?;
        let session = context.session().await?;
        let takes_input = session.find(address)?.takes_input();
        let message = message::make(plan, takes_input, &context.output).await?;
        // Reading may have taken long: what the name means is asked anew.
        let found = session.find(address)?;
        let mut arguments = Arguments::default();
        arguments.args.push(message.text.into());
        if let Some(input) = message.input {
            arguments.kwargs.insert("input".to_owned(), frames::field(input));
        }
        if self.yes {
            arguments.kwargs.insert("confirm".to_owned(), true.into());
        }
        let path = SkillPath::parse("message")?;
        let result = match ask(&session, &found, &path, arguments, context.global.timeout).await? {
            Response::Value(value) => render::reply(&context.output, &value, &found.address),
            Response::Stream(stream) => {
                frames::print(&session, &context.output, &found, "message", Style::default(), stream).await.map(drop)
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
