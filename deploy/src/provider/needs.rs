//! What dependencies need beside themselves: services, and packages of Debian.

use std::{collections::BTreeMap, sync::LazyLock};

use serde::Deserialize;

use crate::fact::{Application, Evidence, ProviderName, Service};

/// By the ecosystem, then by the dependency's name as that ecosystem normalises it.
static TABLE: LazyLock<BTreeMap<String, BTreeMap<String, Need>>> =
    LazyLock::new(|| serde_json::from_str(include_str!("../../data/needs.json")).unwrap_or_default());

/// What one dependency needs.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Need {
    /// A service that it talks to.
    service: Option<String>,
    /// Packages of Debian with which it is built.
    build: Vec<String>,
    /// Packages of Debian with which it runs.
    run: Vec<String>,
}

/// Says of an application what its dependencies need.
pub(crate) fn add(
    app: &mut Application,
    ecosystem: ProviderName,
    dependencies: impl IntoIterator<Item = (String, Evidence)>,
) {
    let Some(table) = TABLE.get(&ecosystem.to_string()) else { return };
    let mut services: BTreeMap<&str, Vec<Evidence>> = BTreeMap::new();
    for (name, evidence) in dependencies {
        let Some(need) = table.get(&name) else { continue };
        if let Some(service) = &need.service {
            services.entry(service).or_default().push(evidence);
        }
        app.system_packages.build.extend(need.build.iter().cloned());
        app.system_packages.run.extend(need.run.iter().cloned());
    }
    for packages in [&mut app.system_packages.build, &mut app.system_packages.run] {
        packages.sort();
        packages.dedup();
    }
    for (name, mut evidence) in services {
        evidence.sort();
        evidence.dedup();
        app.services.push(Service { name: name.to_owned(), evidence });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_says_something_of_every_dependency() {
        assert!(TABLE.len() >= 8, "{:?}", TABLE.keys());
        for (ecosystem, needs) in TABLE.iter() {
            for (name, need) in needs {
                assert!(need.service.is_some() || !need.build.is_empty() || !need.run.is_empty(), "{ecosystem} {name}");
            }
        }
    }
}
