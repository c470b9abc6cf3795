//! Under which key a shared record stands.

use std::fmt;

use aigis_proxy::{Name, blob::Digest, chain::ChainId};

/// The keys of the bucket of shared records.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Key {
    /// A chain.
    Chain(ChainId),
    /// The journal of a step of a chain.
    Step(ChainId, u32),
    /// An app.
    App(Name),
    /// An assistant: its kind, `local` or `remote`, and its name.
    Assistant(String, Name),
    /// A package, by its id.
    Package(Digest),
    /// What changes of a package, by its id.
    PackageState(Digest),
    /// A build: the digest of its inputs, and its id.
    Build(Digest, String),
    /// What is deployed of a project.
    Deployment(Name),
    /// What holds deployments back.
    DeploymentHolds,
}

impl Key {
    /// The filter of all chains, without their steps.
    pub const CHAINS: &'static str = "chain.*";
    /// The filter of all apps.
    pub const APPS: &'static str = "app.*";
    /// The filter of all assistants.
    pub const ASSISTANTS: &'static str = "assistant.*.*";

    /// The filter of all packages.
    pub const PACKAGES: &'static str = "package.*";
    /// The filter of what changes of all packages.
    pub const PACKAGE_STATES: &'static str = "package_state.*";

    /// The filter of all deployments.
    pub const DEPLOYMENTS: &'static str = "deployment.*";

    /// The filter of all builds of these inputs.
    #[must_use]
    pub fn builds(inputs: &Digest) -> String {
        format!("build.{}.*", inputs.hex())
    }

    /// The filter of all steps of a chain.
    #[must_use]
    pub fn steps(chain: &ChainId) -> String {
        format!("chain.{chain}.step.*")
    }

    /// Reads a key; `None` if it is of a kind that this version does not know.
    pub(super) fn parse(key: &str) -> Option<Self> {
        let tokens: Vec<&str> = key.split('.').collect();
        match tokens[..] {
            ["chain", id] => Some(Self::Chain(id.parse().ok()?)),
            ["chain", id, "step", step] => Some(Self::Step(id.parse().ok()?, step.parse().ok()?)),
            ["app", name] => Some(Self::App(Name::parse(name).ok()?)),
            ["assistant", kind @ ("local" | "remote"), name] => {
                Some(Self::Assistant(kind.to_owned(), Name::parse(name).ok()?))
            }
            ["package", hex] => Some(Self::Package(digest(hex)?)),
            ["package_state", hex] => Some(Self::PackageState(digest(hex)?)),
            ["build", inputs, id] if is_build(id) => Some(Self::Build(digest(inputs)?, id.to_owned())),
            ["deployment", project] => Some(Self::Deployment(Name::parse(project).ok()?)),
            ["deployment_holds"] => Some(Self::DeploymentHolds),
            _ => None,
        }
    }
}

fn digest(hex: &str) -> Option<Digest> {
    format!("sha256:{hex}").parse().ok()
}

/// Whether that is the id of a build: `bld_` and a UUID.
fn is_build(id: &str) -> bool {
    let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f' | b'-');
    id.strip_prefix("bld_").is_some_and(|uuid| uuid.len() == 36 && uuid.bytes().all(is_digit))
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Chain(id) => write!(f, "chain.{id}"),
            Self::Step(id, step) => write!(f, "chain.{id}.step.{step}"),
            Self::App(name) => write!(f, "app.{name}"),
            Self::Assistant(kind, name) => write!(f, "assistant.{kind}.{name}"),
            Self::Package(id) => write!(f, "package.{}", id.hex()),
            Self::PackageState(id) => write!(f, "package_state.{}", id.hex()),
            Self::Build(inputs, id) => write!(f, "build.{}.{id}", inputs.hex()),
            Self::Deployment(project) => write!(f, "deployment.{project}"),
            Self::DeploymentHolds => f.write_str("deployment_holds"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_read_back() {
        let id = ChainId::new();
        let keys = [format!("chain.{id}"), format!("chain.{id}.step.3"), "app.web".into(), "assistant.local.cp".into()];
        for key in &keys {
            assert_eq!(Key::parse(key).unwrap().to_string(), *key);
        }
        let hex = Digest::of(b"x").hex();
        let build = "bld_0192f0c1-0000-7000-8000-000000000000";
        for key in [format!("package.{hex}"), format!("package_state.{hex}"), format!("build.{hex}.{build}")] {
            assert_eq!(Key::parse(&key).unwrap().to_string(), key);
        }
        for key in ["deployment.shop", "deployment_holds"] {
            assert_eq!(Key::parse(key).unwrap().to_string(), key);
        }
        assert_eq!(Key::parse(&format!("build.{hex}.bld_x")), None);
        assert_eq!(Key::parse(&format!("package.{}", hex.to_uppercase())), None);
        for bad in ["chain.x", "app.Web", "app.web.x", "assistant.builtin.cp", "chain", ""] {
            assert_eq!(Key::parse(bad), None, "{bad}");
        }
    }
}
