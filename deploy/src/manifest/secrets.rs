//! Secrets that may stand in the open.

use super::{
    ProblemCode as Code,
    problem::{At, Problems},
};

/// Parts of a variable's name that say that its value is secret.
const SECRET_WORDS: [&str; 8] =
    ["password", "passwd", "passphrase", "secret", "token", "credential", "private", "apikey"];
/// The same, where they are a word of the name.
const SECRET_PARTS: [&str; 4] = ["key", "pass", "pwd", "dsn"];

/// Whether the name of a variable says that its value is secret.
#[must_use]
pub fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let mut parts = name.split(|c: char| !c.is_ascii_alphanumeric());
    SECRET_WORDS.iter().any(|word| name.contains(word)) || parts.any(|part| SECRET_PARTS.contains(&part))
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_what_is_secret() {
        for name in
            ["API_KEY", "DB_PASSWORD", "SECRET_KEY_BASE", "GITHUB_TOKEN", "stripe-secret", "DB_PASS", "PRIVATE_KEY"]
        {
            assert!(is_secret(name), "{name}");
        }
        for name in ["PORT", "NODE_ENV", "KEYCLOAK_HOST", "MONKEY", "LOG_LEVEL", "COMPASS", "BYPASS"] {
            assert!(!is_secret(name), "{name}");
        }
    }
}
