//! What is asked of a place, and who may ask it: for each plugin its home alone.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use aigis_proxy::{
    Code, Error, Name, NodeName, Role,
    blob::{Content, Digest},
    bridge::{Answered, Invocation},
    dispatch::Journal as Refusals,
    rpc,
    subject::Caller,
    task,
};
use aigis_registry::Kind;
use futures::FutureExt as _;
use tarpc::{context::Context, server::Serve as _};
use tokio::time::timeout;

use super::{
    super::Hosting,
    Known, News, Offer, PLACES, Part, Piece, Places, Using, Wanted,
    guests::{Guests, Parts},
    tree,
};
use crate::plugins::{Folder, users};

/// How long the registry may take to show that a plugin's home is its home.
const SEEN: Duration = Duration::from_secs(5);

/// A request, and whose it is.
#[derive(Clone)]
struct Desk {
    guests: Arc<Guests>,
    hosting: Weak<Hosting>,
    caller: Caller,
}

/// Serves this place to the homes of plugins until the returned values are dropped. `hosting` is what this node is home to, if
/// it is one.
///
/// # Errors
///
/// As [`aigis_proxy::Bus::subscribe`].
pub(crate) async fn serve(
    guests: &Arc<Guests>,
    hosting: Weak<Hosting>,
    refusals: Arc<dyn Refusals>,
) -> Result<[task::Owned; 2], Error> {
    let (target, desk) = (guests.parts.node.to_string(), guests.clone());
    let serving = rpc::serve(&guests.parts.bus, &target, PLACES, refusals, move |caller, context, request| {
        let desk = Desk { guests: desk.clone(), hosting: hosting.clone(), caller };
        async move { desk.serve().serve(context, request).await }.boxed()
    });
    let serving = serving.await?;
    let watched = guests.clone();
    Ok([serving, task::Owned::spawn("plugins of others", async move { watched.watch().await })])
}

impl Desk {
    /// The caller, if it is the home of that plugin.
    async fn home(&self, plugin: &Name) -> Result<NodeName, Error> {
        let denied = || {
            let message = format!("{} is not the home of a plugin {plugin}", self.caller.name);
            Error::new(Code::PermissionDenied, message)
                .hint("a place runs a plugin for its home node alone")
                .sent(false)
        };
        let home = NodeName::parse(self.caller.name.as_str()).ok().filter(|_| self.caller.role == Role::Node);
        let home = home.ok_or_else(denied)?;
        let mut changed = self.guests.parts.ways.cache().await?.changed();
        let shown = changed.wait_for(|snapshot| snapshot.hosts(plugin, &home, Kind::Plugin));
        match timeout(SEEN, shown).await {
            Ok(Ok(_)) => Ok(home),
            _ => Err(denied()),
        }
    }
}

impl Places for Desk {
    async fn offer(self, _: Context, plugin: Name, tree: Digest) -> Result<Offer, Error> {
        self.home(&plugin).await?;
        let Parts { home, ways, .. } = &self.guests.parts;
        let folder = Folder::new(&home.root(), &plugin);
        let public_key = ways.key(&users::of_plugin(&plugin)?)?;
        Ok(Offer { public_key, has_tree: tree::path(&folder, tree).is_dir(), free_bytes: free() })
    }

    async fn bring(self, _: Context, plugin: Name, piece: Piece) -> Result<(), Error> {
        self.home(&plugin).await?;
        tree::take(&Folder::new(&self.guests.parts.home.root(), &plugin), piece).await
    }

    async fn run(self, _: Context, part: Part) -> Result<(), Error> {
        let home = self.home(&part.plugin).await?;
        Box::pin(self.guests.run(home, part)).await
    }

    async fn end(self, _: Context, plugin: Name, remove: bool) -> Result<(), Error> {
        let home = self.home(&plugin).await?;
        self.guests.end(&plugin, Some(&home), remove).await;
        Ok(())
    }

    async fn follow(self, _: Context, plugin: Name, known: Known) -> Result<News, Error> {
        let home = self.home(&plugin).await?;
        self.guests.follow(&plugin, &home, known).await
    }

    async fn invoke(self, context: Context, using: Using) -> Result<Content, Error> {
        let home = self.home(&using.plugin).await?;
        let resting = || Error::unavailable("the process of the plugin takes no calls").sent(false);
        let guest = self.guests.known(&using.plugin, &home).ok_or_else(resting)?;
        let program = guest.runner().and_then(|runner| runner.program()).ok_or_else(resting)?;
        let Using { path, role, caller, may, call, body, .. } = using;
        if !path.as_str().starts_with("_ref.") {
            return Err(Error::invalid(format!("{path} is no path of an object")));
        }
        let timeout = context.deadline.saturating_duration_since(std::time::Instant::now());
        let caller = Caller { role, name: caller };
        let (generation, traceparent) = (None, None);
        let body = body.0;
        let invocation = Invocation { generation, path, caller, may, timeout, call, traceparent, body };
        match program.invoke(invocation).await? {
            Answered::Value(value) => Ok(Content(value)),
            Answered::Items(_) => {
                Err(Error::new(Code::Unimplemented, "what a process holds on another host is not iterated")
                    .hint("have the plugin hand it over as a list"))
            }
        }
    }

    async fn wants(self, _: Context, plugin: Name) -> Result<Wanted, Error> {
        let place = NodeName::parse(self.caller.name.as_str())?;
        let hosting = self.hosting.upgrade().ok_or_else(|| Error::unavailable("no plugin has its home here"))?;
        Ok(hosting.wants(&plugin, &place))
    }
}

/// How many bytes of this host's memory are free.
fn free() -> u64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let kib = line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
    kib.unwrap_or_default().saturating_mul(1024)
}
