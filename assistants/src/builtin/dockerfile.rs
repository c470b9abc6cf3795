//! `builtin:dockerfile`: builds the app's image.

use aigis_proxy::{
    Error,
    services::steps::{BuildWork, Image},
};
use aigis_registry::dockerfile::parse;
use futures::future::BoxFuture;

use super::{
    Builtin, Context, Outcome,
    app::{App, blocking, json, lacks},
};

pub(super) const NAME: &str = "dockerfile";
/// What images of systems and languages run if nobody says more.
const PROMPTS: [&str; 11] =
    ["/bin/bash", "/bin/sh", "ash", "bash", "irb", "jshell", "node", "php", "python", "python3", "sh"];

/// Builds the app with its Dockerfile, or with the one that was proposed.
#[derive(Debug)]
pub(super) struct Dockerfile;

impl Builtin for Dockerfile {
    fn name(&self) -> &'static str {
        NAME
    }

    fn description(&self) -> &'static str {
        "Builds the app's Dockerfile, or the one that builtin:detect proposed."
    }

    fn run<'a>(&'a self, context: &'a mut Context) -> BoxFuture<'a, Result<Outcome, Error>> {
        Box::pin(build(context))
    }
}

async fn build(context: &Context) -> Result<Outcome, Error> {
    let directory = context.app_dir.clone();
    let own = blocking(move || Ok(App::new(&directory).text("Dockerfile"))).await?;
    let proposed = own.is_none().then(|| context.state.text("dockerfile")).flatten();
    let Some(text) = own.as_ref().or(proposed.as_ref()) else {
        return Err(lacks(NAME, "a Dockerfile in the app, or the state file dockerfile")
            .hint("write a Dockerfile, or begin with builtin:detect, which proposes one"));
    };
    let parsed = parse(text);
    let which = if own.is_some() { "the app's Dockerfile" } else { "the Dockerfile that was proposed" };
    context.means.log(&format!("building {which}"));
    let work = BuildWork { context: context.app_tree, dockerfile: proposed, tag: tag(context) };
    let image = context.means.build(work).await?;
    let cmd = command(&image, parsed.has_command())?;

    let mut state = context.state.clone();
    state.set("image", image.id.as_str());
    state.set("cmd", json(&cmd));
    match image.workingdir.as_str() {
        "" => state.clear("workingdir"),
        directory => state.set("workingdir", directory),
    }
    let ports = ports(&image, &parsed.exposed(), |text| context.means.warn(&text));
    if ports.is_empty() {
        state.clear("ports");
    } else {
        state.set("ports", serde_json::json!(ports).to_string());
    }
    Ok(Outcome { state, next: Some("builtin:exec".to_owned()), ..Outcome::default() })
}

/// What the image of an app is called.
pub(super) fn tag(context: &Context) -> String {
    format!("aigis/{}:latest", context.app)
}

/// What the image runs. Many a base has a shell for who tries it out: that is no app, unless the Dockerfile says so.
fn command(image: &Image, is_own: bool) -> Result<Vec<String>, Error> {
    let cmd: Vec<String> = image.entrypoint.iter().chain(&image.cmd).cloned().collect();
    let is_prompt = image.cmd.len() == 1 && image.cmd.iter().all(|word| PROMPTS.contains(&word.as_str()));
    let fault = match (cmd.is_empty(), is_own) {
        (true, _) => ", and nor has the image it is from",
        (false, false) if is_prompt => "; the image it is from only runs a prompt",
        _ => return Ok(cmd),
    };
    Err(Error::precondition(format!("the Dockerfile has neither ENTRYPOINT nor CMD{fault}"))
        .hint("say what the app runs: CMD [\"./app\"]"))
}

/// The TCP ports that an image exposes: in the order of its Dockerfile, for the image itself knows none, then others.
fn ports(image: &Image, written: &[&str], warn: impl Fn(String)) -> Vec<u16> {
    let mut ports = Vec::new();
    for exposed in &image.exposed {
        let (port, protocol) = exposed.split_once('/').unwrap_or((exposed, "tcp"));
        match port.parse() {
            Ok(port) if port > 0 && protocol.eq_ignore_ascii_case("tcp") => ports.push(port),
            _ => warn(format!("EXPOSE {exposed}: only TCP ports are carried; it is left out")),
        }
    }
    let place = |port: &u16| {
        let is_this = |text: &&str| {
            let (number, protocol) = text.split_once('/').unwrap_or((*text, "tcp"));
            protocol.eq_ignore_ascii_case("tcp") && number.parse() == Ok(*port)
        };
        written.iter().position(is_this).unwrap_or(usize::MAX)
    };
    ports.sort_by_key(|port| (place(port), *port));
    ports.dedup();
    ports
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::builtin::testing::Bench;

    fn built(exposed: &[&str], entrypoint: &[&str], cmd: &[&str]) -> Image {
        let own = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect();
        Image {
            id: "sha256:1".to_owned(),
            entrypoint: own(entrypoint),
            cmd: own(cmd),
            workingdir: "/w".to_owned(),
            exposed: own(exposed),
            volumes: Vec::new(),
        }
    }

    #[tokio::test]
    async fn chn_20_the_image_says_what_the_app_is() {
        let text = "FROM x\nEXPOSE 80/udp 3000 900\nCMD serve";
        let bench = Bench::new(&[("Dockerfile", text)]);
        bench.builds(built(&["80/udp", "900/tcp", "3000/tcp"], &[], &["/bin/sh", "-c", "serve"]));
        let outcome = bench.run(NAME, &[("ports", "[1]"), ("mine", "x")]).await.unwrap();
        assert_eq!(outcome.state.get("cmd"), Some(br#"["/bin/sh","-c","serve"]"#.as_slice()));
        assert_eq!(outcome.state.text("ports").as_deref(), Some("[3000,900]"));
        assert_eq!(outcome.state.text("workingdir").as_deref(), Some("/w"));
        assert_eq!(outcome.state.text("image").as_deref(), Some("sha256:1"));
        assert_eq!(outcome.state.text("mine").as_deref(), Some("x"));
        assert_eq!((outcome.next.as_deref(), outcome.app_tree), (Some("builtin:exec"), None));
        assert_eq!(bench.warnings(), ["EXPOSE 80/udp: only TCP ports are carried; it is left out"]);
        let work = bench.built();
        assert_eq!((work.dockerfile, work.tag.as_str()), (None, "aigis/hello:latest"));
    }

    #[tokio::test]
    async fn chn_20_an_image_without_a_command_fails() {
        let bench = Bench::new(&[("Dockerfile", "FROM x")]);
        bench.builds(built(&[], &[], &[]));
        let error = bench.run(NAME, &[]).await.unwrap_err();
        assert!(error.message.contains("neither ENTRYPOINT nor CMD"), "{error}");
        // What its base runs is a shell, and no app.
        bench.builds(built(&[], &[], &["sh"]));
        let error = bench.run(NAME, &[]).await.unwrap_err();
        assert!(error.message.contains("only runs a prompt"), "{error}");
        // The base of a server serves.
        bench.builds(built(&[], &["/entry"], &["nginx", "-g", "daemon off;"]));
        assert!(bench.run(NAME, &[]).await.is_ok());
        let own = Bench::new(&[("Dockerfile", "FROM x\nCMD [\"sh\"]")]);
        own.builds(built(&[], &[], &["sh"]));
        assert!(own.run(NAME, &[]).await.is_ok());
    }

    #[tokio::test]
    async fn what_an_earlier_image_said_is_cleared_and_a_proposal_is_second() {
        let bench = Bench::new(&[]);
        bench.builds(Image { workingdir: String::new(), ..built(&[], &["/a"], &["b"]) });
        let before = [("dockerfile", "FROM y"), ("ports", "[1]"), ("workingdir", "/old"), ("cmd", "[\"old\"]")];
        let outcome = bench.run(NAME, &before).await.unwrap();
        assert_eq!(outcome.state.text("cmd").as_deref(), Some(r#"["/a","b"]"#));
        assert_eq!((outcome.state.get("ports"), outcome.state.get("workingdir")), (None, None));
        assert_eq!(bench.built().dockerfile.as_deref(), Some("FROM y"));

        let own = Bench::new(&[("Dockerfile", "FROM x")]);
        own.builds(built(&[], &["/a"], &[]));
        own.run(NAME, &before).await.unwrap();
        assert_eq!(own.built().dockerfile, None);
        let error = Bench::new(&[]).run(NAME, &[]).await.unwrap_err();
        assert!(error.message.contains("builtin:dockerfile needs a Dockerfile"), "{error}");
    }
}
