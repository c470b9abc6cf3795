//! Join tokens: made and ended by admins.

use std::time::Duration;

use aigis_proxy::{
    Code, Error, Role, UserName,
    identity::CaCertificate,
    services::{GrantedToken, WantedToken},
};
use aigis_registry::{Timestamp, record::TokenRecord};
use serde_json::{Value, json};

use super::{Office, ends, hosted, unsigned};

/// The longest time in which a token can be used.
const LONGEST: u64 = 24 * 60 * 60;
/// The most uses of a token.
const MOST: u32 = 1_000;
/// How much longer its credential lives: who comes too late is told so, instead of being turned away by the bus unheard.
const LATE: Duration = Duration::from_secs(60 * 60);

/// The id of a token that is to be made, and what of it goes on record.
///
/// # Errors
///
/// `invalid_argument` for a token that gives too much.
pub(super) fn begin(wanted: &WantedToken) -> Result<(UserName, Value), Error> {
    let WantedToken { role, name, ttl_s, uses } = wanted;
    check(*role, name.as_ref(), *ttl_s, *uses)?;
    let id = UserName::parse(&format!("token-{}", uuid::Uuid::now_v7().simple()))?;
    let kwargs = json!({"id": id, "role": role, "name": name, "ttl_s": ttl_s, "uses": uses});
    Ok((id, kwargs))
}

impl Office {
    pub(super) async fn create_token(
        &self,
        made_by: &UserName,
        id: UserName,
        public_key: &str,
        wanted: WantedToken,
    ) -> Result<GrantedToken, Error> {
        let WantedToken { role, name, ttl_s, uses } = wanted;
        let life = Duration::from_secs(ttl_s);
        let record = TokenRecord {
            id: id.clone(),
            role,
            name,
            made_by: made_by.clone(),
            made_at: Timestamp::now(),
            expires_at: ends(life),
            uses,
            used: 0,
            revoked_at: None,
        };
        let jwt = self.keys.issue_token(&id, public_key, life + LATE).map_err(unsigned)?;
        let expires_at = record.expires_at.to_string();
        self.registry.change_token(&id, |_| Ok(record.clone())).await?;
        let (bus, issuer, account) = (self.url.clone(), self.node.clone(), self.keys.issuer().account);
        let ca = self.ca.as_ref().map(CaCertificate::to_text);
        Ok(GrantedToken { id, jwt, expires_at, bus, ca, issuer, account })
    }

    pub(super) async fn revoke_token(&self, id: &UserName) -> Result<(), Error> {
        let change = |record: Option<&TokenRecord>| {
            let record = record.ok_or_else(|| {
                Error::new(Code::InvalidArgument, format!("there is no join token {id}")).hint("see: aish tokens list")
            })?;
            let revoked_at = record.revoked_at.or_else(|| Some(Timestamp::now()));
            Ok(TokenRecord { revoked_at, ..record.clone() })
        };
        self.registry.change_token(id, change).await.map(drop)
    }
}

fn check(role: Role, name: Option<&UserName>, ttl_s: u64, uses: u32) -> Result<(), Error> {
    if !Role::GIVEN.contains(&role) {
        return Err(Error::invalid(format!("no user is given the role {role}")));
    }
    if let Some(name) = name {
        UserName::choose(name.as_str())?;
        hosted::is_free(name)?;
    }
    if !(1..=LONGEST).contains(&ttl_s) {
        return Err(Error::invalid(format!("a join token can be used for 1 s to 24 h, not for {ttl_s} s")));
    }
    if !(1..=MOST).contains(&uses) || (name.is_some() && uses > 1) {
        let most = if name.is_some() { 1 } else { MOST };
        return Err(Error::invalid(format!("such a join token can be used 1 to {most} times, not {uses}")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_49_tokens_are_bounded() {
        let olga = UserName::parse("olga").unwrap();
        assert!(check(Role::Node, None, 1, 1_000).is_ok() && check(Role::Admin, Some(&olga), LONGEST, 1).is_ok());
        assert!(check(Role::Join, None, 1, 1).is_err());
        assert!(check(Role::Node, None, 0, 1).is_err() && check(Role::Node, None, LONGEST + 1, 1).is_err());
        assert!(check(Role::Node, None, 1, 0).is_err() && check(Role::Node, None, 1, 1_001).is_err());
        assert!(check(Role::Node, Some(&olga), 1, 2).is_err());
        assert!(check(Role::Node, Some(&UserName::parse("list").unwrap()), 1, 1).is_err());
    }
}
