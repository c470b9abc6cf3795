//! The socket of one process: its own, and its children's.

use std::{
    fs, io,
    os::{
        fd::AsFd as _,
        unix::fs::{DirBuilderExt as _, PermissionsExt as _},
    },
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use aigis_proxy::{
    Code, Error,
    bridge::{
        self, Attendant, Calls, End, Header, Hello, Invocations, Kind, Mode, Outbox, Reader, VERSION, Way, Welcome,
        attend, outbox, write,
    },
    task, with_causes,
};
use rustix::process::{Pid, getpgid};
use tokio::{
    net::{UnixListener, UnixStream, unix::OwnedReadHalf},
    sync::watch,
    task::JoinSet,
};

use super::line::{Generation, Line, Sink, Source};

/// How long the first words may take.
const HELLO: Duration = Duration::from_secs(10);
/// How long a process may take to read why its connection ends.
const FAREWELL: Duration = Duration::from_secs(2);
/// How many connections one process may have, with its children.
const MAX_CONNECTIONS: usize = 256;
/// How long nothing is accepted after the operating system had no means for it.
const OUT_OF_MEANS: Duration = Duration::from_millis(100);

/// A socket that nobody can have connected to yet; it is removed when this is dropped.
#[derive(Debug)]
pub(super) struct Socket {
    path: PathBuf,
    listener: UnixListener,
}

impl Socket {
    /// Makes it, in a folder that is made for this user alone where there is none.
    ///
    /// # Errors
    ///
    /// What the operating system says.
    pub(super) fn make(path: &Path) -> Result<Self, Error> {
        let make = || -> io::Result<UnixListener> {
            let folder = path.parent().ok_or_else(|| io::Error::other("it has no folder"))?;
            fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
            if folder.metadata()?.permissions().mode() & 0o077 != 0 {
                return Err(io::Error::other(format!("others may enter {}", folder.display())));
            }
            match fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            let listener = UnixListener::bind(path)?;
            fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
            Ok(listener)
        };
        let listener = make().map_err(|error| {
            Error::new(Code::FailedPrecondition, format!("the socket {} cannot be made: {error}", path.display()))
        })?;
        Ok(Self { path: path.to_owned(), listener })
    }

    /// Lets the process of that group in, and those that it starts.
    pub(super) fn open<W: Way>(self, group: u32, host: Host<W>) -> Door {
        let (standing, standing_of) = watch::channel(Standing::default());
        let inside = Arc::new(Inside { group, host, standing, has_joined: AtomicBool::new(false) });
        let accepting = task::Owned::spawn("plugin-socket", inside.accept(self));
        Door { standing: standing_of, _accepting: accepting }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        // One that is gone already is what is wanted.
        let _ = fs::remove_file(&self.path);
    }
}

/// What a process finds behind its socket.
pub(super) struct Host<W> {
    /// How its calls go on.
    pub(super) way: Arc<W>,
    /// What the process itself says it is, and how it is welcomed; none for a program that may only call.
    pub(super) main: Option<(Mode, Welcome)>,
    /// How its children are welcomed.
    pub(super) client: Welcome,
    /// Who takes its lines.
    pub(super) sink: Arc<dyn Sink>,
}

/// How the process itself stands.
#[derive(Debug, Default, Clone)]
pub(super) struct Standing {
    /// What it can be asked by, once it has said hello.
    pub(super) invocations: Option<Invocations>,
    /// Whether `launch` was about to be entered.
    pub(super) entered: bool,
    /// Why it ended the connection, as it says.
    pub(super) failure: Option<Error>,
    /// Whether the connection has ended.
    pub(super) is_lost: bool,
}

/// An open socket; dropping this closes it, and all connections.
#[derive(Debug)]
pub(super) struct Door {
    pub(super) standing: watch::Receiver<Standing>,
    _accepting: task::Owned,
}

struct Inside<W> {
    group: u32,
    host: Host<W>,
    standing: watch::Sender<Standing>,
    /// Whether the process itself has a connection, or had one.
    has_joined: AtomicBool,
}

impl<W: Way> Inside<W> {
    async fn accept(self: Arc<Self>, socket: Socket) {
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                Some(_) = connections.join_next() => {}
                accepted = socket.listener.accept(), if connections.len() < MAX_CONNECTIONS => match accepted {
                    Ok((stream, _)) => {
                        if self.is_of_group(&stream) {
                            connections.spawn(self.clone().serve(stream));
                        } else {
                            self.say("a process outside the plugin's group was refused at its socket");
                        }
                    }
                    Err(error) => {
                        tracing::warn!(%error, "a plugin's socket takes no connection at the moment");
                        tokio::time::sleep(OUT_OF_MEANS).await;
                    }
                },
            }
        }
    }

    fn is_of_group(&self, stream: &UnixStream) -> bool {
        let peer = stream.peer_cred().ok().and_then(|credentials| credentials.pid()).and_then(Pid::from_raw);
        let group = peer.and_then(|pid| getpgid(Some(pid)).ok()).map(|group| group.as_raw_nonzero().get());
        group.is_some_and(|group| u32::try_from(group) == Ok(self.group))
    }

    async fn serve(self: Arc<Self>, stream: UnixStream) {
        let direct = stream.as_fd().try_clone_to_owned();
        let (input, output) = stream.into_split();
        let (mut outbox, queue) = outbox();
        // Without a further file all goes through the queue.
        if let Ok(direct) = direct {
            outbox = outbox.with_direct(direct.into());
        }
        let mut writing = std::pin::pin!(write(output, queue));
        let mut reader = Reader::new(input);
        let served = tokio::select! {
            served = self.attend_to(&mut reader, &outbox) => served,
            // Whoever reads no more has ended.
            _ = &mut writing => return,
        };
        let Err(error) = served else { return };
        self.say(&format!("the connection of the process was closed: {error}"));
        let farewell = async {
            // If it cannot be said there, it is said in the log.
            let _ = outbox.refuse(None, None, &error).await;
            drop(outbox);
            std::future::pending::<()>().await;
        };
        let _ = tokio::time::timeout(FAREWELL, async {
            tokio::select! {
                _ = &mut writing => {}
                () = farewell => {}
            }
        })
        .await;
    }

    async fn attend_to(&self, reader: &mut Reader<OwnedReadHalf>, outbox: &Outbox) -> Result<(), Error> {
        let first = tokio::time::timeout(HELLO, reader.next()).await;
        let first = first.map_err(|_| Error::invalid("the process did not say hello within 10 s"))?;
        let Some(first) = first.map_err(broken)? else { return Ok(()) };
        let hello = Hello::read(&first).map_err(|violation| broken(violation.into()))?;
        hello.check()?;
        let welcome = match &self.host.main {
            Some((mode, welcome)) if *mode == hello.mode && !self.has_joined.swap(true, Ordering::AcqRel) => welcome,
            _ if hello.mode == Mode::Client => &self.host.client,
            _ => {
                let what = "this socket is not for a process of that mode, or has one already";
                return Err(Error::new(Code::PermissionDenied, what).hint("hosts of plugins are started by their node"));
            }
        };
        if outbox.send(Header::new(Kind::Hello, None), welcome.to_bytes()).await.is_err() {
            return Ok(());
        }
        let calls = Calls::new(self.host.way.clone(), outbox.clone());
        let main = (hello.mode != Mode::Client).then(|| Main::join(&self.standing, Invocations::new(outbox.clone())));
        let attended = attend(reader, &calls, main.as_ref().map(|main| &main.invocations), self).await;
        drop(main);
        calls.end().await;
        attended.map_err(broken)
    }

    fn say(&self, text: &str) {
        let level = Some("warning");
        let line = Line { generation: None, source: Source::Node, pid: self.group, level, call: None, text };
        self.host.sink.line(line);
    }
}

impl<W: Way> Attendant for Inside<W> {
    fn line(&self, line: bridge::Line<'_>) {
        let bridge::Line { generation, source, level, call, text } = line;
        let generation = generation.map(Generation);
        self.host.sink.line(Line { generation, source: source.into(), pid: self.group, level, call, text });
    }

    fn entered(&self) {
        self.standing.send_modify(|standing| standing.entered = true);
    }

    fn failed(&self, error: Error) {
        self.say(&format!("the process ends its connection: {error}"));
        self.standing.send_modify(|standing| {
            standing.failure.get_or_insert(error);
        });
    }
}

/// The connection of the process itself: when it ends, however that comes, whoever waits for answers hears of it.
struct Main<'a> {
    invocations: Invocations,
    standing: &'a watch::Sender<Standing>,
}

impl<'a> Main<'a> {
    fn join(standing: &'a watch::Sender<Standing>, invocations: Invocations) -> Self {
        standing.send_modify(|standing| standing.invocations = Some(invocations.clone()));
        Self { invocations, standing }
    }
}

impl Drop for Main<'_> {
    fn drop(&mut self) {
        self.invocations.end();
        self.standing.send_modify(|standing| standing.is_lost = true);
    }
}

fn broken(end: End) -> Error {
    Error::invalid(with_causes(&end)).hint(format!("it is to speak version {VERSION} of the bridge"))
}
