//! Logs on standard error, and traces to a collector where one is named.

use std::time::Duration;

use opentelemetry::trace::TracerProvider as _;
use opentelemetry_sdk::{Resource, trace::SdkTracerProvider};
use tracing::Subscriber;
use tracing_subscriber::{
    EnvFilter, Layer, Registry, filter::LevelFilter, layer::SubscriberExt, registry::LookupSpan,
    util::SubscriberInitExt,
};

/// How long the last spans may take to leave.
const FLUSH: Duration = Duration::from_secs(2);

/// What must be flushed before the process ends.
#[derive(Debug)]
pub(crate) struct Telemetry(Option<SdkTracerProvider>);

/// Sets up logs and traces; within a Tokio runtime.
///
/// Traces are made, and `traceparent` joins them over the bus, where `OTEL_EXPORTER_OTLP_ENDPOINT` or
/// `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT` says where they go to. Elsewhere they would cost each call as much as all else
/// that is done for it, and nobody could see them.
pub(crate) fn start(default: LevelFilter) -> Telemetry {
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
    Registry::default().with(log(default)).with(provider.as_ref().map(spans)).init();
    if let Some(error) = flaw {
        tracing::warn!(%error, "no traces are exported");
    }
    Telemetry(provider)
}

/// Lines on standard error, by `AIGIS_LOG`. The filter is this layer's alone: filtered spans would lose their trace.
fn log<S: Subscriber + for<'a> LookupSpan<'a>>(default: LevelFilter) -> impl Layer<S> {
    let filter = EnvFilter::builder().with_default_directive(default.into()).with_env_var("AIGIS_LOG").from_env_lossy();
    tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(false).with_filter(filter)
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
