//! What a desk of a mesh does before and after it changes something: it judges who may, and puts on record who did.

use aigis_proxy::{
    Address, Code, Effect, Error, NodeName, Request, SkillPath,
    dispatch::{Begun, Deed, Journal, Outcome},
    subject::Caller,
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

/// The clerk of one request.
pub(crate) struct Clerk<'a> {
    /// Where the desk is.
    pub(crate) node: &'a NodeName,
    /// Where it puts things on record.
    pub(crate) journal: &'a dyn Journal,
    /// Who asks.
    pub(crate) caller: &'a Caller,
}

impl Clerk<'_> {
    /// Lets on who may do that.
    pub(crate) async fn permit(&self, what: &str, effect: Effect) -> Result<(), Error> {
        let role = self.caller.role;
        if role.permits(effect) {
            return Ok(());
        }
        self.journal.refused(self.caller, what, &format!("{role} may not")).await;
        let message = format!("{what} is {effect}, and {} is {role}", self.caller.name);
        Err(Error::new(Code::PermissionDenied, message).hint("ask an admin: aish users --help"))
    }

    /// Does what changes something, on record.
    pub(crate) async fn audited<T: Serialize + DeserializeOwned>(
        &self,
        verb: &str,
        effect: Effect,
        about: Value,
        deed: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        let address = Address { name: self.node.ci(), node: Some(self.node.clone()) };
        let path = SkillPath::parse(verb)?;
        let kwargs = about.as_object().cloned().unwrap_or_default();
        let request = Request { kwargs, ..Request::default() };
        let noted = Deed { caller: self.caller, ci: &address, path: &path, effect, request: &request, body: None };
        if let Begun::Repeat(outcome) = self.journal.begin(noted).await? {
            return serde_json::from_value(outcome?).map_err(|_| Error::internal("the first answer is lost"));
        }
        let result = deed.await;
        let outcome =
            result.as_ref().map(|value| serde_json::to_value(value).unwrap_or_default()).map_err(Clone::clone);
        self.journal.end(noted, Outcome::from(&outcome)).await;
        result
    }
}
