//! The calls that a process has under way.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::sync::Notify;

use super::{
    credit::{Granting, credit},
    frame::{Kind, Message, Violation},
    outbox::Outbox,
    passing::{Asked, Way, pass},
};
use crate::{Code, Error, sync::lock, task};

/// How many calls one process may have under way.
pub const MAX_CALLS: usize = 1_024;
/// How long a process that ended has for letting go of what it held.
const FAREWELL: Duration = Duration::from_secs(1);

/// The calls of one process, passed on by a [`Way`]. Dropping this cancels them at their callees.
#[derive(Debug)]
pub struct Calls<W> {
    way: Arc<W>,
    outbox: Outbox,
    running: Arc<All>,
}

/// What runs.
#[derive(Debug, Default)]
struct All {
    calls: Mutex<HashMap<u64, Running>>,
    /// Told whenever one ends.
    ended: Notify,
}

/// One of them; dropping it ends it.
#[derive(Debug)]
struct Running {
    granting: Granting,
    releases: bool,
    _task: task::Owned,
}

impl<W: Way> Calls<W> {
    /// No calls yet; answers go to that outbox.
    pub fn new(way: W, outbox: Outbox) -> Self {
        Self { way: Arc::new(way), outbox, running: Arc::default() }
    }

    /// Takes what the process says of its calls: `call`, `cancel` and `credit`.
    ///
    /// # Errors
    ///
    /// It is something else, or not as it must be.
    pub fn take(&self, message: Message) -> Result<(), Violation> {
        let id = message.header.id()?;
        match message.header.t {
            Kind::Call => self.begin(id, message),
            Kind::Cancel => {
                // What has been answered meanwhile is nobody's any more.
                let given_up = lock(&self.running.calls).remove(&id);
                drop(given_up);
                Ok(())
            }
            Kind::Credit => {
                let n = message.header.n.ok_or_else(|| Violation::new("a credit without a number"))?;
                if let Some(call) = lock(&self.running.calls).get(&id) {
                    call.granting.grant(n);
                }
                Ok(())
            }
            kind => Err(Violation::new(format!("{kind:?}, which is not for this host"))),
        }
    }

    fn begin(&self, id: u64, message: Message) -> Result<(), Violation> {
        let asked = Asked::read(message)?;
        let mut calls = lock(&self.running.calls);
        if calls.contains_key(&id) {
            return Err(Violation::new(format!("the id {id} for two calls at once")));
        }
        if calls.len() >= MAX_CALLS {
            let error =
                Error::new(Code::ResourceExhausted, format!("{} calls of this process are under way", calls.len()))
                    .hint("wait for some of them to end")
                    .sent(false);
            // Whoever reads may not wait for a writer: a process that asks on and on and reads no answer is cut off.
            return if self.outbox.try_refuse(id, &error) {
                Ok(())
            } else {
                Err(Violation::new(format!("more than {MAX_CALLS} calls, and reads no answers")))
            };
        }
        let (granting, granted) = credit();
        let (way, outbox, running) = (self.way.clone(), self.outbox.clone(), self.running.clone());
        let releases = asked.as_ref().is_ok_and(Asked::releases);
        let task = task::Owned::spawn("bridge-call", async move {
            // If the process is gone, the reader of its messages knows it too.
            let _ = match asked {
                Ok(asked) => pass(way, id, asked, granted, &outbox, || lock(&running.calls).len() <= 1).await,
                Err(error) => outbox.refuse(Some(id), None, &error).await,
            };
            let ended = lock(&running.calls).remove(&id);
            drop(ended);
            running.ended.notify_waiters();
        });
        calls.insert(id, Running { granting, releases, _task: task });
        Ok(())
    }

    /// Ends with the process: cancels what runs, but for what lets go of handles, which has a moment to arrive.
    pub async fn end(self) {
        lock(&self.running.calls).retain(|_, call| call.releases);
        let all_ended = async {
            loop {
                let ended = self.running.ended.notified();
                if lock(&self.running.calls).is_empty() {
                    return;
                }
                ended.await;
            }
        };
        // A lease that nobody renews ends by itself.
        let _ = tokio::time::timeout(FAREWELL, all_ended).await;
    }
}

impl<W> Drop for Calls<W> {
    fn drop(&mut self) {
        // Each task holds the others' table, so that this alone ends them.
        let calls = std::mem::take(&mut *lock(&self.running.calls));
        drop(calls);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use bytes::Bytes;
    use tokio::sync::mpsc;

    use super::*;
    use crate::{
        Address,
        bridge::{Answer, Cutter, Header, Opened, Outgoing, Refused, outbox, write},
    };

    /// Answers `web.echo` with the body, and others never.
    struct Echo {
        open: Arc<AtomicUsize>,
    }

    struct Open(Arc<AtomicUsize>);

    impl Drop for Open {
        fn drop(&mut self) {
            self.0.fetch_sub(1, Ordering::SeqCst);
        }
    }

    impl Way for Echo {
        async fn open(&self, asked: Asked) -> Result<Opened, Refused> {
            self.open.fetch_add(1, Ordering::SeqCst);
            let _open = Open(self.open.clone());
            match asked.path.as_ref().map(|path| path.as_str()) {
                Some("web.echo") => {
                    let body = crate::envelope::Outgoing::to_bytes(&asked.request);
                    Ok(Opened { ci: Address::parse("web@alpha").unwrap(), answer: Answer::Value(body) })
                }
                Some("web.late") => Err(Error::new(Code::DeadlineExceeded, "late").hint("--timeout 2m").into()),
                _ => std::future::pending().await,
            }
        }
    }

    fn call(id: u64, path: &str) -> Message {
        let header = Header { path: Some(path.into()), timeout_ms: Some(1_000), ..Header::new(Kind::Call, Some(id)) };
        Message { header, body: Some(Bytes::from_static(br#"{"args":[1.0],"meta":{}}"#)) }
    }

    fn calls() -> (Calls<Echo>, Arc<AtomicUsize>, mpsc::Receiver<Outgoing>) {
        let (outbox, queue) = outbox();
        let open = Arc::new(AtomicUsize::new(0));
        (Calls::new(Echo { open: open.clone() }, outbox), open, queue)
    }

    async fn until(open: &AtomicUsize, count: usize) {
        while open.load(Ordering::SeqCst) != count {
            tokio::task::yield_now().await;
        }
    }

    async fn said(queue: mpsc::Receiver<Outgoing>) -> Vec<Message> {
        let (mut bytes, mut cutter) = (Vec::new(), Cutter::default());
        write(&mut bytes, queue).await.unwrap();
        cutter.input().extend_from_slice(&bytes);
        std::iter::from_fn(|| cutter.next().unwrap()).collect()
    }

    #[tokio::test]
    async fn a_body_passes_as_it_came_with_the_time_that_the_process_waits() {
        let (calls, open, queue) = calls();
        calls.take(call(7, "web.echo")).unwrap();
        calls.take(call(8, "web.late")).unwrap();
        while !lock(&calls.running.calls).is_empty() {
            tokio::task::yield_now().await;
        }
        assert_eq!(open.load(Ordering::SeqCst), 0);
        drop(calls);
        let said = said(queue).await;
        assert_eq!(said[0].header, Header { ci: Some("web@alpha".into()), ..Header::new(Kind::Reply, Some(7)) });
        assert_eq!(said[0].body.as_deref(), Some(&br#"{"args":[1.0],"meta":{"timeout_ms":1000}}"#[..]));
        assert_eq!((said[1].header.id, said[1].header.code), (Some(8), Some(Code::DeadlineExceeded)));
        let error: Error = serde_json::from_slice(said[1].body.as_deref().unwrap()).unwrap();
        assert!(error.hint.unwrap().contains("aigis.with_timeout"));
    }

    #[tokio::test]
    async fn a_cancel_and_the_end_of_the_process_drop_what_runs() {
        let (calls, open, queue) = calls();
        for id in 1..=3 {
            calls.take(call(id, "web.wait")).unwrap();
        }
        until(&open, 3).await;
        calls.take(Message { header: Header::new(Kind::Cancel, Some(2)), body: Some(Bytes::new()) }).unwrap();
        calls.take(Message { header: Header::new(Kind::Cancel, Some(99)), body: Some(Bytes::new()) }).unwrap();
        until(&open, 2).await;
        calls.end().await;
        until(&open, 0).await;
        assert!(said(queue).await.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn what_lets_go_of_handles_outlives_the_process_for_a_moment() {
        let (calls, open, _queue) = calls();
        calls.take(call(1, "web.wait")).unwrap();
        calls.take(call(2, "_ref.r00.release")).unwrap();
        until(&open, 2).await;
        let ending = task::spawn("ending", calls.end());
        until(&open, 1).await;
        assert!(!ending.is_finished());
        ending.await.unwrap();
        until(&open, 0).await;
    }

    #[tokio::test]
    async fn bad_24_what_breaks_the_rules_is_a_violation_and_what_is_only_wrong_an_error() {
        let (calls, _open, queue) = calls();
        let of = |header: Header| Message { header, body: Some(Bytes::new()) };
        for bad in [
            Header::new(Kind::Call, None),
            Header::new(Kind::Call, Some(1)),
            Header::new(Kind::Credit, Some(1)),
            Header::new(Kind::Stop, Some(1)),
            Header::new(Kind::Hello, Some(1)),
        ] {
            assert!(calls.take(of(bad.clone())).is_err(), "{bad:?}");
        }
        calls.take(call(1, "web.wait")).unwrap();
        assert!(calls.take(call(1, "web.wait")).is_err());
        for (id, path) in [(11, "web..x"), (12, "web.$JS"), (13, &*"a".repeat(600))] {
            calls.take(call(id, path)).unwrap();
        }
        let mut wrong = call(14, "web.echo");
        wrong.body = Some(Bytes::from_static(b"{\"args\":1}"));
        calls.take(wrong).unwrap();
        let mut address = call(15, "status");
        address.header.ci = Some("web@*".into());
        calls.take(address).unwrap();
        let large = Message { body: None, ..call(16, "web.echo") };
        calls.take(large).unwrap();
        while lock(&calls.running.calls).len() > 1 {
            tokio::task::yield_now().await;
        }
        drop(calls);
        let codes: Vec<_> = said(queue).await.iter().map(|message| (message.header.id, message.header.code)).collect();
        let invalid = |id| (Some(id), Some(Code::InvalidArgument));
        let expected = [11, 12, 13, 14, 15].map(invalid).into_iter().chain([(Some(16), Some(Code::ResourceExhausted))]);
        assert_eq!(codes, expected.collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn calls_are_bounded() {
        let (calls, _open, mut queue) = calls();
        for id in 1..=u64::try_from(MAX_CALLS).unwrap() {
            calls.take(call(id, "web.wait")).unwrap();
        }
        assert!(queue.try_recv().is_err());
        calls.take(call(9_999, "web.echo")).unwrap();
        drop(calls);
        let said = said(queue).await;
        assert_eq!((said.len(), said[0].header.code), (1, Some(Code::ResourceExhausted)));
    }
}
