//! The bus's protocol by hand, over a plain socket: nothing of ours, and no client library, stands between a test and the
//! server.

use std::{
    fs,
    io::{ErrorKind, Read, Write},
    net::{Shutdown, TcpStream},
    sync::{
        Arc, Mutex,
        mpsc::{Receiver, RecvTimeoutError, channel},
    },
    time::{Duration, Instant},
};

use aigis_tests::{Cases, Mesh};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use nkeys::KeyPair;
use serde_json::{Value, json};

/// How long whatever is to come may take.
pub(crate) const SOON: Duration = Duration::from_secs(15);
/// How long something is given to not happen.
pub(crate) const NEVER: Duration = Duration::from_millis(700);
/// What 99 of 100 refusals may take here: five times what is promised, since other tests run beside this one. What they took is
/// printed.
pub(crate) const PROMPT: Duration = Duration::from_millis(500);

/// A user's token and key, as they stand in its credential file.
#[derive(Debug, Clone)]
pub(crate) struct Papers {
    pub(crate) jwt: String,
    pub(crate) seed: String,
}

impl Papers {
    pub(crate) fn read(file: &str) -> Self {
        let text = fs::read_to_string(file).unwrap();
        let line = |begin: &str| text.lines().find(|line| line.starts_with(begin)).unwrap().trim().to_owned();
        Self { jwt: line("eyJ"), seed: line("SU") }
    }

    /// The claims of the token.
    pub(crate) fn claims(&self) -> Value {
        let middle = self.jwt.split('.').nth(1).unwrap();
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(middle).unwrap()).unwrap()
    }

    pub(crate) fn sign(&self, text: &[u8]) -> String {
        sign(&self.seed, text)
    }
}

/// What a key says to a text, as base64url.
pub(crate) fn sign(seed: &str, text: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(KeyPair::from_seed(seed).unwrap().sign(text).unwrap())
}

/// A token with these claims, signed with that key.
pub(crate) fn token(seed: &str, claims: &Value) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", part(&json!({"typ": "JWT", "alg": "ed25519-nkey"})), part(claims));
    format!("{signed}.{}", sign(seed, signed.as_bytes()))
}

/// A message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Heard {
    pub(crate) subject: String,
    pub(crate) reply: Option<String>,
    pub(crate) headers: String,
    pub(crate) body: Vec<u8>,
}

impl Heard {
    /// The error's code, or nothing.
    pub(crate) fn code(&self) -> &str {
        self.header("Aigis-Error")
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        let found = self.headers.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        found.unwrap_or_default().trim()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// What the server says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Said {
    Pong,
    /// `-ERR`, with its words.
    Error(String),
    Message(Heard),
    /// It ended the connection.
    Closed,
}

/// A connection. What the server says is read all the while, and its pings are answered, so that one may be left alone.
#[derive(Debug)]
pub(crate) struct Wire {
    writer: Arc<Mutex<TcpStream>>,
    said: Receiver<Said>,
    nonce: String,
    name: String,
    subscriptions: u64,
    requests: u64,
    /// What came while something else was awaited.
    set_aside: Vec<Heard>,
}

impl Wire {
    /// Connects, and hears the server's first word; says nothing itself.
    pub(crate) fn dial(mesh: &Mesh) -> Self {
        let bus = mesh.bus();
        let stream = TcpStream::connect(bus.split_once("://").unwrap().1).unwrap();
        stream.set_nodelay(true).unwrap();
        let mut reader = Reader { stream: stream.try_clone().unwrap(), buffer: Vec::new() };
        let line = reader.line().unwrap();
        let info: Value = serde_json::from_str(line.strip_prefix("INFO ").unwrap()).unwrap();
        let writer = Arc::new(Mutex::new(stream));
        let said = reader.go_on(writer.clone());
        Self {
            writer,
            said,
            nonce: info["nonce"].as_str().unwrap_or_default().to_owned(),
            name: String::new(),
            subscriptions: 0,
            requests: 0,
            set_aside: Vec::new(),
        }
    }

    /// Logs in with the credential in that file.
    pub(crate) fn log_in(mesh: &Mesh, name: &str, file: &str) -> Self {
        let papers = Papers::read(file);
        let mut wire = Self::dial(mesh);
        name.clone_into(&mut wire.name);
        let sig = wire.proof(&papers.seed);
        assert_eq!(wire.connect(&json!({"jwt": papers.jwt, "sig": sig})), Said::Pong, "{name}");
        wire
    }

    /// Says as whom it is logged in.
    pub(crate) fn named(mut self, name: &str) -> Self {
        name.clone_into(&mut self.name);
        self
    }

    /// The name that the user goes by.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// What a key says to this connection's nonce.
    pub(crate) fn proof(&self, seed: &str) -> String {
        sign(seed, self.nonce.as_bytes())
    }

    /// Says who one is, and gives the server's answer.
    pub(crate) fn connect(&mut self, who: &Value) -> Said {
        let mut options =
            json!({"verbose": false, "pedantic": false, "headers": true, "no_responders": true, "name": "plain"});
        for (key, value) in who.as_object().unwrap() {
            options[key] = value.clone();
        }
        self.send(format!("CONNECT {options}\r\nPING\r\n").as_bytes());
        self.next(SOON).unwrap_or_else(|| panic!("no answer to a login"))
    }

    /// Sends bytes; a server that has hung up is heard of by [`Wire::next`].
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        let _ = self.writer.lock().unwrap().write_all(bytes);
    }

    /// Publishes, with a reply subject or without.
    pub(crate) fn publish(&mut self, subject: &str, reply: Option<&str>, headers: &str, body: &[u8]) {
        let reply = reply.map(|reply| format!(" {reply}")).unwrap_or_default();
        let mut message = if headers.is_empty() {
            format!("PUB {subject}{reply} {}\r\n", body.len()).into_bytes()
        } else {
            let block = format!("NATS/1.0\r\n{headers}\r\n\r\n");
            format!("HPUB {subject}{reply} {} {}\r\n{block}", block.len(), block.len() + body.len()).into_bytes()
        };
        message.extend_from_slice(body);
        message.extend_from_slice(b"\r\n");
        self.send(&message);
    }

    /// Subscribes, and gives the subscription's number; the server has it once [`Wire::settle`] returns.
    pub(crate) fn subscribe(&mut self, subject: &str) -> u64 {
        self.subscriptions += 1;
        let line = format!("SUB {subject} {}\r\n", self.subscriptions);
        self.send(line.as_bytes());
        self.subscriptions
    }

    /// Ends a subscription, and forgets what came by it.
    pub(crate) fn unsubscribe(&mut self, number: u64) {
        self.send(format!("UNSUB {number}\r\n").as_bytes());
        let _late = self.settle();
        self.set_aside.clear();
    }

    /// Sends a request from a fresh subject of one's own inbox, and awaits its answer.
    pub(crate) fn request(&mut self, subject: &str, body: &str) -> Heard {
        self.request_with(subject, "", body.as_bytes())
    }

    /// As [`Wire::request`], with headers.
    pub(crate) fn request_with(&mut self, subject: &str, headers: &str, body: &[u8]) -> Heard {
        let reply = self.ask(subject, headers, body);
        self.answer(&reply, SOON).unwrap_or_else(|| panic!("no answer to {subject}"))
    }

    /// Sends a request, and gives the subject of its answer.
    pub(crate) fn ask(&mut self, subject: &str, headers: &str, body: &[u8]) -> String {
        if self.requests == 0 {
            let inbox = format!("_INBOX.{}.>", self.name);
            self.subscribe(&inbox);
        }
        self.requests += 1;
        let reply = format!("_INBOX.{}.r{}", self.name, self.requests);
        self.publish(subject, Some(&reply), headers, body);
        reply
    }

    /// What comes on a subject, if it does within `limit`.
    pub(crate) fn answer(&mut self, subject: &str, limit: Duration) -> Option<Heard> {
        if let Some(index) = self.set_aside.iter().position(|heard| heard.subject == subject) {
            return Some(self.set_aside.remove(index));
        }
        let deadline = Instant::now() + limit;
        loop {
            match self.next(deadline.saturating_duration_since(Instant::now()))? {
                Said::Message(heard) if heard.subject == subject => return Some(heard),
                Said::Message(heard) => self.set_aside.push(heard),
                Said::Pong => {}
                said @ (Said::Error(_) | Said::Closed) => panic!("{subject}: {said:?}"),
            }
        }
    }

    /// The next message of a stream that comes, if one does within `limit`.
    pub(crate) fn delivered(&mut self, limit: Duration) -> Option<Heard> {
        let is_delivered = |heard: &Heard| heard.reply.as_ref().is_some_and(|reply| reply.starts_with("$JS.ACK."));
        if let Some(index) = self.set_aside.iter().position(is_delivered) {
            return Some(self.set_aside.remove(index));
        }
        let deadline = Instant::now() + limit;
        loop {
            match self.next(deadline.saturating_duration_since(Instant::now()))? {
                Said::Message(heard) if is_delivered(&heard) => return Some(heard),
                Said::Message(heard) => self.set_aside.push(heard),
                Said::Pong => {}
                said @ (Said::Error(_) | Said::Closed) => panic!("{said:?}"),
            }
        }
    }

    /// Awaits that the server has all that was sent, and gives what it said meanwhile.
    pub(crate) fn settle(&mut self) -> Vec<Said> {
        self.send(b"PING\r\n");
        let deadline = Instant::now() + SOON;
        let mut said = Vec::new();
        loop {
            match self.next(deadline.saturating_duration_since(Instant::now())) {
                Some(Said::Pong) => return said,
                Some(Said::Closed) => {
                    said.push(Said::Closed);
                    return said;
                }
                Some(other) => said.push(other),
                None => panic!("the server does not answer: {said:?}"),
            }
        }
    }

    /// Publishes and subscribes where the bus must refuse it, each time with its own words for that subject.
    pub(crate) fn is_refused(&mut self, cases: &mut Cases, publish: &[String], subscribe: &[&str]) {
        let reply = format!("_INBOX.{}.x", self.name);
        for subject in publish {
            cases.refusal(format!("{} publishes to {subject}", self.name), || {
                self.publish(subject, Some(&reply), "", b"{}");
                self.hears_violation("Publish", subject);
            });
        }
        for subject in subscribe {
            cases.refusal(format!("{} subscribes to {subject}", self.name), || {
                self.subscribe(subject);
                self.hears_violation("Subscription", subject);
            });
        }
        assert_eq!(self.settle(), [], "{}: nothing else comes", self.name);
    }

    fn hears_violation(&mut self, what: &str, subject: &str) {
        match self.next(SOON) {
            Some(Said::Error(words)) if words == format!("Permissions Violation for {what} to \"{subject}\"") => {}
            other => panic!("{what} to {subject}: {other:?}"),
        }
    }

    /// The next thing that the server says, if it does within `limit`.
    pub(crate) fn next(&mut self, limit: Duration) -> Option<Said> {
        match self.said.recv_timeout(limit) {
            Ok(said) => Some(said),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => Some(Said::Closed),
        }
    }

    /// Waits until the server has hung up, and gives its last words.
    pub(crate) fn is_closed(&mut self, limit: Duration) -> Vec<String> {
        let deadline = Instant::now() + limit;
        let mut words = Vec::new();
        loop {
            match self.next(deadline.saturating_duration_since(Instant::now())) {
                Some(Said::Closed) => return words,
                Some(Said::Error(error)) => words.push(error),
                Some(other) => panic!("{other:?}"),
                None => panic!("the connection stands after {limit:?}: {words:?}"),
            }
        }
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        // It ends who reads.
        let _ = self.writer.lock().unwrap().shutdown(Shutdown::Both);
    }
}

/// What comes from the server.
#[derive(Debug)]
struct Reader {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Reader {
    /// Reads on in a thread of its own until the connection ends.
    fn go_on(mut self, writer: Arc<Mutex<TcpStream>>) -> Receiver<Said> {
        let (send, said) = channel();
        std::thread::spawn(move || {
            while let Some(next) = self.next(&writer) {
                if send.send(next).is_err() {
                    return;
                }
            }
        });
        said
    }

    /// The next thing that the server says; nothing once it has hung up.
    fn next(&mut self, writer: &Mutex<TcpStream>) -> Option<Said> {
        loop {
            let line = self.line()?;
            let words: Vec<&str> = line.split(' ').collect();
            match words.as_slice() {
                ["PING"] => {
                    let _ = writer.lock().unwrap().write_all(b"PONG\r\n");
                }
                ["PONG"] => return Some(Said::Pong),
                ["-ERR", ..] => return Some(Said::Error(line[5..].trim_matches('\'').to_owned())),
                ["MSG", subject, _, rest @ ..] => {
                    let (reply, sizes) = split(rest, 1);
                    let body = self.bytes(sizes[0])?;
                    let (subject, headers) = ((*subject).to_owned(), String::new());
                    return Some(Said::Message(Heard { subject, reply, headers, body }));
                }
                ["HMSG", subject, _, rest @ ..] => {
                    let (reply, sizes) = split(rest, 2);
                    let mut block = self.bytes(sizes[1])?;
                    let body = block.split_off(sizes[0]);
                    let (subject, headers) = ((*subject).to_owned(), String::from_utf8_lossy(&block).into_owned());
                    return Some(Said::Message(Heard { subject, reply, headers, body }));
                }
                // Its description of itself, sent again.
                _ => {}
            }
        }
    }

    fn line(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.buffer.windows(2).position(|pair| pair == b"\r\n") {
                let line = String::from_utf8_lossy(&self.buffer[..end]).into_owned();
                self.buffer.drain(..end + 2);
                return Some(line);
            }
            self.fill()?;
        }
    }

    fn bytes(&mut self, count: usize) -> Option<Vec<u8>> {
        while self.buffer.len() < count + 2 {
            self.fill()?;
        }
        let bytes = self.buffer[..count].to_vec();
        self.buffer.drain(..count + 2);
        Some(bytes)
    }

    fn fill(&mut self) -> Option<()> {
        let mut bytes = [0; 64 * 1024];
        match self.stream.read(&mut bytes) {
            Ok(read @ 1..) => self.buffer.extend_from_slice(&bytes[..read]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            _ => return None,
        }
        Some(())
    }
}

/// What stands behind the subscription's number: a reply subject or none, and so many sizes.
fn split(words: &[&str], sizes: usize) -> (Option<String>, Vec<usize>) {
    let (before, numbers) = words.split_at(words.len() - sizes);
    (before.first().map(|reply| (*reply).to_owned()), numbers.iter().map(|n| n.parse().unwrap()).collect())
}
