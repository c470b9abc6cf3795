//! The path by which an application says that it is well: a usual one that its code serves at the application itself. What a
//! router serves may stand below a prefix that is told elsewhere, and a wrong path is worse than none.

use crate::{
    code::{Syntax, without_comments},
    tree::Tree,
};

/// The usual paths, the plainest first.
const PATHS: [&str; 7] = ["/health", "/healthz", "/livez", "/healthcheck", "/health-check", "/_health", "/api/health"];
/// The path that these files serve, if they serve one.
pub(super) fn path(tree: &Tree, sources: &[&str]) -> Option<&'static str> {
    let texts: Vec<_> = sources
        .iter()
        .filter_map(|path| {
            Some((tree.text(path).filter(|text| text.contains("heal") || text.contains("livez"))?, path))
        })
        .filter_map(|(text, path)| Some(without_comments(text, Syntax::of(path)?)))
        .collect();
    PATHS.into_iter().find(|path| texts.iter().any(|text| serves(text, path)))
}

fn serves(text: &str, path: &str) -> bool {
    text.match_indices(path).any(|(at, _)| {
        let quote = |quote: &char| matches!(quote, '"' | '\'' | '`');
        let (before, after) = (text.get(..at).unwrap_or_default(), text.get(at + path.len()..).unwrap_or_default());
        let opened = before.chars().next_back().filter(quote);
        opened.is_some() && opened == after.chars().next() && is_told(before.get(..at - 1).unwrap_or_default())
    })
}

/// Whether what stands before a string is the call that serves it: `app.get(`.
fn is_told(before: &str) -> bool {
    let word = |text: &str| text.len() - text.trim_end_matches(|c: char| c.is_alphanumeric() || c == '_').len();
    let Some(call) = before.trim_end().strip_suffix('(') else { return false };
    let (rest, method) = call.split_at(call.len() - word(call));
    let Some(object) = rest.strip_suffix('.') else { return false };
    let object = object.get(object.len() - word(object)..).unwrap_or_default();
    matches!(
        (object, method),
        ("app" | "server", "get" | "route" | "all" | "GET" | "MapGet") | ("http", "Handle" | "HandleFunc")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(file: &str, text: &str) -> Option<&'static str> {
        path(&Tree::of([(file, text)]), &[file])
    }

    #[test]
    fn pkg_17_a_path_is_one_that_the_application_itself_serves() {
        assert_eq!(of("main.py", "@app.get(\"/health\")\ndef health(): return 1\n"), Some("/health"));
        assert_eq!(of("app.js", "app.get( '/healthz', (q, r) => r.end())"), Some("/healthz"));
        assert_eq!(of("main.go", "http.HandleFunc(\"/livez\", live)"), Some("/livez"));
        assert_eq!(of("a.ts", "app.get(`/api/health`, x); app.get('/health', y)"), Some("/health"), "the plainest");
    }

    #[test]
    fn pkg_17_what_is_called_commented_or_below_a_prefix_is_none() {
        for text in [
            "router.get('/health', x)",
            "fetch('/health')",
            "axios.get('/health')",
            "http.get('/health')",
            "// app.get('/health', x)",
            "app.get('/health/deep', x)",
            "app.get('/healthy', x)",
            "x = '/health'",
            "myapp.get('/health', x)",
            "app.use('/health', x)",
            "('/health')",
            "'/health'",
        ] {
            assert_eq!(of("app.js", text), None, "{text}");
        }
    }
}
