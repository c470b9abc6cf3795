//! Locks whose holders never leave what they guard half done.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Takes a lock, also where a thread that held it panicked: what is locked in this crate is whole at every step.
#[must_use = "it is locked for as long as this is held"]
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
