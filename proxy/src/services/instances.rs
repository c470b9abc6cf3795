//! What a node does for the apps that run on it, besides what their CIs answer.

use serde::{Deserialize, Serialize};

use super::chains::InstanceId;
use crate::{blob::Content, error::Error, name::Name};

/// The service name of [`Instances`]; its target is the node.
pub const INSTANCES: &str = "instances";

/// Which of its outputs an app wrote to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Output {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// What an app wrote since.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Written {
    /// Pieces in order.
    pub pieces: Vec<(Output, Content)>,
    /// From where to ask next.
    pub next: u64,
    /// How it ended, if it did and all it wrote was read with this.
    pub exit_code: Option<i64>,
}

/// A signal to an app.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Signal {
    /// SIGINT.
    Interrupt,
    /// SIGTERM.
    Terminate,
    /// SIGKILL.
    Kill,
}

/// A place, as whoever follows an app asks it.
#[tarpc::service(derive = [serde::Serialize, serde::Deserialize])]
pub trait Instances {
    /// Waits until an instance has written more, or some seconds have passed; for everyone.
    async fn output(app: Name, instance: InstanceId, from: u64) -> Result<Written, Error>;
    /// Sends an instance a signal, and has it not started again; for operators.
    async fn signal(app: Name, instance: InstanceId, signal: Signal) -> Result<(), Error>;
    /// Removes the volumes that an app has here, with what is in them, once no instance of it is left here; for nodes.
    async fn remove_volumes(app: Name) -> Result<(), Error>;
    /// Says whether the engine here has that image; for nodes.
    async fn has_image(image: String) -> Result<bool, Error>;
    /// Stores an image of the engine here as a kept blob, an archive as the engine writes it; for nodes.
    async fn export_image(image: String) -> Result<crate::blob::Blob, Error>;
}
