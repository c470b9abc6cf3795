//! What the callees of these tests are served with: a directory of one, and a journal that lets everything run.

use std::sync::Arc;

use aigis_proxy::{
    Error,
    dispatch::{Begun, Deed, Directory, Journal, Outcome},
    skill::Ci,
    subject::{Caller, HandTarget},
};
use futures::{FutureExt, future::BoxFuture};

/// A directory of one CI.
pub(crate) struct One(pub(crate) Arc<dyn Ci>);

impl Directory for One {
    fn find(&self, target: &HandTarget) -> Result<Arc<dyn Ci>, Error> {
        if target.name == *self.0.name() { Ok(self.0.clone()) } else { Err(Error::unavailable("not here")) }
    }
}

/// A journal that keeps nothing.
pub(crate) struct Permissive;

impl Journal for Permissive {
    fn begin<'a>(&'a self, _: Deed<'a>) -> BoxFuture<'a, Result<Begun, Error>> {
        std::future::ready(Ok(Begun::Run)).boxed()
    }
    fn end<'a>(&'a self, _: Deed<'a>, _: Outcome<'a>) -> BoxFuture<'a, ()> {
        std::future::ready(()).boxed()
    }
    fn refused<'a>(&'a self, _: &'a Caller, _: &'a str, _: &'a str) -> BoxFuture<'a, ()> {
        std::future::ready(()).boxed()
    }
}
