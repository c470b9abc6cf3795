//! Any Dockerfile taken apart, as builders read it: directives, lines that go on, here-documents.

/// A Dockerfile in parts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Parsed {
    /// What the comments at its beginning tell the builder: name in small letters, value, line.
    pub(crate) directives: Vec<(String, String, u64)>,
    /// Its instructions.
    pub(crate) instructions: Vec<Instruction>,
    /// What cannot be read, by line.
    pub(crate) problems: Vec<(u64, String)>,
}

/// One instruction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Instruction {
    /// The line on which it begins, from 1.
    pub(crate) line: u64,
    /// What it is called, in capitals.
    pub(crate) keyword: String,
    /// The flags before its arguments: `--from=build`.
    pub(crate) flags: Vec<String>,
    /// The rest, its lines joined.
    pub(crate) rest: String,
    /// What its here-documents hold, one after another.
    pub(crate) documents: Vec<String>,
}

impl Instruction {
    /// The words of the JSON form, if it is in that.
    pub(crate) fn exec(&self) -> Option<Vec<String>> {
        serde_json::from_str(self.rest.trim()).ok()
    }

    /// Its words, whichever form it has; quotes and escapes stay.
    pub(crate) fn words(&self) -> Vec<String> {
        self.exec().unwrap_or_else(|| self.rest.split_whitespace().map(str::to_owned).collect())
    }

    /// What a flag says: `build` of `--from=build`, and nothing of one that has no value.
    pub(crate) fn flag(&self, name: &str) -> Option<&str> {
        self.flags.iter().find_map(|flag| {
            let (key, value) = flag.split_once('=').unwrap_or((flag, ""));
            (key.strip_prefix("--") == Some(name)).then_some(value)
        })
    }
}

/// Takes a Dockerfile apart. Nothing stops it: what cannot be read is among the problems.
pub(crate) fn parse(text: &str) -> Parsed {
    let lines: Vec<&str> = text.trim_start_matches('\u{feff}').lines().collect();
    let mut parsed = Parsed { directives: directives(&lines), ..Parsed::default() };
    let escape = match parsed.directives.iter().find(|(name, ..)| name == "escape") {
        Some((_, value, _)) if value == "`" => '`',
        Some((_, value, line)) if value != "\\" => {
            parsed.problems.push((*line, format!("the escape character is \\ or `, not {value}")));
            '\\'
        }
        _ => '\\',
    };
    let mut at = 0;
    // Each round takes at least one line.
    while let Some(first) = lines.get(at) {
        let begin = at;
        at += 1;
        if is_nothing(first) {
            continue;
        }
        let (mut whole, mut goes_on) = part(first, escape);
        while goes_on {
            let Some(next) = lines.get(at) else { break };
            at += 1;
            // Comments and empty lines may stand in between.
            if is_nothing(next) {
                continue;
            }
            let (more, on) = part(next, escape);
            whole.push_str(&more);
            goes_on = on;
        }
        let mut instruction = instruction(number(begin), &whole);
        for document in documents(&instruction) {
            let mut held = String::new();
            let mut is_closed = false;
            while let Some(line) = lines.get(at) {
                at += 1;
                let end = if document.tabs { line.trim_start_matches('\t') } else { line };
                if end == document.name {
                    is_closed = true;
                    break;
                }
                held.push_str(line);
                held.push('\n');
            }
            if !is_closed {
                let message = format!("the here-document {} has no end", document.name);
                parsed.problems.push((number(begin), message));
            }
            instruction.documents.push(held);
        }
        parsed.instructions.push(instruction);
    }
    parsed
}

fn number(index: usize) -> u64 {
    u64::try_from(index).unwrap_or(u64::MAX).saturating_add(1)
}

fn is_nothing(line: &str) -> bool {
    let line = line.trim();
    line.is_empty() || line.starts_with('#')
}

/// A line without the sign that it goes on, and whether it had one.
fn part(line: &str, escape: char) -> (String, bool) {
    match line.trim_end_matches([' ', '\t']).strip_suffix(escape) {
        Some(part) => (part.to_owned(), true),
        None => (line.to_owned(), false),
    }
}

/// The comments of the form `# name=value` that a Dockerfile begins with.
fn directives(lines: &[&str]) -> Vec<(String, String, u64)> {
    let directive = |(index, line): (usize, &&str)| {
        let (name, value) = line.trim().strip_prefix('#')?.split_once('=')?;
        let (name, value) = (name.trim(), value.trim());
        let is_word = name.starts_with(|c: char| c.is_ascii_alphabetic()) && name.chars().all(char::is_alphanumeric);
        (is_word && !value.is_empty()).then(|| (name.to_ascii_lowercase(), value.to_owned(), number(index)))
    };
    lines.iter().enumerate().map_while(directive).collect()
}

fn instruction(line: u64, whole: &str) -> Instruction {
    let whole = whole.trim();
    let (keyword, mut rest) = whole.split_once(char::is_whitespace).unwrap_or((whole, ""));
    let mut flags = Vec::new();
    loop {
        rest = rest.trim_start();
        // A bare `--` ends the flags.
        let flag = rest.split(char::is_whitespace).next().filter(|word| word.starts_with("--"));
        let Some(flag) = flag else { break };
        rest = rest.get(flag.len()..).unwrap_or_default();
        if flag == "--" {
            break;
        }
        flags.push(flag.to_owned());
    }
    let keyword = keyword.to_ascii_uppercase();
    Instruction { line, keyword, flags, rest: rest.trim().to_owned(), documents: Vec::new() }
}

/// A here-document that an instruction opens.
struct Document {
    name: String,
    /// Whether tabs before its end do not count.
    tabs: bool,
}

/// The here-documents that an instruction opens, in their order.
fn documents(instruction: &Instruction) -> Vec<Document> {
    if !matches!(instruction.keyword.as_str(), "RUN" | "COPY" | "ADD") || instruction.exec().is_some() {
        return Vec::new();
    }
    let mut found = Vec::new();
    let (mut quote, mut rest) = (None, instruction.rest.as_str());
    while let Some(c) = rest.chars().next() {
        let tail = rest.get(c.len_utf8()..).unwrap_or_default();
        match (quote, c) {
            (None, '\\') => {
                let mut after = tail.chars();
                after.next();
                rest = after.as_str();
                continue;
            }
            (None, '\'' | '"') => quote = Some(c),
            (Some(open), c) if open == c => quote = None,
            (None, '<') if tail.starts_with('<') && !tail.starts_with("<<") => {
                let (document, after) = document(tail.get(1..).unwrap_or_default());
                found.extend(document);
                rest = after;
                continue;
            }
            // `<<<` is no here-document.
            (None, '<') if tail.starts_with("<<") => {
                rest = tail.get(2..).unwrap_or_default();
                continue;
            }
            _ => {}
        }
        rest = tail;
    }
    found
}

/// What stands behind `<<`: `-EOF`, `"EOF"`.
fn document(text: &str) -> (Option<Document>, &str) {
    let (tabs, text) = text.strip_prefix('-').map_or((false, text), |text| (true, text));
    let quote = text.chars().next().filter(|c| matches!(c, '\'' | '"'));
    let text = quote.map_or(text, |_| text.get(1..).unwrap_or_default());
    let end = text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    let rest = quote.map_or(Some(rest), |quote| rest.strip_prefix(quote));
    match rest {
        Some(rest) if !name.is_empty() => (Some(Document { name: name.to_owned(), tabs }), rest),
        _ => (None, text),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn short(text: &str) -> Vec<String> {
        let instructions = parse(text).instructions;
        let line = |found: &Instruction| {
            let flags: String = found.flags.iter().map(|flag| format!(" {flag}")).collect();
            format!("{} {}{flags} | {}", found.line, found.keyword, found.rest)
        };
        instructions.iter().map(line).collect()
    }

    #[test]
    fn lines_go_on_over_comments_and_empty_ones() {
        let text = "\u{feff}# a comment\r\nfrom a as b\r\n\r\nRUN x \\\n\n  # in between\n  && y \\  \n && z\nCOPY --from=b --chown=1:1 a /b\nCMD [\"a\", \\\n \"b\"]\n";
        assert_eq!(
            short(text),
            [
                "2 FROM | a as b",
                "4 RUN | x   && y  && z",
                "9 COPY --from=b --chown=1:1 | a /b",
                "10 CMD | [\"a\",  \"b\"]"
            ]
        );
        assert_eq!(parse(text).instructions.last().unwrap().exec().unwrap(), ["a", "b"]);
    }

    #[test]
    fn directives_are_told_from_comments() {
        let text = "# syntax=docker/dockerfile:1\n# ESCAPE = `\n# no more\n# check=x\nFROM a\nRUN dir `\n c:\\\n";
        let parsed = parse(text);
        let names: Vec<&str> = parsed.directives.iter().map(|(name, ..)| name.as_str()).collect();
        assert_eq!(names, ["syntax", "escape"]);
        assert_eq!(short(text), ["5 FROM | a", "6 RUN | dir  c:\\"]);
        assert_eq!(parse("# escape=x\nFROM a\n").problems.len(), 1);
    }

    #[test]
    fn here_documents_are_no_instructions() {
        let text = "FROM a\nRUN <<EOF cat && <<-\"B\" cat\nFROM x\nEOF\n\tUSER y\n\tB\nRUN echo \"<<EOF\" \\<<EOF\nCOPY <<e /x\nRUN cat <<<E\n";
        let parsed = parse(text);
        let lines: Vec<u64> = parsed.instructions.iter().map(|found| found.line).collect();
        assert_eq!(lines, [1, 2, 7, 8], "{parsed:?}");
        assert_eq!(parsed.instructions.get(1).unwrap().documents, ["FROM x\n", "\tUSER y\n"]);
        assert_eq!(parsed.problems.len(), 1, "the last one has no end");
    }

    proptest! {
        #[test]
        fn anything_is_read(text in "(?s).{0,200}") {
            let lines = text.lines().count() + 1;
            let parsed = parse(&text);
            prop_assert!(parsed.instructions.len() <= lines);
            prop_assert!(parsed.instructions.iter().all(|found| found.line <= lines as u64));
        }
    }
}
