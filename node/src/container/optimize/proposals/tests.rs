use std::collections::HashSet;

use proptest::prelude::*;
use time::macros::datetime;

use super::*;
use crate::container::optimize::proposal::Measures;

fn facts() -> Facts {
    Facts {
        id: "0123456789abcdef".repeat(4).parse().unwrap(),
        state: State::Running,
        exit_code: None,
        window_s: 10,
        measures: Measures::default(),
        memory_limit: None,
        memory_swap_limit: None,
        host_memory: Some(8192 * MIB),
        cpu_limit: None,
        host_cpus: 4,
        pids_limit: None,
        restart_policy: RestartPolicy { name: "no".into(), maximum_retries: 0 },
        failing_streak: 0,
        check_output: None,
        started_at: Some(datetime!(2026-11-21 07:25:40.450 UTC).into()),
        connections: true,
        log_driver: Some("json-file".into()),
        log_has_max_size: false,
        neighbours: Vec::new(),
        actions: Vec::new(),
    }
}

fn with_memory(limit: Option<u64>, swap: Option<u64>, peak: u64, host: u64) -> Facts {
    let mut facts = facts();
    (facts.memory_limit, facts.memory_swap_limit, facts.host_memory) = (limit, swap, Some(host));
    facts.measures.memory_peak_bytes = Some(peak);
    facts
}

fn only(facts: &Facts) -> Proposal {
    let mut found = proposals(facts);
    assert_eq!(found.len(), 1, "{found:?}");
    found.remove(0)
}

#[test]
fn nothing_found_is_nothing_proposed() {
    assert!(proposals(&facts()).is_empty());
    assert!(actions(&facts()).is_empty());
}

#[test]
fn ci_45_memory_near_its_limit_is_raised_by_half_in_steps_of_16_mib() {
    let made = only(&with_memory(Some(64 * MIB), Some(128 * MIB), 60 * MIB, 8192 * MIB));
    assert_eq!(made.kind, Kind::RaiseMemoryLimit);
    assert!(made.id.starts_with("raise-memory-limit-") && made.id.len() == "raise-memory-limit-".len() + 8);
    assert_eq!(made.change.before, json!({"memory_limit_bytes": 64 * MIB, "memory_swap_limit_bytes": 128 * MIB}));
    assert_eq!(made.change.after, json!({"memory_limit_bytes": 96 * MIB, "memory_swap_limit_bytes": 160 * MIB}));
    let Deed::Update(limits) = &made.deed else { panic!("{made:?}") };
    assert_eq!((limits.memory, limits.memory_swap), (Some(96 * MIB), Some(160 * MIB)));
    assert!(made.applicable && made.reversible && !made.blast_radius.restarts_container);
    // The id follows from the finding, not from the measurement.
    let again = only(&with_memory(Some(64 * MIB), Some(128 * MIB), 61 * MIB, 8192 * MIB));
    assert_eq!(made.id, again.id);
}

#[test]
fn memory_below_nine_tenths_is_left_alone_unless_the_kernel_killed() {
    let mut facts = with_memory(Some(100 * MIB), None, 90 * MIB - 1, 8192 * MIB);
    assert!(proposals(&facts).is_empty());
    facts.measures.oom_kills_24h = Some(2);
    let made = only(&facts);
    assert!(made.reason.contains("2 times"), "{}", made.reason);
    // No swap limit stays none, and the engine is told so in the same update.
    assert_eq!(made.change.after["memory_swap_limit_bytes"], Value::Null);
    assert!(matches!(made.deed, Deed::Update(Limits { memory_swap: Some(NO_LIMIT), .. })));
}

#[test]
fn a_limit_at_four_fifths_of_the_host_is_not_raised() {
    assert!(proposals(&with_memory(Some(800 * MIB), None, 799 * MIB, 1000 * MIB)).is_empty());
    let made = only(&with_memory(Some(700 * MIB), None, 700 * MIB, 1000 * MIB));
    assert_eq!(made.change.after["memory_limit_bytes"], json!(800 * MIB));
}

#[test]
fn a_large_container_without_a_limit_gets_one() {
    assert!(proposals(&with_memory(None, None, 256 * MIB, 1024 * MIB)).is_empty());
    let made = only(&with_memory(None, None, 257 * MIB, 1024 * MIB));
    assert_eq!((made.kind, made.reversible), (Kind::SetMemoryLimit, false));
    assert_eq!(made.change.after["memory_limit_bytes"], json!(528 * MIB));
}

#[test]
fn cpu_is_raised_by_its_own_kind_and_never_beyond_the_host() {
    let mut facts = facts();
    facts.cpu_limit = Some(CpuLimit::Nano(500_000_000));
    facts.measures.throttled_percent = Some(24.9);
    assert!(proposals(&facts).is_empty());
    facts.measures.throttled_percent = Some(25.0);
    let made = only(&facts);
    assert!(matches!(&made.deed, Deed::Update(Limits { nano_cpus: Some(750_000_000), cpu_quota: None, .. })));
    facts.cpu_limit = Some(CpuLimit::Quota { quota: 350_000, period: 100_000 });
    let made = only(&facts);
    assert!(matches!(&made.deed, Deed::Update(Limits { cpu_quota: Some(400_000), nano_cpus: None, .. })));
    facts.cpu_limit = Some(CpuLimit::Nano(4_000_000_000));
    assert!(proposals(&facts).is_empty());
}

#[test]
fn processes_are_doubled() {
    let mut facts = facts();
    (facts.pids_limit, facts.measures.pids_peak) = (Some(10), Some(9));
    assert_eq!(only(&facts).change.after, json!({"pids_limit": 20}));
    facts.measures.pids_peak = Some(8);
    assert!(proposals(&facts).is_empty());
}

#[test]
fn one_that_failed_and_is_not_started_again_gets_a_policy() {
    let mut facts = facts();
    (facts.state, facts.exit_code) = (State::Exited, Some(3));
    let made = only(&facts);
    assert_eq!(made.change.after, json!({"restart_policy": "on-failure", "maximum_retries": 5}));
    facts.exit_code = Some(0);
    assert!(proposals(&facts).is_empty());
    (facts.exit_code, facts.restart_policy.name) = (Some(3), "always".into());
    assert!(proposals(&facts).is_empty());
}

#[test]
fn a_failing_check_asks_for_a_restart_that_says_what_it_costs() {
    let mut facts = facts();
    facts.failing_streak = 2;
    assert!(proposals(&facts).is_empty());
    (facts.failing_streak, facts.neighbours) = (3, vec!["side".into()]);
    let made = only(&facts);
    assert!(made.blast_radius.restarts_container && made.blast_radius.connections_dropped == Some(true));
    assert_eq!(made.blast_radius.other_cis, ["side"]);
    facts.started_at = Some(datetime!(2026-11-22 07:25:40.450 UTC).into());
    assert_ne!(only(&facts).id, made.id, "a failure after the restart is another finding");
    facts.state = State::Exited;
    assert!(proposals(&facts).is_empty());
}

#[test]
fn a_large_log_gets_advice_only() {
    let mut facts = facts();
    facts.measures.log_bytes = Some(100 * MIB);
    assert!(proposals(&facts).is_empty());
    facts.measures.log_bytes = Some(100 * MIB + 1);
    let made = only(&facts);
    assert!(!made.applicable && made.deed == Deed::Advice);
    assert!(made.change.after["lines"][0].as_str().unwrap().contains("max-size"));
    facts.log_has_max_size = true;
    assert!(proposals(&facts).is_empty());
    (facts.log_has_max_size, facts.log_driver) = (false, Some("journald".into()));
    assert!(proposals(&facts).is_empty());
}

#[test]
fn ci_49_owners_actions_are_listed_apart_with_their_secrets_masked() {
    let action = |token: &str| Action {
        id: Name::parse("touch").unwrap(),
        argv: vec!["touch".into(), "--token".into(), token.into()],
        description: "writes a line".into(),
        timeout_s: 60,
        user: None,
    };
    let mut facts = facts();
    facts.actions = vec![action("NONCE")];
    assert!(proposals(&facts).is_empty());
    let made = actions(&facts).remove(0);
    assert!(made.id.starts_with("action-touch-") && made.title == "writes a line" && made.applicable);
    assert!(!serde_json::to_string(&made).unwrap().contains("NONCE"));
    facts.actions = vec![action("OTHER")];
    assert_ne!(actions(&facts)[0].id, made.id, "another command is another id, masked or not");
    facts.state = State::Exited;
    assert!(!actions(&facts)[0].applicable);
}

proptest! {
    #[test]
    fn proposals_are_sane_for_any_figures(
        limit in prop::option::of(1_u64..1 << 60), slack in 0_u64..1 << 40, peak in prop::option::of(0_u64..1 << 61),
        host in prop::option::of(0_u64..1 << 50), throttled in prop::option::of(0.0_f64..=100.0),
        nano in prop::option::of(1_u64..1 << 50), pids in prop::option::of((1_u64..1 << 40, 0_u64..1 << 40)),
        kills in prop::option::of(0_u64..3), streak in 0_u64..6, code in prop::option::of(-1_i64..256),
        running: bool, log in prop::option::of(0_u64..1 << 40),
    ) {
        let mut facts = facts();
        facts.state = if running { State::Running } else { State::Exited };
        (facts.exit_code, facts.failing_streak, facts.host_memory) = (code, streak, host);
        facts.memory_limit = limit;
        facts.memory_swap_limit = limit.map(|limit| limit + slack);
        facts.cpu_limit = nano.map(CpuLimit::Nano);
        facts.pids_limit = pids.map(|(limit, _)| limit);
        facts.measures = Measures {
            memory_peak_bytes: peak, throttled_percent: throttled, pids_peak: pids.map(|(_, peak)| peak),
            oom_kills_24h: kills, log_bytes: log, ..Measures::default()
        };
        let found = proposals(&facts);
        prop_assert_eq!(&found, &proposals(&facts));
        let ids: HashSet<&str> = found.iter().map(|made| made.id.as_str()).collect();
        prop_assert_eq!(ids.len(), found.len());
        for made in &found {
            prop_assert!(!made.blast_radius.data_at_risk);
            prop_assert!(made.change.before != made.change.after);
            prop_assert!(!made.title.is_empty() && !made.reason.is_empty() && !made.evidence.is_empty());
            prop_assert_eq!(made.reversible, made.undo.is_some());
            let Deed::Update(limits) = &made.deed else { continue };
            if let Some(memory) = limits.memory {
                prop_assert!(limits.memory_swap.unwrap() >= memory);
                prop_assert_eq!(memory % STEP, 0);
                match made.kind {
                    Kind::SetMemoryLimit => {
                        let peak = peak.unwrap();
                        prop_assert!(memory >= smallest_limit(peak));
                        prop_assert!(memory <= peak.saturating_mul(2) + STEP);
                    }
                    _ => {
                        prop_assert!(memory > limit.unwrap());
                        prop_assert!(host.is_none_or(|host| memory <= host / 5 * 4));
                    }
                }
            }
            if let Some(nano) = limits.nano_cpus {
                prop_assert!(nano <= 4_000_000_000 && nano > facts.cpu_limit.map_or(0, |limit| (limit.cpus() * 1e9) as u64));
            }
        }
    }
}
