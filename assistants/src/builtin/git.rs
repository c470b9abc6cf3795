//! `builtin:git`: the tree of a commit becomes the app.

use aigis_proxy::{
    Error, quoted,
    services::steps::{Ask, GitWork, Question},
};
use aigis_registry::AppState;
use futures::future::BoxFuture;

use super::{
    Builtin, Context, Outcome,
    app::{lacks, paths},
};
use crate::selection::{self, Choice, Selection};

pub(super) const NAME: &str = "git";
/// The state file that says what is fetched.
const FILE: &str = "git";
/// Longest URL, in bytes.
const MAX_URL: usize = 2_048;
/// Longest name of a commit, a tag or a branch, in bytes.
const MAX_REFERENCE: usize = 255;

/// Fetches the app from a git repository.
#[derive(Debug)]
pub(super) struct Git;

impl Builtin for Git {
    fn name(&self) -> &'static str {
        NAME
    }

    fn description(&self) -> &'static str {
        "Makes the tree of a git repository the app."
    }

    fn run<'a>(&'a self, context: &'a mut Context) -> BoxFuture<'a, Result<Outcome, Error>> {
        Box::pin(fetch(context))
    }
}

async fn fetch(context: &Context) -> Result<Outcome, Error> {
    let Some(source) = context.state.text(FILE) else {
        return Err(lacks(NAME, "the state file git").hint("write URL or URL#REF into it"));
    };
    let work = parse(source.trim())?;
    let reference = work.reference.as_deref().map(|reference| format!(" at {reference}")).unwrap_or_default();
    context.means.log(&format!("fetching {}{reference}", without_password(&work.url)));
    let tree = context.means.fetch(work).await?;
    let directory = context.means.open(tree).await?;
    let choice = choose(context, &paths(directory).await?).await?;
    context.means.log(&format!("next {}: {}", choice.name, choice.reason));
    Ok(Outcome {
        app_tree: Some(tree),
        state: context.state.clone(),
        next: Some(choice.name.to_string()),
        ..Outcome::default()
    })
}

/// The assistant that goes on with the tree.
async fn choose(context: &Context, paths: &[String]) -> Result<Choice, Error> {
    let known = context.means.known().await?;
    let mut state = context.state.clone();
    // What made this run would make it run for ever.
    if state.first().is_some_and(|first| first == NAME || first == "builtin:git") {
        state = AppState::default();
    }
    let several = match selection::choose(None, &state, paths, &known)? {
        Selection::One(choice) => return Ok(choice),
        Selection::Several(several) => several,
    };
    let question = Question {
        id: "first".to_owned(),
        ask: "Several assistants are made for this app. Which one goes on?".to_owned(),
        kind: Ask::Choose,
        choices: several.iter().map(|choice| choice.name.to_string()).collect(),
        default: None,
        until: String::new(),
    };
    let answer = context.means.ask(question).await?;
    let chosen = several.iter().find(|choice| choice.name.to_string() == answer.trim()).cloned();
    match chosen {
        Some(choice) => Ok(choice),
        None => Selection::Several(several).only(),
    }
}

/// Reads `URL[#REF]`: a URL that git takes, of a repository on another host, and what is to be had of it.
fn parse(source: &str) -> Result<GitWork, Error> {
    let wrong = |why: &str| {
        let shown = quoted(&without_password(source));
        Error::invalid(format!("git: {shown} {why}"))
            .hint("write SCHEME://HOST/PATH or USER@HOST:PATH, and # with a commit, tag or branch after it")
            .with("file", FILE)
    };
    let (url, reference) = source.split_once('#').map_or((source, None), |(url, reference)| (url, Some(reference)));
    if url.len() > MAX_URL || url.starts_with('-') || url.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Err(wrong("is no URL of a repository"));
    }
    let is_scheme = |scheme: &str| ["https", "http", "ssh", "git", "file"].contains(&scheme);
    let is_remote = match url.split_once("://") {
        Some((scheme, rest)) => is_scheme(scheme) && !rest.is_empty() && !rest.starts_with('-'),
        None => url.split_once(':').is_some_and(|(host, path)| {
            let host = host.split_once('@').filter(|(user, _)| !user.is_empty()).map(|(_, host)| host);
            host.is_some_and(|host| !host.is_empty() && !host.contains('/') && !host.starts_with('-'))
                && !path.is_empty()
        }),
    };
    if !is_remote {
        return Err(wrong("is no URL of a repository"));
    }
    let good = |reference: &str| {
        let odd = |c: char| c.is_control() || c.is_whitespace() || "~^:?*[\\".contains(c);
        (1..=MAX_REFERENCE).contains(&reference.len())
            && !reference.starts_with(['-', '/'])
            && !reference.contains("..")
            && !reference.chars().any(odd)
    };
    if reference.is_some_and(|reference| !good(reference)) {
        return Err(wrong("names no commit, tag or branch after #"));
    }
    Ok(GitWork { url: url.to_owned(), reference: reference.map(str::to_owned) })
}

/// A URL as logs may hold it.
fn without_password(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let end = rest.find('/').unwrap_or(rest.len());
    match rest.get(..end).and_then(|authority| authority.rfind('@')) {
        Some(at) => format!("{scheme}://***{}", rest.get(at..).unwrap_or_default()),
        None => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::builtin::testing::Bench;

    #[tokio::test]
    async fn the_tree_becomes_the_app_and_the_choice_follows_from_it() {
        let bench = Bench::new(&[("index.html", "")]);
        bench.fetches(&[("requirements.txt", ""), ("deep/x", "")]);
        let source = [("git", "https://me:word@host/repo.git#v1\n"), ("first", "builtin:git")];
        let outcome = bench.run(NAME, &source).await.unwrap();
        assert_eq!(outcome.next.as_deref(), Some("builtin:python"));
        assert!(outcome.app_tree.is_some());
        assert_eq!(outcome.state.text("first").as_deref(), Some("builtin:git"));
        assert_eq!(bench.log().first().map(String::as_str), Some("fetching https://***@host/repo.git at v1"));
        let outcome = bench.run(NAME, &[("git", "git@host:repo"), ("first", "exec")]).await.unwrap();
        assert_eq!(outcome.next.as_deref(), Some("builtin:exec"));
        assert!(Bench::new(&[]).run(NAME, &[]).await.unwrap_err().message.contains("needs the state file git"));
    }

    #[test]
    fn only_urls_of_repositories_reach_git() {
        for (source, url, reference) in [
            ("https://h/p.git", "https://h/p.git", None),
            ("https://h/p.git#main", "https://h/p.git", Some("main")),
            ("ssh://git@h:22/p#feature/x", "ssh://git@h:22/p", Some("feature/x")),
            ("git@h:p/q.git#1a2b", "git@h:p/q.git", Some("1a2b")),
            ("file:///srv/p", "file:///srv/p", None),
        ] {
            let work = parse(source).unwrap();
            assert_eq!((work.url.as_str(), work.reference.as_deref()), (url, reference));
        }
        for source in [
            "",
            "-uhttps://h/p",
            "--upload-pack=x",
            "/srv/p",
            "h:p",
            "ext::sh -c x",
            "ext::sh",
            "ssh://-oProxyCommand=x/p",
            "a@-oProxyCommand=x:p",
            "https://h/p#",
            "https://h/p#-x",
            "https://h/p#a..b",
            "https://h/p q",
            "https://h/p#a\nb",
        ] {
            let error = parse(source).unwrap_err();
            assert!(error.message.starts_with("git: "), "{source}: {error}");
        }
        assert!(!parse("https://me:word@h/p q").unwrap_err().message.contains("word"));
    }
}
