//! One question and its answer, over an API of OpenAI's form.

use aigis_deploy::fill::{INSTRUCTIONS, Question};
use aigis_proxy::{Code, Error};
use reqwest::{Client, header::CONTENT_TYPE, redirect::Policy};
use serde::Deserialize;
use serde_json::json;

use super::Model;

/// Most bytes of an answer that are read.
const MOST: usize = 256 * 1024;

/// What of an answer counts.
#[derive(Debug, Deserialize)]
struct Completion {
    choices: Vec<Choice>,
}

#[derive(Debug, Deserialize)]
struct Choice {
    message: Message,
}

#[derive(Debug, Deserialize)]
struct Message {
    content: String,
}

impl Model {
    /// What the model says to a question. Whether that counts is for who asks to judge.
    ///
    /// # Errors
    ///
    /// `unavailable` for a server that is away or refuses, `deadline_exceeded` for one that is late, `invalid_argument` for an
    /// answer that is none, or too long.
    pub(crate) async fn ask(&self, question: &Question) -> Result<String, Error> {
        let timeout = self.settings.timeout;
        let late = || {
            let message = format!("it did not answer within {} s", timeout.as_secs());
            Error::new(Code::DeadlineExceeded, message).hint("give it longer: timeout_s in model.toml")
        };
        tokio::time::timeout(timeout, self.exchange(question)).await.unwrap_or_else(|_| Err(late()))
    }

    async fn exchange(&self, question: &Question) -> Result<String, Error> {
        // What is asked goes to that address and nowhere else: by no proxy of the environment, and after no redirect.
        let client = Client::builder().redirect(Policy::none()).no_proxy();
        let client = client.user_agent(concat!("aigis/", env!("CARGO_PKG_VERSION"))).build();
        let client = client.map_err(|error| Error::internal(format!("nothing can be asked over HTTP: {error}")))?;
        let body = json!({
            "model": self.settings.name,
            "messages": [
                {"role": "system", "content": INSTRUCTIONS},
                {"role": "user", "content": question.document().to_string()},
            ],
            "temperature": 0,
            "stream": false,
            "response_format": {"type": "json_schema", "json_schema": {"name": "gaps", "schema": question.schema()}},
        });
        let mut request = client.post(self.settings.url.clone()).header(CONTENT_TYPE, "application/json");
        if let Some(key) = &self.key {
            request = request.bearer_auth(key.as_str());
        }
        let away = |error: reqwest::Error| {
            Error::unavailable(format!("it cannot be asked: {}", aigis_proxy::with_causes(&error.without_url())))
        };
        let mut answer = request.body(body.to_string()).send().await.map_err(away)?;
        let status = answer.status();
        if !status.is_success() {
            return Err(Error::unavailable(format!("its server answers with {status}")));
        }
        let mut bytes = Vec::new();
        while let Some(some) = answer.chunk().await.map_err(away)? {
            if bytes.len() + some.len() > MOST {
                return Err(Error::invalid(format!("its answer is longer than {MOST} bytes")));
            }
            bytes.extend_from_slice(&some);
        }
        let completion: Option<Completion> = serde_json::from_slice(&bytes).ok();
        let first = completion.and_then(|completion| completion.choices.into_iter().next());
        first
            .map(|choice| choice.message.content)
            .ok_or_else(|| Error::invalid("its answer is no completion of a chat"))
    }
}
