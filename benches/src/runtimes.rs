//! The two kinds of runtime that are measured.

use tokio::runtime::{Builder, Runtime};

use crate::error::{Error, system};

/// One with several threads, as most programs have it.
pub(crate) fn shared() -> Result<Runtime, Error> {
    Builder::new_multi_thread().enable_all().build().map_err(system("make a runtime"))
}

/// One on the calling thread, as `aish` has it.
pub(crate) fn single() -> Result<Runtime, Error> {
    Builder::new_current_thread().enable_all().build().map_err(system("make a runtime"))
}
