use super::*;
use crate::Share;

const LATER: Duration = Duration::from_secs(3600);

fn under_way(link: Link) -> UnderWay {
    UnderWay::new(link, fastrand::Rng::with_seed(7))
}

fn number(frame: &[u8]) -> u32 {
    u32::from_be_bytes(frame[..4].try_into().unwrap())
}

fn arrived(link: Link, count: u32) -> Vec<u32> {
    let (mut under_way, now) = (under_way(link), Instant::now());
    for sent in 0..count {
        under_way.admit(now, &sent.to_be_bytes());
    }
    under_way.due(now + LATER).iter().map(|frame| number(frame)).collect()
}

#[test]
fn a_perfect_link_changes_nothing() {
    assert_eq!(arrived(Link::default(), 1000), (0..1000).collect::<Vec<_>>());
}

#[test]
fn frames_are_delayed_and_jitter_keeps_their_order() {
    let (delay, jitter) = (Duration::from_millis(300), Duration::from_millis(100));
    let (mut under_way, now) = (under_way(Link { delay, jitter, ..Link::default() }), Instant::now());
    for sent in 0..1000_u32 {
        under_way.admit(now, &sent.to_be_bytes());
    }
    assert_eq!(under_way.due(now + Duration::from_millis(199)), Vec::<Vec<u8>>::new());
    let all = under_way.due(now + Duration::from_millis(400));
    assert_eq!(all.iter().map(|frame| number(frame)).collect::<Vec<_>>(), (0..1000).collect::<Vec<_>>());
}

#[test]
fn the_shares_are_about_what_was_asked() {
    let five = Share::of_hundred(5.0);
    let kept = arrived(Link { loss: five, ..Link::default() }, 10_000).len();
    assert!((9_300..9_700).contains(&kept), "{kept}");
    let doubled = arrived(Link { duplicate: five, ..Link::default() }, 9_000).len();
    assert!((9_300..9_600).contains(&doubled), "{doubled}");
    let delay = Duration::from_millis(10);
    let order = arrived(Link { delay, reorder: five, ..Link::default() }, 1_000);
    let ahead = order.iter().zip(0..).filter(|(arrived, place)| *arrived > place).count();
    assert!((20..100).contains(&ahead), "{ahead}");
}

#[test]
fn a_thin_link_carries_its_rate_and_loses_what_would_wait_too_long() {
    // 125 bytes are 1,000 bits: a millisecond each.
    let (mut under_way, now) = (under_way(Link { rate: Some(1_000_000), ..Link::default() }), Instant::now());
    for _ in 0..1000 {
        under_way.admit(now, &[0; 125]);
    }
    assert_eq!(under_way.due(now + Duration::from_millis(100)).len(), 100);
    assert_eq!(under_way.due(now + LATER).len(), 301);
}

#[test]
fn no_more_are_under_way_than_the_limit() {
    assert_eq!(arrived(Link::default(), 20_000).len(), MOST);
}
