//! Two meshes on one bus, each with an operator and accounts of its own: ATK-61 and ATK-62.

use std::{collections::BTreeMap, fs};

use aigis_tests::{Cases, ForeignBus, Mesh};
use serde_json::{Value, json};

use crate::{
    plugin::EARS,
    wire::{NEVER, Papers, Said, Wire, token},
    world::records,
};

const C: &str = "aigis.v1.main";

/// A bus that somebody runs for two meshes, which happen to have the same name.
struct Shared {
    one: Mesh,
    two: Mesh,
    server: ForeignBus,
}

impl Shared {
    fn up() -> Self {
        let mut shared = Self { one: Mesh::absent(), two: Mesh::absent(), server: ForeignBus::new() };
        for (mesh, name) in shared.meshes() {
            // There is no server yet; what it must be given is written all the same.
            let ran = mesh.aish(["up", "--detach", "--name", name, "--bus", &shared.bus()]);
            assert_ne!(ran.code, 0, "{ran:?}");
        }
        shared.serve(None);
        for (mesh, name) in shared.meshes() {
            let ran = mesh.aish(["up", "--detach", "--name", name, "--bus", &shared.bus()]);
            assert_eq!(ran.code, 0, "{ran:?}\n{}\n{}", mesh.log(), shared.log());
        }
        shared
    }

    fn meshes(&self) -> [(&Mesh, &'static str); 2] {
        [(&self.one, "alpha"), (&self.two, "omega")]
    }

    fn bus(&self) -> String {
        self.server.url()
    }

    fn log(&self) -> String {
        fs::read_to_string(self.server.place().join("log")).unwrap_or_default()
    }

    /// Starts the server, with another token for an account of the second mesh if one is given.
    fn serve(&mut self, account: Option<&str>) {
        let read = |mesh: &Mesh| fs::read_to_string(mesh.path().join("bus/operator.conf")).unwrap();
        let texts = [read(&self.one), read(&self.two)];
        let word = |text: &str, key: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(key)).unwrap();
            line.trim().to_owned()
        };
        let operators = texts.each_ref().map(|text| word(text, "operator:")).join(", ");
        let mut preload: Vec<String> = texts
            .iter()
            .flat_map(|text| text.split_once("resolver_preload {").unwrap().1.lines().map(str::to_owned))
            .filter(|line| line.contains("eyJ"))
            .collect();
        if let Some(jwt) = account {
            let of = Papers { jwt: jwt.to_owned(), seed: String::new() }.claims()["sub"].as_str().unwrap().to_owned();
            preload.retain(|line| !line.contains(&format!("{of}:")));
            preload.push(format!("  {of}: \"{jwt}\""));
        }
        let place = self.server.place();
        let config = format!(
            "operator: [{operators}]\nsystem_account: {}\nlog_file: \"{}\"\n\
             resolver {{ type: full, dir: \"{}\", allow_delete: false }}\nresolver_preload {{\n{}\n}}\n",
            word(&texts[0], "system_account:"),
            place.join("log").display(),
            place.join(aigis_tests::nonce()).display(),
            preload.join("\n"),
        );
        self.server.serve(&config);
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        for (mesh, _) in self.meshes() {
            let _ = mesh.aish(["down"]);
        }
    }
}

#[test]
fn atk_61_two_meshes_on_one_bus_share_nothing() {
    let shared = Shared::up();
    let mut cases = Cases::of("ATK-61");
    let olga = shared.one.user("olga", "operator");
    let zoe = shared.two.user("zoe", "admin");
    let mut of_one = Wire::log_in(&shared.one, "olga", &olga);
    let mut of_two = Wire::log_in(&shared.two, "zoe", &zoe);
    let mut node = Wire::log_in(&shared.two, "beta", &shared.two.user("beta", "node"));
    // Other tests' containers come and go on the engine.
    let lasting = |mut all: BTreeMap<String, _>| {
        all.retain(|key, _| !key.starts_with("$KV.records.ci.") || key.starts_with("$KV.records.ci.alpha."));
        all
    };
    let before = lasting(records(&mut of_one));
    assert!(before.keys().any(|key| key.contains("user.olga")));

    cases.case("the registry", || {
        let found = records(&mut of_two);
        assert!(!found.keys().any(|key| key.contains("olga") || key.contains("alpha")), "{found:?}");
    });
    of_one.subscribe("_INBOX.olga.>");
    of_one.subscribe(&format!("{C}.event.ci.>"));
    assert_eq!(of_one.settle(), []);
    for subject in [
        "_INBOX.olga.x".to_owned(),
        format!("{C}.to.alpha.admin.zoe.alpha.drain"),
        format!("{C}.call.admin.zoe.alpha.drain"),
        format!("{C}.rpc.admin.zoe.alpha.users"),
        format!("{C}.tunnel.olga.x"),
    ] {
        cases.case(&subject, || {
            of_two.publish(&subject, Some("_INBOX.zoe.x"), "", b"{}");
            assert!(of_two.settle().iter().all(|said| !matches!(said, Said::Message(heard) if heard.body.len() > 2)));
        });
    }
    node.publish(&format!("{C}.event.ci.beta.x.died"), None, "", b"{}");
    node.publish("$KV.records.ci.alpha.beta", None, "", b"{}");
    assert_eq!(node.settle(), []);
    let heard = of_one.next(NEVER);
    assert!(!matches!(&heard, Some(Said::Message(heard)) if heard.subject.contains("beta")), "{heard:?}");
    of_two.is_refused(&mut cases, &["aigis.v1.other.call.admin.zoe.x.y".to_owned()], &EARS);
    assert_eq!(lasting(records(&mut of_one)), before, "as before");
    // One's credential with the other, and the other's mesh by its name.
    for (mesh, creds, what) in [(&shared.two, &olga, "two"), (&shared.one, &zoe, "one")] {
        let ran = cases.refusal(format!("the other's credential in {what}"), || mesh.aish(["--creds", creds, "list"]));
        assert_eq!(ran.code, 77, "{ran:?}");
    }
    let ran = cases.case("another mesh by its name", || shared.one.aish(["--mesh", "other", "--creds", &olga, "list"]));
    assert_ne!(ran.code, 0, "{ran:?}");
    assert_eq!(shared.one.aish(["alpha", "status"]).code, 0, "honest calls work");
}

#[test]
fn atk_62_no_account_imports_a_store_that_was_not_given_to_it() {
    let mut shared = Shared::up();
    let mut cases = Cases::of("ATK-62");
    let zoe = shared.two.user("zoe", "admin");
    let issuer =
        |mesh: &Mesh, file: &str| fs::read_to_string(mesh.path().join("issuer").join(file)).unwrap().trim().to_owned();
    let claims = |jwt: String| Papers { jwt, seed: String::new() }.claims();
    let victim = claims(issuer(&shared.one, "store.jwt"))["sub"].clone();
    let own = claims(issuer(&shared.two, "mesh.jwt"));
    let operator = issuer(&shared.two, "operator.seed");
    let account = issuer(&shared.two, "mesh.seed");
    let activation = |import: &Value| {
        let claims = json!({
            "jti": "x", "iat": 1_700_000_000, "iss": own["sub"], "sub": own["sub"], "name": "x",
            "nats": {"subject": import["subject"], "kind": "service", "type": "activation", "version": 2},
        });
        token(&account, &claims)
    };
    type Activate<'a> = &'a dyn Fn(&Value) -> Value;
    let kinds: [(&str, Activate<'_>); 3] = [
        ("without an activation token", &|_| Value::Null),
        ("with the token of its own store", &|import| import["token"].clone()),
        ("with a token that it signed itself", &|import| activation(import).into()),
    ];
    for (what, made) in kinds {
        let mut claims = own.clone();
        for import in claims["nats"]["imports"].as_array_mut().unwrap() {
            import["account"] = victim.clone();
            import["token"] = made(import);
            if import["token"].is_null() {
                import.as_object_mut().unwrap().remove("token");
            }
        }
        shared.serve(Some(&token(&operator, &claims)));
        cases.case(what, || {
            let papers = Papers::read(&zoe);
            let mut wire = Wire::dial(&shared.two);
            let sig = wire.proof(&papers.seed);
            if wire.connect(&json!({"jwt": papers.jwt, "sig": sig})) != Said::Pong {
                return;
            }
            let mut wire = wire.named("zoe");
            for stream in ["KV_records", "KV_leases"] {
                let answer = wire.request(&format!("$JS.API.STREAM.INFO.{stream}"), "");
                let nobody = answer.headers.starts_with("NATS/1.0 503");
                assert!(
                    nobody || answer.json()["error"]["description"] == "JetStream not enabled for account",
                    "{what}: {answer:?}"
                );
            }
        });
    }
}
