use super::*;

fn known(names: &[&str]) -> Vec<AssistantName> {
    names.iter().map(|name| name.parse().unwrap()).collect()
}

#[test]
fn names_read_back_and_are_trimmed() {
    for (text, whole) in [
        ("local:cp", "local:cp"),
        (" local:cp \n", "local:cp"),
        ("remote: static", "remote:static"),
        ("aip:agents/Fix it.aip", "aip:agents/Fix it.aip"),
    ] {
        let name: AssistantName = text.parse().unwrap();
        assert_eq!(name.to_string(), whole);
        assert_eq!(serde_json::from_value::<AssistantName>(serde_json::to_value(&name).unwrap()).unwrap(), name);
    }
    for text in ["", "cp", ":", "local:", "local:CP", "aip:", "aip:a\nb", "lokal:cp", "local:a:b"] {
        let error = text.parse::<AssistantName>().unwrap_err();
        assert_eq!(error.code, aigis_proxy::Code::InvalidArgument, "{text}");
    }
}

#[test]
fn chn_12_a_name_with_space_around_it_is_found() {
    assert_eq!(resolve(" local:cp \n", &known(&["local:cp"])).unwrap().to_string(), "local:cp");
}

#[test]
fn chn_14_a_short_name_is_the_only_match_or_an_error_with_the_candidates() {
    let known = known(&["builtin:exec", "local:cp", "remote:cp", "local:nocolon", "builtin:dockerfile"]);
    assert_eq!(resolve("nocolon", &known).unwrap().to_string(), "local:nocolon");
    assert_eq!(resolve("aip:x.aip", &known).unwrap().to_string(), "aip:x.aip");

    let several = resolve("cp", &known).unwrap_err();
    assert_eq!(several.message, "\"cp\" names several assistants: local:cp, remote:cp");
    assert_eq!(several.detail("candidates").unwrap(), &serde_json::json!(["local:cp", "remote:cp"]));

    let nosuch = resolve("builtin:dockerfil", &known).unwrap_err();
    assert_eq!(nosuch.detail("nearest").unwrap(), &serde_json::json!(["builtin:dockerfile"]));
    assert!(nosuch.hint.unwrap().contains("did you mean builtin:dockerfile?"));
    let of_another_kind = resolve("local:exec", &known).unwrap_err();
    assert_eq!(of_another_kind.detail("nearest").unwrap(), &serde_json::json!(["builtin:exec"]));
    let nothing_near = resolve("zzzzzzzzz", &known).unwrap_err();
    assert_eq!(nothing_near.hint.as_deref(), Some("see what there is: aish assistants list"));
}

#[test]
fn what_cannot_run_yet_says_so() {
    let error = "aip:agents/x.aip".parse::<AssistantName>().unwrap().check_runs().unwrap_err();
    assert_eq!(error.code, aigis_proxy::Code::Unimplemented);
    assert!(error.message.starts_with("aip:agents/x.aip cannot run"), "{error}");
    assert!("local:x".parse::<AssistantName>().unwrap().check_runs().is_ok());
}
