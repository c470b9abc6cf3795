//! Completion of a command line: the parser knows its own words, and the live mesh the names of CIs and the paths of skills.

use std::{collections::BTreeSet, env, ffi::OsStr, ffi::OsString, time::Duration};

use aigis_deploy::{deployment::Deployment, package};
use aigis_registry::{
    Asking, CiRecord, Kind, Shared,
    shared::{ChainRecord, Key},
};
use clap_complete::{CompleteEnv, CompletionCandidate};

use crate::{cli, context::Context};

/// The variable by which a shell asks how a word may go on.
pub(crate) const VARIABLE: &str = "AIGIS_COMPLETE";
/// How long the mesh may take to be read: who waits for a key does not wait longer.
const WITHIN: Duration = Duration::from_secs(1);
/// How many words are offered.
const MOST: usize = 1_000;
/// The skills that every plugin has under its own name; the others of it are called by their whole names.
const STANDARD: [&str; 9] = ["describe", "health", "logs", "message", "reload", "restart", "start", "status", "stop"];
/// The options that say which mesh it is, and how it is reached.
const OF_THE_MESH: [&str; 5] = ["--mesh", "--data", "--bus", "--creds", "--ca"];

/// Answers a shell that asks, and says whether one did.
pub(crate) fn answered() -> bool {
    let asked = || CompleteEnv::with_factory(cli::parser).var(VARIABLE).bin("aish").completer("aish");
    // A shell that cannot be answered is one that nobody registered us with; it is told nothing, as if there were no words.
    env::var_os(VARIABLE).is_some_and(|shell| !shell.is_empty())
        && asked().try_complete(env::args_os(), None).unwrap_or(true)
}

/// The names of CIs that begin so.
pub(crate) fn names(current: &OsStr) -> Vec<CompletionCandidate> {
    offered(current, |record| vec![record.name.to_string()])
}

/// The names of plugins that begin so.
pub(crate) fn plugins(current: &OsStr) -> Vec<CompletionCandidate> {
    offered(current, |record| if record.kind == Kind::Plugin { vec![record.name.to_string()] } else { Vec::new() })
}

/// The names of apps that begin so.
pub(crate) fn apps(current: &OsStr) -> Vec<CompletionCandidate> {
    offered(current, |record| if record.kind == Kind::App { vec![record.name.to_string()] } else { Vec::new() })
}

/// The ids of chains that begin so.
pub(crate) fn chains(current: &OsStr) -> Vec<CompletionCandidate> {
    shared(current, async |shared| chained(&shared).await)
}

/// The projects of packages that begin so: each is its newest package as well.
pub(crate) fn packages(current: &OsStr) -> Vec<CompletionCandidate> {
    shared(current, async |shared| package::projects(shared).await.unwrap_or_default())
}

/// The projects that are deployed and begin so.
pub(crate) fn deployments(current: &OsStr) -> Vec<CompletionCandidate> {
    shared(current, async |shared| deployed(&shared).await)
}

/// What there is a reason for, and begins so: chains, and projects that are deployed.
pub(crate) fn reasons(current: &OsStr) -> Vec<CompletionCandidate> {
    shared(current, async |shared| [deployed(&shared).await, chained(&shared).await].concat())
}

async fn deployed(shared: &Shared) -> Vec<String> {
    let deployed = shared.list::<Deployment>(Key::DEPLOYMENTS).await.unwrap_or_default();
    deployed.into_iter().map(|(_, version)| version.content.project.to_string()).collect()
}

async fn chained(shared: &Shared) -> Vec<String> {
    let chains = shared.list::<ChainRecord>(Key::CHAINS).await.unwrap_or_default();
    chains.into_iter().map(|(_, version)| version.content.id.as_str().to_owned()).collect()
}

/// The names of assistants that begin so.
pub(crate) fn assistants(current: &OsStr) -> Vec<CompletionCandidate> {
    shared(current, async |shared| {
        let known = crate::command::push::known(&shared).await.unwrap_or_default();
        known.into_iter().map(|known| known.name.to_string()).collect()
    })
}

/// What the records that change hands give that begins so.
fn shared(current: &OsStr, words: impl AsyncFnOnce(Shared) -> Vec<String>) -> Vec<CompletionCandidate> {
    let Some(current) = current.to_str() else { return Vec::new() };
    let words = asked(async |asking| words(asking.shared()).await).unwrap_or_default();
    let words: BTreeSet<String> = words.into_iter().filter(|word| word.starts_with(current)).collect();
    words.into_iter().take(MOST).map(CompletionCandidate::new).collect()
}

/// The paths of skills that begin so, each as it is called from anywhere.
pub(crate) fn paths(current: &OsStr) -> Vec<CompletionCandidate> {
    offered(current, |record| {
        let path = |path: &str| match record.kind {
            Kind::Plugin if !STANDARD.contains(&path) => path.to_owned(),
            _ => format!("{}.{path}", record.name),
        };
        record.skills.iter().map(|skill| path(skill.path.as_str())).collect()
    })
}

/// What the CIs of the mesh give that begins so; nothing where the mesh is away.
fn offered(current: &OsStr, words: impl Fn(&CiRecord) -> Vec<String>) -> Vec<CompletionCandidate> {
    let Some(current) = current.to_str() else { return Vec::new() };
    let records = records().unwrap_or_default();
    let words = records.iter().flat_map(words).filter(|word| word.starts_with(current));
    let words: BTreeSet<String> = words.collect();
    words.into_iter().take(MOST).map(CompletionCandidate::new).collect()
}

/// The CIs of the mesh that the line is about.
fn records() -> Option<Vec<CiRecord>> {
    asked(async |asking| {
        let snapshot = asking.snapshot();
        snapshot.cis().filter(|record| !record.is_gone()).map(|record| (**record).clone()).collect()
    })
}

/// What the mesh that the line is about says, if it does soon.
fn asked<T>(ask: impl AsyncFnOnce(&Asking) -> T) -> Option<T> {
    let line = ["aish".into()].into_iter().chain(of_the_mesh(env::args_os().collect())).chain(["list".into()]);
    let context = Context::new(cli::parse(line.collect()).ok()?.global);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().ok()?;
    let found = runtime.block_on(async {
        let answer = async { Some(ask(&context.session().await.ok()?).await) };
        tokio::time::timeout(WITHIN, answer).await.ok()?
    });
    runtime.shutdown_background();
    found
}

/// The options of a line that say which mesh it is about.
fn of_the_mesh(line: Vec<OsString>) -> Vec<OsString> {
    let mut found = Vec::new();
    let mut words = line.into_iter();
    while let Some(word) = words.next() {
        let text = word.to_string_lossy();
        if OF_THE_MESH.contains(&&*text) {
            let value = words.next();
            found.extend(value.into_iter().flat_map(|value| [word.clone(), value]));
        } else if text.split_once('=').is_some_and(|(option, _)| OF_THE_MESH.contains(&option)) {
            found.push(word);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mesh_is_the_one_of_the_line() {
        let line = "aish -- aish --json --mesh other call --data=/d --timeout 5 web.";
        let found = of_the_mesh(line.split(' ').map(OsString::from).collect());
        assert_eq!(found, ["--mesh", "other", "--data=/d"]);
        assert!(of_the_mesh(vec!["aish".into(), "--mesh".into()]).is_empty());
    }
}
