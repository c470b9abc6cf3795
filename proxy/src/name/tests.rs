use super::*;

#[test]
fn what_others_quote_is_cut_and_escaped() {
    let long = "x".repeat(10_000);
    for (message, safe) in [
        ("expected value".to_owned(), "expected value".to_owned()),
        ("missing field `name`".to_owned(), "missing field `name`".to_owned()),
        ("unknown field `a\u{1b}[2J`, expected `b`".to_owned(), "unknown field `a\\u{1b}[2J`, expected `b`".to_owned()),
        (
            format!("unknown field `{long}`, there are no fields"),
            format!("unknown field `{}…`, there are no fields", "x".repeat(64)),
        ),
        (
            format!("invalid type: string \"{long}\", expected u32"),
            format!("invalid type: string \"{}…\", expected u32", "x".repeat(64)),
        ),
        (
            "unknown variant `x`, expected a`, expected `b`".to_owned(),
            "unknown variant `x`, expected a`, expected `b`".to_owned(),
        ),
    ] {
        assert_eq!(quoted_within(&message), safe);
    }
    assert_eq!(quoted_within(&long).len(), 1_000);
}

#[test]
fn reserved_words_are_sorted() {
    assert!(RESERVED.is_sorted());
}

#[test]
fn bad_01_names_say_character_and_place() {
    for bad in ["", "a.b", "-x", "_x", "*", ">", "a b", "a\n", "a\0", "е", &"a".repeat(64), "Web"] {
        assert!(Name::parse(bad).is_err(), "{bad:?}");
    }
    let message = Name::parse("ab c").unwrap_err().to_string();
    assert!(message.contains("' '") && message.contains("position 3"), "{message}");
    assert!(!Name::parse("a\u{1b}[2J").unwrap_err().to_string().contains('\u{1b}'));
    assert!(matches!(Name::choose("list"), Err(Error::Reserved { .. })));
    assert!(matches!(NodeName::choose("list"), Err(Error::Reserved { what: "node name", .. })));
    assert!(Name::parse(&"a".repeat(63)).is_ok());
}

#[test]
fn bad_02_addresses_name_the_part() {
    for bad in ["web@", "web@b@c", "web@*", "a..b", "$SYS", &"a".repeat(300)] {
        assert!(Address::parse(bad).is_err(), "{bad:?}");
    }
    assert!(Address::parse("web@").unwrap_err().to_string().contains("node name"));
    assert_eq!(Address::parse("WEB@Alpha").unwrap().to_string(), "web@alpha");
}

#[test]
fn bad_03_skill_paths_name_the_segment() {
    let long = format!("{}x", "abcdefg.".repeat(64));
    for bad in ["", "web.", "web..x", "$JS", "a.$JS", ".a", &"a".repeat(65), &long] {
        assert!(SkillPath::parse(bad).is_err(), "{bad:?}");
    }
    assert!(SkillPath::parse("optimize.apply").is_ok());
    assert!(SkillPath::parse("__class__").is_ok(), "dunder names parse and are found nowhere");
}

proptest::proptest! {
    #[test]
    fn bad_01_any_text_is_a_name_or_refused_with_a_safe_message(text in ".{0,80}|[a-z0-9_-]{0,70}") {
        let good = (1..=MAX_NAME).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'_' | b'-'))
            && !text.starts_with(['_', '-']);
        match Name::parse(&text) {
            Ok(name) => proptest::prop_assert!(good && name.as_str() == text),
            Err(error) => proptest::prop_assert!(!good && !error.to_string().chars().any(char::is_control)),
        }
    }

    #[test]
    fn bad_03_any_text_is_a_path_or_refused_with_a_safe_message(text in ".{0,80}|[a-zA-Z_.0-9]{0,600}") {
        match SkillPath::parse(&text) {
            Ok(path) => proptest::prop_assert_eq!(path.as_str(), text),
            Err(error) => proptest::prop_assert!(!error.to_string().chars().any(char::is_control)),
        }
    }

    #[test]
    fn what_others_quote_is_bounded_and_has_no_control_character(text in "(unknown `)?[ -~\u{0}-\u{9f}\u{202e}é`\"]{0,200}(, expected `é)?") {
        let safe = quoted_within(&text);
        proptest::prop_assert!(!safe.chars().any(char::is_control));
    }
}
