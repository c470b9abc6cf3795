//! An app as a CI: what its container answers, and what only its place knows of it.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, LazyLock, PoisonError, RwLock, Weak},
    time::Duration,
};

use aigis_proxy::{
    Error, Name, NodeName, SkillPath,
    serve::Server,
    services::chains::skills as chain,
    skill::{Answer, Call, Ci, SkillInfo},
    sync::lock,
    task,
};
use aigis_registry::{CiRecord, Kind, Registry, SkillNote};
use futures::{FutureExt as _, future::BoxFuture};
use serde_json::{Value, json};
use time::OffsetDateTime;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::{
    Apps,
    run::Run,
    source::{self, Asked},
};
use crate::{
    container::{self, Bound, Container},
    directory::Directory,
    naming, offered,
};

/// How often it is looked whether what is served is what runs.
const LOOK: Duration = Duration::from_millis(500);
/// How soon a name that another still holds, or a record that was not written, is tried again.
const RETRY: Duration = Duration::from_secs(2);

/// What `status` has of an app beside what it has of a container.
const STATUS: [(&str, &str); 4] = [
    ("chain", "The chain that made this instance."),
    ("url", "Where this node's gateway serves it; null without one."),
    ("ports", "Its TCP ports, the main one first."),
    (
        "instance",
        "Which instance runs: step, epoch, whether its ports accept, which do not, how often it was started again.",
    ),
];

/// How apps are served as CIs.
#[derive(Debug, Clone)]
pub(crate) struct Means {
    pub(crate) registry: Registry,
    pub(crate) directory: Arc<Directory>,
    pub(crate) server: Server,
    /// The apps whose names this node's records hold from before its start.
    pub(crate) known: Vec<Name>,
    /// Of an app at this node's gateway, with `APP` in place of its name.
    pub(crate) url: Option<String>,
}

/// The skills of an app: those of a container, with what its place adds, those of its chain, and those of its source.
static SKILLS: LazyLock<Vec<Arc<SkillInfo>>> = LazyLock::new(|| {
    // What is pushed has no manifest.
    let of_container = container::table().skills().into_iter().filter(|info| info.path.as_str() != "manifest");
    let of_container = of_container.map(|info| match info.path.as_str() {
        "status" => Arc::new(widened(&info)),
        _ => info,
    });
    let mut all: Vec<Arc<SkillInfo>> = of_container.chain(chain::skills()).chain(source::skills()).collect();
    all.sort_by(|a, b| a.path.cmp(&b.path));
    all
});

fn widened(info: &SkillInfo) -> SkillInfo {
    let mut info = info.clone();
    if let Some(properties) = info.output.get_mut("properties").and_then(Value::as_object_mut) {
        for (name, description) in STATUS {
            properties.insert(name.to_owned(), json!({ "description": description }));
        }
    }
    info
}

/// The CI of an app.
struct AppCi {
    name: Name,
    container: Arc<Container>,
    run: RwLock<Arc<Run>>,
    url: Option<String>,
    /// What this is an entry of: it knows who holds chains here.
    directory: Weak<Directory>,
}

impl fmt::Debug for AppCi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AppCi").field("name", &self.name).finish_non_exhaustive()
    }
}

impl AppCi {
    fn run_of(&self) -> Arc<Run> {
        self.run.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Who holds chains here.
    fn chains(&self) -> Result<Arc<dyn chain::OfApps>, Error> {
        let chains = self.directory.upgrade().and_then(|directory| directory.chains().cloned());
        let node = self.container.node();
        chains.ok_or_else(|| {
            Error::unavailable(format!("{node} holds no chains")).hint("see: aish chains --help").sent(false)
        })
    }

    async fn answer(self: Arc<Self>, path: SkillPath, call: Call) -> Result<Answer, Error> {
        let run = self.run_of();
        let within = Arc::clone(&self.container);
        match path.as_str() {
            of_chain if chain::is_of_chain(of_chain) => {
                chain::run(self.name.clone(), self.chains()?, &path, call).await
            }
            of_source if source::is_of_source(of_source) => {
                let directory = self.directory.upgrade();
                let projects = directory.ok_or_else(|| Error::unavailable("the node ends").sent(false))?.projects()?;
                let (app, host) = (self.name.clone(), Arc::clone(self.container.host()));
                source::run(Asked { app, host, chains: self.chains()?, projects }, &path, call).await
            }
            // What is stopped by hand is not started again by itself, nor has it ended.
            "stop" | "restart" => {
                run.hold(true);
                let answer = container::table().run(within, &path, call).await;
                if path.as_str() == "restart" || answer.is_err() {
                    run.hold(false);
                }
                answer
            }
            "start" => {
                let answer = container::table().run(within, &path, call).await;
                run.hold(answer.is_err() && run.is_held());
                answer
            }
            skill => {
                let answer = container::table().run(within, &path, call).await?;
                Ok(match answer {
                    Answer::Value(mut value) => {
                        self.widen(skill, &run, &mut value);
                        Answer::Value(value)
                    }
                    other => other,
                })
            }
        }
    }

    /// Adds what the container does not know.
    fn widen(&self, skill: &str, run: &Run, value: &mut Value) {
        let Some(fields) = value.as_object_mut() else { return };
        let (id, instance, view) = (run.id(), &run.instance, run.view());
        if skill == "describe" {
            fields.insert("kind".to_owned(), Kind::App.as_str().into());
        }
        if skill == "status" {
            let restarts = run.restarts();
            let of = json!({ "step": id.step, "epoch": id.epoch, "ready": view.ready, "silent": view.silent, "restarts": restarts });
            fields.insert("chain".to_owned(), id.chain.as_str().into());
            fields.insert("url".to_owned(), self.url.as_ref().map(|url| url.replace("APP", self.name.as_str())).into());
            fields.insert("ports".to_owned(), json!(instance.ports));
            fields.insert("instance".to_owned(), of);
        }
        let (verdict, check, reason) = if view.looping {
            ("unhealthy", "restarts", format!("crash loop: it was started again {} times", run.restarts()))
        } else if view.silent.is_empty() {
            return;
        } else {
            let ports = view.silent.iter().map(u16::to_string).collect::<Vec<_>>().join(", ");
            ("degraded", "ports", format!("nothing listens on port {ports}"))
        };
        if skill == "status" {
            fields.insert("health".to_owned(), verdict.into());
            fields.insert("health_reasons".to_owned(), json!([reason]));
        } else if skill == "health" {
            fields.insert("verdict".to_owned(), verdict.into());
            let checks = fields.get_mut("checks").and_then(Value::as_array_mut);
            let checks = checks.into_iter().flatten().filter(|one| one.get("name").is_some_and(|name| name == check));
            checks.for_each(|one| *one = json!({ "name": check, "outcome": "fail", "detail": reason }));
        }
    }
}

impl Ci for AppCi {
    fn name(&self) -> &Name {
        &self.name
    }

    fn node(&self) -> &NodeName {
        self.container.node()
    }

    fn skills(&self) -> Vec<Arc<SkillInfo>> {
        SKILLS.clone()
    }

    fn skill(&self, path: &str) -> Option<Arc<SkillInfo>> {
        SKILLS.iter().find(|info| info.path.as_str() == path).cloned()
    }

    fn run(self: Arc<Self>, path: SkillPath, call: Call) -> BoxFuture<'static, Result<Answer, Error>> {
        self.answer(path, call).boxed()
    }
}

/// A name that is held for an app.
#[derive(Debug, Default)]
struct Seat {
    ci: Option<Arc<AppCi>>,
    by_hand: Vec<task::Owned>,
    /// When what failed is tried again.
    again: Option<Instant>,
}

/// Serves the apps that run here as CIs, until dropped.
pub(super) async fn serve(apps: Arc<Apps>, means: Means) {
    let mut seats: BTreeMap<Name, Seat> = means.known.iter().map(|name| (name.clone(), Seat::default())).collect();
    for name in seats.keys() {
        means.directory.names(|names| names.chosen.insert(name.clone()));
    }
    let mut look = interval(LOOK);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        look.tick().await;
        // Until all is read nobody knows whether an app is still to run here.
        let Some(wanted) = apps.in_force() else { continue };
        for (name, run) in &wanted {
            if seats.get(name).and_then(|seat| seat.again).is_some_and(|again| again > Instant::now()) {
                continue;
            }
            let seat = seats.entry(name.clone()).or_default();
            if let Err(error) = sit(&apps, &means, name, run, seat).await {
                tracing::warn!(app = %name, %error, "the name of an app is not served yet");
                seat.again = Some(Instant::now() + RETRY);
            }
        }
        let gone: Vec<Name> = seats.keys().filter(|name| !wanted.contains_key(*name)).cloned().collect();
        for name in gone {
            if rise(&means, &name).await {
                seats.remove(&name);
            }
        }
    }
}

/// Serves an app under its name, or what has become of it.
async fn sit(apps: &Apps, means: &Means, name: &Name, run: &Arc<Run>, seat: &mut Seat) -> Result<(), Error> {
    let Some(id) = run.view().container else { return Ok(()) };
    let listed = apps.parts.host.watch.observation().borrow().containers.get(&id).cloned();
    // Just made, or just gone: the engine tells of both.
    let Some(listed) = listed else { return Ok(()) };
    if let Some(ci) = &seat.ci {
        if ci.container.bound().container != listed {
            ci.container.bind(Bound::new(listed, OffsetDateTime::now_utc()));
            *ci.run.write().unwrap_or_else(PoisonError::into_inner) = run.clone();
        }
        return Ok(());
    }
    let Means { registry, directory, server, url, .. } = means;
    directory.names(|names| names.chosen.insert(name.clone()));
    offered::claim(registry, &apps.parts.cache, &record(apps, name), true).await?;
    let bound = Bound::new(listed, OffsetDateTime::now_utc());
    let container = Arc::new(Container::new(apps.parts.host.clone(), name.clone(), bound));
    let (name_of, run_of, url_of) = (name.clone(), RwLock::new(run.clone()), url.clone());
    let behind = Arc::downgrade(directory);
    let ci =
        Arc::new(AppCi { name: name_of, container: container.clone(), run: run_of, url: url_of, directory: behind });
    let face: Arc<dyn Ci> = ci.clone();
    container.stand_behind(Arc::downgrade(&face));
    directory.insert(ci.clone(), None, true);
    seat.by_hand = directory.hear_by_hand(server, name).await;
    (seat.ci, seat.again) = (Some(ci), None);
    Ok(())
}

/// Lets a name go, on the record too; says whether that is done.
async fn rise(means: &Means, name: &Name) -> bool {
    let Means { registry, directory, .. } = means;
    directory.remove(name);
    if let Err(error) = registry.mark_gone(name).await {
        tracing::info!(app = %name, %error, "a record was not written; trying again");
        return false;
    }
    directory.names(|names| names.chosen.remove(name));
    true
}

fn record(apps: &Apps, name: &Name) -> CiRecord {
    let mut skills: Vec<SkillNote> = SKILLS.iter().map(|info| SkillNote::from(&**info)).collect();
    skills.sort();
    let record = CiRecord::new(name.clone(), apps.parts.node.clone(), Kind::App);
    CiRecord { skills: skills.into(), aliases: naming::alias(name).into_iter().collect(), ..record }
}

impl Apps {
    /// The instances that are in force here; `None` until the records were read.
    fn in_force(&self) -> Option<BTreeMap<Name, Arc<Run>>> {
        let state = lock(&self.state);
        let here = state.records.values().filter(|record| !record.stopped).filter_map(|record| {
            let instance = record.instance.as_ref().filter(|instance| instance.node == self.parts.node)?;
            let run = state.runs.iter().find(|attended| *attended.run.id() == instance.id)?;
            Some((record.name.clone(), run.run.clone()))
        });
        state.is_whole.then(|| here.collect())
    }
}
