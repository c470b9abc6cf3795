//! What comes next in what is under way: a pure function of the record and of a plan that was made just now.

use super::{Action, Direction, Row, Task, plan};

/// What comes next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// The release command of a container runs, in an image like that of this replica.
    Prepare(Row),
    /// A replica is made.
    Set(Row),
    /// A replica is judged until it passes, or does not.
    Judge(Row),
    /// A replica is removed.
    Remove(Row),
    /// All is as it is wanted.
    End,
}

/// What comes next. `is_unprepared` says of a replica whether a release command of its container is still to run before it is made
/// or kept.
#[must_use]
pub fn next(task: &Task, plan: &[Row], is_unprepared: impl Fn(&Row) -> bool) -> Next {
    let is_unprepared = |row: &Row| task.direction == Direction::Forward && is_unprepared(row);
    for row in plan {
        let begun = task.begun.contains(&row.name);
        match row.action {
            Action::Remove => return Next::Remove(row.clone()),
            _ if task.passed.contains(&row.name) => {}
            Action::Keep if begun => return Next::Judge(row.clone()),
            // It was made, and has ended: made again it would only end again.
            Action::Replace if begun && row.reason == plan::STOPPED => return Next::Judge(row.clone()),
            _ if is_unprepared(row) => return Next::Prepare(row.clone()),
            Action::Keep => {}
            Action::Create | Action::Replace => return Next::Set(row.clone()),
        }
    }
    Next::End
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::super::testing::{SHOP, host, names, parts, shop, sources, task};
    use super::super::{Host, Placements, place, plan, replicas, wanted};
    use super::*;
    use aigis_proxy::{Name, services::deployments::Standing};

    /// A mesh in which everything that is asked for happens; the steps until the end, and what then stands.
    fn carried(given: &[(&str, &str)], hosts: &mut [Host], cut: usize) -> Vec<String> {
        let (sources, id) = sources(given);
        let units = wanted(&parts(&names(given), id), &sources).unwrap();
        let placed = place(&units, &sources, hosts, &Placements::new()).unwrap();
        let mut task = task();
        let mut steps = Vec::new();
        for turn in 0..500 {
            let all = replicas(&shop(), &units, &sources, &placed, hosts).unwrap();
            let rows = plan(&all, hosts);
            // As where all are of the package that they were of.
            let is_unprepared = |row: &Row| {
                let is_made = row.action != Action::Keep;
                is_made && row.container.as_str() == "api" && !task.prepared.contains(&row.container)
            };
            let next = next(&task, &rows, is_unprepared);
            let (word, row) = match &next {
                Next::Prepare(row) => ("prepare", row),
                Next::Set(row) => ("set", row),
                Next::Judge(row) => ("judge", row),
                Next::Remove(row) => ("remove", row),
                Next::End => return steps,
            };
            steps.push(format!("{word} {}", row.name));
            // Whoever carries it dies after the deed and before it is noted.
            let is_noted = turn != cut;
            let survey = hosts.iter_mut().find(|host| host.name == row.node).unwrap().survey.as_mut().unwrap();
            match next {
                Next::Prepare(row) => drop(is_noted.then(|| task.prepared.insert(row.container))),
                Next::Set(row) => {
                    // It is noted before.
                    task.begun.insert(row.name.clone());
                    let (_, replica) = all.iter().find(|(_, replica)| replica.name == row.name).unwrap();
                    survey.containers.retain(|standing| standing.name != row.name);
                    survey.containers.push(Standing {
                        id: format!("{turn}"),
                        name: row.name,
                        container: row.container,
                        package: replica.package,
                        image: replica.image,
                        made_from: replica.digest(),
                        is_running: true,
                    });
                }
                Next::Judge(row) => drop(is_noted.then(|| task.passed.insert(row.name))),
                Next::Remove(row) => survey.containers.retain(|standing| standing.name != row.name),
                Next::End => {}
            }
        }
        panic!("it never ends: {steps:?}");
    }

    #[test]
    fn pkg_60_each_replica_is_judged_before_the_next_is_touched() {
        let mut hosts = [host("alpha"), host("beta")];
        let steps = carried(SHOP, &mut hosts, usize::MAX);
        assert_eq!(steps, ["set db", "judge db", "prepare api", "set api", "judge api"]);
        assert!(carried(SHOP, &mut hosts, usize::MAX).is_empty(), "nothing is left to be done");
    }

    #[test]
    fn pkg_65_only_what_is_missing_is_made() {
        let mut hosts = [host("alpha")];
        carried(SHOP, &mut hosts, usize::MAX);
        hosts[0].survey.as_mut().unwrap().containers.retain(|standing| standing.name.as_str() != "db");
        assert_eq!(carried(SHOP, &mut hosts, usize::MAX), ["set db", "judge db"]);
    }

    #[test]
    fn pkg_63_what_was_made_and_has_ended_is_judged_and_not_made_again() {
        let row = Row {
            container: Name::parse("api").unwrap(),
            name: Name::parse("api").unwrap(),
            node: super::super::testing::node("alpha"),
            action: Action::Replace,
            reason: plan::STOPPED,
        };
        let mut task = task();
        assert_eq!(next(&task, std::slice::from_ref(&row), |_| false), Next::Set(row.clone()));
        task.begun.insert(row.name.clone());
        assert_eq!(next(&task, std::slice::from_ref(&row), |_| false), Next::Judge(row.clone()));
        let other = Row { reason: "image", ..row };
        assert_eq!(next(&task, std::slice::from_ref(&other), |_| false), Next::Set(other.clone()));
        task.passed.insert(other.name.clone());
        assert_eq!(next(&task, std::slice::from_ref(&other), |_| false), Next::End);
    }

    #[test]
    fn pkg_60_a_release_command_runs_before_a_replica_is_made_or_kept_and_never_on_the_way_back() {
        let row = |action| Row {
            container: Name::parse("api").unwrap(),
            name: Name::parse("api").unwrap(),
            node: super::super::testing::node("alpha"),
            action,
            reason: "unchanged",
        };
        let mut task = task();
        for action in [Action::Create, Action::Replace, Action::Keep] {
            assert_eq!(next(&task, &[row(action)], |_| true), Next::Prepare(row(action)));
        }
        task.direction = Direction::Back;
        assert_eq!(next(&task, &[row(Action::Keep)], |_| true), Next::End);
        assert_eq!(next(&task, &[row(Action::Create)], |_| true), Next::Set(row(Action::Create)));
    }

    proptest! {
        #[test]
        fn pkg_68_whoever_goes_on_comes_to_the_same_end(nodes in 1_usize..4, replicas in 1_u32..6, cut in 0_usize..30) {
            let keys = format!("\"replicas\": {replicas}, \"depends_on\": [\"db\"]");
            let given = [("api", keys.as_str()), ("db", "")];
            let mut hosts: Vec<Host> = (0..nodes).map(|number| host(&format!("n{number}"))).collect();
            let steps = carried(&given, &mut hosts, cut);
            let standing: Vec<&Standing> = hosts.iter().flat_map(|host| &host.survey.as_ref().unwrap().containers).collect();
            let names: BTreeSet<&Name> = standing.iter().map(|standing| &standing.name).collect();
            prop_assert_eq!(standing.len(), names.len(), "one container per replica");
            prop_assert_eq!(names.len(), replicas as usize + 1);
            // Nothing is made while another is not judged.
            let mut open = None;
            for step in &steps {
                let (word, name) = step.split_once(' ').unwrap();
                match word {
                    "set" => {
                        prop_assert!(open.is_none() || open == Some(name), "{steps:?}");
                        open = Some(name);
                    }
                    "judge" => open = None,
                    _ => {}
                }
            }
            prop_assert_eq!(open, None);
        }
    }
}
