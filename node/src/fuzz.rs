//! What a fuzzer throws at the readers of this crate, and what must hold whatever it is.

use aigis_proxy::Effect;

use crate::{
    engine::{Inspection, log_entries},
    grammar::{Decision, Offered, decide},
};

/// The skills that a text may ask for.
const SKILLS: &[Offered<'static>] = &[
    Offered { path: "status", effect: Effect::Read, stream: false, required_input: false },
    Offered { path: "logs", effect: Effect::Read, stream: true, required_input: false },
    Offered { path: "stats", effect: Effect::Read, stream: false, required_input: false },
    Offered { path: "restart", effect: Effect::Write, stream: false, required_input: false },
    Offered { path: "optimize.apply", effect: Effect::Write, stream: false, required_input: true },
];

/// Free text: nothing but what reads runs of itself.
pub fn text(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let decision = decide(&text, &["web", "web-ci"], SKILLS);
    match &decision {
        Decision::Run(paths) => {
            assert!(!paths.is_empty(), "{text:?} runs nothing");
            for path in paths {
                let skill = SKILLS.iter().find(|skill| skill.path == path);
                assert!(skill.is_some_and(|skill| skill.effect == Effect::Read), "{text:?} runs {path}");
            }
        }
        Decision::NeedsYes(path) | Decision::NeedsArguments(path) => {
            assert!(SKILLS.iter().any(|skill| skill.path == path), "{text:?} asks for {path}");
        }
        Decision::Negated | Decision::Ambiguous | Decision::Unknown => {}
    }
    assert_eq!(decide(&text, &["web", "web-ci"], SKILLS), decision, "the same words always do the same");
}

/// The Docker engine's answers: what it says of a container, and the frames of a log.
pub fn engine(bytes: &[u8]) {
    if let Ok(answer) = serde_json::from_slice(bytes)
        && let Ok(read) = Inspection::read(answer)
    {
        assert!(read.limit_cpus().is_none_or(|cpus| cpus.is_finite() && cpus > 0.0), "{:?}", read.limit_cpus());
    }
    for terminal in [false, true] {
        if let Ok(entries) = log_entries(terminal, bytes) {
            let taken: usize = entries.iter().map(|entry| entry.bytes.len()).sum();
            assert!(taken <= bytes.len(), "{taken} bytes came of {}", bytes.len());
        }
    }
}

#[cfg(test)]
#[path = "../../fuzz/mutations.rs"]
mod mutations;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn some(seeds: &[&str]) -> Vec<Vec<u8>> {
        seeds.iter().map(|seed| seed.as_bytes().to_vec()).collect()
    }

    fn answers() -> Vec<Vec<u8>> {
        let id = "0123456789abcdef".repeat(4);
        let inspected = format!(
            r#"{{"Id":"{id}","Name":"/web","State":{{"Status":"running","Pid":7,"ExitCode":0,"StartedAt":"2026-11-21T07:25:40.45Z",
            "Health":{{"Status":"healthy","FailingStreak":0,"Log":[{{"ExitCode":0,"Output":"ok","End":"2026-11-21T07:25:40Z"}}]}}}},
            "HostConfig":{{"Memory":67108864,"NanoCpus":500000000,"PidsLimit":100}},"Mounts":[{{"Type":"volume","Name":"v"}}],
            "NetworkSettings":{{"Ports":{{"80/tcp":[{{"HostIp":"0.0.0.0","HostPort":"8080"}}]}}}}}}"#
        );
        let line = b"2026-11-21T07:25:40.450000000Z one\n";
        let mut frames = vec![1, 0, 0, 0, 0, 0, 0, u8::try_from(line.len()).unwrap()];
        frames.extend_from_slice(line);
        vec![inspected.into_bytes(), frames.repeat(3), line.repeat(3)]
    }

    proptest! {
        #![proptest_config(mutations::config())]

        #[test]
        fn bad_07_any_text_runs_only_what_reads(bytes in mutations::inputs(some(&[
            "status", "what is running?", "please show me the logs and stats", "do not restart", "restart web now",
            "status and restart", "optimize apply", "web-ci, are you healthy",
        ]))) {
            text(&bytes);
        }

        #[test]
        fn bad_61_bad_65_any_answer_of_the_engine(bytes in mutations::inputs(answers())) {
            engine(&bytes);
        }
    }
}
