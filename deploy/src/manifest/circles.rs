//! What comes before what: circles, and the order in which images are made.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use super::{
    Base, Manifest, ProblemCode as Code,
    problem::{At, Problems},
};
use aigis_proxy::{Name, quoted};

/// Of each thing: what it needs, and where that is said.
type Needs<'a> = BTreeMap<&'a str, Vec<(&'a str, At<'a>)>>;

/// Finds circles, and a build order that is none.
pub(super) fn check(document: &At<'_>, problems: &mut Problems<'_>) {
    let containers = document.members_of("containers");
    let bases: Needs<'_> = containers.iter().map(|(name, container)| (*name, base(container))).collect();
    let depends = containers.iter().map(|(name, container)| (*name, texts(container.items_of("depends_on")))).collect();
    let copies = document.members_of("applications").into_iter().map(|(name, application)| {
        let copied = application.get("copy").map(|copy| copy.items().filter_map(|item| item.get("from")).collect());
        (name, texts(copied.unwrap_or_default()))
    });
    circles(&bases, problems);
    circles(&depends, problems);
    circles(&copies.collect(), problems);
    if let Some(packaging) = document.get("packaging")
        && let Some(order) = packaging.get("build_order")
    {
        build_order(&order, &bases, problems);
    }
}

fn base<'a>(container: &At<'a>) -> Vec<(&'a str, At<'a>)> {
    let at = container.get("base_image");
    let named = at.and_then(|at| match Base::of(at.text()?) {
        Base::Container(name) => Some((name, at)),
        Base::Scratch | Base::Image(_) => None,
    });
    named.into_iter().collect()
}

fn texts<'a>(list: Vec<At<'a>>) -> Vec<(&'a str, At<'a>)> {
    list.into_iter().filter_map(|at| Some((at.text()?, at))).collect()
}

/// Says each circle once, at the first of its members by name.
fn circles(needs: &Needs<'_>, problems: &mut Problems<'_>) {
    let mut told: BTreeSet<&str> = BTreeSet::new();
    for start in needs.keys() {
        if !told.contains(start)
            && !problems.is_full()
            && let Some(circle) = circle(needs, start)
        {
            let names: Vec<&str> = circle.iter().map(|(name, _)| *name).collect();
            let message = format!(
                "a circle: {} needs {}",
                quoted(start),
                names.iter().map(|name| quoted(name)).collect::<Vec<_>>().join(", which needs ")
            );
            if let Some((_, at)) = circle.first() {
                problems.add(at, Code::Cycle, message, "take one of these away");
            }
            told.extend(names);
        }
    }
}

/// The shortest way from something back to itself.
fn circle<'a>(needs: &Needs<'a>, start: &'a str) -> Option<Vec<(&'a str, At<'a>)>> {
    // By what was reached: from where, and where that is said.
    let mut reached: BTreeMap<&str, (&str, &At<'_>)> = BTreeMap::new();
    let mut open = VecDeque::from([start]);
    // Each is gone through once.
    while let Some(name) = open.pop_front() {
        for (needed, at) in needs.get(name).into_iter().flatten() {
            if *needed == start {
                return Some(way(&reached, start, name, (needed, at)));
            }
            if !reached.contains_key(needed) {
                reached.insert(needed, (name, at));
                open.push_back(needed);
            }
        }
    }
    None
}

/// The way that was gone to its last step but one, and that step.
fn way<'a>(
    reached: &BTreeMap<&'a str, (&'a str, &At<'a>)>,
    start: &str,
    end: &'a str,
    last: (&'a str, &At<'a>),
) -> Vec<(&'a str, At<'a>)> {
    let mut way = vec![(last.0, last.1.clone())];
    let mut name = end;
    while name != start
        && let Some((from, at)) = reached.get(name)
    {
        way.push((name, (*at).clone()));
        name = from;
    }
    way.reverse();
    way
}

/// The order has every container, and what one stands on comes before it.
fn build_order(order: &At<'_>, bases: &Needs<'_>, problems: &mut Problems<'_>) {
    let listed = texts(order.items().collect());
    // Of a name that stands twice, the first place counts.
    let places: HashMap<&str, usize> =
        listed.iter().enumerate().rev().map(|(index, (name, _))| (*name, index)).collect();
    let place = |name: &str| places.get(name).copied();
    for (index, (name, _)) in listed.iter().enumerate() {
        for (base, _) in bases.get(name).into_iter().flatten() {
            if let Some((_, at)) = place(base).filter(|place| *place > index).and_then(|place| listed.get(place)) {
                let message = format!("{} comes after {}, which stands on it", quoted(base), quoted(name));
                problems.add(at, Code::Order, message, format!("put it before {}", quoted(name)));
            }
        }
    }
    let lacking: Vec<&str> = bases.keys().copied().filter(|name| place(name).is_none()).collect();
    if !lacking.is_empty() && !order.node.items().is_empty() {
        let message =
            format!("the order lacks {}", lacking.iter().map(|name| quoted(name)).collect::<Vec<_>>().join(", "));
        problems.add(order, Code::NotCovered, message, "name every container once, or leave the order out");
    }
}

impl Manifest {
    /// The order in which images are made: the one that is given; else those that others stand on come first, then what
    /// others depend on, then by name.
    #[must_use]
    pub fn build_order(&self) -> Vec<&Name> {
        if let Some(order) = &self.packaging.build_order {
            return order.iter().collect();
        }
        let mut order: Vec<&Name> = Vec::new();
        let mut open: BTreeMap<&str, _> =
            self.containers.iter().map(|(name, of)| (name.as_str(), (name, of))).collect();
        // Each round places one.
        while !open.is_empty() {
            let waits = open.values().map(|(name, container)| {
                let on_base = matches!(container.base(), Some(Base::Container(base)) if open.contains_key(base));
                let depends = container.depends_on.iter().any(|name| open.contains_key(name.as_str()));
                (on_base, depends, *name)
            });
            let Some((_, _, next)) = waits.min() else { break };
            open.remove(next.as_str());
            order.push(next);
        }
        order
    }
}
