//! Deaths on order, for tests: a process that was built with the feature `faults` dies where `AIGIS_FAULT` says.

use std::fmt;

/// The environment variable that names the point at which a process of a build with the feature `faults` dies.
pub const VARIABLE: &str = "AIGIS_FAULT";

/// A boundary at which what a chain stands on can die: between any two of these something was written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Point {
    /// A push was taken: its app's record stands, its chain's does not.
    PushTaken,
    /// The chain's record stands, and nobody was told.
    PushRecorded,
    /// A coordinator's name stands in the record.
    ChainClaimed,
    /// The journal says that the step runs, and no place has heard of it.
    StepBegun,
    /// A place has taken the order.
    StepOrdered,
    /// The result was had from the place, and the journal does not know it.
    StepEnded,
    /// The result stands in the journal, and the record does not count it.
    StepNoted,
    /// The record counts the step, and the place still keeps it.
    StepCommitted,
    /// The order is on the place's disk, and nothing was made for it.
    PlaceOrdered,
    /// The container is made, and was not started.
    PlaceMade,
    /// The container runs.
    PlaceStarted,
    /// The container has ended, and nothing of it was taken.
    PlaceRan,
    /// The outputs are in the mesh's store, and the disk does not say how the attempt ended.
    PlaceStored,
    /// The disk says how the attempt ended, and the container is still there.
    PlaceNoted,
    /// The image is built, and nobody was told.
    PlaceBuilt,
    /// The app's record names the instance, and its place has not begun it.
    AppNamed,
    /// The app's container is made, and was not started.
    AppMade,
    /// The app's container runs, and the note does not say so.
    AppStarted,
    /// The app listens, and no coordinator knows.
    AppReady,
    /// The app is ready in its record, and the chain's does not say that it serves.
    ChainServing,
}

impl Point {
    /// All points, as a chain comes to them.
    pub const ALL: [Self; 20] = [
        Self::PushTaken,
        Self::PushRecorded,
        Self::ChainClaimed,
        Self::StepBegun,
        Self::PlaceOrdered,
        Self::StepOrdered,
        Self::PlaceMade,
        Self::PlaceStarted,
        Self::PlaceRan,
        Self::PlaceStored,
        Self::PlaceNoted,
        Self::StepEnded,
        Self::StepNoted,
        Self::StepCommitted,
        Self::PlaceBuilt,
        Self::AppNamed,
        Self::AppMade,
        Self::AppStarted,
        Self::AppReady,
        Self::ChainServing,
    ];

    /// Its word, as `AIGIS_FAULT` has it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::PushTaken => "push-taken",
            Self::PushRecorded => "push-recorded",
            Self::ChainClaimed => "chain-claimed",
            Self::StepBegun => "step-begun",
            Self::StepOrdered => "step-ordered",
            Self::StepEnded => "step-ended",
            Self::StepNoted => "step-noted",
            Self::StepCommitted => "step-committed",
            Self::PlaceOrdered => "place-ordered",
            Self::PlaceMade => "place-made",
            Self::PlaceStarted => "place-started",
            Self::PlaceRan => "place-ran",
            Self::PlaceStored => "place-stored",
            Self::PlaceNoted => "place-noted",
            Self::PlaceBuilt => "place-built",
            Self::AppNamed => "app-named",
            Self::AppMade => "app-made",
            Self::AppStarted => "app-started",
            Self::AppReady => "app-ready",
            Self::ChainServing => "chain-serving",
        }
    }
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Kills this process, as a crash would, if `AIGIS_FAULT` names the point and the build has the feature `faults`. In all
/// other builds it is nothing.
#[inline]
pub fn point(here: Point) {
    #[cfg(feature = "faults")]
    if std::env::var_os(VARIABLE).is_some_and(|named| named == here.as_str()) {
        tracing::error!(point = here.as_str(), "killed by order");
        // Nothing of it is unwound, flushed or told.
        let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    }
    #[cfg(not(feature = "faults"))]
    let _ = here;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chn_47_every_point_has_a_word_of_its_own() {
        let words: std::collections::BTreeSet<&str> = Point::ALL.iter().map(|point| point.as_str()).collect();
        assert_eq!(words.len(), Point::ALL.len());
    }
}
