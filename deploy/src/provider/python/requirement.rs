//! Requirements of Python: `requirements.txt`, and the strings of PEP 508.

/// A distribution that a project asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Requirement {
    /// Its name as PEP 503 normalises it: `flask-cors`.
    pub(crate) name: String,
    /// Extras, as they stand.
    pub(crate) extras: Vec<String>,
    /// Whether its version and the digests of its files are given.
    pub(crate) hashed: bool,
    /// Whether one version is given.
    pub(crate) pinned: bool,
    /// The line, from 1.
    pub(crate) line: u64,
}

/// What stands in a file of requirements.
#[derive(Debug, Default)]
pub(crate) struct Listed {
    /// What is asked for.
    pub(crate) requirements: Vec<Requirement>,
    /// Further files of requirements, relative to this.
    pub(crate) files: Vec<String>,
}

/// The name of a distribution as PEP 503 normalises it.
pub(crate) fn normalised(name: &str) -> String {
    let parts = name.split(['-', '_', '.']).filter(|part| !part.is_empty());
    parts.collect::<Vec<_>>().join("-").to_ascii_lowercase()
}

/// A requirement of PEP 508: `Flask[async] >= 3 ; python_version > "3.8"`.
pub(crate) fn parse(text: &str, line: u64) -> Option<Requirement> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_alphanumeric() && !"-_.".contains(c)).unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    // A path, a URL, or an option is no name.
    let rest = rest.trim_start();
    if name.is_empty()
        || !name.starts_with(|c: char| c.is_ascii_alphanumeric())
        || rest.starts_with([':', '/', '\\', '+'])
    {
        return None;
    }
    let (extras, rest) = match rest.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((extras, rest)) => (extras.split(',').map(|extra| extra.trim().to_owned()).collect(), rest),
        None => (Vec::new(), rest),
    };
    let pinned = rest.trim_start().starts_with("==") && !rest.contains('*');
    Some(Requirement { name: normalised(name), extras, hashed: pinned && rest.contains("--hash="), pinned, line })
}

/// What a file of requirements asks for.
pub(crate) fn list(text: &str) -> Listed {
    let mut listed = Listed::default();
    let mut lines = (1..).zip(text.lines());
    while let Some((number, line)) = lines.next() {
        let mut whole = line.trim_end().to_owned();
        while whole.ends_with('\\') {
            whole.pop();
            let Some((_, more)) = lines.next() else { break };
            whole.push_str(more.trim_end());
        }
        let line = without_comment(&whole).trim();
        let option = ["-r", "--requirement"].iter().find_map(|option| line.strip_prefix(option));
        if let Some(file) = option {
            listed.files.push(file.trim_start_matches(['=', ' ', '\t']).to_owned());
        } else if let Some((_, name)) = line.split_once("#egg=") {
            listed.requirements.extend(parse(name.split('&').next().unwrap_or(name), number));
        } else if !line.starts_with('-') {
            listed.requirements.extend(parse(line, number));
        }
    }
    listed
}

/// A line before its comment, which begins with ` #`; that of an address does not.
fn without_comment(line: &str) -> &str {
    if line.trim_start().starts_with('#') {
        return "";
    }
    line.find(" #").or_else(|| line.find("\t#")).and_then(|at| line.get(..at)).unwrap_or(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Vec<(String, u64)> {
        list(text).requirements.into_iter().map(|found| (found.name, found.line)).collect()
    }

    #[test]
    fn pkg_09_names_are_compared_whole_and_never_in_comments() {
        let text = "# flask\nFlask_Cors==4.0  # flask\n\nzope.interface>=5 ; python_version < '3.9'\n-e .\n--index-url https://x/flask\n";
        assert_eq!(names(text), [("flask-cors".into(), 2), ("zope-interface".into(), 4)]);
    }

    #[test]
    fn lines_go_on_and_files_are_named() {
        let text = "-r base.txt\nuvicorn[standard]==0.3 \\\n  --hash=sha256:aa\ngit+https://h/x#egg=Thing&y=1\n./local\npkg @ https://h/p.whl\nfoo==1.*\n";
        let listed = list(text);
        assert_eq!(listed.files, ["base.txt"]);
        let first = &listed.requirements[0];
        assert_eq!(
            (first.name.as_str(), first.extras.as_slice(), first.hashed, first.line),
            ("uvicorn", &["standard".to_owned()][..], true, 2)
        );
        assert_eq!(names(text)[1..], [("thing".into(), 4), ("pkg".into(), 6), ("foo".into(), 7)]);
        assert!(!listed.requirements[3].pinned);
    }

    proptest::proptest! {
        #[test]
        fn every_text_is_read(text in "(\\PC|\n|\\\\){0,60}") {
            let lines = text.lines().count() as u64;
            proptest::prop_assert!(list(&text).requirements.iter().all(|found| found.line <= lines));
        }
    }
}
