use proptest::prelude::*;

use super::*;

fn read(text: &str) -> Result<Variables, String> {
    parse(Path::new("e"), text).map_err(|error| error.to_string())
}

#[test]
fn chn_34_variables_are_read_as_other_programs_read_them() {
    let text = "# keys\nA=1\n export B = two words # said\nC='it''s # no'\n\nD=\"a\\nb \\\"q\\\" \\$x\" # end\nE=\nF=a#b\n\
        G=\"first\nsecond\"\r\nH='$A'\n";
    let error = read(text).unwrap_err();
    assert_eq!(error, "e:4:1: C: something follows its quotes");
    let text = text.replace("it''s", "its");
    let variables = read(&text).unwrap();
    let expected = [
        ("A", "1"),
        ("B", "two words"),
        ("C", "its # no"),
        ("D", "a\nb \"q\" $x"),
        ("E", ""),
        ("F", "a#b"),
        ("G", "first\nsecond"),
        ("H", "$A"),
    ];
    assert_eq!(variables, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
}

#[test]
fn bad_variables_are_told_by_line_and_without_their_value() {
    for (text, says) in [
        ("A=1\nA=2", "e:2:1: A stands there twice; keep one"),
        ("A=1\nsecret", "e:2:1: this is no variable; write NAME=VALUE"),
        ("1A=secret", "e:1:1: what stands before = is no name"),
        ("A=sec\0ret", "e:1:1: A: it holds a zero byte"),
        ("A=\"secret", "e:1:1: A: its quotes are not closed"),
        ("export=x\nA='secret", "e:2:1: A: its quotes are not closed"),
    ] {
        let error = read(text).unwrap_err();
        assert!(error.starts_with(says) && !error.contains("secret"), "{error}");
    }
    // In some shells a word, here a name.
    assert_eq!(read("export=x").unwrap(), [("export".to_owned(), "x".to_owned())]);
}

proptest! {
    #[test]
    fn any_variables_read_back(values in prop::collection::vec("[^\0]*", 0..5)) {
        let variables: Variables =
            values.into_iter().enumerate().map(|(number, value)| (format!("V{number}"), value)).collect();
        let text = write(&variables);
        prop_assert_eq!(read(&text).unwrap(), variables);
    }

    #[test]
    fn no_text_breaks_the_reader(text in "(?s).*") {
        let _ = read(&text);
    }
}
