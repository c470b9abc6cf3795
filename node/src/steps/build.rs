//! Builds of images: a context with its Dockerfile goes to the engine's BuildKit, and its words into the log.

use std::{
    collections::{BTreeMap, VecDeque},
    fs, io,
    path::{Path, PathBuf},
};

use aigis_proxy::{
    Code, Error, Name,
    blob::Digest,
    fault::{self, Point},
    services::steps::{BuildWork, Finished, Image},
};
use aigis_registry::{
    archive::{self, Kind, Limits},
    dockerignore::Ignored,
    tree,
};
use tokio::io::DuplexStream;
use tokio_util::io::{ReaderStream, SyncIoBridge};

use super::{attempt::Live, dockerfile, folder::trouble, log::Log, place::Place};
use crate::{
    engine::{BuildRequest, Engine, Error as EngineError, ImageConfig, Progress},
    supply::Supply,
};

/// How many lines of a failed build are told.
const LAST: usize = 20;
/// Longest of them, in letters.
const LONGEST: usize = 200;
/// Longest Dockerfile.
const DOCKERFILE: u64 = 1024 * 1024;
/// How many bytes wait between who packs a context and the engine.
const BETWEEN: usize = 1024 * 1024;
/// The first engine whose own builder knows `--link`.
const KNOWS_LINK: u32 = 23;
/// What a Dockerfile is called that takes the place of the context's own.
const OTHER: &str = ".aigis.Dockerfile";

/// Builds what a step asks for.
pub(super) async fn run(place: &Place, live: &Live, app: &Name, work: &BuildWork) -> Result<Finished, Error> {
    let context = live.folder.path().join("work");
    place.patiently(async || fresh(place, work, &context).await).await?;
    let wanted = Wanted { context: &context, dockerfile: work.dockerfile.as_deref(), tag: &work.tag };
    let made = build(place, live, &wanted).await?;
    place.built.note(&made.image.id, app);
    fault::point(Point::PlaceBuilt);
    let ImageConfig { id, entrypoint, cmd, workingdir, exposed, volumes, .. } = made.image;
    let image = Image { id, entrypoint, cmd, workingdir, exposed, volumes };
    Ok(Finished { image: Some(image), ..Finished::default() })
}

async fn fresh(place: &Place, work: &BuildWork, context: &Path) -> Result<(), Error> {
    // What an earlier try left is in the way.
    let _ = fs::remove_dir_all(context);
    tree::fetch(&place.blobs, &work.context, context).await
}

/// What is to be built.
#[derive(Debug)]
pub(super) struct Wanted<'a> {
    /// Where the context lies; it may be added to.
    pub(super) context: &'a Path,
    /// The Dockerfile; the context's own if absent.
    pub(super) dockerfile: Option<&'a str>,
    pub(super) tag: &'a str,
}

/// What was built.
#[derive(Debug)]
pub(super) struct Built {
    pub(super) image: ImageConfig,
    /// What it was built on, by the names under which this host's engine has it.
    pub(super) bases: Vec<String>,
}

/// Builds an image; what the builder says goes into the log.
pub(super) async fn build(place: &Place, live: &Live, wanted: &Wanted<'_>) -> Result<Built, Error> {
    let own = own(wanted.context)?;
    let text = match (wanted.dockerfile, &own) {
        (Some(text), _) => text.to_owned(),
        (None, Some(text)) => text.clone(),
        (None, None) => {
            let message = "there is no Dockerfile to build";
            return Err(Error::precondition(message).hint("write one, or let builtin:detect propose one"));
        }
    };
    let engine = &place.parts.engine;
    let used = prepared(engine, &place.parts.supply, &live.log, text, None).await?;
    let name = match &own {
        Some(own) if *own == used => "Dockerfile",
        None => "Dockerfile",
        Some(_) => OTHER,
    };
    let path = wanted.context.join(name);
    let put = || -> io::Result<()> {
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => fs::write(&path, &used),
        }
    };
    put().map_err(|error| trouble("the Dockerfile cannot be written", &error))?;
    let request = BuildRequest { dockerfile: name.to_owned(), tag: Some(wanted.tag.to_owned()), fresh: false };
    let (writer, reader) = tokio::io::duplex(BETWEEN);
    let packing = pack(wanted.context.to_owned(), name.to_owned(), SyncIoBridge::new(writer));
    let image = send(engine, &live.log, packing, reader, &request, &used).await?;
    let image = engine.image_config(image.as_deref().unwrap_or(wanted.tag)).await?;
    Ok(Built { image, bases: dockerfile::bases(&used) })
}

/// The context's own Dockerfile.
fn own(context: &Path) -> Result<Option<String>, Error> {
    let path = context.join("Dockerfile");
    match fs::symlink_metadata(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(trouble("the Dockerfile cannot be read", &error)),
        Ok(about) if about.len() > DOCKERFILE => {
            Err(Error::invalid(format!("Dockerfile: it has {} bytes, at most {DOCKERFILE} are read", about.len())))
        }
        // A link within the tree is as good; that it stays within was judged when the tree was unpacked.
        Ok(_) => match fs::read(&path) {
            Ok(bytes) => {
                String::from_utf8(bytes).map(Some).map_err(|_| Error::invalid("Dockerfile: it is no UTF-8 text"))
            }
            Err(error) => Err(Error::invalid(format!("Dockerfile: it cannot be read: {error}"))),
        },
    }
}

/// The Dockerfile as this host's engine builds it, which has what the build begins with then. With `pinned`, the digests of
/// their configurations, no other images count.
pub(crate) async fn prepared(
    engine: &Engine,
    supply: &Supply,
    words: &dyn Words,
    text: String,
    pinned: Option<&BTreeMap<String, Digest>>,
) -> Result<String, Error> {
    let version = engine.version().await?;
    let major = version.version.split('.').next().and_then(|major| major.parse::<u32>().ok());
    let mut used = text;
    if major.is_some_and(|major| major < KNOWS_LINK)
        && let Some(plain) = dockerfile::without_link(&used)
    {
        words.say("the engine's builder does not know --link: it is left out of the copy that is built");
        used = plain;
    }
    let found = bases(supply, words, &mut used).await?;
    for (image, name) in found.iter().filter(|_| pinned.is_some()) {
        let wanted = pinned.and_then(|pinned| pinned.get(image)).map(ToString::to_string);
        let id = engine.image_config(name).await?.id;
        if wanted.as_ref() != Some(&id) {
            let wanted = wanted.unwrap_or_else(|| "nothing".to_owned());
            let message = format!("{image} is {id} on this node, and aigis.lock says {wanted}");
            return Err(Error::precondition(message).hint("take what it is now: --update"));
        }
    }
    Ok(used)
}

/// Sees to it that the engine has what the build begins with, and that the Dockerfile names what it has; gives the names
/// under which the engine has the images that it named.
async fn bases(supply: &Supply, words: &dyn Words, text: &mut String) -> Result<BTreeMap<String, String>, Error> {
    let say = |status: &str| words.say(status);
    if let Some(image) = dockerfile::syntax(text) {
        match supply.bring(&image, say).await {
            Ok(other) if other == image => {}
            Ok(other) => *text = dockerfile::with_syntax(text, &image, &other),
            Err(error) => {
                // The engine's own builder knows nearly all of it; what it does not know it names, with its line.
                words.say(&format!("the engine's own builder is used: {image} cannot be had: {error}"));
                *text = dockerfile::without_syntax(text);
            }
        }
    }
    let mut names = BTreeMap::new();
    for image in dockerfile::bases(text) {
        let name = supply.bring(&image, say).await?;
        names.insert(image, name);
    }
    let others: BTreeMap<String, String> = names.clone().into_iter().filter(|(image, name)| image != name).collect();
    if !others.is_empty() {
        *text = dockerfile::with_bases(text, &others);
    }
    Ok(names)
}

/// Who hears what a builder says.
pub(crate) trait Words: Send + Sync {
    /// A line of ours, or of the builder's.
    fn say(&self, line: &str);
    /// What a command of it wrote.
    fn output(&self, bytes: &[u8]);
}

impl Words for Log {
    fn say(&self, line: &str) {
        Self::say(self, line);
    }

    fn output(&self, bytes: &[u8]) {
        if let Err(error) = self.append(bytes) {
            tracing::warn!(%error, "the log of a build cannot be written");
        }
    }
}

/// Sends the context, which `packing` writes to the other end of `reader`, and tells what the builder says; gives the image's
/// id, if it tells it.
pub(crate) async fn send(
    engine: &Engine,
    words: &dyn Words,
    packing: impl Future<Output = Result<(), Error>>,
    reader: DuplexStream,
    request: &BuildRequest,
    text: &str,
) -> Result<Option<String>, Error> {
    let building = async {
        let mut last = Last::default();
        let mut image = None;
        let mut building = match engine.build(ReaderStream::with_capacity(reader, 64 * 1024), request).await {
            Ok(building) => building,
            Err(error) => return Err(failed(error, &last, text)),
        };
        loop {
            match building.next().await {
                Ok(None) => return Ok(image),
                Ok(Some(Progress::Image(id))) => image = Some(id),
                Ok(Some(progress)) => last.take(words, progress),
                Err(error) => return Err(failed(error, &last, text)),
            }
        }
    };
    let (packed, built) = tokio::join!(packing, building);
    match (packed, built) {
        // Who has enough of a context does not take the rest of it.
        (_, Ok(image)) => Ok(image),
        (Err(error), Err(_)) if error.code != Code::Internal => Err(error),
        (_, Err(error)) => Err(error),
    }
}

/// Packs a context as `.dockerignore` says.
async fn pack(context: PathBuf, dockerfile: String, mut out: SyncIoBridge<DuplexStream>) -> Result<(), Error> {
    let packing = tokio::task::spawn_blocking(move || {
        let text = fs::read(context.join(".dockerignore")).unwrap_or_default();
        let ignored = Ignored::parse(&String::from_utf8_lossy(&text));
        let mut keep = |path: &str, kind: Kind| match kind {
            _ if path == dockerfile || path == ".dockerignore" => true,
            Kind::Directory => ignored.may_hold(path),
            _ => !ignored.leaves_out(path),
        };
        let packed = archive::pack(&context, &mut out, &mut keep, &Limits::TREE);
        packed.and_then(|_| out.shutdown().map_err(archive::Error::Stream))
    });
    packing.await.map_err(|_| Error::internal("the thread that packs a context ended"))?.map_err(Error::from)
}

/// What a build said last.
#[derive(Debug, Default)]
struct Last {
    lines: VecDeque<String>,
    /// The part that failed, and why.
    failed: Option<(String, String)>,
}

impl Last {
    fn take(&mut self, words: &dyn Words, progress: Progress) {
        match progress {
            Progress::Began(part) => self.line(words, &format!("=> {part}")),
            Progress::Cached(part) => self.line(words, &format!("=> {part} (cached)")),
            Progress::Failed(part, error) => {
                self.line(words, &format!("=> {part} failed: {error}"));
                // A part that was ended because another one failed is not it.
                if !error.contains("context canceled") {
                    self.failed.get_or_insert((part, error));
                }
            }
            Progress::Output(bytes) => {
                words.output(&bytes);
                String::from_utf8_lossy(&bytes).lines().for_each(|line| self.keep(line));
            }
            Progress::Image(_) => {}
        }
    }

    fn line(&mut self, words: &dyn Words, line: &str) {
        words.say(line);
        self.keep(line);
    }

    fn keep(&mut self, line: &str) {
        if self.lines.len() == LAST {
            self.lines.pop_front();
        }
        self.lines.push_back(line.chars().filter(|c| !c.is_control()).take(LONGEST).collect());
    }
}

/// The failure of a build: the fault of the engine, or of the Dockerfile, and then where and after which words.
fn failed(error: EngineError, last: &Last, text: &str) -> Error {
    let EngineError::Refused { words, .. } = &error else { return error.into() };
    let at = last.failed.as_ref().and_then(|(part, _)| dockerfile::line_of(text, part));
    let at = at.or_else(|| parse_error(words, text));
    let words: String = words.chars().map(|c| if c.is_control() { ' ' } else { c }).take(2_000).collect();
    let mut message = match &at {
        Some((line, instruction)) => {
            let instruction: String = instruction.chars().take(LONGEST).collect();
            format!("the build failed at Dockerfile:{line}: {instruction}: {words}")
        }
        None => format!("the build failed: {words}"),
    };
    for line in &last.lines {
        message.push_str("\n  ");
        message.push_str(line);
    }
    let made = Error::new(Code::FailedPrecondition, message);
    match at {
        Some((line, _)) => made.with("line", line),
        None => made,
    }
}

/// The line that the builder's words name.
fn parse_error(words: &str, text: &str) -> Option<(u64, String)> {
    let lower = words.to_ascii_lowercase();
    let (_, after) = lower.split_once("parse error ")?;
    let digits: String = after.split_once("line ")?.1.chars().take_while(char::is_ascii_digit).collect();
    let line = digits.parse::<u32>().ok()?;
    let at = usize::try_from(line).ok()?.checked_sub(1)?;
    Some((line.into(), text.lines().nth(at)?.trim().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_build_names_line_and_last_words() {
        let text = "FROM a\nRUN make\n";
        let refused = |words: &str| EngineError::Refused {
            engine: "e".to_owned(),
            what: "build the image",
            status: 200,
            words: words.to_owned(),
        };
        let mut last = Last::default();
        (0..30).for_each(|n| last.keep(&format!("line {n}")));
        last.failed = Some(("[2/2] RUN make".to_owned(), "exit code: 2".to_owned()));
        let error = failed(refused("exit code: 2"), &last, text);
        assert_eq!(error.code, Code::FailedPrecondition);
        assert!(error.message.starts_with("the build failed at Dockerfile:2: RUN make: exit code: 2\n  line 10\n"));
        assert!(error.message.ends_with("line 29"), "{}", error.message);
        let parse = "failed to solve: dockerfile parse error line 2: unknown instruction: RUNN";
        assert_eq!(parse_error(parse, text).unwrap(), (2, "RUN make".to_owned()));
        assert_eq!(failed(refused(parse), &Last::default(), text).detail("line"), Some(&2.into()));
    }
}
