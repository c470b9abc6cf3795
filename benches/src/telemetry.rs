//! Logs and spans as `aish` sets them up where no collector is named.

use opentelemetry::trace::TracerProvider as _;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing_subscriber::{
    EnvFilter, Layer, Registry, filter::LevelFilter, layer::SubscriberExt, util::SubscriberInitExt,
};

/// Starts them.
pub(crate) fn start() {
    let provider = SdkTracerProvider::builder().build();
    let filter = EnvFilter::builder().with_default_directive(LevelFilter::WARN.into()).parse_lossy("");
    let log = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(false).with_filter(filter);
    let spans = tracing_opentelemetry::layer()
        .with_tracer(provider.tracer("aigis"))
        .with_location(false)
        .with_target(false)
        .with_threads(false)
        .with_tracked_inactivity(false)
        .with_context_activation(false)
        .with_filter(LevelFilter::INFO);
    Registry::default().with(log).with(spans).init();
}
