use std::fs;

use proptest::prelude::*;

use super::{
    literal,
    value::{Node, Value},
    *,
};

/// A plugin's directory, with the two files that most of them have.
fn plugin() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    for folder in ["AIGIS", "src"] {
        fs::create_dir(directory.path().join(folder)).unwrap();
    }
    for file in [CORE_FILE, "requirements.txt", "main.py", "src/inner.py"] {
        fs::write(directory.path().join(file), "").unwrap();
    }
    directory
}

fn read(text: &str) -> Result<Manifest, String> {
    let plugin = plugin();
    fs::write(plugin.path().join(FILE), text).unwrap();
    Manifest::read(plugin.path(), "/run".as_ref()).map_err(|error| {
        let message = error.to_string();
        assert!(!message.chars().any(char::is_control), "{message:?}");
        message.strip_prefix("/run/AIGIS/").unwrap_or(&message).to_owned()
    })
}

const CORE: &str = "PLUGIN_TYPE = \"core\"\nENTRYPOINT = \"{root}\"\n";

fn core(more: &str) -> Result<Manifest, String> {
    read(&format!("{CORE}{more}"))
}

/// What is refused, with its place behind the file's name.
fn refused(text: &str, place: &str, words: &[&str]) {
    let shown: String = text.chars().take(1_000).collect();
    let message = read(text).expect_err(&shown);
    assert!(message.starts_with(&format!("AIGIS.config:{place}: ")), "{shown:?}: {message}");
    for word in words {
        assert!(message.contains(word), "{shown:?}: {word:?} is not in: {message}");
    }
}

fn value(text: &str) -> Value {
    let bindings = literal::parse(&format!("x = {text}")).unwrap_or_else(|fault| panic!("{text:?}: {fault:?}"));
    bindings.into_iter().next_back().unwrap().node.value
}

fn words(node: &Node) -> String {
    match &node.value {
        Value::Text(text) => text.clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn strings_are_what_python_makes_of_them() {
    for (written, text) in [
        (r#""a" 'b'"#, "ab"),
        (r#""a" + 'b'"#, "ab"),
        ("('a'\n  'b' # one\n  'c')", "abc"),
        ("\"\"\"a\n\"b\"\n\"\"\"", "a\n\"b\"\n"),
        ("'''a\r\nb'''", "a\nb"),
        (r"r'a\n\'' ", r"a\n\'"),
        (r"R'\d'", r"\d"),
        (r"u'\u00e9\x41\101\U0001F600'", "éAA😀"),
        (r"'\a\b\f\n\r\t\v\\\'\q'", "\x07\x08\x0c\n\r\t\x0b\\'\\q"),
        ("'a\\\nb'", "ab"),
        ("'a' \\\n  'b'", "ab"),
        ("(('a'))", "a"),
        ("''", ""),
    ] {
        assert_eq!(value(written), Value::Text(text.to_owned()), "{written}");
    }
}

#[test]
fn numbers_and_collections_are_what_python_makes_of_them() {
    for (written, number) in [
        ("0", 0),
        ("00", 0),
        ("-1", -1),
        ("--1", 1),
        ("1_000", 1000),
        ("0x_ff", 255),
        ("0o17", 15),
        ("0b11", 3),
        ("+ 2", 2),
    ] {
        assert_eq!(value(written), Value::Integer(Some(number)), "{written}");
    }
    assert_eq!(value("-9223372036854775808"), Value::Integer(Some(i64::MIN)));
    assert_eq!(value("9223372036854775808"), Value::Integer(None));
    for (written, number) in [("1.", 1.0), (".5", 0.5), ("1e3", 1e3), ("-1.5E-3", -1.5e-3), ("1_0.0_1", 10.01)] {
        assert_eq!(value(written), Value::Float(number), "{written}");
    }
    let count = |written: &str| match value(written) {
        Value::List(items) => format!("list {}", items.len()),
        Value::Tuple(items) => format!("tuple {}", items.len()),
        Value::Dict(items) => format!("dict {}", items.len()),
        other => format!("{other:?}"),
    };
    for (written, shape) in [
        ("[]", "list 0"),
        ("[1, 'a',\n [2],]", "list 3"),
        ("[1] + [2, 3]", "list 3"),
        ("()", "tuple 0"),
        ("(1,)", "tuple 1"),
        ("1, 2", "tuple 2"),
        ("1,", "tuple 1"),
        ("(1)", "Integer(Some(1))"),
        ("{}", "dict 0"),
        ("{'a': 1, 'b': {'c': None},\n}", "dict 2"),
        ("True", "Bool(true)"),
    ] {
        assert_eq!(count(written), shape, "{written}");
    }
}

#[test]
fn a_file_is_statements_names_and_comments() {
    let text = "#!/usr/bin/env python\n\"\"\"What it is\"\"\" \"and more\"\n\na = 'x'; b = [a, a + 'y']\n\nc = (b + ['z'])  # all\n'text'\nd = c\\\n\n";
    let bindings = literal::parse(text).unwrap();
    let names: Vec<&str> = bindings.iter().map(|binding| binding.name.as_str()).collect();
    assert_eq!(names, ["a", "b", "c", "d"]);
    let Value::List(items) = &bindings[3].node.value else { panic!("{bindings:?}") };
    assert_eq!(items.iter().map(words).collect::<Vec<_>>(), ["x", "xy", "z"]);
    assert_eq!(literal::parse(&text.replace('\n', "\r\n")).unwrap().len(), 4);
    assert_eq!(literal::parse("").unwrap(), []);
}

#[test]
fn plg_15_what_python_would_have_to_run_is_refused_where_it_begins() {
    let only = ["only literal values are allowed here"];
    let mark = std::env::temp_dir().join(format!("aigis-mark-{}", std::process::id()));
    refused(&format!("{CORE}import os; os.system(\"touch {}\")", mark.display()), "3:1", &only);
    refused(&format!("{CORE}HOST = open('x')"), "3:8", &only);
    refused(&format!("{CORE}HOST = 'x'.upper()"), "3:11", &only);
    refused(&format!("{CORE}HOST = f'{{1}}'"), "3:8", &["f-string"]);
    refused(&format!("{CORE}HOST = b'x'"), "3:8", &["bytes"]);
    refused(&format!("{CORE}HOST = rb'x'"), "3:8", &["bytes"]);
    for text in [
        "os.x = 1",
        "a: str = 'b'",
        "a = b = 1",
        "a += 1",
        "a = 1 if 2 else 3",
        "a = [x for x in y]",
        "a = {1}",
        "a = {**b}",
        "a = lambda: 1",
        "a = 1 + 1",
        "a = 'x' * 9",
        "a = -'x'",
        "a = [1][0]",
        "a = not True",
        "a = ...",
        "a = 1j",
        "a = 012",
        "a == 1",
        "if a: b = 1",
        "  a = 1",
        "a = 'x",
        "a = '''x",
        "a = (1",
        "a = [1",
        "a = {'b' 1}",
        "a = '\\xg'",
        "a = '\\ud800'",
        "a = '\\N{BULLET}'",
        "a = 1__0",
        "a = 0x",
        "a = 1_",
        "a = 'x' 1",
        "a = ur'x'",
        "def a(): pass",
        "a =",
        "@x",
    ] {
        assert!(literal::parse(text).is_err(), "{text}");
    }
    assert!(!mark.exists());
}

#[test]
fn plg_18_no_text_costs_more_than_it_is_worth() {
    let deep = |open: &str, close: &str| format!("a = {}{}", open.repeat(10_000), close.repeat(10_000));
    for text in [deep("[", "]"), deep("(", ")"), deep("{'a':", "}"), deep("-", "1")] {
        let _ = literal::parse(&text);
    }
    assert!(literal::parse(&deep("[", "]")).unwrap_err().reason.contains("64 deep"));
    let mut doubled = String::from("a = 'xxxxxxxxxxxxxxxx'\n");
    doubled.push_str(&"a = a + a\n".repeat(60));
    assert!(literal::parse(&doubled).unwrap_err().reason.contains("larger than"));
    let nested = "a = [1]\n".to_owned() + &"a = [a, a]\n".repeat(60);
    assert!(literal::parse(&nested).unwrap_err().reason.contains("larger than"));
    refused(&format!("{CORE}# {}", "x".repeat(256 * 1024)), "1:1", &["262144 bytes"]);
}

#[test]
fn plg_16_both_forms_mean_the_same() {
    let python = r#"
PLUGIN_TYPE = "internal-remote"
ENTRYPOINT = "{root}/src"
LAUNCH = "inner"
HOST = "gpu=" + "true"
SYSTEM_REQUIREMENTS = ["pdftk", "chromedriver"]
REQUIREMENT_COMMAND = "pip3.7 install --user -r"
REQUIREMENT_FILE = "{root}/requirements.txt"
SECRETS = {"a/b.key": "{root}/secrets/"}
RESTART = -1
RESTART_ON = "failure"
START_TIMEOUT = 1.5
TIMEOUT = 40
CONCURRENCY = 8
ENV = {"A": "{b}"}
EFFECTS = {"cool.look": "read"}
lower = {1: 2}
"#;
    let toml = r#"
PLUGIN_TYPE = "internal-remote"
ENTRYPOINT = "{root}/src"
LAUNCH = "inner"
HOST = "gpu=true"
SYSTEM_REQUIREMENTS = ["pdftk", "chromedriver"]
REQUIREMENT_COMMAND = "pip3.7 install --user -r"
REQUIREMENT_FILE = "{root}/requirements.txt"
RESTART = -1
RESTART_ON = "failure"
START_TIMEOUT = 1.5
TIMEOUT = 40
CONCURRENCY = 8
when = 2026-01-01

[SECRETS]
"a/b.key" = "{root}/secrets/"

[ENV]
A = "{b}"

[EFFECTS]
"cool.look" = "read"
"#;
    let [one, other] = [python, toml].map(|text| serde_json::to_value(read(text).unwrap()).unwrap());
    assert_eq!(one, other);
    assert_eq!(one["entrypoint"], "/run/src");
    assert_eq!(one["secrets"]["a/b.key"], "/run/secrets");
    assert_eq!((&one["restart"], &one["start_timeout_s"], &one["timeout_s"]), (&(-1).into(), &1.5.into(), &40.into()));
    assert_eq!(one["launch"]["module"], "inner");
}

#[test]
fn plg_17_both_spellings_are_one_key() {
    let with = |more: &str| core(more).map(|manifest| manifest.requirement_command);
    let taken = Some(Words::Text("pip install -r".into()));
    assert_eq!(with("REQUIREMENTS_COMMAND = 'pip install -r'"), Ok(taken.clone()));
    assert_eq!(with("REQUIREMENTS_COMMAND = 'pip install -r'\nREQUIREMENT_COMMAND = 'pip install ' + '-r'"), Ok(taken));
    let both = "REQUIREMENTS_COMMAND = 'pip install -r'\nREQUIREMENT_COMMAND = 'make'";
    refused(&format!("{CORE}{both}"), "3:24", &["REQUIREMENTS_COMMAND", "REQUIREMENT_COMMAND on line 4"]);
    let file = core("REQUIREMENTS_FILE = '{root}/requirements.txt'").unwrap().requirement_file;
    assert_eq!(file.as_deref(), Some(Path::new("/run/requirements.txt")));
}

#[test]
fn plg_18_what_is_wrong_is_told_with_key_and_line() {
    let fault =
        |more: &str, column: usize, words: &[&str]| refused(&format!("{CORE}{more}"), &format!("3:{column}"), words);
    fault("SECRETS = {'a': '{weird}'}", 17, &["SECRETS", "{weird}"]);
    fault("SECRETS = {'a': '{root}/../x'}", 17, &["SECRETS", "/x leads out"]);
    fault("SECRETS = {'../x': '{root}'}", 12, &["SECRETS", "../x"]);
    fault("SECRETS = {'a': '{root}/main.py'}", 17, &["SECRETS", "no directory"]);
    fault("SECRETS = {'a/k': '{root}/s', 'b/k': '{root}/s/'}", 31, &["a/k", "b/k"]);
    fault("SECRETS = ['a']", 11, &["SECRETS", "a list", "write a dict"]);
    fault("RESTART = -2", 11, &["RESTART", "from -1"]);
    fault("RESTART = 'x'", 11, &["RESTART", "a string"]);
    fault("CONCURRENCY = 0", 15, &["CONCURRENCY", "from 1 to 1024"]);
    fault("CONCURRENCY = True", 15, &["CONCURRENCY", "a truth value"]);
    fault("TIMEOUT = 0", 11, &["TIMEOUT"]);
    fault("TIMEOUT = 1e400", 11, &["TIMEOUT"]);
    fault("RESTART_ON = 'always'", 14, &["RESTART_ON", "\"exit\", \"failure\""]);
    fault("EFFECTS = {'a.b': 'rad'}", 19, &["EFFECTS", "\"read\""]);
    fault("EFFECTS = {'a..b': 'read'}", 12, &["EFFECTS"]);
    fault("ENV = {'A=B': ''}", 8, &["ENV"]);
    fault("SERVES = 1", 10, &["SERVES", "True or False"]);
    fault("SYSTEM_REQUIREMENTS = 'git'", 23, &["SYSTEM_REQUIREMENTS", "list"]);
    fault("REQUIREMENT_FILE = '{root}/none.txt'", 20, &["REQUIREMENT_FILE", "none.txt is no file"]);
    fault("REQUIREMENT_COMMAND = 'a; b'", 23, &["REQUIREMENT_COMMAND", "for a shell"]);
    refused("PLUGIN_TYPE = 'core'\n\n", "1:21", &["ENTRYPOINT is missing"]);
    refused("ENTRYPOINT = '{root}'", "1:22", &["PLUGIN_TYPE is missing"]);
    refused("PLUGIN_TYPE = 'croe'", "1:15", &["PLUGIN_TYPE", "\"croe\"", "\"internal-remote\""]);
    refused("PLUGIN_TYPE = 'core'\nENTRYPOINT = \n", "2:14", &["a value is missing"]);
    refused("PLUGIN_TYPE = 'core'\nENTRYPOINT = '{root}/none'", "2:14", &["ENTRYPOINT", "none is no directory"]);
    refused("PLUGIN_TYPE = 'core'\nENTRYPOINT = '/'", "2:14", &["leads out"]);
    let internal = |launch: &str| format!("PLUGIN_TYPE = 'internal'\nENTRYPOINT = '{{root}}/src'\nLAUNCH = {launch}");
    refused("PLUGIN_TYPE = 'internal'\nENTRYPOINT = '{root}'", "2:22", &["LAUNCH is missing"]);
    refused(&internal("['a']"), "3:10", &["LAUNCH", "a list"]);
    refused(&internal("'a b'"), "3:10", &["LAUNCH", "no module"]);
    refused(&internal("'{root}/none.py'"), "3:10", &["LAUNCH", "none.py is no file"]);
    refused(&internal("'{root}/../none.py'"), "3:10", &["leads out"]);
    let external = |launch: &str| format!("PLUGIN_TYPE = 'external'\nENTRYPOINT = '/'\nLAUNCH = {launch}");
    refused(&external("'sh'"), "3:10", &["LAUNCH", "list"]);
    refused(&external("[]"), "3:10", &["LAUNCH"]);
    refused(&external("['sh', '{root}/../x']"), "3:17", &["leads out"]);
    refused(&external("['sh', '{x}']"), "3:17", &["{x}"]);
}

#[test]
fn launches_are_files_modules_and_commands() {
    let internal =
        |launch: &str| read(&format!("PLUGIN_TYPE = 'internal'\nENTRYPOINT = '{{root}}/src'\nLAUNCH = {launch}"));
    let launch = |launch: &str| internal(launch).unwrap().launch.unwrap();
    assert_eq!(launch("'{root}/main.py'"), Launch::File("/run/main.py".into()));
    assert_eq!(launch("'inner.py'"), Launch::File("/run/src/inner.py".into()), "from where it runs");
    assert_eq!(launch("'a.b_c'"), Launch::Module("a.b_c".into()));
    let external =
        read("PLUGIN_TYPE = 'external'\nENTRYPOINT = '/'\nLAUNCH = ['{root}/main.py', '{{x}}', '-c']\nSERVES = True");
    let external = external.unwrap();
    assert_eq!(external.launch, Some(Launch::Command(vec!["/run/main.py".into(), "{x}".into(), "-c".into()])));
    assert!(external.serves && external.warnings.is_empty(), "{:?}", external.warnings);
    assert_eq!(external.entrypoint, Path::new("/"), "an external plugin may run where it likes");
}

#[test]
fn what_is_odd_is_a_warning_with_the_nearest_key() {
    let warnings = |more: &str| core(more).unwrap().warnings.join("\n");
    let told = warnings("REQUIREMENT_FIEL = 'x'\nVERSION = '1'\nlower = 2\n_PRIVATE = 3\nHOST = 'beta'");
    assert!(told.contains("line 3: REQUIREMENT_FIEL") && told.contains("did you mean REQUIREMENT_FILE?"), "{told}");
    assert!(told.contains("line 4: VERSION") && told.contains("line 7: HOST"), "{told}");
    assert!(!told.contains("lower") && !told.contains("PRIVATE"), "{told}");
    let made = core("REQUIREMENT_COMMAND = 'touch'\nREQUIREMENT_FILE = '{root}/MADE'").unwrap();
    assert!(made.warnings.join("").contains("before REQUIREMENT_COMMAND has run"), "{:?}", made.warnings);
    let manifest = core("RESTART = True").unwrap();
    assert_eq!((manifest.restart, manifest.warnings.len()), (Restart::Times(1), 0));
    assert_eq!(core("RESTART = False").unwrap().restart, Restart::Times(0));
}

#[test]
fn plg_18_links_do_not_lead_out() {
    let plugin = plugin();
    let outside = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(outside.path(), plugin.path().join("out")).unwrap();
    let read = |target: &str| {
        fs::write(plugin.path().join(FILE), format!("{CORE}SECRETS = {{'a': '{target}'}}")).unwrap();
        Manifest::read(plugin.path(), plugin.path())
    };
    assert!(read("{root}/in/there").is_ok());
    assert!(read("{root}/out/there").unwrap_err().to_string().contains("leads out"));
}

#[test]
fn plg_19_a_file_that_is_missing_is_named() {
    let plugin = plugin();
    let error = Manifest::read(plugin.path(), "/run".as_ref()).unwrap_err();
    assert!(matches!(&error, Error::Missing { .. }) && error.to_string().contains(FILE), "{error}");
    fs::write(plugin.path().join(FILE), CORE).unwrap();
    let read = || Manifest::read(plugin.path(), "/run".as_ref()).unwrap().check_core_file("/run".as_ref());
    assert!(read().is_ok());
    fs::remove_file(plugin.path().join(CORE_FILE)).unwrap();
    assert!(read().unwrap_err().to_string().contains("/run/AIGIS/AIGIS.core"));
}

/// A value, as Python writes it.
fn any_value() -> impl Strategy<Value = (String, String)> {
    let text = "[a-z \\\\'\"\\n{}#é]{0,12}".prop_map(|text: String| {
        let written = text.replace('\\', "\\\\").replace('\'', "\\'").replace('\n', "\\n");
        (format!("'{written}'"), format!("{text:?}"))
    });
    let number = any::<i64>().prop_map(|number| (number.to_string(), number.to_string()));
    let leaf = prop_oneof![text, number, Just(("True".into(), "true".into())), Just(("None".into(), "none".into()))];
    leaf.prop_recursive(4, 32, 4, |inner| {
        let list = prop::collection::vec(inner.clone(), 0..4).prop_map(|items| {
            let (written, read): (Vec<String>, Vec<String>) = items.into_iter().unzip();
            (format!("[{} ]", written.join(" ,\n")), format!("[{}]", read.join(",")))
        });
        let dict = prop::collection::vec(inner, 0..4).prop_map(|items| {
            let (written, read): (Vec<String>, Vec<String>) = items
                .into_iter()
                .enumerate()
                .map(|(key, (written, read))| (format!("'{key}' : {written}"), format!("{key}:{read}")))
                .unzip();
            (format!("{{{}}}", written.join(", # x\n")), format!("{{{}}}", read.join(",")))
        });
        prop_oneof![list, dict]
    })
}

fn shown(node: &Node) -> String {
    match &node.value {
        Value::None => "none".into(),
        Value::Bool(value) => value.to_string(),
        Value::Integer(Some(number)) => number.to_string(),
        Value::Text(text) => format!("{text:?}"),
        Value::List(items) => format!("[{}]", items.iter().map(shown).collect::<Vec<_>>().join(",")),
        Value::Dict(items) => {
            let items = items.iter().map(|(key, value)| format!("{}:{}", words(key), shown(value)));
            format!("{{{}}}", items.collect::<Vec<_>>().join(","))
        }
        other => format!("{other:?}"),
    }
}

proptest! {
    #[test]
    fn what_was_written_is_what_is_read((written, read) in any_value()) {
        let bindings = literal::parse(&format!("x = {written}\ny = x")).map_err(|fault| TestCaseError::fail(format!("{fault:?}")))?;
        prop_assert_eq!(shown(&bindings[1].node), read);
    }

    #[test]
    fn plg_15_no_text_breaks_the_reader(text in "([A-Z]{1,3}|[ =+,:;#\\\\\\n(){}\\[\\]'\"rfbu.0-9é_-]|\"\"\"|True|import os){0,40}") {
        if let Err(fault) = literal::parse(&text) {
            prop_assert!(fault.at <= text.len() && text.is_char_boundary(fault.at), "{:?}", fault);
        }
    }
}
