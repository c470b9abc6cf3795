//! The NATS service protocol (`$SRV.PING`, `$SRV.INFO`, `$SRV.STATS`), so that `nats micro ls` sees the mesh.
//!
//! Answered by our own code: the client's service module replies to any subject, and whatever does so lends its
//! voice to the asker (see `docs/decisions/0001-caller-in-the-subject.md`).

use std::{sync::atomic::Ordering, time::SystemTime};

use futures::StreamExt;
use serde_json::{Value, json};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use crate::{bus::Bus, error::Error, serve::Server, task};

/// Answers the service protocol for a server until the returned value is dropped.
///
/// # Errors
///
/// As [`Bus::subscribe`].
pub async fn answer(bus: &Bus, server: &Server, version: &'static str) -> Result<task::Owned, Error> {
    let mut asked = bus.subscribe("$SRV.>").await?;
    let (bus, server) = (bus.clone(), server.clone());
    let id = crate::subject::Token::random();
    let started = OffsetDateTime::from(SystemTime::now()).format(&Rfc3339).unwrap_or_default();
    Ok(task::Owned::spawn("service-info", async move {
        while let Some(message) = asked.next().await {
            // Answers go to inboxes and nowhere else.
            let Some(reply) = message.reply.filter(|reply| reply.starts_with("_INBOX.")) else { continue };
            let name = format!("aigis-{}", bus.mesh());
            let Some(verb) = verb(&message.subject, &name, id.as_str()) else { continue };
            let mut body = json!({
                "name": name, "id": id.as_str(), "version": version,
                "metadata": {"node": bus.user().as_str(), "mesh": bus.mesh().as_str()},
            });
            describe(&mut body, verb, &bus, &server, &started);
            if let Err(error) = bus.publish(reply.into_string(), None, body.to_string().into()).await {
                tracing::debug!(%error, "a service reply was not sent");
            }
        }
    }))
}

/// The verb of a service subject that means this service: `$SRV.VERB[.NAME[.ID]]`.
fn verb<'a>(subject: &'a str, name: &str, id: &str) -> Option<&'a str> {
    let mut tokens = subject.strip_prefix("$SRV.")?.split('.');
    let verb = tokens.next()?;
    let meant = tokens.next().is_none_or(|token| token == name) && tokens.next().is_none_or(|token| token == id);
    (meant && tokens.next().is_none()).then_some(verb)
}

fn describe(body: &mut Value, verb: &str, bus: &Bus, server: &Server, started: &str) {
    let subject = bus.subjects().served_by(bus.user());
    let counters = server.counters();
    let requests = counters.requests.load(Ordering::Relaxed);
    let busy = counters.busy_ns.load(Ordering::Relaxed);
    let more = match verb {
        "PING" => json!({"type": "io.nats.micro.v1.ping_response"}),
        "INFO" => json!({
            "type": "io.nats.micro.v1.info_response", "description": "skills of the CIs that this node serves",
            "endpoints": [{"name": "skills", "subject": subject, "queue_group": "", "metadata": {}}],
        }),
        "STATS" => json!({
            "type": "io.nats.micro.v1.stats_response", "started": started,
            "endpoints": [{
                "name": "skills", "subject": subject, "queue_group": "", "num_requests": requests,
                "num_errors": counters.errors.load(Ordering::Relaxed), "last_error": "",
                "processing_time": busy, "average_processing_time": busy.checked_div(requests).unwrap_or(0),
            }],
        }),
        _ => return,
    };
    if let (Value::Object(body), Value::Object(more)) = (body, more) {
        body.extend(more);
    }
}

#[cfg(test)]
mod tests {
    use super::verb;

    #[test]
    fn verbs_are_for_everyone_for_the_name_or_for_one() {
        assert_eq!(verb("$SRV.PING", "a", "1"), Some("PING"));
        assert_eq!(verb("$SRV.INFO.a", "a", "1"), Some("INFO"));
        assert_eq!(verb("$SRV.STATS.a.1", "a", "1"), Some("STATS"));
        for other in ["$SRV.PING.b", "$SRV.PING.a.2", "$SRV.PING.a.1.x"] {
            assert_eq!(verb(other, "a", "1"), None);
        }
    }
}
