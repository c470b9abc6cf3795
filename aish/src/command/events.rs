use aigis_proxy::{Bus, Error, Name, bus::from_store};
use futures::StreamExt;
use serde_json::{Value, json};

use crate::{
    context::Context,
    exit::Failure,
    output::{Output, Pen, Printer},
};

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
        let printer = Printer::start(&context.output);
        let pen = printer.pen();
        printer.until(true, self.follow(&bus, pen)).await
    }

    async fn follow(self, bus: &Bus, pen: Pen) -> Result<(), Failure> {
        let prefix = bus.subjects().events("*");
        let mut events = bus.subscribe(&prefix).await?;
        let depth = prefix.split('.').count() - 2;
        let mut link = bus.link();
        loop {
            let message = tokio::select! {
                message = events.next() => message,
                () = lost(&mut link) => {
                    pen.put(|output| {
                        output.note("the bus is lost; events may be missing until it is back");
                        Ok(())
                    })
                    .await?;
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
            let subject = message.subject.split('.').skip(depth).collect::<Vec<_>>().join(".");
            let kind = subject.split('.').next().unwrap_or_default();
            if self.kind.is_empty() || self.kind.iter().any(|wanted| wanted.as_str() == kind) {
                pen.put(move |output| print(output, &subject, &message.payload)).await?;
            }
        }
    }
}

/// Prints one event, whose subject is its kind, its publisher and what it is about.
fn print(output: &Output, subject: &str, payload: &[u8]) -> Result<(), Failure> {
    let mut tokens = subject.splitn(3, '.');
    let mut token = || tokens.next().unwrap_or_default();
    let (kind, publisher, topic) = (token(), token(), token());
    let event = serde_json::from_slice(payload)
        .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(payload).into_owned()));
    if output.is_json() {
        return output.json(&json!({"kind": kind, "publisher": publisher, "topic": topic, "event": event}));
    }
    output.text(&format!("{kind}\t{publisher}\t{topic}\t{event}"))
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
