//! What a node does for who deploys: it judges whether a change may begin, records it, and carries it.

use std::{collections::BTreeSet, sync::Arc};

use aigis_proxy::{
    Code, Effect, Error, Name,
    identity::{Mandate, Purpose},
    rpc,
    subject::Caller,
    task,
};
use aigis_registry::{
    Timestamp,
    shared::{Holder, Key},
};
use futures::FutureExt as _;
use serde_json::json;
use tarpc::{context::Context, server::Serve as _};

pub use super::board::Place;
use super::{
    Begun, Deployment, Direction, Hold, Holds, Kind, Order, Part, Parts, Target, Task, What,
    board::Core,
    facts::hosts,
    prepare,
    record::packages,
    service::{CARRIERS, Carriers},
    work::Work,
};
use crate::{Digest, clerk::Clerk};

/// How often something is looked at again because another wrote meanwhile.
const ROUNDS: usize = 10;

/// A node that carries deployments, until this is dropped.
pub struct Serving {
    core: Arc<Core>,
    _tasks: [task::Owned; 2],
}

impl std::fmt::Debug for Serving {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Serving").field("place", &self.core.place).finish_non_exhaustive()
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.core.end_all();
    }
}

/// Carries deployments of the mesh, with all other nodes, until the returned value is dropped.
///
/// # Errors
///
/// As [`aigis_proxy::Bus::subscribe`].
pub async fn serve(place: Place) -> Result<Serving, Error> {
    Work::sweep(&place.scratch);
    let (bus, journal) = (place.bus.clone(), place.journal.clone());
    let core = Arc::new(Core::new(place));
    let served = core.clone();
    let desk = rpc::serve_shared(&bus, CARRIERS, journal, move |caller: Caller, context, request| {
        let desk = Desk { core: served.clone(), caller };
        async move { Box::pin(desk.serve().serve(context, request)).await }.boxed()
    })
    .await?;
    let board = task::Owned::spawn("deployments", core.clone().watch());
    Ok(Serving { core, _tasks: [desk, board] })
}

/// A request, and whose it is.
#[derive(Clone)]
struct Desk {
    core: Arc<Core>,
    caller: Caller,
}

impl Carriers for Desk {
    async fn begin(self, _: Context, order: Box<Order>) -> Result<Begun, Error> {
        let verb = match order.what {
            What::Deploy { .. } => "deployments.deploy",
            What::Rollback { .. } => "deployments.rollback",
            What::Remove { .. } => "deployments.remove",
        };
        self.clerk().permit(verb, Effect::Write).await?;
        let about = json!({"project": order.project, "what": order.what});
        self.clerk().audited(verb, Effect::Write, about, Box::pin(self.start(&order))).await
    }

    async fn hold(self, _: Context, target: Target, why: String, until: Option<Timestamp>) -> Result<(), Error> {
        let verb = "deployments.hold";
        self.clerk().permit(verb, Effect::Write).await?;
        let about = json!({"target": target, "why": why, "until": until});
        let by = self.caller.name.clone();
        let change = async {
            if why.trim().is_empty() {
                return Err(Error::invalid("a hold says why"));
            }
            self.change_holds(|holds, now| {
                holds.add(Hold { target: target.clone(), by: by.clone(), why: why.clone(), since: now, until }, now);
                Ok(())
            })
            .await
        };
        self.clerk().audited(verb, Effect::Write, about, change).await
    }

    async fn resume(self, _: Context, target: Target) -> Result<(), Error> {
        let verb = "deployments.resume";
        self.clerk().permit(verb, Effect::Write).await?;
        let change = self.change_holds(|holds, now| match holds.end(&target, now) {
            true => Ok(()),
            false => Err(Error::precondition(format!("{target} is not held")).hint("see: aish deployments list")),
        });
        self.clerk().audited(verb, Effect::Write, json!({"target": target}), change).await
    }
}

impl Desk {
    fn clerk(&self) -> Clerk<'_> {
        let place = &self.core.place;
        Clerk { node: &place.node, journal: &*place.journal, caller: &self.caller }
    }

    async fn change_holds(&self, change: impl Fn(&mut Holds, Timestamp) -> Result<(), Error>) -> Result<(), Error> {
        let shared = &self.core.place.shared;
        for _ in 0..ROUNDS {
            let (holds, follows) = shared.look::<Holds>(&Key::DeploymentHolds).await?;
            let mut holds = holds.unwrap_or_default();
            change(&mut holds, Timestamp::now())?;
            if shared.put(&Key::DeploymentHolds, &holds, follows).await?.is_some() {
                return Ok(());
            }
        }
        Err(contended())
    }

    async fn start(&self, order: &Order) -> Result<Begun, Error> {
        let Order { project, what, mandate } = order;
        let signed = self.signed(project, mandate)?;
        let shared = &self.core.place.shared;
        for _ in 0..ROUNDS {
            let (known, follows) = shared.look::<Deployment>(&Key::Deployment(project.clone())).await?;
            if known.is_none() && !matches!(what, What::Deploy { .. }) {
                return Err(Error::new(Code::NotFound, format!("the project {project} is not deployed"))
                    .hint("see: aish deployments list"));
            }
            let mut record = known.unwrap_or_else(|| Deployment::new(project.clone(), Timestamp::now()));
            if let Some(task) = &record.task {
                return Err(busy(&record, task));
            }
            let changed = match what {
                What::Remove { volumes } => self.removal(&mut record, *volumes, mandate).await?,
                What::Deploy { package, containers } => {
                    let parts = Wanted::Package(containers);
                    self.release(&mut record, *package, signed, parts, mandate).await?
                }
                What::Rollback { to } => {
                    let release = record.kept(*to).ok_or_else(|| no_release(&record, *to))?;
                    let (package, parts) = (release.package, Wanted::Parts(release.parts.clone()));
                    self.release(&mut record, package, signed, parts, mandate).await?
                }
            };
            if !changed {
                let release = record.running().map_or(0, |release| release.n);
                return Ok(Begun { release, epoch: record.epoch, changes: false });
            }
            let release = record.releases.last().map_or(0, |last| last.n);
            record.updated_at = Timestamp::now();
            if let Some(revision) = shared.put(&Key::Deployment(project.clone()), &record, follows).await? {
                let epoch = record.epoch;
                self.core.carry(record, revision);
                return Ok(Begun { release, epoch, changes: true });
            }
        }
        Err(contended())
    }

    /// The package for which the mandate was signed, if it is the caller's.
    fn signed(&self, project: &Name, mandate: &Mandate) -> Result<Option<Digest>, Error> {
        let place = &self.core.place;
        let user = place.cache.snapshot().user(&self.caller.name).cloned();
        let wish = user.and_then(|user| mandate.verify(Purpose::Deployment, &user.public_key));
        let wish =
            wish.filter(|wish| wish.app == *project && wish.by == self.caller.name && wish.mesh == *place.bus.mesh());
        let denied = || Error::new(Code::PermissionDenied, format!("{} did not sign for this", self.caller.name));
        wish.map(|wish| wish.tree).ok_or_else(denied)
    }

    /// Prepares a release; says whether it changes anything.
    async fn release(
        &self,
        record: &mut Deployment,
        package: Digest,
        signed: Option<Digest>,
        wanted: Wanted<'_>,
        mandate: &Mandate,
    ) -> Result<bool, Error> {
        if signed != Some(package) {
            return Err(Error::new(Code::PermissionDenied, format!("the mandate is not for the package {package}")));
        }
        let core = &self.core;
        // What is held as a whole need not be looked at.
        self.core.permit(&record.project, &[]).await?;
        let work = Work::new(&core.place)?;
        let mut needed: BTreeSet<Digest> = record.wanted.values().map(|part| part.package).collect();
        if let Wanted::Parts(parts) = &wanted {
            needed = parts.values().map(|part| part.package).collect();
        }
        needed.insert(package);
        let sources = work.sources(needed).await?;
        let own = Part { package, mandate: mandate.clone() };
        let parts = match wanted {
            Wanted::Parts(mut parts) => {
                parts.values_mut().filter(|part| part.package == package).for_each(|part| *part = own.clone());
                parts
            }
            Wanted::Package(containers) => prepare::parts(&record.project, &own, containers, &record.wanted, &sources)?,
        };
        let names = prepare::names(&parts, &sources)?;
        let snapshot = core.snapshot().await?;
        let hosts = hosts(&core.place.bus, &snapshot, &record.project, &names).await;
        let prepared = prepare::prepare(&record.project, &parts, &sources, &hosts, &record.placements)?;
        let changes: Vec<_> = prepared.changes().map(|(container, node)| (container.clone(), node.clone())).collect();
        self.core.permit(&record.project, &changes).await?;
        let is_stable = record.stable.as_ref().is_some_and(|stable| packages(stable) == packages(&parts));
        if changes.is_empty() && is_stable && packages(&record.wanted) == packages(&parts) {
            return Ok(false);
        }
        let task = self.task(record, Kind::Release, mandate);
        record.release(package, parts, prepared.placements, task);
        Ok(true)
    }

    async fn removal(&self, record: &mut Deployment, volumes: bool, mandate: &Mandate) -> Result<bool, Error> {
        let placed = record.placements.values().map(|at| (at.container.clone(), at.node.clone()));
        self.core.permit(&record.project, &placed.collect::<Vec<_>>()).await?;
        let task = self.task(record, Kind::Remove { volumes }, mandate);
        record.begin(task);
        Ok(true)
    }

    fn task(&self, record: &Deployment, kind: Kind, mandate: &Mandate) -> Task {
        Task {
            kind,
            mandate: mandate.clone(),
            by: self.caller.name.clone(),
            at: Timestamp::now(),
            holder: Holder { node: self.core.place.node.clone(), epoch: record.epoch + 1 },
            direction: Direction::Forward,
            failure: None,
            before: record.placements.clone(),
            prepared: BTreeSet::new(),
            begun: BTreeSet::new(),
            passed: BTreeSet::new(),
        }
    }
}

impl Core {
    /// Refuses a change that somebody holds back.
    pub(super) async fn permit(&self, project: &Name, changes: &[(Name, aigis_proxy::NodeName)]) -> Result<(), Error> {
        let holds = self.place.shared.get::<Holds>(&Key::DeploymentHolds).await?;
        let holds = holds.map(|version| version.content).unwrap_or_default();
        let changes = changes.iter().map(|(container, node)| (container, node));
        holds.permit(Timestamp::now(), project, changes)
    }
}

/// What a release wants.
enum Wanted<'a> {
    /// All containers of a package, or these.
    Package(&'a [Name]),
    /// These.
    Parts(Parts),
}

fn busy(record: &Deployment, task: &Task) -> Error {
    let what = match task.kind {
        Kind::Release => format!("release {}", record.releases.last().map_or(0, |last| last.n)),
        Kind::Remove { .. } => "the removal".to_owned(),
    };
    let message = format!(
        "{what} of {} by {} is under way since {}, carried by {}",
        record.project, task.by, task.at, task.holder.node
    );
    Error::precondition(message)
        .hint(format!("wait for its end; see: aish deployments show {}", record.project))
        .with("by", task.by.as_str())
}

fn no_release(record: &Deployment, n: u32) -> Error {
    let kept: Vec<String> = record.releases.iter().map(|release| release.n.to_string()).collect();
    Error::new(Code::NotFound, format!("{} has no kept release {n}", record.project))
        .hint(format!("these are kept: {}", kept.join(", ")))
}

fn contended() -> Error {
    Error::unavailable("others write that record all the time").hint("try again")
}
