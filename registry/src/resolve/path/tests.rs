use std::collections::HashMap;

use serde_json::json;

use super::*;
use crate::{
    record::{CiRecord, Replaced},
    snapshot::{Sight, of},
    testing::{ci, container},
    timestamp::Timestamp,
};

fn path(text: &str) -> SkillPath {
    SkillPath::parse(text).unwrap()
}

fn claim(leaf: &str, name: &str, node: &str) -> ClaimRecord {
    ClaimRecord {
        leaf: path(leaf),
        ci: Name::parse(name).unwrap(),
        node: aigis_proxy::NodeName::parse(node).unwrap(),
        open: false,
        replaces: Vec::new(),
        registered_at: Timestamp::now(),
    }
}

/// A plugin with its standard skills, and these of its own.
fn plugin(name: &str, node: &str, own: &[&str]) -> CiRecord {
    let mut record = ci(name, node, Kind::Plugin);
    let note = |text: &&str| SkillNote { path: path(text), ..record.skills[0].clone() };
    let own: Vec<SkillNote> = own.iter().map(note).collect();
    record.skills = record.skills.iter().cloned().chain(own).collect();
    record
}

fn with(records: impl IntoIterator<Item = CiRecord>, claims: impl IntoIterator<Item = ClaimRecord>) -> Snapshot {
    let mut snapshot = of(records);
    for claim in claims {
        snapshot.insert_claim(&Arc::new(claim));
    }
    snapshot
}

/// `CI PATH`, or the error's code.
fn meant(snapshot: &Snapshot, text: &str) -> String {
    match snapshot.resolve_path(&path(text)) {
        Ok((Resolved::One(found), path)) => format!("{}@{} {path}", found.record.name, found.record.node),
        Ok((Resolved::Service(service), path)) => format!("{} {path}", service.name),
        Err(error) => error.code.to_string(),
    }
}

#[test]
fn plg_24_plg_25_a_ci_goes_before_claims_and_a_plugin_has_its_own_names() {
    let records =
        [container("cool", "beta"), plugin("fx", "alpha", &["cool.nolog"]), plugin("srv", "alpha", &["srv.go"])];
    let snapshot = with(records, [claim("cool.nolog", "fx", "alpha"), claim("srv.go", "srv", "alpha")]);
    for (text, expected) in [
        ("cool.status", "cool@beta status"),
        ("cool.nolog", "fx@alpha cool.nolog"),
        ("cool.other", "cool@beta other"),
        ("fx.cool.nolog", "fx@alpha cool.nolog"),
        ("fx.status", "fx@alpha status"),
        ("srv.go", "srv@alpha srv.go"),
        ("srv.status", "srv@alpha status"),
        ("cool", "invalid_argument"),
        ("nope.x", "not_found"),
    ] {
        assert_eq!(meant(&snapshot, text), expected, "{text}");
    }
    let error = snapshot.resolve_path(&path("nope.x")).unwrap_err();
    assert_eq!(error.detail("kind"), Some(&json!("ci")));
}

#[test]
fn plg_22_what_is_not_claimed_is_not_reached() {
    let snapshot = with(
        [plugin("fx", "alpha", &["cool.nolog"])],
        [claim("cool.nolog", "fx", "alpha"), claim("alone", "fx", "alpha")],
    );
    let unknown = snapshot.resolve_path(&path("cool.os.getpid")).unwrap_err();
    assert_eq!((unknown.code, unknown.detail("kind")), (Code::NotFound, None));
    assert_eq!(unknown.detail("skills"), Some(&json!(["cool.nolog"])));
    assert_eq!(meant(&snapshot, "alone"), "fx@alpha alone");
    for private in ["cool.nolog.__globals__", "cool.__dict__", "fx._x"] {
        assert_eq!(meant(&snapshot, private), "permission_denied", "{private}");
    }
    assert_eq!(meant(&snapshot, "fx._ref.r0.call"), "fx@alpha _ref.r0.call");
    for nobody in ["_x.y", "Cool.nolog", "list.x"] {
        let error = snapshot.resolve_path(&path(nobody)).unwrap_err();
        assert_eq!((error.code, error.detail("kind")), (Code::NotFound, Some(&json!("ci"))), "{nobody}");
    }
}

#[test]
fn an_open_leaf_serves_one_more_public_name() {
    let open = ClaimRecord { open: true, ..claim("gen.make", "fx", "alpha") };
    let snapshot =
        with([plugin("fx", "alpha", &[]), plugin("gx", "alpha", &[])], [open, claim("gen.make.own", "gx", "alpha")]);
    assert_eq!(meant(&snapshot, "gen.make.any"), "fx@alpha gen.make.any");
    assert_eq!(meant(&snapshot, "gen.make.own"), "gx@alpha gen.make.own");
    assert_eq!(meant(&snapshot, "gen.make.any.more"), "not_found");
    assert_eq!(meant(&snapshot, "gen.make._x"), "permission_denied");
}

#[test]
fn a_claim_counts_while_its_plugin_does_and_until_it_is_replaced_while_that_is_away() {
    let former = claim("ns.a", "old", "beta");
    let replaces = vec![Replaced { node: former.node.clone(), registered_at: former.registered_at }];
    let later = ClaimRecord { replaces, ..claim("ns.a", "new", "alpha") };
    let records = [plugin("old", "beta", &[]), plugin("new", "alpha", &[])];
    let mut snapshot = with(records.clone(), [former.clone(), later]);
    // Both live: who replaced the other is a forger, and which one that is, nobody can say.
    assert_eq!(meant(&snapshot, "ns.a"), "failed_precondition");
    let offline = |server: &str| (server.parse().unwrap(), Sight { state: State::Offline, since: None });
    let live = |server: &str| (server.parse().unwrap(), Sight { state: State::Live, since: None });
    snapshot.sights = Arc::new(HashMap::from([offline("beta"), live("alpha")]));
    assert_eq!(meant(&snapshot, "ns.a"), "new@alpha ns.a");
    let gone = CiRecord { gone_at: Some(Timestamp::now()), ..records[0].clone() };
    assert_eq!(meant(&with([gone], [former.clone()]), "ns.a"), "not_found");
    assert_eq!(meant(&with([container("old", "beta")], [former.clone()]), "ns.a"), "not_found");
    let mut snapshot = with([records[0].clone()], [former.clone()]);
    assert_eq!(meant(&snapshot, "ns.a"), "old@beta ns.a");
    snapshot.remove_claim(&former);
    assert_eq!(meant(&snapshot, "ns.a"), "not_found");
}
