//! Whether a person asked for what another node has this one do: the person's signature, and what the mesh knows of them.

use std::time::Duration;

use aigis_proxy::{
    MeshName, Name, Role,
    identity::{Mandate, Purpose, Wish},
};
use aigis_registry::Cache;

/// How long the mesh may take to tell this node of the user who asked.
const SEEN: Duration = Duration::from_secs(5);

/// What a mandate has to be for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked<'a> {
    pub(crate) mesh: &'a MeshName,
    pub(crate) purpose: Purpose,
    /// Of the app or project.
    pub(crate) name: &'a Name,
    pub(crate) mandate: &'a Mandate,
}

/// Gives the wish of a mandate, if it is that of an operator or admin of this mesh for just that.
///
/// # Errors
///
/// Why it does not permit it, as the end of a sentence.
pub(crate) async fn permit(cache: &Cache, asked: Asked<'_>) -> Result<Wish, String> {
    let Asked { mesh, purpose, name, mandate } = asked;
    let wish = mandate.unverified().ok_or_else(|| "nobody signed for it".to_owned())?;
    let mut changed = cache.changed();
    let known = tokio::time::timeout(SEEN, changed.wait_for(|snapshot| snapshot.user(&wish.by).is_some())).await;
    let user = match known {
        Ok(Ok(snapshot)) => snapshot.user(&wish.by).cloned(),
        _ => None,
    };
    let user = user.ok_or_else(|| format!("there is no user {}", wish.by))?;
    if user.revoked_at.is_some() {
        return Err(format!("the user {} was revoked", wish.by));
    }
    if !matches!(user.role, Role::Operator | Role::Admin) {
        return Err(format!("the role {} does not permit {} to ask for it", user.role, wish.by));
    }
    let wish = mandate.verify(purpose, &user.public_key);
    let wish = wish.ok_or_else(|| format!("the signature is not of {}", user.name))?;
    if wish.app != *name || wish.mesh != *mesh {
        return Err(format!(
            "{} signed for another {}",
            wish.by,
            match purpose {
                Purpose::App => "app",
                Purpose::Deployment => "project",
            }
        ));
    }
    Ok(wish)
}
