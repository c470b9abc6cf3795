//! How well a container does: the verdict of its CI, and what it wrote last.

use std::sync::Arc;

use aigis_proxy::{Error, Name, services::deployments::Judgement};
use futures::StreamExt as _;
use time::OffsetDateTime;

use super::Deployed;
use crate::{
    container::{Bound, Container, Fault, Look, examine},
    engine::{Inspection, LogQuery},
    naming,
};

/// How many lines are told, and of how many characters each.
const LINES: u64 = 20;
const LONGEST: usize = 2_000;

impl Deployed {
    /// Says how well a container of the project does.
    pub(super) async fn judge(&self, project: &Name, name: &Name) -> Result<Judgement, Error> {
        let found = self.known(project, name).await?;
        let host = &self.parts.host;
        let gone = || Error::unavailable(format!("the container {name} was just removed")).sent(false);
        let listing = host.engine.list_some(std::slice::from_ref(&found.id)).await?;
        let listed = listing.containers.into_values().next().ok_or_else(gone)?;
        let observed_at = OffsetDateTime::now_utc();
        let ci_name = naming::ci_name(&listed.name, &listed.labels).name;
        let bound = Arc::new(Bound::new(listed, observed_at));
        let ci = Arc::new(Container::new(host.clone(), ci_name, Bound::clone(&bound)));
        let look = Look { ci, bound, engine: host.engine.clone(), observed_at };
        let seen = examine(&look).await.map_err(|fault| match fault {
            Fault::Gone => gone(),
            Fault::Failed(error) => error,
        })?;
        Ok(Judgement {
            id: seen.inspection.id.to_string(),
            verdict: seen.judgement.verdict.to_string(),
            checks: serde_json::json!(seen.judgement.checks),
            is_running: seen.inspection.state.has_processes(),
            restarts: seen.inspection.restart_count,
            lines: self.last_lines(&seen.inspection).await,
            silent: seen.silent,
        })
    }

    /// What a container wrote last, masked; nothing where that cannot be read.
    pub(super) async fn last_lines(&self, of: &Inspection) -> Vec<String> {
        let query = LogQuery { tail: Some(LINES), ..LogQuery::default() };
        let mut bytes = Vec::new();
        match self.parts.host.engine.logs(&of.id, of.tty, &query).await {
            Ok(mut entries) => {
                while let Some(Ok(entry)) = entries.next().await {
                    bytes.extend_from_slice(&entry.bytes);
                }
            }
            Err(error) => tracing::debug!(%error, container = %of.name, "what a container wrote cannot be read"),
        }
        let text = self.parts.host.masks.current().text(&String::from_utf8_lossy(&bytes));
        let lines: Vec<String> = text.lines().map(|line| line.chars().take(LONGEST).collect()).collect();
        lines.into_iter().rev().take(LINES as usize).rev().collect()
    }
}
