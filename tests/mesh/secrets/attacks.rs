//! A node that is not to have a secret, by a plain client: what it asks for, what it writes, and what comes of it.

use aigis_proxy::blob::Digest;
use async_nats::HeaderMap;
use serde_json::json;

use super::*;

/// A record in its stored form, as anyone can make it.
fn stored(content: &Value) -> String {
    let content = content.to_string();
    let digest = Digest::of(content.as_bytes()).to_string();
    format!(r#"{{"digest":"{}","content":{content}}}"#, digest.trim_start_matches("sha256:"))
}

#[test]
fn atk_56_a_node_opens_nothing_that_was_not_sealed_to_it() {
    let mesh = Mesh::up();
    let _labelled = mesh.aish(["nodes", "label", "alpha", "role=db"]).good();
    until("the label is known", SOON, || {
        let ran = set(&mesh, "db", VALUE, &["--for", "role=db"]);
        (ran.code == 0).then_some(())
    });
    let mallory = Client::of(&mesh, "mallory", "node");
    let (_wrap, directory) = wrapped(&mesh, "shop", &["--secret", "db"]);
    let records = mallory.records();
    let (revision, record) = records["secret.db.alpha"].clone();
    assert!(!record.contains("correct-horse"), "{record}");

    // Asks for it, asks to have it sealed to itself, and asks what there is: by the service, and as a call.
    let sealed: Value = serde_json::from_str(&record).unwrap();
    let copy = &sealed["content"]["copies"]["alpha"];
    let keys = json!({"mallory": {"to": copy["to"], "key": copy["key"]}});
    let wanted =
        json!({"name": "db", "version": 2, "selectors": ["mallory"], "sealed": {"content": "AAAA", "keys": keys}});
    let service = "aigis.v1.main.rpc.node.mallory.alpha.users";
    for (request, expected) in [
        (json!({"SetSecret": {"secret": wanted}}), "permission_denied"),
        (json!({"RemoveSecret": {"name": "db"}}), "permission_denied"),
        (json!({"Secrets": {}}), "permission_denied"),
        (json!({"Reseal": {"name": "db", "to": "mallory"}}), "unimplemented"),
    ] {
        let answer = mallory.request(service, &json!({"request": request}).to_string());
        let text = String::from_utf8_lossy(&answer.payload).into_owned();
        assert!(text.contains(expected) && !text.contains("correct-horse"), "{request}: {text}");
    }
    for skill in ["secrets.give", "secrets.open", "secrets.reseal"] {
        let answer = mallory.request(&format!("aigis.v1.main.call.node.mallory.alpha.{skill}"), r#"{"args":["db"]}"#);
        assert!(answer.headers.is_some(), "{skill}: {answer:?}");
    }
    until("the refusals are on record", SOON, || {
        let lines = mesh.aish(["audit", "--json", "--caller", "mallory"]).good().json();
        let lines = lines.as_array().cloned().unwrap_or_default();
        let refused = lines.iter().filter(|line| line["phase"] == "refused" && line.to_string().contains("secrets."));
        (refused.count() >= 3).then_some(())
    });

    // Writes records: the issuer's, another node's key, its own copy, and its own labels.
    for key in ["secret.db.alpha", "node.alpha"] {
        let subject = format!("$KV.records.{key}");
        mallory.publish(&subject, None, HeaderMap::new(), &record);
        mallory.refused("publish", &subject);
    }
    mallory.publish("$KV.records.secret.db.mallory", None, HeaderMap::new(), &record);
    let mut node: Value = serde_json::from_str::<Value>(&records["node.alpha"].1).unwrap()["content"].clone();
    node["name"] = "mallory".into();
    node["labels"] = json!({"role": "db"});
    // With alpha's signed key in it, as if it were its own.
    mallory.publish("$KV.records.node.mallory", None, HeaderMap::new(), &stored(&node));
    let row = until("it says that it is such a node", SOON, || {
        listed(&mesh, "db").filter(|row| row["lacking"] == json!(["mallory"]))
    });
    assert_eq!((&row["version"], &row["nodes"]), (&1.into(), &json!(["alpha"])), "nothing is sealed anew by itself");
    let forged = set(&mesh, "db", b"another-value", &[]).failed(77);
    assert!(forged.stderr.contains("not signed by it"), "{forged:?}");

    assert_eq!(mallory.records()["secret.db.alpha"], (revision, record));
    assert_eq!(fs::read(directory.join("db")).unwrap(), VALUE);
}

#[test]
fn atk_37_only_admins_have_to_do_with_secrets() {
    let mesh = Mesh::up();
    let _set = set(&mesh, "db", VALUE, &[]).good();
    for role in ["viewer", "operator"] {
        let file = mesh.user(&format!("a-{role}"), role);
        let _set = set(&mesh, "db", b"another-value", &["--creds", &file]).failed(77);
        let _rm = mesh.aish(["--creds", &file, "secrets", "rm", "db"]).failed(77);
        let _list = mesh.aish(["--creds", &file, "secrets", "list"]).failed(77);
    }
    assert_eq!(listed(&mesh, "db").unwrap()["version"], 1);
    let text = until("the deeds and the refusals are on record", SOON, || {
        let text = mesh.aish(["audit", "--json"]).stdout;
        let all = ["secrets.set", "secrets.rm", "secrets.list", "a-viewer", "a-operator", "refused"];
        all.iter().all(|word| text.contains(word)).then_some(text)
    });
    assert!(!text.contains("correct-horse") && !text.contains("another-value"), "{text}");
}
