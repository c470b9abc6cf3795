//! What an assistant asks the user, over a socket or by files, and who answers.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{self, Read as _},
    os::{fd::AsRawFd as _, unix::fs::PermissionsExt as _},
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use aigis_proxy::{
    Code, Error, quoted,
    services::steps::{Ask, AssistantWork, Question, confirmed},
};
use aigis_registry::Timestamp;
use rustix::fs::{Mode, OFlags};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufRead, AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    net::{UnixListener, UnixStream},
    sync::{mpsc, oneshot},
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval, timeout_at},
};

use super::attempt::Live;
use crate::mask::{Mask, Masks};

/// Longest message.
const LONGEST: usize = 64 * 1024;
/// Most questions that are open at once.
const MOST: usize = 100;
/// Most connections of one step.
const CONNECTIONS: usize = 64;
/// How often the files of questions are looked at.
const LOOK: Duration = Duration::from_millis(200);
/// How long a question waits if it does not say.
const USUAL_S: f64 = 600.0;
/// How long a question may wait.
const LONGEST_S: f64 = 7.0 * 24.0 * 3600.0;

/// The questions of a step that are open, and their answers.
#[derive(Debug, Default)]
pub(super) struct Answers(Mutex<BTreeMap<String, Open>>);

#[derive(Debug)]
struct Open {
    question: Question,
    give: oneshot::Sender<String>,
}

impl Answers {
    /// Answers a question.
    pub(super) fn answer(&self, live: &Live, id: &str, value: &str) -> Result<(), Error> {
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let asked = open.get(id).ok_or_else(|| {
            Error::new(Code::NotFound, format!("{} asks no \"{}\"", live.attempt, quoted(id))).sent(false)
        })?;
        asked.question.check(value)?;
        if let Some(Open { give, .. }) = open.remove(id) {
            // Who asked may have gone.
            let _ = give.send(value.to_owned());
        }
        drop(open);
        close(live, id);
        Ok(())
    }
}

/// What is hidden in the words that an assistant has for the user: they go into logs and records.
#[derive(Debug, Clone)]
pub(super) struct Told {
    /// The assistant's own secrets.
    pub(super) own: Arc<Mask>,
    /// Those that the node knows.
    pub(super) all: Masks,
}

impl Told {
    fn text(&self, text: &str) -> String {
        self.all.current().text(&self.own.text(text))
    }
}

fn close(live: &Live, id: &str) {
    live.change(|state| state.questions.retain(|question| question.id != id));
}

/// Answers a step's messages until a question ends the step: why.
pub(super) async fn attend(live: Arc<Live>, work: AssistantWork, told: Told) -> Error {
    let listener = match listen(&live.folder.input()) {
        Ok(listener) => listener,
        Err(error) => return super::folder::trouble("the socket of a step cannot be made", &error),
    };
    let (fail, mut failed) = mpsc::channel(1);
    let desk = Arc::new(Desk { live: live.clone(), work, told, fail });
    let mut tasks = JoinSet::new();
    let mut look = interval(LOOK);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut seen = BTreeSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept(), if tasks.len() < CONNECTIONS => match accepted {
                Ok((stream, _)) => drop(tasks.spawn(connection(desk.clone(), stream))),
                // Out of files: what is open goes on.
                Err(error) => tracing::debug!(%error, "a step's connection is not taken"),
            },
            _ = look.tick() => {
                for id in files(&live.folder.output().join("ask"), &live.folder.input().join("answer"), &seen) {
                    seen.insert(id.clone());
                    if seen.len() > 10_000 {
                        return Error::new(Code::ResourceExhausted, "the assistant asks without end");
                    }
                    drop(tasks.spawn(file(desk.clone(), id)));
                }
            }
            Some(error) = failed.recv() => return error,
            Some(_) = tasks.join_next() => {}
        }
    }
}

/// Listens in a directory, however long its path is: a socket's address has room for 107 bytes.
fn listen(directory: &Path) -> io::Result<UnixListener> {
    let opened = fs::File::open(directory)?;
    let path = Path::new("/proc/self/fd").join(opened.as_raw_fd().to_string()).join("user.sock");
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(&path)?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o666))?;
    Ok(listener)
}

/// Questions that came as files and have no answer yet.
fn files(asked: &Path, answered: &Path, seen: &BTreeSet<String>) -> Vec<String> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    // A link in its place would tell the names of what is the host's.
    let Ok(opened) = rustix::fs::open(asked, flags, Mode::empty()) else { return Vec::new() };
    let entries = fs::read_dir(Path::new("/proc/self/fd").join(opened.as_raw_fd().to_string()));
    let entries = entries.into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let is_new = |name: &String| is_id(name) && !name.ends_with(".tmp") && !seen.contains(name);
    names.filter(is_new).filter(|name| !answered.join(name).exists()).take(MOST + 1).collect()
}

fn is_id(id: &str) -> bool {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    (1..=64).contains(&id.len()) && !id.starts_with('.') && id.bytes().all(good)
}

/// One who answers a step's messages.
#[derive(Debug)]
struct Desk {
    live: Arc<Live>,
    work: AssistantWork,
    told: Told,
    fail: mpsc::Sender<Error>,
}

async fn connection(desk: Arc<Desk>, stream: UnixStream) {
    let (reading, mut writing) = stream.into_split();
    let mut reading = BufReader::new(reading);
    let mut asking: JoinSet<Option<Value>> = JoinSet::new();
    let mut open = true;
    while open || !asking.is_empty() {
        let answer = tokio::select! {
            line = line(&mut reading), if open => match line {
                Ok(Some(line)) => {
                    let desk = desk.clone();
                    // It is bounded by how many questions may be open.
                    drop(asking.spawn(async move { desk.take(&line, None).await }));
                    None
                }
                _ => {
                    open = false;
                    None
                }
            },
            Some(answered) = asking.join_next() => answered.ok().flatten(),
        };
        if let Some(answer) = answer
            && writing.write_all(format!("{answer}\n").as_bytes()).await.is_err()
        {
            return;
        }
    }
}

/// A line of at most [`LONGEST`] bytes; of a longer one that much and one byte, and the rest is thrown away.
async fn line(reading: &mut (impl AsyncBufRead + Unpin)) -> io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    loop {
        let bytes = reading.fill_buf().await?;
        if bytes.is_empty() {
            return Ok((!line.is_empty()).then_some(line));
        }
        let end = bytes.iter().position(|byte| *byte == b'\n');
        let taken = end.map_or(bytes.len(), |end| end + 1);
        let room = (LONGEST + 1).saturating_sub(line.len());
        line.extend(bytes.iter().take(end.unwrap_or(taken).min(room)));
        reading.consume(taken);
        if end.is_some() {
            return Ok(Some(line));
        }
    }
}

/// What a question's file holds, of a message that is too long no more than shows that. The assistant may put anything in its
/// place meanwhile: no link is followed, and nothing but a file is waited for.
fn asked_in(directory: &Path, id: &str) -> io::Result<Vec<u8>> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let directory = rustix::fs::open(directory, flags | OFlags::DIRECTORY, Mode::empty())?;
    let file = fs::File::from(rustix::fs::openat(directory, id, flags | OFlags::NONBLOCK, Mode::empty())?);
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is no regular file"));
    }
    let mut text = Vec::new();
    file.take(LONGEST as u64 + 1).read_to_end(&mut text)?;
    Ok(text)
}

async fn file(desk: Arc<Desk>, id: String) {
    let folder = &desk.live.folder;
    let asked = folder.output().join("ask");
    let name = id.clone();
    let read = tokio::task::spawn_blocking(move || asked_in(&asked, &name)).await;
    let answer = match read {
        Ok(Ok(text)) => desk.take(&text, Some(&id)).await,
        Ok(Err(error)) if error.kind() == io::ErrorKind::NotFound => return,
        Ok(Err(error)) => Some(json!({ "error": format!("the question cannot be read: {error}") })),
        Err(_) => return,
    };
    let Some(answer) = answer else { return };
    let (fresh, place) =
        (folder.input().join("answer").join(format!(".{id}")), folder.input().join("answer").join(&id));
    let written = fs::write(&fresh, format!("{answer}\n"))
        .and_then(|()| fs::set_permissions(&fresh, fs::Permissions::from_mode(0o644)))
        .and_then(|()| fs::rename(&fresh, &place));
    if let Err(error) = written {
        tracing::warn!(%error, "an answer cannot be handed over");
    }
}

fn too_long() -> Value {
    json!({ "error": format!("a message has at most {LONGEST} bytes") })
}

impl Desk {
    /// Does what a message says; what is to be answered, if anything. A file's name is its question's id.
    async fn take(&self, line: &[u8], file: Option<&str>) -> Option<Value> {
        if line.len() > LONGEST {
            return Some(too_long());
        }
        let refused = |what: &str| Some(json!({ "error": what }));
        let Ok(Value::Object(message)) = serde_json::from_slice(line) else {
            return refused("the message is no JSON object");
        };
        let text = |key: &str| message.get(key).and_then(Value::as_str);
        if let Some(say) = text("say") {
            self.live.log.say(&self.told.text(say));
            return None;
        }
        if let Some(progress) = message.get("progress") {
            let Some(progress) = progress.as_f64().filter(|part| (0.0..=1.0).contains(part)) else {
                return refused("progress is no number from 0 to 1");
            };
            let words = self.told.text(text("text").unwrap_or_default()).chars().take(1000).collect();
            self.live.change(|state| state.progress = Some((progress, words)));
            return None;
        }
        match question(&message, file) {
            Ok((question, wait)) => self.ask(question, wait).await,
            Err(what) => refused(&what),
        }
    }

    async fn ask(&self, question: Question, wait: Duration) -> Option<Value> {
        let id = question.id.clone();
        let kind = question.kind;
        let answered = |value: &str, from: &str| {
            let value = match kind {
                Ask::Confirm => confirmed(value).map_or_else(|| json!(value), Value::Bool),
                _ => json!(value),
            };
            Some(json!({ "id": id, "answer": value, "from": from }))
        };
        if let Some(value) = self.work.answers.get(&question.id) {
            return match question.check(value) {
                Ok(()) => answered(value, "flag"),
                Err(error) => {
                    self.fail(error);
                    None
                }
            };
        }
        if self.work.yes && kind == Ask::Confirm {
            return answered("yes", "flag");
        }
        let (give, given) = oneshot::channel();
        let default = question.default.clone();
        {
            let mut open = self.live.answers.0.lock().unwrap_or_else(PoisonError::into_inner);
            if open.contains_key(&id) {
                return Some(json!({ "id": id, "error": "that question is open already" }));
            }
            if open.len() >= MOST {
                drop(open);
                self.fail(Error::new(Code::ResourceExhausted, format!("over {MOST} questions are open")));
                return None;
            }
            open.insert(id.clone(), Open { question: question.clone(), give });
        }
        let _open = Opened { live: &self.live, id: &id };
        // What the record says of it holds no secret; what an answer is judged by stays as it is.
        let shown = Question {
            ask: self.told.text(&question.ask),
            choices: question.choices.iter().map(|choice| self.told.text(choice)).collect(),
            default: question.default.as_deref().filter(|_| kind != Ask::Secret).map(|default| self.told.text(default)),
            ..question
        };
        self.live.change(|state| state.questions.push(shown));
        match timeout_at(Instant::now() + wait, given).await {
            Ok(Ok(value)) => answered(&value, "user"),
            _ => match default {
                Some(value) => answered(&value, "default"),
                None => {
                    let message = format!("nobody answered the question \"{}\"", quoted(&id));
                    self.fail(
                        Error::new(Code::FailedPrecondition, message)
                            .hint("answer it: aish chains answer, or --answer"),
                    );
                    None
                }
            },
        }
    }

    fn fail(&self, error: Error) {
        // The first is enough.
        let _ = self.fail.try_send(error);
    }
}

/// A question that is open for as long as this is.
struct Opened<'a> {
    live: &'a Live,
    id: &'a str,
}

impl Drop for Opened<'_> {
    fn drop(&mut self) {
        let mut open = self.live.answers.0.lock().unwrap_or_else(PoisonError::into_inner);
        let was_open = open.remove(self.id).is_some();
        drop(open);
        if was_open {
            close(self.live, self.id);
        }
    }
}

/// Reads a question, and how long it waits.
fn question(message: &serde_json::Map<String, Value>, file: Option<&str>) -> Result<(Question, Duration), String> {
    let text = |key: &str| message.get(key).and_then(Value::as_str);
    let ask = text("ask").ok_or("a message says ask, say or progress")?.chars().take(4_000).collect();
    let id = match (file, text("id")) {
        (Some(file), Some(id)) if file != id => return Err(format!("the file {file} has another id")),
        (Some(id), _) | (None, Some(id)) => id.to_owned(),
        (None, None) => return Err("the question has no id".to_owned()),
    };
    if !is_id(&id) {
        return Err("an id has 1 to 64 letters, digits, dots, dashes and underscores".to_owned());
    }
    let kind = match text("kind").unwrap_or("text") {
        "confirm" => Ask::Confirm,
        "choose" => Ask::Choose,
        "text" => Ask::Text,
        "secret" => Ask::Secret,
        other => return Err(format!("there is no kind of question \"{}\"", quoted(other))),
    };
    let choices: Vec<String> = match message.get("choices") {
        None => Vec::new(),
        Some(Value::Array(choices)) if choices.len() <= 1_000 => {
            let texts = choices.iter().map(|choice| choice.as_str().map(str::to_owned));
            texts.collect::<Option<_>>().ok_or("choices are texts")?
        }
        Some(_) => return Err("choices is no list of at most 1000 texts".to_owned()),
    };
    if kind == Ask::Choose && choices.is_empty() {
        return Err("there is nothing to choose".to_owned());
    }
    let default = match message.get("default") {
        None | Some(Value::Null) => None,
        Some(Value::String(text)) => Some(text.clone()),
        Some(Value::Bool(yes)) => Some(if *yes { "yes" } else { "no" }.to_owned()),
        Some(other @ Value::Number(_)) => Some(other.to_string()),
        Some(_) => return Err("default is no text".to_owned()),
    };
    let wait = match message.get("timeout_s") {
        None => USUAL_S,
        Some(value) => {
            value.as_f64().filter(|wait| (0.0..=LONGEST_S).contains(wait)).ok_or("timeout_s is no such time")?
        }
    };
    let wait = Duration::from_secs_f64(wait);
    let until = Timestamp::from(time::OffsetDateTime::now_utc() + wait).to_string();
    let question = Question { id, ask, kind, choices, default, until };
    if let Some(default) = &question.default {
        question.check(default).map_err(|error| error.message)?;
    }
    Ok((question, wait))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Question, String> {
        let Value::Object(message) = serde_json::from_str(text).unwrap() else { panic!("{text}") };
        question(&message, None).map(|(question, _)| question)
    }

    #[test]
    fn chn_35_questions_are_read_and_bad_ones_are_answered_with_words() {
        let good = read(r#"{"id": "q", "ask": "Go on?", "kind": "confirm", "default": true}"#).unwrap();
        assert_eq!((good.kind, good.default.as_deref()), (Ask::Confirm, Some("yes")));
        assert!(good.check("Y").is_ok() && good.check("perhaps").is_err());
        let choose = read(r#"{"id": "c", "ask": "Which?", "kind": "choose", "choices": ["a", "b"]}"#).unwrap();
        assert!(choose.check("b").is_ok() && choose.check("c").unwrap_err().message.contains("a, b"));
        for bad in [
            r#"{"id": "q"}"#,
            r#"{"ask": "x"}"#,
            r#"{"id": "../q", "ask": "x"}"#,
            r#"{"id": "q", "ask": "x", "kind": "guess"}"#,
            r#"{"id": "q", "ask": "x", "kind": "choose"}"#,
            r#"{"id": "q", "ask": "x", "kind": "confirm", "default": "perhaps"}"#,
            r#"{"id": "q", "ask": "x", "timeout_s": -1}"#,
        ] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
