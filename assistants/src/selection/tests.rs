use serde_json::json;

use super::*;

fn local(name: &str, detect: &[&str]) -> Known {
    let name = AssistantName::new(Kind::Local, name).unwrap();
    Known { name, description: String::new(), detect: detect.iter().map(|&glob| glob.to_owned()).collect() }
}

fn chosen(asked: Option<&str>, first: Option<&str>, paths: &[&str], more: &[Known]) -> Result<String, Error> {
    let mut state = AppState::default();
    if let Some(first) = first {
        state.set("first", first);
    }
    let known = [shipped(), more.to_vec()].concat();
    choose(asked, &state, paths, &known)?.only().map(|choice| choice.name.to_string())
}

#[test]
fn chn_18_the_first_assistant_follows_from_what_the_app_holds() {
    for (paths, expected) in [
        (&["Dockerfile", "requirements.txt"][..], "builtin:dockerfile"),
        (&["requirements.txt", "index.html"], "builtin:python"),
        (&["__main__.py"], "builtin:python"),
        (&["index.html"], "remote:static"),
        (&["Procfile", "requirements.txt"], "remote:procfile"),
        (&["index.html", "package.json"], "builtin:detect"),
        (&["deep/index.html", "deep/Dockerfile", "deep/requirements.txt"], "builtin:detect"),
        (&[], "builtin:detect"),
    ] {
        assert_eq!(chosen(None, None, paths, &[]).unwrap(), expected, "{paths:?}");
    }
    let Selection::One(choice) = choose(None, &AppState::default(), &["index.html"], &shipped()).unwrap() else {
        panic!("there is one");
    };
    assert_eq!(choice.reason, "the app has index.html, for which it is made");
}

#[test]
fn chn_02_what_was_named_goes_first() {
    let cp = [local("cp", &[])];
    let paths = ["Dockerfile"];
    assert_eq!(chosen(Some("cp"), Some("builtin:exec"), &paths, &cp).unwrap(), "local:cp");
    assert_eq!(chosen(None, Some("cp\n"), &paths, &cp).unwrap(), "local:cp");
    assert_eq!(chosen(None, Some("nil\n"), &paths, &cp).unwrap(), "builtin:dockerfile");
}

#[test]
fn chn_14_what_was_named_and_is_unknown_is_bad_input() {
    let error = chosen(Some("nosuch"), None, &[], &[local("nosuc", &[])]).unwrap_err();
    assert_eq!(error.code, aigis_proxy::Code::InvalidArgument);
    assert_eq!(error.message, "--assistant: no assistant is called \"nosuch\"");
    assert_eq!(error.detail("nearest"), Some(&json!(["local:nosuc"])));
    let error = chosen(None, Some("local:detect"), &[], &[]).unwrap_err();
    assert_eq!(error.message, "the state file first: no assistant is called \"local:detect\"");
    assert_eq!(error.detail("nearest"), Some(&json!(["builtin:detect"])));
}

#[test]
fn chn_19_several_that_fit_are_asked_for_or_listed() {
    let both = [local("two", &["*.md"]), local("one", &["**/x.md", "!y"]), local("never", &["a/*.md"])];
    let error = chosen(None, None, &["x.md"], &both).unwrap_err();
    assert_eq!(error.code, aigis_proxy::Code::InvalidArgument);
    assert_eq!(error.message, "several assistants are made for this app: local:one, local:two");
    assert_eq!(error.detail("candidates"), Some(&json!(["local:one", "local:two"])));
    // What must not match leaves one out, and a star stays within its directory.
    assert_eq!(chosen(None, None, &["x.md", "y"], &both).unwrap(), "local:two");
    assert_eq!(chosen(None, None, &["deep/x.md"], &both).unwrap(), "local:one");
    // An app's own Dockerfile goes before them.
    assert_eq!(chosen(None, None, &["x.md", "Dockerfile"], &both).unwrap(), "builtin:dockerfile");
}

#[test]
fn records_tell_what_the_choice_needs() {
    let record = json!({
        "kind": "local", "name": "cp", "folder": null, "settings": {"detect": ["*.x"], "description": "copies"},
        "pushed_by": "olga", "pushed_at": "2026-01-01T00:00:00Z",
    });
    let record: AssistantRecord = serde_json::from_value(record).unwrap();
    let known = Known::of_record(&record).unwrap();
    assert_eq!((known.name.to_string().as_str(), known.description.as_str()), ("local:cp", "copies"));
    assert_eq!(known.detect, ["*.x"]);
}
