//! Dockerfiles: written from a plan, proposed, saved, and judged whoever wrote them.

mod ignore;
mod images;
mod lint;
mod proposal;
mod render;
mod save;
#[cfg(test)]
mod tests;

pub(crate) use ignore::always as always_ignored;
pub(crate) use images::images;
pub use lint::{Finding, Level, Surroundings, lint};
pub use proposal::{Note, Proposal, Proposed, Refusal, Wanted, is_target, propose, proposed, question, source_of};
pub use render::render;
pub use save::{SaveError, Saved, present, save};
