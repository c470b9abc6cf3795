//! A plan written as a Dockerfile, in the few instructions that every builder reads.

use std::fmt::Write as _;

use crate::plan::{Bases, Error, Health, Plan, Stage, Step};

/// The text of a plan's Dockerfile.
///
/// It has only `FROM … AS`, `ENV`, `WORKDIR`, `COPY`, `RUN`, `EXPOSE`, `HEALTHCHECK`, `USER`, `ENTRYPOINT []` and `CMD`,
/// each in the exec form where it has one, so that the classic builder of Docker 20.10 reads it as `BuildKit` does.
///
/// # Errors
///
/// A control character in anything that comes from the project, or a base that is not known.
pub fn render(plan: &Plan, bases: &Bases) -> Result<String, Error> {
    let mut out = Text { text: String::from("# Made by aish dockerfile from what the project's files say.\n") };
    for stage in &plan.stages {
        out.stage(stage, bases)?;
        out.line("");
    }
    let image = &plan.image;
    out.stage(&image.from, bases)?;
    out.env(&image.env)?;
    out.because(image.because.get("ports"))?;
    for port in &image.ports {
        out.line(&format!("EXPOSE {port}"));
    }
    if image.workdir != image.from.workdir {
        out.line(&format!("WORKDIR {}", word(&image.workdir, "the work directory")?));
    }
    if let Some(health) = &image.health {
        out.because(image.because.get("health"))?;
        out.health(health)?;
    }
    out.line(&format!("USER {}", image.user));
    out.line("ENTRYPOINT []");
    out.because(image.because.get("argv"))?;
    out.line(&format!("CMD {}", json(&image.argv, "the command")?));
    Ok(out.text)
}

struct Text {
    text: String,
}

impl Text {
    fn line(&mut self, line: &str) {
        self.text.push_str(line);
        self.text.push('\n');
    }

    fn because(&mut self, why: Option<&String>) -> Result<(), Error> {
        if let Some(why) = why {
            plain(why, "a file's name")?;
            self.line(&format!("# {why}"));
        }
        Ok(())
    }

    fn stage(&mut self, stage: &Stage, bases: &Bases) -> Result<(), Error> {
        self.because(stage.base.because.as_ref())?;
        self.line(&format!("FROM {} AS {}", bases.reference(&stage.base)?, stage.name));
        self.env(&stage.env)?;
        self.line(&format!("WORKDIR {}", word(&stage.workdir, "the work directory")?));
        stage.steps.iter().try_for_each(|step| self.step(step))
    }

    fn env(&mut self, env: &std::collections::BTreeMap<String, String>) -> Result<(), Error> {
        for (name, value) in env {
            plain(value, "a variable's value")?;
            let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('$', "\\$");
            self.line(&format!("ENV {name}=\"{value}\""));
        }
        Ok(())
    }

    fn step(&mut self, step: &Step) -> Result<(), Error> {
        match step {
            Step::Copy { from, sources, dest, owner, because } => {
                self.because(because.as_ref())?;
                let mut line = String::from("COPY ");
                if let Some(from) = from {
                    let _ = write!(line, "--from={from} ");
                }
                if let Some(owner) = owner {
                    let _ = write!(line, "--chown={owner} ");
                }
                let sources = sources.iter().map(|source| source_word(source)).collect::<Result<Vec<_>, _>>()?;
                let words: Vec<String> = sources.into_iter().chain([word(dest, "a path")?]).collect();
                self.line(&format!("{line}{}", json(&words, "a path")?));
            }
            Step::Run { argv, because, .. } => {
                self.because(because.as_ref())?;
                self.line(&format!("RUN {}", json(argv, "a command")?));
            }
        }
        Ok(())
    }

    fn health(&mut self, health: &Health) -> Result<(), Error> {
        let Health { argv, interval_s, timeout_s, start_s, retries } = health;
        let argv = json(argv, "the health check")?;
        self.line(&format!(
            "HEALTHCHECK --interval={interval_s}s --timeout={timeout_s}s --start-period={start_s}s --retries={retries} CMD {argv}"
        ));
        Ok(())
    }
}

/// Text of a project that may stand there: without control characters.
fn plain<'a>(text: &'a str, what: &str) -> Result<&'a str, Error> {
    if text.chars().any(char::is_control) {
        return Err(Error::ControlCharacter { what: format!("{what} {text:?}") });
    }
    Ok(text)
}

/// Words as JSON. Of a script's own words, the control characters are written as JSON's escapes.
fn json(words: &[String], what: &str) -> Result<String, Error> {
    // A line of a Dockerfile ends where JSON's does: `\n` in a string is an escape, so nothing here can begin another.
    serde_json::to_string(words).map_err(|_| Error::ControlCharacter { what: what.to_owned() })
}

/// A word in which builders replace variables: what they would take for one, or for a quote, is meant as it is.
fn word(text: &str, what: &str) -> Result<String, Error> {
    let mut out = String::with_capacity(text.len());
    for c in plain(text, what)?.chars() {
        if matches!(c, '\\' | '$' | '"' | '\'') {
            out.push('\\');
        }
        out.push(c);
    }
    Ok(out)
}

/// As [`word`], where patterns are matched as well. Stars that a plan of ours wrote stay: no name of the project has one.
fn source_word(source: &str) -> Result<String, Error> {
    Ok(word(source, "a path")?.replace('[', "[[]"))
}
