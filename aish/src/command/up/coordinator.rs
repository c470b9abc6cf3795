//! The coordinator of chains that runs beside the node.

use std::{env, path::PathBuf};

use aigis_assistants::coordinator::{Coordinator, Parts, keeping::Kept};
use aigis_deploy::settings;
use aigis_node::Node;
use aigis_proxy::NodeName;

use crate::config;

/// Where its files lie, in the mesh's directory.
const SCRATCH: &str = "coordinator";
/// Names a directory whose folders are assistants.
const ASSISTANTS: &str = "AIGIS_ASSISTANTS_DIR";

/// Starts the coordinator. A node without one serves all the same: others of the mesh hold its chains.
/// `python_image` is what Python apps are built on, if not on the usual one.
pub(super) async fn start(node: &Node, python_image: Option<&str>) -> Option<Coordinator> {
    let started = match NodeName::parse(node.credential().name().as_str()) {
        Ok(name) => {
            let parts = Parts {
                bus: node.bus().clone(),
                node: name,
                issuer: node.file().issuer.clone(),
                credential: node.credential().clone(),
                cache: node.cache().clone(),
                journal: node.journal().clone(),
                scratch: node.home().root().join(SCRATCH),
                assistants: env::var_os(ASSISTANTS).filter(|value| !value.is_empty()).map(PathBuf::from),
                python_image: python_image.map(str::to_owned),
                packages: config::folder().map(|folder| folder.join(settings::FILE)),
                kept: Kept::default(),
            };
            Box::pin(Coordinator::start(parts)).await
        }
        Err(error) => Err(error.into()),
    };
    let coordinator = started.inspect_err(|error| tracing::error!(%error, "this node holds no chains")).ok()?;
    node.serve_chains(coordinator.of_apps());
    Some(coordinator)
}
