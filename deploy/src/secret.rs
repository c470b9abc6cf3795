//! Which variables hold a secret, by their names alone.

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
