//! One bit of what is stored is another one.

use std::{
    fs,
    path::PathBuf,
    time::{Duration, Instant},
};

use aigis_tests::until;
use rustix::process::Signal;

use super::store;
use crate::{
    bus::{
        nobody_is_dead,
        server::{Frozen, Server},
    },
    row::Run,
    scene::{HOSTS, Scene},
};

/// The row grants owners 60 s; twice that on a machine that does much else.
const BACK: Duration = Duration::from_secs(120);

pub(super) fn of_a_record(scene: &mut Scene, run: &mut Run) {
    for _ in 0..run.of(5, 1) {
        once(scene, run);
        scene.settle();
    }
}

fn once(scene: &mut Scene, run: &mut Run) {
    let container = scene.container("one-beta").id.clone();
    let alarms = |scene: &Scene| {
        let words = ["is damaged", "was lost or changed"];
        HOSTS.map(|host| words.iter().map(|words| scene.on(host).log().matches(words).count()).sum::<usize>())
    };
    let before = alarms(scene);
    let server = Server::of(scene);
    let supervisor = Frozen::node(scene, "alpha");
    server.signal(Signal::KILL);
    server.until_dead();
    flip(scene, &container);
    drop(supervisor);
    let flipped = Instant::now();
    server.until_another(scene);
    scene.bus_started();
    until("the owner's record is back", BACK, || {
        for host in HOSTS {
            // What is shown may be missing, and is never wrong.
            let rows = scene.on(host).rows(&["--kind", "container"]);
            let of = |row: &&serde_json::Value| row["name"] == "one-beta";
            let wrong = rows.iter().filter(of).find(|row| row["container"]["id"] != container.as_str());
            assert!(wrong.is_none(), "{host} shows {wrong:?}");
        }
        nobody_is_dead(scene);
        let is_right = HOSTS.iter().all(|host| scene.is_right(scene.on(host)));
        (is_right && alarms(scene) != before).then_some(())
    });
    run.took("all is right again", flipped.elapsed());
    until("the owner puts its record back", BACK.saturating_sub(flipped.elapsed()), || {
        stored(scene, &container).is_some().then_some(())
    });
    run.took("its record is back", flipped.elapsed());
}

/// Flips a bit of a container's id, wherever the store's files hold it.
fn flip(scene: &Scene, container: &str) {
    let mut flips = 0;
    while let Some((file, place)) = stored(scene, container) {
        let mut content = fs::read(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        // One hexadecimal digit becomes another: what is damaged must not be seen by its form alone.
        content[place] ^= 1;
        fs::write(&file, content).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        flips += 1;
        assert!(flips < 1_000, "{} goes on and on", file.display());
    }
    assert!(flips > 0, "the store holds no {container}");
}

/// Where a block of the records holds these words.
fn stored(scene: &Scene, words: &str) -> Option<(PathBuf, usize)> {
    let accounts = fs::read_dir(store(scene).join("jetstream")).into_iter().flatten().flatten();
    let blocks = accounts.flat_map(|account| {
        fs::read_dir(account.path().join("streams/KV_records/msgs")).into_iter().flatten().flatten()
    });
    let blocks = blocks.map(|entry| entry.path());
    blocks.filter(|path| path.extension().is_some_and(|extension| extension == "blk")).find_map(|path| {
        let content = fs::read(&path).ok()?;
        let place = content.windows(words.len()).position(|window| window == words.as_bytes())?;
        Some((path, place))
    })
}
