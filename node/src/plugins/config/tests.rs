use proptest::prelude::*;

use super::{
    edit::{added, removed},
    *,
};

const WHOLE: &str = r#"# what this node is home to
[external]
meter = "./meter"

[internal]
Bot = { source = "https://git.example/bot.git", ref = "v1.2", subdir = "src/bot", update = "never", host = "gpu=true" }

[core]
dice = "git@git.example:dice"
fx = { source = "~/fx", grants = ["test-app:read", "kind=plugin", "zone=a:write"], python = "python3.12", timeout = 40, env = { A = "1" } }
[core.off]
source = "/srv/off"
enabled = false
"#;

fn parse(text: &str) -> Result<Config, Error> {
    Config::parse(Path::new("/etc/aigis/config.aigis"), text)
}

fn refused(text: &str) -> String {
    let message = parse(text).unwrap_err().to_string();
    assert!(!message.chars().any(char::is_control), "{message:?}");
    message.strip_prefix("/etc/aigis/config.aigis:").unwrap_or_else(|| panic!("{message}")).to_owned()
}

fn says(text: &str, place: &str, words: &[&str]) {
    let message = refused(text);
    assert!(message.starts_with(place), "{text:?}: {message}");
    for word in words {
        assert!(message.contains(word), "{text:?}: {word:?} is not in: {message}");
    }
}

#[test]
fn a_whole_file_is_read_in_the_order_of_starting() {
    let config = parse(WHOLE).unwrap();
    let order: Vec<(&str, Type)> = config.entries.iter().map(|entry| (entry.name.as_str(), entry.table)).collect();
    let core = ["dice", "fx", "off"].map(|name| (name, Type::Core));
    assert_eq!(order, [&core[..], &[("bot", Type::Internal), ("meter", Type::External)]].concat());
    let [dice, fx, off, bot, meter] = config.entries.as_slice() else { panic!("{config:?}") };
    assert!(matches!(&dice.source.location, Location::Git(url) if url.to_string() == "git@git.example:dice"));
    assert_eq!(meter.source.location, Location::Path("/etc/aigis/meter".into()));
    assert_eq!(bot.source.reference.as_ref().map(ToString::to_string).as_deref(), Some("v1.2"));
    assert_eq!((bot.source.update, bot.host.as_deref()), (Update::Never, Some("gpu=true")));
    assert!(bot.warnings.join("").contains("\"Bot\" is called bot"), "{:?}", bot.warnings);
    let grants: Vec<String> = fx.grants.iter().flatten().map(ToString::to_string).collect();
    assert_eq!(grants, ["test-app:read", "kind=plugin:write", "zone=a:write"]);
    assert_eq!((fx.timeout, fx.env.get("A").map(String::as_str)), (Some(Duration::from_secs(40)), Some("1")));
    assert!(!off.enabled && fx.enabled);
    assert_eq!(parse("").unwrap().entries, []);
    assert_eq!(parse("# nothing\n").unwrap().entries, []);
}

#[test]
fn plg_03_what_is_wrong_is_told_with_its_line() {
    says("[core]\na = \"x\"\na = \"y\"", "3:1", &["on line 2 and on line 3"]);
    says(
        "[core]\na = \"x\"\n[externl]\nb = \"y\"",
        "3:2",
        &["unknown table \"externl\"", "did you mean \"external\"?"],
    );
    says("\n[core]\nnum = 5", "3:7", &["core.num is of type integer", "quotes"]);
    says("[core]\nx = \"a\"\n[external]\n\nx = \"b\"", "5:1", &["\"x\"", "line 2 in [core]", "line 5 in [external]"]);
    says("[core]\nx = \"a\"\nX = \"b\"", "3:1", &["on line 2", "on line 3"]);
    says("[core]\nlist = \"a\"", "2:1", &["reserved"]);
    says("[core]\n\"a b\" = \"a\"", "2:1", &["' '", "position 2"]);
    says("[core]\na = { sorce = \"x\" }", "2:7", &["unknown key \"sorce\"", "did you mean \"source\"?"]);
    says("[core]\na = { ref = \"x\" }", "2:1", &["no key \"source\""]);
    says("[core]\na = { source = 1 }", "2:16", &["core.a.source"]);
    says("[core]\na = { source = \"./x\", ref = \"main\" }", "2:29", &["git URL"]);
    says("[core]\na = { source = \"./x\", update = \"nver\" }", "2:32", &["never"]);
    says("[core]\na = { source = \"./x\", timeout = 0 }", "2:33", &["from 1 to 86400"]);
    says("[core]\na = { source = \"./x\", grants = [\"x:admin\"] }", "2:33", &["never granted admin"]);
    says("[core]\na = { source = \"./x\", env = { \"A=B\" = \"\" } }", "2:", &["core.a.env"]);
    says("core = \"x\"", "1:8", &["core is of type string"]);
}

#[test]
fn plg_10_sources_that_git_or_a_terminal_would_obey_are_refused() {
    says("[core]\na = \"--upload-pack=touch M\"", "2:5", &["begins with -"]);
    says("[core]\na = \"x\\u001b[2J\"", "2:5", &["control character"]);
    says("[core]\na = { source = \"https://x/y\", ref = \"--upload-pack=x\" }", "2:", &["ref"]);
    says("[core]\na = \"ext://sh\"", "2:5", &["https, http, ssh, git and file"]);
    // No URL by its form, and so a path, which git never sees.
    let config = parse("[core]\na = \"ext::sh -c touch% M\"").unwrap();
    assert_eq!(config.entries[0].source.location, Location::Path("/etc/aigis/ext::sh -c touch% M".into()));
}

fn line(name: &str, table: Type) -> Addition {
    let name = Name::parse(name).unwrap();
    Addition { name, table, source: "./x".into(), reference: None, host: None, grants: Vec::new() }
}

#[test]
fn plg_68_a_line_is_put_in_and_taken_out_and_all_else_stays() {
    let path = Path::new("/etc/aigis/config.aigis");
    let crlf = WHOLE.replace('\n', "\r\n");
    for text in [
        WHOLE,
        &crlf,
        WHOLE.trim_end(),
        "",
        "# alone",
        "# alone\n",
        "[core] # of mine\n",
        "[core]",
        "core.a = \"./a\"\n\n# others\n[internal]\nb = \"./b\"",
        "# of the file\n\n# of the table\n[internal]\nb = { source = \"\"\"./b\"\"\", env = {} }\n",
        "[core.a]\nsource = \"./a\" # end\n\n\n[internal]\n",
        "  [ \"core\" ]\n  a = \"./a\" # one\n  # two\n",
    ] {
        let before = parse(text).unwrap();
        for table in Type::ALL {
            let (after, config) = added(path, text, &line("x", table)).unwrap_or_else(|e| panic!("{text:?}: {e}"));
            assert_eq!(config.entries.len(), before.entries.len() + 1, "{after}");
            assert_eq!(after.lines().count(), text.lines().count() + 1, "{text:?} became {after:?}");
            let name = Name::parse("x").unwrap();
            let (back, _) = removed(path, &after, &name).unwrap_or_else(|e| panic!("{after:?}: {e}"));
            assert_eq!(back, text, "{after:?}");
        }
    }
}

#[test]
fn every_form_of_an_entry_can_be_taken_out() {
    let path = Path::new("/etc/aigis/config.aigis");
    let all = parse(WHOLE).unwrap();
    for entry in &all.entries {
        let (text, rest) = removed(path, WHOLE, &entry.name).unwrap();
        assert!(rest.entry(&entry.name).is_none() && rest.entries.len() == all.entries.len() - 1, "{text}");
        assert!(text.starts_with("# what this node is home to\n"), "{text}");
    }
    let dotted = "core.a.source = \"./a\"\ncore.b = \"./b\"\ncore.a.enabled = false\n";
    assert_eq!(removed(path, dotted, &Name::parse("a").unwrap()).unwrap().0, "core.b = \"./b\"\n");
    let inline = "core = { a = \"./a\" }";
    assert!(matches!(added(path, inline, &line("x", Type::Core)), Err(EditError::Form { .. })));
    assert!(removed(path, "core = { a = \"./a\", b = \"./b\" }", &Name::parse("a").unwrap()).is_err());
    assert!(matches!(removed(path, WHOLE, &Name::parse("none").unwrap()), Err(EditError::Unknown { .. })));
    assert!(matches!(added(path, WHOLE, &line("fx", Type::Core)), Err(EditError::Exists { line: 10, .. })));
}

#[test]
fn plg_68_the_file_is_replaced_in_one_step_and_keeps_its_mode() {
    use std::os::unix::fs::PermissionsExt as _;
    let directory = tempfile::tempdir().unwrap();
    let (path, link) = (directory.path().join("real"), directory.path().join("config.aigis"));
    std::fs::write(&path, WHOLE).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
    std::os::unix::fs::symlink(&path, &link).unwrap();
    let addition = Addition {
        reference: Some("v1\"x".into()),
        host: Some("gpu=true".into()),
        grants: vec!["web:read".into()],
        source: "https://git.example/x".into(),
        ..line("x", Type::External)
    };
    let config = Config::add(&link, &addition).unwrap();
    let entry = config.entry(&addition.name).unwrap();
    assert_eq!((entry.host.as_deref(), entry.grants.iter().flatten().count()), (Some("gpu=true"), 1));
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
    assert!(std::fs::symlink_metadata(&link).unwrap().is_symlink());
    Config::remove(&link, &addition.name).unwrap();
    assert_eq!(std::fs::read_to_string(&path).unwrap(), WHOLE);
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 2, "nothing lies beside");
    let fresh = directory.path().join("fresh");
    Config::add(&fresh, &line("a", Type::Core)).unwrap();
    assert_eq!(std::fs::read_to_string(&fresh).unwrap(), "core.a = \"./x\"\n");
}

proptest! {
    #[test]
    fn what_is_added_to_any_text_comes_out_again(text in "((\\[core\\]|\\[external\\]|core\\.a|b|# c|\"x\"|=| |\n){0,3}\n?){0,8}") {
        let path = Path::new("c");
        let name = Name::parse("zz9").unwrap();
        if let Ok((after, _)) = added(path, &text, &line("zz9", Type::Core)) {
            let (back, _) = removed(path, &after, &name).unwrap();
            prop_assert_eq!(back, text);
        }
    }
}
