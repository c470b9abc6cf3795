//! A request on its way to an app, and the answer back.

use std::{net::SocketAddr, time::Duration};

use aigis_proxy::{Error, Name, services::chains::InstanceId, task};
use aigis_registry::{Reach, reach, shared::AppRecord};
use bytes::Bytes;
use http_body_util::{Either, Full};
use hyper::{
    HeaderMap, Method, Request, Response, StatusCode, Uri, Version,
    body::{Body as _, Incoming},
    header::{self, HeaderName, HeaderValue},
};
use hyper_util::rt::TokioIo;

use super::{
    Domain,
    kept::{Kept, Sender},
};

/// How long the records of apps may take to be read for the first time.
const KNOWN: Duration = Duration::from_secs(3);
/// How long an app may take to take a connection: as long as a move to another instance.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often a request without a body is sent that can be repeated.
const TRIES: usize = 3;
/// When whoever is told so may come again.
const RETRY_AFTER: &str = "5";
/// What is said between neighbours, and not passed on.
const HOP: [HeaderName; 7] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

type Answer = Response<Either<Incoming, Full<Bytes>>>;

/// What a gateway needs to pass requests on.
#[derive(Debug)]
pub(super) struct Passing {
    pub(super) domain: Domain,
    pub(super) reach: Reach,
    pub(super) kept: Kept,
}

impl Passing {
    /// Answers a request with what its app answers, or says why there is no such answer.
    pub(super) async fn answer(&self, request: Request<Incoming>, from: SocketAddr) -> Answer {
        let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok()).map(str::to_owned);
        let Some(host) = request.uri().authority().map(ToString::to_string).or(host) else {
            return said(StatusCode::BAD_REQUEST, "the request names no host\n".to_owned());
        };
        let (app, port) = match self.app(&host).await {
            Ok(found) => found,
            Err(answer) => return *answer,
        };
        let port = match serving(&app, port) {
            Ok(port) => port,
            Err(error) => return unavailable(&error),
        };
        match self.pass(request, from, &host, &app, port).await {
            Ok(answer) => answer,
            Err(Failed::Dial(error)) if app.instance.as_ref().is_some_and(|instance| !instance.ready) => {
                unavailable(&error)
            }
            Err(Failed::Dial(error)) => said(StatusCode::BAD_GATEWAY, format!("{}\n", error.message)),
            Err(Failed::Http(error)) => {
                let message = format!("the app {} broke off its answer: {error}\n", app.name);
                said(StatusCode::BAD_GATEWAY, message)
            }
        }
    }

    /// The app that a host name means.
    async fn app(&self, host: &str) -> Result<(std::sync::Arc<AppRecord>, Option<u16>), Box<Answer>> {
        for (name, port) in self.domain.read(host) {
            match self.reach.app(&name, KNOWN).await {
                Ok(Some(app)) => return Ok((app, port)),
                Ok(None) => {}
                Err(error) => return Err(Box::new(unavailable(&error))),
            }
        }
        let (shown, domain) = (aigis_proxy::quoted_within(host), &self.domain);
        let message =
            format!("no app of this mesh is called so: \"{shown}\"; an app is at APP.{domain} or APP-PORT.{domain}\n");
        Err(Box::new(said(StatusCode::NOT_FOUND, message)))
    }

    async fn pass(
        &self,
        mut request: Request<Incoming>,
        from: SocketAddr,
        host: &str,
        app: &AppRecord,
        port: u16,
    ) -> Result<Answer, Failed> {
        let is_upgrade = has_token(request.headers(), &header::CONNECTION, "upgrade")
            && request.headers().contains_key(header::UPGRADE);
        let client = is_upgrade.then(|| hyper::upgrade::on(&mut request));
        rewrite(&mut request, from, host, is_upgrade);
        // What can be said again is, where the app was about to end when it was said.
        let is_safe = matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS)
            && !is_upgrade
            && request.body().is_end_stream();
        if !is_safe {
            let (mut sender, _) = self.connect(&app.name, port).await?;
            let answer = sender.send_request(request.map(Either::Left)).await.map_err(Failed::Http)?;
            return Ok(returned(answer, client));
        }
        let again = request.into_parts().0;
        let again = || Request::from_parts(again.clone(), Either::Right(Full::new(Bytes::new())));
        if let Some(instance) = &app.instance
            && let Some(mut sender) = self.kept.take(&instance.id, port)
        {
            match sender.send_request(again()).await {
                Ok(answer) => {
                    self.kept.put(instance.id.clone(), port, sender);
                    return Ok(returned(answer, None));
                }
                // The app has closed it meanwhile.
                Err(error) => tracing::debug!(app = %app.name, %error, "a connection that was kept was of no use"),
            }
        }
        for left in (0..TRIES).rev() {
            let (mut sender, instance) = self.connect(&app.name, port).await?;
            match sender.send_request(again()).await {
                Ok(answer) => {
                    self.kept.put(instance, port, sender);
                    return Ok(returned(answer, None));
                }
                Err(error) if left == 0 => return Err(Failed::Http(error)),
                Err(error) => tracing::debug!(app = %app.name, %error, "a request is sent to an app again"),
            }
        }
        Err(Failed::Dial(Error::unavailable(format!("the app {} does not answer", app.name))))
    }

    /// A new connection to an app, and to which of its instances it leads.
    async fn connect(&self, app: &Name, port: u16) -> Result<(Sender, InstanceId), Failed> {
        let (tunnel, instance) = self.reach.dial(app, port, PATIENCE).await.map_err(Failed::Dial)?;
        let shaken = hyper::client::conn::http1::handshake(TokioIo::new(tunnel)).await;
        let (sender, connection) = shaken.map_err(Failed::Http)?;
        // It ends with its last answer, or with whoever reads that.
        drop(task::spawn("requests to an app", async move {
            if let Err(error) = connection.with_upgrades().await {
                tracing::debug!(%error, "a connection to an app ended early");
            }
        }));
        Ok((sender, instance))
    }
}

/// Why there is no answer.
enum Failed {
    Dial(Error),
    Http(hyper::Error),
}

/// The port of an app that serves.
fn serving(app: &AppRecord, port: Option<u16>) -> Result<u16, Error> {
    let instance = reach::serving(app)?;
    port.or(instance.ports.first().copied())
        .ok_or_else(|| Error::unavailable(format!("the app {} has no port", app.name)))
}

/// Takes out what was meant for the gateway alone, and says whom it is for.
fn rewrite(request: &mut Request<Incoming>, from: SocketAddr, host: &str, is_upgrade: bool) {
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str()).to_owned();
    *request.uri_mut() = path.parse().unwrap_or_else(|_| Uri::from_static("/"));
    *request.version_mut() = Version::HTTP_11;
    let headers = request.headers_mut();
    let upgrade = headers.get(header::UPGRADE).cloned().filter(|_| is_upgrade);
    clean(headers);
    if let Some(upgrade) = upgrade {
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(header::UPGRADE, upgrade);
    }
    let known = headers.get("x-forwarded-for").and_then(|known| known.to_str().ok());
    let chain = known.map_or_else(|| from.ip().to_string(), |known| format!("{known}, {}", from.ip()));
    let proto = HeaderValue::from_static("http");
    let values = [("x-forwarded-for", HeaderValue::from_str(&chain).ok()), ("x-forwarded-proto", Some(proto))];
    let host = HeaderValue::from_str(host).ok();
    for (name, value) in values.into_iter().chain([("x-forwarded-host", host.clone()), ("host", host)]) {
        if let Some(value) = value {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
}

/// Takes out what neighbours say to each other.
fn clean(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    named.iter().chain(&HOP).for_each(|name| drop(headers.remove(name)));
}

fn has_token(headers: &HeaderMap, name: &HeaderName, wanted: &str) -> bool {
    let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|token| token.trim().eq_ignore_ascii_case(wanted))
}

/// The app's answer, for the client; where both agreed to speak something else, they are joined.
fn returned(mut answer: Response<Incoming>, client: Option<hyper::upgrade::OnUpgrade>) -> Answer {
    if answer.status() == StatusCode::SWITCHING_PROTOCOLS
        && let Some(client) = client
    {
        let app = hyper::upgrade::on(&mut answer);
        // It ends with either side.
        drop(task::spawn("upgraded connection", async move {
            let Ok((client, app)) = tokio::try_join!(client, app) else { return };
            let (mut client, mut app) = (TokioIo::new(client), TokioIo::new(app));
            if let Err(error) = tokio::io::copy_bidirectional(&mut client, &mut app).await {
                tracing::debug!(%error, "an upgraded connection broke");
            }
        }));
    } else {
        clean(answer.headers_mut());
    }
    answer.map(Either::Left)
}

fn unavailable(error: &Error) -> Answer {
    let mut answer = said(StatusCode::SERVICE_UNAVAILABLE, format!("{}\n", error.message));
    answer.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER));
    answer
}

fn said(status: StatusCode, text: String) -> Answer {
    let mut answer = Response::new(Either::Right(Full::from(text)));
    *answer.status_mut() = status;
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    answer.headers_mut().insert(header::CONTENT_TYPE, plain);
    answer
}
