//! The one place where tasks are spawned: each has a name and a span, and its owner holds the handle.

use std::future::Future;

use tokio::{runtime::Handle, task::JoinHandle};
use tracing::Instrument;

/// Spawns a named task in the current span; dropping the handle detaches it, so owners keep it and await or
/// abort it when they end.
///
/// # Panics
///
/// Panics outside a Tokio runtime.
#[expect(clippy::disallowed_methods, reason = "this is the helper that the lint points to")]
pub fn spawn<F>(name: &'static str, future: F) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    tokio::spawn(future.instrument(tracing::debug_span!("task", name)))
}

/// As [`spawn`], on that runtime.
pub fn spawn_on<F>(runtime: &Handle, name: &'static str, future: F) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    runtime.spawn(future.instrument(tracing::debug_span!("task", name)))
}

/// A task that ends with its owner: dropping this aborts it.
#[derive(Debug)]
pub struct Owned(JoinHandle<()>);

impl Owned {
    /// Spawns a named task that is aborted when the returned value is dropped.
    #[must_use]
    pub fn spawn(name: &'static str, future: impl Future<Output = ()> + Send + 'static) -> Self {
        Self(spawn(name, future))
    }

    /// As [`Owned::spawn`], on that runtime.
    #[must_use]
    pub fn spawn_on(runtime: &Handle, name: &'static str, future: impl Future<Output = ()> + Send + 'static) -> Self {
        Self(spawn_on(runtime, name, future))
    }

    /// Whether the task has ended by itself.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.0.is_finished()
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        self.0.abort();
    }
}
