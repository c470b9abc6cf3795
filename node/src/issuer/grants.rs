//! What plugins may do: said by admins, kept in the plugin's record, judged by every callee.

use aigis_proxy::{Error, Grant, Role, UserName};
use aigis_registry::record::UserRecord;

use super::Office;

/// The most grants of one plugin.
const MOST: usize = 256;

/// Brings grants into order.
///
/// # Errors
///
/// `invalid_argument` for too many.
pub(super) fn settle(grants: &mut Vec<Grant>) -> Result<(), Error> {
    if grants.len() > MOST {
        return Err(Error::invalid(format!("a plugin has at most {MOST} grants, not {}", grants.len())));
    }
    grants.sort_unstable();
    grants.dedup();
    Ok(())
}

impl Office {
    /// Gives a plugin these grants in place of those that it had.
    ///
    /// # Errors
    ///
    /// `not_found` for an unknown user, `failed_precondition` for one that is no plugin, `invalid_argument` for too many,
    /// and what the store says.
    pub(super) async fn grant(&self, name: &UserName, mut grants: Vec<Grant>) -> Result<(), Error> {
        settle(&mut grants)?;
        let user = self.user(name).await?;
        if user.role != Role::Plugin {
            let message = format!("{name} is {}; only plugins are given grants", user.role);
            return Err(Error::precondition(message).hint("what a person may do is its role"));
        }
        let granted = |known: Option<&UserRecord>| {
            Ok(UserRecord { grants: grants.clone(), ..known.cloned().unwrap_or_else(|| user.clone()) })
        };
        self.registry.change_user(name, granted).await.map(drop)
    }
}
