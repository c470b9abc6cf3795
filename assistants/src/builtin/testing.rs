//! A coordinator for tests of builtins: it does what they ask for, and remembers it.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use aigis_deploy::plan::Bases;
use aigis_proxy::{
    Error,
    blob::{Blob, Digest},
    chain::{ChainId, Tree},
    services::steps::{BuildWork, GitWork, Image, Question},
};
use aigis_registry::AppState;
use futures::future::BoxFuture;

use super::{Context, Means, NewInstance, Outcome, Served, find};
use crate::selection::{self, Known};

/// An app on which builtins are tried.
pub(crate) struct Bench {
    app: tempfile::TempDir,
    seen: Arc<Seen>,
}

#[derive(Default)]
struct Seen(Mutex<Notes>);

#[derive(Default)]
struct Notes {
    log: Vec<String>,
    warnings: Vec<String>,
    answer: Option<String>,
    questions: Vec<Question>,
    image: Option<Image>,
    built: Vec<BuildWork>,
    fetched: Option<tempfile::TempDir>,
    ends: Option<i64>,
    served: Vec<NewInstance>,
    kept: Vec<Vec<(String, String)>>,
    python_image: Option<String>,
}

impl Seen {
    fn notes(&self) -> MutexGuard<'_, Notes> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn directory(files: &[(&str, &str)]) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    for (path, content) in files {
        let path = directory.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    directory
}

fn tree() -> Tree {
    Some(Blob { digest: Digest::of(b"tree"), size: 4 })
}

impl Bench {
    pub(crate) fn new(files: &[(&str, &str)]) -> Self {
        let above = tempfile::tempdir().unwrap();
        let app = above.path().join("app");
        fs::create_dir(&app).unwrap();
        for (path, content) in files {
            let path = app.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        Self { app: above, seen: Arc::default() }
    }

    /// What builds give.
    pub(crate) fn builds(&self, image: Image) {
        self.seen.notes().image = Some(image);
    }

    /// What the node says that Python apps are built on.
    pub(crate) fn python_image(&self, image: &str) {
        self.seen.notes().python_image = Some(image.to_owned());
    }

    /// What questions are answered with; none for nobody.
    pub(crate) fn answers(&self, answer: &str) {
        self.seen.notes().answer = Some(answer.to_owned());
    }

    /// What a repository holds.
    pub(crate) fn fetches(&self, files: &[(&str, &str)]) {
        self.seen.notes().fetched = Some(directory(files));
    }

    /// How the app ends by itself.
    pub(crate) fn ends(&self, exit_code: i64) {
        self.seen.notes().ends = Some(exit_code);
    }

    pub(crate) async fn run(&self, builtin: &str, state: &[(&str, &str)]) -> Result<Outcome, Error> {
        let mut files = AppState::default();
        for (name, content) in state {
            files.set(name, *content);
        }
        let mut context = Context {
            app: "hello".parse()?,
            chain: ChainId::new(),
            step: 1,
            app_dir: self.app.path().join("app"),
            app_tree: tree(),
            state: files,
            from: "host:/app".to_owned(),
            means: Arc::clone(&self.seen) as Arc<dyn Means>,
        };
        find(builtin).unwrap().run(&mut context).await
    }

    pub(crate) fn log(&self) -> Vec<String> {
        self.seen.notes().log.clone()
    }

    pub(crate) fn warnings(&self) -> Vec<String> {
        self.seen.notes().warnings.clone()
    }

    pub(crate) fn questions(&self) -> Vec<Question> {
        self.seen.notes().questions.clone()
    }

    /// What was built last.
    pub(crate) fn built(&self) -> BuildWork {
        self.seen.notes().built.last().cloned().unwrap()
    }

    /// What was run last.
    pub(crate) fn served(&self) -> NewInstance {
        self.seen.notes().served.last().cloned().unwrap()
    }

    /// The files of the tree that was stored last.
    pub(crate) fn kept(&self) -> Vec<(String, String)> {
        self.seen.notes().kept.last().cloned().unwrap()
    }
}

impl Means for Seen {
    fn log(&self, line: &str) {
        self.notes().log.extend(line.lines().map(str::to_owned));
    }

    fn warn(&self, text: &str) {
        self.notes().warnings.push(text.to_owned());
    }

    fn ask(&self, question: Question) -> BoxFuture<'_, Result<String, Error>> {
        let mut notes = self.notes();
        let answer = notes.answer.clone().or_else(|| question.default.clone());
        notes.questions.push(question);
        let nobody = || Error::new(aigis_proxy::Code::DeadlineExceeded, "nobody answered");
        Box::pin(std::future::ready(answer.ok_or_else(nobody)))
    }

    fn build(&self, work: BuildWork) -> BoxFuture<'_, Result<Image, Error>> {
        let mut notes = self.notes();
        notes.built.push(work);
        Box::pin(std::future::ready(Ok(notes.image.clone().unwrap_or_default())))
    }

    fn fetch(&self, _: GitWork) -> BoxFuture<'_, Result<Tree, Error>> {
        Box::pin(std::future::ready(Ok(tree())))
    }

    fn keep(&self, directory: PathBuf) -> BoxFuture<'_, Result<Tree, Error>> {
        let app = super::app::App::new(&directory);
        let files = app.files(|_| true).unwrap();
        let files = files.into_iter().map(|path| {
            let text = app.text(&path).unwrap();
            (path, text)
        });
        self.notes().kept.push(files.collect());
        let kept = Blob { digest: Digest::of(b"kept"), size: 4 };
        Box::pin(std::future::ready(Ok(Some(kept))))
    }

    fn open(&self, _: Tree) -> BoxFuture<'_, Result<PathBuf, Error>> {
        let path = self.notes().fetched.as_ref().map(|directory| directory.path().to_owned());
        Box::pin(std::future::ready(path.ok_or_else(|| Error::internal("nothing was fetched"))))
    }

    fn known(&self) -> BoxFuture<'_, Result<Vec<Known>, Error>> {
        Box::pin(std::future::ready(Ok(selection::shipped())))
    }

    fn python_image(&self) -> Option<String> {
        self.notes().python_image.clone()
    }

    fn bases(&self) -> BoxFuture<'_, Result<Bases, Error>> {
        let python = self.notes().python_image.clone().map(|image| ("python".to_owned(), image));
        Box::pin(std::future::ready(Ok(Bases::known().with(python))))
    }

    fn serve(&self, instance: NewInstance) -> BoxFuture<'_, Result<Served, Error>> {
        let mut notes = self.notes();
        notes.served.push(instance);
        let served = notes.ends.map_or(Served::Serving, |exit_code| Served::Ended { exit_code });
        Box::pin(std::future::ready(Ok(served)))
    }
}

/// The files of an app, for rules that only look.
pub(crate) fn app(files: &[(&str, &str)]) -> (tempfile::TempDir, PathBuf) {
    let directory = directory(files);
    let path = Path::new(directory.path()).to_owned();
    (directory, path)
}
