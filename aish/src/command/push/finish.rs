//! What comes back from a chain, and how the command ends by it.

use std::{path::PathBuf, time::Duration};

use aigis_proxy::{Bus, Code, Error, blob::Store, chain::Tree};
use aigis_registry::{
    AppState,
    shared::{ChainRecord, Status},
    tree,
};
use serde_json::json;
use tokio::time::{Instant, sleep};

use crate::{
    exit::{Failure, INTERRUPTED},
    follow::{Followed, teller::Teller},
    scratch::Scratch,
    state_dir::{
        self, StateDir,
        back::{Back, Sides},
    },
};

/// How long the bus may be away before what a chain made stays there.
const AWAY: Duration = Duration::from_secs(60);
/// How long is waited between two attempts.
const PAUSE: Duration = Duration::from_secs(1);

/// A directory to which a chain's files come back.
#[derive(Debug, Clone)]
pub(crate) struct Home {
    pub(crate) bus: Bus,
    pub(crate) root: PathBuf,
    pub(crate) state_dir: StateDir,
    /// The state that was uploaded.
    pub(crate) state: AppState,
    /// Whether only the state comes back.
    pub(crate) no_save: bool,
}

/// The trees of a chain that may come back.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Made {
    /// What was uploaded.
    pub(crate) base: Tree,
    /// What the chain made of it.
    pub(crate) app: Tree,
    /// The state.
    pub(crate) state: Tree,
    /// Whether what is not there locally is written even though no assistant changed it.
    pub(crate) fill: bool,
}

impl Home {
    /// Brings back the state, and the files if they are wanted.
    ///
    /// # Errors
    ///
    /// What cannot be had or written.
    pub(crate) async fn bring(&self, made: Made, files: bool, teller: &Teller) -> Result<Back, Failure> {
        let store = Store::new(&self.bus);
        let state = state_dir::fetch(&store, &made.state).await?;
        self.state_dir.write_back(&self.state, &state)?;
        if !files || made.app.is_none() || (made.app == made.base && !made.fill) {
            return Ok(Back::default());
        }
        let scratch = Scratch::below(self.state_dir.path()).map_err(state_dir::local)?;
        let (base, theirs) = (scratch.path().join("base"), scratch.path().join("theirs"));
        tree::fetch(&store, &made.base, &base).await?;
        tree::fetch(&store, &made.app, &theirs).await?;
        let (root, state_dir, fill) = (self.root.clone(), self.state_dir.clone(), made.fill);
        let brought = tokio::task::spawn_blocking(move || {
            Sides { base: &base, theirs: &theirs, ours: &root, fill }.bring(&state_dir)
        });
        let brought = brought.await.map_err(|_| Error::internal("the thread that writes files ended"))?;
        drop(scratch);
        let back = brought.map_err(state_dir::local)?;
        for (path, kept) in &back.conflicts {
            let kept = kept.strip_prefix(&self.root).unwrap_or(kept).display().to_string();
            let words = format!("conflict: {path} was changed here too; the chain's is in {kept}");
            teller.event("conflict", json!({"path": path, "kept": kept}), words).await?;
        }
        for path in &back.refused {
            teller.note(format!("left out: {path}, which no chain writes")).await?;
        }
        Ok(back)
    }

    /// Brings back what a chain has made so far.
    ///
    /// # Errors
    ///
    /// As [`Home::bring`].
    pub(crate) async fn bring_of(&self, chain: &ChainRecord, teller: &Teller) -> Result<Back, Failure> {
        let made = Made { base: chain.source.tree, app: chain.app_tree, state: chain.state_tree, fill: false };
        let files = !self.no_save && chain.status != Status::Failed;
        let until = Instant::now() + AWAY;
        loop {
            match self.bring(made, files, teller).await {
                Err(Failure::Call(error)) if is_away(&error) && Instant::now() < until => sleep(PAUSE).await,
                brought => return brought,
            }
        }
    }
}

/// Whether the bus may soon be back.
fn is_away(error: &Error) -> bool {
    matches!(error.code, Code::Unavailable | Code::DeadlineExceeded)
}

/// Brings back what the chain made, says how it ended, and ends as it did.
///
/// # Errors
///
/// How the chain ended, if not well; what keeps from bringing back what it made.
pub(super) async fn finish(home: Option<&Home>, followed: Followed, teller: &Teller) -> Result<(), Failure> {
    let brought = match home {
        Some(home) => home.bring_of(&followed.chain, teller).await.map(drop),
        None => Ok(()),
    };
    let ended = ended(&followed, teller).await;
    match (ended, brought) {
        (Ok(()), brought) => brought,
        (ended, Ok(())) => ended,
        (ended, Err(failure)) => {
            teller.note(format!("what the chain made did not come back: {}", failure.into_error().message)).await?;
            ended
        }
    }
}

/// Says how the chain ended, and ends as it did.
///
/// # Errors
///
/// How the chain ended, if not well.
pub(crate) async fn ended(followed: &Followed, teller: &Teller) -> Result<(), Failure> {
    let Followed { chain, interrupted, ready, silent } = followed;
    let fields = json!({
        "chain": chain.id, "app": chain.app, "status": chain.status, "status_reason": chain.status_reason,
        "error": chain.error,
    });
    teller.event("end", fields, words(chain)).await?;
    if *interrupted {
        return Err(Failure::Said(INTERRUPTED));
    }
    match chain.status {
        Status::Failed => {
            let failure = Failure::Call(error(chain));
            let code = code(chain);
            say(failure, teller).await?;
            Err(Failure::Said(code))
        }
        Status::Cancelled => {
            let reason = &chain.status_reason;
            let why = if reason.is_empty() { String::new() } else { format!(": {reason}") };
            let error = Error::precondition(format!("the chain was cancelled{why}"));
            say(Failure::Call(error.hint(format!("see: aish chains show {}", chain.id))), teller).await?;
            Err(Failure::Said(1))
        }
        _ if *ready && *silent => Err(Failure::Said(1)),
        _ => Ok(()),
    }
}

async fn say(failure: Failure, teller: &Teller) -> Result<(), Failure> {
    let output = *teller.output();
    teller
        .put(move |_| {
            output.failure(&failure);
            Ok(())
        })
        .await
}

fn words(chain: &ChainRecord) -> String {
    match chain.status {
        Status::Done => format!("{} is done", chain.app),
        _ => String::new(),
    }
}

fn error(chain: &ChainRecord) -> Error {
    let see = format!("see: aish chains show {}", chain.id);
    match &chain.error {
        Some(failure) => {
            let hint = failure.hint.as_ref().map_or_else(|| see.clone(), |hint| format!("{hint}; {see}"));
            Error::new(failure.code, failure.message.clone()).hint(hint)
        }
        None => Error::precondition(format!("the chain failed: {}", chain.status_reason)).hint(see),
    }
}

/// The exit code of a chain that failed.
fn code(chain: &ChainRecord) -> u8 {
    match chain.error.as_ref().map(|error| error.code) {
        Some(Code::DeadlineExceeded) => 75,
        Some(Code::Unavailable) => 69,
        Some(Code::Internal | Code::DataLoss) => 70,
        _ => 1,
    }
}
