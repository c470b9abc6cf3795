//! The skills by which the projects of a node's host are seen, and Dockerfiles proposed for them and saved: `project.…` and
//! `dockerfile.…`, and packages built of them: `package.…`. Who knows the projects is [`aigis_proxy::services::projects::Projects`]; a node without that says so.

use std::{sync::Arc, time::Duration};

use aigis_proxy::{
    Effect, Error,
    services::projects::{LOOKING, PACKING, Pack, Save, Saved, Test},
    skill::{Call, Input, Nothing, Table},
};
use schemars::JsonSchema;
use serde::Deserialize;

use super::OwnCi;
use crate::{
    filling::{self, PROPOSE},
    steps,
};

/// How long a test may take: its turn, its build, its container.
const TEST: Duration = Duration::from_secs(30 * 60);

/// Which project is meant.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Which {
    /// A name of the table [projects] in the host's packages.toml, or the digest of an uploaded tree.
    project: String,
}

/// Of what a Dockerfile is wanted.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Wanted {
    /// A name of the table [projects] in the host's packages.toml, or the digest of an uploaded tree.
    project: String,
    /// The application, where there are several.
    #[serde(default)]
    app: Option<String>,
    /// Whether the model of the host chooses what the analysis cannot decide, among what the project holds: for who may change things.
    #[serde(default)]
    fill: bool,
}

/// A Dockerfile.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Text {
    /// What it holds.
    content: String,
}

/// [`Save`], as arguments.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(transparent)]
struct Saving(Save);

impl Input for Which {
    const POSITIONAL: &'static [&'static str] = &["project"];
}

impl Input for Wanted {
    const POSITIONAL: &'static [&'static str] = &["project", "app"];
}

impl Input for Text {
    const POSITIONAL: &'static [&'static str] = &["content"];
}

impl Input for Testing {
    const POSITIONAL: &'static [&'static str] = &["proposal"];
}

impl Input for Saving {
    const POSITIONAL: &'static [&'static str] = &["proposal"];
}

/// [`Test`], as arguments.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(transparent)]
struct Testing(Test);

/// [`Pack`], as arguments.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(transparent)]
struct Packing(Pack);

/// Which package is meant.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Package {
    /// Its id, of which twelve digits suffice; or PROJECT, for its newest; or PROJECT:TAG.
    id: String,
}

impl Input for Packing {
    const POSITIONAL: &'static [&'static str] = &["project"];
}

impl Input for Package {
    const POSITIONAL: &'static [&'static str] = &["id"];
}

/// Adds the skills.
pub(super) fn add(table: &mut Table<OwnCi>) {
    table
        .value(
            "project.list",
            Effect::Read,
            "Lists the projects that this host's packages.toml names, with the digests of their manifests.",
            async |own: Arc<OwnCi>, _, _: Nothing| own.directory.projects()?.list().await,
        )
        .value(
            "project.analyze",
            Effect::Read,
            "Says what a project is: its applications, how each is built and started, and which lines prove it.",
            async |own: Arc<OwnCi>, _, which: Which| own.directory.projects()?.analyze(which.project).await,
        )
        .value(
            PROPOSE,
            Effect::Read,
            "Proposes a Dockerfile for a project, and writes nothing; the proposal is kept for a day.",
            async |own: Arc<OwnCi>, call: Call, Wanted { project, app, fill }: Wanted| {
                if fill {
                    filling::permit(&own.host, &own.name, &call).await?;
                }
                own.directory.projects()?.propose(project, app, fill).await
            },
        )
        .value(
            "dockerfile.lint",
            Effect::Read,
            "Reports on a Dockerfile, by line.",
            async |own: Arc<OwnCi>, _, text: Text| own.directory.projects()?.lint(text.content).await,
        )
        .value(
            "dockerfile.save",
            Effect::Write,
            "Writes what was proposed, unless the project or what stands there has changed.",
            async |own: Arc<OwnCi>, _: Call, Saving(save): Saving| -> Result<Saved, Error> {
                own.directory.projects()?.save(save).await
            },
        )
        .stream(
            "dockerfile.test",
            Effect::Write,
            "Builds what was proposed, starts it without a published port, and tells how that went; nothing of it stays.",
            async |own: Arc<OwnCi>, _: Call, Testing(test): Testing| steps::test(&own.place, own.directory.projects()?, test),
        );
    table
        .stream(
            "package.build",
            Effect::Write,
            "Builds a package of a project and registers it; tells what is done, and last its record.",
            async |own: Arc<OwnCi>, call: Call, Packing(pack): Packing| {
                own.directory.projects()?.pack(call.caller.name.to_string(), pack).await
            },
        )
        .stream(
            "package.verify",
            Effect::Write,
            "Builds a package again without any cache of what is recorded of it, and reports in what the result differs.",
            async |own: Arc<OwnCi>, call: Call, Package { id }: Package| {
                own.directory.projects()?.verify(call.caller.name.to_string(), id).await
            },
        );
    table.timeout("dockerfile.test", TEST).timeout("package.build", PACKING).timeout("package.verify", PACKING);
    for path in ["project.analyze", PROPOSE, "dockerfile.save"] {
        table.timeout(path, LOOKING);
    }
}
