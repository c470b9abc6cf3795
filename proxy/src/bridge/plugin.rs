//! What a process tells of its plugins.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Effect, Error, SkillPath};

/// How many skills one plugin may have.
pub const MAX_SKILLS: usize = 2_000;

/// What a loaded plugin offers.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Ready {
    /// Its leaves.
    pub skills: Vec<PluginSkill>,
    /// What is odd about them.
    #[serde(default)]
    pub warnings: Vec<String>,
}

impl Ready {
    /// Reads the body of a `ready`.
    ///
    /// # Errors
    ///
    /// `invalid_argument` that says what is wrong with it.
    pub(super) fn read(body: &[u8]) -> Result<Self, Error> {
        let ready: Self = serde_json::from_slice(body).map_err(|error| {
            let shown = crate::quoted_within(&error.to_string());
            Error::invalid(format!("the process tells of its skills in a form that cannot be used: {shown}"))
        })?;
        match ready.skills.len() {
            0..=MAX_SKILLS => Ok(ready),
            many => Err(Error::invalid(format!("the plugin has {many} skills; at most {MAX_SKILLS} are served"))
                .hint("list fewer names in SKILLS")),
        }
    }
}

/// One leaf of a plugin.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PluginSkill {
    /// Its whole dotted name.
    pub path: SkillPath,
    /// What it is.
    pub kind: SkillKind,
    /// What it does to the world.
    pub effect: Effect,
    /// Whether it answers with a stream, as far as that is known before a call.
    #[serde(default)]
    pub stream: bool,
    /// How it is called, for people.
    #[serde(default)]
    pub signature: String,
    /// What it does.
    #[serde(default)]
    pub doc: String,
    /// JSON Schema of the arguments.
    #[serde(default)]
    pub input: Value,
    /// JSON Schema of the result.
    #[serde(default)]
    pub output: Value,
    /// The deadline of a call that names none.
    #[serde(default)]
    pub timeout_ms: Option<u64>,
}

/// What a leaf is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SkillKind {
    /// Called with arguments.
    Function,
    /// Called: makes an instance.
    Class,
    /// Called: makes the exception.
    Exception,
    /// Called without arguments: reads it.
    Value,
    /// Not called itself: one name below it is looked up by each call.
    Open,
}

/// What a core process says of itself.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
pub struct Status {
    /// How many handles each caller holds, by `ROLE.CALLER`.
    #[serde(default)]
    pub handles: BTreeMap<String, u64>,
    /// The threads of each plugin.
    #[serde(default)]
    pub plugins: BTreeMap<String, Threads>,
}

/// The threads of one plugin.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Threads {
    /// Which loaded copy it is.
    #[serde(rename = "gen")]
    pub generation: u64,
    /// How many calls run.
    pub running: u64,
    /// How many wait.
    pub queued: u64,
    /// How many threads have not returned from a call that was cancelled.
    pub abandoned: u64,
    /// For how many seconds these have been all that the plugin may have.
    pub exhausted_s: f64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_process_tells_is_read_and_what_cannot_be_is_refused() {
        let body = br#"{"skills":[{"path":"cool.K","kind":"class","effect":"write","stream":false,"signature":"(v)",
            "doc":"","input":{},"output":{},"timeout_ms":30000,"colour":1}],"warnings":["odd"]}"#;
        let ready = Ready::read(body).unwrap();
        assert_eq!((ready.skills[0].kind, ready.warnings.len()), (SkillKind::Class, 1));
        for bad in [&b"[]"[..], br#"{"skills":[{"path":"a..b","kind":"value","effect":"read"}]}"#, b"\xff"] {
            assert_eq!(Ready::read(bad).unwrap_err().code, crate::Code::InvalidArgument);
        }
        let leaf = r#"{"path":"a","kind":"value","effect":"read"}"#;
        let many = format!("{{\"skills\":[{}]}}", vec![leaf; MAX_SKILLS + 1].join(","));
        assert!(Ready::read(many.as_bytes()).unwrap_err().message.contains("2001"));
    }
}
