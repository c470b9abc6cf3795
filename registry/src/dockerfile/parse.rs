//! A Dockerfile in parts.

use std::fmt::{self, Display, Formatter};

/// A Dockerfile in parts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Parsed {
    /// What the comments at its beginning tell the builder: name in small letters, value, line.
    pub directives: Vec<(String, String, u64)>,
    /// Its instructions.
    pub instructions: Vec<Instruction>,
    /// What cannot be read, by line.
    pub problems: Vec<(u64, String)>,
}

/// One instruction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instruction {
    /// The line on which it begins, from 1.
    pub line: u64,
    /// What it is called, in capitals.
    pub keyword: String,
    /// The flags before its arguments: `--from=build`.
    pub flags: Vec<String>,
    /// The rest, its lines joined.
    pub rest: String,
    /// What its here-documents hold, one after another.
    pub documents: Vec<String>,
}

impl Instruction {
    /// The words of the JSON form, if it is in that.
    #[must_use]
    pub fn exec(&self) -> Option<Vec<String>> {
        serde_json::from_str(self.rest.trim()).ok()
    }

    /// Its words, whichever form it has; quotes and escapes stay.
    #[must_use]
    pub fn words(&self) -> Vec<String> {
        self.exec().unwrap_or_else(|| self.rest.split_whitespace().map(str::to_owned).collect())
    }

    /// What a flag says: `build` of `--from=build`, and nothing of one that has no value.
    #[must_use]
    pub fn flag(&self, name: &str) -> Option<&str> {
        self.flags.iter().find_map(|flag| {
            let (key, value) = flag.split_once('=').unwrap_or((flag, ""));
            (key.strip_prefix("--") == Some(name)).then_some(value)
        })
    }
}

/// All of it on one line, without its here-documents.
impl Display for Instruction {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(&self.keyword)?;
        let words = self.flags.iter().chain([&self.rest]).filter(|word| !word.is_empty());
        words.into_iter().try_for_each(|word| write!(f, " {word}"))
    }
}

impl Parsed {
    /// What a directive says, such as `syntax`: its name in small letters.
    #[must_use]
    pub fn directive(&self, name: &str) -> Option<&str> {
        self.directives.iter().find(|(known, ..)| known == name).map(|(_, value, _)| value.as_str())
    }

    /// The instructions of the last stage: what the image is made of.
    pub fn last_stage(&self) -> impl Iterator<Item = &Instruction> {
        let begin = self.instructions.iter().rposition(|instruction| instruction.keyword == "FROM").unwrap_or(0);
        self.instructions.iter().skip(begin)
    }

    /// Whether the last stage says what runs.
    #[must_use]
    pub fn has_command(&self) -> bool {
        let says = |keyword: &str| {
            let last = self.last_stage().filter(|instruction| instruction.keyword == keyword).last();
            last.is_some_and(|last| last.exec().map_or(!last.rest.is_empty(), |words| !words.is_empty()))
        };
        says("ENTRYPOINT") || says("CMD")
    }

    /// The ports that the last stage exposes, as they are written there: `3000`, `80/udp`.
    #[must_use]
    pub fn exposed(&self) -> Vec<&str> {
        let exposes = self.last_stage().filter(|instruction| instruction.keyword == "EXPOSE");
        exposes.flat_map(|instruction| instruction.rest.split_whitespace()).collect()
    }
}

/// Takes a Dockerfile apart. Nothing stops it: what cannot be read is among the problems.
///
/// ```
/// let parsed = aigis_registry::dockerfile::parse("FROM busybox\nCMD [\"httpd\", \\\n  \"-f\"]\n");
/// assert_eq!(parsed.instructions[1].exec().unwrap(), ["httpd", "-f"]);
/// ```
#[must_use]
pub fn parse(text: &str) -> Parsed {
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

    #[test]
    fn chn_63_a_dockerfile_says_what_runs_in_its_last_stage() {
        for (text, expected) in [
            ("FROM a\nCMD [\"x\"]", true),
            ("from a\nentrypoint /run", true),
            ("FROM a\nCMD [\"x\"]\nFROM b", false),
            ("FROM a\nENTRYPOINT []\nCMD []", false),
            ("FROM a\n# CMD x", false),
            ("FROM a\nRUN echo \\\n# CMD no\n  CMD x", false),
            ("FROM a\nRUN <<EOF\nCMD x\nEOF", false),
            ("FROM a\nCOPY <<-\"EOF\" /f\n\tCMD x\n\tEOF\nCMD y", true),
            ("# escape=`\nFROM a\nRUN a `\n CMD b", false),
            ("FROM a\nCMD \\\n\n  # why\n  [\"x\", \\\n  \"y\"]", true),
            ("", false),
        ] {
            assert_eq!(parse(text).has_command(), expected, "{text}");
        }
    }

    #[test]
    fn chn_20_exposed_ports_come_in_the_order_of_the_file() {
        let text = "FROM a\nEXPOSE 1\nFROM b\nexpose 80/udp 3000\nEXPOSE \\\n 90";
        assert_eq!(parse(text).exposed(), ["80/udp", "3000", "90"]);
        let lines: Vec<u64> = parse(text).instructions.iter().map(|it| it.line).collect();
        assert_eq!(lines, [1, 2, 3, 4, 5]);
    }

    proptest! {
        #[test]
        fn anything_is_read(text in "(?s).{0,200}") {
            let lines = text.lines().count() + 1;
            let parsed = parse(&text);
            let _ = (parsed.has_command(), crate::dockerfile::images(&parsed));
            prop_assert!(parsed.instructions.len() <= lines);
            prop_assert!(parsed.instructions.iter().all(|found| found.line <= lines as u64));
        }
    }
}
