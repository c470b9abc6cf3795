//! Results as text, whatever kind of CI they come from: each kind knows the shapes of its own.

use serde_json::Value;

use crate::{container, hosting, own};

/// Writes the result of a skill, or one frame of its stream, as text that ends in a newline; nothing for a frame
/// without text. Absent where no kind of CI has a text form for a result of that skill and shape.
#[must_use]
pub fn render(skill: &str, result: &Value, address: &str) -> Option<String> {
    // A plugin says more of itself than others, and what says less would be taken for theirs.
    hosting::text::render(skill, result, address)
        .or_else(|| container::text::render(skill, result, address))
        .or_else(|| own::text::render(skill, result, address))
}
