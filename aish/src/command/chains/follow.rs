use clap_complete::ArgValueCompleter;

use crate::{
    chains,
    command::push::finish::ended,
    completion,
    context::Context,
    exit::Failure,
    follow::{
        self, Wishes,
        ports::{self, PortOption, Ports},
        teller::Teller,
    },
    output::Printer,
};

/// Follow a chain from any host
///
/// As aish push does, from its first step on. Nothing comes back into a directory, and Ctrl-C ends only this command.
#[derive(Debug, clap::Args)]
pub(super) struct Follow {
    /// The chain: its id, or the last 6 or more characters of it
    #[arg(value_name = "ID", add = ArgValueCompleter::new(completion::chains))]
    id: String,
    /// Leave once the app serves
    #[arg(long, value_name = "WHAT", value_parser = ["ready"])]
    until: Option<String>,
    /// A port of the app as that one of this host, or none
    #[arg(long = "port", value_name = "LOCAL:PORT", default_value = "none")]
    ports: Vec<PortOption>,
}

impl Follow {
    pub(super) async fn run(self, context: &Context) -> Result<(), Failure> {
        let ports = ports::Wish::of(&self.ports)?;
        ports.check()?;
        let asking = context.session().await?;
        let chain = chains::find(&asking.shared(), &self.id).await?;
        let wishes = Wishes { until_ready: self.until.is_some(), steers: false, cancels: false };
        let printer = Printer::start(&context.output);
        let teller = Teller::new(context.output, printer.pen());
        let mut ports = Ports::new(&asking, &chain.app, &ports);
        let following = async move {
            let followed = follow::follow(&asking, chain, &wishes, &mut ports, None, &teller).await?;
            ended(&followed, &teller).await
        };
        printer.until(true, Box::pin(following)).await
    }
}
