//! Free text: one pure function from a text and the skills on offer to a decision.
//!
//! The grammar knows whole words only and refuses whatever it does not wholly understand: a text that is half
//! understood runs nothing. The same text gives the same [`Decision`] on every host, since nothing but the
//! arguments is looked at.

mod refusal;
mod words;

use aigis_proxy::Effect;

pub use refusal::refusal;
use words::Word;

/// Longest text that is read, in characters; a longer one is not understood.
pub const MAX_TEXT: usize = 512;
/// Most skills that one text can ask for.
pub const MAX_SKILLS: usize = 4;

const NEGATIONS: &[&str] = &[
    "avoid", "cannot", "dont", "except", "instead", "neither", "never", "no", "nor", "not", "refrain", "unless",
    "without",
];

const PHRASES: &[(&str, &str)] = &[
    ("how are you", "status"),
    ("how is it going", "status"),
    ("are you ok", "status"),
    ("are you up", "status"),
    ("are you alive", "status"),
    ("are you healthy", "health"),
    ("what is running", "services"),
    ("what do you run", "services"),
    ("what can you do", "describe"),
    ("help", "describe"),
    ("skills", "describe"),
];

const FILLER: &[&str] = &[
    "a",
    "about",
    "an",
    "are",
    "at",
    "be",
    "can",
    "check",
    "could",
    "current",
    "currently",
    "container",
    "do",
    "does",
    "for",
    "get",
    "give",
    "hello",
    "hey",
    "hi",
    "i",
    "in",
    "is",
    "it",
    "its",
    "kindly",
    "know",
    "let's",
    "me",
    "my",
    "now",
    "of",
    "on",
    "our",
    "please",
    "report",
    "right",
    "see",
    "show",
    "tell",
    "thank",
    "thanks",
    "the",
    "this",
    "to",
    "us",
    "want",
    "what",
    "what's",
    "whats",
    "would",
    "you",
    "your",
];

const SYNONYMS: &[(&str, &str)] = &[
    ("state", "status"),
    ("service", "services"),
    ("processes", "services"),
    ("ports", "services"),
    ("log", "logs"),
    ("memory", "stats"),
    ("cpu", "stats"),
    ("usage", "stats"),
    ("diagnose", "debug"),
];

const JOINERS: &[&str] = &["and", ",", "&", "+", "plus"];

/// A skill that a text may ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Offered<'a> {
    /// Its path, such as `optimize.apply`.
    pub path: &'a str,
    /// What it does to the world.
    pub effect: Effect,
    /// Whether it answers with a stream.
    pub stream: bool,
    /// Whether it cannot run without arguments.
    pub required_input: bool,
}

/// What is to be done about a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// These read skills run, in this order; a stream stands alone.
    Run(Vec<String>),
    /// This write or admin skill runs if the caller has confirmed it.
    NeedsYes(String),
    /// This skill cannot run from a text, since it needs arguments.
    NeedsArguments(String),
    /// The text says what is not to be done.
    Negated,
    /// The text can be read in more than one way, or joins what cannot run together.
    Ambiguous,
    /// The text has a word that is no skill of the CI, or asks for nothing.
    Unknown,
}

impl Decision {
    /// The word for this decision in an error's `data.reason`.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Run(_) => "run",
            Self::NeedsYes(_) => "needs_yes",
            Self::NeedsArguments(_) => "needs_arguments",
            Self::Negated => "negated",
            Self::Ambiguous => "ambiguous",
            Self::Unknown => "unknown",
        }
    }
}

/// Decides what `text` asks of a CI that is called `own_names` and offers `skills`.
///
/// The skill `message` is never asked for by a text, since the text is already on its way through it.
#[must_use]
pub fn decide(text: &str, own_names: &[&str], skills: &[Offered<'_>]) -> Decision {
    if text.chars().nth(MAX_TEXT).is_some() {
        return Decision::Unknown;
    }
    let words = words::words(text);
    if words.iter().any(|word| word.is_one_of(NEGATIONS)) {
        return Decision::Negated;
    }
    if let Some(skill) = phrase(&words) {
        return match find(skill, skills) {
            Found::One(offered) => judge(&[offered]),
            Found::Several => Decision::Ambiguous,
            Found::None => Decision::Unknown,
        };
    }
    let mut parts = Vec::new();
    for word in &words {
        match part(word, own_names, skills) {
            Ok(Some(part)) => parts.push(part),
            Ok(None) => {}
            Err(Foreign) => return Decision::Unknown,
        }
    }
    if parts.is_empty() {
        return Decision::Unknown;
    }
    match joined(&parts) {
        Some(asked) => judge(&asked),
        None => Decision::Ambiguous,
    }
}

/// A word that the CI does not know.
struct Foreign;

/// What a word that is not dropped stands for.
enum Part<'a> {
    Skill(&'a Offered<'a>),
    Joiner,
    /// `or`, or a word that two skills share.
    Undecided,
}

fn part<'a>(word: &Word, own_names: &[&str], skills: &'a [Offered<'a>]) -> Result<Option<Part<'a>>, Foreign> {
    let Word::Known(text) = word else { return Err(Foreign) };
    if JOINERS.contains(&text.as_str()) {
        return Ok(Some(Part::Joiner));
    }
    if text == "or" {
        return Ok(Some(Part::Undecided));
    }
    match find(text, skills) {
        Found::One(offered) => return Ok(Some(Part::Skill(offered))),
        Found::Several => return Ok(Some(Part::Undecided)),
        Found::None => {}
    }
    if FILLER.contains(&text.as_str()) || own_names.iter().any(|name| name.to_lowercase() == *text) {
        return Ok(None);
    }
    let synonym = SYNONYMS.iter().find(|(word, _)| word == text).map(|(_, skill)| find(skill, skills));
    match synonym {
        Some(Found::One(offered)) => Ok(Some(Part::Skill(offered))),
        Some(Found::Several) => Ok(Some(Part::Undecided)),
        Some(Found::None) | None => Err(Foreign),
    }
}

enum Found<'a> {
    One(&'a Offered<'a>),
    Several,
    None,
}

/// Finds a skill by its path in lower case, in which a plugin's paths may coincide.
fn find<'a>(word: &str, skills: &'a [Offered<'a>]) -> Found<'a> {
    let mut matching = skills.iter().filter(|skill| skill.path != "message" && skill.path.to_lowercase() == word);
    match (matching.next(), matching.next()) {
        (Some(offered), None) => Found::One(offered),
        (Some(_), Some(_)) => Found::Several,
        (None, _) => Found::None,
    }
}

fn phrase(words: &[Word]) -> Option<&'static str> {
    let known: Option<Vec<&str>> = words.iter().map(Word::known).collect();
    let whole = known?.join(" ");
    PHRASES.iter().find(|(phrase, _)| *phrase == whole).map(|(_, skill)| *skill)
}

/// Reads `SKILL (joiner SKILL)…` and drops doubles; nothing else is an order.
fn joined<'a>(parts: &[Part<'a>]) -> Option<Vec<&'a Offered<'a>>> {
    let mut asked: Vec<&Offered<'_>> = Vec::new();
    for (place, part) in parts.iter().enumerate() {
        match (place % 2, part) {
            (0, Part::Skill(skill)) => {
                if !asked.iter().any(|known| known.path == skill.path) {
                    asked.push(skill);
                }
            }
            (1, Part::Joiner) => {}
            _ => return None,
        }
    }
    (parts.len() % 2 == 1 && asked.len() <= MAX_SKILLS).then_some(asked)
}

fn judge(asked: &[&Offered<'_>]) -> Decision {
    if asked.len() > 1 && asked.iter().any(|skill| skill.stream || skill.effect != Effect::Read) {
        return Decision::Ambiguous;
    }
    if let Some(skill) = asked.iter().find(|skill| skill.required_input) {
        return Decision::NeedsArguments(skill.path.to_owned());
    }
    match asked.iter().find(|skill| skill.effect != Effect::Read) {
        Some(skill) => Decision::NeedsYes(skill.path.to_owned()),
        None => Decision::Run(asked.iter().map(|skill| skill.path.to_owned()).collect()),
    }
}

#[cfg(test)]
mod tests;
