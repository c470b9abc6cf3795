//! Takes a push: a record that stands, and is held by this coordinator at once.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use aigis_proxy::{
    Code, Error,
    chain::{ChainId, Tree},
    fault::{self, Point},
    identity::Purpose,
    services::chains::{Push, Wish},
};
use aigis_registry::{
    Kind, Timestamp,
    shared::{AppRecord, AssistantRecord, Budget, ChainRecord, Key, Source, Status, Version},
};

use super::Desk;
use crate::{
    coordinator::records::{now, patiently},
    placement,
};

/// How often the app's record is written again because another one was written meanwhile.
const ROUNDS: usize = 20;
/// The keys of the assistants that users have pushed.
const LOCAL: &str = "assistant.local.*";
/// Of how many of them a chain keeps the version with which it began: a record has its bound.
const MOST: usize = 1_000;

impl Desk {
    /// What is known of the app, if a push of it would be taken.
    ///
    /// # Errors
    ///
    /// `already_exists` names who has the name; `failed_precondition` who holds its chain.
    pub(super) async fn expect_free(&self, wish: &Wish) -> Result<Option<Version<AppRecord>>, Error> {
        let core = &self.core;
        if wish.app.is_reserved() {
            return Err(Error::invalid(format!("{} is a word of aish, and no name of an app", wish.app))
                .hint("name it: aish push --name NAME"));
        }
        let bearers = core.parts.cache.bearers(&wish.app).await?;
        let other = bearers.cis().find(|ci| {
            let bears = ci.name == wish.app || ci.aliases.contains(&wish.app);
            bears && ci.kind != Kind::App && !ci.is_gone() && bearers.successor(ci).is_none()
        });
        if let Some(other) = other {
            let message = format!("the {} {} on {} has that name", other.kind, other.name, other.node);
            return Err(Error::new(Code::AlreadyExists, message)
                .hint("name the app otherwise: aish push --name NAME")
                .with("holder", other.node.as_str()));
        }
        let app = core.records.app(&wish.app).await?;
        if let Some(app) = &app {
            let is_same = wish.project.as_ref().is_some_and(|project| *project == app.content.project);
            if !is_same && !wish.replace {
                let app = &app.content;
                let message = format!(
                    "another project's app {} has that name; {} pushed it from {} at {}",
                    app.name, app.pushed_by, app.source.from, app.pushed_at
                );
                return Err(Error::new(Code::AlreadyExists, message)
                    .hint("name yours otherwise: --name NAME, or take it over: --replace")
                    .with("holder", app.pushed_by.as_str()));
            }
        }
        if let Some(on) = &wish.on {
            let cache = core.known.whole().await?;
            placement::known(on, &cache.snapshot())?;
        }
        for live in self.live(wish).await? {
            if let Some(hold) = &live.content.hold {
                let (id, by, why) = (&live.content.id, &hold.by, &hold.why);
                let message = format!("the chain {id} of {} is held by {by}: {why}", wish.app);
                return Err(Error::precondition(message)
                    .hint(format!("let it go on: aish chains resume {id}, or end it: aish chains cancel {id}"))
                    .with("holder", by.as_str()));
            }
        }
        Ok(app)
    }

    /// The chains of the app that run or are to run, the oldest first.
    async fn live(&self, wish: &Wish) -> Result<Vec<Version<ChainRecord>>, Error> {
        let all: Vec<(Key, Version<ChainRecord>)> = self.core.records.shared.list(Key::CHAINS).await?;
        let is_live = |chain: &ChainRecord| chain.app == wish.app && chain.status.is_under_way();
        Ok(all.into_iter().map(|(_, chain)| chain).filter(|chain| is_live(&chain.content)).collect())
    }

    /// The folders of the assistants that users have pushed, by their whole names.
    async fn pushed_assistants(&self) -> Result<BTreeMap<String, Tree>, Error> {
        let known: Vec<(Key, Version<AssistantRecord>)> = self.core.records.shared.list(LOCAL).await?;
        let known = known.into_iter().map(|(_, known)| known.content).take(MOST);
        Ok(known.map(|known| (format!("{}:{}", known.kind, known.name), known.folder)).collect())
    }

    /// Whether the mandate is the caller's wish for this app and tree, signed with the caller's key.
    fn check_mandate(&self, push: &Push) -> Result<(), Error> {
        let denied = |why: &str| {
            Err(Error::new(Code::PermissionDenied, format!("the mandate of this push does not hold: {why}"))
                .hint("push again; use the same version on all hosts"))
        };
        let snapshot = self.core.parts.cache.snapshot();
        let Some(user) = snapshot.user(&self.caller.name) else { return denied("the mesh has no record of its user") };
        if user.revoked_at.is_some() {
            return denied("its user was revoked");
        }
        let Some(wish) = push.mandate.verify(Purpose::App, &user.public_key) else {
            return denied("it is not signed by its user");
        };
        let is_meant = wish.by == self.caller.name
            && wish.mesh == *self.core.parts.bus.mesh()
            && wish.app == push.wish.app
            && wish.tree == push.tree.map(|tree| tree.digest);
        if is_meant { Ok(()) } else { denied("it is about something else") }
    }

    /// Writes the records of a push.
    pub(super) async fn take_push(&self, push: Push) -> Result<ChainId, Error> {
        let core = &self.core;
        self.check_mandate(&push)?;
        let first = core.resolve(&push.first).await?;
        let known = self.expect_free(&push.wish).await?;
        let on = match &push.wish.on {
            // `any` is no wish.
            Some(on) => on.iter().filter(|one| *one != "any").cloned().collect(),
            None => known.as_ref().map(|app| app.content.on.clone()).unwrap_or_default(),
        };
        let (id, at) = (ChainId::new(), now());
        let live = self.live(&push.wish).await?;
        let queued_behind = live.last().map(|chain| chain.content.id.clone());
        let begun = chain(&push, &id, first, &on, queued_behind, &self.caller.name, at);
        let record = ChainRecord { assistants: self.pushed_assistants().await?, ..begun };
        // The app first: a chain that stands goes on, and what it runs must be in its app's record by then.
        self.write_app(&push, &id, &on, at).await?;
        fault::point(Point::PushTaken);
        let key = Key::Chain(id.clone());
        let revision = patiently(|| core.records.shared.create(&key, &record)).await?;
        let Some(revision) = revision else { return Err(Error::internal("a new chain has the id of another")) };
        fault::point(Point::PushRecorded);
        if !push.wish.queue {
            for former in &live {
                self.supersede(&former.content.id, &id).await?;
            }
        }
        match self.rival(&push.wish, &id, &live).await? {
            None => self.write_app(&push, &id, &on, at).await?,
            Some(rival) => self.yield_to(&id, &rival).await?,
        }
        let version = Version { revision, content: record };
        core.board.note_chain(&version);
        if version.content.queued_behind.is_none() {
            core.take(&Arc::new(version), Duration::ZERO);
        }
        Ok(id)
    }

    /// The push that came in the same moment and goes on in place of this one, if one does: of those that saw nothing of each
    /// other, the one with the latest id.
    async fn rival(
        &self,
        wish: &Wish,
        id: &ChainId,
        seen: &[Version<ChainRecord>],
    ) -> Result<Option<ChainRecord>, Error> {
        let is_seen = |rival: &ChainRecord| rival.id == *id || seen.iter().any(|known| known.content.id == rival.id);
        for rival in self.live(wish).await? {
            let rival = rival.content;
            // It waits for the latest that it saw.
            let saw_this = rival.queued_behind.as_ref().is_some_and(|latest| latest >= id);
            if is_seen(&rival) || saw_this {
                continue;
            }
            if rival.id > *id {
                return Ok(Some(rival));
            }
            if !wish.queue {
                self.supersede(&rival.id, id).await?;
            }
        }
        Ok(None)
    }

    /// Ends this push's chain for one that came in the same moment, whose app it is then.
    async fn yield_to(&self, id: &ChainId, rival: &ChainRecord) -> Result<(), Error> {
        self.supersede(id, &rival.id).await?;
        let change = |app: &AppRecord| {
            Ok((app.chain == *id).then(|| AppRecord {
                pushed_by: rival.created_by.clone(),
                pushed_at: rival.created_at,
                chain: rival.id.clone(),
                source: rival.source.clone(),
                on: rival.on.clone(),
                ..app.clone()
            }))
        };
        patiently(|| self.core.records.change_app(&rival.app, change)).await.map(drop)
    }

    async fn supersede(&self, former: &ChainId, by: &ChainId) -> Result<(), Error> {
        let change = |record: &ChainRecord| {
            Ok((record.status.is_under_way() && record.cancelled_by.is_none()).then(|| ChainRecord {
                cancelled_by: Some(format!("superseded by {by}")),
                updated_at: now(),
                ..record.clone()
            }))
        };
        patiently(|| self.core.records.change_chain(former, change)).await.map(drop)
    }

    /// Writes what was pushed into the app's record, which is made if there is none, unless it stands there.
    async fn write_app(&self, push: &Push, id: &ChainId, on: &[String], at: Timestamp) -> Result<(), Error> {
        let (records, key) = (&self.core.records, Key::App(push.wish.app.clone()));
        for _ in 0..ROUNDS {
            let known = patiently(|| records.app(&push.wish.app)).await?;
            let former = known.as_ref().map(|app| &app.content);
            if former.is_some_and(|app| app.chain == *id) {
                return Ok(());
            }
            let app = AppRecord {
                name: push.wish.app.clone(),
                project: push.wish.project.clone().unwrap_or_default(),
                pushed_by: self.caller.name.clone(),
                pushed_at: at,
                chain: id.clone(),
                source: Source { tree: push.tree, from: push.from.clone() },
                on: on.to_vec(),
                stopped: false,
                instance: former.and_then(|app| app.instance.clone()),
                candidate: None,
                app_tree: former.map_or(push.tree, |app| app.app_tree),
                state_tree: former.map_or(push.state_tree, |app| app.state_tree),
                trouble: None,
                stranded: None,
            };
            let written = match &known {
                Some(known) => patiently(|| records.shared.put(&key, &app, known.revision)).await?,
                None => patiently(|| records.shared.create(&key, &app)).await?,
            };
            if written.is_some() {
                return Ok(());
            }
        }
        Err(Error::unavailable(format!("the record of the app {} changes all the time", push.wish.app)))
    }
}

/// The record of a new chain.
fn chain(
    push: &Push,
    id: &ChainId,
    first: String,
    on: &[String],
    queued_behind: Option<ChainId>,
    by: &aigis_proxy::UserName,
    at: Timestamp,
) -> ChainRecord {
    let options = push.options.clone();
    let status_reason = match &queued_behind {
        Some(other) => format!("waits for {other}"),
        None => push.reason.clone(),
    };
    ChainRecord {
        id: id.clone(),
        app: push.wish.app.clone(),
        created_at: at,
        created_by: by.clone(),
        mandate: push.mandate.clone(),
        source: Source { tree: push.tree, from: push.from.clone() },
        status: Status::Queued,
        status_reason,
        step: 1,
        next: Some(first),
        app_tree: push.tree,
        state_tree: push.state_tree,
        budget: Budget { max_steps: options.max_steps, max_time_s: options.max_time_s, used_steps: 0, used_time_s: 0 },
        on: on.to_vec(),
        assistants: BTreeMap::new(),
        options,
        queued_behind,
        hold: None,
        question: None,
        answers: Default::default(),
        holder: None,
        epoch: 0,
        cancelled_by: None,
        error: None,
        ended_at: None,
        updated_at: at,
    }
}
