//! Which assistant a push begins with.

use aigis_proxy::{Error, quoted};
use aigis_registry::{AppState, shared::AssistantRecord};
use globset::{GlobBuilder, GlobMatcher};

use crate::{
    builtin,
    folder::Settings,
    library,
    name::{self, AssistantName, Kind},
};

#[cfg(test)]
mod tests;

/// What the choice needs to know of an assistant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// Its whole name.
    pub name: AssistantName,
    /// What it does, in a sentence.
    pub description: String,
    /// What an app looks like that it is for: globs of paths, of which one must match; one that begins with `!` must not.
    pub detect: Vec<String>,
}

impl Known {
    /// What a record tells of its assistant; `None` of a kind that this version does not know.
    #[must_use]
    pub fn of_record(record: &AssistantRecord) -> Option<Self> {
        let kind = Kind::ALL.into_iter().find(|kind| kind.as_str() == record.kind)?;
        let settings = Settings::of_json(&record.settings).unwrap_or_default();
        let name = AssistantName::new(kind, record.name.as_str()).ok()?;
        Some(Self { name, description: settings.description.unwrap_or_default(), detect: settings.detect })
    }
}

/// What is part of the product: the builtins and the library, sorted by name.
#[must_use]
pub fn shipped() -> Vec<Known> {
    let builtins = builtin::all().into_iter().map(|builtin| Known {
        name: AssistantName::builtin(builtin.name()),
        description: builtin.description().to_owned(),
        detect: Vec::new(),
    });
    let library = library::all().into_iter().filter_map(|shipped| {
        let name = AssistantName::new(Kind::Remote, shipped.name.as_str()).ok()?;
        let description = shipped.settings.description.unwrap_or_default();
        Some(Known { name, description, detect: shipped.settings.detect })
    });
    let mut all: Vec<Known> = builtins.chain(library).collect();
    all.sort_by(|a, b| a.name.cmp(&b.name));
    all
}

/// An assistant, and why it was chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// The assistant.
    pub name: AssistantName,
    /// Why that one.
    pub reason: String,
}

/// What the choice comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selection {
    /// There is nothing to ask.
    One(Choice),
    /// Each of these would do: the user is asked.
    Several(Vec<Choice>),
}

impl Selection {
    /// The choice where nobody can be asked.
    ///
    /// # Errors
    ///
    /// `invalid_argument`, with `data.candidates`, if there are several.
    pub fn only(self) -> Result<Choice, Error> {
        let several = match self {
            Self::One(choice) => return Ok(choice),
            Self::Several(several) => several,
        };
        let candidates: Vec<String> = several.iter().map(|choice| choice.name.to_string()).collect();
        Err(Error::invalid(format!("several assistants are made for this app: {}", candidates.join(", ")))
            .hint("say which one: --assistant NAME, or for all pushes of this app: aish apps assistant NAME")
            .with("candidates", candidates))
    }
}

/// Chooses the first assistant of an app that has these paths, by what was `asked` for, by its state, or by what it holds.
///
/// # Errors
///
/// `invalid_argument` where one that was named is unknown, with the nearest names.
pub fn choose(
    asked: Option<&str>,
    state: &AppState,
    paths: &[impl AsRef<str>],
    known: &[Known],
) -> Result<Selection, Error> {
    let names: Vec<AssistantName> = known.iter().map(|known| known.name.clone()).collect();
    let named = |text: &str, by: &str| {
        let name = name::resolve(text, &names).map_err(|mut error| {
            error.message = format!("{by}: {}", error.message);
            error
        })?;
        name.check_runs()?;
        Ok(Selection::One(Choice { name, reason: format!("named by {by}") }))
    };
    if let Some(asked) = asked {
        return named(asked, "--assistant");
    }
    if let Some(first) = state.first() {
        return named(&first, "the state file first");
    }
    let has = |wanted: &str| paths.iter().any(|path| path.as_ref() == wanted);
    let builtin = |short, reason: String| Selection::One(Choice { name: AssistantName::builtin(short), reason });
    if has("Dockerfile") {
        return Ok(builtin("dockerfile", "the app has a Dockerfile".to_owned()));
    }
    let mut detected: Vec<Choice> = known
        .iter()
        .filter(|known| known.name.kind() != Kind::Builtin)
        .filter_map(|known| detects(known, paths))
        .collect();
    detected.sort_by(|a, b| a.name.cmp(&b.name));
    detected.dedup_by(|a, b| a.name == b.name);
    if detected.len() > 1 {
        return Ok(Selection::Several(detected));
    }
    if let Some(only) = detected.pop() {
        return Ok(Selection::One(only));
    }
    if let Some(file) = ["requirements.txt", "__main__.py"].into_iter().find(|file| has(file)) {
        return Ok(builtin("python", format!("the app has {file}")));
    }
    Ok(builtin("detect", "nothing says what the app is: it is analysed".to_owned()))
}

/// Whether an assistant is made for an app of these paths, and by which path it shows.
fn detects(known: &Known, paths: &[impl AsRef<str>]) -> Option<Choice> {
    let mut proof = None;
    for text in &known.detect {
        let (forbids, text) = text.strip_prefix('!').map_or((false, text.as_str()), |rest| (true, rest));
        // What is no glob was refused when the assistant was pushed.
        let glob = glob(text).ok()?;
        let found = paths.iter().map(AsRef::as_ref).find(|path| glob.is_match(path));
        match (forbids, found) {
            (true, Some(_)) => return None,
            (true, None) => {}
            (false, found) => proof = proof.or(found),
        }
    }
    let reason = format!("the app has {}, for which it is made", quoted(proof?));
    Some(Choice { name: known.name.clone(), reason })
}

/// Reads a glob over paths of an app: `*` stays within a part of a path, `**` does not.
///
/// # Errors
///
/// What is no glob.
pub fn glob(text: &str) -> Result<GlobMatcher, globset::Error> {
    GlobBuilder::new(text).literal_separator(true).build().map(|glob| glob.compile_matcher())
}
