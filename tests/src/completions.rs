//! A server of a model that says what a test wants it to say. The tests of `aish` as a program use this file as well.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread::{Builder, JoinHandle},
};

/// What a server says to each question.
#[derive(Debug, Clone)]
pub enum Reply {
    /// This text, as a model's.
    Content(String),
    /// This status line and body, whatever a server of models would say.
    Raw(&'static str, String),
    /// Nothing, for as long as the server lives.
    Late,
    /// More than anybody reads.
    Huge,
    /// Look elsewhere, which is here again.
    Elsewhere,
}

/// A server on this host, until it is dropped.
#[derive(Debug)]
pub struct Completions {
    address: SocketAddr,
    shared: Arc<Mutex<Shared>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    reply: Reply,
    /// What was asked: heads and bodies.
    asked: Vec<String>,
    ended: bool,
}

impl Completions {
    /// A server that says that.
    ///
    /// # Panics
    ///
    /// Where no port is free.
    #[must_use]
    pub fn saying(reply: Reply) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
        let address = listener.local_addr().expect("its address");
        let shared = Arc::new(Mutex::new(Shared { reply, asked: Vec::new(), ended: false }));
        let serving = shared.clone();
        let thread = Builder::new().name("completions".to_owned()).spawn(move || serve(&listener, &serving));
        Self { address, shared, thread: Some(thread.expect("a thread")) }
    }

    /// From now on it says that.
    pub fn say(&self, reply: Reply) {
        locked(&self.shared).reply = reply;
    }

    /// What a file holds that names it.
    #[must_use]
    pub fn settings(&self) -> String {
        format!("url = \"http://{}/v1\"\nname = \"small:7b\"\ntimeout_s = 2\n", self.address)
    }

    /// What it was asked since the last time: heads and bodies.
    #[must_use]
    pub fn asked(&self) -> Vec<String> {
        std::mem::take(&mut locked(&self.shared).asked)
    }
}

impl Drop for Completions {
    fn drop(&mut self) {
        locked(&self.shared).ended = true;
        // Who waits for the next connection sees that it has ended.
        let _ = TcpStream::connect(self.address);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn locked(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

fn serve(listener: &TcpListener, shared: &Mutex<Shared>) {
    let mut waiting = Vec::new();
    for connection in listener.incoming() {
        if locked(shared).ended {
            return;
        }
        let Ok(mut connection) = connection else { continue };
        let Some(request) = read(&connection) else { continue };
        let reply = {
            let mut shared = locked(shared);
            shared.asked.push(request);
            shared.reply.clone()
        };
        match reply {
            Reply::Late => waiting.push(connection),
            // Whoever has read enough is gone.
            reply => {
                let _ = answer(&mut connection, &reply);
            }
        }
    }
}

fn read(connection: &TcpStream) -> Option<String> {
    let mut reader = BufReader::new(connection);
    let (mut head, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
        head.push_str(&line);
        if line.trim().is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(head + &String::from_utf8(body).ok()?)
}

fn answer(connection: &mut TcpStream, reply: &Reply) -> std::io::Result<()> {
    let (status, body) = match reply {
        Reply::Content(text) => {
            let text: String = text.chars().map(|c| format!("\\u{:04x}", u32::from(c))).collect();
            ("200 OK", format!("{{\"choices\":[{{\"message\":{{\"role\":\"assistant\",\"content\":\"{text}\"}}}}]}}"))
        }
        Reply::Raw(status, body) => (*status, body.clone()),
        Reply::Elsewhere => ("307 Temporary Redirect\r\nlocation: /v1/elsewhere", String::new()),
        Reply::Huge | Reply::Late => {
            write!(connection, "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{{\"choices\":\"")?;
            return (0..4096).try_for_each(|_| connection.write_all(&[b'x'; 64 * 1024]));
        }
    };
    write!(connection, "HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}
