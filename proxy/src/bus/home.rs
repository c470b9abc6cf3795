//! Where a connection lives: on the runtime that made it if that has one thread, else on a thread of its own. Hopping
//! between threads costs a call more than all else that is done for it here.

use std::{io, thread};

use tokio::{
    runtime::{Builder, Handle, RuntimeFlavor},
    sync::oneshot,
};

/// The runtime that a connection lives on.
#[derive(Debug, Clone)]
pub(crate) struct Home(Handle);

/// Keeps the home's own thread, if it has one, until dropped.
#[derive(Debug)]
pub(crate) struct Stay {
    _thread: Option<oneshot::Sender<()>>,
}

impl Home {
    /// Finds or makes a home; within a runtime.
    ///
    /// # Errors
    ///
    /// What keeps the system from giving a thread.
    pub(crate) fn make() -> io::Result<(Self, Stay)> {
        let here = Handle::current();
        if here.runtime_flavor() == RuntimeFlavor::CurrentThread {
            return Ok((Self(here), Stay { _thread: None }));
        }
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (stay, left) = oneshot::channel();
        thread::Builder::new().name("bus".to_owned()).spawn(move || {
            // Ends when the sender is dropped, which is no error.
            let _ = runtime.block_on(left);
        })?;
        Ok((Self(handle), Stay { _thread: Some(stay) }))
    }

    /// Its handle.
    pub(crate) fn handle(&self) -> &Handle {
        &self.0
    }
}
