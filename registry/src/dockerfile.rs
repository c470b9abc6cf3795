//! Any Dockerfile taken apart, as builders read it: directives, lines that go on, here-documents, and the images it names.
//!
//! Who builds one, proposes one or judges one reads it by this.

mod images;
mod parse;
mod variables;

pub use images::{Images, Named, images};
pub use parse::{Instruction, Parsed, parse};
pub use variables::expanded;
