//! Deployments: what is to run of a project, where, and how it comes to run there, one replica after the other.
//!
//! What is decided is decided by pure functions of a record, of what nodes say they have, and of packages: [`wanted`] says
//! which replicas there are to be and in which order, [`place()`] on which node each of them, [`plan()`] what has to be done,
//! [`Gate`] whether a replica does well enough for the next. Whoever carries a deployment does that, writes down how far it
//! is, and may die at any time: another node goes on from the record.

mod board;
mod carry;
mod desk;
mod facts;
mod gate;
mod hold;
mod machine;
mod place;
mod plan;
mod prepare;
mod record;
mod replica;
mod service;
mod steps;
mod stored;
#[cfg(test)]
mod testing;
mod wanted;
mod work;

pub use desk::{Place, Serving, serve};
pub use facts::{hosts, sources};
pub use gate::{Gate, Verdict};
pub use hold::{Hold, Holds, Target};
pub use machine::{Next, next};
pub use place::{Host, place};
pub use plan::{Action, Row, plan};
pub use prepare::{Prepared, names, parts, prepare};
pub use record::{Deployment, Direction, Event, Kind, Outcome, Part, Parts, Placement, Placements, Release, Task, Was};
pub use replica::{Replicas, replicas};
pub use service::{Begun, Carrier, Order, What};
pub use wanted::{Source, Sources, Unit, wanted};
