//! Typed services: tarpc traits over the bus's request and reply, a message at a time, so that a service can sit
//! behind a queue group and no channel is kept per client.

use std::{fmt, marker::PhantomData, sync::Arc, time::Duration};

use async_nats::Subscriber;
use bytes::Bytes;
use futures::{StreamExt, future::BoxFuture};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tarpc::{
    ServerError,
    client::{RpcError, stub::Stub},
    context::{self, Context},
};
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use crate::{
    blob::PASSING,
    body,
    bus::{Bus, HeaderMap, Message},
    client::ERROR_HEADER,
    dispatch::Journal,
    envelope::{DEFAULT_TIMEOUT, MAX_TIMEOUT},
    error::{Code, Error},
    json,
    name::{quoted, quoted_within},
    subject::{Caller, NOT_OWN_INBOX, may_reply},
    task, trace,
};

/// The target of services that all nodes share; it is no name, so no user can bear it.
pub const SHARED: &str = "_";

/// What travels: our own envelope around tarpc's request, because a hostile deadline inside tarpc's would panic its
/// decoder.
#[derive(Debug, Serialize, Deserialize)]
struct Envelope<R> {
    #[serde(default)]
    timeout_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    traceparent: Option<String>,
    /// The version of who asks, for messages only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    aigis: Option<String>,
    request: R,
}

/// How long who answers may take to be back on another server of the bus, when the one it used went away.
const BACK: Duration = Duration::from_secs(3);
/// How long is waited for that between two attempts.
const PAUSE: Duration = Duration::from_millis(100);
/// How many requests a service has under way; whoever asks beyond that is told so.
const AT_ONCE: usize = 4_096;
/// This version.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The context of a request that has that long.
#[must_use]
pub fn within(time: Duration) -> Context {
    let mut context = context::current();
    context.deadline = std::time::Instant::now() + time;
    context
}

/// The client side of a typed service: a [`Stub`] that asks over the bus.
pub struct Asker<Request, Response> {
    bus: Bus,
    subject: String,
    types: PhantomData<fn(Request) -> Response>,
}

impl<Request, Response> fmt::Debug for Asker<Request, Response> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Asker").field("subject", &self.subject).finish_non_exhaustive()
    }
}

impl<Request, Response> Clone for Asker<Request, Response> {
    fn clone(&self) -> Self {
        Self { bus: self.bus.clone(), subject: self.subject.clone(), types: PhantomData }
    }
}

impl<Request, Response> Asker<Request, Response> {
    /// Asks `service` of `target`, a user or a shared name.
    #[must_use]
    pub fn new(bus: &Bus, target: &str, service: &str) -> Self {
        let subject = bus.subjects().rpc(bus.caller(), target, service);
        Self { bus: bus.clone(), subject, types: PhantomData }
    }

    /// Sends a request. One that surely arrived nowhere is sent again over a bus of several servers.
    async fn request(&self, body: Bytes, deadline: Instant) -> Result<Message, Error> {
        let until = deadline.min(Instant::now() + BACK);
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.bus.request(self.subject.clone(), None, body.clone(), left).await {
                Err(error) if self.can_repeat(&error) && Instant::now() + PAUSE < until => {
                    tracing::debug!(%error, "the request is sent again");
                    tokio::time::sleep(PAUSE).await;
                }
                done => return done,
            }
        }
    }

    fn can_repeat(&self, error: &Error) -> bool {
        let unsent = error.code == Code::Unavailable && error.detail("sent") == Some(&false.into());
        unsent && self.bus.has_several()
    }
}

impl<Request, Response> Stub for Asker<Request, Response>
where
    Request: Serialize + Send + Sync + tarpc::RequestName,
    Response: DeserializeOwned + Send + Sync,
{
    type Req = Request;
    type Resp = Response;

    async fn call(&self, context: context::Context, request: Request) -> Result<Response, RpcError> {
        let timeout = context.deadline.saturating_duration_since(std::time::Instant::now()).min(MAX_TIMEOUT);
        let timeout_ms = u64::try_from(timeout.as_millis()).ok();
        let envelope = Envelope { timeout_ms, traceparent: trace::current(), aigis: Some(VERSION.to_owned()), request };
        let body = serde_json::to_vec(&envelope).map_err(|error| RpcError::Send(Box::new(error)))?;
        let deadline = Instant::now() + timeout;
        let body = body::outgoing(&self.bus, body.into(), deadline).await.map_err(failed)?;
        let reply = self.request(body, deadline).await.map_err(failed)?;
        if reply.headers.as_ref().is_some_and(|headers| headers.get(ERROR_HEADER).is_some()) {
            let error = serde_json::from_slice::<Error>(&reply.payload)
                .unwrap_or_else(|_| Error::internal(format!("the reply of {} is unusable", self.subject)));
            return Err(failed(error));
        }
        let body = body::incoming(&self.bus, reply.payload, deadline).await.map_err(failed)?;
        serde_json::from_slice(&body).map_err(|error| RpcError::Send(Box::new(error)))
    }
}

/// Carries a whole [`Error`] through tarpc's own.
fn failed(error: Error) -> RpcError {
    RpcError::Send(Box::new(error))
}

/// The error within what tarpc says.
#[must_use]
pub fn error(error: &RpcError) -> Error {
    match error {
        RpcError::Send(inner) => match inner.downcast_ref::<Error>() {
            Some(error) => error.clone(),
            None => Error::internal(format!("the typed call failed: {inner}")),
        },
        RpcError::DeadlineExceeded => {
            Error::new(Code::DeadlineExceeded, "the typed call did not end before its deadline")
        }
        other => Error::internal(format!("the typed call failed: {other}")),
    }
}

/// What a typed service answered, or why nothing came of asking it.
///
/// # Errors
///
/// The service's own, or as [`error`].
pub fn answered<T>(answer: Result<Result<T, Error>, RpcError>) -> Result<T, Error> {
    answer.unwrap_or_else(|failure| Err(error(&failure)))
}

/// A running answer of a typed service.
pub type Answering<R> = BoxFuture<'static, Result<R, ServerError>>;

/// Serves a typed service until the returned value is dropped. `service` answers one caller's request, usually by
/// the generated server: `|caller, context, request| Issuer { caller }.serve().serve(context, request).boxed()`.
/// Requests that want their answer elsewhere than with their caller are dropped, and noted in the `journal`.
///
/// # Errors
///
/// As [`Bus::subscribe`].
pub async fn serve<Q, R, F>(
    bus: &Bus,
    target: &str,
    name: &'static str,
    journal: Arc<dyn Journal>,
    service: F,
) -> Result<task::Owned, Error>
where
    Q: DeserializeOwned + Send + 'static,
    R: Serialize + Send + 'static,
    F: Fn(Caller, Context, Q) -> Answering<R> + Send + Sync + 'static,
{
    let requests = bus.subscribe(&bus.subjects().rpc_served(target, name)).await?;
    Ok(answering(bus, requests, name, journal, service))
}

/// Serves a typed service that all nodes share: each request goes to one of those that serve it.
///
/// # Errors
///
/// As [`Bus::subscribe`].
pub async fn serve_shared<Q, R, F>(
    bus: &Bus,
    name: &'static str,
    journal: Arc<dyn Journal>,
    service: F,
) -> Result<task::Owned, Error>
where
    Q: DeserializeOwned + Send + 'static,
    R: Serialize + Send + 'static,
    F: Fn(Caller, Context, Q) -> Answering<R> + Send + Sync + 'static,
{
    let requests = bus.subscribe_shared(&bus.subjects().rpc_served(SHARED, name), name).await?;
    Ok(answering(bus, requests, name, journal, service))
}

fn answering<Q, R, F>(
    bus: &Bus,
    mut requests: Subscriber,
    name: &'static str,
    journal: Arc<dyn Journal>,
    service: F,
) -> task::Owned
where
    Q: DeserializeOwned + Send + 'static,
    R: Serialize + Send + 'static,
    F: Fn(Caller, Context, Q) -> Answering<R> + Send + Sync + 'static,
{
    let (bus, service) = (bus.clone(), Arc::new(service));
    task::Owned::spawn("rpc", async move {
        let tracker = TaskTracker::new();
        while let Some(message) = requests.next().await {
            let Some(caller) = bus.subjects().rpc_caller(&message.subject) else { continue };
            let Some(reply) = message.reply.clone().filter(|reply| may_reply(&caller.name, reply)) else {
                let journal = journal.clone();
                if tracker.len() < AT_ONCE {
                    tracker.spawn(async move { journal.refused(&caller, name, NOT_OWN_INBOX).await });
                }
                continue;
            };
            if tracker.len() >= AT_ONCE {
                let error =
                    Error::new(Code::ResourceExhausted, format!("service {name} has {AT_ONCE} requests under way"));
                respond::<R>(&bus, reply.into_string(), Err(error.hint("ask again in a moment"))).await;
                continue;
            }
            let (bus, service) = (bus.clone(), service.clone());
            let answering = async move {
                let body = body::incoming(&bus, message.payload, Instant::now() + PASSING).await;
                let begun = bus
                    .admit(&caller.name)
                    .and(body)
                    .and_then(|body| read(name, &body))
                    .map(|(context, request)| (context.deadline, service(caller, context, request)));
                let result = match begun {
                    Ok((deadline, running)) => answer(name, deadline, running).await,
                    Err(error) => Err(error),
                };
                respond(&bus, reply.into_string(), result).await;
            };
            tracker.spawn_on(answering, &tokio::runtime::Handle::current());
        }
    })
}

/// Reads a request; the context's deadline is ours, clamped before any duration is made of it.
fn read<Q: DeserializeOwned>(name: &str, body: &[u8]) -> Result<(Context, Q), Error> {
    let value = json::read_saturating(body, &["timeout_ms"])
        .map_err(|error| Error::invalid(format!("the request to service {name} is unusable: {}", error.message)))?;
    let caller = value.get("aigis").and_then(|version| version.as_str()).map_or("that is unknown".to_owned(), quoted);
    let envelope: Envelope<Q> = serde_path_to_error::deserialize(value).map_err(|error| {
        let path = error.path().to_string();
        let text = quoted_within(&error.into_inner().to_string());
        if path.starts_with("request") && !path.contains('.') && text.starts_with("unknown variant") {
            let versions = format!("this node is Aigis {VERSION}, the caller of version {caller}");
            Error::new(Code::Unimplemented, format!("service {name} has no such method here: {text}; {versions}"))
                .hint("use the same version on both hosts")
        } else {
            let path = quoted(&path);
            Error::invalid(format!("the request to service {name} is unusable at {path}: {text}"))
        }
    })?;
    let timeout = envelope.timeout_ms.map_or(DEFAULT_TIMEOUT, Duration::from_millis).min(MAX_TIMEOUT);
    Ok((within(timeout), envelope.request))
}

/// Whether a body is a request of a typed service.
#[cfg(any(test, fuzzing))]
pub(crate) fn readable(body: &[u8]) -> Result<(), Error> {
    read::<crate::services::IssuerRequest>(crate::services::ISSUER, body).map(drop)
}

async fn answer<R>(name: &str, deadline: std::time::Instant, running: Answering<R>) -> Result<R, Error> {
    match tokio::time::timeout_at(deadline.into(), running).await {
        Ok(Ok(response)) => Ok(response),
        Ok(Err(ServerError { detail, .. })) => Err(Error::internal(detail)),
        Err(_) => Err(Error::new(Code::DeadlineExceeded, format!("service {name} did not answer before the deadline"))),
    }
}

async fn respond<R: Serialize>(bus: &Bus, reply: String, result: Result<R, Error>) {
    let written = result.and_then(|response| {
        serde_json::to_vec(&response)
            .map_err(|error| Error::internal(format!("the response has no JSON form: {error}")))
    });
    let outgoing = match written {
        Ok(body) => body::outgoing(bus, body.into(), Instant::now() + PASSING).await,
        Err(error) => Err(error),
    };
    let (headers, body) = outgoing.map_or_else(
        |error| {
            let mut headers = HeaderMap::new();
            headers.insert(ERROR_HEADER, error.code.as_str());
            (Some(headers), serde_json::to_vec(&error).unwrap_or_default().into())
        },
        |body| (None, body),
    );
    if let Err(error) = bus.publish(reply, headers, body).await {
        tracing::warn!(%error, "a typed reply was not sent");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    enum Asked {
        Add { left: i64, right: Role },
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Role {
        Viewer,
    }

    fn refused(body: &str) -> Error {
        let error = read::<Asked>("sums", body.as_bytes()).map(|(_, asked)| asked).unwrap_err();
        assert!(error.message.contains("sums") && !error.message.chars().any(char::is_control), "{error}");
        error
    }

    #[test]
    fn bad_23_requests_name_service_and_method() {
        let good = r#"{"Add":{"left":1,"right":"viewer"}}"#;
        for cut in 0..good.len() {
            let body = format!(r#"{{"request":{}"#, &good[..cut]);
            assert_eq!(refused(&body).code, Code::InvalidArgument, "{body}");
        }
        for (body, code, named) in [
            (r#"{"request":{"Burn\u001b":{}}}"#, Code::Unimplemented, "Burn\\u{1b}"),
            (r#"{"request":"Burn"}"#, Code::Unimplemented, "Burn"),
            (r#"{"aigis":"9.8.7","request":"Burn"}"#, Code::Unimplemented, "the caller of version 9.8.7"),
            (r#"{"request":"Burn"}"#, Code::Unimplemented, VERSION),
            (r#"{"request":{"Add":{"left":1,"right":"root"}}}"#, Code::InvalidArgument, "request.Add.right"),
            (r#"{"request":{"Add":{"left":"1","right":"viewer"}}}"#, Code::InvalidArgument, "request.Add.left"),
            (r#"{"timeout_ms":-1,"request":{}}"#, Code::InvalidArgument, "timeout_ms"),
            (r#"{"context":{"deadline":{"secs":18446744073709551615,"nanos":0}}}"#, Code::InvalidArgument, "request"),
            ("", Code::InvalidArgument, "byte 0"),
        ] {
            let error = refused(body);
            assert_eq!((error.code, error.message.contains(named)), (code, true), "{body}: {error}");
        }
        for timeout in ["18446744073709551615", "18446744073709551616", "1e300", &"9".repeat(100_000)] {
            let body = format!(r#"{{"timeout_ms":{timeout},"request":{good}}}"#);
            let (context, asked) = read::<Asked>("sums", body.as_bytes()).unwrap();
            assert_eq!(asked, Asked::Add { left: 1, right: Role::Viewer });
            assert!(context.deadline <= std::time::Instant::now() + MAX_TIMEOUT);
        }
    }

    proptest::proptest! {
        #[test]
        fn bad_23_any_body_is_read_or_refused(body in "\\{(\"[a-z_]{0,10}\":[0-9eE.-]{0,30},?){0,3}(\"request\":.{0,40})?\\}?") {
            let _ = read::<Asked>("sums", body.as_bytes());
        }

        #[test]
        fn bad_23_a_request_reads_back(timeout_ms: Option<u64>, left: i64) {
            let request = Asked::Add { left, right: Role::Viewer };
            let envelope = Envelope { timeout_ms, traceparent: None, aigis: None, request };
            let body = serde_json::to_vec(&envelope).unwrap();
            let (_, read) = read::<Asked>("sums", &body).unwrap();
            proptest::prop_assert_eq!(read, Asked::Add { left, right: Role::Viewer });
        }
    }
}
