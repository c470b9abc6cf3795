//! What a token is checked for before it is believed.

use super::{Flaw, Instant, Issuer};
use crate::{
    MeshName, Role, UserName,
    identity::{
        jwt::{self, Body, Claims},
        key::Key,
        vouched::Vouched,
    },
};

/// Checks a token that is to go with this key.
pub(super) fn vouched(jwt: &str, key: &Key, issuer: Option<&Issuer>, now: Option<i64>) -> Result<Vouched, Flaw> {
    let claims = jwt::decode(jwt)?;
    if matches!(claims.nats, Body::User(_)) && claims.sub != key.public() {
        return Err(Flaw::Mismatch);
    }
    examine(claims, issuer, now)
}

/// Checks what a token says: a user of this issuer, where one is given, whose time it is, where that is asked.
pub(in crate::identity) fn examine(claims: Claims, issuer: Option<&Issuer>, now: Option<i64>) -> Result<Vouched, Flaw> {
    let Body::User(user) = &claims.nats else {
        return Err(Flaw::Type);
    };
    let name = UserName::parse(&claims.name).map_err(|_| Flaw::Name)?;
    let role: Role = tag(user, "role:").and_then(|word| word.parse().ok()).ok_or(Flaw::Tags)?;
    let mesh = tag(user, "mesh:").and_then(|word| MeshName::parse(word).ok()).ok_or(Flaw::Tags)?;
    if let Some(issuer) = issuer {
        let signs_for = issuer.role_of(&claims.iss).filter(|_| user.issuer_account == issuer.account);
        let signs_for = signs_for.ok_or(Flaw::Issuer)?;
        if signs_for != role || issuer.mesh != mesh {
            return Err(Flaw::Contradiction);
        }
    }
    if let Some(now) = now {
        holds(&name, &claims, now)?;
    }
    let Claims { iss: signer, sub: public, iat: issued, exp: expires, .. } = claims;
    Ok(Vouched { name, role, mesh, public, signer, issued, expires })
}

fn holds(name: &UserName, claims: &Claims, now: i64) -> Result<(), Flaw> {
    if let Some(ended) = claims.exp.filter(|ended| *ended <= now) {
        return Err(Flaw::Expired { name: name.clone(), ended: Instant(ended), now: Instant(now) });
    }
    if let Some(begins) = claims.nbf.filter(|begins| *begins > now) {
        return Err(Flaw::NotYet { name: name.clone(), begins: Instant(begins), now: Instant(now) });
    }
    Ok(())
}

/// The one tag with that prefix, without it.
fn tag<'a>(user: &'a jwt::User, prefix: &str) -> Option<&'a str> {
    let mut found = user.tags.iter().filter_map(|tag| tag.strip_prefix(prefix));
    found.next().filter(|_| found.next().is_none())
}
