//! The CI of a plugin that serves itself: its skills, and what judges and keeps their calls.

use std::sync::Arc;

use futures::{FutureExt, future::BoxFuture};

use super::{Context, Description, Skill};
use crate::{
    Code, Effect, Error, Name, NodeName, Role, SkillPath, UserName,
    dispatch::{Begun, Deed, Directory, Journal, Outcome},
    skill::{Answer, Ci, Nothing, SkillInfo, Table},
    subject::{Caller, HandTarget},
};

/// By which its node asks what it offers.
const DESCRIBE: &str = "describe";

/// The one CI of this program.
pub(super) struct Served {
    pub(super) name: Name,
    pub(super) node: NodeName,
    pub(super) table: Table<Self>,
}

impl Served {
    /// What every plugin has.
    pub(super) fn table() -> Table<Self> {
        let mut table = Table::new();
        table.value(DESCRIBE, Effect::Read, "Says what can be called.", async |own: Arc<Self>, _, _: Nothing| {
            Ok(own.description())
        });
        table
    }

    fn description(&self) -> Description {
        let own = self.table.skills().into_iter().filter(|info| info.path.as_str() != DESCRIBE);
        Description { name: self.name.to_string(), skills: own.map(|info| Skill::from(&*info)).collect() }
    }
}

impl Ci for Served {
    fn name(&self) -> &Name {
        &self.name
    }

    fn node(&self) -> &NodeName {
        &self.node
    }

    fn skills(&self) -> Vec<Arc<SkillInfo>> {
        self.table.skills()
    }

    fn skill(&self, path: &str) -> Option<Arc<SkillInfo>> {
        self.table.skill(path)
    }

    fn run(self: Arc<Self>, path: SkillPath, call: Context) -> BoxFuture<'static, Result<Answer, Error>> {
        self.table.run(self.clone(), &path, call)
    }
}

/// A directory of one.
pub(super) struct One(pub(super) Arc<Served>);

impl Directory for One {
    fn find(&self, target: &HandTarget) -> Result<Arc<dyn Ci>, Error> {
        match target.name == self.0.name {
            true => Ok(self.0.clone()),
            false => Err(Error::new(Code::NotFound, format!("{} does not answer for {}", self.0.name, target.name))),
        }
    }

    /// Role and caller stand in the subject; what a plugin was granted does not.
    fn grants(&self, _: &UserName, _: &Name, effect: Effect) -> bool {
        Role::Plugin.permits(effect)
    }
}

/// The journal of a program that keeps none: everything runs, and once is for the skill to know.
pub(super) struct Unkept;

impl Journal for Unkept {
    fn begin<'a>(&'a self, _: Deed<'a>) -> BoxFuture<'a, Result<Begun, Error>> {
        std::future::ready(Ok(Begun::Run)).boxed()
    }

    fn end<'a>(&'a self, _: Deed<'a>, _: Outcome<'a>) -> BoxFuture<'a, ()> {
        std::future::ready(()).boxed()
    }

    fn refused<'a>(&'a self, caller: &'a Caller, what: &'a str, reason: &'a str) -> BoxFuture<'a, ()> {
        tracing::warn!(%caller, what, reason, "refused");
        std::future::ready(()).boxed()
    }
}
