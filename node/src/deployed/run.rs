//! A command in a container that is thrown away: what a release needs before its first replica.

use std::time::Duration;

use aigis_proxy::{
    Code, Error,
    services::deployments::{Ran, Replica},
};
use tokio::time::timeout;

use super::{Deployed, labels};
use crate::engine::ContainerId;

/// How its container is called first.
const PREFIX: &str = "aigis-release-";
/// How long a command may take at most.
const LONGEST: Duration = Duration::from_secs(30 * 60);

impl Deployed {
    /// Runs a command in a new container like that one.
    pub(super) async fn run(&self, replica: &Replica, command: Vec<String>, within: Duration) -> Result<Ran, Error> {
        if command.is_empty() {
            return Err(Error::invalid("the command is empty").sent(false));
        }
        let engine = &self.parts.host.engine;
        let (mut recipe, given) = self.recipe(replica, Some(command)).await?;
        recipe.labels = labels::passing(replica, given.as_ref(), self.owner(&replica.project));
        let ran = async {
            self.open_forwards(replica).await?;
            let id = engine.create(&format!("{PREFIX}{}", uuid::Uuid::now_v7().simple()), &recipe).await?;
            let ran = self.attend(&id, within.min(LONGEST)).await;
            if let Err(error) = engine.remove(&id).await {
                tracing::warn!(%error, container = %id, "the container of a command is removed later");
            }
            ran
        };
        let ran = ran.await;
        self.forget(given.as_ref());
        self.settle_forwards().await;
        ran
    }

    async fn attend(&self, id: &ContainerId, within: Duration) -> Result<Ran, Error> {
        let engine = &self.parts.host.engine;
        let running = async {
            engine.start(id).await?;
            engine.wait(id).await
        };
        let exit_code = timeout(within, running).await.map_err(|_| {
            let message = format!("the command did not end within {} s", within.as_secs());
            Error::new(Code::DeadlineExceeded, message).hint("give the deployment more time: --timeout")
        })??;
        Ok(Ran { exit_code, lines: self.last_lines(&engine.inspect(id).await?).await })
    }
}
