use std::{collections::BTreeMap, time::Duration};

use proptest::prelude::*;
use serde_json::json;

use super::*;

type Waiting = oneshot::Receiver<Result<Reply, Error>>;

fn ask(id: u64, text: &str, now: Instant) -> (Ask, Waiting) {
    let (reply, waiting) = oneshot::channel();
    let (deadline, text) = (now + Duration::from_secs(1), text.to_owned());
    (Ask { id, text, input: None, deadline, traceparent: None, reply }, waiting)
}

fn text(waiting: &mut Waiting) -> Value {
    waiting.try_recv().unwrap().unwrap().text
}

#[test]
fn ci_65_a_late_reply_is_nobodys() {
    let now = Instant::now();
    let mut exchange = Exchange::new(&Framing::line(), 1);
    let (first, first_waiting) = ask(1, "a", now);
    let (second, mut second_waiting) = ask(2, "b", now);
    let (third, mut third_waiting) = ask(3, "c", now);
    for ask in [first, second, third] {
        exchange.admit(ask);
    }
    assert_eq!(exchange.next(now).unwrap(), b"a\n");
    assert_eq!((exchange.next(now), exchange.load()), (None, (1, 2)));
    drop(first_waiting);
    exchange.gone(1, now);
    assert_eq!(exchange.next(now), None, "its reply is still to come");
    exchange.gone(2, now);
    assert!(second_waiting.try_recv().is_err());
    assert_eq!(exchange.came(b"A\n", now), Stray::default());
    assert_eq!(exchange.next(now).unwrap(), b"c\n", "the second one left before its turn");
    assert_eq!(exchange.came(b"C\nmore\n", now).0, [b"more".to_vec()]);
    assert_eq!(text(&mut third_waiting), json!("C"));
}

#[test]
fn a_program_that_is_silent_after_a_late_call_is_told_of() {
    let now = Instant::now();
    let mut exchange = Exchange::new(&Framing::line(), 1);
    let (first, _waiting) = ask(1, "a", now);
    exchange.admit(first);
    assert!(exchange.next(now).is_some() && exchange.due().is_none(), "its caller waits");
    let later = now + Duration::from_secs(5);
    exchange.gone(1, later);
    assert_eq!(exchange.due(), Some(later + Duration::from_secs(60)));
    let spoke = later + Duration::from_secs(50);
    assert_eq!(exchange.came(b"half", spoke), Stray::default());
    assert!(!exchange.tick(later + Duration::from_secs(61)), "it speaks");
    assert!(exchange.tick(spoke + Duration::from_secs(60)));
}

#[test]
fn so_many_wait_and_no_more() {
    let now = Instant::now();
    let mut exchange = Exchange::new(&Framing::line(), 1);
    let mut waiting = Vec::new();
    for id in 0..=WAITING as u64 {
        let (ask, receiver) = ask(id, "x", now);
        exchange.admit(ask);
        waiting.push(receiver);
    }
    let last = waiting.last_mut().unwrap().try_recv().unwrap().unwrap_err();
    assert_eq!((last.code, last.detail("sent")), (Code::ResourceExhausted, Some(&json!(false))));
    exchange.gone(5, now);
    let (again, mut receiver) = ask(9_999, "x", now);
    exchange.admit(again);
    assert!(receiver.try_recv().is_err(), "the place of one that left is free");
}

#[test]
fn ci_67_the_first_prompt_comes_before_the_first_request() {
    let now = Instant::now();
    let mut exchange = Exchange::new(&Framing::prompt("> $").unwrap(), 1);
    let (first, mut waiting) = ask(1, "6*7", now);
    exchange.admit(first);
    assert_eq!(exchange.next(now), None);
    assert_eq!(exchange.came(b"welcome\n> ", now).0, [b"welcome".to_vec()]);
    assert_eq!(exchange.next(now).unwrap(), b"6*7\n");
    exchange.came(b"42\n", now);
    exchange.came(b"> ", now);
    assert_eq!(text(&mut waiting), json!("42"));
}

#[test]
fn silence_ends_a_reply_that_has_begun() {
    let now = Instant::now();
    let after = |ms| now + Duration::from_millis(ms);
    let mut exchange = Exchange::new(&Framing::Quiet(Duration::from_millis(50)), 1);
    assert_eq!(exchange.came(b"hello\n", now).0, [b"hello\n".to_vec()]);
    let (first, mut waiting) = ask(1, "x", now);
    exchange.admit(first);
    assert!(exchange.next(now).is_some() && exchange.due().is_none(), "nothing has come");
    exchange.came(b"a\n", after(500));
    assert_eq!(exchange.due(), Some(after(550)));
    exchange.came(b"b\n", after(540));
    assert!(!exchange.tick(after(550)) && waiting.try_recv().is_err());
    exchange.tick(after(590));
    assert_eq!(text(&mut waiting), json!("a\nb"));
}

#[test]
fn json_lines_are_matched_by_id() {
    let now = Instant::now();
    let mut exchange = Exchange::new(&Framing::JsonLines, 2);
    let mut waiting = Vec::new();
    for id in 1..=4 {
        let (ask, receiver) = ask(id, "m", now);
        exchange.admit(ask);
        waiting.push(receiver);
    }
    let line = |bytes: Option<Vec<u8>>| serde_json::from_slice::<Value>(&bytes.unwrap()).unwrap();
    assert_eq!(line(exchange.next(now)), json!({"id": 1, "message": "m", "input": null, "deadline_ms": 1000}));
    assert_eq!(line(exchange.next(now))["id"], 2);
    assert_eq!((exchange.next(now), exchange.load()), (None, (2, 2)));
    let stray = exchange.came(b"{\"id\":2,\"reply\":\"two\",\"cost\":3}\nnoise\n{\"id\":99,\"reply\":1}\n", now);
    assert_eq!(stray.0.len(), 2);
    let two = waiting[1].try_recv().unwrap().unwrap();
    assert_eq!((two.text, &two.more["cost"]), (json!("two"), &json!(3)));
    exchange.gone(1, now);
    assert_eq!(exchange.next(now).unwrap(), b"{\"cancel\":1}\n");
    assert_eq!(line(exchange.next(now))["id"], 3);
    assert_eq!(exchange.came(b"{\"id\":1,\"reply\":\"late\"}\n", now), Stray::default());
    exchange.came(b"{\"id\":3,\"error\":{\"code\":\"not_found\",\"message\":\"no\"}}\n", now);
    assert_eq!(waiting[2].try_recv().unwrap().unwrap_err().code, Code::NotFound);
    assert_eq!(line(exchange.next(now))["id"], 4);
    exchange.came(b"{\"id\":4,\"error\":{\"code\":\"ValueError\",\"message\":\"no\"}}\n", now);
    let error = waiting[3].try_recv().unwrap().unwrap_err();
    assert_eq!((error.code, error.detail("exception")), (Code::Internal, Some(&json!("ValueError"))));
}

#[test]
fn ci_66_an_end_is_told_to_all() {
    let now = Instant::now();
    let mut exchange = Exchange::new(&Framing::line(), 1);
    let mut waiting = Vec::new();
    for id in 1..=2 {
        let (ask, receiver) = ask(id, "m", now);
        exchange.admit(ask);
        waiting.push(receiver);
    }
    exchange.next(now);
    exchange.came(b"half", now);
    let stray = exchange.end(&Error::unavailable("it ended with exit code 3"));
    assert_eq!(stray.0, [b"half".to_vec()]);
    for (waiting, sent) in waiting.iter_mut().zip([true, false]) {
        let error = waiting.try_recv().unwrap().unwrap_err();
        assert_eq!((error.code, error.detail("sent")), (Code::Unavailable, Some(&json!(sent))));
    }
}

#[derive(Debug, Clone)]
enum Step {
    Ask,
    GiveUp(usize),
    Reply(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![Just(Step::Ask), (0..9_usize).prop_map(Step::GiveUp), (0..9_usize).prop_map(Step::Reply)]
}

proptest! {
    /// Whoever gives up whenever, nobody gets another's reply.
    #[test]
    fn ci_65_each_gets_its_own_reply(steps in proptest::collection::vec(step(), 0..60), several in 1..4_usize, lines: bool) {
        let now = Instant::now();
        let framing = if lines { Framing::JsonLines } else { Framing::line() };
        let mut exchange = Exchange::new(&framing, several);
        let (mut waiting, mut program) = (BTreeMap::new(), Vec::<u64>::new());
        let mut id = 0;
        for step in steps {
            match step {
                Step::Ask => {
                    id += 1;
                    let (ask, receiver) = ask(id, &id.to_string(), now);
                    exchange.admit(ask);
                    waiting.insert(id, receiver);
                }
                Step::GiveUp(which) => {
                    if let Some(id) = waiting.keys().nth(which).copied() {
                        waiting.remove(&id);
                        exchange.gone(id, now);
                    }
                }
                Step::Reply(which) if !program.is_empty() => {
                    let which = if lines { which % program.len() } else { 0 };
                    let id = program.remove(which);
                    let line = if lines { json!({"id": id, "reply": id.to_string()}).to_string() } else { id.to_string() };
                    let line = format!("{line}\n");
                    prop_assert!(exchange.came(line.as_bytes(), now).0.is_empty());
                }
                Step::Reply(_) => {}
            }
            while let Some(bytes) = exchange.next(now) {
                match serde_json::from_slice::<Value>(&bytes).unwrap() {
                    Value::Number(id) => program.push(id.as_u64().unwrap()),
                    line => program.extend(line["id"].as_u64()),
                }
            }
            let most = if lines { several } else { 1 };
            prop_assert!(exchange.load().0 <= most);
            waiting.retain(|id, receiver| match receiver.try_recv() {
                Ok(reply) => {
                    assert_eq!(reply.unwrap().text, json!(id.to_string()));
                    false
                }
                Err(_) => true,
            });
        }
    }
}
