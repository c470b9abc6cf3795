//! What a follower tells: events as JSON Lines, or words on standard error and the app's own output as it is.

use aigis_proxy::services::{
    instances,
    steps::{Ask, Question},
};
use serde_json::{Value, json};

use crate::{
    exit::Failure,
    frames,
    output::{Output, Pen},
};

/// Tells what happens, in order, through the thread that prints.
#[derive(Debug, Clone)]
pub(crate) struct Teller {
    output: Output,
    pen: Pen,
}

impl Teller {
    /// Tells through that pen.
    pub(crate) fn new(output: Output, pen: Pen) -> Self {
        Self { output, pen }
    }

    /// How it is told.
    pub(crate) fn output(&self) -> &Output {
        &self.output
    }

    /// Has something printed after all that was told before.
    ///
    /// # Errors
    ///
    /// What keeps from writing.
    pub(crate) async fn put(
        &self,
        job: impl FnOnce(&Output) -> Result<(), Failure> + Send + 'static,
    ) -> Result<(), Failure> {
        self.pen.put(job).await
    }

    /// Tells an event: for programs its fields, for people the words.
    ///
    /// # Errors
    ///
    /// What keeps from writing.
    pub(crate) async fn event(&self, event: &str, fields: Value, words: impl Into<String>) -> Result<(), Failure> {
        if self.output.is_json() {
            let mut line = json!({"event": event});
            if let (Some(line), Value::Object(fields)) = (line.as_object_mut(), fields) {
                line.extend(fields);
            }
            return self.pen.put(move |output| output.json(&line)).await;
        }
        let words = words.into();
        if words.is_empty() || self.output.is_quiet() {
            return Ok(());
        }
        self.aside(words).await
    }

    /// Says words on standard error, whoever reads.
    ///
    /// # Errors
    ///
    /// What keeps from writing.
    pub(crate) async fn aside(&self, words: impl Into<String>) -> Result<(), Failure> {
        let words = words.into();
        let say = move |output: &Output| {
            output.aside(&words);
            Ok(())
        };
        self.pen.put(say).await
    }

    /// Says what is beside the matter.
    ///
    /// # Errors
    ///
    /// What keeps from writing.
    pub(crate) async fn note(&self, words: impl Into<String>) -> Result<(), Failure> {
        let words = words.into();
        let say = move |output: &Output| {
            output.note(&words);
            Ok(())
        };
        self.pen.put(say).await
    }

    /// Passes on whole lines of an assistant's log.
    ///
    /// # Errors
    ///
    /// What keeps from writing.
    pub(crate) async fn log(&self, step: u32, assistant: &str, lines: Vec<u8>) -> Result<(), Failure> {
        if self.output.is_json() {
            let data = frames::field(lines);
            return self.event("log", json!({"step": step, "assistant": assistant, "data": data}), "").await;
        }
        let text = String::from_utf8_lossy(&lines);
        let text: String = text.lines().map(|line| format!("[{assistant}] {line}\n")).collect();
        let say = move |output: &Output| {
            output.error_data(text.as_bytes(), false);
            Ok(())
        };
        self.pen.put(say).await
    }

    /// Passes on what the app wrote, unchanged.
    ///
    /// # Errors
    ///
    /// What keeps from writing.
    pub(crate) async fn app(&self, source: instances::Output, bytes: Vec<u8>) -> Result<(), Failure> {
        if self.output.is_json() {
            return self.event("app", json!({"source": source, "data": frames::field(bytes)}), "").await;
        }
        let pass = move |output: &Output| output.app(&bytes, matches!(source, instances::Output::Stderr));
        self.pen.put(pass).await
    }

    /// Tells a question of an assistant.
    ///
    /// # Errors
    ///
    /// What keeps from writing.
    pub(crate) async fn question(&self, chain: &str, question: &Question) -> Result<(), Failure> {
        let Question { ask, choices, .. } = question;
        let mut words = format!("? {ask}{}", expected(question));
        for (index, choice) in choices.iter().enumerate() {
            words.push_str(&format!("\n  {}  {choice}", index + 1));
        }
        if !self.output.can_ask() {
            words.push_str(&format!("\n  answer it: aish chains answer {chain} VALUE"));
        }
        let fields = json!({"chain": chain, "question": question});
        self.event("question", fields, words).await
    }
}

/// What an answer looks like, and which one counts if none is given.
fn expected(question: &Question) -> String {
    match (question.kind, question.default.as_deref()) {
        (Ask::Confirm, Some("yes")) => " [Y/n]".to_owned(),
        (Ask::Confirm, Some("no")) => " [y/N]".to_owned(),
        (Ask::Confirm, _) => " [y/n]".to_owned(),
        (_, Some(default)) => format!(" [{default}]"),
        (_, None) => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chn_35_a_question_says_what_is_expected() {
        let of = |kind, default: Option<&str>| {
            expected(&Question {
                id: "q".to_owned(),
                ask: "?".to_owned(),
                kind,
                choices: Vec::new(),
                default: default.map(str::to_owned),
                until: String::new(),
            })
        };
        assert_eq!((of(Ask::Confirm, None), of(Ask::Confirm, Some("no"))), (" [y/n]".to_owned(), " [y/N]".to_owned()));
        assert_eq!((of(Ask::Text, Some("sqlite")), of(Ask::Secret, None)), (" [sqlite]".to_owned(), String::new()));
    }
}
