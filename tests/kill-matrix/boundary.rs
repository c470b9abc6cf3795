//! Where a chain's journal can be cut.

use std::fmt;

use serde_json::Value;

/// A boundary of the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Boundary {
    /// A place has the step.
    Begun(u32),
    /// The record counts the step as done.
    Committed(u32),
}

impl Boundary {
    /// All boundaries of a chain with so many steps, in their order. After the last commit nothing is left to go on with.
    pub(crate) fn all(steps: u32) -> impl Iterator<Item = Self> {
        (1..=steps).flat_map(move |step| {
            let committed = (step < steps).then_some(Self::Committed(step));
            [Some(Self::Begun(step)), committed].into_iter().flatten()
        })
    }

    /// Its step.
    pub(crate) fn step(self) -> u32 {
        match self {
            Self::Begun(step) | Self::Committed(step) => step,
        }
    }

    /// Whether a chain, as `aish chains show` tells it, has come there.
    pub(crate) fn is_reached(self, chain: &Value) -> bool {
        let steps = chain["steps"].as_array().map_or(&[][..], Vec::as_slice);
        match self {
            Self::Begun(step) => steps.iter().any(|known| known["n"] == step),
            Self::Committed(step) => chain["step"].as_u64() > Some(u64::from(step)),
        }
    }
}

impl fmt::Display for Boundary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Begun(step) => write!(f, "step {step} has begun"),
            Self::Committed(step) => write!(f, "step {step} is committed"),
        }
    }
}
