//! With the real git, and real files.

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    process::Command,
};

use aigis_proxy::Name;

use super::*;
use crate::plugins::{Folder, Note};

/// A data directory, and a source beside it.
struct Scene {
    directory: tempfile::TempDir,
}

impl Scene {
    fn new() -> Self {
        let scene = Self { directory: tempfile::tempdir().unwrap() };
        fs::create_dir(scene.source()).unwrap();
        scene
    }

    fn source(&self) -> PathBuf {
        self.directory.path().join("from")
    }

    fn folder(&self) -> Folder {
        Folder::new(&self.directory.path().join("data"), &Name::parse("fx").unwrap())
    }

    fn write(&self, file: &str, content: &str) {
        let path = self.source().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    /// What the runtime copy has there.
    fn copied(&self, file: &str) -> Option<String> {
        fs::read_to_string(self.folder().copy().join(file)).ok()
    }

    fn local(&self) -> Source {
        plain(Location::Path(self.source()))
    }

    fn remote(&self) -> Source {
        let url = format!("file://{}", self.source().display());
        plain(Location::parse(&url, Path::new("/")).unwrap())
    }

    fn git(&self, words: &[&str]) -> String {
        git(&self.source(), words)
    }

    fn commit(&self, file: &str, content: &str) -> String {
        self.write(file, content);
        self.git(&["add", "--all"]);
        self.git(&["commit", "--quiet", "-m", content]);
        self.git(&["rev-parse", "HEAD"])
    }

    /// Brings the source and delivers it; says what was said.
    async fn take(&self, source: &Source, occasion: Occasion) -> Result<(Option<String>, String), Error> {
        let Report { fetched, present, mut notes } = fetch(&self.folder(), source, occasion).await?;
        let revision = match fetched {
            Some(fetched) => {
                let (present, more) = fetched.deliver().await?;
                notes.extend(more);
                present.revision
            }
            None => present.and_then(|present| present.revision),
        };
        Ok((revision, notes.iter().map(Note::to_string).collect::<Vec<_>>().join("\n")))
    }
}

fn plain(location: Location) -> Source {
    Source { location, reference: None, subdir: None, update: Update::Start }
}

fn git(directory: &Path, words: &[&str]) -> String {
    let settings = ["-c", "user.name=t", "-c", "user.email=t@t", "-c", "init.defaultBranch=main"];
    let run = Command::new("git").args(settings).args(words).current_dir(directory).output().unwrap();
    assert!(run.status.success(), "{words:?}: {}", String::from_utf8_lossy(&run.stderr));
    String::from_utf8(run.stdout).unwrap().trim().to_owned()
}

#[test]
fn what_is_a_url_and_what_a_path() {
    let parse = |text: &str| Location::parse(text, Path::new("/etc/aigis"));
    for url in ["https://x/y.git", "ssh://git@x:22/y", "git@x:y.git", "file:///srv/x", "git://x/y", "HTTPS://x/y"] {
        assert!(matches!(parse(url), Ok(Location::Git(_))), "{url}");
    }
    for (path, full) in [
        ("x", "/etc/aigis/x"),
        ("./x", "/etc/aigis/x"),
        ("/srv/x", "/srv/x"),
        ("a:b", "/etc/aigis/a:b"),
        ("a/b@c:d", "/etc/aigis/a/b@c:d"),
    ] {
        assert_eq!(parse(path), Ok(Location::Path(full.into())), "{path}");
    }
    assert_eq!(parse("~/x"), Ok(Location::Path(std::env::home_dir().unwrap().join("x"))));
    for bad in ["", "-x", "--upload-pack=touch M", "a\nb", "a\u{1b}", "ext://x", "ftp://x"] {
        assert!(parse(bad).is_err(), "{bad:?}");
    }
    let Ok(Location::Git(url)) = parse("https://me:hush-hush@x/y") else { panic!() };
    for shown in [format!("{url}"), format!("{url:?}")] {
        assert!(shown.contains("https://me:***@x/y") && !shown.contains("hush"), "{shown}");
    }
    let git = |text: &str| match parse(text) {
        Ok(Location::Git(url)) => url,
        other => panic!("{text}: {other:?}"),
    };
    // Some servers take a token as the name.
    assert_eq!(git("https://hush-hush@x/y").to_string(), "https://***@x/y");
    assert_eq!(git("ssh://git@x/y").to_string(), "ssh://git@x/y");
    for same in ["https://x/y", "https://me:hush@X/y.git", "https://x/y/"] {
        assert_eq!(git(same).repository(), "https://x/y", "{same}");
    }
    assert_eq!((git("git@h:a/b.git").repository().as_str(), git("git@h:a/b").has_password()), ("h:a/b", false));
    assert!(Reference::parse("v1.2").is_ok() && Reference::parse("feature/x").is_ok());
    for bad in ["", "-x", "a b", "a..b", "a^", "a:b", "@{1}", "a\n"] {
        assert!(Reference::parse(bad).is_err(), "{bad:?}");
    }
    assert_eq!(Subdirectory::parse("a/b/").unwrap().as_str(), "a/b");
    for bad in ["", "/", "/a", "../a", "a/../b", "a//b", ".", "-x", "a:b"] {
        assert!(Subdirectory::parse(bad).is_err(), "{bad:?}");
    }
}

#[tokio::test]
async fn plg_07_a_repository_is_followed_and_its_loss_survived() {
    let scene = Scene::new();
    scene.git(&["init", "--quiet"]);
    let first = scene.commit("code.py", "one");
    let source = scene.remote();
    let (revision, notes) = scene.take(&source, Occasion::Start).await.unwrap();
    assert_eq!((revision.as_ref(), notes.as_str()), (Some(&first), ""));
    assert_eq!(scene.copied("code.py").as_deref(), Some("one"));
    assert!(!scene.folder().copy().join(".git").exists(), "the copy is the tree of one commit");
    let second = scene.commit("code.py", "two");
    let (revision, _) = scene.take(&source, Occasion::Start).await.unwrap();
    assert_eq!((revision, scene.copied("code.py").as_deref()), (Some(second.clone()), Some("two")));
    scene.commit("code.py", "three");
    let never = Source { update: Update::Never, ..source.clone() };
    assert_eq!(scene.take(&never, Occasion::Start).await.unwrap().0, Some(second.clone()));
    let third = scene.take(&never, Occasion::Reload).await.unwrap().0.unwrap();
    assert_ne!(third, second);
    fs::rename(scene.source(), scene.directory.path().join("gone")).unwrap();
    let (revision, notes) = scene.take(&source, Occasion::Start).await.unwrap();
    assert_eq!((revision.as_ref(), scene.copied("code.py").as_deref()), (Some(&third), Some("three")));
    assert!(notes.contains("could not update fx: ") && notes.ends_with(&format!(", using {third}")), "{notes}");
    assert!(scene.take(&source, Occasion::Reload).await.is_err());
    assert_eq!(scene.copied("code.py").as_deref(), Some("three"));
}

#[tokio::test]
async fn plg_08_a_clone_that_fails_leaves_nothing_and_touches_no_repository_around() {
    let scene = Scene::new();
    let outer = scene.directory.path();
    git(outer, &["init", "--quiet"]);
    fs::write(outer.join("mine"), "x").unwrap();
    git(outer, &["add", "mine"]);
    git(outer, &["commit", "--quiet", "-m", "mine"]);
    let state = || {
        let read = |file: &str| fs::read(outer.join(".git").join(file)).unwrap();
        (read("HEAD"), read("index"), git(outer, &["rev-parse", "HEAD"]), git(outer, &["status", "--porcelain"]))
    };
    let before = state();
    let error = scene.take(&scene.remote(), Occasion::Start).await.unwrap_err();
    assert!(matches!(error, Error::Git { what: "fetch", .. }), "{error}");
    assert!(!scene.folder().path().exists());
    assert_eq!(state(), before);
    // An empty repository is no better.
    scene.git(&["init", "--quiet"]);
    assert!(matches!(scene.take(&scene.remote(), Occasion::Start).await, Err(Error::Empty)));
    assert!(!scene.folder().path().exists());
}

#[tokio::test]
async fn plg_09_a_revision_is_a_branch_a_tag_or_a_commit() {
    let scene = Scene::new();
    scene.git(&["init", "--quiet"]);
    let first = scene.commit("f", "one");
    scene.git(&["tag", "-a", "v1", "-m", "v1"]);
    scene.git(&["checkout", "--quiet", "-b", "side"]);
    let side = scene.commit("f", "side");
    scene.git(&["checkout", "--quiet", "main"]);
    let main = scene.commit("sub/dir/f", "main");
    for (reference, expected) in
        [("v1", &first), ("side", &side), ("main", &main), (first.as_str(), &first), (&side[..8], &side)]
    {
        let source = Source { reference: Some(Reference::parse(reference).unwrap()), ..scene.remote() };
        assert_eq!(scene.take(&source, Occasion::Start).await.unwrap().0.as_ref(), Some(expected), "{reference}");
    }
    // One that nobody leads to any more, and that the remote still has.
    scene.git(&["branch", "--quiet", "-D", "side"]);
    scene.git(&["config", "uploadpack.allowAnySHA1InWant", "true"]);
    let source = Source { reference: Some(Reference::parse(&side).unwrap()), ..scene.remote() };
    scene.folder().remove().unwrap();
    assert_eq!(scene.take(&source, Occasion::Start).await.unwrap().0.as_ref(), Some(&side));
    scene.folder().remove().unwrap();
    let source = Source { reference: Some(Reference::parse("nowhere").unwrap()), ..scene.remote() };
    let error = scene.take(&source, Occasion::Start).await.unwrap_err();
    assert!(error.to_string().contains("\"nowhere\"") && !scene.folder().path().exists(), "{error}");
    let within = Source { subdir: Some(Subdirectory::parse("sub/dir").unwrap()), ..scene.remote() };
    scene.take(&within, Occasion::Start).await.unwrap();
    assert_eq!(scene.copied("f").as_deref(), Some("main"));
    let nowhere = Source { subdir: Some(Subdirectory::parse("sub/none").unwrap()), ..scene.remote() };
    assert!(matches!(scene.take(&nowhere, Occasion::Reload).await, Err(Error::NoSubdirectory(_))));
    // `master` goes before the remote's own choice.
    scene.git(&["branch", "master", "v1"]);
    assert_eq!(scene.take(&scene.remote(), Occasion::Reload).await.unwrap().0.as_ref(), Some(&first));
}

#[tokio::test]
async fn plg_10_nothing_that_a_repository_brings_is_run() {
    let scene = Scene::new();
    let mark = scene.directory.path().join("M");
    let source = plain(Location::parse(&format!("ext::sh -c touch% {}", mark.display()), Path::new("/x")).unwrap());
    assert!(matches!(scene.take(&source, Occasion::Start).await, Err(Error::Missing(_))));
    scene.git(&["init", "--quiet"]);
    scene.commit("f", "one");
    for hook in ["post-checkout", "post-merge", "reference-transaction", "post-update"] {
        let path = scene.source().join(".git/hooks").join(hook);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, format!("#!/bin/sh\ntouch {}\n", mark.display())).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    scene.take(&scene.remote(), Occasion::Start).await.unwrap();
    assert!(!mark.exists());
}

#[tokio::test]
async fn plg_11_a_directory_is_copied_once_and_its_change_is_told() {
    let scene = Scene::new();
    scene.write("code.py", "one");
    scene.write("lib/run.sh", "#!/bin/sh");
    fs::set_permissions(scene.source().join("lib/run.sh"), fs::Permissions::from_mode(0o755)).unwrap();
    scene.write(".hidden", "too");
    symlink("code.py", scene.source().join("link.py")).unwrap();
    let source = scene.local();
    scene.take(&source, Occasion::Start).await.unwrap();
    assert_eq!(scene.copied("link.py").as_deref(), Some("one"));
    assert!(!fs::symlink_metadata(scene.folder().copy().join("link.py")).unwrap().is_symlink());
    assert_eq!(scene.copied(".hidden").as_deref(), Some("too"));
    let (from, to) = (scene.source().join("lib/run.sh"), scene.folder().copy().join("lib/run.sh"));
    let look = |path: &Path| fs::metadata(path).map(|m| (m.permissions().mode(), m.modified().unwrap())).unwrap();
    assert_eq!(look(&from), look(&to));
    let (_, notes) = scene.take(&source, Occasion::Start).await.unwrap();
    assert_eq!(notes, "the source is as it was copied");
    scene.write("code.py", "two");
    let (_, notes) = scene.take(&source, Occasion::Start).await.unwrap();
    assert_eq!(notes, "source changed since it was copied; aish plugins reload fx takes it");
    assert_eq!(scene.copied("code.py").as_deref(), Some("one"));
    scene.take(&source, Occasion::Reload).await.unwrap();
    assert_eq!(scene.copied("code.py").as_deref(), Some("two"));
    let (_, notes) = scene.take(&source, Occasion::Start).await.unwrap();
    assert_eq!(notes, "the source is as it was copied");
}

#[tokio::test]
async fn plg_12_what_a_plugin_wrote_survives_every_update() {
    let scene = Scene::new();
    for (file, content) in
        [("code.py", "1"), ("state.json", "{}"), ("gone.py", "1"), ("kept.txt", "1"), ("seed", "1"), ("d/a", "1")]
    {
        scene.write(file, content);
    }
    let source = scene.local();
    scene.take(&source, Occasion::Start).await.unwrap();
    let copy = scene.folder().copy();
    let wrote = |file: &str, content: &str| fs::write(copy.join(file), content).unwrap();
    wrote("state.json", "mine");
    wrote("new.json", "mine");
    wrote("kept.txt", "mine");
    wrote("d/own", "mine");
    fs::remove_file(copy.join("seed")).unwrap();
    scene.write("code.py", "2");
    for gone in ["gone.py", "kept.txt", "d/a"] {
        fs::remove_file(scene.source().join(gone)).unwrap();
    }
    fs::remove_dir(scene.source().join("d")).unwrap();
    let (_, notes) = scene.take(&source, Occasion::Reload).await.unwrap();
    assert_eq!(notes, "");
    let seen = |file: &str| scene.copied(file);
    let mine = Some("mine".to_owned());
    assert_eq!(seen("code.py").as_deref(), Some("2"));
    for file in ["state.json", "new.json", "kept.txt", "d/own"] {
        assert_eq!(seen(file), mine, "{file}");
    }
    for file in ["gone.py", "d/a", "seed", "state.json.new"] {
        assert_eq!(seen(file), None, "{file}");
    }
    scene.write("state.json", "{2}");
    scene.write("new.json", "source");
    let (_, notes) = scene.take(&source, Occasion::Reload).await.unwrap();
    assert_eq!((seen("state.json"), seen("state.json.new").as_deref()), (mine.clone(), Some("{2}")));
    assert_eq!((seen("new.json"), seen("new.json.new").as_deref()), (mine.clone(), Some("source")));
    assert!(
        notes.contains("state.json was changed here and in the source") && notes.contains("state.json.new"),
        "{notes}"
    );
    // Said once; what lies beside is replaced by the next one, unless somebody worked on it.
    let (_, notes) = scene.take(&source, Occasion::Reload).await.unwrap();
    assert_eq!(notes, "");
    wrote("new.json.new", "merged");
    scene.write("state.json", "{3}");
    scene.write("new.json", "source 2");
    scene.take(&source, Occasion::Reload).await.unwrap();
    assert_eq!(seen("state.json.new").as_deref(), Some("{3}"));
    assert_eq!(
        (seen("new.json.new").as_deref(), seen("new.json.new.2").as_deref()),
        (Some("merged"), Some("source 2"))
    );
    // And somebody may want nothing of it all.
    scene.take(&source, Occasion::Fresh).await.unwrap();
    assert_eq!((seen("state.json").as_deref(), seen("d/own"), seen("seed").as_deref()), (Some("{3}"), None, Some("1")));
}

#[tokio::test]
async fn plg_12_files_and_directories_may_change_places() {
    let scene = Scene::new();
    scene.write("a", "file");
    scene.write("b/x", "in");
    scene.write("c", "file");
    scene.write("e/x", "in");
    let source = scene.local();
    scene.take(&source, Occasion::Start).await.unwrap();
    let copy = scene.folder().copy();
    fs::write(copy.join("c"), "mine").unwrap();
    let outside = scene.directory.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("x"), "in").unwrap();
    fs::remove_dir_all(copy.join("e")).unwrap();
    symlink(&outside, copy.join("e")).unwrap();
    for gone in ["a", "c"] {
        fs::remove_file(scene.source().join(gone)).unwrap();
        scene.write(&format!("{gone}/deep/y"), "new");
    }
    fs::remove_dir_all(scene.source().join("b")).unwrap();
    fs::remove_file(scene.source().join("e/x")).unwrap();
    scene.write("b", "file");
    scene.write("e/z", "new");
    let (_, notes) = scene.take(&source, Occasion::Reload).await.unwrap();
    assert_eq!((scene.copied("a/deep/y").as_deref(), scene.copied("b").as_deref()), (Some("new"), Some("file")));
    assert_eq!((scene.copied("c").as_deref(), scene.copied("c.new/deep/y").as_deref()), (Some("mine"), Some("new")));
    assert!(notes.contains("as c.new"), "{notes}");
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 1, "nothing is written or removed through the plugin's link");
    assert!(outside.join("x").exists());
    assert_eq!(scene.copied("e.new/z").as_deref(), Some("new"));
    // The next ones go the same way, and what somebody made of the last ones stays.
    fs::write(copy.join("e.new/z"), "merged").unwrap();
    scene.write("e/z", "newer");
    scene.write("c/deep/y", "newer");
    scene.take(&source, Occasion::Reload).await.unwrap();
    assert_eq!(
        (scene.copied("e.new/z").as_deref(), scene.copied("e.new/z.new").as_deref()),
        (Some("merged"), Some("newer"))
    );
    assert_eq!((scene.copied("c").as_deref(), scene.copied("c.new/deep/y").as_deref()), (Some("mine"), Some("newer")));
    let (_, notes) = scene.take(&source, Occasion::Reload).await.unwrap();
    assert_eq!(notes, "");
}

#[tokio::test]
async fn plg_12_a_delivery_that_was_interrupted_is_made_whole() {
    let scene = Scene::new();
    scene.write("a", "1");
    scene.write("b", "1");
    let source = scene.local();
    scene.take(&source, Occasion::Start).await.unwrap();
    scene.write("a", "2");
    scene.write("b", "2");
    // As a node leaves it that is killed between two files.
    let report = fetch(&scene.folder(), &source, Occasion::Reload).await.unwrap();
    let tree = report.fetched.as_ref().unwrap().tree();
    let items = index::Index::of(&tree).unwrap();
    let half = deliver::Delivered { digest: items.digest(), items, ..deliver::Delivered::default() };
    half.begin(&scene.folder()).unwrap();
    fs::copy(tree.join("a"), scene.folder().copy().join("a")).unwrap();
    drop(report);
    scene.write("a", "3");
    let (_, notes) = scene.take(&source, Occasion::Start).await.unwrap();
    assert_eq!((scene.copied("a").as_deref(), scene.copied("b").as_deref()), (Some("3"), Some("2")), "{notes}");
    assert_eq!(notes, "");
    assert!(!scene.folder().delivering().exists());
}

#[tokio::test]
async fn plg_13_what_cannot_be_copied_is_named_and_leaves_no_copy() {
    let scene = Scene::new();
    scene.write("good", "x");
    let source = scene.source();
    type Make<'a> = &'a dyn Fn(&Path);
    let tries: [(&str, Make<'_>); 4] = [
        ("dangling", &|path| symlink("nowhere", path).unwrap()),
        ("circle", &|path| symlink("circle", path).unwrap()),
        ("up", &|path| symlink(".", path).unwrap()),
        ("fifo", &|path| rustix::fs::mkfifoat(rustix::fs::CWD, path, rustix::fs::Mode::RWXU).unwrap()),
    ];
    for (name, make) in tries {
        let path = source.join(name);
        make(&path);
        let error = scene.take(&scene.local(), Occasion::Start).await.unwrap_err();
        assert!(error.to_string().contains(name), "{error}");
        assert!(!scene.folder().path().exists(), "{name}");
        fs::remove_file(path).unwrap();
    }
    let within = plain(Location::Path(scene.directory.path().to_owned()));
    assert!(matches!(scene.take(&within, Occasion::Start).await, Err(Error::Within(_))));
    let missing = plain(Location::Path(source.join("none")));
    let error = scene.take(&missing, Occasion::Start).await.unwrap_err();
    assert_eq!(error.code(), aigis_proxy::Code::NotFound);
    assert!(matches!(
        scene.take(&plain(Location::Path(source.join("good"))), Occasion::Start).await,
        Err(Error::NoDirectory(_))
    ));
    scene.take(&scene.local(), Occasion::Start).await.unwrap();
    assert_eq!(scene.copied("good").as_deref(), Some("x"));
}

#[tokio::test]
async fn a_password_in_a_url_is_in_no_message() {
    let scene = Scene::new();
    let source = plain(Location::parse("http://me:hush-hush@127.0.0.1:1/x", Path::new("/")).unwrap());
    let error = scene.take(&source, Occasion::Start).await.unwrap_err();
    assert!(!format!("{error} {error:?}").contains("hush"), "{error:?}");
}

#[test]
fn a_source_has_a_bound() {
    let mut count = index::Count::default();
    assert!(count.bytes(index::MOST_BYTES).is_ok());
    let error = count.bytes(1).unwrap_err();
    assert!(error.to_string().contains("2147483648 bytes"), "{error}");
    let mut count = index::Count::default();
    assert!((0..index::MOST_ITEMS).all(|_| count.item().is_ok()) && count.item().is_err());
}
