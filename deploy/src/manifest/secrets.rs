//! Secrets that may stand in the open.

use super::{
    ProblemCode as Code,
    problem::{At, Problems},
};
use crate::secret::is_secret;

/// Warns of values whose names say that they are secret.
pub(super) fn check(document: &At<'_>, problems: &mut Problems<'_>) {
    let project = document.get("project").and_then(|project| project.text_of("name")).unwrap_or("PROJECT");
    for owner in ["applications", "containers"].iter().flat_map(|key| document.members_of(key)) {
        for (name, at) in owner.1.members_of("env") {
            if is_secret(name) && at.text().is_some_and(|value| !value.is_empty()) {
                let message = "its name says that it is secret, and env is for everyone to read";
                let hint =
                    format!("aish secrets set project/{project} {name}, and name it in secrets or build_secrets");
                problems.add(&at, Code::SecretValue, message, hint);
            }
        }
    }
}
