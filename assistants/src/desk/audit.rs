//! Puts what people have done on record.

use aigis_proxy::{
    Address, Effect, Error, Request, SkillPath,
    dispatch::{Begun, Deed, Outcome},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use super::Desk;

impl Desk {
    /// Does what changes something, on record.
    pub(super) async fn audited<T: Serialize + DeserializeOwned>(
        &self,
        verb: &str,
        about: Value,
        deed: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        let node = &self.core.parts.node;
        let address = Address { name: node.ci(), node: Some(node.clone()) };
        let path = SkillPath::parse(&format!("chains.{verb}"))?;
        let kwargs = about.as_object().cloned().unwrap_or_default();
        let request = Request { kwargs, ..Request::default() };
        let journal = &self.core.parts.journal;
        let noted = Deed {
            caller: &self.caller,
            ci: &address,
            path: &path,
            effect: Effect::Write,
            request: &request,
            body: None,
        };
        if let Begun::Repeat(outcome) = journal.begin(noted).await? {
            return serde_json::from_value(outcome?).map_err(|_| Error::internal("the first answer is lost"));
        }
        let result = deed.await;
        let outcome =
            result.as_ref().map(|value| serde_json::to_value(value).unwrap_or_default()).map_err(Clone::clone);
        journal.end(noted, Outcome::from(&outcome)).await;
        result
    }
}
