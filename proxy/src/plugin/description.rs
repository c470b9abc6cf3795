//! What a plugin that serves itself says of its skills, as it writes it and as its node reads it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    Effect, Error, Name, SkillPath,
    bridge::{MAX_SKILLS, PluginSkill, SkillKind},
    quoted, quoted_within,
    skill::SkillInfo,
};

/// The answer of `describe`. Keys that are not known are passed over.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Description {
    /// The plugin.
    #[serde(default)]
    pub name: String,
    /// What it offers.
    pub skills: Vec<Skill>,
}

/// One skill.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Skill {
    /// Its path within the plugin, as it stands in subjects behind the plugin's name.
    pub path: String,
    /// What it does to the world; `write` if nothing is said.
    #[serde(default = "write")]
    pub effect: Effect,
    /// Whether it answers with a stream.
    #[serde(default)]
    pub stream: bool,
    /// How it is called, for people.
    #[serde(default)]
    pub signature: String,
    /// What it does.
    #[serde(default)]
    pub doc: String,
    /// JSON Schema of the arguments, as an object by name.
    #[serde(default)]
    pub input: Value,
    /// JSON Schema of the result, or of each item.
    #[serde(default)]
    pub output: Value,
    /// The deadline of a call that names none, in milliseconds.
    #[serde(default)]
    pub timeout_ms: Option<u64>,
}

fn write() -> Effect {
    Effect::Write
}

impl From<&SkillInfo> for Skill {
    fn from(info: &SkillInfo) -> Self {
        let names = info.input.get("properties").and_then(Value::as_object);
        let names: Vec<&str> = names.into_iter().flatten().map(|(name, _)| name.as_str()).collect();
        Self {
            path: info.path.to_string(),
            effect: info.effect,
            stream: info.stream,
            signature: format!("({})", names.join(", ")),
            doc: info.doc.clone(),
            input: info.input.clone(),
            output: info.output.clone(),
            timeout_ms: info.timeout.and_then(|timeout| timeout.as_millis().try_into().ok()),
        }
    }
}

impl Description {
    /// The skills that `plugin` describes, each under its whole name: the plugin's own stands first. `describe` itself is left
    /// out.
    ///
    /// # Errors
    ///
    /// `invalid_argument` that says what cannot be used.
    pub fn skills(answer: Value, plugin: &Name) -> Result<Vec<PluginSkill>, Error> {
        let hint = "it answers {\"skills\": [{\"path\": …, \"effect\": …, \"doc\": …, \"input\": …, \"output\": …}]}";
        let unusable = |why: &str| Error::invalid(format!("describe of {plugin} cannot be used: {why}")).hint(hint);
        let told: Self = serde_path_to_error::deserialize(answer)
            .map_err(|error| unusable(&quoted_within(&format!("{}: {}", error.path(), error.inner()))))?;
        let many = told.skills.len();
        if many > MAX_SKILLS {
            return Err(unusable(&format!("it has {many} skills; at most {MAX_SKILLS} are served")));
        }
        let own = told.skills.into_iter().filter(|skill| skill.path != "describe");
        own.map(|skill| skill.of(plugin).map_err(|path| unusable(&format!("\"{}\" is no skill path", quoted(&path)))))
            .collect()
    }
}

impl Skill {
    fn of(self, plugin: &Name) -> Result<PluginSkill, String> {
        let prefix = format!("{plugin}.");
        let whole = if self.path.starts_with(&prefix) { self.path } else { format!("{prefix}{}", self.path) };
        let path = SkillPath::parse(&whole).map_err(|_| whole)?;
        Ok(PluginSkill {
            path,
            kind: SkillKind::Function,
            effect: self.effect,
            stream: self.stream,
            signature: self.signature,
            doc: self.doc,
            input: self.input,
            output: self.output,
            timeout_ms: self.timeout_ms,
        })
    }
}
