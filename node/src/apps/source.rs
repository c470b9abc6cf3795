//! What an app's CI does with the tree that was pushed last: proposes a Dockerfile, keeps it in the app's state, builds a package.
//!
//! A pushed tree is an uploaded one: whoever knows the projects of this host looks at it, as for the node's own skills. The
//! app's records are of whoever holds its chain.

use std::sync::{Arc, LazyLock};

use aigis_proxy::{
    Effect, Error, Name, SkillPath,
    services::{
        chains::skills::{DOCKERFILE, Dockerfile, OfApps},
        projects::{LOOKING, PACKING, Pack, Projects, Saved, SavedFile},
    },
    skill::{Answer, Call, Input, SkillInfo, Table},
};
use futures::future::BoxFuture;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::{
    container::Host,
    filling::{self, PROPOSE},
};

/// Of what a Dockerfile is wanted.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Wanted {
    /// The application of the tree, where there are several.
    #[serde(default)]
    app: Option<String>,
    /// Whether the model of the host chooses what the analysis cannot decide, among what the tree holds: for who may change things.
    #[serde(default)]
    fill: bool,
}

/// A proposal that is to be kept.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Saving {
    /// Its id, as it was shown.
    proposal: String,
    /// Whether it takes the place of another one in the state.
    #[serde(default)]
    replace: bool,
}

/// What a package is to be.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Packing {
    /// Only these containers, and those that they stand on; all, if none is named.
    #[serde(default)]
    containers: Vec<String>,
    /// For these platforms only, such as linux/amd64; if none is named, for those that the manifest names, or the host's own.
    #[serde(default)]
    platforms: Vec<String>,
    /// Whether phases run also where it is known what they leave.
    #[serde(default)]
    no_cache: bool,
    /// A tag instead of the one that the manifest asks for.
    #[serde(default)]
    tag: Option<String>,
}

impl Input for Wanted {
    const POSITIONAL: &'static [&'static str] = &["app"];
}

impl Input for Saving {
    const POSITIONAL: &'static [&'static str] = &["proposal"];
}

impl Input for Packing {}

/// An app, and whom it asks.
pub(super) struct Asked {
    pub(super) app: Name,
    pub(super) host: Arc<Host>,
    pub(super) chains: Arc<dyn OfApps>,
    pub(super) projects: Arc<dyn Projects>,
}

impl Asked {
    async fn save(&self, Saving { proposal, replace }: Saving) -> Result<Saved, Error> {
        let tree = self.chains.pushed(self.app.clone()).await?;
        let content = self.projects.proposed(proposal, tree).await?;
        let kept = Dockerfile { tree, content, replace };
        let changed = self.chains.keep_dockerfile(self.app.clone(), kept).await?;
        Ok(Saved { files: vec![SavedFile { path: DOCKERFILE.to_owned(), written: changed }], changed })
    }
}

static TABLE: LazyLock<Table<Asked>> = LazyLock::new(|| {
    let mut table = Table::new();
    table
        .value(
            PROPOSE,
            Effect::Read,
            "Proposes a Dockerfile for the tree that was pushed last, and writes nothing; it is kept for a day.",
            async |asked: Arc<Asked>, call: Call, Wanted { app, fill }: Wanted| {
                if fill {
                    filling::permit(&asked.host, &asked.app, &call).await?;
                }
                let tree = asked.chains.pushed(asked.app.clone()).await?;
                asked.projects.propose(tree.to_string(), app, fill).await
            },
        )
        .value(
            "dockerfile.save",
            Effect::Write,
            "Writes what was proposed into the app's state, unless another tree was pushed or another one stands there.",
            async |asked: Arc<Asked>, _: Call, saving: Saving| asked.save(saving).await,
        )
        .stream(
            "package.build",
            Effect::Write,
            "Builds a package of the tree that was pushed last and registers it; tells what is done, and last its record.",
            async |asked: Arc<Asked>, call: Call, packing: Packing| {
                let Packing { containers, platforms, no_cache, tag } = packing;
                let project = asked.chains.pushed(asked.app.clone()).await?.to_string();
                let pack = Pack { project, containers, platforms, no_cache, tag };
                asked.projects.pack(call.caller.name.to_string(), pack).await
            },
        );
    table.timeout("package.build", PACKING);
    for path in [PROPOSE, "dockerfile.save"] {
        table.timeout(path, LOOKING);
    }
    table
});

/// Every one of these skills, sorted by path.
pub(super) fn skills() -> Vec<Arc<SkillInfo>> {
    TABLE.skills()
}

/// Whether a skill of an app is one of these.
pub(super) fn is_of_source(path: &str) -> bool {
    TABLE.skill(path).is_some()
}

/// Runs one, once the caller is known to be permitted to.
pub(super) fn run(asked: Asked, path: &SkillPath, call: Call) -> BoxFuture<'static, Result<Answer, Error>> {
    TABLE.run(Arc::new(asked), path, call)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pkg_71_only_a_proposal_of_an_apps_tree_is_for_viewers() {
        let effects: Vec<(String, Effect)> =
            skills().iter().map(|skill| (skill.path.to_string(), skill.effect)).collect();
        let expected = [
            ("dockerfile.propose", Effect::Read),
            ("dockerfile.save", Effect::Write),
            ("package.build", Effect::Write),
        ];
        assert_eq!(effects, expected.map(|(path, effect)| (path.to_owned(), effect)));
        assert!(is_of_source("package.build") && !is_of_source("status"));
    }
}
