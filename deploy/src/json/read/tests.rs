use serde_json::{Value, json};

use super::*;

fn one(text: &str) -> (String, usize, usize, String) {
    let read = read(text.as_bytes());
    assert_eq!(read.flaws.len(), 1, "{text:?}: {:?}", read.flaws);
    let flaw = read.flaws.into_iter().next().unwrap();
    (flaw.pointer, flaw.line, flaw.column, flaw.message)
}

fn value(text: &str) -> Value {
    let read = read(text.as_bytes());
    assert_eq!(read.flaws, [], "{text:?}");
    read.document.unwrap().root.value()
}

#[test]
fn pkg_27_flaws_have_pointer_line_and_column() {
    for (text, pointer, line, column, message) in [
        ("{\"a\": [1, 2,]}", "/a", 1, 12, "comma"),
        ("{\n \"a\": {\"b\": 1,}\n}", "/a", 2, 14, "comma"),
        ("{\"a\":\n NaN}", "/a", 2, 2, "NaN"),
        ("[-Infinity]", "/0", 1, 3, "Infinity"),
        ("{\"é\": 1,\n\n  \"é\": 2}", "/é", 3, 3, "on line 1 and on line 3"),
        ("{\"a/b~\": \"x\\ud800y\"}", "/a~1b~0", 1, 12, "surrogate"),
        ("{\"a\":9007199254740993}", "/a", 1, 6, "2^53"),
        ("[-9007199254740993]", "/0", 1, 2, "2^53"),
        ("[1e999]", "/0", 1, 2, "too large"),
        ("[01]", "/0", 1, 4, "begins with 0"),
        ("// x\n{}", "", 1, 1, "comments"),
        ("{\"a\": 1 /* x */}", "", 1, 9, "comments"),
        ("{} x", "", 1, 4, "follows"),
        ("", "", 1, 1, "ends"),
        ("{'a': 1}", "", 1, 2, "double quotes"),
        ("{\"a\": \"x\ny\"}", "/a", 1, 9, "control"),
        ("{\"a\": \"x", "/a", 1, 7, "no end"),
        ("{\"a\" 1}", "/a", 1, 6, "colon"),
        ("[1 2]", "", 1, 4, "comma"),
        ("[\"\\x\"]", "/0", 1, 3, "escape"),
        ("\u{feff}{}", "", 1, 1, "byte order mark"),
    ] {
        let (found, at, in_line, told) = one(text);
        assert_eq!((found.as_str(), at, in_line), (pointer, line, column), "{text:?}: {told}");
        assert!(told.contains(message), "{text:?}: {told}");
    }
    assert_eq!(read(b"[\"\xff\"]").flaws[0].column, 3);
    assert_eq!(read(br#"["\udc00\ud800\u0041"]"#).flaws.len(), 2, "each half stands alone");
}

#[test]
fn pkg_27_depth_and_length_are_bounded() {
    let deep = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
    assert!(read(deep(32).as_bytes()).flaws.is_empty());
    assert!(one(&deep(33)).3.contains("32 levels"));
    assert!(one(&"[".repeat(1_000_000)).3.contains("32 levels"));
    assert!(one(&" ".repeat(MAX_BYTES + 1)).3.contains("at most"));
    let many = format!("[{}1]", "NaN,".repeat(100_000));
    assert_eq!(read(many.as_bytes()).flaws.len(), MOST_FLAWS);
}

#[test]
fn pkg_28_a_number_is_its_value() {
    assert_eq!(
        value("[8e3, 1.0, -0.0, 9007199254740992, 1.5, 8000.000, 80000E-1]"),
        json!([8000, 1, 0, 9_007_199_254_740_992_u64, 1.5, 8000, 8000])
    );
    assert_eq!(value("1e21"), json!(1e21));
    assert_eq!(value(r#""\ud83d\ude00\u00e9\/""#), json!("😀é/"));
}

#[test]
fn what_has_a_flaw_does_not_hide_the_next() {
    let read = read(b"{\"a\": NaN,\n\"b\": 1,\n\"b\": 99999999999999999999,\n\"c\": [1,],}");
    let lines: Vec<usize> = read.flaws.iter().map(|flaw| flaw.line).collect();
    assert_eq!(lines, [1, 3, 3, 4, 4], "{:?}", read.flaws);
    assert!(read.document.is_some());
}

proptest::proptest! {
    #[test]
    fn whatever_is_taken_is_taken_by_serde_json_too(text in "[\\[\\]{}:,\"a01.eE+\\\\u \n-]{0,24}") {
        let read = read(text.as_bytes());
        if read.flaws.is_empty() {
            let other: Value = serde_json::from_str(&text).unwrap();
            let same = crate::json::canonical(&read.document.unwrap().root.value());
            proptest::prop_assert_eq!(same, crate::json::canonical(&other));
        }
    }

    #[test]
    fn what_serde_json_writes_is_read(number in -(1_i64 << 53)..=1 << 53, text in proptest::prelude::any::<String>()) {
        let given = json!({"n": number, "t": text, "l": [text, null, true, {}]});
        proptest::prop_assert_eq!(value(&given.to_string()), given);
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..64)) {
        let read = read(&bytes);
        proptest::prop_assert!(read.document.is_some() || !read.flaws.is_empty());
    }
}
