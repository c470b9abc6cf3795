use super::*;

fn facts() -> Facts {
    Facts {
        state: State::Running,
        exit_code: None,
        check: None,
        memory_limited: true,
        memory_percent: Some(20.0),
        oom_kills: 0,
        restarts: 0,
        watched_s: 600,
        declared: false,
        missing: Some(Vec::new()),
        expected: Vec::new(),
        listening: Some(Vec::new()),
        uptime_s: Some(3600),
        answers: None,
    }
}

fn said(facts: &Facts) -> (Verdict, String) {
    let judgement = judge(facts);
    assert_eq!(judgement.checks.len(), 6);
    (judgement.verdict, judgement.reasons.join("; "))
}

#[test]
fn the_state_decides_before_all_else() {
    for (state, expected) in [
        (State::Created, Verdict::Stopped),
        (State::Exited, Verdict::Stopped),
        (State::Dead, Verdict::Stopped),
        (State::Removing, Verdict::Stopped),
        (State::Paused, Verdict::Paused),
        (State::Restarting, Verdict::Unhealthy),
        (State::Unknown, Verdict::Unknown),
    ] {
        for check in [None, Some((CheckStatus::Healthy, 0)), Some((CheckStatus::Unhealthy, 3))] {
            let facts = Facts { state, check, memory_percent: Some(99.0), restarts: 9, ..facts() };
            assert_eq!(judge(&facts).verdict, expected, "{state}");
        }
    }
    let killed = Facts { state: State::Exited, exit_code: Some(137), ..facts() };
    assert_eq!(said(&killed), (Verdict::Stopped, "exited (137)".to_owned()));
}

#[test]
fn lists_show_the_verdict_that_takes_no_look() {
    assert_eq!(outward(State::Running, None), None);
    assert_eq!(outward(State::Running, Some(CheckStatus::Healthy)), Some(Verdict::Healthy));
    assert_eq!(outward(State::Running, Some(CheckStatus::Starting)), Some(Verdict::Starting));
    assert_eq!(outward(State::Exited, Some(CheckStatus::Unhealthy)), Some(Verdict::Stopped));
    assert_eq!(outward(State::Paused, Some(CheckStatus::Healthy)), Some(Verdict::Paused));
}

#[test]
fn ci_31_a_failing_engine_check_decides() {
    let failing = Facts { check: Some((CheckStatus::Unhealthy, 3)), memory_percent: Some(99.0), ..facts() };
    assert_eq!(said(&failing), (Verdict::Unhealthy, "its health check failed 3 times in a row".to_owned()));
    assert_eq!(judge(&Facts { check: Some((CheckStatus::Starting, 0)), ..facts() }).verdict, Verdict::Starting);
}

#[test]
fn each_shortage_degrades_even_where_the_check_passes() {
    let fine = Facts { check: Some((CheckStatus::Healthy, 0)), ..facts() };
    assert_eq!(said(&fine), (Verdict::Healthy, "its health check passes".to_owned()));
    for (short, reason) in [
        (Facts { memory_percent: Some(95.0), ..fine.clone() }, "95.0%"),
        (Facts { memory_percent: None, memory_limited: false, oom_kills: 1, ..fine.clone() }, "killed for memory once"),
        (Facts { restarts: 3, ..fine.clone() }, "restarted 3 times"),
        (Facts { declared: true, missing: Some(vec!["redis".to_owned()]), ..fine.clone() }, "redis"),
        (Facts { expected: vec![80, 8080], listening: Some(vec![80]), ..fine.clone() }, "8080/tcp"),
    ] {
        let (verdict, why) = said(&short);
        assert_eq!(verdict, Verdict::Degraded, "{short:?}");
        assert!(why.contains(reason), "{why}");
    }
    for enough in [
        Facts { memory_percent: Some(94.9), ..fine.clone() },
        Facts { restarts: 2, ..fine.clone() },
        Facts { declared: true, missing: None, ..fine.clone() },
        Facts { expected: vec![8080], listening: None, ..fine.clone() },
    ] {
        assert_eq!(judge(&enough).verdict, Verdict::Healthy, "{enough:?}");
    }
}

#[test]
fn ci_32_a_silent_port_degrades_after_30_s() {
    let silent = Facts { expected: vec![8080], uptime_s: Some(30), ..facts() };
    assert_eq!(said(&silent), (Verdict::Degraded, "nothing listens on 8080/tcp".to_owned()));
    let early = Facts { uptime_s: Some(29), ..silent };
    assert_eq!(
        said(&early),
        (Verdict::Unknown, "there is nothing to judge by: nothing listens on 8080/tcp yet".to_owned())
    );
}

#[test]
fn listening_ports_are_health_enough() {
    let web = Facts { expected: vec![80], listening: Some(vec![80, 9000]), ..facts() };
    assert_eq!(said(&web), (Verdict::Healthy, "80/tcp listens".to_owned()));
}

#[test]
fn ci_33_without_evidence_nothing_is_said() {
    assert_eq!(
        said(&facts()),
        (Verdict::Unknown, "there is nothing to judge by: no TCP port is exposed or published".to_owned())
    );
    let unread = Facts { expected: vec![80], listening: None, missing: None, ..facts() };
    assert_eq!(judge(&unread).verdict, Verdict::Unknown);
}

#[test]
fn pkg_63_what_its_manifest_says_that_it_answers_is_judged_too() {
    let answers = |outcome| Some(Check { name: ANSWERS.to_owned(), outcome, detail: "GET /up".to_owned() });
    let web = Facts { expected: vec![80], listening: Some(vec![80]), ..facts() };
    for (outcome, verdict) in [
        (Outcome::Pass, Verdict::Healthy),
        (Outcome::Warn, Verdict::Starting),
        (Outcome::Fail, Verdict::Degraded),
        (Outcome::Unknown, Verdict::Healthy),
    ] {
        let judgement = judge(&Facts { answers: answers(outcome), ..web.clone() });
        assert_eq!((judgement.verdict, judgement.checks.len()), (verdict, 7));
        let is_told = judgement.reasons.iter().any(|reason| reason == "GET /up");
        assert_eq!(is_told, outcome != Outcome::Unknown, "{judgement:?}");
    }
    let silent = Facts { answers: answers(Outcome::Pass), ..facts() };
    assert_eq!(judge(&silent).verdict, Verdict::Healthy, "it need not expose a port");
}
