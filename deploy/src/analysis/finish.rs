//! From the directories that were chosen to applications: what a provider knows, and what is the same for all.

use super::{choice::Choices, container, environment, filled, gaps, health, port, select, services, settings};
use crate::{
    code::Syntax,
    fact::{Application, Assets, Evidence, Fact},
    fill::Filled,
    tree::{Tree, file_name, parent},
};

/// Directories whose code is not the application's own.
const NOT_OWN: [&str; 14] = [
    "test",
    "tests",
    "__tests__",
    "spec",
    "e2e",
    "examples",
    "example",
    "docs",
    "fixtures",
    "dist",
    "build",
    "bench",
    "benches",
    "scripts",
];

/// What is known of the applications in these directories, in the same order.
pub(super) fn applications(
    tree: &Tree,
    choices: &Choices,
    roots: &[String],
    all_filled: &[Filled],
) -> Vec<Application> {
    let of = |root: &String| all_filled.iter().filter(|filled| filled.root == *root).collect::<Vec<_>>();
    roots.iter().filter_map(|root| application(tree, choices, root, roots, &of(root))).collect()
}

fn application(
    tree: &Tree,
    choices: &Choices,
    root: &str,
    roots: &[String],
    chosen: &[&Filled],
) -> Option<Application> {
    let choice = choices.get(root)?;
    let winner = choice.winner()?;
    let candidate = crate::Candidate { wanted: filled::entry(tree, root, chosen), ..winner.candidate.clone() };
    let mut application = winner.provider.application(tree, &candidate);
    if settings::apply(tree, &mut application) {
        // What is started is told: it is no site that is only served, nor one of several programs.
        application.output_dir = Fact::default();
        application.details.programs.clear();
    }
    filled::site(&mut application, chosen);
    let exposed = container::read(tree, root).and_then(|container| {
        application.dockerfile = container.fact;
        container.port
    });
    let sources = sources(tree, root, roots);
    port::decide(tree, &mut application, exposed, &sources);
    application.env = environment::variables(tree, root, &sources);
    application.details.health_path = health::path(tree, &sources).map(str::to_owned);
    services::complete(tree, &mut application);
    if let Some(assets) = choice.assets() {
        application.assets = Some(as_assets(assets.provider.application(tree, &assets.candidate)));
    }
    application.ambiguous |= choice.is_ambiguous();
    application.alternatives.extend(choice.alternatives());
    application.details.context = context(tree, application.workspace.as_deref().unwrap_or(root));
    prove(&mut application);
    filled::name(&mut application, chosen);
    gaps::add(tree, &mut application);
    Some(application)
}

/// What is known without a line of its own, as where that file is empty, is proved by what proves the application.
fn prove(application: &mut Application) {
    fn one<T, More>(fact: &mut Fact<T, More>, by: &[Evidence]) {
        if fact.is_known() && fact.evidence.is_empty() {
            fact.evidence = by.to_vec();
        }
    }
    let by = application.provider.evidence.clone();
    one(&mut application.framework, &by);
    one(&mut application.runtime, &by);
    one(&mut application.package_manager, &by);
    one(&mut application.install, &by);
    one(&mut application.build, &by);
    one(&mut application.start, &by);
    one(&mut application.port, &by);
    one(&mut application.output_dir, &by);
}

/// The code of an application: what lies below its directory and in no other's, and is neither built nor a test.
fn sources<'a>(tree: &'a Tree, root: &str, roots: &[String]) -> Vec<&'a str> {
    let others: Vec<&String> = roots.iter().filter(|other| *other != root && select::is_below(other, root)).collect();
    let own = tree.below(root).filter(|path| {
        let within = path.strip_prefix(root).unwrap_or(path);
        let is_own = |part: &str| !NOT_OWN.contains(&part);
        let name = file_name(path);
        Syntax::of(path).is_some()
            && !others.iter().any(|other| select::is_below(path, other))
            && parent(within).split('/').all(is_own)
            && !name.contains(".test.")
            && !name.contains(".spec.")
            && !name.contains(".config.")
    });
    let mut own: Vec<&str> = own.collect();
    // What lies nearer to the root says more.
    own.sort_by_key(|path| path.matches('/').count());
    own
}

fn as_assets(application: Application) -> Assets {
    Assets {
        provider: application.provider.value.unwrap_or(crate::fact::ProviderName::Node),
        root: application.root,
        package_manager: application.package_manager,
        runtime: application.runtime,
        install: application.install,
        build: application.build,
        output_dir: application.output_dir,
    }
}

/// What stands at the root of a build's context, directories with `/` behind them.
fn context(tree: &Tree, directory: &str) -> Vec<String> {
    let prefix = if directory == "." { String::new() } else { format!("{directory}/") };
    let mut names: Vec<String> = Vec::new();
    for path in tree.below(directory) {
        let within = path.strip_prefix(&prefix).unwrap_or(path);
        let name = match within.split_once('/') {
            Some((directory, _)) => format!("{directory}/"),
            None => within.to_owned(),
        };
        if names.last() != Some(&name) {
            names.push(name);
        }
    }
    names.sort();
    names.dedup();
    names
}
