//! Questions of assistants, asked at the terminal if there is one.

use std::io::{self, BufRead as _};

use aigis_proxy::{
    Bus, Error,
    chain::ChainId,
    services::{
        chains::Control,
        steps::{Ask, Question},
    },
};
use futures::{FutureExt as _, future::BoxFuture};

use super::teller::Teller;
use crate::{command::Unseen, coordinator::Coordinator, exit::Failure};

/// The longest answer that is read, in bytes.
const LONGEST: u64 = 64 * 1024;

/// The question that is open, and the answer that is under way.
pub(crate) struct Questions {
    bus: Bus,
    chain: ChainId,
    open: Option<Question>,
    asked: Option<BoxFuture<'static, Answered>>,
}

/// What became of an answer.
#[derive(Debug)]
pub(crate) enum Answered {
    /// It was taken.
    Taken,
    /// It is none that would do, or was refused: why, and the question is asked again.
    Again(String),
    /// Nobody answers here.
    Nobody,
}

impl Questions {
    /// Begins with none.
    pub(crate) fn new(bus: &Bus, chain: &ChainId) -> Self {
        Self { bus: bus.clone(), chain: chain.clone(), open: None, asked: None }
    }

    /// Takes note of the question that is open now: tells it, and asks for the answer.
    ///
    /// # Errors
    ///
    /// What keeps from writing.
    pub(crate) async fn update(&mut self, open: Option<&Question>, teller: &Teller) -> Result<(), Failure> {
        if self.open.as_ref() == open {
            return Ok(());
        }
        self.open = open.cloned();
        self.asked = None;
        if let Some(question) = open {
            teller.question(self.chain.as_str(), question).await?;
            self.ask(teller);
        }
        Ok(())
    }

    fn ask(&mut self, teller: &Teller) {
        let Some(question) = self.open.clone().filter(|_| teller.output().can_ask()) else { return };
        let (coordinator, chain) = (Coordinator::any(&self.bus), self.chain.clone());
        self.asked = Some(
            async move {
                let Some(line) = line(question.kind == Ask::Secret).await else { return Answered::Nobody };
                let value = match value(&question, &line) {
                    Ok(value) => value,
                    Err(why) => return Answered::Again(why),
                };
                let answer = Control::Answer { id: Some(question.id), value };
                match coordinator.control(&chain, answer).await {
                    Ok(_) => Answered::Taken,
                    Err(Error { message, .. }) => Answered::Again(message),
                }
            }
            .boxed(),
        );
    }

    /// Waits for the answer; never ends while nothing is asked.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub(crate) async fn next(&mut self) -> Answered {
        match &mut self.asked {
            Some(asked) => {
                let answered = asked.await;
                self.asked = None;
                answered
            }
            None => std::future::pending().await,
        }
    }

    /// Goes on after an answer.
    ///
    /// # Errors
    ///
    /// What keeps from writing.
    pub(crate) async fn take(&mut self, answered: Answered, teller: &Teller) -> Result<(), Failure> {
        if let Answered::Again(why) = answered {
            teller.aside(why).await?;
            self.ask(teller);
        }
        Ok(())
    }
}

/// Reads a line of the terminal; `None` at its end.
async fn line(unseen: bool) -> Option<String> {
    // Held here and not by the thread that reads: whoever interrupts this gets the terminal back as it was.
    let _unseen = if unseen { Some(Unseen::begin().ok()?) } else { None };
    let read = tokio::task::spawn_blocking(|| {
        let mut line = String::new();
        let count = io::Read::take(io::stdin().lock(), LONGEST).read_line(&mut line)?;
        Ok::<_, io::Error>((count > 0).then_some(line))
    });
    read.await.ok()?.ok()?.map(|line| line.trim_end_matches(['\n', '\r']).to_owned())
}

/// What a line means as an answer.
pub(crate) fn value(question: &Question, line: &str) -> Result<String, String> {
    let trimmed = line.trim();
    if trimmed.is_empty()
        && let Some(default) = &question.default
    {
        return Ok(default.clone());
    }
    match question.kind {
        Ask::Confirm => match trimmed.to_ascii_lowercase().as_str() {
            "y" | "yes" | "true" => Ok("yes".to_owned()),
            "n" | "no" | "false" => Ok("no".to_owned()),
            _ => Err("answer yes or no".to_owned()),
        },
        Ask::Choose if !question.choices.is_empty() => {
            let numbered =
                trimmed.parse::<usize>().ok().and_then(|number| question.choices.get(number.checked_sub(1)?));
            let named = question.choices.iter().find(|choice| choice.as_str() == trimmed);
            named.or(numbered).cloned().ok_or_else(|| "answer with one of the choices, or its number".to_owned())
        }
        Ask::Choose | Ask::Text | Ask::Secret => Ok(line.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chn_35_what_is_typed_is_read_by_the_kind_of_question() {
        let question = |kind, choices: &[&str], default: Option<&str>| Question {
            id: "q".to_owned(),
            ask: "?".to_owned(),
            kind,
            choices: choices.iter().map(|choice| (*choice).to_owned()).collect(),
            default: default.map(str::to_owned),
            until: String::new(),
        };
        let confirm = question(Ask::Confirm, &[], Some("no"));
        assert_eq!(value(&confirm, "Y").as_deref(), Ok("yes"));
        assert_eq!(value(&confirm, " ").as_deref(), Ok("no"), "the default");
        assert!(value(&confirm, "perhaps").is_err());
        let choose = question(Ask::Choose, &["b", "a", "1"], None);
        assert_eq!(value(&choose, "2").as_deref(), Ok("a"));
        assert_eq!(value(&choose, "1").as_deref(), Ok("1"), "a choice before its number");
        assert!(value(&choose, "4").is_err() && value(&choose, "0").is_err() && value(&choose, "").is_err());
        assert_eq!(value(&question(Ask::Secret, &[], None), " x ").as_deref(), Ok(" x "));
    }
}
