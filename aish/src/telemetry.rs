//! Logs on standard error and, of a node, for the mesh to read; and traces to a collector where one is named.

use std::{io, time::Duration};

use aigis_node::LogTap;
use aigis_registry::report;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_sdk::{Resource, trace::SdkTracerProvider};
use tracing::{Level, Metadata, Subscriber};
use tracing_subscriber::{
    EnvFilter, Layer, Registry, filter::LevelFilter, fmt::MakeWriter, layer::SubscriberExt, registry::LookupSpan,
    util::SubscriberInitExt,
};

/// How long the last spans may take to leave.
const FLUSH: Duration = Duration::from_secs(2);

/// What must be flushed before the process ends.
#[derive(Debug)]
pub(crate) struct Telemetry(Option<SdkTracerProvider>);

/// Sets up logs and traces; within a Tokio runtime. A node's lines, from `info` on, go to `tap` as well.
///
/// Traces are made, and `traceparent` joins them over the bus, where `OTEL_EXPORTER_OTLP_ENDPOINT` or
/// `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT` says where they go to. Elsewhere they would cost each call as much as all else
/// that is done for it, and nobody could see them.
pub(crate) fn start(default: LevelFilter, tap: Option<&LogTap>) -> Telemetry {
    let wanted = ["OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"]
        .into_iter()
        .any(|name| std::env::var_os(name).is_some_and(|value| !value.is_empty()));
    let exporter = wanted.then(|| opentelemetry_otlp::SpanExporter::builder().with_tonic().build());
    let (exporter, flaw) = match exporter.transpose() {
        Ok(exporter) => (exporter, None),
        Err(error) => (None, Some(error)),
    };
    let provider = exporter.map(|exporter| {
        let resource = Resource::builder().with_service_name("aish").build();
        SdkTracerProvider::builder().with_resource(resource).with_batch_exporter(exporter).build()
    });
    Registry::default().with(log(default)).with(tap.map(told)).with(provider.as_ref().map(spans)).init();
    if let Some(error) = flaw {
        tracing::warn!(%error, "no traces are exported");
    }
    Telemetry(provider)
}

/// Lines on standard error, by `AIGIS_LOG`. The filter is this layer's alone: filtered spans would lose their trace.
fn log<S: Subscriber + for<'a> LookupSpan<'a>>(default: LevelFilter) -> impl Layer<S> {
    let filter = EnvFilter::builder().with_default_directive(default.into()).with_env_var("AIGIS_LOG").from_env_lossy();
    // Why a command's connection was refused is said by the command, once, and with what to do about it.
    let filter = match "async_nats::connector=off".parse() {
        Ok(quiet) if default < LevelFilter::INFO && std::env::var_os("AIGIS_LOG").is_none() => {
            filter.add_directive(quiet)
        }
        _ => filter,
    };
    tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(false).with_filter(filter)
}

/// Lines for the mesh, whatever `AIGIS_LOG` says: who reads them is not who started the node.
fn told<S: Subscriber + for<'a> LookupSpan<'a>>(tap: &LogTap) -> impl Layer<S> + use<S> {
    let lines = Lines(tap.clone());
    tracing_subscriber::fmt::layer().without_time().with_ansi(false).with_writer(lines).with_filter(LevelFilter::INFO)
}

/// Gives each line that is written to a node's log.
#[derive(Debug)]
struct Lines(LogTap);

/// Where one line goes to; nowhere, if it is about what keeps the lines.
#[derive(Debug)]
struct LineWriter<'a> {
    tap: Option<&'a LogTap>,
    level: report::Level,
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = LineWriter<'a>;

    fn make_writer(&'a self) -> LineWriter<'a> {
        LineWriter { tap: Some(&self.0), level: report::Level::Info }
    }

    fn make_writer_for(&'a self, meta: &Metadata<'_>) -> LineWriter<'a> {
        let level = match *meta.level() {
            Level::ERROR => report::Level::Error,
            Level::WARN => report::Level::Warn,
            _ => report::Level::Info,
        };
        LineWriter { tap: LogTap::wants(meta.target()).then_some(&self.0), level }
    }
}

impl io::Write for LineWriter<'_> {
    /// Called once for each line, with all of it.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if let Some(tap) = self.tap {
            tap.take(self.level, &String::from_utf8_lossy(line));
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn spans<S: Subscriber + for<'a> LookupSpan<'a>>(provider: &SdkTracerProvider) -> impl Layer<S> {
    // Where a span stands in our source, on which thread, and how long it was polled helps nobody who looks at a call, and
    // would cost each call more than the rest of its span.
    tracing_opentelemetry::layer()
        .with_tracer(provider.tracer("aigis"))
        .with_location(false)
        .with_target(false)
        .with_threads(false)
        .with_tracked_inactivity(false)
        .with_context_activation(false)
        .with_filter(LevelFilter::INFO)
}

impl Telemetry {
    /// Sends what is left, within 2 s.
    pub(crate) async fn flush(self) {
        let Some(provider) = self.0 else { return };
        // The exporter's own thread waits for this runtime, so this thread must not wait for it.
        let flushing = tokio::task::spawn_blocking(move || provider.shutdown_with_timeout(FLUSH));
        if !matches!(tokio::time::timeout(FLUSH, flushing).await, Ok(Ok(Ok(())))) {
            tracing::warn!("some traces were not exported");
        }
    }
}
