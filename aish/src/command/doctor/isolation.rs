//! What the bus lets this host do that no user of a mesh may: tried, where the bus is somebody else's.

use std::time::Duration;

use aigis_node::home::MeshFile;
use aigis_proxy::{
    Bus, Code, Error, Name, Request, Role, SkillPath, UserName,
    client::{self, Target},
    subject::{Caller, inbox},
};
use bytes::Bytes;

use super::Check;

/// How long the issuer's node may take to say whether it runs the bus, and the bus to refuse.
const WITHIN: Duration = Duration::from_secs(2);
/// As whom it is tried: whatever is heard or said under this name concerns nobody.
const NOBODY: &str = "nobody";
/// What is said where it is not known who runs the bus, and who knows.
pub(super) const UNSAID: &str = "unknown: nobody says here whether a node of the mesh runs the bus";
pub(super) const ASK_THERE: &str = "on the host that started the mesh: aish doctor";

/// Whether a node of the mesh runs the bus; nothing where the issuer's node does not say so, or is not known.
pub(super) async fn is_own(bus: &Bus, mesh: Option<&MeshFile>) -> Option<bool> {
    match mesh {
        Some(mesh) if mesh.supervised => Some(true),
        Some(mesh) if mesh.is_member() => says_so(bus, mesh).await,
        Some(_) => Some(false),
        None => None,
    }
}

/// What the issuer's node says of it.
async fn says_so(bus: &Bus, mesh: &MeshFile) -> Option<bool> {
    let (server, ci) = (mesh.issuer.user(), mesh.issuer.ci());
    let target = Target { server, ci, path: SkillPath::parse("status").ok()?, timeout: Some(WITHIN) };
    let status = tokio::time::timeout(WITHIN, client::call(bus, &target, Request::default())).await.ok()?.ok()?;
    status["bus"]["supervised"].as_bool()
}

/// Whether the bus keeps users apart: known of one that a node of the mesh runs, else tried.
pub(super) async fn check(bus: &Bus, is_own: Option<bool>) -> Check {
    let name = "isolation";
    match is_own {
        Some(true) => {
            return Check::pass(name, "identity is enforced by the bus, and its store has an account of its own");
        }
        // What is tried at a bus of the mesh would stand in its audit.
        None => return Check::warn(name, UNSAID, ASK_THERE),
        Some(false) => {}
    }
    match gaps(bus).await {
        Ok(gaps) if gaps.is_empty() => {
            Check::pass(name, "identity is enforced by the bus, and its store is out of reach; both were tried")
        }
        Ok(gaps) => Check::warn(
            name,
            format!("the bus does not keep users apart: whoever reaches it can {}", gaps.join(", ")),
            "use it among those who trust each other only, or give it the mesh's accounts: bus/operator.conf in the mesh's directory",
        ),
        Err(error) => Check::warn(name, format!("it could not be tried: {}", error.message), "try again in a moment"),
    }
}

/// What anybody can do at this bus who reaches it.
///
/// # Errors
///
/// The bus is away.
pub(crate) async fn gaps(bus: &Bus) -> Result<Vec<&'static str>, Error> {
    let nobody = Caller { role: Role::Viewer, name: UserName::parse(NOBODY)? };
    let (ci, path) = (Name::parse(NOBODY)?, SkillPath::parse(NOBODY)?);
    let call = bus.subjects().to(&nobody.name, &nobody, &ci, &path);
    let listening = bus.subscribe(&format!("{}.>", inbox(&nobody.name))).await.map(drop);
    let found = [
        (is_refused(bus, call).await?, "call under another's name and role"),
        (refused(listening)?, "read what others are answered"),
        (is_refused(bus, format!("$KV.{NOBODY}.{NOBODY}")).await?, "write, change and delete any record"),
    ];
    Ok(found.into_iter().filter(|(is_refused, _)| !is_refused).map(|(_, what)| what).collect())
}

/// Whether the bus refuses to take a message to that subject, which nobody hears.
async fn is_refused(bus: &Bus, subject: String) -> Result<bool, Error> {
    match bus.request(subject, None, Bytes::new(), WITHIN).await {
        // Nobody hears it, and the bus said so.
        Err(error) if error.code == Code::Unavailable && bus.link().borrow().up => Ok(false),
        Err(error) if error.code == Code::DeadlineExceeded => Ok(false),
        answered => refused(answered.map(drop)),
    }
}

fn refused(answered: Result<(), Error>) -> Result<bool, Error> {
    match answered {
        Ok(()) => Ok(false),
        Err(error) if error.code == Code::PermissionDenied => Ok(true),
        Err(error) => Err(error),
    }
}
