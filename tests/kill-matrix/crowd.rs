//! Many chains at once.

use serde_json::Value;

use crate::{Tally, chain, say, stage::Stage};

/// Begins so many chains over three hosts, as fast as commands can, and has each judged as one that ran alone.
pub(crate) fn play(chains: u32) -> Tally {
    let stage = Stage::up();
    let (ended, took) = stage.crowd(chains);
    say(&format!("{} chains ended within {:.0} s", ended.len(), took.as_secs_f64()));
    let mut tally = Tally::default();
    for chain in &ended {
        let id = chain["id"].as_str().unwrap_or_default();
        let _passed = tally.play(id, || {
            chain::is_whole(chain, stage.trees());
            format!("{} steps at {} attempts", chain::STEPS, attempts(chain))
        });
    }
    tally
}

fn attempts(chain: &Value) -> u64 {
    let steps = chain["steps"].as_array().map_or(&[][..], Vec::as_slice);
    steps.iter().filter_map(|step| step["attempt"].as_u64()).sum()
}
