//! Which variables hold a secret, by their names alone; and which texts are keys, by their forms.

/// Words in a name, between its underscores, that say that its value is secret.
const WORDS: [&str; 25] = [
    "KEY",
    "KEYS",
    "APIKEY",
    "SECRET",
    "SECRETS",
    "TOKEN",
    "TOKENS",
    "PASSWORD",
    "PASSWD",
    "PASS",
    "PASSPHRASE",
    "PWD",
    "CREDENTIAL",
    "CREDENTIALS",
    "PRIVATE",
    "AUTH",
    "SALT",
    "DSN",
    "COOKIE",
    "SIGNATURE",
    "WEBHOOK",
    "CERT",
    "PEM",
    "JWT",
    "ENCRYPTION",
];
/// Parts of a name, wherever they stand in it, that say so of the whole value.
const PARTS: [&str; 16] = [
    "ACCESS_KEY",
    "ACCESSKEY",
    "API_KEY",
    "APIKEY",
    "AUTH_KEY",
    "CREDENTIAL",
    "DSN",
    "ENCRYPTION_KEY",
    "MASTER_KEY",
    "PASSPHRASE",
    "PASSWD",
    "PASSWORD",
    "PRIVATE_KEY",
    "SECRET",
    "SIGNING_KEY",
    "TOKEN",
];
/// Names whose value holds a password within an address.
const ADDRESSES: [&str; 12] = [
    "DATABASE_URL",
    "DB_URL",
    "REDIS_URL",
    "MONGO_URL",
    "MONGODB_URL",
    "MONGO_URI",
    "MONGODB_URI",
    "AMQP_URL",
    "RABBITMQ_URL",
    "POSTGRES_URL",
    "MYSQL_URL",
    "CONNECTION_STRING",
];
/// What is put into what is served, and so is known to all.
const PUBLIC: [&str; 7] = ["NEXT_PUBLIC_", "VITE_", "REACT_APP_", "PUBLIC_", "NUXT_PUBLIC_", "EXPO_PUBLIC_", "GATSBY_"];
/// How names end that say where a secret stands, or how it is called, and are none.
const PLACES: [&str; 6] = ["_FILE", "_PATH", "_DIR", "_NAME", "_TTL", "_HEADER"];
/// Where a shell is: no password.
const SHELL: [&str; 2] = ["PWD", "OLDPWD"];

/// How keys of well-known services begin, and of how many characters the rest is at least.
pub(crate) const KEYS: [(&str, usize); 18] = [
    ("AKIA", 16),
    ("ASIA", 16),
    ("AIza", 30),
    ("ghp_", 30),
    ("gho_", 30),
    ("ghs_", 30),
    ("github_pat_", 30),
    ("glpat-", 18),
    ("hf_", 30),
    ("npm_", 30),
    ("pypi-", 40),
    ("sk-", 20),
    ("sk_live_", 16),
    ("rk_live_", 16),
    ("SG.", 30),
    ("xoxb-", 16),
    ("xoxp-", 16),
    (ARMOUR, 24),
];
/// How private keys begin: a line that says so, and then the key.
const ARMOUR: &str = "-----BEGIN ";
const ARMOURED: &[u8] = b"PRIVATE KEY-----";
/// How far behind [`ARMOUR`] that is looked for.
const NEAR: usize = 48;

/// How a known key in a text begins.
pub(crate) fn known_key(text: &str) -> Option<&'static str> {
    if text.contains(ARMOUR) && text.contains("PRIVATE KEY-----") {
        return Some(ARMOUR);
    }
    let bytes = text.as_bytes();
    KEYS.iter().filter(|(begin, _)| *begin != ARMOUR).find_map(|(begin, least)| {
        let is_it = |at: usize| {
            let before = at.checked_sub(1).and_then(|at| bytes.get(at)).copied();
            is_key(before, begin, bytes.get(at + begin.len()..).unwrap_or_default(), *least)
        };
        text.match_indices(begin).any(|(at, _)| is_it(at)).then_some(*begin)
    })
}

/// Whether what follows such a beginning makes it a key of so many characters at least; `before` is what stands before it.
pub(crate) fn is_key(before: Option<u8>, begin: &str, rest: &[u8], least: usize) -> bool {
    let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || b"_-.".contains(byte);
    if begin == ARMOUR {
        let near = rest.get(..NEAR.min(rest.len())).unwrap_or_default();
        let Some(at) = near.windows(ARMOURED.len()).position(|part| part == ARMOURED) else { return false };
        let behind = rest.get(at + ARMOURED.len()..).unwrap_or_default();
        // A line may end as it is written in a string.
        let behind = behind.iter().skip_while(|byte| byte.is_ascii_whitespace() || **byte == b'\\').take(least);
        return behind.filter(|byte| byte.is_ascii_alphanumeric() || b"+/=".contains(byte)).count() == least;
    }
    let length = rest.iter().take_while(|byte| is_part(byte)).count();
    // Names of styles begin so as well.
    let has_digit = || rest.get(..length).unwrap_or_default().iter().any(u8::is_ascii_digit);
    !before.is_some_and(|byte| is_part(&byte)) && length >= least && (begin != "sk-" || has_digit())
}

/// Whether a variable's name says that its value is secret, or may hold a secret.
pub(crate) fn is_secret(name: &str) -> bool {
    let name = told(name);
    !is_open(&name)
        && (ADDRESSES.iter().any(|address| name == *address || name.ends_with(&format!("_{address}")))
            || name.split('_').any(|word| WORDS.contains(&word))
            || PARTS.iter().any(|part| name.contains(part)))
}

/// Whether a variable's name says that all of its value is secret, whatever that is.
pub(crate) fn is_surely_secret(name: &str) -> bool {
    let name = told(name);
    !is_open(&name)
        && !name.ends_with("_URL")
        && (PARTS.iter().any(|part| name.contains(part)) || name.split('_').any(|word| matches!(word, "PASS" | "PWD")))
}

fn told(name: &str) -> String {
    name.to_ascii_uppercase().replace('-', "_")
}

/// Whether what it holds is for everybody, or no secret but its place.
fn is_open(name: &str) -> bool {
    PUBLIC.iter().any(|prefix| name.starts_with(prefix))
        || PLACES.iter().any(|end| name.ends_with(end))
        || SHELL.contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_told_by_their_names() {
        for (name, secret, surely) in [
            ("DATABASE_URL", true, false),
            ("STRIPE_SECRET_KEY", true, true),
            ("STRIPE_KEY", true, false),
            ("NEXT_PUBLIC_API_KEY", false, false),
            ("MONKEY", false, false),
            ("PORT", false, false),
            ("APP_REDIS_URL", true, false),
            ("db-password", true, true),
            ("DB_PWD", true, true),
            ("PWD", false, false),
            ("TOKEN_FILE", false, false),
            ("TOKEN_URL", true, false),
        ] {
            assert_eq!((is_secret(name), is_surely_secret(name)), (secret, surely), "{name}");
        }
        for part in PARTS {
            assert!(is_secret(part) && is_surely_secret(part), "{part}");
        }
    }
}
