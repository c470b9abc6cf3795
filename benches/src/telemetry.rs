//! Logs as every process of the mesh makes them where no collector of traces is named; they are shown to nobody.

use tracing_subscriber::{
    EnvFilter, Layer, Registry, filter::LevelFilter, layer::SubscriberExt, util::SubscriberInitExt,
};

/// Starts them.
pub(crate) fn start(default: LevelFilter) {
    let filter = EnvFilter::builder().with_default_directive(default.into()).parse_lossy("");
    let log = tracing_subscriber::fmt::layer().with_writer(std::io::sink).with_ansi(false).with_filter(filter);
    Registry::default().with(log).init();
}
