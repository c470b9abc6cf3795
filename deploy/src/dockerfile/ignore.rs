//! The `.dockerignore` that is proposed, and which files are never to reach an image.

use aigis_registry::dockerignore::Ignored;

/// What no image needs, whatever is built.
pub(crate) const ALWAYS: [&str; 26] = [
    "**/.git",
    "**/.hg",
    "**/.svn",
    "**/.env",
    "**/.env.*",
    "!**/.env.example",
    "!**/.env.sample",
    "!**/.env.template",
    "!**/.env.dist",
    "**/*.key",
    "**/*.p12",
    "**/*.pfx",
    "**/*key.pem",
    "**/id_dsa",
    "**/id_ecdsa",
    "**/id_ed25519",
    "**/id_rsa",
    "**/.git-credentials",
    "**/.netrc",
    "**/.pypirc",
    "**/.DS_Store",
    "**/node_modules",
    "**/__pycache__",
    "**/.venv",
    "**/.aigis",
    "aigis.lock",
];
/// Those of them that hold secrets.
const SECRETS: std::ops::Range<usize> = 3..20;

/// Whether a file is one that holds secrets: of an environment, or a key.
pub(crate) fn is_secret(path: &str) -> bool {
    Ignored::parse(&ALWAYS.get(SECRETS).unwrap_or_default().join("\n")).leaves_out(path)
}

/// The lines that every `.dockerignore` of ours has.
pub(crate) fn always() -> impl Iterator<Item = &'static str> {
    ALWAYS.into_iter()
}

/// The text of a `.dockerignore` of these lines.
pub(crate) fn text(lines: &[String]) -> String {
    let mut text = String::from("# What the build does not need, or must not see.\n");
    for line in lines {
        text.push_str(line);
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_secrets_are_told_from_their_examples() {
        for secret in [".env", "a/.env.local", "tls/server.key", "privkey.pem", "home/.ssh/id_rsa", ".netrc"] {
            assert!(is_secret(secret), "{secret}");
        }
        for plain in [".env.example", "b/.env.dist", "ca.pem", "keys.py", ".git/HEAD", "node_modules/x", "aigis.lock"] {
            assert!(!is_secret(plain), "{plain}");
        }
    }
}
