//! What a source tree is, how it becomes an image, and what a package is: pure functions, without an engine, a bus or a
//! clock. Only [`package`] knows where packages are kept, and only [`deployment`] asks nodes for something.
//!
//! ```
//! use aigis_deploy::{Tree, fact::ProviderName};
//!
//! let tree = Tree::of([("index.php", "<?php echo 'hello';")]);
//! assert!(tree.has("index.php"));
//! assert_eq!(ProviderName::Php.to_string(), "php");
//! ```
//!
//! # From a directory to facts
//!
//! A [`Tree`] is what one walk read of a directory. Each [`Provider`] says which of its directories could be an application
//! of its ecosystem, and what its files prove: [`fact::Application`], in which each value names its rule and its lines.
//!
//! # From facts to an image
//!
//! A [`plan::Plan`] stands between the facts and whatever is made of them. [`dockerfile`] writes it as a Dockerfile, and
//! judges any Dockerfile, whoever wrote it.
//!
//! # From a manifest to a package
//!
//! [`pack`] puts images together of sources and of what commands left. It runs none itself: a [`phase::Builder`] does, which has
//! an engine. [`package::Store`] keeps what is made: on a host, or in a mesh, where nodes write the records
//! ([`package::serve`]).
//!
//! # From a package to containers
//!
//! [`deployment`] says which replicas there are to be, where each of them stands and what has to be done, and has nodes do it.

mod analysis;
mod clerk;
mod code;
pub mod deployment;
pub mod differ;
mod digest;
pub mod dockerfile;
mod document;
pub mod fact;
pub mod fill;
#[cfg(test)]
mod golden;
pub mod image;
pub mod inputs;
pub mod json;
pub mod layer;
pub mod manifest;
pub mod pack;
pub mod package;
pub mod phase;
pub mod plan;
mod provider;
mod rules;
mod secret;
pub mod settings;
pub mod source;
mod tree;
mod words;

pub use analysis::{Analysis, Asked, Nothing, Options, TreeFacts, analyze};
pub use digest::Digest;
pub use provider::{Candidate, Provider};
pub use rules::{Rules, is_environment};
pub use tree::{Tree, Warning};
pub use words::argv;
