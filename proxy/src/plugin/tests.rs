use schemars::JsonSchema;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};

use futures::StreamExt as _;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::{
    Code, MeshName, Request, Role,
    dispatch::Incoming,
    identity::MeshKeys,
    subject::{Caller, HandTarget},
};

#[derive(Debug, PartialEq, Deserialize, JsonSchema)]
struct Roll {
    sides: u32,
    #[serde(default)]
    count: u8,
}

fn read<I: DeserializeOwned + JsonSchema>(body: Value) -> Result<I, String> {
    let request = Request::read(body.to_string().as_bytes()).unwrap();
    arguments::read(&request).map_err(|error: Error| {
        assert_eq!(error.code, Code::InvalidArgument);
        error.message
    })
}

/// A plugin as its node would start it, for which no bus is asked.
fn plugin() -> Plugin {
    let directory = tempfile::tempdir().unwrap();
    let keys = MeshKeys::create(&directory.path().join("keys"), &MeshName::parse("main").unwrap()).unwrap();
    let key = Credential::generate().unwrap();
    let user = UserName::parse("plugin-dice").unwrap();
    let token = keys.issue(&user, Role::Plugin, key.public(), Duration::from_secs(60)).unwrap();
    let credential = Arc::new(Credential::new(&token, key, None).unwrap());
    let options = Options { url: "nats://127.0.0.1:1".to_owned(), ca: None, credential, label: String::new() };
    let (name, node) = (Name::parse("dice").unwrap(), NodeName::parse("alpha").unwrap());
    Plugin { name, node, credential: PathBuf::new(), options, table: Served::table(), last: String::new() }
}

/// Asks a plugin as the bus would have it asked.
async fn ask(plugin: Plugin, role: Role, path: &str, body: Value) -> Result<Answer, Error> {
    let Plugin { name, node, table, .. } = plugin;
    let target = HandTarget { name: name.clone(), node: None };
    let own = One(Arc::new(Served { name, node, table }));
    let incoming = Incoming {
        caller: Caller { role, name: UserName::parse("olga").unwrap() },
        target,
        path: SkillPath::parse(path).unwrap(),
        by_hand: false,
        body: body.to_string().into(),
        traceparent: None,
        since: tokio::time::Instant::now(),
        cancelled: CancellationToken::new(),
    };
    Dispatcher::new(Arc::new(own), Arc::new(Unkept)).answer(incoming).await
}

#[tokio::test]
async fn plg_69_skills_answer_with_values_and_streams_to_whom_their_effect_permits() {
    let made = || {
        plugin()
            .skill("double", Effect::Write, |_: Context, (x,): (u32,)| async move { Ok(2 * x) })
            .doc("Doubles.")
            .timeout(Duration::from_secs(90))
            .stream("ticks", Effect::Read, |_: Context, (count,): (u64,)| futures::stream::iter((0..count).map(Ok)))
    };
    let answer = ask(made(), Role::Operator, "double", json!({"args": [21]})).await.unwrap();
    assert!(matches!(answer, Answer::Value(value) if value == 42));
    assert!(ask(made(), Role::Plugin, "double", json!({"args": [21]})).await.is_ok());
    for role in [Role::Viewer, Role::Node] {
        let refused = ask(made(), role, "double", json!({"args": [21]})).await.unwrap_err();
        assert_eq!(refused.code, Code::PermissionDenied);
    }
    let Answer::Stream(items) = ask(made(), Role::Viewer, "ticks", json!({"args": [3]})).await.unwrap() else {
        panic!("not a stream");
    };
    let items: Vec<Value> = items.map(Result::unwrap).collect().await;
    assert_eq!(items, [0, 1, 2]);
    let Answer::Value(told) = ask(made(), Role::Node, "describe", json!({})).await.unwrap() else { panic!() };
    let told = Description::skills(told, &Name::parse("dice").unwrap()).unwrap();
    let told: Vec<_> = told.iter().map(|skill| (skill.path.as_str(), skill.doc.as_str(), skill.timeout_ms)).collect();
    assert_eq!(told, [("dice.double", "Doubles.", Some(90_000)), ("dice.ticks", "", None)]);
}

#[test]
fn plg_69_a_struct_is_given_by_place_or_by_name() {
    let whole = Ok(Roll { sides: 6, count: 3 });
    for body in [
        json!({"args": [6, 3]}),
        json!({"args": [6], "kwargs": {"count": 3}}),
        json!({"kwargs": {"count": 3, "sides": 6}}),
    ] {
        assert_eq!(read::<Roll>(body.clone()), whole, "{body}");
    }
    assert_eq!(read::<Roll>(json!({"args": [6]})), Ok(Roll { sides: 6, count: 0 }));
    for (body, named) in [
        (json!({}), "\"sides\" is missing; a value of type integer"),
        (json!({"args": ["six"]}), "\"sides\": invalid type: string"),
        (json!({"args": [6, 3, 1]}), "at most 2"),
        (json!({"args": [6], "kwargs": {"sides": 6}}), "given twice"),
        (json!({"args": [6], "kwargs": {"colour": 6}}), "no argument \"colour\""),
    ] {
        let error = read::<Roll>(body).unwrap_err();
        assert!(error.contains(named), "{error}");
    }
}

#[test]
fn plg_69_other_types_are_given_by_place() {
    assert_eq!(read(json!({"args": [6, 3]})), Ok((6_u32, 3_u32)));
    assert_eq!(read(json!({"args": [6]})), Ok((6_u32, None::<u32>)));
    assert_eq!(read(json!({"args": [1, 2, 3]})), Ok(vec![1_u8, 2, 3]));
    assert_eq!(read(json!({"args": ["x"]})), Ok("x".to_owned()));
    assert_eq!(read(json!({})), Ok(()));
    assert!(read::<()>(json!({"args": [1]})).unwrap_err().contains("1 arguments are given; 0"));
    assert!(read::<(u32, u32)>(json!({"args": [1]})).unwrap_err().contains("2 are taken"));
    assert!(read::<(u32, u32)>(json!({"args": [1, "x"]})).unwrap_err().contains("argument [1]"));
    assert!(read::<(u32,)>(json!({"kwargs": {"a": 1}})).unwrap_err().contains("\"a\" has a name"));
}

#[test]
fn plg_69_what_a_program_says_of_its_skills_is_read_with_what_it_leaves_out() {
    let dice = Name::parse("dice").unwrap();
    let answer = json!({"kind": "plugin", "skills": [
        {"path": "describe", "effect": "read"},
        {"path": "roll", "effect": "read", "doc": "Rolls.", "colour": 1},
        {"path": "dice.more.roll"},
    ]});
    let skills = Description::skills(answer, &dice).unwrap();
    let told: Vec<_> = skills.iter().map(|skill| (skill.path.as_str(), skill.effect)).collect();
    assert_eq!(told, [("dice.roll", Effect::Read), ("dice.more.roll", Effect::Write)]);
    for (bad, named) in [
        (json!([]), "expected struct Description"),
        (json!("dice"), "invalid type"),
        (json!({}), "skills"),
        (json!({"skills": [{"path": "a..b"}]}), "\"dice.a..b\" is no skill path"),
        (json!({"skills": [{"path": "a", "effect": "burn"}]}), "skills[0].effect"),
    ] {
        let error = Description::skills(bad, &dice).unwrap_err();
        assert!(error.message.contains(named), "{error}");
    }
}
