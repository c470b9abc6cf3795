//! `/metrics` for Prometheus, on a loopback address and only when asked.
//!
//! The text is `OpenMetrics` 1.0, made anew from the node's own counters for each scrape.

use std::{fmt, io, net::SocketAddr, sync::Arc, time::Duration};

use aigis_proxy::{skill::Ci, task};
use aigis_registry::audit::AuditJournal;
use http_body_util::Full;
use hyper::{Method, Request, Response, StatusCode, body::Bytes, body::Incoming, header, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric, text},
    metrics::{counter::ConstCounter, gauge::ConstGauge},
    registry::Registry,
};
use tokio::{net::TcpListener, task::JoinSet};

use crate::own::OwnCi;

/// Scrapes at a time; a further one waits.
const SCRAPES: usize = 16;
/// How long a scraper may hold its connection.
const WITHIN: Duration = Duration::from_secs(30);
/// How long it may take to say what it wants.
const HEAD_WITHIN: Duration = Duration::from_secs(5);
/// The media type of the text.
const TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Where the metrics are served, and the task that serves them.
#[derive(Debug)]
pub(crate) struct Endpoint {
    /// The address, its port chosen.
    pub(crate) address: SocketAddr,
    listener: TcpListener,
}

impl Endpoint {
    /// Takes the address.
    ///
    /// # Errors
    ///
    /// Says why it cannot be had.
    pub(crate) async fn bind(address: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        Ok(Self { address: listener.local_addr()?, listener })
    }

    /// Answers scrapes until the task is dropped.
    pub(crate) fn serve(self, own: Arc<OwnCi>, journal: Arc<AuditJournal>) -> task::Owned {
        let labels = [("mesh", own.mesh().to_string()), ("node", own.node().to_string())];
        let labels = labels.map(|(key, value)| (key.into(), value.into()));
        let mut registry = Registry::with_prefix_and_labels("aigis", labels.into_iter());
        registry.register_collector(Box::new(Figures { own, journal }));
        task::Owned::spawn("metrics", accept(self.listener, Arc::new(registry)))
    }
}

async fn accept(listener: TcpListener, registry: Arc<Registry>) {
    let mut scrapes = JoinSet::new();
    loop {
        if scrapes.len() >= SCRAPES {
            let _ = scrapes.join_next().await;
        }
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Most likely out of descriptors: a pause instead of a spin.
                tracing::warn!(%error, "a scrape was not taken");
                tokio::time::sleep(Duration::from_millis(200)).await;
                continue;
            }
        };
        let registry = registry.clone();
        scrapes.spawn(async move {
            let service = service_fn(move |request| std::future::ready(answer(&registry, &request)));
            let mut http = hyper::server::conn::http1::Builder::new();
            http.timer(TokioTimer::new()).header_read_timeout(HEAD_WITHIN);
            // A scraper that breaks off is its own affair.
            let _ = tokio::time::timeout(WITHIN, http.serve_connection(TokioIo::new(stream), service)).await;
        });
        while scrapes.try_join_next().is_some() {}
    }
}

fn answer(registry: &Registry, request: &Request<Incoming>) -> Result<Response<Full<Bytes>>, fmt::Error> {
    let plain = |status, words: &'static str| {
        let mut response = Response::new(Full::from(words));
        *response.status_mut() = status;
        response
    };
    if request.uri().path() != "/metrics" {
        return Ok(plain(StatusCode::NOT_FOUND, "only /metrics is here\n"));
    }
    if request.method() != Method::GET {
        return Ok(plain(StatusCode::METHOD_NOT_ALLOWED, "only GET is answered\n"));
    }
    let mut text = String::new();
    text::encode(&mut text, registry)?;
    let mut response = Response::new(Full::from(text));
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(TYPE));
    Ok(response)
}

/// What is read at each scrape.
#[derive(Debug)]
struct Figures {
    own: Arc<OwnCi>,
    journal: Arc<AuditJournal>,
}

impl Collector for Figures {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let status = self.own.status();
        let mut write = |name: &str, help: &str, metric: &dyn EncodeMetric| {
            metric.encode(encoder.encode_descriptor(name, help, None, metric.metric_type())?)
        };
        write("requests", "Requests taken", &ConstCounter::new(status.requests))?;
        write("request_errors", "Requests that ended in an error", &ConstCounter::new(status.errors))?;
        write(
            "requests_dropped",
            "Requests whose reply subject was not their caller's own",
            &ConstCounter::new(status.dropped),
        )?;
        write(
            "replies_late",
            "Replies that came when nobody waited for them any more",
            &ConstCounter::new(status.late_replies),
        )?;
        write("request_seconds", "Time spent on requests", &ConstCounter::new(self.own.busy().as_secs_f64()))?;
        write("calls_in_flight", "Calls and streams under way", &gauge(status.calls_in_flight as u64))?;
        write("cis", "CIs that this node serves, itself among them", &gauge(status.cis as u64))?;
        write("engine_reachable", "Whether the engine answers", &gauge(status.engine.reachable.into()))?;
        write("bus_connected", "Whether the bus is connected", &gauge(status.bus.connected.into()))?;
        if let Some(restarts) = status.bus.restarts {
            write(
                "bus_restarts",
                "Times the supervised bus was started again",
                &ConstCounter::new(u64::from(restarts)),
            )?;
        }
        write("audit_backlog", "Audit entries not yet on the bus", &gauge(self.journal.backlog()))
    }
}

fn gauge(value: u64) -> ConstGauge<i64> {
    ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX))
}
