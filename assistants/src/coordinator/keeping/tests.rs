use aigis_registry::shared::Status;

use super::*;
use crate::machine::tests::record;

/// Chains of one app, the oldest first, each over for that many days; `None` for one that is not.
fn chains(days: &[Option<u64>], now: Timestamp) -> Vec<ChainRecord> {
    let ended = |days: u64| Timestamp::from(now.time() - Duration::from_secs(days * 24 * 60 * 60));
    let of = |days: &Option<u64>| ChainRecord {
        status: if days.is_some() { Status::Done } else { Status::Running },
        ended_at: days.map(ended),
        ..record(50)
    };
    days.iter().map(of).collect()
}

fn gone(chains: &[ChainRecord], named: &[usize], kept: &Kept, now: Timestamp) -> Vec<usize> {
    let named = named.iter().map(|at| &chains[*at].id).collect();
    let old = old(&chains.iter().collect::<Vec<_>>(), &named, kept, now);
    (0..chains.len()).filter(|at| old.contains(&chains[*at].id)).collect()
}

#[test]
fn what_is_old_goes_unless_it_is_among_the_last() {
    let (now, kept) = (Timestamp::now(), Kept { last: 2, most: 4, ..Kept::default() });
    let of = chains(&[Some(90), Some(40), Some(31), Some(29), Some(1)], now);
    // The oldest is beyond the bound, the next two are old and not among the last two.
    assert_eq!(gone(&of, &[], &kept, now), [0, 1, 2]);
    // What an app's record names stays, and what is not over.
    assert_eq!(gone(&of, &[1], &kept, now), [0, 2]);
    let of = chains(&[None, Some(40), Some(31)], now);
    assert_eq!(gone(&of, &[], &kept, now), [0; 0]);
}

#[test]
fn of_one_app_no_more_are_kept_than_the_bound_however_young() {
    let (now, kept) = (Timestamp::now(), Kept { last: 2, most: 4, ..Kept::default() });
    let of = chains(&[Some(0); 6], now);
    assert_eq!(gone(&of, &[], &kept, now), [0, 1]);
}
