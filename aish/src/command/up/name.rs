//! What a node is called where no name is given.

use aigis_node::home::MeshFile;
use aigis_proxy::NodeName;

use crate::exit::Failure;

/// The node's name if none is given: the one it had before, else the host's.
pub(super) fn usual_name(known: Option<MeshFile>) -> Result<NodeName, Failure> {
    match known.and_then(|mesh| mesh.node) {
        Some(node) => Ok(node),
        None => host_name(),
    }
}

/// The name that the host's own gives a node.
///
/// # Errors
///
/// A usage error where it gives none.
pub(crate) fn host_name() -> Result<NodeName, Failure> {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    from_host(host.trim())
        .ok_or_else(|| Failure::usage("the host's name gives no name for a node", "name it: --name NODE"))
}

/// The first label of a host's name, made a node's name.
fn from_host(host: &str) -> Option<NodeName> {
    let first = host.split('.').next().unwrap_or_default().to_ascii_lowercase();
    let mut name: String =
        first.chars().map(|c| if c.is_ascii_alphanumeric() || c == '-' || c == '_' { c } else { '-' }).collect();
    name.truncate(63);
    NodeName::choose(name.trim_matches(['-', '_'])).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_give_names() {
        for (host, name) in [("Alpha.example.com", "alpha"), ("host_1", "host_1"), ("-x-", "x"), ("a b", "a-b")] {
            assert_eq!(from_host(host).unwrap().as_str(), name);
        }
        assert!(from_host("local.example.com").is_none(), "a reserved word");
        assert!(from_host("").is_none() && from_host("--").is_none());
    }
}
