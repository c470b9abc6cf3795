//! `.dockerignore`, by Docker's own rules: patterns of whole paths from the top, `**` for any number of parts, the last
//! match wins, `!` takes back.

/// Most patterns that are taken.
const MOST: usize = 10_000;

/// What a build leaves out of its context.
#[derive(Debug, Clone, Default)]
pub struct Ignored {
    rules: Vec<Rule>,
}

#[derive(Debug, Clone)]
struct Rule {
    parts: Vec<String>,
    takes_back: bool,
}

impl Ignored {
    /// Reads the file's text.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let rules = text.trim_start_matches('\u{feff}').lines().filter_map(|line| {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                return None;
            }
            let (pattern, takes_back) = match line.strip_prefix('!') {
                Some(rest) => (rest.trim(), true),
                None => (line, false),
            };
            let mut parts: Vec<String> = Vec::new();
            for part in pattern.split('/') {
                match part {
                    "" | "." => {}
                    ".." => drop(parts.pop()),
                    part => parts.push(part.to_owned()),
                }
            }
            (!parts.is_empty()).then_some(Rule { parts, takes_back })
        });
        Self { rules: rules.take(MOST).collect() }
    }

    /// Whether a path is left out: it, or a directory that it lies in.
    #[must_use]
    pub fn leaves_out(&self, path: &str) -> bool {
        let parts: Vec<&str> = path.split('/').collect();
        let mut out = false;
        for rule in &self.rules {
            if rule.takes_back == out {
                let hit = (1..=parts.len()).any(|length| {
                    let above = parts.get(..length).unwrap_or_default();
                    matches(&rule.parts, above)
                });
                if hit {
                    out = !rule.takes_back;
                }
            }
        }
        out
    }

    /// Whether something below a directory may be taken back, so that it has to be gone through.
    #[must_use]
    pub fn may_hold(&self, directory: &str) -> bool {
        !self.leaves_out(directory) || self.rules.iter().any(|rule| rule.takes_back)
    }
}

/// Whether the pattern matches the whole path.
fn matches(pattern: &[String], path: &[&str]) -> bool {
    // `reached[n]`: whether the pattern so far matches the first n parts.
    let mut reached = vec![false; path.len() + 1];
    if let Some(first) = reached.first_mut() {
        *first = true;
    }
    for part in pattern {
        let mut next = vec![false; path.len() + 1];
        for at in 0..=path.len() {
            if !reached.get(at).copied().unwrap_or(false) {
                continue;
            }
            if part == "**" {
                next.iter_mut().skip(at).for_each(|slot| *slot = true);
            } else if path.get(at).is_some_and(|name| part_matches(part, name))
                && let Some(slot) = next.get_mut(at + 1)
            {
                *slot = true;
            }
        }
        reached = next;
    }
    reached.last().copied().unwrap_or(false)
}

/// Whether a pattern without `/` matches a name: `*`, `?`, `[a-z]`, `[^a]`, `\` before what is meant as it is.
fn part_matches(pattern: &str, name: &str) -> bool {
    let (pattern, name): (Vec<char>, Vec<char>) = (pattern.chars().collect(), name.chars().collect());
    let (mut p, mut n) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    // Each round goes on in the pattern or the name, or goes back to a star with one more character taken.
    loop {
        match pattern.get(p) {
            None if n == name.len() => return true,
            Some('*') => {
                star = Some((p + 1, n));
                p += 1;
                continue;
            }
            Some(_) if n < name.len() => {
                if let Some(next) = name.get(n).and_then(|c| one(&pattern, p, *c)) {
                    (p, n) = (next, n + 1);
                    continue;
                }
            }
            _ => {}
        }
        match &mut star {
            Some((after, taken)) if *taken < name.len() => {
                *taken += 1;
                (p, n) = (*after, *taken);
            }
            _ => return false,
        }
    }
}

/// Where the pattern goes on after it matched one character.
fn one(pattern: &[char], at: usize, c: char) -> Option<usize> {
    match pattern.get(at)? {
        '?' => Some(at + 1),
        '\\' => pattern.get(at + 1).filter(|known| **known == c).map(|_| at + 2),
        '[' => {
            let end = at + 1 + pattern.get(at + 1..)?.iter().skip(1).position(|known| *known == ']')? + 1;
            let mut inside = pattern.get(at + 1..end)?;
            let negated = matches!(inside.first(), Some('^' | '!'));
            if negated {
                inside = inside.get(1..)?;
            }
            let mut hit = false;
            let mut i = 0;
            while let Some(first) = inside.get(i) {
                match (inside.get(i + 1), inside.get(i + 2)) {
                    (Some('-'), Some(last)) => {
                        hit |= (*first..=*last).contains(&c);
                        i += 3;
                    }
                    _ => {
                        hit |= *first == c;
                        i += 1;
                    }
                }
            }
            (hit != negated).then_some(end + 1)
        }
        known => (*known == c).then_some(at + 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_docker_s_own() {
        let ignored = Ignored::parse(
            "# no\n\n/dist\n*.md\n!README.md\n**/*.log\nnode_modules/\n*/temp*\n!**/keep.log\na[0-9]?\n",
        );
        for out in ["dist", "dist/a/b", "x.md", "a.log", "b/c/a.log", "node_modules/x", "src/temp1", "a1x"] {
            assert!(ignored.leaves_out(out), "{out}");
        }
        for kept in ["src/dist", "README.md", "src/x.md", "keep.log", "b/keep.log", "temp1", "a/b/temp", "axx"] {
            assert!(!ignored.leaves_out(kept), "{kept}");
        }
        assert!(ignored.may_hold("dist"));
        assert!(!Ignored::parse("dist").may_hold("dist"));
        assert!(!Ignored::default().leaves_out("a"));
        assert!(Ignored::parse("*").leaves_out("a/b") && Ignored::parse("**").leaves_out("a/b"));
        assert!(!Ignored::parse("*\n!a/b").leaves_out("a/b/c") && Ignored::parse("*\n!a/b").leaves_out("a/c"));
        assert!(Ignored::parse("a/**/z").leaves_out("a/z") && Ignored::parse("a/**/z").leaves_out("a/b/c/z"));
    }
}
