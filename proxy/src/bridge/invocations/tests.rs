use std::sync::Mutex;

use futures::StreamExt as _;
use tokio::{
    io::{DuplexStream, ReadHalf, WriteHalf, duplex, split},
    sync::oneshot as flag,
};

use super::*;
use crate::{
    Address, Effect, Role, SkillPath,
    bridge::{
        Answer, Asked, Attendant, Calls, Line, Opened, Outgoing, Reader, Refused, Source, Way, attend, outbox, write,
    },
    subject::Caller,
    sync::lock,
};

/// Answers every call with its own body.
struct Mirror;

impl Way for Mirror {
    async fn open(&self, asked: Asked) -> Result<Opened, Refused> {
        let body = crate::envelope::Outgoing::to_bytes(&asked.request);
        Ok(Opened { ci: Address::parse("web@alpha").unwrap(), answer: Answer::Value(body) })
    }
}

#[derive(Default)]
struct Heard(Mutex<Vec<String>>);

impl Attendant for Heard {
    fn line(&self, line: Line<'_>) {
        assert_eq!(line.source, Source::Log);
        lock(&self.0).push(format!("{:?} {}", line.generation, line.text));
    }

    fn entered(&self) {
        lock(&self.0).push("entered".to_owned());
    }

    fn failed(&self, error: Error) {
        lock(&self.0).push(format!("failed: {error}"));
    }
}

/// A process whose lines are written here, and the host before it.
struct Scripted {
    invocations: Invocations,
    heard: Arc<Heard>,
    hears: Reader<ReadHalf<DuplexStream>>,
    says: crate::bridge::Outbox,
    ended: flag::Receiver<Option<String>>,
    _tasks: [task::Owned; 3],
}

async fn written(stream: WriteHalf<DuplexStream>, queue: tokio::sync::mpsc::Receiver<Outgoing>) {
    let _ = write(stream, queue).await;
}

impl Scripted {
    fn start() -> Self {
        let (ours, theirs) = duplex(64 * 1024);
        let ((input, output), (hears, says)) = (split(ours), split(theirs));
        let (outbox, queue) = outbox();
        let invocations = Invocations::new(outbox.clone());
        let (outbox_there, queue_there) = super::super::outbox();
        let heard = Arc::<Heard>::default();
        let (done, ended) = flag::channel();
        let (asked, attendant) = (invocations.clone(), heard.clone());
        let attending = async move {
            let mut reader = Reader::new(input);
            let calls = Calls::new(Mirror, outbox);
            let ended = attend(&mut reader, &calls, Some(&asked), &*attendant).await;
            asked.end();
            let _ = done.send(ended.err().map(|error| error.to_string()));
        };
        let tasks = [
            task::Owned::spawn("writing", written(output, queue)),
            task::Owned::spawn("their-writing", written(says, queue_there)),
            task::Owned::spawn("attending", attending),
        ];
        Self { invocations, heard, hears: Reader::new(hears), says: outbox_there, ended, _tasks: tasks }
    }

    async fn hear(&mut self) -> Message {
        self.hears.next().await.unwrap().unwrap()
    }

    async fn say(&self, header: Header, body: &'static str) {
        self.says.send(header, Bytes::from_static(body.as_bytes())).await.unwrap();
    }

    /// Makes an invocation, and gives what its process hears of it.
    async fn invoke(&mut self) -> (u64, tokio::task::JoinHandle<Result<Answered, Error>>) {
        let invocations = self.invocations.clone();
        let answer = task::spawn("invoking", async move { invocations.invoke(invocation(), ()).await });
        let heard = self.hear().await;
        assert_eq!(heard.header.t, Kind::Invoke);
        (heard.header.id.unwrap(), answer)
    }
}

fn invocation() -> Invocation {
    Invocation {
        generation: Some(2),
        path: SkillPath::parse("cool.nolog").unwrap(),
        caller: Caller { role: Role::Operator, name: crate::UserName::parse("alice").unwrap() },
        may: Effect::Write,
        timeout: Duration::from_millis(1_500),
        call: Some("01J".to_owned()),
        traceparent: None,
        body: Bytes::from_static(b"{\"args\":[1.0]}"),
    }
}

fn of(kind: Kind, id: u64) -> Header {
    Header::new(kind, Some(id))
}

#[tokio::test]
async fn an_invocation_says_who_calls_and_passes_bytes_both_ways() {
    let mut process = Scripted::start();
    let invocations = process.invocations.clone();
    let (held, mut let_go) = flag::channel::<()>();
    let answer = task::spawn("invoking", async move { invocations.invoke(invocation(), held).await });
    let heard = process.hear().await;
    let expected = Header {
        generation: Some(2),
        path: Some("cool.nolog".into()),
        role: Some(Role::Operator),
        caller: Some("alice".into()),
        may: Some(Effect::Write),
        timeout_ms: Some(1_500),
        call: Some("01J".into()),
        ..of(Kind::Invoke, 1)
    };
    assert_eq!((heard.header, heard.body.unwrap()), (expected, Bytes::from_static(b"{\"args\":[1.0]}")));
    assert!(let_go.try_recv().is_err_and(|error| error == flag::error::TryRecvError::Closed));
    process.say(of(Kind::Reply, 1), "{\"b\":1.0,\"a\":-0.0}").await;
    let Answered::Value(value) = answer.await.unwrap().unwrap() else { panic!("a stream") };
    assert_eq!((&*value, process.invocations.under_way()), (&b"{\"b\":1.0,\"a\":-0.0}"[..], 0));
}

#[tokio::test]
async fn an_error_comes_as_it_was_told() {
    let mut process = Scripted::start();
    let (id, answer) = process.invoke().await;
    let told = r#"{"code":"internal","message":"boom!","data":{"exception":{"type":"ValueError"}}}"#;
    process.say(Header { code: Some(Code::Internal), ..of(Kind::Error, id) }, told).await;
    let error = answer.await.unwrap().unwrap_err();
    assert_eq!((error.code, &*error.message), (Code::Internal, "boom!"));
    assert_eq!(error.detail("exception").unwrap()["type"], "ValueError");
}

#[tokio::test]
async fn a_stream_is_granted_what_its_reader_grants_and_no_more() {
    let mut process = Scripted::start();
    let (id, answer) = process.invoke().await;
    process.say(Header { stream: true, ..of(Kind::Reply, id) }, "").await;
    let Answered::Items(mut items) = answer.await.unwrap().unwrap() else { panic!("no stream") };
    for _ in 0..32 {
        process.say(of(Kind::Item, id), "1").await;
    }
    for _ in 0..32 {
        assert_eq!(items.next().await.unwrap().unwrap(), "1");
    }
    items.pace().grant(5_000);
    let credit = process.hear().await.header;
    assert_eq!((credit.t, credit.n), (Kind::Credit, Some(1_024)), "no more is ever under way");
    process.say(of(Kind::Item, id), "2").await;
    process.say(Header { code: Some(Code::Internal), ..of(Kind::Error, id) }, "{}").await;
    assert_eq!(items.next().await.unwrap().unwrap(), "2");
    assert_eq!(items.next().await.unwrap().unwrap_err().code, Code::Internal);
    assert!(items.next().await.is_none());
}

#[tokio::test]
async fn who_leaves_cancels_and_the_thread_is_taken_until_it_answers() {
    let mut process = Scripted::start();
    let (waiting, answer) = process.invoke().await;
    answer.abort();
    let cancel = process.hear().await.header;
    assert_eq!((cancel.t, cancel.id), (Kind::Cancel, Some(waiting)));
    let (streaming, answer) = process.invoke().await;
    process.say(Header { stream: true, ..of(Kind::Reply, streaming) }, "").await;
    drop(answer.await.unwrap().unwrap());
    let cancel = process.hear().await.header;
    assert_eq!((cancel.t, cancel.id), (Kind::Cancel, Some(streaming)));
    assert_eq!(process.invocations.under_way(), 2);
    process.say(of(Kind::Item, streaming), "1").await;
    process.say(Header { code: Some(Code::Cancelled), ..of(Kind::Error, streaming) }, "{}").await;
    process.say(of(Kind::Reply, waiting), "1").await;
    let (id, answer) = process.invoke().await;
    process.say(of(Kind::Reply, id), "1").await;
    answer.await.unwrap().unwrap();
    assert_eq!(process.invocations.under_way(), 0);
}

#[tokio::test]
async fn the_end_of_a_process_is_heard_at_once_and_names_whose_code_ran() {
    let mut process = Scripted::start();
    let (_, answer) = process.invoke().await;
    let (id, stream) = process.invoke().await;
    process.say(Header { stream: true, ..of(Kind::Reply, id) }, "").await;
    let Answered::Items(mut items) = stream.await.unwrap().unwrap() else { panic!("no stream") };
    let Scripted { invocations, says, hears, ended, _tasks, .. } = process;
    drop((says, hears));
    let error = answer.await.unwrap().unwrap_err();
    assert_eq!((error.code, error.detail("sent")), (Code::Unavailable, Some(&true.into())));
    assert_eq!(items.next().await.unwrap().unwrap_err().code, Code::Unavailable);
    assert_eq!(ended.await.unwrap(), None);
    assert_eq!(invocations.ran_at_the_end().into_iter().collect::<Vec<_>>(), [2]);
    let error = invocations.invoke(invocation(), ()).await.unwrap_err();
    assert_eq!((error.code, error.detail("sent")), (Code::Unavailable, Some(&false.into())));
}

#[tokio::test(start_paused = true)]
async fn a_load_that_takes_too_long_is_given_up() {
    let mut process = Scripted::start();
    let invocations = process.invocations.clone();
    let plugin = Bytes::from_static(b"{}");
    let load = |within| {
        let (invocations, plugin) = (invocations.clone(), plugin.clone());
        task::spawn("loading", async move { invocations.load(1, plugin, Duration::from_secs(within)).await })
    };
    let loading = load(60);
    let id = process.hear().await.header.id.unwrap();
    process.say(of(Kind::Ready, id), r#"{"skills":[{"path":"a","kind":"value","effect":"read"}]}"#).await;
    assert_eq!(loading.await.unwrap().unwrap().skills.len(), 1);
    let loading = load(1);
    let header = process.hear().await.header;
    assert_eq!((header.control, header.generation), (Some(Control::Load), Some(1)));
    assert_eq!(process.hear().await.header.t, Kind::Cancel);
    process.say(Header { code: Some(Code::Cancelled), ..of(Kind::Error, header.id.unwrap()) }, "{}").await;
    let error = loading.await.unwrap().unwrap_err();
    assert_eq!((error.code, error.detail("stuck")), (Code::DeadlineExceeded, None));
    let error = load(1).await.unwrap().unwrap_err();
    assert_eq!(error.detail("stuck"), Some(&true.into()));
}

#[tokio::test]
async fn a_large_body_is_sent_whole_though_its_caller_has_left() {
    let mut process = Scripted::start();
    let invocations = process.invocations.clone();
    let large = Invocation { body: vec![b' '; 3 * PART].into(), ..invocation() };
    let caller = task::spawn("invoking", async move { invocations.invoke(large, ()).await });
    while process.invocations.under_way() == 0 {
        tokio::task::yield_now().await;
    }
    caller.abort();
    let heard = process.hear().await;
    assert_eq!((heard.header.t, heard.body.unwrap().len()), (Kind::Invoke, 3 * PART));
    assert_eq!(process.hear().await.header.t, Kind::Cancel);
}

#[tokio::test]
async fn lines_and_how_it_stands_are_heard_while_calls_pass() {
    let mut process = Scripted::start();
    process.say(Header::new(Kind::Ready, None), "").await;
    let line = Header { generation: Some(3), source: Some(Source::Log), ..Header::new(Kind::Log, None) };
    process.say(line, "hello").await;
    process.say(Header { path: Some("web.echo".into()), ..of(Kind::Call, 1) }, r#"{"args":[1],"meta":{}}"#).await;
    let reply = process.hear().await;
    assert_eq!((reply.header.t, reply.body.unwrap()), (Kind::Reply, Bytes::from_static(br#"{"args":[1],"meta":{}}"#)));
    let fatal = Header { code: Some(Code::FailedPrecondition), ..Header::new(Kind::Error, None) };
    process.say(fatal, r#"{"code":"failed_precondition","message":"no launch"}"#).await;
    let Scripted { says, hears, ended, heard, _tasks, .. } = process;
    drop((says, hears));
    assert_eq!(ended.await.unwrap(), None);
    assert_eq!(*lock(&heard.0), ["entered", "Some(3) hello", "failed: no launch"]);
}

#[tokio::test]
async fn bad_24_answers_that_are_not_due_end_the_connection() {
    let stream = |id| Header { stream: true, ..of(Kind::Reply, id) };
    let cases: [&[Header]; 8] = [
        &[of(Kind::Reply, 9)],
        &[of(Kind::Item, 1)],
        &[of(Kind::End, 1)],
        &[of(Kind::Error, 1)],
        &[stream(1), stream(1)],
        &[Header::new(Kind::Log, None)],
        &[of(Kind::Invoke, 1)],
        &[Header::new(Kind::Hello, None)],
    ];
    for case in cases {
        let mut process = Scripted::start();
        let (_, answer) = process.invoke().await;
        for header in case {
            process.say(header.clone(), "").await;
        }
        assert!(process.ended.await.unwrap().is_some(), "{case:?}");
        if let Ok(Answered::Items(mut items)) = answer.await.unwrap() {
            assert_eq!(items.next().await.unwrap().unwrap_err().code, Code::Unavailable);
        }
    }
    let mut process = Scripted::start();
    let (id, _answer) = process.invoke().await;
    process.say(stream(id), "").await;
    for _ in 0..33 {
        process.say(of(Kind::Item, id), "1").await;
    }
    assert!(process.ended.await.unwrap().is_some_and(|error| error.contains("more items")));
    drop(process.hears);
}
