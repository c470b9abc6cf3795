//! Chains beside what they stand on: a step beside a work item of a stream and `docker run`, a large tree that is pushed again beside
//! fixed limits, a tunnel beside a connection to the container and beside `socat`.

mod app;
mod steps;
mod upload;

use aigis_tests::Mesh;

use crate::{Effort, error::Error, table::Table};

/// What a step of a container may take beside the raw layer.
const STEP: std::time::Duration = std::time::Duration::from_millis(5);

/// Measures all of it.
pub(crate) fn measure(effort: Effort, table: &mut Table) -> Result<(), Error> {
    let mesh = Mesh::up();
    steps::measure(&mesh, effort, table)?;
    upload::measure(&mesh, effort, table)?;
    app::measure(&mesh, effort, table)
}
