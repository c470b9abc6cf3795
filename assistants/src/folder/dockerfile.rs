//! As much of a Dockerfile as is to be known before it is built.

/// An instruction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instruction {
    /// Its word, in capitals.
    pub word: String,
    /// What follows it, its lines joined.
    pub rest: String,
    /// The line on which it begins, from 1.
    pub line: usize,
}

/// A Dockerfile.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Dockerfile {
    /// Its instructions, in their order.
    pub instructions: Vec<Instruction>,
}

impl Dockerfile {
    /// Reads a Dockerfile. What is none gives instructions that nobody knows: whoever builds it says so.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let escape = escape(text);
        let mut instructions = Vec::new();
        let mut lines = text.lines().enumerate();
        while let Some((number, line)) = lines.next() {
            let mut joined = String::new();
            let mut next = Some(line);
            // A comment or an empty line in the midst of an instruction is none of its lines.
            while let Some(line) = next {
                if !is_comment(line) && (joined.is_empty() || !line.trim().is_empty()) {
                    let line = line.trim_end();
                    match line.strip_suffix(escape) {
                        Some(begun) => joined.push_str(begun),
                        None => {
                            joined.push_str(line);
                            break;
                        }
                    }
                } else if joined.is_empty() {
                    break;
                }
                next = lines.next().map(|(_, line)| line);
            }
            let joined = joined.trim();
            let (word, rest) = joined.split_once(char::is_whitespace).unwrap_or((joined, ""));
            if word.is_empty() {
                continue;
            }
            let documents = documents(word, rest);
            let rest = rest.trim().to_owned();
            instructions.push(Instruction { word: word.to_ascii_uppercase(), rest, line: number + 1 });
            for (end, is_indented) in documents {
                let ends = |line: &str| if is_indented { line.trim_start_matches('\t') == end } else { line == end };
                // One that has no end takes the rest.
                let _ = lines.by_ref().find(|(_, line)| ends(line));
            }
        }
        Self { instructions }
    }

    /// The instructions of the last stage: what the image is made of.
    pub fn last_stage(&self) -> impl Iterator<Item = &Instruction> {
        let begin = self.instructions.iter().rposition(|instruction| instruction.word == "FROM").unwrap_or(0);
        self.instructions.iter().skip(begin)
    }

    /// Whether the last stage says what runs.
    #[must_use]
    pub fn has_command(&self) -> bool {
        let says = |word: &str| {
            let last = self.last_stage().filter(|instruction| instruction.word == word).last();
            last.is_some_and(|last| {
                let words: Option<Vec<String>> = serde_json::from_str(&last.rest).ok();
                words.map_or(!last.rest.is_empty(), |words| !words.is_empty())
            })
        };
        says("ENTRYPOINT") || says("CMD")
    }

    /// The ports that the last stage exposes, as they are written there: `3000`, `80/udp`.
    #[must_use]
    pub fn exposed(&self) -> Vec<String> {
        let exposes = self.last_stage().filter(|instruction| instruction.word == "EXPOSE");
        exposes.flat_map(|instruction| instruction.rest.split_whitespace()).map(str::to_owned).collect()
    }
}

/// The character at a line's end that joins it with the next one, which a directive at the top may choose.
fn escape(text: &str) -> char {
    let directives = text.lines().map_while(|line| line.trim().strip_prefix('#')?.split_once('='));
    for (name, value) in directives {
        if name.trim().eq_ignore_ascii_case("escape") && value.trim() == "`" {
            return '`';
        }
    }
    '\\'
}

fn is_comment(line: &str) -> bool {
    line.trim_start().starts_with('#')
}

/// How the texts end that follow an instruction on lines of their own, and whether tabs before that do not count.
fn documents(word: &str, rest: &str) -> Vec<(String, bool)> {
    if !["RUN", "COPY", "ADD"].iter().any(|known| word.eq_ignore_ascii_case(known)) {
        return Vec::new();
    }
    let mut found = Vec::new();
    for part in rest.split("<<").skip(1) {
        let (is_indented, part) = part.strip_prefix('-').map_or((false, part), |part| (true, part));
        let end: String =
            part.chars().take_while(|c| !c.is_whitespace()).filter(|c| !matches!(c, '"' | '\'')).collect();
        if end.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') {
            found.push((end, is_indented));
        }
    }
    found
}
