use super::*;

fn data(text: &str, form: Form) -> Node {
    let Document::Data(node) = parse(text, form).unwrap() else { panic!("no data") };
    node
}

#[test]
fn pkg_07_values_know_their_lines_in_each_form() {
    let json = data("// c\n{\n  \"a\": {\"b\": \"x // y\"}, // c\n  \"l\": [1,\n 2,],\n}\n", Form::Json);
    assert_eq!(json.text_at(&["a", "b"]), Some(("x // y", 3)));
    assert_eq!(json.get("l").unwrap().items()[1].line, 5);
    let toml = data("z = 1\n[a]\nb = \"x\"\n[[l]]\nn = 2\n", Form::Toml);
    assert_eq!(toml.text_at(&["a", "b"]), Some(("x", 3)));
    assert_eq!(toml.entries()[0].key, "z");
    let yaml = data("base: &b\n  k: 1\na:\n  <<: *b\n  b: \"x\"\nl:\n  - 1\n", Form::Yaml);
    assert_eq!(yaml.text_at(&["a", "b"]), Some(("x", 5)));
    assert_eq!(yaml.at(&["a", "k"]).and_then(Node::word), Some("1"));
    let Document::Markup(xml) =
        parse("<?xml version=\"1.0\"?>\n<a xmlns=\"u\">\n <b c='1'> x </b></a>", Form::Xml).unwrap()
    else {
        panic!("no markup")
    };
    let inner = xml.child("b").unwrap();
    assert_eq!((inner.line, inner.text.as_str(), inner.attribute("c")), (3, "x", Some("1")));
}

#[test]
fn pkg_15_what_is_nested_too_deeply_is_refused_and_not_overrun() {
    for (open, close, form) in
        [("[", "]", Form::Json), ("a=[", "]", Form::Toml), ("[", "]", Form::Yaml), ("<a>", "</a>", Form::Xml)]
    {
        let text = format!("{}{}", open.repeat(10_000), close.repeat(10_000));
        assert!(parse(&text, form).is_err(), "{form:?}");
    }
    assert!(parse(&"- ".repeat(10_000), Form::Yaml).is_err());
    let bomb: String = (1..30).map(|n| format!("a{n}: &a{n} [*a{}, *a{}]\n", n - 1, n - 1)).collect();
    assert!(parse(&format!("a0: &a0 [x, x]\n{bomb}"), Form::Yaml).is_err());
}

#[test]
fn pkg_15_a_refusal_names_its_line() {
    assert_eq!(parse("{\n\"a\": 1,\n\"b\" 2}", Form::Json).unwrap_err().line, 3);
    assert_eq!(parse("a = 1\nb = = 2\n", Form::Toml).unwrap_err().line, 2);
    assert_eq!(parse("a: [1,\n b: }\n", Form::Yaml).unwrap_err().line, 2);
    assert_eq!(parse("<a>\n<b></a>", Form::Xml).unwrap_err().line, 2);
}

#[test]
fn pkg_15_keys_and_indents_nest_no_deeper_than_brackets() {
    let keys = "a.".repeat(10_000);
    for text in [format!("{keys}a = 1\n"), format!("[{keys}a]\n"), format!("x = {{ {keys}a = 1 }}\n")] {
        assert!(parse(&text, Form::Toml).is_err());
    }
    let indented: String = (0..1_000).map(|depth| format!("{}a:\n", " ".repeat(depth))).collect();
    assert!(parse(&indented, Form::Yaml).is_err());
    assert!(parse(&"? ".repeat(10_000), Form::Yaml).is_err());
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig { failure_persistence: None, ..Default::default() })]

    #[test]
    fn pkg_15_any_text_is_parsed_or_refused(text in "[a-z0-9\\[\\]{}<>:,.=\"'#/!&*?|%@`\\\\~^ \t\n\r\u{e9}\u{feff}-]{0,60}") {
        for form in [Form::Json, Form::Toml, Form::Yaml, Form::Xml] {
            if let Err(refused) = parse(&text, form) {
                let last = text.lines().count().max(1) as u64;
                proptest::prop_assert!(refused.line >= 1 && refused.line <= last);
            }
        }
    }
}
