//! Reads and writes chains, journals and apps; waits out a bus that is away.

use std::time::Duration;

use aigis_proxy::{Code, Error, Name, chain::ChainId};
use aigis_registry::{
    Shared, Timestamp,
    shared::{AppRecord, ChainRecord, Key, StepRecord, Version},
};
use serde::{Serialize, de::DeserializeOwned};
use tokio::time::{Instant, sleep};

/// How often a record is written again because another one was written meanwhile.
const ROUNDS: usize = 50;
/// How long the bus is waited for.
const AWAY: Duration = Duration::from_secs(15 * 60);
/// How long between two attempts to reach it.
const PAUSE: Duration = Duration::from_millis(500);
/// How long before a record that somebody else wrote is read again.
const SHORT: Duration = Duration::from_millis(20);

/// The shared records, as a coordinator writes them. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Records {
    pub(crate) shared: Shared,
}

/// Whether a failure is only that the bus is away.
pub(crate) fn is_away(error: &Error) -> bool {
    matches!(error.code, Code::Unavailable | Code::DeadlineExceeded)
}

impl Records {
    /// Reads a record.
    pub(crate) async fn get<T: DeserializeOwned>(&self, key: &Key) -> Result<Option<Version<T>>, Error> {
        self.shared.get(key).await
    }

    pub(crate) async fn chain(&self, id: &ChainId) -> Result<Version<ChainRecord>, Error> {
        let found = self.get(&Key::Chain(id.clone())).await?;
        found.ok_or_else(|| {
            Error::invalid(format!("there is no chain {id}")).hint("see: aish chains list").with("chain", id.as_str())
        })
    }

    pub(crate) async fn app(&self, name: &Name) -> Result<Option<Version<AppRecord>>, Error> {
        self.get(&Key::App(name.clone())).await
    }

    /// The journals of a chain, by their steps.
    pub(crate) async fn steps(&self, chain: &ChainId) -> Result<Vec<StepRecord>, Error> {
        let steps = self.shared.list_whole::<StepRecord>(&Key::steps(chain)).await?;
        let mut steps: Vec<_> = steps.into_iter().map(|(_, step)| step.content).collect();
        steps.sort_by_key(|step| step.n);
        Ok(steps)
    }

    /// Changes a record that is there; `change` says what it becomes, or `None` if it may stay. Answers with what stands then.
    pub(crate) async fn change<T: Serialize + DeserializeOwned + Clone>(
        &self,
        key: &Key,
        mut change: impl FnMut(&T) -> Result<Option<T>, Error>,
    ) -> Result<Version<T>, Error> {
        for _ in 0..ROUNDS {
            let known: Version<T> =
                self.get(key).await?.ok_or_else(|| Error::new(Code::NotFound, format!("there is no record {key}")))?;
            let Some(content) = change(&known.content)? else { return Ok(known) };
            if let Some(revision) = self.shared.put(key, &content, known.revision).await? {
                return Ok(Version { revision, content });
            }
            sleep(SHORT).await;
        }
        Err(Error::unavailable(format!("the record {key} changes all the time")).hint("try again"))
    }

    pub(crate) async fn change_chain(
        &self,
        id: &ChainId,
        change: impl FnMut(&ChainRecord) -> Result<Option<ChainRecord>, Error>,
    ) -> Result<Version<ChainRecord>, Error> {
        self.change(&Key::Chain(id.clone()), change).await
    }

    pub(crate) async fn change_app(
        &self,
        name: &Name,
        change: impl FnMut(&AppRecord) -> Result<Option<AppRecord>, Error>,
    ) -> Result<Version<AppRecord>, Error> {
        self.change(&Key::App(name.clone()), change).await
    }

    /// Writes the journal of a step in place of the version that is there, which is read unless it is `known`; answers with
    /// its revision.
    pub(crate) async fn journal(
        &self,
        chain: &ChainId,
        step: &StepRecord,
        mut known: Option<Version<StepRecord>>,
    ) -> Result<u64, Error> {
        let key = Key::Step(chain.clone(), step.n);
        for _ in 0..ROUNDS {
            let written = match &known {
                // An older attempt never takes a newer one's place.
                Some(known) if known.content.attempt > step.attempt => return Err(superseded(chain)),
                Some(known) if known.content == *step => return Ok(known.revision),
                Some(known) => self.shared.put(&key, step, known.revision).await?,
                None => self.shared.create(&key, step).await?,
            };
            if let Some(revision) = written {
                return Ok(revision);
            }
            known = self.get(&key).await?;
        }
        Err(Error::unavailable(format!("the record {key} changes all the time")))
    }
}

/// What a holder is told that holds a chain no more.
pub(crate) fn superseded(chain: &ChainId) -> Error {
    Error::new(Code::Cancelled, format!("the chain {chain} is held by another coordinator"))
}

/// Does it again for as long as the bus is away.
pub(crate) async fn patiently<T, F>(mut deed: impl FnMut() -> F) -> Result<T, Error>
where
    F: Future<Output = Result<T, Error>>,
{
    let until = Instant::now() + AWAY;
    loop {
        match deed().await {
            Err(error) if is_away(&error) && Instant::now() < until => {
                tracing::debug!(%error, "trying again");
                sleep(PAUSE).await;
            }
            done => return done,
        }
    }
}

/// The present, as records have it.
pub(crate) fn now() -> Timestamp {
    Timestamp::now()
}
