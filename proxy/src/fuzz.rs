//! What a fuzzer throws at the readers of this crate, and what must hold whatever it is.

use crate::{
    Address, Error, MeshName, NodeName, Request, SkillPath, UserName,
    bridge::{self, Cutter, Hello},
    envelope::{DEFAULT_TIMEOUT, MAX_TIMEOUT},
    identity::{JoinToken, jwt},
    json, rpc,
    subject::{self, Asked, Subjects},
};

/// Longest message about bad input: what is quoted of it is cut.
const LONGEST: usize = 2_000;

/// Asserts that a refusal may stand on a terminal.
fn is_safe(message: &str) {
    assert!(message.len() <= LONGEST, "{} bytes", message.len());
    assert!(!message.chars().any(char::is_control), "{message:?}");
}

fn refused(error: &Error) {
    is_safe(&error.message);
}

/// Subjects, and what stands in them: names, addresses, skill paths, replies.
pub fn subjects(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let Ok(mesh) = MeshName::parse("main") else { return };
    let subjects = Subjects::new(&mesh);
    for subject in [text.clone(), format!("aigis.v1.main.{text}").into()] {
        if let Some(heard) = subjects.read(&subject) {
            match heard.asked {
                Asked::Malformed(error) => is_safe(&error.to_string()),
                Asked::Skill { path, .. } => assert!(subject.ends_with(path.as_str()), "{subject}: {path}"),
                Asked::Cancel(token) | Asked::Credit(token) => assert!(subject.ends_with(token.as_str()), "{subject}"),
                Asked::Pack => {}
            }
            assert!(subject.contains(heard.caller.name.as_str()), "{subject}");
        }
        if let Some(caller) = subjects.rpc_caller(&subject) {
            assert!(subject.contains(&format!(".{}.", caller.name)), "{subject}: {caller:?}");
        }
    }
    if let Ok(user) = UserName::parse("olga") {
        assert!(!subject::may_reply(&user, &text) || text.starts_with("_INBOX.olga."), "{text:?}");
    }
    match text.parse::<Address>() {
        // People may write capitals; nothing else is read as what it is not.
        Ok(address) => assert_eq!(address.to_string(), text.to_ascii_lowercase()),
        Err(error) => is_safe(&error.to_string()),
    }
    match SkillPath::parse(&text) {
        Ok(path) => assert_eq!(path.as_str(), text),
        Err(error) => is_safe(&error.to_string()),
    }
    match NodeName::parse(&text) {
        Ok(name) => assert!(!name.as_str().contains(['.', '*', '>', '$', ' ']), "{name}"),
        Err(error) => is_safe(&error.to_string()),
    }
}

/// The bodies of requests, of skills and of typed services.
pub fn envelope(bytes: &[u8]) {
    match Request::read(bytes) {
        Ok(request) => {
            assert!(request.meta.budget(DEFAULT_TIMEOUT) <= MAX_TIMEOUT);
            assert!(request.meta.hops <= 16, "{}", request.meta.hops);
        }
        Err(error) => refused(&error),
    }
    match json::read(bytes) {
        Ok(value) => {
            let again = serde_json::to_vec(&value).unwrap_or_default();
            assert_eq!(json::read(&again).as_ref(), Ok(&value), "what was read reads back");
        }
        Err(error) => refused(&error),
    }
    if let Err(error) = rpc::readable(bytes) {
        refused(&error);
    }
}

/// Tokens of users, and of those who join.
pub fn jwt(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    if let Err(error) = jwt::decode(&text) {
        is_safe(&error.to_string());
    }
    match JoinToken::parse(&text) {
        Ok(token) => assert!(JoinToken::parse(&token.to_text()).is_ok(), "what was read reads back"),
        Err(error) => is_safe(&error.to_string()),
    }
}

/// What a process writes to its host over the bridge: frames, messages in parts, the calls in them.
pub fn bridge(bytes: &[u8]) {
    let mut cutter = Cutter::default();
    cutter.input().extend_from_slice(bytes);
    loop {
        match cutter.next() {
            Ok(Some(message)) => {
                assert!(message.body.as_ref().is_some_and(|body| body.len() <= bytes.len()));
                if let Err(violation) = Hello::read(&message) {
                    is_safe(&violation.to_string());
                }
                match bridge::Asked::read(message) {
                    Ok(Ok(asked)) => assert!(asked.request.meta.hops <= 16),
                    Ok(Err(error)) => refused(&error),
                    Err(violation) => is_safe(&violation.to_string()),
                }
            }
            Ok(None) => break,
            Err(violation) => return is_safe(&violation.to_string()),
        }
    }
}

#[cfg(test)]
#[path = "../../fuzz/mutations.rs"]
mod mutations;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::{Role, identity::MeshKeys};

    fn some(seeds: &[&str]) -> Vec<Vec<u8>> {
        seeds.iter().map(|seed| seed.as_bytes().to_vec()).collect()
    }

    fn frames() -> Vec<Vec<u8>> {
        let of = |header: &str, body: &str| {
            let length = |text: &str| u32::try_from(text.len()).unwrap().to_be_bytes();
            [&length(header)[..], &length(body), header.as_bytes(), body.as_bytes()].concat()
        };
        let call = of(
            r#"{"t":"call","id":9,"path":"cool.nolog","timeout_ms":30000,"gen":2}"#,
            r#"{"args":[1],"meta":{"hops":1}}"#,
        );
        let parts = [
            of(r#"{"t":"call","id":1,"ci":"web@beta","path":"status","more":true}"#, r#"{"args":[],"#),
            of(r#"{"t":"credit","id":3,"n":8}"#, ""),
            of(r#"{"t":"call","id":1}"#, r#""meta":{"timeout_ms":5}}"#),
        ];
        let hello = of(r#"{"t":"hello"}"#, r#"{"aigis":1,"mode":"client","pid":4711,"python":"3.11.7","sdk":"0.1.0"}"#);
        vec![hello, call, parts.concat()]
    }

    fn tokens() -> Vec<Vec<u8>> {
        let directory = tempfile::tempdir().unwrap();
        let keys = MeshKeys::create(&directory.path().join("keys"), &MeshName::parse("main").unwrap()).unwrap();
        let key = crate::identity::Credential::generate().unwrap();
        let name = UserName::parse("olga").unwrap();
        let user = keys.issue(&name, Role::Operator, key.public(), Duration::from_secs(60)).unwrap();
        vec![
            user.into_bytes(),
            keys.operator_token().as_bytes().to_vec(),
            b"aigis1-eyJtZXNoIjoibWFpbiJ9AAAAAAAAAAA".to_vec(),
        ]
    }

    proptest! {
        #![proptest_config(mutations::config())]

        #[test]
        fn bad_02_bad_03_bad_04_any_subject(bytes in mutations::inputs(some(&[
            "to.alpha.operator.olga.web.status", "call.viewer.vera.web@alpha.optimize.apply", "rpc.admin.adam.alpha.users",
            "to.alpha.node.beta._.cancel.0123456789abcdef0123456789abcdef", "_INBOX.olga.x.y", "web@alpha", "a.b.c",
        ]))) {
            subjects(&bytes);
        }

        #[test]
        fn bad_07_bad_08_bad_09_bad_11_bad_23_any_body(bytes in mutations::inputs(some(&[
            r#"{"args":[1,-2.5,"x",null,true,[{"a":[]}]],"kwargs":{"a":{"$bytes":"AAAA"},"b":{"$datetime":"2026-11-21T07:25:40Z"}}}"#,
            r#"{"meta":{"timeout_ms":5000,"call":"c1","hops":3,"traceparent":"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}}"#,
            r#"{"kwargs":{"d":{"$decimal":"1.50"},"u":{"$uuid":"0192f0c0-0000-7000-8000-000000000000"},"r":{"$ref":"x"}}}"#,
            r#"{"timeout_ms":5000,"aigis":"0.1.0","request":{"Issue":{"name":"vera","role":"viewer","public_key":"U"}}}"#,
            r#"{"$blob":{"digest":"sha256:00","size":3,"key":"x"}}"#,
        ]))) {
            envelope(&bytes);
        }

        #[test]
        fn bad_24_any_bytes_of_a_process(bytes in mutations::inputs(frames())) {
            bridge(&bytes);
        }

        #[test]
        fn bad_46_bad_48_any_token(bytes in mutations::inputs(tokens())) {
            jwt(&bytes);
        }
    }
}
