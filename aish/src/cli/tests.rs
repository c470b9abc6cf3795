use super::*;
use std::os::unix::ffi::OsStringExt;

fn read(line: &str) -> Result<Cli, Refusal> {
    parse(std::iter::once("aish").chain(line.split_whitespace()).map(OsString::from).collect())
}

fn message(line: &str) -> Message {
    match read(line).unwrap().command {
        Command::Message(message) => message,
        other => panic!("{line}: {other:?}"),
    }
}

fn wrong(line: &str) -> Usage {
    match read(line).unwrap_err() {
        Refusal::Wrong(Failure::Usage(usage)) => usage,
        other => panic!("{line}: {other:?}"),
    }
}

#[test]
fn the_parser_is_sound() {
    parser().subcommand(message_parser(MESSAGE)).debug_assert();
}

#[test]
fn every_command_is_a_reserved_word() {
    let parser = parser();
    for command in parser.get_subcommands() {
        for name in std::iter::once(command.get_name()).chain(command.get_all_aliases()) {
            assert!(aigis_proxy::RESERVED.contains(&name), "{name} is a command and no reserved word");
        }
    }
}

#[test]
fn options_may_stand_on_both_sides_of_an_address() {
    let cli = read("--timeout 5s web status --json").unwrap();
    assert!(cli.global.json);
    assert_eq!(cli.global.timeout, Some(Duration::from_secs(5)));
    assert_eq!(message("web what is up").words, ["web", "what", "is", "up"]);
    assert_eq!(message("-n echo hi").words, ["echo", "hi"]);
    assert!(message("-n echo hi").no_stdin && message("web restart --yes").yes);
    assert_eq!(message("web -").words, ["web", "-"]);
    assert_eq!(message("web -- --weird").words, ["web", "--weird"]);
    assert_eq!(message("--all describe").words, ["describe"]);
    assert_eq!(message("@coding status --kind container --node a --node b").node.len(), 2);
    assert!(matches!(read("--json list").unwrap().command, Command::List(_)));
    assert!(matches!(read("--mesh other nodes").unwrap().command, Command::Nodes(_)));
}

#[test]
fn bad_43_a_bad_command_line_names_the_option_and_the_valid_values() {
    assert!(wrong("list --bogus").message.contains("--bogus"));
    assert!(wrong("web status --bogus").message.contains("--bogus"));
    assert!(wrong("list --timeout 1s --timeout 2s").message.contains("--timeout"));
    let kinds = wrong("list --kind bogus");
    assert!(kinds.message.contains("container") && kinds.message.contains("wrapped"), "{}", kinds.message);
    let states = wrong("list --state dead");
    assert!(states.message.contains("offline"), "{}", states.message);
    assert!(wrong("list --timeout 25h").message.contains("at most 24h"));
    assert!(wrong("list --mesh A.b").message.contains("mesh name"));
    for usage in [wrong("list --bogus"), wrong("call")] {
        assert!(!usage.message.contains("Usage") && usage.hint.is_some());
    }
}

#[test]
fn bad_43_what_is_quoted_is_escaped_and_cut() {
    let esc = "\u{1b}[2Jx";
    for line in [
        vec!["list", "--bogus\u{1b}[2J"],
        vec!["up", "--name", esc],
        vec!["list", "--kind", esc],
        vec!["users", esc],
        vec!["--mesh", esc, "list"],
        vec!["web", "--timeout", esc],
    ] {
        let arguments = std::iter::once("aish").chain(line.iter().copied()).map(OsString::from).collect();
        let Err(Refusal::Wrong(Failure::Usage(usage))) = parse(arguments) else { panic!("{line:?}") };
        let shown = format!("{}{}", usage.message, usage.hint.unwrap_or_default());
        assert!(!shown.chars().any(char::is_control) && shown.contains("\\u{1b}[2J"), "{line:?}: {shown}");
    }
    for option in ["--kind", "--timeout", "--node"] {
        let shown = wrong(&format!("list {option} {}", "Z".repeat(5000))).message;
        assert!(shown.len() < 600 && shown.contains(&"Z".repeat(64)), "{shown}");
    }
}

#[test]
fn bad_43_what_is_no_text_is_refused() {
    for (bad, said) in [(vec![0xff, 0xfe], "UTF-8"), (b"a\0b".to_vec(), "NUL"), (vec![b'a'; 2 * 1024 * 1024], "bytes")]
    {
        let arguments = vec!["aish".into(), "web".into(), OsString::from_vec(bad)];
        match parse(arguments).unwrap_err() {
            Refusal::Wrong(failure @ Failure::Usage(_)) => {
                assert_eq!(failure.code(), 2);
                let Failure::Usage(usage) = failure else { unreachable!() };
                assert!(usage.message.contains(said), "{}", usage.message);
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn nothing_at_all_is_a_usage_error_and_help_is_not() {
    assert!(matches!(read("").unwrap_err(), Refusal::Wrong(Failure::Usage(_))));
    assert!(matches!(read("--help").unwrap_err(), Refusal::Asked(_)));
    assert!(matches!(read("--version").unwrap_err(), Refusal::Asked(_)));
    assert!(matches!(read("list --help").unwrap_err(), Refusal::Asked(_)));
}

#[test]
fn a_hint_leads_to_the_command_that_was_meant() {
    for (line, said) in [
        ("list --kind bogus", "see: aish list --help"),
        ("list --bogus", "usage: aish list [OPTIONS]"),
        ("--mesh A list", "see: aish list --help"),
        ("users create vera --role boss", "see: aish users create --help"),
        ("users", "create"),
        ("completions", "usage: aish completions [OPTIONS] <SHELL>"),
        ("web status --bogus", "usage: aish CI [OPTIONS] [MESSAGE]..."),
        ("--bogus", "see: aish --help"),
    ] {
        let hint = wrong(line).hint.unwrap();
        assert!(hint.contains(said), "{line}: {hint}");
    }
    assert!(wrong("users").message.contains("aish users"));
}

#[test]
fn words_near_a_command_are_known() {
    for (word, command) in [
        ("lst", Some("aish list")),
        ("lgos", Some("aish logs")),
        ("help", Some("aish --help")),
        ("undeploy", Some("aish deployments remove")),
    ] {
        assert_eq!(near_command(word).as_deref(), command, "{word}");
    }
    for name in ["web", "db", "a", "postgres"] {
        assert_eq!(near_command(name), None, "{name}");
    }
}

#[test]
fn help_shows_what_can_be_typed_and_what_the_exit_codes_mean() {
    let Err(Refusal::Asked(help)) = read("--help") else { panic!() };
    assert!(!help.contains(MESSAGE) && help.contains("Exit codes: 0 answered"), "{help}");
}

#[test]
fn a_list_of_commands_says_what_each_is_for() {
    for line in ["--help", "-h", "manifests --help", "packages -h", "deployments --help"] {
        let Err(Refusal::Asked(help)) = read(line) else { panic!("{line}") };
        let (_, rest) = help.split_once("Commands:\n").unwrap();
        // What is long goes on in a line that is set in further.
        let lines = rest.lines().take_while(|line| !line.is_empty());
        let commands: Vec<&str> = lines.filter(|line| !line.starts_with("   ")).collect();
        assert!(
            commands.len() > 2 && commands.iter().all(|line| line.split_whitespace().count() > 1),
            "{line}: {help}"
        );
    }
}

#[test]
fn chn_56_the_data_of_an_app_is_no_directory() {
    for line in ["--data /d apps rm web --data", "--data /d apps rm --data web --yes"] {
        let cli = read(line).unwrap();
        assert_eq!(cli.global.data.as_deref(), Some(std::path::Path::new("/d")), "{line}");
        assert!(format!("{:?}", cli.command).contains("delete_data: true"), "{line}");
    }
    assert!(read("apps list --data /d").is_ok());
}

#[test]
fn chn_51_what_is_asked_of_an_apps_chain_is_a_call() {
    let same = |said: &str, meant: &str| {
        assert_eq!(format!("{:?}", read(said).unwrap()), format!("{:?}", read(meant).unwrap()), "{said}");
    };
    same("hello chain.hold --why 5 --now --json", r#"call hello.chain.hold why="5" now=true --json"#);
    same("--timeout 5s my-app@beta chain.retry --from=2", "--timeout 5s call my-app@beta.chain.retry from=2");
    same("hello --json chain.show", "call hello.chain.show --json");
    same("hello chain.answer yes --id db", r#"call hello.chain.answer yes id="db""#);
    assert_eq!(message("hello status chain.hold").words, ["hello", "status", "chain.hold"]);
    assert!(wrong("hello chain.hold --bogus x").message.contains("--bogus"));
}
