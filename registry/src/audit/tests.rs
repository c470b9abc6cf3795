use std::{path::Path, sync::Arc};

use aigis_proxy::{
    Address, Meta, Request, SkillPath,
    dispatch::{Begun, Deed, Journal, Outcome},
    identity::{Credential, MeshKeys},
    subject::Caller,
};
use bytes::Bytes;
use serde_json::json;
use time::OffsetDateTime;

use super::*;
use crate::spool;

struct Setting {
    directory: tempfile::TempDir,
    credential: Arc<Credential>,
}

fn setting() -> Setting {
    setting_of("alpha")
}

fn setting_of(name: &str) -> Setting {
    let directory = tempfile::tempdir().unwrap();
    let mesh = aigis_proxy::MeshName::parse("main").unwrap();
    let keys = MeshKeys::create(&directory.path().join("keys"), &mesh).unwrap();
    let key = Credential::generate().unwrap();
    let name = UserName::parse(name).unwrap();
    let jwt = keys.issue(&name, Role::Node, key.public(), Duration::from_secs(60)).unwrap();
    let credential = Arc::new(Credential::new(&jwt, key, Some(&keys.issuer())).unwrap());
    Setting { directory, credential }
}

fn node(name: &str) -> NodeName {
    NodeName::parse(name).unwrap()
}

fn flaws(entries: &[Entry], keys: &Keys) -> Vec<Flaw> {
    let reading = Reading { entries: entries.to_vec(), flaws: Vec::new() };
    verify(&reading, keys, None, |_| true).flaws
}

impl Setting {
    fn spool(&self) -> std::path::PathBuf {
        self.directory.path().join("audit")
    }

    fn open(&self) -> AuditJournal {
        AuditJournal::open(&self.spool(), self.credential.clone()).unwrap()
    }

    fn messages(&self) -> Vec<LogMessage> {
        let mut files = spool::segments(&self.spool()).unwrap();
        files.sort_unstable();
        let lines = files.iter().flat_map(|segment| {
            let text = std::fs::read(spool::path(&self.spool(), *segment)).unwrap();
            text.split_inclusive(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect::<Vec<_>>()
        });
        lines
            .filter_map(|line| spool::parse::<chain::Kept>(&line))
            .enumerate()
            .map(|(index, kept)| LogMessage {
                subject: format!("aigis.v1.main.event.audit.{}.begin", self.credential.name()),
                body: Bytes::from(serde_json::to_vec(&kept.signed).unwrap()),
                sequence: index as u64 + 1,
                stored: OffsetDateTime::now_utc(),
            })
            .collect()
    }

    fn entries(&self) -> Vec<Entry> {
        self.messages().iter().map(|message| Entry::read(message, self.credential.name().as_str()).unwrap()).collect()
    }

    fn keys(&self) -> Keys {
        [(node("alpha"), self.credential.public().to_owned())].into_iter().collect()
    }

    fn flaws(&self, entries: &[Entry]) -> Vec<Flaw> {
        flaws(entries, &self.keys())
    }
}

struct Call {
    caller: Caller,
    ci: Address,
    path: SkillPath,
    request: Request,
}

fn call(id: Option<&str>, grace: u64) -> Call {
    Call {
        caller: Caller { role: Role::Operator, name: UserName::parse("olga").unwrap() },
        ci: Address::parse("web@alpha").unwrap(),
        path: SkillPath::parse("stop").unwrap(),
        request: Request {
            args: Vec::new(),
            kwargs: [("grace_s".to_owned(), json!(grace)), ("db_password".to_owned(), json!("NONCE"))]
                .into_iter()
                .collect(),
            meta: Meta { call: id.map(str::to_owned), timeout: Some(Duration::from_millis(200)), ..Meta::default() },
        },
    }
}

impl Call {
    fn deed(&self) -> Deed<'_> {
        Deed {
            caller: &self.caller,
            ci: &self.ci,
            path: &self.path,
            effect: Effect::Write,
            request: &self.request,
            body: None,
        }
    }
}

#[tokio::test]
async fn r_15_a_repeat_gets_the_first_outcome_over_a_restart_too() {
    let setting = setting();
    let (first, other) = (call(Some("c1"), 3), call(Some("c1"), 4));
    let mut journal = setting.open();
    assert!(matches!(journal.begin(first.deed()).await, Ok(Begun::Run)));
    journal.end(first.deed(), Outcome::Value(&json!({"changed": true}))).await;
    for _ in 0..2 {
        let Ok(Begun::Repeat(Ok(value))) = journal.begin(first.deed()).await else { panic!("no repeat") };
        assert_eq!(value, json!({"changed": true}));
        let error = journal.begin(other.deed()).await.unwrap_err();
        assert_eq!(error.code, Code::AlreadyExists);
        assert!(error.message.contains("c1") && error.detail("at").is_some(), "{error}");
        journal = setting.open();
    }
    let failed = call(Some("c2"), 3);
    assert!(matches!(journal.begin(failed.deed()).await, Ok(Begun::Run)));
    journal.end(failed.deed(), Outcome::Failed(&Error::precondition("paused"))).await;
    let journal = setting.open();
    let Ok(Begun::Repeat(Err(error))) = journal.begin(failed.deed()).await else { panic!("no repeat") };
    assert_eq!(error, Error::precondition("paused"));
    let mut stranger = call(Some("c1"), 4);
    stranger.caller.name = UserName::parse("adam").unwrap();
    assert!(matches!(journal.begin(stranger.deed()).await, Ok(Begun::Run)), "another caller's id is another call");
}

#[tokio::test]
async fn r_15_a_call_that_began_before_a_restart_is_not_run_again() {
    let setting = setting();
    let call = call(Some("c1"), 3);
    assert!(matches!(setting.open().begin(call.deed()).await, Ok(Begun::Run)));
    let error = setting.open().begin(call.deed()).await.unwrap_err();
    assert_eq!(error.code, Code::FailedPrecondition);
    assert!(error.message.contains("before the node restarted"), "{error}");
}

#[tokio::test]
async fn r_15_a_repeat_awaits_the_first_one() {
    let setting = setting();
    let journal = setting.open();
    let call = call(Some("c1"), 3);
    assert!(matches!(journal.begin(call.deed()).await, Ok(Begun::Run)));
    assert_eq!(journal.begin(call.deed()).await.unwrap_err().code, Code::DeadlineExceeded);
    let one = json!(1);
    let (repeated, ()) = tokio::join!(journal.begin(call.deed()), journal.end(call.deed(), Outcome::Value(&one)));
    assert!(matches!(repeated, Ok(Begun::Repeat(Ok(value))) if value == json!(1)));
}

#[tokio::test]
async fn r_32_lines_are_chained_signed_and_hide_secrets() {
    let setting = setting();
    let journal = setting.open();
    let call = call(None, 3);
    for _ in 0..3 {
        assert!(matches!(journal.begin(call.deed()).await, Ok(Begun::Run)));
        journal.end(call.deed(), Outcome::Failed(&Error::precondition("paused"))).await;
    }
    journal.refused(&call.caller, "web@alpha exec", "the role does not permit it").await;
    drop(journal);
    let journal = setting.open();
    journal.refused(&call.caller, "web@alpha exec", "no").await;
    let entries = setting.entries();
    assert_eq!(entries.len(), 8);
    assert_eq!(entries.iter().map(|entry| entry.line.seq).collect::<Vec<_>>(), (1..=8).collect::<Vec<_>>());
    assert_eq!(setting.flaws(&entries), []);
    let line = &entries[0].line;
    assert_eq!((line.caller.as_str(), line.role, line.phase), ("olga", Role::Operator, Phase::Begin));
    assert_eq!(line.arguments.as_ref().unwrap()["kwargs"]["grace_s"], json!(3));
    assert_eq!(entries[1].line.code, Some(Code::FailedPrecondition));
    assert_eq!(entries[6].line.ci.as_deref(), Some("web@alpha"));
    let all = setting.messages().iter().map(|m| String::from_utf8_lossy(&m.body).into_owned()).collect::<String>();
    assert!(!all.contains("NONCE"));
}

#[tokio::test]
async fn atk_57_an_edited_dropped_or_foreign_line_shows() {
    let setting = setting();
    let journal = setting.open();
    let call = call(None, 3);
    for _ in 0..4 {
        assert!(matches!(journal.begin(call.deed()).await, Ok(Begun::Run)));
    }
    let kinds = |entries: &[Entry]| setting.flaws(entries).iter().map(|flaw| (flaw.seq, flaw.kind)).collect::<Vec<_>>();
    let mut dropped = setting.entries();
    dropped.remove(1);
    assert_eq!(kinds(&dropped), [(Some(3), FlawKind::Gap { after: 1 })]);
    let mut messages = setting.messages();
    let edited = String::from_utf8(messages[1].body.to_vec()).unwrap().replace("olga", "adam");
    messages[1].body = edited.into();
    assert_eq!(Entry::read(&messages[1], "alpha").unwrap_err(), FlawKind::Damaged);
    assert_eq!(Entry::read(&messages[0], "beta").unwrap_err(), FlawKind::Damaged);
    let foreign = Credential::generate().unwrap();
    let keys = [(node("alpha"), foreign.public().to_owned())].into_iter().collect();
    assert!(flaws(&setting.entries(), &keys).iter().all(|flaw| flaw.kind == FlawKind::Signature));
}

#[tokio::test]
async fn atk_57_back_dated_repeated_and_missing_first_lines_show() {
    let setting = setting();
    let journal = setting.open();
    for _ in 0..4 {
        assert!(matches!(journal.begin(call(None, 3).deed()).await, Ok(Begun::Run)));
    }
    let entries = setting.entries();
    let kinds = |entries: &[Entry]| setting.flaws(entries).iter().map(|flaw| (flaw.seq, flaw.kind)).collect::<Vec<_>>();
    let mut back_dated = entries.clone();
    let earlier = |at: Timestamp, by: u64| Timestamp::from(at.time() - Duration::from_secs(by));
    back_dated[2].line.at = earlier(entries[1].line.at, 3600);
    assert_eq!(kinds(&back_dated), [(Some(3), FlawKind::Time)]);
    back_dated[2].line.at = earlier(entries[1].line.at, 1);
    assert_eq!(kinds(&back_dated), [], "a clock that is put right by a second deceives nobody");
    let repeated = [&entries[..], &entries[1..2]].concat();
    assert_eq!(kinds(&repeated), [(Some(2), FlawKind::Chain)]);
    let mut headless = entries[1..].to_vec();
    assert_eq!(kinds(&headless), [], "what is older than the stream keeps is nobody's fault");
    headless[0].sequence = 1;
    assert_eq!(kinds(&headless), [(Some(2), FlawKind::Gap { after: 0 })]);
}

#[tokio::test]
async fn atk_57_newest_lines_that_were_taken_back_show_by_what_the_issuer_noted() {
    let (beta, alpha) = (setting_of("beta"), setting());
    let (journal, issuer) = (beta.open(), alpha.open());
    let head = journal.head();
    for _ in 0..3 {
        assert!(matches!(journal.begin(call(None, 3).deed()).await, Ok(Begun::Run)));
    }
    let newest = head.borrow().clone();
    assert_eq!(newest.seq, 3);
    issuer.witness(&[(node("beta"), newest)].into()).await.unwrap();
    let keys: Keys = [("alpha", alpha.credential.public()), ("beta", beta.credential.public())]
        .map(|(n, k)| (node(n), k))
        .into_iter()
        .collect();
    let check = |lines: &[Entry], live: bool, minutes: u64| {
        let mut notes = alpha.entries();
        notes[0].line.at = Timestamp::from(notes[0].line.at.time() - Duration::from_secs(60 * minutes));
        let reading = Reading { entries: [lines, &notes].concat(), flaws: Vec::new() };
        verify(&reading, &keys, Some(&node("alpha")), |_| live)
    };
    let lines = beta.entries();
    assert_eq!(check(&lines, true, 5).flaws, []);
    let kinds =
        |found: Verified| found.flaws.into_iter().map(|flaw| (flaw.node, flaw.seq, flaw.kind)).collect::<Vec<_>>();
    let taken_back = kinds(check(&lines[..2], true, 5));
    let [(name, Some(3), FlawKind::Withheld { after: 2, .. })] = &taken_back[..] else { panic!("{taken_back:?}") };
    assert_eq!(name, "beta");
    let late = check(&lines[..2], false, 5);
    assert!(late.flaws.is_empty() && late.extents[1].awaited == 1, "a node that is away delivers later: {late:?}");
    assert_eq!(check(&lines[..2], true, 0).flaws, [], "what was only just written is under way");

    // Another line in the place of the one that was seen.
    std::fs::remove_dir_all(beta.spool()).unwrap();
    let journal = beta.open();
    for grace in 4..7 {
        assert!(matches!(journal.begin(call(None, grace).deed()).await, Ok(Begun::Run)));
    }
    let replaced = kinds(check(&beta.entries(), true, 5));
    assert!(matches!(&replaced[..], [(_, Some(3), FlawKind::Replaced { .. })]), "{replaced:?}");
    let anew = [&lines[..], &beta.entries()[..]].concat();
    assert_eq!(kinds(check(&anew, true, 5))[0].2, FlawKind::Chain, "one key begins one chain");
}

#[tokio::test]
async fn a_node_that_joined_anew_begins_anew_with_a_key_that_the_issuer_admitted() {
    let (first, second, alpha) = (setting_of("beta"), setting_of("beta"), setting());
    for setting in [&first, &second] {
        assert!(matches!(setting.open().begin(call(None, 3).deed()).await, Ok(Begun::Run)));
    }
    let issuer = alpha.open();
    let admitted = |key: &str| {
        let kwargs = json!({"name": "beta", "public_key": key}).as_object().unwrap().clone();
        let request = Request { kwargs, ..Request::default() };
        Call { path: SkillPath::parse("join").unwrap(), request, ..call(None, 0) }
    };
    for setting in [&first, &second] {
        assert!(matches!(issuer.begin(admitted(setting.credential.public()).deed()).await, Ok(Begun::Run)));
    }
    let reading = Reading { entries: [alpha.entries(), first.entries(), second.entries()].concat(), flaws: Vec::new() };
    let mut keys: Keys = [(node("alpha"), alpha.credential.public())].into_iter().collect();
    assert!(!verify(&reading, &keys, None, |_| true).flaws.is_empty());
    keys.learn(&reading, &node("alpha"));
    assert_eq!(verify(&reading, &keys, None, |_| true).flaws, []);
}

#[tokio::test]
async fn a_spool_that_was_cut_off_within_a_line_goes_on_behind_the_last_whole_one() {
    let setting = setting();
    let call = call(None, 3);
    let journal = setting.open();
    for _ in 0..2 {
        assert!(matches!(journal.begin(call.deed()).await, Ok(Begun::Run)));
    }
    drop(journal);
    let file = spool::path(&setting.spool(), 1);
    cut(&file, 20);
    let journal = setting.open();
    assert!(matches!(journal.begin(call.deed()).await, Ok(Begun::Run)));
    let entries = setting.entries();
    assert_eq!(entries.iter().map(|entry| entry.line.seq).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(setting.flaws(&entries), []);
}

fn cut(file: &Path, bytes: u64) {
    let opened = std::fs::OpenOptions::new().write(true).open(file).unwrap();
    opened.set_len(opened.metadata().unwrap().len() - bytes).unwrap();
}

#[tokio::test]
async fn refusals_of_one_caller_are_counted_beyond_ten_a_second() {
    let setting = setting();
    let journal = setting.open();
    let caller = call(None, 0).caller;
    for _ in 0..50 {
        journal.refused(&caller, "web@alpha stop", "no").await;
    }
    let lines = setting.entries().len();
    assert!((10..50).contains(&lines), "{lines}");
    // Nobody is refused any more, and the count is told all the same.
    let _telling = journal.tell_counts();
    let told = async {
        while setting.entries().iter().map(|entry| 1 + entry.line.more).sum::<u64>() < 50 {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    assert!(tokio::time::timeout(std::time::Duration::from_secs(20), told).await.is_ok());
    assert_eq!(flaws(&setting.entries(), &setting.keys()), []);
}

#[tokio::test]
async fn what_waits_for_the_bus_is_bounded() {
    let setting = setting();
    std::fs::create_dir_all(setting.spool()).unwrap();
    let file = std::fs::File::create(spool::path(&setting.spool(), 1)).unwrap();
    let line = [b"x".repeat(1023), b"\n".to_vec()].concat();
    std::io::Write::write_all(&mut std::io::BufWriter::new(file), &line.repeat(64 * 1024)).unwrap();
    let journal = setting.open();
    assert!(journal.backlog() >= 64 * 1024 * 1024);
    let error = journal.begin(call(None, 3).deed()).await.unwrap_err();
    assert_eq!(error.code, Code::ResourceExhausted);
    drop(journal);
    let wider = AuditJournal::open_with(&setting.spool(), setting.credential.clone(), 65 * 1024 * 1024).unwrap();
    assert!(wider.begin(call(None, 4).deed()).await.is_ok());
}

#[tokio::test]
async fn a_damaged_note_of_what_was_shipped_ships_all_again() {
    let setting = setting();
    let noted = spool::Cursor { segment: 1, offset: 7 };
    let written = |text: &str| {
        std::fs::write(setting.spool().join("shipped.json"), text).unwrap();
        spool::read_cursor(&setting.spool())
    };
    assert!(matches!(setting.open().begin(call(Some("c1"), 3).deed()).await, Ok(Begun::Run)));
    let whole = setting.open().backlog();
    spool::write_cursor(&setting.spool(), noted).unwrap();
    assert_eq!(spool::read_cursor(&setting.spool()), noted);
    assert_eq!(setting.open().backlog(), whole - 7);
    for damaged in
        ["", "{", "[]", "{\"segment\":1}", "{\"segment\":99999,\"offset\":0}", "{\"segment\":-1,\"offset\":0}"]
    {
        assert_eq!(written(damaged), spool::Cursor::default(), "{damaged}");
        assert_eq!(setting.open().backlog(), whole, "{damaged}");
    }
}

/// The arguments as a line shows them, and the digest that a repeat is known by.
async fn noted(body: &str) -> (serde_json::Value, bool) {
    let setting = setting();
    let journal = setting.open();
    let (call, body) = (call(Some("c1"), 3), Bytes::copy_from_slice(body.as_bytes()));
    let unread = Request { meta: call.request.meta.clone(), ..Request::default() };
    let deed = Deed { request: &unread, body: Some(&body), ..call.deed() };
    assert!(matches!(journal.begin(deed).await, Ok(Begun::Run)));
    journal.end(deed, Outcome::Body(&Bytes::from_static(b"[1]"))).await;
    let repeat = journal.begin(call.deed()).await;
    let shown = setting.entries()[0].line.arguments.clone().unwrap();
    (shown, matches!(repeat, Ok(Begun::Repeat(Ok(value))) if value == json!([1])))
}

#[tokio::test]
async fn r_32_arguments_that_nobody_read_are_on_record_as_others_are() {
    let (args, kwargs) = (json!(call(None, 3).request.args), json!(call(None, 3).request.kwargs));
    let (shown, repeats) = noted(&json!({"kwargs": kwargs, "args": args, "meta": {"hops": 1}}).to_string()).await;
    assert!(repeats && !shown.to_string().contains("NONCE"), "{shown}");
    let (shown, repeats) = noted(r#"{"kwargs":{"token":{"$ref":{}},"b":1}}"#).await;
    assert_eq!((shown, repeats), (json!({"args": [], "kwargs": {"token": "[hidden]", "b": 1}}), false));
    let (shown, _) = noted(&format!(r#"{{"args":["{}"]}}"#, "x".repeat(100_000))).await;
    assert_eq!(shown["digest"].as_str().map(str::len), Some(64));
}

#[tokio::test]
async fn chn_35_what_answers_an_assistant_is_on_no_record() {
    let setting = setting();
    let journal = setting.open();
    let mut call = call(None, 3);
    call.path = SkillPath::parse("chain.answer").unwrap();
    call.request.args = vec![json!("ANSWER")];
    assert!(matches!(journal.begin(call.deed()).await, Ok(Begun::Run)));
    journal.end(call.deed(), Outcome::Value(&json!({"status": "running"}))).await;
    let entries = setting.entries();
    assert_eq!(entries[0].line.arguments, Some(json!("[hidden]")), "{:?}", entries[0].line);
    for entry in entries {
        assert!(!format!("{:?}", entry.line).contains("ANSWER"), "{:?}", entry.line);
    }
}
