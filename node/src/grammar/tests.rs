use proptest::prelude::*;

use super::*;

const fn read(path: &str) -> Offered<'_> {
    Offered { path, effect: Effect::Read, stream: false, required_input: false }
}

const SKILLS: &[Offered<'_>] = &[
    read("debug"),
    read("describe"),
    Offered { path: "exec", effect: Effect::Admin, stream: true, required_input: true },
    read("health"),
    Offered { path: "logs", effect: Effect::Read, stream: true, required_input: false },
    read("message"),
    Offered { path: "monitor", effect: Effect::Read, stream: true, required_input: false },
    read("optimize"),
    Offered { path: "optimize.apply", effect: Effect::Write, stream: false, required_input: true },
    Offered { path: "restart", effect: Effect::Write, stream: false, required_input: false },
    read("services"),
    Offered { path: "start", effect: Effect::Write, stream: false, required_input: false },
    read("stats"),
    read("status"),
    Offered { path: "stop", effect: Effect::Write, stream: false, required_input: false },
];
const NAMES: &[&str] = &["test-app", "test-app-ci"];

fn of(text: &str) -> Decision {
    decide(text, NAMES, SKILLS)
}

fn run(skills: &[&str]) -> Decision {
    Decision::Run(skills.iter().map(|&skill| skill.to_owned()).collect())
}

#[test]
fn ci_55_the_table_runs_status() {
    for text in ["status", "STATUS!", "What's your status?", "please show me the status of the container"] {
        assert_eq!(of(text), run(&["status"]), "{text}");
    }
}

#[test]
fn ci_55_the_table_runs_several_in_their_order() {
    assert_eq!(of("services and health"), run(&["services", "health"]));
    assert_eq!(of("health, services"), run(&["health", "services"]));
    assert_eq!(of("optimize"), run(&["optimize"]));
}

#[test]
fn ci_55_the_table_refuses() {
    for text in ["please do not optimize anything", "don't restart", "don’t restart", "status but not logs"] {
        assert_eq!(of(text), Decision::Negated, "{text}");
    }
    for text in ["status of optimize?", "status logs", "status or health", "status and restart"] {
        assert_eq!(of(text), Decision::Ambiguous, "{text}");
    }
    assert_eq!(of("restart"), Decision::NeedsYes("restart".to_owned()));
    assert_eq!(of("please stop"), Decision::NeedsYes("stop".to_owned()));
    for text in ["exec ls", "statusx", "write me a poem", "статус", "状态", "", " \t\n", "?", "\u{3000}"] {
        assert_eq!(of(text), Decision::Unknown, "{text}");
    }
}

#[test]
fn ci_56_texts() {
    assert_eq!(of("services and health"), run(&["services", "health"]));
    assert_eq!(of("status of optimize?"), Decision::Ambiguous);
    assert_eq!(of("STATUS!"), run(&["status"]));
    assert_eq!(of("are you healthy?"), run(&["health"]));
}

#[test]
fn ci_57_hostile_texts_run_nothing_and_are_escaped() {
    let letters = "qwertyz".repeat(15_000);
    for text in ["\u{1b}[31mstatus\u{1b}[0m", "\u{1b}]0;x\u{7} status", "\u{1b} status", "status\0", &letters, "状态"]
    {
        let decision = of(text);
        assert_eq!(decision, Decision::Unknown, "{text:?}");
        let (message, data) = refusal(&decision, text, "test-app@alpha", &["debug", "status"]);
        assert!(!message.chars().any(char::is_control), "{message:?}");
        assert!(message.contains("status") && message.contains("health"), "{message}");
        assert!(message.len() < 1024, "{}", message.len());
        assert_eq!(data["reason"], "unknown");
    }
}

#[test]
fn phrases_are_whole_texts() {
    for (text, skill) in PHRASES {
        assert_eq!(of(&format!("{}?", text.to_uppercase())), run(&[skill]), "{text}");
    }
    assert_eq!(of("how are you doing"), Decision::Unknown);
    assert_eq!(of("are you not ok"), Decision::Negated);
    assert_eq!(decide("help", &[], &[read("status")]), Decision::Unknown);
}

#[test]
fn every_negation_negates_and_every_synonym_is_read() {
    for word in NEGATIONS {
        assert_eq!(of(&format!("status {word} x")), Decision::Negated, "{word}");
    }
    for (word, skill) in SYNONYMS {
        assert_eq!(of(word), run(&[skill]), "{word}");
    }
    for word in FILLER {
        assert_eq!(of(&format!("{word} status {word}")), run(&["status"]), "{word}");
        assert_eq!(of(word), Decision::Unknown, "{word}");
    }
}

#[test]
fn joining_words_join_two_skills() {
    assert_eq!(of("status & health + services plus stats"), run(&["status", "health", "services", "stats"]));
    assert_eq!(of("status, status and state"), run(&["status"]));
    assert_eq!(of("status, health, services, stats, debug"), Decision::Ambiguous);
    for text in ["status and", "and status", "and", "or", "status , and health", "status, please"] {
        assert_eq!(of(text), Decision::Ambiguous, "{text}");
    }
    assert_eq!(of("status or poem"), Decision::Unknown, "a foreign word is judged first");
}

#[test]
fn streams_and_changing_skills_stand_alone() {
    assert_eq!(of("show me the logs"), run(&["logs"]));
    assert_eq!(of("logs and status"), Decision::Ambiguous);
    assert_eq!(of("restart and stop"), Decision::Ambiguous);
    assert_eq!(of("restart, restart"), Decision::NeedsYes("restart".to_owned()));
    assert_eq!(of("exec"), Decision::NeedsArguments("exec".to_owned()));
    assert_eq!(of("optimize.apply"), Decision::NeedsArguments("optimize.apply".to_owned()));
    assert_eq!(of("message"), Decision::Unknown);
}

#[test]
fn own_names_are_dropped_where_they_are_no_skill() {
    assert_eq!(of("status of Test-App"), run(&["status"]));
    assert_eq!(of("status of other-app"), Decision::Unknown);
    assert_eq!(decide("status", &["status"], SKILLS), run(&["status"]));
    assert_eq!(decide("status not", &["not"], SKILLS), Decision::Negated);
    assert_eq!(decide("status and health", &["and"], SKILLS), run(&["status", "health"]));
    let same = [read("Roll"), read("roll")];
    assert_eq!(decide("roll", &[], &same), Decision::Ambiguous, "two paths that differ by case alone");
}

#[test]
fn refusals_say_what_and_how() {
    let asks = ["debug", "describe", "health", "message", "status"];
    let (message, data) = refusal(&of("restart"), "restart", "web@alpha", &asks);
    assert!(message.starts_with(
        "'restart' changes web@alpha: nothing was run; to run it: aish web@alpha restart --yes; you could ask: status, health, "
    ));
    assert_eq!(
        data,
        serde_json::json!({"reason": "needs_yes", "could_ask": ["status", "health", "debug", "describe"],
            "hint_call": "aish web@alpha restart --yes"})
    );
    let (message, data) = refusal(&of("exec"), "exec", "web@alpha", &asks);
    assert!(message.contains("aish call web@alpha.exec"), "{message}");
    assert_eq!(data["reason"], "needs_arguments");
    let (message, _) = refusal(&of("don't restart"), "don't restart", "web@alpha", &asks);
    assert!(message.contains("\"not\""), "{message}");
    let (message, _) = refusal(&of("status or health"), "status or health", "web@alpha", &asks);
    assert!(message.contains("made out: status, health"), "{message}");
}

/// Texts that are made of the grammar's own words, where errors of judgement would show.
fn likely_text() -> impl Strategy<Value = String> {
    let mut words: Vec<&'static str> = SKILLS.iter().map(|skill| skill.path).collect();
    words.extend(FILLER);
    words.extend(JOINERS);
    words.extend(SYNONYMS.iter().map(|(word, _)| *word));
    words.extend(["or", "?", "!", "poem", "test-app", "\u{1b}[0m", "状态"]);
    proptest::collection::vec(proptest::sample::select(words), 0..8).prop_map(|words| words.join(" "))
}

fn any_text() -> impl Strategy<Value = String> {
    prop_oneof![likely_text(), ".{0,40}", "\\PC{0,600}"]
}

proptest! {
    #[test]
    fn decisions_are_total_and_the_same_again(text in any_text()) {
        prop_assert_eq!(of(&text), of(&text));
    }

    #[test]
    fn only_read_skills_run_and_streams_run_alone(text in any_text()) {
        match of(&text) {
            Decision::Run(paths) => {
                prop_assert!(!paths.is_empty() && paths.len() <= MAX_SKILLS);
                for path in &paths {
                    let skill = SKILLS.iter().find(|skill| skill.path == path).unwrap();
                    prop_assert_eq!(skill.effect, Effect::Read);
                    prop_assert!(!skill.required_input);
                    prop_assert!(!skill.stream || paths.len() == 1);
                }
            }
            Decision::NeedsYes(path) => {
                let skill = SKILLS.iter().find(|skill| skill.path == path).unwrap();
                prop_assert!(skill.effect > Effect::Read && !skill.required_input);
            }
            _ => {}
        }
    }

    #[test]
    fn a_negation_word_never_runs(
        before in likely_text(), word in proptest::sample::select(NEGATIONS), after in likely_text()
    ) {
        let text = format!("{before} {word} {after}");
        prop_assert_eq!(of(&text), Decision::Negated);
    }

    #[test]
    fn an_unknown_word_never_runs(before in likely_text(), word in "[a-z]{3,12}x", after in likely_text()) {
        let text = format!("{before} {word} {after}");
        let ran = matches!(of(&text), Decision::Run(_) | Decision::NeedsYes(_) | Decision::NeedsArguments(_));
        prop_assert!(!ran, "{}", text);
    }

    #[test]
    fn refusals_never_carry_control_characters(text in any_text()) {
        let decision = of(&text);
        let (message, data) = refusal(&decision, &text, "web@alpha", &["status", "stats"]);
        prop_assert!(!message.chars().any(char::is_control));
        prop_assert!(message.contains("status") && message.contains("health"));
        prop_assert_eq!(data["reason"].as_str(), Some(decision.reason()));
    }
}
