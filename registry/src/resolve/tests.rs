use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::{
    record::Kind,
    snapshot::of,
    testing::{ci, container, replica},
    timestamp::Timestamp,
};

fn address(text: &str) -> Address {
    Address::parse(text).unwrap()
}

fn one(snapshot: &Snapshot, text: &str) -> String {
    match snapshot.resolve(&address(text)).unwrap() {
        Resolved::One(found) => format!("{}@{}", found.record.name, found.record.node),
        Resolved::Service(service) => panic!("{service:?}"),
    }
}

fn gone(record: CiRecord) -> CiRecord {
    CiRecord { gone_at: Some(Timestamp::now()), ..record }
}

#[test]
fn ci_18_a_name_on_two_nodes_is_ambiguous_and_lists_both_sorted() {
    let snapshot = of([container("web", "beta"), container("web", "alpha"), container("db", "beta")]);
    let error = snapshot.resolve(&address("web")).unwrap_err();
    assert_eq!(error.code, Code::FailedPrecondition);
    assert_eq!(error.detail("candidates"), Some(&json!(["web@alpha", "web@beta"])));
    assert!(error.message.contains("web@alpha") && error.message.contains("web@beta"));
    assert_eq!(one(&snapshot, "web@beta"), "web@beta");
    assert_eq!(one(&snapshot, "db"), "db@beta");
    assert_eq!(one(&snapshot, "db-ci"), "db@beta");
    assert_eq!(one(&snapshot, "web-ci@alpha"), "web@alpha");
    assert!(snapshot.resolve(&address("web-ci")).is_err());
}

#[test]
fn ci_19_offline_candidates_count() {
    let mut snapshot = of([container("web", "beta"), container("web", "alpha")]);
    snapshot.sights = Arc::default();
    assert_eq!(snapshot.resolve(&address("web")).unwrap_err().code, Code::FailedPrecondition);
}

#[test]
fn ci_20_a_service_goes_before_containers_of_its_name_and_is_balanced() {
    let mut stopped = replica("web", "gamma", "web");
    stopped.container.as_mut().unwrap().state = "exited".to_owned();
    let snapshot = of([replica("web", "beta", "web"), replica("web", "alpha", "web"), stopped]);
    let Resolved::Service(service) = snapshot.resolve(&address("web")).unwrap() else { panic!("no service") };
    assert_eq!(service.replicas.len(), 3);
    let turns: Vec<&str> = (0..4).map(|turn| service.pick(turn).unwrap().record.node.as_str()).collect();
    assert_eq!(turns, ["alpha", "beta", "alpha", "beta"]);
    assert_eq!(one(&snapshot, "web@gamma"), "web@gamma");
    let error = service.must_name_one();
    assert_eq!(error.detail("candidates"), Some(&json!(["web@alpha", "web@beta", "web@gamma"])));
}

#[test]
fn a_service_without_a_running_replica_is_unavailable() {
    let mut stopped = replica("a", "alpha", "web");
    stopped.container.as_mut().unwrap().state = "exited".to_owned();
    let Resolved::Service(service) = of([stopped]).resolve(&address("web")).unwrap() else { panic!("no service") };
    assert_eq!(service.pick(0).unwrap_err().code, Code::Unavailable);
}

#[test]
fn the_services_only_replica_of_a_node_answers_to_its_name_there() {
    let snapshot = of([replica("a", "alpha", "web"), replica("b", "beta", "web"), replica("c", "beta", "web")]);
    assert_eq!(one(&snapshot, "web@alpha"), "a@alpha");
    assert_eq!(snapshot.resolve(&address("web@beta")).unwrap_err().code, Code::FailedPrecondition);
}

#[test]
fn a_mesh_unique_name_goes_before_all_others_and_a_forged_second_one_is_a_conflict() {
    let mut snapshot = of([ci("web", "gamma", Kind::App), replica("web", "alpha", "web"), container("web", "beta")]);
    assert_eq!(one(&snapshot, "web"), "web@gamma");
    snapshot.insert(&Arc::new(ci("web", "delta", Kind::Plugin)), None);
    let error = snapshot.resolve(&address("web")).unwrap_err();
    assert_eq!(error.detail("candidates"), Some(&json!(["web@delta", "web@gamma"])));
}

#[test]
fn ci_13_a_removed_one_is_unavailable_and_says_when() {
    let snapshot = of([gone(container("web", "alpha")), gone(replica("r", "beta", "svc"))]);
    for name in ["web", "web@alpha", "web-ci", "svc"] {
        let error = snapshot.resolve(&address(name)).unwrap_err();
        assert_eq!(error.code, Code::Unavailable, "{name}");
        assert!(error.message.contains("removed") && error.detail("removed_at").is_some());
    }
    assert_eq!(snapshot.resolve(&address("web@beta")).unwrap_err().code, Code::NotFound);
    let snapshot = of([gone(container("web", "alpha")), container("web", "beta")]);
    assert_eq!(one(&snapshot, "web"), "web@beta");
}

#[test]
fn ci_22_unknown_names_are_told_with_the_nearest() {
    let snapshot = of([
        container("test-app", "alpha"),
        container("test-apps", "alpha"),
        container("redis", "alpha"),
        gone(container("test-aq", "alpha")),
    ]);
    let error = snapshot.resolve(&address("test-ap")).unwrap_err();
    assert_eq!((error.code, error.detail("kind")), (Code::NotFound, Some(&json!("ci"))));
    assert_eq!(error.detail("nearest"), Some(&json!(["test-app", "test-apps"])));
    assert!(error.hint.unwrap().contains("test-app"));
    let error = snapshot.resolve(&address("nosuch")).unwrap_err();
    assert_eq!(error.detail("nearest"), Some(&json!([])));
}

#[test]
fn r_16_a_damaged_record_is_data_loss_for_that_one_thing() {
    let mut snapshot = of([container("db", "alpha")]);
    snapshot.damaged = Arc::new([("ci.web.alpha".to_owned(), "bad".to_owned())].into());
    for name in ["web", "web@alpha"] {
        assert_eq!(snapshot.resolve(&address(name)).unwrap_err().code, Code::DataLoss);
    }
    assert_eq!(snapshot.resolve(&address("web@beta")).unwrap_err().code, Code::NotFound);
    assert_eq!(one(&snapshot, "db"), "db@alpha");
}

#[test]
fn distances_are_edits() {
    for (a, b, expected) in [
        ("web", "web", Some(0)),
        ("web", "wed", Some(1)),
        ("web", "ewb", Some(2)),
        ("web", "db", Some(2)),
        ("web", "redis", None),
        ("te", "test-app", Some(3)),
        ("kitten", "sitting", None),
        ("sittin", "sitting", Some(1)),
    ] {
        assert_eq!(distance(a, b), expected, "{a} {b}");
    }
}

fn record() -> impl Strategy<Value = CiRecord> {
    let name = prop::sample::select(vec!["a", "b", "c"]);
    let node = prop::sample::select(vec!["n1", "n2", "n3"]);
    (name, node, 0..3_u8, any::<bool>(), any::<bool>()).prop_map(|(name, node, kind, is_gone, serves)| {
        let mut record = if kind == 0 { ci(name, node, Kind::App) } else { container(name, node) };
        if kind > 0 && serves {
            record.service = Some(Name::parse("b").unwrap());
        }
        if is_gone { gone(record) } else { record }
    })
}

proptest! {
    #[test]
    fn what_is_found_is_there_and_bears_the_name(records in prop::collection::vec(record(), 0..9), node in 0..4_u8) {
        let mut unique = std::collections::BTreeMap::new();
        for record in records {
            unique.insert((record.name.clone(), record.node.clone()), record);
        }
        let snapshot = of(unique.into_values());
        let text = if node == 0 { "b".to_owned() } else { format!("b@n{node}") };
        let address = address(&text);
        let living = |name: &str| snapshot.cis().filter(|r| !r.is_gone() && r.name.as_str() == name).count();
        match snapshot.resolve(&address) {
            Ok(Resolved::One(found)) => {
                prop_assert!(!found.record.is_gone());
                prop_assert!(address.node.is_none_or(|node| node == found.record.node));
            }
            Ok(Resolved::Service(service)) => {
                prop_assert!(address.node.is_none());
                prop_assert!(service.replicas.iter().all(|found| !found.record.is_gone()));
            }
            Err(error) if error.code == Code::FailedPrecondition => {
                let listed = error.detail("candidates").unwrap().as_array().unwrap().len();
                prop_assert!(listed >= 2);
            }
            Err(error) => {
                prop_assert!(matches!(error.code, Code::NotFound | Code::Unavailable));
                prop_assert!(address.node.is_some() || living("b") == 0);
            }
        }
    }
}
