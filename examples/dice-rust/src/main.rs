//! Dice, as a plugin in Rust.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use aigis_proxy::{
    Effect, Error,
    plugin::{Context, Plugin},
};
use schemars::JsonSchema;
use serde::Deserialize;

/// What is rolled: `dice.roll 6 3`, or `dice.roll sides=6 count=3`.
#[derive(Debug, Deserialize, JsonSchema)]
struct Roll {
    sides: u32,
    #[serde(default = "one")]
    count: u16,
}

fn one() -> u16 {
    1
}

fn roll(loaded: u32, Roll { sides, count }: &Roll) -> Result<Vec<u32>, Error> {
    if *sides == 0 {
        return Err(Error::invalid("a die has at least one side"));
    }
    let fall = || if loaded == 0 { fastrand::u32(1..=*sides) } else { loaded.min(*sides) };
    Ok((0..*count).map(|_| fall()).collect())
}

#[tokio::main]
async fn main() -> Result<(), Error> {
    let loaded = Arc::new(AtomicU32::new(0));
    let face = loaded.clone();
    Plugin::from_env()?
        .skill("roll", Effect::Read, move |_: Context, wanted: Roll| {
            let loaded = loaded.load(Ordering::Relaxed);
            async move { roll(loaded, &wanted) }
        })
        .doc("Rolls dice.")
        .skill("load", Effect::Write, move |_: Context, (on,): (u32,)| {
            let before = face.swap(on, Ordering::Relaxed);
            async move { Ok(before) }
        })
        .doc("Has all dice fall on one face; 0 has them fall as they like. Answers what was before.")
        .serve()
        .await
}
