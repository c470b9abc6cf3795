//! The credentials that a host makes for itself, and who its first admin is.

use std::{path::Path, time::Duration};

use aigis_proxy::{
    Role, UserName,
    identity::{Credential, Issuer, MeshKeys, credential},
};

use super::Error;

/// How long a user's credential lives unless said otherwise, and at most.
pub const CREDENTIAL_LIFE: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// Reads a credential, renews it when it is time, and makes it anew when there is none that can be used.
pub(super) fn ensure(
    keys: &MeshKeys,
    issuer: &Issuer,
    file: &Path,
    name: &UserName,
    role: Role,
    life: Duration,
) -> Result<Credential, Error> {
    let flawed = |flaw| credential::Error::Flawed { file: file.to_owned(), flaw };
    // The key stays, also where the time of its token is over: one name, one key.
    if let Ok(credential) = Credential::read_ended(file, Some(issuer))
        && credential.name() == name
    {
        // A token made after a revocation would be good again.
        if credential.is_due(issuer) && !keys.revocations().contains(credential.public()) {
            let token = keys.issue(name, role, credential.public(), life)?;
            credential.renew(&token, Some(issuer)).map_err(flawed)?;
            credential.write(file)?;
        }
        return Ok(credential);
    }
    let key = Credential::generate()?;
    let token = keys.issue(name, role, key.public(), life)?;
    let credential = Credential::new(&token, key, Some(issuer)).map_err(flawed)?;
    credential.write(file)?;
    Ok(credential)
}

/// Who is logged in, as far as that is a user name.
#[must_use]
pub fn login() -> Option<UserName> {
    let login = std::env::var("SUDO_USER").or_else(|_| std::env::var("USER")).unwrap_or_default();
    UserName::parse(&login.to_ascii_lowercase()).ok()
}

/// The name of whoever brings the mesh up.
#[must_use]
pub fn first_admin() -> UserName {
    let name = login().map_or_else(|| UserName::parse("admin"), Ok);
    #[expect(clippy::expect_used, reason = "the constant is a user name")]
    name.expect("admin is a user name")
}
