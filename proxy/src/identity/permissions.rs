//! What each role may do at the bus, as templates over the user's name.
//!
//! One function holds the whole table, so that it can be read, shown and proved in one place. A wildcard is always a
//! whole token, nobody may answer to a subject of another's choice, and nobody may publish below another's name.

use std::collections::BTreeSet;

use super::jwt::{Allow, Permissions, Template};
use crate::{
    MeshName, Role, SiteName, UserName,
    rpc::SHARED,
    services::{ADMISSION, JOIN},
};

/// The streams behind the registry's buckets and the blobs, which every role reads.
pub const BUCKETS: [&str; 4] = ["KV_records", "KV_leases", "KV_shared", "KV_blobs"];
/// The stream of audit lines, which operators, admins and nodes read.
pub const AUDIT: &str = "AUDIT";
/// The stream of the nodes' log lines, which operators, admins and nodes read.
pub const LOGS: &str = "LOGS";
/// How many subscriptions a user may hold.
#[must_use]
pub const fn subscriptions(role: Role) -> i64 {
    match role {
        // Each CI that a node serves is four of them: its name and its alias, bare and with the node.
        Role::Node => 16_384,
        _ => 1_000,
    }
}

/// The user's own name, which the server puts in place of this.
const OWN: &str = "{{name()}}";
/// The key of the tag that says which CI a plugin's user serves by itself.
const SERVES: &str = "serves";
/// How the names of plugins' users begin.
const OF_PLUGIN: &str = "plugin-";

/// What stands in the tags of a user's credential for the bus to go by: a plugin's user may serve that plugin's CI.
#[must_use]
pub fn serves(user: &UserName, role: Role) -> Option<String> {
    let plugin = user.as_str().strip_prefix(OF_PLUGIN).filter(|_| role == Role::Plugin)?;
    Some(format!("{SERVES}:{plugin}"))
}

/// The CI that the user serves, which the server puts in place of this; where no tag says one, the whole subject is left out.
fn served() -> String {
    format!("{{{{tag({SERVES})}}}}")
}

/// The prefix of all subjects of a mesh.
#[must_use]
pub fn prefix(mesh: &MeshName) -> String {
    format!("aigis.v1.{mesh}")
}

/// The subject under which the bus keeps audit lines: any publisher, any rest.
#[must_use]
pub fn audit_subject(mesh: &MeshName) -> String {
    format!("{}.event.audit.*.>", prefix(mesh))
}

/// The subject under which the bus keeps log lines: any publisher, any source.
#[must_use]
pub fn log_subject(mesh: &MeshName) -> String {
    format!("{}.log.*.>", prefix(mesh))
}

/// The subject under which a site's server is told of the mesh's accounts.
#[must_use]
pub fn site_subject(mesh: &MeshName, site: &SiteName) -> String {
    format!("{}.site.{site}.accounts", prefix(mesh))
}

/// What may cross between the bus and a site: what users of any role may say and hear, under any name.
#[must_use]
pub fn of_site(mesh: &MeshName, site: &SiteName) -> Permissions {
    let of_users = Role::ALL.map(|role| template(mesh, role).permissions);
    let under_any = |subject: &String| subject.replace(OWN, "*").replace(&served(), "*");
    let said = of_users.iter().flat_map(|of| &of.publish.allow).map(under_any);
    let heard: BTreeSet<_> = of_users.iter().flat_map(|of| &of.subscribe.allow).map(under_any).collect();
    // The bus tells a site only of listeners whose whole subscription the site may publish to.
    let publish: BTreeSet<_> = said.chain(heard.iter().cloned()).collect();
    let subscribe = heard.into_iter().chain([site_subject(mesh, site)]);
    Permissions {
        publish: Allow { allow: publish.into_iter().collect() },
        subscribe: Allow { allow: subscribe.collect() },
    }
}

/// The permissions and limits of a role in a mesh.
#[must_use]
pub fn template(mesh: &MeshName, role: Role) -> Template {
    let prefix = prefix(mesh);
    if role == Role::Join {
        // Its own inbox: the answer comes there, and a connection proves itself by a message to itself.
        let publish = vec![format!("{prefix}.rpc.{role}.{OWN}.{ADMISSION}.{JOIN}"), format!("_INBOX.{OWN}.>")];
        return limited(role, publish, vec![format!("_INBOX.{OWN}.>")]);
    }
    let mut publish = vec!["_INBOX.*.>".to_owned(), format!("{prefix}.tunnel.*.>")];
    let mut subscribe = vec![format!("_INBOX.{OWN}.>"), format!("{prefix}.tunnel.{OWN}.>")];

    publish.extend([
        format!("{prefix}.call.{role}.{OWN}.>"),
        format!("{prefix}.to.*.{role}.{OWN}.>"),
        format!("{prefix}.rpc.{role}.{OWN}.>"),
    ]);
    BUCKETS.iter().for_each(|stream| publish.extend(reads(stream)));
    publish.push("$JS.FC.>".to_owned());

    match role {
        Role::Viewer | Role::Operator => {
            publish.push("$SRV.>".to_owned());
            subscribe.extend([format!("{prefix}.event.ci.>"), format!("{prefix}.event.node.>")]);
        }
        Role::Admin => {
            publish.push("$SRV.>".to_owned());
            subscribe.push(format!("{prefix}.event.>"));
        }
        Role::Node => {
            publish.extend([
                "$SRV.>".to_owned(),
                format!("$KV.records.*.{OWN}"),
                format!("$KV.records.*.*.{OWN}"),
                format!("$KV.leases.live.{OWN}"),
                "$KV.blobs.>".to_owned(),
                "$KV.shared.>".to_owned(),
                format!("{prefix}.event.*.{OWN}.>"),
                format!("{prefix}.log.{OWN}.>"),
            ]);
            subscribe.extend([
                format!("{prefix}.call.*.*.*.>"),
                format!("{prefix}.to.{OWN}.>"),
                format!("{prefix}.rpc.*.*.{OWN}.>"),
                format!("{prefix}.rpc.*.*.{SHARED}.>"),
                format!("{prefix}.rpc.*.*.{ADMISSION}.{JOIN}"),
                format!("{prefix}.event.>"),
                "$SRV.>".to_owned(),
            ]);
        }
        Role::Plugin => {
            publish.extend([
                format!("{prefix}.log.{OWN}.>"),
                format!("$KV.leases.live.{OWN}"),
                format!("$KV.records.node.{OWN}"),
                // To itself, as whoever it likes: its node hands on what was asked by hand.
                format!("{prefix}.to.{}.>", served()),
            ]);
            subscribe.extend([
                format!("{prefix}.call.*.*.{OWN}.>"),
                format!("{prefix}.to.{OWN}.>"),
                format!("{prefix}.to.{}.>", served()),
                format!("{prefix}.rpc.*.*.{OWN}.>"),
            ]);
        }
        Role::Join => {}
    }
    if matches!(role, Role::Operator | Role::Admin | Role::Node) {
        publish.extend([AUDIT, LOGS].into_iter().flat_map(reads));
    }
    limited(role, publish, subscribe)
}

fn limited(role: Role, publish: Vec<String>, subscribe: Vec<String>) -> Template {
    Template {
        permissions: Permissions { publish: Allow { allow: publish }, subscribe: Allow { allow: subscribe } },
        subs: subscriptions(role),
        data: -1,
        payload: -1,
    }
}

/// What it takes to read a stream: its figures, single messages, and a consumer of one's own.
///
/// Both create forms are needed: the client's watches name no consumer and send no further token.
fn reads(stream: &str) -> [String; 6] {
    [
        format!("$JS.API.STREAM.INFO.{stream}"),
        format!("$JS.API.DIRECT.GET.{stream}"),
        format!("$JS.API.DIRECT.GET.{stream}.>"),
        format!("$JS.API.CONSUMER.CREATE.{stream}"),
        format!("$JS.API.CONSUMER.CREATE.{stream}.>"),
        format!("$JS.API.CONSUMER.INFO.{stream}.>"),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_gives_nobody_anothers_subjects() {
        let mesh = MeshName::parse("main").unwrap();
        for role in Role::ALL {
            let template = template(&mesh, role);
            for subject in &template.permissions.publish.allow {
                let tokens: Vec<_> = subject.split('.').collect();
                assert!(tokens.iter().all(|token| *token == "*" || !token.contains('*')), "{subject}");
                if let ["aigis", "v1", "main", kind @ ("call" | "rpc"), who, name, ..] = tokens[..] {
                    assert_eq!((who, name), (role.as_str(), OWN), "{kind}: {subject}");
                }
                if let ["aigis", "v1", "main", "to", "*", who, name, ..] = tokens[..] {
                    assert_eq!((who, name), (role.as_str(), OWN), "{subject}");
                }
                if let ["$KV", "records" | "leases", ..] = tokens[..] {
                    assert_eq!(tokens.last(), Some(&OWN), "{subject}");
                }
                assert!(!matches!(subject.as_str(), ">" | "$JS.>" | "$JS.API.>" | "$SYS.>"), "{subject}");
            }
            assert!(template.permissions.subscribe.allow.contains(&format!("_INBOX.{OWN}.>")));
            assert_eq!(template.subs, subscriptions(role));
        }
    }

    #[test]
    fn a_site_passes_on_what_its_users_may_say_and_nothing_of_the_servers_own() {
        let (mesh, site) = (MeshName::parse("main").unwrap(), SiteName::parse("paris").unwrap());
        let Permissions { publish, subscribe } = of_site(&mesh, &site);
        let own = "aigis.v1.main.site.paris.accounts".to_owned();
        assert!(subscribe.allow.contains(&own) && !publish.allow.contains(&own));
        for subject in publish.allow.iter().chain(&subscribe.allow) {
            assert!(!subject.contains("{{") && !subject.starts_with("$SYS") && subject != ">", "{subject}");
            assert!(!subject.starts_with("aigis.v1.main.site.") || *subject == own, "{subject}");
        }
        assert!(publish.allow.iter().all(|subject| !subject.starts_with("$JS.API.STREAM.CREATE")));
        for role in Role::ALL {
            for subject in template(&mesh, role).permissions.publish.allow {
                assert!(
                    publish.allow.contains(&subject.replace(OWN, "*").replace(&served(), "*")),
                    "{role}: {subject}"
                );
            }
        }
    }

    #[test]
    fn a_token_asks_for_its_admission_alone() {
        let Template { permissions, .. } = template(&MeshName::parse("main").unwrap(), Role::Join);
        let inbox = "_INBOX.{{name()}}.>";
        assert_eq!(permissions.publish.allow, ["aigis.v1.main.rpc.join.{{name()}}.issuer.join", inbox]);
        assert_eq!(permissions.subscribe.allow, [inbox]);
    }
}
