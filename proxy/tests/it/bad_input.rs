//! Bad input by the wire: each gets an answer that names the place, and nothing else happens.

use std::sync::Arc;

use aigis_proxy::{Code, Role, UserName, dispatch::NoJournal, rpc, services};
use async_nats::{HeaderMap, HeaderValue, RequestErrorKind};
use futures::FutureExt;
use serde_json::{Value, json};
use tarpc::server::Serve;

use crate::callee::{ByHand, SOON};

use Code::InvalidArgument;

/// Answers with the name it was given.
#[derive(Clone)]
struct Issuer;

impl services::Issuer for Issuer {
    async fn issue(
        self,
        _: tarpc::context::Context,
        name: UserName,
        _: Role,
        _: String,
    ) -> Result<String, aigis_proxy::Error> {
        Ok(name.to_string())
    }

    async fn revoke(self, _: tarpc::context::Context, name: UserName) -> Result<services::Revoked, aigis_proxy::Error> {
        Err(aigis_proxy::Error::internal(name.to_string()))
    }

    async fn grant(
        self,
        _: tarpc::context::Context,
        _: UserName,
        _: Vec<aigis_proxy::Grant>,
    ) -> Result<(), aigis_proxy::Error> {
        Ok(())
    }

    async fn host_plugin(
        self,
        _: tarpc::context::Context,
        _: UserName,
        _: String,
        _: Vec<aigis_proxy::Grant>,
    ) -> Result<String, aigis_proxy::Error> {
        Err(aigis_proxy::Error::internal("nobody asks for it here"))
    }

    async fn end_plugin(self, _: tarpc::context::Context, _: UserName) -> Result<(), aigis_proxy::Error> {
        Err(aigis_proxy::Error::internal("nobody asks for it here"))
    }

    async fn renew(self, _: tarpc::context::Context) -> Result<String, aigis_proxy::Error> {
        Err(aigis_proxy::Error::internal("this one only issues"))
    }

    async fn rotate_keys(self, _: tarpc::context::Context, _: bool) -> Result<services::Rotation, aigis_proxy::Error> {
        Err(aigis_proxy::Error::internal("this one only issues"))
    }

    async fn create_token(
        self,
        _: tarpc::context::Context,
        _: String,
        _: services::WantedToken,
    ) -> Result<services::GrantedToken, aigis_proxy::Error> {
        Err(aigis_proxy::Error::internal("nobody asks for it here"))
    }

    async fn remove_node(self, _: tarpc::context::Context, _: aigis_proxy::NodeName) -> Result<(), aigis_proxy::Error> {
        Ok(())
    }

    async fn enroll(
        self,
        _: tarpc::context::Context,
        _: services::Station,
        _: String,
    ) -> Result<services::Enrolled, aigis_proxy::Error> {
        Err(aigis_proxy::Error::internal("nobody asks for it here"))
    }

    async fn accept_store(self, _: tarpc::context::Context) -> Result<String, aigis_proxy::Error> {
        Err(aigis_proxy::Error::internal("nobody asks for it here"))
    }

    async fn set_secret(self, _: tarpc::context::Context, _: services::WantedSecret) -> Result<(), aigis_proxy::Error> {
        Ok(())
    }

    async fn remove_secret(
        self,
        _: tarpc::context::Context,
        _: aigis_proxy::secret::SecretName,
    ) -> Result<(), aigis_proxy::Error> {
        Ok(())
    }

    async fn secrets(self, _: tarpc::context::Context) -> Result<Vec<services::ListedSecret>, aigis_proxy::Error> {
        Ok(Vec::new())
    }

    async fn revoke_token(self, _: tarpc::context::Context, _: UserName) -> Result<(), aigis_proxy::Error> {
        Ok(())
    }
}

async fn issuer(mesh: &ByHand) -> aigis_proxy::task::Owned {
    let issuer =
        |_, context, request| async move { services::Issuer::serve(Issuer).serve(context, request).await }.boxed();
    rpc::serve(&mesh.node, "alpha", services::ISSUER, Arc::new(NoJournal), issuer).await.unwrap()
}

#[tokio::test]
async fn bad_01_names_by_wire_say_rule_character_and_place() {
    let mesh = ByHand::start().await;
    let _issuer = issuer(&mesh).await;
    let create = |name: &str| {
        let request = json!({"request": {"Issue": {"name": name, "role": "viewer", "public_key": "U"}}});
        mesh.ask("rpc.OLGA.alpha.users", HeaderMap::new(), request.to_string())
    };
    for (name, named) in [
        ("", "is empty"),
        ("a.b", "'.' at position 2"),
        ("-x", "'-' at position 1"),
        ("_x", "'_' at position 1"),
        (&"a".repeat(64), "64 bytes long"),
        (&"x".repeat(10_000), "10000 bytes long"),
        ("*", "'*' at position 1"),
        (">", "'>' at position 1"),
        ("a b", "' ' at position 2"),
        ("a\n", "'\\n' at position 2"),
        ("a\0", "'\\0' at position 2"),
        ("w\u{435}b", "'е' at position 2"),
        ("a\u{1b}[2J", "'\\u{1b}' at position 2"),
    ] {
        let message = create(name).await.refusal(InvalidArgument);
        assert!(message.contains(named) && message.contains("user name"), "{name:?}: {message}");
    }
    assert_eq!(create("vera").await.body, json!({"Issue": {"Ok": "vera"}}));
    mesh.is_unharmed().await;
}

#[tokio::test]
async fn bad_02_bad_03_bad_04_subjects_by_hand() {
    let mut mesh = ByHand::start().await;
    let long_path = format!("{}abc", "abcdefgh.".repeat(57));
    assert!(long_path.len() > 512);
    for (subject, named) in [
        ("call.OLGA.web.$JS", "'$' at position 1"),
        ("call.OLGA.web.a.$JS", "'$' at position 3"),
        ("call.OLGA.web.a.1", "'1' at position 3"),
        (&format!("call.OLGA.web.a.{}", "x".repeat(65)), "65 bytes long"),
        (&format!("call.OLGA.web.{long_path}"), "at most 512"),
        ("to.alpha.OLGA.web", "skill path \"\""),
        ("to.alpha.OLGA.WEB.seen", "'W' at position 1"),
        ("to.alpha.OLGA.web@.seen", "node name is empty"),
        ("to.alpha.OLGA.web@b@c.seen", "'@' at position 2"),
        ("to.alpha.OLGA.$SYS.seen", "'$' at position 1"),
        (&format!("to.alpha.OLGA.{}.seen", "x".repeat(300)), "300 bytes long"),
    ] {
        let message = mesh.ask(subject, HeaderMap::new(), "").await.refusal(InvalidArgument);
        assert!(message.contains(named), "{subject}: {message}");
    }
    // Names that only a language could give a meaning to are well formed, and reach nothing.
    for hidden in ["web.__class__", "web.seen.__init__", "web.self"] {
        let subject = format!("call.OLGA.{hidden}");
        let message = mesh.ask(&subject, HeaderMap::new(), "").await.refusal(Code::NotFound);
        assert!(message.contains(hidden.strip_prefix("web.").unwrap()), "{message}");
    }
    for absent in [
        "call.operator.olga.nosuch.seen",
        "call.operator.olga.WEB.seen",
        "call.operator.olga.web@.seen",
        "call.operator.olga.web@b@c.seen",
        "call.operator.olga.web",
    ] {
        let request = async_nats::Request::new().timeout(Some(SOON));
        let error = mesh.olga.send_request(format!("aigis.v1.main.{absent}"), request).await.unwrap_err();
        let refused = [RequestErrorKind::NoResponders, RequestErrorKind::InvalidSubject].contains(&error.kind());
        assert!(refused, "{absent}: {error:?}");
    }
    mesh.olga.publish("aigis.v1.main.call.operator.olga", "".into()).await.unwrap();
    mesh.events.expect("Permissions Violation for Publish to \"aigis.v1.main.call.operator.olga\"").await;
    // Empty tokens are no subject, for the bus neither.
    for empty in ["web.", "web..seen"] {
        let subject = format!("aigis.v1.main.call.operator.olga.{empty}");
        mesh.olga.publish(subject.clone(), "".into()).await.unwrap();
        mesh.events.expect(&format!("Permissions Violation for Publish to \"{subject}\"")).await;
    }
    mesh.is_unharmed().await;
    let (vera, _) = mesh.bus.user("vera", Role::Viewer).await;
    let subject = format!("aigis.v1.main.call.operator.olga.web.{}", "a".repeat(5 * 1024));
    mesh.olga.publish(subject, "".into()).await.unwrap();
    mesh.events.expect("disconnected").await;
    vera.flush().await.unwrap();
    assert!(vera.statistics().connects.load(std::sync::atomic::Ordering::SeqCst) == 1);
    mesh.is_unharmed().await;
}

#[tokio::test]
async fn bad_07_bodies_name_the_byte() {
    let mesh = ByHand::start().await;
    for (body, named) in [
        (&b"[1"[..], "byte 2"),
        (b"[]", "byte 0"),
        (b"\"x\"", "byte 0"),
        (b"\"\"", "byte 0"),
        (b" ", "byte 1"),
        (b"\xef\xbb\xbf{}", "byte 0"),
        (b"{} x", "byte 3"),
        (b"{}{}", "byte 2"),
        (b"{\"kwargs\":{\"a\":\"\xff\"}}", "byte 16"),
        (b"{\"kwargs\":{\"a\":\"\0\"}}", "byte 16"),
        (b"\0", "byte 0"),
        (b"{\"args\":[tru]}", "byte 12"),
        (b"{\n\"args\":\n[,]}", "byte 11"),
    ] {
        let message = mesh.refused("count", body, InvalidArgument).await;
        assert!(message.contains(named), "{}: {message}", body.escape_ascii());
    }
    mesh.is_unharmed().await;
    assert_eq!(mesh.call("count", "").await, json!(1), "an empty body is a call without arguments");
}

#[tokio::test]
async fn bad_08_bad_10_keys_and_numbers_name_the_json_path() {
    let mesh = ByHand::start().await;
    for (body, named) in [
        (r#"{"argv":[]}"#, "$.argv"),
        (r#"{"\u001b[2J":[]}"#, "$.\\u{1b}[2J"),
        (r#"{"args":{}}"#, "$.args"),
        (r#"{"kwargs":[]}"#, "$.kwargs"),
        (r#"{"args":[],"args":[]}"#, "$.args: "),
        (r#"{"kwargs":{"grace_s":1,"grace_s":2}}"#, "$.kwargs.grace_s: "),
        (r#"{"kwargs":{"grace_s":1,"gr\u0061ce_s":2}}"#, "$.kwargs.grace_s: "),
        (r#"{"args":[{"a":[{"b":1,"b":1}]}]}"#, "$.args[0].a[0].b: "),
        (r#"{"meta":{"timeout_ms":{"a":1,"a":1}}}"#, "$.meta.timeout_ms"),
        (r#"{"meta":{"call":"a","call":"b"}}"#, "$.meta.call"),
    ] {
        let message = mesh.refused("stop", body, InvalidArgument).await;
        assert!(message.contains(named), "{body}: {message}");
    }
    let long = format!(r#"{{"{}":1}}"#, "x".repeat(10_000));
    assert!(mesh.refused("stop", long, InvalidArgument).await.contains("$.xxx"));
    let digits = "9".repeat(100_000);
    for number in ["18446744073709551616", "-9223372036854775809", "1e999", "01", "NaN", &digits] {
        for (body, path) in [
            (format!(r#"{{"args":[0,{number}]}}"#), "$.args[1]"),
            (format!(r#"{{"kwargs":{{"a":{{"b":{number}}}}}}}"#), "$.kwargs.a.b"),
        ] {
            let message = mesh.refused("stop", body, InvalidArgument).await;
            let shown = number.get(..20).unwrap_or(number);
            assert!(message.contains(path), "{shown}: {message}");
            assert!(message.contains("{\"$int\": \"…\"}") && message.contains("{\"$float\": \"…\"}"), "{message}");
        }
    }
    mesh.is_unharmed().await;
}

#[tokio::test]
async fn bad_09_depth_is_refused_by_its_limit() {
    let mesh = ByHand::start().await;
    let nested = |levels: usize| format!(r#"{{"kwargs":{{"a":{}{}}}}}"#, "[".repeat(levels), "]".repeat(levels));
    let almost = mesh.olga.server_info().max_payload - 512;
    for body in [nested(127), "[".repeat(1_000_000), "{\"a\":".repeat(almost / 5)] {
        let message = mesh.refused("stop", body, InvalidArgument).await;
        assert!(message.contains("128"), "{message}");
    }
    let message = mesh.refused("stop", nested(126), InvalidArgument).await;
    assert!(message.contains("`a`") && !message.contains("128"), "128 levels are read: {message}");
    mesh.is_unharmed().await;
}

#[tokio::test]
async fn bad_11_tags_name_path_and_tag() {
    let mesh = ByHand::start().await;
    for (value, tag) in [
        (json!({"$bytes": "*"}), "$bytes"),
        (json!({"$bytes": 1}), "$bytes"),
        (json!({"$foo": 1}), "$foo"),
        (json!({"$foo\u{1b}[2J": 1}), "$foo\\u{1b}[2J"),
        (json!({"$datetime": "2026-13-01T00:00:00Z"}), "$datetime"),
        (json!({"$date": "2026-13-01"}), "$date"),
        (json!({"$decimal": "x"}), "$decimal"),
        (json!({"$uuid": "1"}), "$uuid"),
        (json!({"$bytes": "", "$uuid": ""}), "$bytes"),
        (json!({"a": 1, "$uuid": ""}), "$uuid"),
    ] {
        let in_args = json!({"args": [1, {"deep": [value.clone()]}]}).to_string();
        let message = mesh.refused("stop", in_args, InvalidArgument).await;
        assert!(message.starts_with("$.args[1].deep[0] ") && message.contains(tag), "{message}");
        let in_kwargs = json!({"kwargs": {"why": {"$record": {"a": value}}}}).to_string();
        let message = mesh.refused("stop", in_kwargs, InvalidArgument).await;
        assert!(message.starts_with("$.kwargs.why.$record.a ") && message.contains(tag), "{message}");
    }
    let handle = json!({"args": [{"$ref": "nosuch"}]}).to_string();
    let message = mesh.refused("stop", handle, Code::FailedPrecondition).await;
    assert!(message.contains("$.args[0] is a handle"), "{message}");
    mesh.is_unharmed().await;
}

#[tokio::test]
async fn bad_12_arguments_are_named_with_the_type_expected() {
    let mesh = ByHand::start().await;
    let long = "x".repeat(10_000);
    for (body, named) in [
        (json!({"kwargs": {"grace_s": 1, "colour": 2}}), &["`colour`", "expected `grace_s` or `why`"][..]),
        (json!({"kwargs": {"grace_s": 1, "\u{1b}[2J": 2}}), &["`\\u{1b}[2J`", "expected `grace_s` or `why`"]),
        (json!({"kwargs": {"grace_s": 1, &long: 2}}), &["xxx", "expected `grace_s` or `why`"]),
        (json!({}), &["\"grace_s\" is missing", "integer"]),
        (json!({"args": [1], "kwargs": {"grace_s": 1}}), &["\"grace_s\" is given twice"]),
        (json!({"args": [1, 2]}), &["2 arguments without a name", "at most 1"]),
        (json!({"args": ["soon"]}), &["\"grace_s\"", "\"soon\"", "expected u32"]),
        (json!({"args": [long]}), &["\"grace_s\"", "expected u32"]),
        (json!({"args": [-1]}), &["\"grace_s\"", "`-1`", "expected u32"]),
        (json!({"args": [1.5]}), &["\"grace_s\"", "expected u32"]),
        (json!({"args": [null]}), &["\"grace_s\"", "null", "expected u32"]),
        (json!({"args": [1], "kwargs": {"why": 7}}), &["\"why\"", "expected a string"]),
    ] {
        let message = mesh.refused("stop", body.to_string(), InvalidArgument).await;
        assert!(named.iter().all(|part| message.contains(part)), "{named:?}: {message}");
    }
    let message = mesh.refused("count", r#"{"kwargs":{"colour":2}}"#, InvalidArgument).await;
    assert!(message.contains("`colour`"), "{message}");
    mesh.is_unharmed().await;
    assert_eq!(mesh.call("stop", r#"{"args":[3],"kwargs":{"why":"x"}}"#).await, json!("3 x"));
}

fn meta(key: &str, value: &str) -> String {
    format!(r#"{{"meta":{{"{key}":{value}}}}}"#)
}

#[tokio::test]
async fn bad_15_bad_16_meta_and_its_time() {
    let mesh = ByHand::start().await;
    for bad in ["[]", "\"x\"", "null", "7"] {
        let message = mesh.refused("count", format!(r#"{{"meta":{bad}}}"#), InvalidArgument).await;
        assert!(message.contains("$.meta"), "{message}");
    }
    mesh.refused("count", meta("timeout_ms", "0"), Code::DeadlineExceeded).await;
    mesh.is_unharmed().await;
    assert_eq!(mesh.call("count", meta("colour", "{\"role\":\"admin\"}")).await, json!(1), "unknown keys are ignored");
    let seconds = async |timeout: &str| {
        let seen = mesh.call("seen", meta("timeout_ms", timeout)).await;
        seen["remaining_s"].as_u64().unwrap()
    };
    let digits = "9".repeat(100_000);
    for all_there_is in ["18446744073709551615", "18446744073709551616", "1e300", "1e999", &digits] {
        let left = seconds(all_there_is).await;
        assert!((86_300..=86_400).contains(&left), "{left}");
    }
    for default in ["-1", "-1e999", "\"soon\"", "null", "1.5", "[]", "{}", "true"] {
        let left = seconds(default).await;
        assert!((1..=30).contains(&left), "{default}: {left}");
    }
    assert!((1..=5).contains(&seconds("5000").await));
}

#[tokio::test]
async fn bad_17_hops_are_never_taken_as_none() {
    let mesh = ByHand::start().await;
    for hops in ["17", "1000"] {
        let message = mesh.refused("count", meta("hops", hops), Code::FailedPrecondition).await;
        let parts = ["count of web@alpha", "olga", hops, "16", "loop"];
        assert!(parts.iter().all(|part| message.contains(part)), "{message}");
    }
    for bad in ["-1", "\"x\"", "\"\\u001b\"", "null", "1000000000", "18446744073709551616", "1.5", "[]"] {
        let message = mesh.refused("count", meta("hops", bad), InvalidArgument).await;
        assert!(message.contains("$.meta.hops"), "{message}");
    }
    mesh.is_unharmed().await;
    assert_eq!(mesh.call("count", meta("hops", "16")).await, json!(1));
}

#[tokio::test]
async fn bad_18_call_ids_that_are_none() {
    let mesh = ByHand::start().await;
    let long = format!("\"{}\"", "x".repeat(65));
    for bad in ["\"\"", "\"*\"", "\"a.b\"", "\"a b\"", "\"\\u001b\"", "7", "null", "[]", &long] {
        let message = mesh.refused("count", meta("call", bad), InvalidArgument).await;
        assert!(message.contains("$.meta.call"), "{message}");
    }
    mesh.is_unharmed().await;
    assert_eq!(mesh.call("count", meta("call", &format!("\"{}\"", "x".repeat(64)))).await, json!(1));
}

#[tokio::test]
async fn bad_19_malformed_traces_begin_anew_and_the_call_runs() {
    let mesh = ByHand::start().await;
    let good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let zeros = format!("00-{}-{}-00", "0".repeat(32), "0".repeat(16));
    let seen = async |header: Option<&str>, body: String| {
        let mut headers = HeaderMap::new();
        if let Some(header) = header {
            headers.insert("traceparent", header);
        }
        let reply = mesh.ask("call.OLGA.web.seen", headers, body).await;
        assert_eq!(reply.code, None, "{:?}", reply.body);
        reply.body["traceparent"].clone()
    };
    assert_eq!(seen(Some(good), String::new()).await, json!(good));
    assert_eq!(seen(None, meta("traceparent", &format!("\"{good}\""))).await, json!(good));
    for bad in ["", "nonsense", "00-0af7-b7ad-01", &good.to_uppercase(), &zeros, &"x".repeat(1024)] {
        assert_eq!(seen(Some(bad), String::new()).await, Value::Null, "{bad}");
        assert_eq!(seen(None, meta("traceparent", &format!("\"{bad}\""))).await, Value::Null, "{bad}");
    }
    for bad in ["7", "null", "[]"] {
        assert_eq!(seen(None, meta("traceparent", bad)).await, Value::Null, "{bad}");
    }
    mesh.is_unharmed().await;
}

#[tokio::test]
async fn bad_20_headers_are_refused_beyond_their_bounds() {
    let mesh = ByHand::start().await;
    for bad in ["a\r\nAigis-Error: internal", "a\nb", "a\r"] {
        assert!(bad.parse::<HeaderValue>().is_err(), "the client refuses {bad:?}");
    }
    let mut many = HeaderMap::new();
    for _ in 0..10_000 {
        many.append("many", "v");
    }
    let mut names = HeaderMap::new();
    for index in 0..10_000 {
        names.insert(format!("name-{index}"), "v");
    }
    let mut large = HeaderMap::new();
    large.insert("large", "x".repeat(64 * 1024));
    for (headers, named, limit) in [(many, "many", "64"), (names, "name-", "64"), (large, "large", "16384")] {
        for subject in ["call.OLGA.web.count", "to.alpha.OLGA.web.count"] {
            let message = mesh.ask(subject, headers.clone(), "").await.refusal(InvalidArgument);
            assert!(message.contains(named) && message.contains(limit), "{message}");
        }
    }
    mesh.is_unharmed().await;
}

#[tokio::test]
async fn bad_23_typed_services_name_service_and_method() {
    let mesh = ByHand::start().await;
    let _issuer = issuer(&mesh).await;
    let ask = |body: String| mesh.ask("rpc.OLGA.alpha.users", HeaderMap::new(), body);
    let request = r#"{"Issue":{"name":"vera","role":"viewer","public_key":"U"}}"#;
    for (body, code, named) in [
        (r#"{"request":{"Burn":{}}}"#.to_owned(), Code::Unimplemented, "Burn"),
        (r#"{"request":{"\u001b[2J":{}}}"#.to_owned(), Code::Unimplemented, "\\u{1b}[2J"),
        (format!(r#"{{"request":{{"{}":{{}}}}}}"#, "x".repeat(10_000)), Code::Unimplemented, "xxx"),
        (format!(r#"{{"request":{}"#, &request[..20]), InvalidArgument, "byte"),
        (format!(r#"{{"request":{request}"#), InvalidArgument, "byte"),
        (String::new(), InvalidArgument, "byte 0"),
        (request.to_owned(), InvalidArgument, "request"),
        (format!(r#"{{"request":{}}}"#, request.replace("viewer", "root")), InvalidArgument, "request.Issue.role"),
        (
            format!(r#"{{"context":{{"deadline":{{"secs":{0},"nanos":{0}}}}},"message":{request}}}"#, u64::MAX),
            InvalidArgument,
            "request",
        ),
        (format!(r#"{{"timeout_ms":-1,"request":{request}}}"#), InvalidArgument, "timeout_ms"),
    ] {
        let message = ask(body).await.refusal(code);
        assert!(message.contains("service users") && message.contains(named), "{message}");
    }
    let digits = "9".repeat(100_000);
    for timeout in ["18446744073709551615", "18446744073709551616", "1e300", &digits] {
        let reply = ask(format!(r#"{{"timeout_ms":{timeout},"request":{request}}}"#)).await;
        assert_eq!(reply.body, json!({"Issue": {"Ok": "vera"}}), "clamped before a deadline is made of it");
    }
    mesh.is_unharmed().await;
}
