//! `builtin:exec`: runs the app.

use aigis_proxy::Error;
use futures::future::BoxFuture;

use super::{Builtin, Context, NewInstance, Outcome, Served, app::lacks};

pub(super) const NAME: &str = "exec";

/// Runs the image of the state.
#[derive(Debug)]
pub(super) struct Exec;

impl Builtin for Exec {
    fn name(&self) -> &'static str {
        NAME
    }

    fn description(&self) -> &'static str {
        "Runs the app's image, and serves its ports."
    }

    fn run<'a>(&'a self, context: &'a mut Context) -> BoxFuture<'a, Result<Outcome, Error>> {
        Box::pin(exec(context))
    }
}

async fn exec(context: &Context) -> Result<Outcome, Error> {
    let state = &context.state;
    let Some(image) = state.image()? else {
        return Err(lacks(NAME, "the state file image").hint("begin with builtin:dockerfile, which builds one"));
    };
    let instance = NewInstance {
        image,
        cmd: state.cmd()?.unwrap_or_default(),
        workingdir: state.workingdir()?,
        ports: state.ports()?,
    };
    context.means.log(&format!("running {}", instance.image));
    let mut outcome = Outcome { state: state.clone(), ..Outcome::default() };
    match context.means.serve(instance).await? {
        Served::Serving => outcome.serving = true,
        Served::Ended { exit_code } => {
            outcome.state.set("exit", exit_code.to_string());
            outcome.next = state.after();
            if outcome.next.is_none() && exit_code != 0 {
                return Err(Error::precondition(format!("app {} exited with {exit_code}", context.app)));
            }
        }
    }
    Ok(outcome)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::builtin::testing::Bench;

    const STATE: [(&str, &str); 4] =
        [("image", "sha256:1\n"), ("cmd", "[\"a\", \"b c\"]"), ("workingdir", "/w"), ("ports", "[5000, 80]")];

    #[tokio::test]
    async fn what_the_state_says_is_run_and_served() {
        let bench = Bench::new(&[]);
        let outcome = bench.run(NAME, &STATE).await.unwrap();
        assert!(outcome.serving && outcome.next.is_none());
        let expected = NewInstance {
            image: "sha256:1".to_owned(),
            cmd: vec!["a".to_owned(), "b c".to_owned()],
            workingdir: Some("/w".to_owned()),
            ports: vec![5000, 80],
        };
        assert_eq!(bench.served(), expected);
    }

    #[tokio::test]
    async fn chn_24_an_app_that_ended_says_how() {
        let bench = Bench::new(&[]);
        bench.ends(7);
        let error = bench.run(NAME, &STATE).await.unwrap_err();
        assert_eq!(error.message, "app hello exited with 7");
        bench.ends(0);
        let outcome = bench.run(NAME, &STATE).await.unwrap();
        assert_eq!((outcome.state.text("exit").as_deref(), outcome.next), (Some("0"), None));
    }

    #[tokio::test]
    async fn chn_25_what_comes_after_comes_however_it_ended() {
        let bench = Bench::new(&[]);
        bench.ends(3);
        let after = [("image", "x"), ("after", "fix")];
        let outcome = bench.run(NAME, &after).await.unwrap();
        assert_eq!((outcome.next.as_deref(), outcome.state.text("exit").as_deref()), (Some("fix"), Some("3")));
        assert!(!outcome.serving);
    }

    #[tokio::test]
    async fn nonsense_is_refused_with_file_and_value() {
        let error = Bench::new(&[]).run(NAME, &[]).await.unwrap_err();
        assert_eq!(error.message, "builtin:exec needs the state file image");
        for (file, value, says) in [
            ("image", "--privileged", "image: --privileged is no reference"),
            ("image", "a b", "image: a b is no reference"),
            ("ports", "[70000]", "ports: 70000 is not in 1..65535"),
            ("cmd", "[]", "cmd: [] is no JSON array"),
            ("workingdir", "w", "workingdir: w is no absolute path"),
        ] {
            let bench = Bench::new(&[]);
            let error = bench.run(NAME, &[("image", "x"), (file, value)]).await.unwrap_err();
            assert!(error.message.starts_with(says), "{error}");
        }
    }
}
