//! The journals of the chains that are held here, as they were read or written last: whoever holds a chain is who writes its
//! journals, so that each need not be read again before each step.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Mutex,
};

use aigis_proxy::{Error, chain::ChainId, sync::lock};
use aigis_registry::shared::{ChainRecord, Key, StepRecord, Version};

use super::{Core, records::patiently};

/// The journals of one chain.
#[derive(Debug, Default)]
struct OfChain {
    /// The revision of the chain's record with which they were read. Whoever else writes journals, to have a chain go on
    /// from an earlier step, writes the chain's record after them.
    of: u64,
    steps: BTreeMap<u32, Version<StepRecord>>,
}

/// The journals of the chains that are held here.
#[derive(Debug, Default)]
pub(crate) struct Journals(Mutex<HashMap<ChainId, OfChain>>);

impl Journals {
    /// Forgets a chain, which is held no more or whose journals somebody else wrote.
    pub(super) fn drop(&self, chain: &ChainId) {
        lock(&self.0).remove(chain);
    }

    /// Notes that a chain's record was written here, over the version `from`.
    pub(super) fn moved(&self, chain: &ChainId, from: u64, to: u64) {
        if let Some(known) = lock(&self.0).get_mut(chain).filter(|known| known.of == from) {
            known.of = to;
        }
    }

    fn note(&self, chain: &ChainId, journal: Version<StepRecord>) {
        if let Some(known) = lock(&self.0).get_mut(chain) {
            known.steps.insert(journal.content.n, journal);
        }
    }

    /// Those of a chain, if they are known; with that revision of its record, unless any will do.
    fn steps(&self, chain: &ChainId, of: Option<u64>) -> Option<Vec<StepRecord>> {
        let known = lock(&self.0);
        let known = known.get(chain).filter(|known| of.is_none_or(|of| known.of == of))?;
        Some(known.steps.values().map(|step| step.content.clone()).collect())
    }

    fn step(&self, chain: &ChainId, n: u32) -> Option<Version<StepRecord>> {
        lock(&self.0).get(chain)?.steps.get(&n).cloned()
    }
}

impl Core {
    /// The journals of a chain that is held here, by their steps, as they are with that version of its record.
    pub(super) async fn journals(&self, chain: &Version<ChainRecord>) -> Result<Vec<StepRecord>, Error> {
        let id = &chain.content.id;
        if let Some(steps) = self.journals.steps(id, Some(chain.revision)) {
            return Ok(steps);
        }
        let below = Key::steps(id);
        let steps = patiently(|| self.records.shared.list_whole::<StepRecord>(&below)).await?;
        let steps: BTreeMap<u32, _> = steps.into_iter().map(|(_, step)| (step.content.n, step)).collect();
        let contents = steps.values().map(|step| step.content.clone()).collect();
        lock(&self.journals.0).insert(id.clone(), OfChain { of: chain.revision, steps });
        Ok(contents)
    }

    /// The journals of a chain, as they are known here or else as they stand.
    pub(super) async fn steps(&self, chain: &ChainId) -> Result<Vec<StepRecord>, Error> {
        match self.journals.steps(chain, None) {
            Some(steps) => Ok(steps),
            None => patiently(|| self.records.steps(chain)).await,
        }
    }

    /// Writes a journal.
    pub(super) async fn write_journal(&self, record: &ChainRecord, journal: StepRecord) -> Result<(), Error> {
        let known = self.journals.step(&record.id, journal.n);
        let written = patiently(|| self.records.journal(&record.id, &journal, known.clone())).await;
        match &written {
            Ok(revision) => self.journals.note(&record.id, Version { revision: *revision, content: journal }),
            Err(_) => self.journals.drop(&record.id),
        }
        written.map(drop)
    }
}
