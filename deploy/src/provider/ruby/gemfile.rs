//! `Gemfile` and `Gemfile.lock`.

use crate::{
    code::{Code, Syntax},
    fact::Evidence,
    provider::{dir::Dir, tools::Asked},
};

/// What a Gemfile asks for.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Gemfile {
    /// Gems for running, with their lines.
    gems: Vec<(String, u64)>,
    /// Whether it takes gems from another file.
    asks_elsewhere: bool,
    /// The version of Ruby, and its line.
    pub(crate) ruby: Option<(String, u64)>,
    /// Directories of gems that stand in the tree.
    pub(crate) paths: Vec<String>,
}

/// Groups that are not installed for running.
const ASIDE: [&str; 4] = ["development", "test", "ci", "lint"];

impl Gemfile {
    /// The Gemfile of a directory; one that asks for nothing where there is none.
    pub(crate) fn read(dir: Dir<'_>) -> Self {
        dir.text("Gemfile").map(Self::parse).unwrap_or_default()
    }

    fn parse(text: &str) -> Self {
        let mut found = Self::default();
        let code = Code::of(text, Syntax::Hash);
        // Whether each block that is open is of groups that are left aside.
        let mut blocks: Vec<bool> = Vec::new();
        let mut at = 0;
        for line in code.bare().split_inclusive('\n') {
            let start = at + (line.len() - line.trim_start().len());
            at += line.len();
            let words = line.trim();
            let verb = words.split([' ', '(']).next().unwrap_or_default();
            if verb == "end" {
                blocks.pop();
                continue;
            }
            let value = || code.string_from(start).filter(|(_, begin)| *begin < at).map(|(value, _)| value.to_owned());
            let aside = words.split(|c: char| !c.is_alphanumeric() && c != '_').any(|word| ASIDE.contains(&word));
            if words.ends_with(" do") || verb == "if" || verb == "unless" || words.contains(" do |") {
                blocks.push(verb == "group" && aside);
                continue;
            }
            match verb {
                "gem" if !(blocks.contains(&true) || words.contains("group") && aside) => {
                    found.gems.extend(value().map(|name| (name, code.line(start))));
                    let path = words.find("path:").and_then(|path| code.string_from(start + path));
                    found.paths.extend(
                        path.filter(|(_, begin)| *begin < at).map(|(path, _)| path.trim_end_matches('/').to_owned()),
                    );
                }
                "ruby" if !words.contains("file:") => found.ruby = value().map(|version| (version, code.line(start))),
                "gemspec" | "eval_gemfile" => found.asks_elsewhere = true,
                _ => {}
            }
        }
        found
    }

    /// Whether it asks for no gem.
    pub(crate) fn is_empty(&self) -> bool {
        self.gems.is_empty() && !self.asks_elsewhere
    }

    /// Where a gem is asked for.
    pub(crate) fn gem(&self, dir: Dir<'_>, name: &str) -> Option<Evidence> {
        let (_, line) = self.gems.iter().find(|(gem, _)| gem == name)?;
        Some(dir.at("Gemfile", *line))
    }

    /// All gems, and where they are asked for.
    pub(crate) fn dependencies(&self, dir: Dir<'_>) -> Vec<(String, Evidence)> {
        self.gems.iter().map(|(name, line)| (name.clone(), dir.at("Gemfile", *line))).collect()
    }
}

/// The version of Ruby that a lock file was made with: the line below `RUBY VERSION`.
pub(crate) fn locked_version(dir: Dir<'_>) -> Option<Asked> {
    const FILE: &str = "Gemfile.lock";
    let mut lines = (1..).zip(dir.text(FILE)?.lines()).skip_while(|(_, line)| *line != "RUBY VERSION").skip(1);
    let (line, text) = lines.next()?;
    let version = text.trim().strip_prefix("ruby ")?.split('p').next()?;
    Some((version.to_owned(), "ruby.lock", dir.at(FILE, line)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pkg_09_gems_for_running_are_told_from_others() {
        let found = Gemfile::parse(
            "source 'https://x'\nruby \"3.2.1\"\n# gem 'no'\ngem 'rails', '~> 7'\ngroup :development, :test do\n  gem 'pg'\nend\n\
             gem \"local\", path: \"libs/local\"\ngem 'rspec', group: :test\ngem('puma')\nif true\n  gem 'redis'\nend\n",
        );
        let names: Vec<_> = found.gems.iter().map(|(name, line)| (name.as_str(), *line)).collect();
        assert_eq!(names, [("rails", 4), ("local", 8), ("puma", 10), ("redis", 12)]);
        assert_eq!((found.ruby, found.paths), (Some(("3.2.1".into(), 2)), vec!["libs/local".to_owned()]));
        assert!(Gemfile::parse("source 'https://x'\n# gem 'no'\n").is_empty());
        assert!(!Gemfile::parse("source 'https://x'\ngemspec\n").is_empty());
    }

    proptest::proptest! {
        #[test]
        fn every_text_is_read(text in "(gem |'|\"|group |do|end|\n|\\PC){0,40}") {
            let _ = Gemfile::parse(&text);
        }
    }
}
