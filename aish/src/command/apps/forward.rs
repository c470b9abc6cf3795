use aigis_proxy::{Error, Name, tunnel::Hub};
use aigis_registry::Reach;
use clap_complete::ArgValueCompleter;
use serde_json::json;

use crate::{
    chains, completion,
    context::Context,
    exit::Failure,
    follow::ports::{Pair, PortOption},
    forward,
};

/// Bring ports of an app to this host, until Ctrl-C
///
/// Each connection to the port here goes to wherever the app runs then.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  aish apps forward shop\n  aish apps forward shop 8080:80 5432")]
pub(super) struct Forward {
    /// The app
    #[arg(value_name = "NAME", add = ArgValueCompleter::new(completion::apps))]
    name: Name,
    /// A port of the app, and which one it is here [default: all of the app's]
    #[arg(value_name = "[LOCAL:]PORT")]
    ports: Vec<String>,
}

impl Forward {
    pub(super) async fn run(self, context: &Context) -> Result<(), Failure> {
        let mut wanted = Vec::new();
        for text in &self.ports {
            let wrong =
                |why: String| Failure::usage(format!("\"{}\": {why}", aigis_proxy::quoted(text)), "such as 8080:80");
            match text.parse::<PortOption>().map_err(wrong)? {
                // Without a number of its own, the next free one will do.
                PortOption::Pair(Pair { local, port }) => wanted.push((text.contains(':').then_some(local), port)),
                PortOption::None => return Err(wrong("there is nothing to forward".to_owned())),
            }
        }
        let asking = context.session().await?;
        let app = chains::app(&asking.shared(), &self.name).await?;
        if wanted.is_empty() {
            let ports = app.instance.or(app.candidate).map(|instance| instance.ports).unwrap_or_default();
            wanted = ports.into_iter().map(|port| (None, port)).collect();
        }
        if wanted.is_empty() {
            return Err(Error::precondition(format!("{} has no port that is known", self.name))
                .hint(format!("name it: aish apps forward {} PORT", self.name))
                .into());
        }
        let hub = Hub::open(asking.bus()).await?;
        let reach = Reach::new(&hub, &asking.shared(), Some(&self.name));
        let mut forwards = Vec::new();
        for (local, port) in wanted {
            forwards.push(forward::Forward::listen(&reach, &self.name, local, port).await?);
        }
        for forward in &forwards {
            if context.output.is_json() {
                context.output.json(&json!({
                    "local": forward.local.port(), "port": forward.port, "url": forward.url(),
                }))?;
            } else {
                context.output.text(&forward.words(&self.name))?;
            }
        }
        // Until a signal ends this command.
        std::future::pending().await
    }
}
