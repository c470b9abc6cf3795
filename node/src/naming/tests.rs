use proptest::prelude::*;

use super::*;
use crate::services::{DeclaredService, Protocol, Source};

fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn named(container_name: &str) -> String {
    ci_name(container_name, &BTreeMap::new()).name.to_string()
}

#[test]
fn ci_15_names_are_folded_and_reserved_ones_get_a_suffix() {
    for (container, expected) in [
        ("web_1", "web_1"),
        ("/web_1", "web_1"),
        ("My.App_1", "my-app_1"),
        ("list", "list-ci"),
        ("List", "list-ci"),
        ("_.-x-._", "x"),
        ("a..b", "a-b"),
        ("a é\u{1F600}b", "a-b"),
        ("a.-b", "a--b"),
    ] {
        assert_eq!(named(container), expected, "{container}");
    }
    assert!(named("...").starts_with("container-") && named("...").len() == 16);
    assert_ne!(named("..."), named(".."));
}

#[test]
fn ci_16_a_newcomer_gets_digits_that_stay_the_same() {
    let holder = ci_name("a.b", &BTreeMap::new()).name;
    let newcomer = ci_name("a-b", &BTreeMap::new()).name;
    assert_eq!(holder, newcomer);
    let second = disambiguated(&newcomer, "a-b");
    assert!(second.as_str().starts_with("a-b-") && second.as_str().len() == 10, "{second}");
    assert_eq!(second, disambiguated(&newcomer, "/a-b"), "the engine's slash is no part of the name");
    assert_ne!(second, disambiguated(&newcomer, "a.b"));
}

#[test]
fn ci_17_a_bad_label_is_a_warning_and_false_hides() {
    let bad = ci_name("x", &labels(&[("aigis.ci.name", "Bad Name!")]));
    assert_eq!(bad.name.as_str(), "x");
    assert_eq!(bad.warnings.len(), 1);
    assert!(bad.warnings[0].contains("aigis.ci.name"), "{:?}", bad.warnings);
    let reserved = ci_name("x", &labels(&[("aigis.ci.name", "list")]));
    assert_eq!((reserved.name.as_str(), reserved.warnings.len()), ("x", 1));
    let good = ci_name("x", &labels(&[("aigis.ci.name", "shop")]));
    assert_eq!((good.name.as_str(), good.warnings.len()), ("shop", 0));
    assert!(declared(&labels(&[("aigis.ci", "false")])).hidden);
    assert!(!declared(&labels(&[("aigis.ci", "true")])).hidden);
}

#[test]
fn bad_06_long_names_and_labels_over_4_kib() {
    let long = named(&"n".repeat(300));
    assert_eq!(long.len(), 63);
    assert!(long.starts_with(&format!("{}-", "n".repeat(56))), "{long}");
    assert_ne!(long, named(&"n".repeat(301)));
    let name = Name::parse(&long).unwrap();
    assert_ne!(disambiguated(&name, &"n".repeat(300)), name);

    let big = "b".repeat(100_000);
    let (kept, warnings) = kept_labels(&labels(&[
        ("aigis.purpose", "web"),
        ("aigis.description", &big),
        ("com.docker.compose.project", "shop"),
        ("org.opencontainers.image.title", "t"),
        ("other", "not kept"),
        ("aigis\u{1b}", &big),
    ]));
    let keys: Vec<&str> = kept.keys().map(String::as_str).collect();
    assert_eq!(keys, ["aigis.purpose", "com.docker.compose.project", "org.opencontainers.image.title"]);
    assert_eq!(warnings.len(), 2);
    assert!(warnings.iter().all(|line| line.len() < 200 && !line.chars().any(char::is_control)), "{warnings:?}");
    assert_eq!(declared(&labels(&[("aigis.description", &big)])).description, "");

    let many: BTreeMap<String, String> = (0..100).map(|i| (format!("aigis.x{i:03}"), "v".repeat(4000))).collect();
    let (kept, warnings) = kept_labels(&many);
    assert!(kept.iter().map(|(key, value)| key.len() + value.len()).sum::<usize>() <= MAX_LABELS);
    assert_eq!(warnings.len(), MAX_WARNINGS);
}

#[test]
fn aliases_end_in_ci() {
    let name = |text: &str| Name::parse(text).unwrap();
    assert_eq!(alias(&name("web")), Some(name("web-ci")));
    assert_eq!(alias(&name("list-ci")), None);
    assert_eq!(alias(&name(&"a".repeat(61))), None);
}

#[test]
fn labels_declare_service_purpose_and_services() {
    let all = declared(&labels(&[
        ("aigis.service", "web"),
        ("aigis.purpose", "Coding, Web web"),
        ("aigis.description", "the shop"),
        ("aigis.owner", "app shop"),
        ("aigis.services", "nginx, api:9000,dns:53/udp, db:5432/tcp,nginx"),
    ]));
    assert_eq!(all.service.as_ref().map(Name::as_str), Some("web"));
    assert_eq!(all.purpose, ["coding", "web"]);
    assert_eq!((all.description.as_str(), all.owner.as_deref()), ("the shop", Some("app shop")));
    let of =
        |name: &str, port, protocol| DeclaredService { name: name.to_owned(), port, protocol, source: Source::Label };
    assert_eq!(
        all.services,
        [
            of("nginx", None, Protocol::Tcp),
            of("api", Some(9000), Protocol::Tcp),
            of("dns", Some(53), Protocol::Udp),
            of("db", Some(5432), Protocol::Tcp),
        ]
    );
    assert!(all.warnings.is_empty());

    let bad = declared(&labels(&[("aigis.service", "list"), ("aigis.services", "a:0,b:x,c:1/sctp,D,e:70000,ok:1")]));
    assert_eq!(bad.service, None);
    assert_eq!(bad.services, [of("ok", Some(1), Protocol::Tcp)]);
    assert_eq!(bad.warnings.len(), 6);
}

#[test]
fn labels_declare_actions() {
    let all = declared(&labels(&[
        ("aigis.action.touch", r#"{"argv":["touch","/x"],"description":"touches","timeout_s":5,"user":"root"}"#),
        ("aigis.action.a", r#"{"argv":["true"]}"#),
        ("aigis.actions", "no action"),
    ]));
    assert!(all.warnings.is_empty(), "{:?}", all.warnings);
    assert_eq!(all.actions.iter().map(|action| action.id.as_str()).collect::<Vec<_>>(), ["a", "touch"]);
    let touch = &all.actions[1];
    assert_eq!((touch.argv.as_slice(), touch.timeout_s), (["touch".to_owned(), "/x".to_owned()].as_slice(), 5));
    assert_eq!((touch.description.as_str(), touch.user.as_deref()), ("touches", Some("root")));
    assert_eq!((all.actions[0].timeout_s, all.actions[0].user.as_deref()), (60, None));

    for (id, value) in [
        ("x", "touch /x"),
        ("x", "{}"),
        ("x", r#"{"argv":[]}"#),
        ("x", r#"{"argv":[""]}"#),
        ("x", r#"{"argv":"touch /x"}"#),
        ("x", r#"{"argv":["a\u0000"]}"#),
        ("x", r#"{"argv":["a"],"timeout_s":0}"#),
        ("x", r#"{"argv":["a"],"shell":true}"#),
        ("x", "{\"argv\":[\"a\"],\"\u{1b}\":1}"),
        ("B", r#"{"argv":["a"]}"#),
        ("", r#"{"argv":["a"]}"#),
    ] {
        let key = format!("aigis.action.{id}");
        let bad = declared(&labels(&[(key.as_str(), value)]));
        assert_eq!((bad.actions.len(), bad.warnings.len()), (0, 1), "{key}={value}");
        assert!(!bad.warnings[0].chars().any(char::is_control), "{:?}", bad.warnings);
    }
}

proptest! {
    #[test]
    fn every_container_has_a_name_that_is_not_reserved(text in "\\PC{0,300}|[a-zA-Z0-9_.-]{0,100}") {
        let named = ci_name(&text, &BTreeMap::new());
        prop_assert!(!named.name.is_reserved());
        prop_assert!(named.warnings.is_empty());
        let other = disambiguated(&named.name, &text);
        prop_assert!(other != named.name);
        prop_assert!(Name::parse(other.as_str()).is_ok());
        prop_assert_eq!(ci_name(&text, &BTreeMap::new()), named);
    }

    #[test]
    fn a_name_that_is_good_already_is_kept(text in "[a-z0-9]([a-z0-9_-]{0,61}[a-z0-9])?") {
        let name = Name::parse(&text).unwrap();
        if !name.is_reserved() {
            prop_assert_eq!(named(&text), text);
        }
    }

    #[test]
    fn labels_never_panic_and_warnings_are_bounded(
        pairs in proptest::collection::btree_map("aigis\\.(action\\.)?\\PC{0,8}|aigis.services|aigis.service", "\\PC{0,80}", 0..60)
    ) {
        let all = declared(&pairs);
        prop_assert!(all.warnings.len() <= MAX_WARNINGS);
        prop_assert!(kept_labels(&pairs).0.len() <= pairs.len());
    }
}
