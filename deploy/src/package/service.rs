//! The typed service by which packages of a mesh are registered and removed. Whoever may read its records reads them there.

use aigis_proxy::Error;

use super::{Place, Registered, Registration, records::Sizes};
use crate::Digest;

/// The name of [`Packages`], which all nodes share.
pub(super) const PACKAGES: &str = "packages";

/// A node that writes the records of packages.
#[tarpc::service(derive = [serde::Serialize, serde::Deserialize])]
pub(super) trait Packages {
    /// Says whether a package is known, to who may register it: then its content need not be sent.
    async fn announce(id: Digest) -> Result<bool, Error>;
    /// Registers a package whose content the mesh has; `sizes` names all of it, in bytes.
    async fn register(registration: Box<Registration>, sizes: Sizes) -> Result<Registered, Error>;
    /// Says whether a package is known, to who may push it elsewhere.
    async fn pushes(id: Digest) -> Result<bool, Error>;
    /// Notes where a package was pushed to.
    async fn pushed(id: Digest, place: Place) -> Result<(), Error>;
    /// Removes a package that nothing follows.
    async fn remove(id: Digest) -> Result<(), Error>;
}
