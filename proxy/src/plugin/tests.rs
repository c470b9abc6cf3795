use schemars::JsonSchema;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};

use super::*;
use crate::{Code, Request};

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
        (json!([]), "invalid type"),
        (json!({}), "skills"),
        (json!({"skills": [{"path": "a..b"}]}), "\"dice.a..b\" is no skill path"),
        (json!({"skills": [{"path": "a", "effect": "burn"}]}), "skills[0].effect"),
    ] {
        let error = Description::skills(bad, &dice).unwrap_err();
        assert!(error.message.contains(named), "{error}");
    }
}
