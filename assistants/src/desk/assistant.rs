//! Assistants that are known to the whole mesh.

use aigis_proxy::{Code, Error, Name, services::chains::NewAssistant};
use aigis_registry::shared::{AssistantRecord, Key, Version};

use super::Desk;
use crate::coordinator::records::{now, patiently};

/// How often a record is written again because another one was written meanwhile.
const ROUNDS: usize = 20;

impl Desk {
    /// Makes `local:NAME` known, in place of the one of that name.
    pub(super) async fn keep(&self, new: NewAssistant) -> Result<(), Error> {
        let name = Name::parse(&new.name)?;
        let record = AssistantRecord {
            kind: "local".to_owned(),
            name: name.clone(),
            folder: new.folder,
            settings: new.settings,
            pushed_by: self.caller.name.clone(),
            pushed_at: now(),
        };
        let (records, key) = (&self.core.records, Key::Assistant("local".to_owned(), name));
        for _ in 0..ROUNDS {
            let known: Option<Version<AssistantRecord>> = patiently(|| records.get(&key)).await?;
            let written = match &known {
                Some(known) => patiently(|| records.shared.put(&key, &record, known.revision)).await?,
                None => patiently(|| records.shared.create(&key, &record)).await?,
            };
            if written.is_some() {
                return Ok(());
            }
        }
        Err(Error::unavailable(format!("the record {key} changes all the time")))
    }

    /// Removes `local:NAME`. Chains that run go on with it.
    pub(super) async fn remove(&self, name: String) -> Result<(), Error> {
        let (records, key) = (&self.core.records, Key::Assistant("local".to_owned(), Name::parse(&name)?));
        for _ in 0..ROUNDS {
            let known: Option<Version<AssistantRecord>> = patiently(|| records.get(&key)).await?;
            let Some(known) = known else {
                let message = format!("there is no assistant local:{name}");
                return Err(Error::new(Code::NotFound, message).hint("see: aish assistants list"));
            };
            if patiently(|| records.shared.delete(&key, known.revision)).await? {
                return Ok(());
            }
        }
        Err(Error::unavailable(format!("the record {key} changes all the time")))
    }
}
