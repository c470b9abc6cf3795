//! Gaps that the model of this host fills: asked, judged, and told of.

use aigis_deploy::{
    Tree,
    fill::{Filled, Question},
};
use aigis_proxy::Error;

use crate::model::Model;

/// Of most applications that a model is asked.
const MOST: usize = 32;

/// What was asked, and what came of it.
pub(super) struct Asked {
    question: Question,
    reply: Result<String, Error>,
}

/// Asks of one application after the other, until the model does not answer.
pub(super) async fn ask(model: &Model, questions: impl IntoIterator<Item = Question>) -> Vec<Asked> {
    let mut asked = Vec::new();
    for question in questions.into_iter().take(MOST) {
        let reply = model.ask(&question).await;
        let is_away = reply.is_err();
        asked.push(Asked { question, reply });
        if is_away {
            break;
        }
    }
    asked
}

/// With what the model fills those gaps. Tells why the rest stays open.
pub(super) async fn filled(
    model: &Model,
    tree: &Tree,
    questions: impl IntoIterator<Item = Question>,
    warn: impl Fn(&str),
) -> Vec<Filled> {
    let asked = ask(model, questions).await;
    let (filled, warnings) = judge(model.name(), tree, &asked);
    warnings.iter().for_each(|warning| warn(warning));
    filled
}

/// What of the replies counts, and why the rest does not.
pub(super) fn judge(model: &str, tree: &Tree, asked: &[Asked]) -> (Vec<Filled>, Vec<String>) {
    let (mut filled, mut warnings) = (Vec::new(), Vec::new());
    for Asked { question, reply } in asked {
        let why = match reply {
            Ok(reply) => match question.filled(tree, &filled, model, reply) {
                Ok(more) => {
                    filled.extend(more);
                    continue;
                }
                Err(why) => why.to_string(),
            },
            Err(error) => error.message.clone(),
        };
        warnings.push(format!("{}: the model {model} fills no gap: {why}", question.application()));
    }
    (filled, warnings)
}

/// What is made with those gaps filled; without that, where nothing can be made so. Tells why.
///
/// # Errors
///
/// Nothing can be made without it either.
pub(super) fn made<T>(
    filled: &mut Vec<Filled>,
    warn: impl FnOnce(String),
    make: impl Fn(&[Filled]) -> Result<T, Error>,
) -> Result<T, Error> {
    if !filled.is_empty() {
        match make(filled) {
            Ok(made) => return Ok(made),
            Err(error) => {
                filled.clear();
                warn(format!("what the model chose leads to nothing: {}", error.message));
            }
        }
    }
    make(filled)
}
