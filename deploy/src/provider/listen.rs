//! Which code listens on a port.

use crate::{
    code::{Code, Syntax},
    fact::Evidence,
    provider::dir::Dir,
};

/// How the code of an ecosystem listens.
pub(crate) struct Listening {
    pub(crate) syntax: Syntax,
    /// The last words of calls that listen.
    pub(crate) calls: &'static [&'static str],
}

/// Most files that are looked into.
const MOST: usize = 1000;

/// The first of those files whose code listens, and where it does.
pub(crate) fn listens(dir: Dir<'_>, files: &[&str], how: &Listening) -> Option<Evidence> {
    files.iter().take(MOST).find_map(|file| {
        let text = dir.text(file)?;
        if !how.calls.iter().any(|call| text.contains(call)) {
            return None;
        }
        let code = Code::of(text, how.syntax);
        let at = how.calls.iter().filter_map(|call| code.word(call)).min()?;
        Some(dir.at(file, code.line(at)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::Tree;

    #[test]
    fn pkg_12_code_that_listens_is_told_from_what_speaks_of_it() {
        let how = Listening { syntax: Syntax::Slash, calls: &["ListenAndServe", "Listen"] };
        for (text, line) in [
            ("package main\nhttp.ListenAndServe(\":8080\", nil)", Some(2)),
            ("// http.ListenAndServe", None),
            ("x := \"ListenAndServe\"", None),
            ("Listener()", None),
        ] {
            let tree = Tree::of([("a.go", text)]);
            assert_eq!(listens(Dir::of(&tree, "."), &["a.go"], &how).map(|at| at.line), line, "{text}");
        }
    }
}
