//! What was pushed of an app, and the Dockerfile in its state, as its CI is asked for them.

use aigis_deploy::dockerfile;
use aigis_proxy::{
    Code, Error, Name,
    blob::Digest,
    services::chains::skills::{DOCKERFILE, Dockerfile},
};
use aigis_registry::{
    AppState,
    shared::{AppRecord, ChainRecord, Key, Status, Version},
};

use crate::coordinator::{
    Core,
    records::{now, patiently},
};

/// How often a state is written again because another one was written meanwhile.
const ROUNDS: usize = 20;

/// The tree that was pushed of an app last; of a repository, the one that its chain brought.
pub(super) async fn pushed(core: &Core, app: &Name) -> Result<Digest, Error> {
    tree_of(&record(core, app).await?)
}

/// Writes the Dockerfile into the app's state; says whether it was another.
pub(super) async fn keep_dockerfile(core: &Core, app: &Name, wanted: Dockerfile) -> Result<bool, Error> {
    for _ in 0..ROUNDS {
        let known = record(core, app).await?;
        if tree_of(&known)? != wanted.tree {
            return Err(Error::precondition(format!("another tree of the app {app} was pushed meanwhile"))
                .hint("have it proposed again, and look at it: dockerfile.propose"));
        }
        let key = Key::Chain(known.chain.clone());
        let chain = patiently(|| core.records.get::<ChainRecord>(&key)).await?;
        let status = chain.as_ref().map(|chain| chain.content.status);
        if status.is_some_and(Status::is_under_way) {
            let message =
                format!("the chain {} of the app {app} is under way: what it leaves becomes the state", known.chain);
            return Err(Error::precondition(message).hint(format!("wait for it: aish chains follow {}", known.chain)));
        }
        let Some(state) = changed(core.state(&known.state_tree).await?, &wanted)? else { return Ok(false) };
        let state_tree = core.keep_state(&state).await?;
        // What a chain that serves leaves takes the place of the app's state once it ends.
        if status == Some(Status::Serving) {
            let change = |chain: &ChainRecord| {
                let is_as_known = chain.status == Status::Serving && chain.state_tree == known.state_tree;
                Ok(is_as_known.then(|| ChainRecord { state_tree, updated_at: now(), ..chain.clone() }))
            };
            let Version { content, .. } = patiently(|| core.records.change_chain(&known.chain, change)).await?;
            if content.state_tree != state_tree {
                continue;
            }
        }
        let change = |app: &AppRecord| {
            let is_as_known = app.chain == known.chain && app.state_tree == known.state_tree;
            Ok(is_as_known.then(|| AppRecord { state_tree, ..app.clone() }))
        };
        let written = patiently(|| core.records.change_app(app, change)).await?;
        if written.content.state_tree == state_tree {
            return Ok(true);
        }
    }
    Err(Error::unavailable(format!("the state of the app {app} changes all the time")).hint("try again"))
}

async fn record(core: &Core, app: &Name) -> Result<AppRecord, Error> {
    let known = patiently(|| core.records.app(app)).await?;
    known
        .map(|known| known.content)
        .ok_or_else(|| Error::new(Code::NotFound, format!("there is no app {app}")).hint("see: aish apps list"))
}

fn tree_of(app: &AppRecord) -> Result<Digest, Error> {
    let tree = app.source.tree.or(app.app_tree).map(|tree| tree.digest);
    tree.ok_or_else(|| {
        Error::precondition(format!("no files of the app {} are known yet", app.name))
            .hint(format!("wait for its chain: aish chains follow {}", app.chain))
    })
}

/// The state with that Dockerfile; `None` if it has it.
fn changed(mut state: AppState, wanted: &Dockerfile) -> Result<Option<AppState>, Error> {
    // Newlines at the end of a state file say nothing.
    let there = state.text(DOCKERFILE);
    if there.as_deref() == Some(wanted.content.trim_end_matches(['\n', '\r'])) {
        return Ok(None);
    }
    if there.is_some() && !wanted.replace {
        let bytes = |_: &str| state.get(DOCKERFILE).map(<[u8]>::to_vec);
        let diff = dockerfile::proposed(DOCKERFILE.to_owned(), wanted.content.clone(), bytes).diff;
        return Err(Error::new(Code::AlreadyExists, "the app's state has another Dockerfile")
            .hint("write over it: replace=true")
            .with("diff", diff));
    }
    let mut written = AppState::default();
    written.set(DOCKERFILE, wanted.content.as_str());
    match state.merge(written).first() {
        None => Ok(Some(state)),
        Some(left_out) => Err(Error::new(Code::ResourceExhausted, format!("the app's state has no room: {left_out}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(content: &str, replace: bool) -> Dockerfile {
        Dockerfile { tree: Digest::of(b"tree"), content: content.to_owned(), replace }
    }

    #[test]
    fn pkg_70_a_dockerfile_is_written_into_a_state_once_and_over_another_only_if_that_is_wanted() {
        let mut state = AppState::default();
        state.set("cmd", "[]");
        let state = changed(state, &wanted("FROM a:1\n", false)).unwrap().unwrap();
        assert_eq!((state.get(DOCKERFILE), state.get("cmd")), (Some(&b"FROM a:1\n"[..]), Some(&b"[]"[..])));
        assert_eq!(changed(state.clone(), &wanted("FROM a:1\n", false)).unwrap(), None);
        let error = changed(state.clone(), &wanted("FROM b:2\n", false)).unwrap_err();
        assert_eq!(error.code, Code::AlreadyExists);
        assert!(error.data.unwrap()["diff"].as_str().unwrap().contains("-FROM a:1\n+FROM b:2"));
        let state = changed(state, &wanted("FROM b:2\n", true)).unwrap().unwrap();
        assert_eq!(state.text(DOCKERFILE).as_deref(), Some("FROM b:2"));
    }
}
