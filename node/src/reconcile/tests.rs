use super::*;

fn container(id: u8, name: &str, state: State) -> Arc<Container> {
    Arc::new(Container {
        id: format!("{id:064x}").parse().unwrap(),
        name: name.to_owned(),
        labels: BTreeMap::new(),
        state,
        exit_code: None,
        image: "busybox".to_owned(),
        image_id: None,
        created_at: Some(OffsetDateTime::UNIX_EPOCH),
        health: None,
    })
}

fn listed(containers: &[Arc<Container>]) -> BTreeMap<ContainerId, Arc<Container>> {
    containers.iter().map(|container| (container.id.clone(), container.clone())).collect()
}

const CLOCK: OffsetDateTime = OffsetDateTime::UNIX_EPOCH;

fn names(actions: &[Action]) -> Vec<String> {
    actions
        .iter()
        .map(|action| match action {
            Action::Bind(name, _) => format!("+{name}"),
            Action::Gone(name) => format!("-{name}"),
        })
        .collect()
}

#[test]
fn ci_12_a_recreated_container_is_the_same_ci() {
    let start = Instant::now();
    let mut reconciler = Reconciler::default();
    let (actions, _) = reconciler.observe(&listed(&[container(1, "x", State::Running)]), start, CLOCK);
    assert_eq!(names(&actions), ["+x"]);
    let (actions, wake) = reconciler.observe(&listed(&[]), start + Duration::from_secs(1), CLOCK);
    assert!(actions.is_empty() && wake.is_some());
    let later = start + Duration::from_secs(2);
    let (actions, _) = reconciler.observe(&listed(&[container(2, "x", State::Running)]), later, CLOCK);
    assert_eq!(names(&actions), ["+x"], "bound anew, never gone");
}

#[test]
fn ci_13_a_removed_container_is_gone_after_the_grace() {
    let start = Instant::now();
    let mut reconciler = Reconciler::default();
    reconciler.observe(&listed(&[container(1, "x", State::Running)]), start, CLOCK);
    let (_, wake) = reconciler.observe(&listed(&[]), start, CLOCK);
    assert_eq!(wake, Some(start + GONE_GRACE));
    let (actions, _) = reconciler.observe(&listed(&[]), start + GONE_GRACE, CLOCK);
    assert_eq!(names(&actions), ["-x"]);
    let (actions, _) = reconciler.observe(&listed(&[]), start + GONE_GRACE * 2, CLOCK);
    assert!(actions.is_empty(), "said once");
}

#[test]
fn ci_16_a_clash_keeps_its_names_over_a_recreate_and_a_restart() {
    let start = Instant::now();
    let mut reconciler = Reconciler::default();
    let (first, second) = (container(1, "a.b", State::Running), container(2, "a-b", State::Running));
    let (actions, _) = reconciler.observe(&listed(&[first.clone(), second]), start, CLOCK);
    let before = names(&actions);
    assert_eq!(before.len(), 2);
    assert_ne!(before[0], before[1]);
    let again = listed(&[first.clone(), container(3, "a-b", State::Running)]);
    let (actions, _) = reconciler.observe(&again, start + WRITE_INTERVAL, CLOCK);
    assert_eq!(names(&actions), [before[1].clone()]);
    let known = [("a.b", &before[0]), ("a-b", &before[1])]
        .map(|(container_name, name)| (container_name.to_owned(), Name::parse(&name[1..]).unwrap()));
    let mut restarted = Reconciler::new(known, BTreeSet::new(), start);
    let mut after = names(&restarted.observe(&again, start, CLOCK).0);
    after.sort();
    let mut before = before;
    before.sort();
    assert_eq!(after, before);
}

#[test]
fn a_container_that_was_never_started_waits() {
    let start = Instant::now();
    let mut reconciler = Reconciler::default();
    let created = listed(&[container(1, "tmp", State::Created)]);
    let (actions, wake) = reconciler.observe(&created, start, CLOCK);
    assert!(actions.is_empty());
    assert_eq!(wake, Some(start + CREATED_GRACE));
    let (actions, _) = reconciler.observe(&created, start, CLOCK + CREATED_GRACE);
    assert_eq!(names(&actions), ["+tmp"]);
}

#[test]
fn changes_are_written_once_a_second_and_the_last_one_always() {
    let start = Instant::now();
    let mut reconciler = Reconciler::default();
    reconciler.observe(&listed(&[container(1, "x", State::Running)]), start, CLOCK);
    let paused = listed(&[container(1, "x", State::Paused)]);
    let (actions, wake) = reconciler.observe(&paused, start, CLOCK);
    assert!(actions.is_empty());
    assert_eq!(wake, Some(start + WRITE_INTERVAL));
    let (actions, _) = reconciler.observe(&paused, start + WRITE_INTERVAL, CLOCK);
    assert_eq!(names(&actions), ["+x"]);
}

#[test]
fn names_of_other_kinds_are_never_taken() {
    let taken = BTreeSet::from([Name::parse("alpha").unwrap()]);
    let mut reconciler = Reconciler::new([], taken, Instant::now());
    let (actions, _) = reconciler.observe(&listed(&[container(1, "alpha", State::Running)]), Instant::now(), CLOCK);
    assert_ne!(names(&actions), ["+alpha"]);
}
