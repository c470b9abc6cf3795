//! Versions that files of version managers ask for: `.python-version`, `.tool-versions`, `mise.toml`.

use crate::{fact::Evidence, provider::dir::Dir};

/// What a project asks for: the version as it stands, by which rule, and where.
pub(crate) type Asked = (String, &'static str, Evidence);

/// Files of which the first line that is no comment is a version: which tool, the file, by which rule.
const SINGLE: [(&str, &str, &str); 9] = [
    ("python", ".python-version", "python.version-file"),
    ("python", "runtime.txt", "python.runtime-file"),
    ("ruby", ".ruby-version", "ruby.version-file"),
    ("java", ".java-version", "java.version-file"),
    ("go", ".go-version", "go.version-file"),
    ("rust", "rust-toolchain", "rust.toolchain-file"),
    ("swift", ".swift-version", "swift.version-file"),
    ("crystal", ".crystal-version", "crystal.version-file"),
    ("php", ".php-version", "php.version-file"),
];
/// Files in which a line names a tool and its version.
const MANY: &str = ".tool-versions";
/// Files of mise.
const MISE: [&str; 4] = ["mise.toml", ".mise.toml", ".config/mise.toml", "mise/config.toml"];
/// What tools are called in files of many: which tool, another name.
const ALSO: [(&str, &str); 4] =
    [("go", "golang"), ("dotnet", "dotnet-core"), ("java", "openjdk"), ("deno", "denoland")];

/// The version of a tool that a file of a version manager asks for, in a directory or the nearest above it.
pub(crate) fn asked(dir: Dir<'_>, tool: &str) -> Option<Asked> {
    let mut here = Some(dir);
    while let Some(dir) = here {
        if let Some(found) = single(dir, tool).or_else(|| many(dir, tool)).or_else(|| mise(dir, tool)) {
            return Some(found);
        }
        here = dir.above();
    }
    None
}

fn single(dir: Dir<'_>, tool: &str) -> Option<Asked> {
    SINGLE.iter().filter(|(of, ..)| *of == tool).find_map(|(_, file, rule)| {
        let lines = (1..).zip(dir.text(file)?.lines());
        let (line, version) = lines.map(|(line, text)| (line, text.trim())).find(|(_, text)| is_version(text))?;
        Some((version.to_owned(), *rule, dir.at(file, line)))
    })
}

/// Whether a line can be a version: no comment, no other key.
fn is_version(text: &str) -> bool {
    !text.is_empty() && !text.starts_with(['#', '[']) && !text.contains('=') && text.len() < 64
}

fn many(dir: Dir<'_>, tool: &str) -> Option<Asked> {
    (1..).zip(dir.text(MANY)?.lines()).find_map(|(line, text)| {
        let mut words = text.split('#').next()?.split_whitespace();
        let name = words.next()?;
        let version = words.next()?;
        is_tool(name, tool).then(|| (version.to_owned(), "tool-versions", dir.at(MANY, line)))
    })
}

fn mise(dir: Dir<'_>, tool: &str) -> Option<Asked> {
    MISE.iter().find_map(|file| {
        let tools = dir.toml(file)?.get("tools")?;
        let entry = tools.entries().iter().find(|entry| is_tool(entry.key.trim_start_matches("core:"), tool))?;
        let node = &entry.node;
        let version = node.word().or_else(|| node.items().first()?.word()).or_else(|| node.get("version")?.word())?;
        Some((version.to_owned(), "mise", dir.at(file, entry.line)))
    })
}

fn is_tool(name: &str, tool: &str) -> bool {
    name == tool || ALSO.contains(&(tool, name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::Tree;

    #[test]
    fn the_nearest_file_says_which_version() {
        let tree = Tree::of([
            (".python-version", "# ours\n3.11\n"),
            (".tool-versions", "golang 1.22.1 # x\nruby 3.2.1\n"),
            ("mise.toml", "[tools]\nrust = { version = \"1.84\" }\ngo = \"1.20\"\njava = [\"21\", \"17\"]\n"),
            ("api/.python-version", "3.12\n"),
            ("api/x.py", ""),
        ]);
        let line = |root: &str, tool: &str| {
            let (version, _, at) = asked(Dir::of(&tree, root), tool)?;
            Some(format!("{version} {}:{}", at.file, at.line))
        };
        assert_eq!(line(".", "python").as_deref(), Some("3.11 .python-version:2"));
        assert_eq!(line("api", "python").as_deref(), Some("3.12 api/.python-version:1"));
        assert_eq!(line("api", "go").as_deref(), Some("1.22.1 .tool-versions:1"));
        assert_eq!(line(".", "rust").as_deref(), Some("1.84 mise.toml:2"));
        assert_eq!(line(".", "java").as_deref(), Some("21 mise.toml:4"));
        assert_eq!(line(".", "elixir"), None);
    }
}
