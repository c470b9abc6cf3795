//! Packages that this node builds by itself, for whoever calls its skills: it runs the phases, puts the images together and
//! writes the records, so it vouches for what it says of them.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use aigis_deploy::package::{Member, Store, Verifier, verify};
use aigis_node::Node;
use aigis_proxy::{
    Bus, Error, NodeName,
    services::projects::{Pack, Packed, Packing},
};
use aigis_registry::Shared;
use futures::{StreamExt as _, stream};
use serde_json::Value;
use tokio::{
    runtime::Handle,
    sync::{Semaphore, mpsc},
};
use tokio_util::sync::CancellationToken;

use super::{Found, settings, value};
use crate::{
    command::packages::{
        DIRECTORY,
        build::{
            self, Build, Maker,
            nodes::{Listener, Nodes, surroundings},
        },
    },
    exit::Failure,
};

/// How many packages are built at once.
const AT_ONCE: usize = 2;
/// How many lines wait for who reads them; of more, those are left out that come meanwhile.
const LINES: usize = 4_000;

/// This node as a packager.
#[derive(Debug, Clone)]
pub(super) struct Packer {
    bus: Bus,
    name: NodeName,
    shared: Shared,
    directory: PathBuf,
    turns: Arc<Semaphore>,
}

/// Who listens to a build, and where it is.
#[derive(Debug)]
struct Told {
    frames: mpsc::Sender<Result<Packing, Error>>,
    at: Mutex<At>,
}

#[derive(Debug, Clone, Default)]
struct At {
    container: String,
    phase: String,
    percent: usize,
}

impl Told {
    fn change(&self, change: impl FnOnce(&mut At)) {
        change(&mut self.at.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

impl Listener for Told {
    fn at(&self, container: &str, percent: usize) {
        self.change(|at| *at = At { container: container.to_owned(), phase: String::new(), percent });
    }

    fn phase(&self, name: &str) {
        self.change(|at| name.clone_into(&mut at.phase));
    }

    fn line(&self, line: &str) {
        let At { container, phase, percent } = self.at.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let line = Packing::Line { phase, container, line: line.to_owned(), percent };
        // A slow reader misses lines, and never the end.
        let _ = self.frames.try_send(Ok(line));
    }
}

impl Packer {
    /// That of a node.
    ///
    /// # Errors
    ///
    /// A name of the node that is none.
    pub(super) fn of(node: &Node) -> Result<Self, Error> {
        let name = NodeName::parse(node.credential().name().as_str())?;
        let shared = Shared::of_node(node.bus(), node.cache(), node.credential().clone());
        let directory = node.home().data().join(DIRECTORY);
        Ok(Self { bus: node.bus().clone(), name, shared, directory, turns: Arc::new(Semaphore::new(AT_ONCE)) })
    }

    /// Builds a package of a project and registers it.
    ///
    /// # Errors
    ///
    /// `invalid_argument` for a container, a platform or a tag that cannot be.
    pub(super) fn build(&self, by: String, pack: &Pack, found: Found) -> Result<Packed, Error> {
        let asked = Build::asked(found.directory.clone(), pack)?;
        let maker = Maker { user: by, node: Some(self.name.clone()), is_node: true };
        self.begin(move |store, phases| {
            let is_missing = !found.directory.join(aigis_deploy::manifest::FILE).exists();
            let bases = match is_missing {
                true => Some(settings().map_err(Failure::into_error)?.bases()),
                false => None,
            };
            let (registered, _) = asked.build(store, &maker, bases.as_ref(), Some(phases))?;
            drop(found);
            Ok(Value::Object(build::row(&registered.record, registered.created)))
        })
    }

    /// Builds a package again, and reports in what the result differs.
    ///
    /// # Errors
    ///
    /// As [`Packer::build`].
    pub(super) fn verify(&self, by: String, id: String) -> Result<Packed, Error> {
        let name = self.name.clone();
        self.begin(move |store, phases| {
            let verifier = Verifier { by: &by, node: Some(name.as_str()), measured: true, builder: Some(phases) };
            value(&verify(store, &id, &verifier)?)
        })
    }

    /// Begins some work, which ends when nobody listens any more.
    fn begin(
        &self,
        work: impl FnOnce(&Store, &Nodes) -> Result<Value, Error> + Send + 'static,
    ) -> Result<Packed, Error> {
        let (frames, told) = mpsc::channel(LINES);
        let ended = CancellationToken::new();
        let listener = Told { frames: frames.clone(), at: Mutex::default() };
        let surroundings = surroundings(settings().map_err(Failure::into_error)?)?;
        let phases = Nodes::new(self.bus.clone(), vec![self.name.clone()], surroundings, listener);
        let phases = phases.until(ended.clone());
        let Self { bus, shared, directory, turns, .. } = self.clone();
        let (runtime, guard) = (Handle::current(), ended.clone().drop_guard());
        tokio::task::spawn_blocking(move || {
            let outcome = || {
                let turn = runtime.block_on(async {
                    tokio::select! {
                        turn = turns.acquire_owned() => turn.ok(),
                        () = ended.cancelled() => None,
                    }
                });
                let _turn = turn.ok_or_else(|| Error::unavailable("nobody waits for the build any more"))?;
                let store = Store::of_mesh(&directory, Member::of_node(&bus, shared, runtime.clone()))?;
                work(&store, &phases)
            };
            // Whoever listened may have gone.
            let _ = frames.blocking_send(outcome().map(Packing::Ended));
        });
        Ok(stream::unfold((told, guard), |(mut told, guard)| async move {
            told.recv().await.map(|frame| (frame, (told, guard)))
        })
        .boxed())
    }
}
