//! Who may have the model of this host fill gaps: each answer costs something, so that is for those who may change things.

use aigis_proxy::{Address, Effect, Error, Name, SkillPath, skill::Call};

use crate::container::Host;

/// The skill that fills gaps where that is asked for.
pub(crate) const PROPOSE: &str = "dockerfile.propose";

/// Refuses whoever may only read, on record.
///
/// # Errors
///
/// `permission_denied`; `unavailable` before this node serves.
pub(crate) async fn permit(host: &Host, ci: &Name, call: &Call) -> Result<(), Error> {
    let ci = Address { name: ci.clone(), node: Some(host.node.clone()) };
    let dispatcher = host.dispatcher().ok_or_else(|| {
        Error::unavailable(format!("{ci} does not answer yet")).hint("ask it again in a moment").sent(false)
    })?;
    let permitted = dispatcher.permit(&call.caller, &ci, &SkillPath::parse(PROPOSE)?, Effect::Write).await;
    permitted.map_err(|error| {
        Error { message: format!("with fill=true a model is asked: {}", error.message), ..error }
            .hint("leave fill out, or ask an operator or admin of this mesh")
    })
}
