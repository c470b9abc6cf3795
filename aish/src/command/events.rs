use aigis_proxy::{Error, Name, bus::from_store};
use futures::StreamExt;
use serde_json::{Value, json};

use crate::{context::Context, exit::Failure};

/// Print the mesh's events as they come
///
/// Goes on until Ctrl-C. With --json, JSON Lines.
#[derive(Debug, clap::Args)]
pub(crate) struct Events {
    /// Only of this kind
    #[arg(long, value_name = "K")]
    kind: Vec<Name>,
}

impl Events {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Failure> {
        let bus = context.connect().await?;
        let prefix = bus.subjects().events("*");
        let mut events = bus.subscribe(&prefix).await?;
        let depth = prefix.split('.').count() - 2;
        let mut link = bus.link();
        loop {
            let message = tokio::select! {
                message = events.next() => message,
                () = lost(&mut link) => {
                    context.output.note("the bus is lost; events may be missing until it is back");
                    continue;
                }
            };
            let Some(message) = message else {
                return Err(Error::unavailable("the connection to the bus was closed").into());
            };
            // Anyone may have the store answer here, under any publisher's name.
            if from_store(&message) {
                continue;
            }
            let mut tokens = message.subject.split('.').skip(depth);
            let (kind, publisher) = (tokens.next().unwrap_or_default(), tokens.next().unwrap_or_default());
            if !self.kind.is_empty() && !self.kind.iter().any(|wanted| wanted.as_str() == kind) {
                continue;
            }
            let rest = tokens.collect::<Vec<_>>().join(".");
            let event = serde_json::from_slice(&message.payload)
                .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&message.payload).into_owned()));
            if context.output.is_json() {
                context.output.json(&json!({"kind": kind, "publisher": publisher, "topic": rest, "event": event}))?;
            } else {
                context.output.text(&format!("{kind}\t{publisher}\t{rest}\t{event}"))?;
            }
        }
    }
}

/// Resolves each time the link breaks.
async fn lost(link: &mut tokio::sync::watch::Receiver<aigis_proxy::bus::Link>) {
    // A closed channel means a closed bus, which the subscription tells.
    loop {
        if link.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
        if !link.borrow_and_update().up {
            return;
        }
    }
}
