//! Masks secrets in what is shown of containers.
//!
//! The value of an option or variable whose name contains `pass`, `secret`, `token` or `key`, the word after
//! `Bearer`, and passwords in URLs read `***`. Where a rule is in doubt it masks: a hidden word is a nuisance, a shown
//! secret is a leak.

/// What stands in place of a secret.
pub const MASK: &str = "***";

const SECRET_WORDS: [&str; 4] = ["pass", "secret", "token", "key"];

/// Masks the secrets among arguments; there are as many after it as before.
#[must_use]
pub fn argv(arguments: &[String]) -> Vec<String> {
    let mut secret_next = false;
    arguments
        .iter()
        .map(|argument| {
            let secret = std::mem::replace(&mut secret_next, announces_secret(argument));
            if secret { MASK.to_owned() } else { argument_masked(argument) }
        })
        .collect()
}

/// Masks the values of environment entries: `KEY=***`.
#[must_use]
pub fn environment(entries: &[String]) -> Vec<String> {
    entries
        .iter()
        .map(|entry| match entry.split_once('=') {
            Some((key, _)) => format!("{key}={MASK}"),
            None => entry.clone(),
        })
        .collect()
}

/// Masks the secrets in free text, such as a command in one string.
#[must_use]
pub fn text(text: &str) -> String {
    let masked = assignments(&urls(text));
    let mut out = String::with_capacity(masked.len());
    let mut secret_next = false;
    for piece in masked.split_inclusive(char::is_whitespace) {
        let word = piece.trim_end_matches(char::is_whitespace);
        if word.is_empty() {
            out.push_str(piece);
            continue;
        }
        let secret = std::mem::replace(&mut secret_next, announces_secret(word));
        let masked = word.strip_prefix(MASK).is_some_and(|rest| !rest.contains(char::is_alphanumeric));
        out.push_str(if secret && !masked { MASK } else { word });
        out.push_str(piece.get(word.len()..).unwrap_or_default());
    }
    out
}

/// Whether the argument after this one is a secret.
fn announces_secret(argument: &str) -> bool {
    let bare = argument.trim_matches(['"', '\'']);
    let option = bare.starts_with('-') && !bare.contains('=') && is_secret(bare);
    let header = bare.ends_with([':', '=']) && is_secret(bare);
    option || header || bare.eq_ignore_ascii_case("bearer")
}

fn argument_masked(argument: &str) -> String {
    match argument.split_once('=') {
        Some((name, _)) if is_secret(name) && !name.contains(char::is_whitespace) => format!("{name}={MASK}"),
        _ => text(argument),
    }
}

fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    SECRET_WORDS.iter().any(|word| name.contains(word))
}

/// Masks `PASSWORD` in `scheme://user:PASSWORD@host`; in a run of several URLs, all from the first password on.
fn urls(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find("://") {
        let (before, after) = rest.split_at(start + 3);
        out.push_str(before);
        let end = after.find(|c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '<' | '>')).unwrap_or(after.len());
        let (run, left) = after.split_at(end);
        match (run.find(':'), run.rfind('@')) {
            (Some(colon), Some(at)) if colon < at => {
                out.push_str(run.get(..=colon).unwrap_or_default());
                out.push_str(MASK);
                out.push_str(run.get(at..).unwrap_or_default());
            }
            _ => out.push_str(run),
        }
        rest = left;
    }
    out.push_str(rest);
    out
}

/// Masks the value in `NAME=VALUE`, `NAME: VALUE` and their quoted forms where the name is one of a secret.
fn assignments(text: &str) -> String {
    let is_word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find(is_word) {
        let (before, from) = rest.split_at(start);
        out.push_str(before);
        let end = from.find(|c: char| !is_word(c)).unwrap_or(from.len());
        let (word, after) = from.split_at(end);
        out.push_str(word);
        rest = after;
        if is_secret(word)
            && let Some((sign, value)) = assigned(after)
        {
            out.push_str(sign);
            out.push_str(MASK);
            rest = value;
        }
    }
    out.push_str(rest);
    out
}

/// Splits what follows a name into the sign and what comes after the value, if a value is assigned.
fn assigned(after: &str) -> Option<(&str, &str)> {
    let blank = |c: char| c == ' ' || c == '\t';
    let unquoted = after.trim_start_matches(['"', '\'']).trim_start_matches(blank);
    let value = unquoted.strip_prefix([':', '='])?;
    if value.starts_with("//") {
        return None;
    }
    let value = value.trim_start_matches(blank);
    let sign = after.get(..after.len() - value.len())?;
    if let Some(quote) = value.chars().next().filter(|c| matches!(c, '"' | '\'')) {
        let inner = value.get(1..)?;
        return Some((sign, inner.find(quote).and_then(|end| inner.get(end + 1..)).unwrap_or_default()));
    }
    let end =
        value.find(|c: char| c.is_whitespace() || matches!(c, ',' | ';' | '&' | '"' | '\'')).unwrap_or(value.len());
    // Nothing to mask here: what follows is masked as the next word.
    (end > 0).then(|| (sign, value.get(end..).unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn masked(arguments: &[&str]) -> String {
        argv(&arguments.iter().map(|&argument| argument.to_owned()).collect::<Vec<_>>()).join(" ")
    }

    #[test]
    fn ci_43_options_variables_and_urls_are_masked() {
        for (arguments, expected) in [
            (&["srv", "--token", "NONCE"][..], "srv --token ***"),
            (&["srv", "--token=NONCE", "-v"], "srv --token=*** -v"),
            (&["srv", "--api-Key", "NONCE", "x"], "srv --api-Key *** x"),
            (&["srv", "--no-password", "--token", "NONCE"], "srv --no-password *** ***"),
            (&["env", "DB_PASSWORD=NONCE", "srv"], "env DB_PASSWORD=*** srv"),
            (&["java", "-Ddb.password=NONCE NONCE", "Main"], "java -Ddb.password=*** Main"),
            (&["psql", "postgres://me:NONCE@db:5432/x"], "psql postgres://me:***@db:5432/x"),
            (&["http://a:NONCE@h,http://b:NONCE@i", "http://a:NO://NCE@h"], "http://a:***@i http://a:***@h"),
            (&["x", "http://a:N@NCE@h/", "https://h:80/p"], "x http://a:***@h/ https://h:80/p"),
            (
                &["sh", "-c", "mysqld --password NONCE && x --secret=NONCE; y"],
                "sh -c mysqld --password *** && x --secret=***; y",
            ),
            (&["curl", "-H", "Authorization: Bearer NONCE"], "curl -H Authorization: Bearer ***"),
            (&["x", r#"{"password": "NONCE NONCE", "a": 1}"#], r#"x {"password": ***, "a": 1}"#),
            (&["nginx", "-g", "daemon off;"], "nginx -g daemon off;"),
            (&["node", "/app/server.js"], "node /app/server.js"),
        ] {
            assert_eq!(masked(arguments), expected, "{arguments:?}");
            assert!(!masked(arguments).contains("NONCE"));
        }
    }

    #[test]
    fn ci_43_the_environment_is_masked_whole() {
        let entries = ["PATH=/bin".to_owned(), "A=b=c".to_owned(), "EMPTY".to_owned()];
        assert_eq!(environment(&entries), ["PATH=***", "A=***", "EMPTY"]);
    }

    proptest! {
        #[test]
        fn a_secret_never_shows(
            before in "[a-z ]{0,12}", name in "(api-)?(password|SECRET|Token|key)(_file)?", sign in "=| | = |: |=\"|='",
            secret in "Q[A-Z0-9]{6,12}", after in "( [a-z-]{1,8}){0,3}"
        ) {
            let line = format!("{before} --{name}{sign}{secret}{after}");
            let shown = text(&line);
            prop_assert!(!shown.contains(&secret), "{} -> {}", line, shown);
            let split: Vec<String> = line.split(' ').filter(|word| !word.is_empty()).map(str::to_owned).collect();
            if matches!(sign.as_str(), "=" | " ") {
                prop_assert!(!argv(&split).join(" ").contains(&secret), "{}", line);
            }
            prop_assert_eq!(argv(&split).len(), split.len());
        }

        #[test]
        fn any_text_is_masked_without_a_panic(line in "\\PC{0,200}", odd in "[-:/@='\" a-zkey]{0,80}") {
            let _ = text(&line);
            let _ = text(&odd);
            let _ = argv(&[line, odd]);
        }
    }
}
