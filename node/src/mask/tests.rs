use proptest::prelude::*;

use super::*;

fn masked(values: &[&str], pieces: &[&str]) -> String {
    let masks = Masks::default();
    masks.set(Mask::of(values.iter().map(|value| value.as_bytes())));
    let mut masking = masks.stream();
    let mut out: Vec<u8> = pieces.iter().flat_map(|piece| masking.push(piece.as_bytes())).collect();
    out.extend(masking.finish());
    String::from_utf8(out).unwrap()
}

#[test]
fn values_are_masked_wherever_pieces_end() {
    let long = "0123456789".repeat(1_000);
    let long = long.as_str();
    let pem = "-----BEGIN KEY-----\nMIIEvQIBADANBgkqhkiG9w0\nBAQ==\n-----END KEY-----";
    for (values, pieces, shown) in [
        (&["hunter2-hunter2"][..], &["a hunter2-hunter2 b"][..], "a *** b"),
        (&["hunter2-hunter2"], &["a hun", "ter2-", "hunter", "2 b"], "a *** b"),
        (&["hunter2-hunter2"], &["a hunter2-hunter", " b"], "a hunter2-hunter b"),
        (&["hunter2-hunter2\n"], &["hunter2-hunter2 b"], "*** b"),
        (&["abcdefgh", "ghijklmn"], &["abcdefgh", "ijklmn."], "***."),
        (&["abcdefgh"], &["abcdefghabcdefgh!"], "***!"),
        (&["abcdefgh", "abcdefghijkl"], &["abcdefghij", "kl-abcdefgh"], "***-***"),
        (&["short"], &["short"], "short"),
        (&[], &["anything"], "anything"),
        (&[long], &["x", long, "y"], "x***y"),
        (&[long], &["x", &long[..5_000], &long[5_000..], "y"], "x***y"),
        (&[long], &["x", &long[..100], "y"], "x***y"),
        (&[pem], &["key: MIIEvQIBADANBgkqhkiG9w0\n"], "key: ***\n"),
        (&[pem], &["a ", pem, " b\n"], "a *** b\n"),
    ] {
        assert_eq!(masked(values, pieces), shown, "{pieces:?}");
    }
}

#[test]
fn nothing_is_held_back_that_cannot_be_a_value() {
    let masks = Masks::default();
    masks.set(Mask::of([&b"hunter2-hunter2"[..]]));
    let mut masking = masks.stream();
    assert_eq!(masking.push(b"prompt> "), b"prompt> ");
    assert_eq!(masking.push(b"hunt"), b"");
    assert_eq!(masking.push(b"ing\n"), b"hunting\n");
    // A value that becomes known meanwhile is looked for from then on.
    masks.set(Mask::of([&b"correct-horse"[..]]));
    assert_eq!(masking.push(b"hunter2-hunter2 correct-horse."), b"hunter2-hunter2 ***.");
}

#[test]
fn values_that_repeat_themselves_cost_no_more_than_others() {
    let same = "a".repeat(1024 * 1024);
    let begun = std::time::Instant::now();
    assert_eq!(masked(&[&same], &[&same, "b", &same[..500_000]]), "***b***");
    // Without a bound it would be hours; seconds leave room for a loaded machine.
    assert!(begun.elapsed() < std::time::Duration::from_secs(60), "{:?}", begun.elapsed());
}

/// Every byte that stands in a copy of a value, each run of such as one mask.
fn plainly(values: &[String], text: &str) -> String {
    let mut hidden = vec![false; text.len()];
    for value in values.iter().filter(|value| value.len() >= SHORTEST) {
        for at in 0..text.len() {
            if text[at..].starts_with(value.as_str()) {
                hidden[at..at + value.len()].fill(true);
            }
        }
    }
    let mut out = String::new();
    for (at, c) in text.char_indices() {
        match hidden[at] {
            false => out.push(c),
            true if at == 0 || !hidden[at - 1] => out.push_str(MASK),
            true => {}
        }
    }
    out
}

proptest! {
    #[test]
    fn pieces_make_no_difference(
        values in proptest::collection::vec("[ab]{6,14}", 0..4), text in "[abc]{0,120}",
        cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..12),
    ) {
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(text.len() + 1)).collect();
        cuts.sort_unstable();
        let ends = cuts.iter().copied().chain([text.len()]);
        let starts = [0].into_iter().chain(cuts.iter().copied());
        let pieces: Vec<&str> = starts.zip(ends).map(|(start, end)| &text[start..end]).collect();
        let borrowed: Vec<&str> = values.iter().map(String::as_str).collect();
        prop_assert_eq!(masked(&borrowed, &pieces), plainly(&values, &text));
    }

    #[test]
    fn no_value_is_ever_shown(
        values in proptest::collection::vec("[a-f]{8,300}", 1..6), around in "[g-z \n]{0,40}", size in 1_usize..90,
    ) {
        let text = values.iter().map(|value| format!("{around}{value}{around}")).collect::<String>();
        let pieces: Vec<&str> = text.as_bytes().chunks(size).map(|piece| std::str::from_utf8(piece).unwrap()).collect();
        let borrowed: Vec<&str> = values.iter().map(String::as_str).collect();
        let shown = masked(&borrowed, &pieces);
        prop_assert!(values.iter().all(|value| !shown.contains(value.as_str())), "{}", shown);
    }
}
