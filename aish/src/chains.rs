//! Finding the chain or the app that a word names.

use aigis_proxy::{Code, Error, Name, chain::ChainId, quoted};
use aigis_registry::{
    Shared,
    resolve::distance,
    shared::{AppRecord, ChainRecord, Key},
};

/// How many characters of an id may be said instead of all.
const LEAST: usize = 6;
/// How many candidates are told.
const TOLD: usize = 5;

/// The chain of that id, which may be cut to its last characters.
///
/// # Errors
///
/// `invalid_argument` for what is no id or fits several, `not_found` for none.
pub(crate) async fn find(shared: &Shared, text: &str) -> Result<ChainRecord, Error> {
    if let Ok(id) = text.parse::<ChainId>() {
        let record = shared.get::<ChainRecord>(&Key::Chain(id)).await?;
        return record.map(|version| version.content).ok_or_else(|| unknown(text));
    }
    if !is_cut(text) {
        return Err(Error::invalid(format!("\"{}\" is no id of a chain", quoted(text)))
            .hint(format!("say its last {LEAST} or more characters; see: aish chains list")));
    }
    let chains = shared.list::<ChainRecord>(Key::CHAINS).await?;
    only(text, chains.into_iter().map(|(_, version)| version.content).collect())
}

fn only(text: &str, chains: Vec<ChainRecord>) -> Result<ChainRecord, Error> {
    let mut fitting: Vec<ChainRecord> = chains.into_iter().filter(|chain| chain.id.as_str().ends_with(text)).collect();
    match (fitting.pop(), fitting.is_empty()) {
        (None, _) => Err(unknown(text)),
        (Some(only), true) => Ok(only),
        (Some(last), false) => {
            fitting.push(last);
            let ids: Vec<&str> = fitting.iter().take(TOLD).map(|chain| chain.id.as_str()).collect();
            Err(Error::invalid(format!("several chains end in \"{text}\""))
                .hint(format!("say more: {}", ids.join(", "))))
        }
    }
}

/// Whether a text may be the end of an id.
pub(crate) fn is_cut(text: &str) -> bool {
    text.len() >= LEAST && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

fn unknown(text: &str) -> Error {
    Error::new(Code::NotFound, format!("there is no chain \"{}\"", quoted(text))).hint("see: aish chains list")
}

/// The app of that name.
///
/// # Errors
///
/// `not_found`, with the nearest name, to be taken for an address that leads nowhere.
pub(crate) async fn app(shared: &Shared, name: &Name) -> Result<AppRecord, Error> {
    if let Some(version) = shared.get::<AppRecord>(&Key::App(name.clone())).await? {
        return Ok(version.content);
    }
    let apps = shared.list::<AppRecord>(Key::APPS).await?;
    let names = apps.iter().map(|(_, version)| version.content.name.as_str());
    let near = names.filter_map(|known| Some((distance(name.as_str(), known)?, known))).min();
    let hint = near.map_or_else(|| "see: aish apps list".to_owned(), |(_, known)| format!("did you mean: {known}"));
    Err(Error::new(Code::NotFound, format!("there is no app \"{name}\"")).with("kind", "ci").hint(hint))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_may_be_cut_to_its_last_six_characters() {
        assert!(is_cut("0a1b2c") && is_cut("0123456789abcdef"));
        assert!(!is_cut("0a1b2") && !is_cut("chn_0a1b2c") && !is_cut("web-app") && !is_cut("0A1B2C"));
    }
}
