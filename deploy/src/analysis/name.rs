//! What applications are called.

use crate::{fact::Application, tree::file_name};

/// The longest name of a CI.
const LONGEST: usize = 63;

/// Names each application: at the root by its language's manifest, below it by its directory; doubles by their paths.
pub(super) fn give(applications: &mut [Application]) {
    for application in applications.iter_mut() {
        let wish = match application.root.as_str() {
            "." => application.details.project_name.clone().unwrap_or_default(),
            root => file_name(root).to_owned(),
        };
        application.name = named(&wish);
    }
    let names: Vec<String> = applications.iter().map(|application| application.name.clone()).collect();
    for application in applications.iter_mut() {
        let doubled = names.iter().filter(|name| **name == application.name).count() > 1;
        if doubled && application.root != "." {
            application.name = named(&application.root.replace('/', "-"));
        }
    }
    // Two paths may still give one name: `a/b` and `a-b`.
    for index in 1..applications.len() {
        let (before, rest) = applications.split_at_mut(index);
        let Some(application) = rest.first_mut() else { continue };
        let mut number = 2;
        let wish = application.name.clone();
        while before.iter().any(|other| other.name == application.name) && number < 1_000_000 {
            let short: String = wish.chars().take(LONGEST - 8).collect();
            application.name = format!("{short}-{number}");
            number += 1;
        }
    }
}

/// A CI name as near to a wish as one can be; `app` where nothing is left of it.
pub(super) fn named(wish: &str) -> String {
    // A scope of npm, a group of Maven and the path of a Go module are not part of the name.
    let last = wish.rsplit(['/', ':']).next().unwrap_or(wish);
    let mut name = String::new();
    for character in last.chars() {
        match character.to_ascii_lowercase() {
            kept @ ('a'..='z' | '0'..='9' | '_') => name.push(kept),
            _ if name.ends_with('-') => {}
            _ => name.push('-'),
        }
    }
    let trimmed = name.trim_matches(|character| matches!(character, '-' | '_'));
    let short: String = trimmed.chars().take(LONGEST).collect();
    let short = short.trim_end_matches(['-', '_']);
    if short.is_empty() { "app".to_owned() } else { short.to_owned() }
}

#[cfg(test)]
mod tests {
    use aigis_proxy::Name;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_are_near_to_what_was_wished() {
        let wishes = [
            ("@me/My.App", "my-app"),
            ("", "app"),
            ("..", "app"),
            ("github.com/a/tool", "tool"),
            ("_x_", "x"),
            ("ü", "app"),
        ];
        for (wish, name) in wishes {
            assert_eq!(named(wish), name, "{wish}");
        }
    }

    proptest! {
        #[test]
        fn any_wish_gives_a_name_of_a_ci(wish in ".{0,100}") {
            prop_assert!(Name::parse(&named(&wish)).is_ok());
        }
    }
}
