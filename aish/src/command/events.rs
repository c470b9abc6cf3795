use aigis_proxy::{Bus, Error, Name, NodeName, Role, bus::from_store};
use aigis_registry::report::Event;
use futures::{StreamExt, stream::select_all};
use serde::Deserialize as _;
use serde_json::{Value, json};

use crate::{
    context::Context,
    exit::Failure,
    output::{Output, Pen, Printer},
};

/// Print the mesh's events as they come
///
/// What happens to nodes (kind `node`) and to their CIs (kind `ci`), and for admins all else. Goes on until Ctrl-C. With
/// --json, JSON Lines. Repeats of one option are "or", different options "and".
#[derive(Debug, clap::Args)]
pub(crate) struct Events {
    /// Only of this kind
    #[arg(long, value_name = "K")]
    kind: Vec<Name>,
    /// Only of this node
    #[arg(long, value_name = "N")]
    node: Vec<NodeName>,
    /// Only of the CI of that name, wherever it stands
    #[arg(long, value_name = "CI")]
    ci: Vec<Name>,
}

impl Events {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Failure> {
        let bus = context.connect().await?;
        let printer = Printer::start(&context.output);
        let pen = printer.pen();
        printer.until(true, self.follow(&bus, pen)).await
    }

    async fn follow(self, bus: &Bus, pen: Pen) -> Result<(), Failure> {
        let depth = bus.subjects().events("*").split('.').count() - 2;
        let mut heard = Vec::new();
        for kind in self.kinds(bus.role()) {
            heard.push(bus.subscribe(&bus.subjects().events(kind)).await?);
        }
        let mut events = select_all(heard);
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
            if self.wants(&subject) {
                pen.put(move |output| print(output, &subject, &message.payload)).await?;
            }
        }
    }
}

impl Events {
    /// The kinds to listen to: those that are named, else all that the role may hear.
    fn kinds(&self, role: Role) -> Vec<&str> {
        match role {
            _ if !self.kind.is_empty() => self.kind.iter().map(Name::as_str).collect(),
            Role::Admin => vec!["*"],
            _ => vec!["node", "ci"],
        }
    }

    /// Whether an event of that subject is wanted: its kind, its publisher, and for a CI its name.
    fn wants(&self, subject: &str) -> bool {
        let mut tokens = subject.split('.');
        let (kind, publisher, topic) = (tokens.next(), tokens.next(), tokens.next());
        let ci = topic.filter(|_| kind == Some("ci"));
        (self.kind.is_empty() || self.kind.iter().any(|wanted| Some(wanted.as_str()) == kind))
            && (self.node.is_empty() || self.node.iter().any(|wanted| Some(wanted.as_str()) == publisher))
            && (self.ci.is_empty() || self.ci.iter().any(|wanted| Some(wanted.as_str()) == ci))
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
    if matches!(kind, "node" | "ci")
        && let Ok(event) = Event::deserialize(&event)
    {
        return output.text(&told(&event, publisher));
    }
    output.text(&format!("{kind}\t{publisher}\t{topic}\t{event}"))
}

/// What a node tells of itself or of a CI: when, whom it is about, what, and what else is known.
fn told(event: &Event, publisher: &str) -> String {
    let about = event.ci.as_ref().map_or_else(|| publisher.to_owned(), |ci| format!("{ci}@{publisher}"));
    let detail: Vec<String> = match &event.detail {
        Value::Object(detail) => detail.iter().map(|(key, value)| format!("{key}={}", plain(value))).collect(),
        Value::Null => Vec::new(),
        other => vec![plain(other)],
    };
    [event.at.to_string(), about, event.what.clone(), detail.join(" ")].join("\t").trim_end().to_owned()
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_and_repeats_are_or() {
        let name = |text: &str| Name::parse(text).unwrap();
        let node = |text: &str| NodeName::parse(text).unwrap();
        let subjects = ["ci.alpha.web.started", "ci.beta.web.died", "node.beta.joined", "node.web.left"];
        let wanted = |events: &Events| subjects.map(|subject| events.wants(subject));
        let all = Events { kind: Vec::new(), node: Vec::new(), ci: Vec::new() };
        assert_eq!(wanted(&all), [true; 4]);
        let of_ci = Events { ci: vec![name("web")], ..all };
        assert_eq!(wanted(&of_ci), [true, true, false, false]);
        let there = Events { node: vec![node("beta")], ..of_ci };
        assert_eq!(wanted(&there), [false, true, false, false]);
        let nodes = Events { kind: vec![name("node")], ci: Vec::new(), ..there };
        assert_eq!(wanted(&nodes), [false, false, true, false]);
    }

    #[test]
    fn an_event_is_a_line() {
        let event = |json: &str| serde_json::from_str::<Event>(json).unwrap();
        let at = "2026-11-21T07:25:40.450Z";
        let died =
            event(&format!(r#"{{"at":"{at}","node":"beta","ci":"web","what":"died","detail":{{"exit_code":137}}}}"#));
        assert_eq!(told(&died, "beta"), format!("{at}\tweb@beta\tdied\texit_code=137"));
        let left = event(&format!(r#"{{"at":"{at}","node":"beta","what":"left","detail":null}}"#));
        assert_eq!(told(&left, "beta"), format!("{at}\tbeta\tleft"));
    }
}
