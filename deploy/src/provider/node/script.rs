//! What a script of a package runs.

use super::package::Package;
use crate::tree;

/// How often a script may lead to another.
const STEPS: usize = 8;
/// Words before a command that only prepare it.
const PREPARE: [&str; 12] =
    ["npx", "bunx", "pnpx", "cross-env", "dotenv", "env", "exec", "--", "yarn", "pnpm", "sudo", "nice"];
/// What serves for its developer alone: the command, and words that it needs behind it; none: whatever stands there.
const FOR_DEVELOPERS: [(&str, &[&str]); 33] = [
    ("vite", &[]),
    ("react-scripts", &["start"]),
    ("craco", &["start"]),
    ("react-app-rewired", &["start"]),
    ("ng", &["serve", "s"]),
    ("astro", &[]),
    ("next", &["dev"]),
    ("nuxt", &["dev", "preview"]),
    ("nuxi", &["dev", "preview"]),
    ("remix", &["dev", "vite:dev"]),
    ("react-router", &["dev"]),
    ("expo", &[]),
    ("serve", &[]),
    ("http-server", &[]),
    ("sirv", &[]),
    ("live-server", &[]),
    ("lite-server", &[]),
    ("vue-cli-service", &["serve"]),
    ("parcel", &[]),
    ("webpack", &["serve", "--watch", "-w"]),
    ("webpack-dev-server", &[]),
    ("gatsby", &["develop", "serve", "start"]),
    ("docusaurus", &["start", "serve"]),
    ("vitepress", &["dev", "serve", "preview"]),
    ("vuepress", &["dev", "serve"]),
    ("eleventy", &["--serve"]),
    ("nx", &["serve", "dev", "start"]),
    ("preact", &["watch", "serve"]),
    ("ember", &["serve", "s"]),
    ("umi", &["dev", "preview"]),
    ("rsbuild", &["dev", "preview"]),
    ("nitro", &["dev", "preview"]),
    ("storybook", &["dev"]),
];
/// What a server is started with.
const SERVERS: [&str; 30] = [
    "node",
    "bun",
    "deno",
    "tsx",
    "ts-node",
    "ts-node-dev",
    "nodemon",
    "pm2",
    "pm2-runtime",
    "forever",
    "babel-node",
    "next",
    "nuxt",
    "nuxi",
    "remix-serve",
    "react-router-serve",
    "nest",
    "fastify",
    "srvx",
    "strapi",
    "medusa",
    "keystone",
    "adonis",
    "moleculer-runner",
    "sails",
    "nodecg",
    "directus",
    "micro",
    "probot",
    "vinxi",
];

/// Whether a script is a server: for its users, and run by this ecosystem.
pub(super) fn is_server(package: &Package<'_>, body: &str) -> bool {
    let body = resolved(package, body);
    !is_for_developers(package, body)
        && commands(body).any(|words| words.first().is_some_and(|first| SERVERS.contains(first)))
}

/// Whether all that a script starts serves its developer alone.
pub(super) fn is_for_developers(package: &Package<'_>, body: &str) -> bool {
    let body = resolved(package, body);
    commands(body).last().is_some_and(|words| {
        let (first, rest) = words.split_first().map_or(("", &[][..]), |(first, rest)| (*first, rest));
        FOR_DEVELOPERS.iter().any(|(command, needed)| {
            *command == first && (needed.is_empty() || needed.iter().any(|one| rest.contains(one)))
        })
    })
}

/// The file that the start script runs, relative to the tree's root, if it is there.
pub(super) fn file(package: &Package<'_>) -> Option<String> {
    let (body, _) = package.script("start")?;
    let words = commands(resolved(package, body)).last()?;
    let files = words.iter().skip(1).filter(|word| !word.starts_with('-'));
    files.filter_map(|word| tree::joined(package.root, word)).find(|file| package.tree.has(file))
}

/// Whether one of the scripts runs that command.
pub(super) fn runs<'t>(package: &Package<'t>, command: &str) -> Option<(&'t str, u64)> {
    let found = package.scripts().find(|(_, body, _)| commands(body).any(|words| words.first() == Some(&command)));
    found.map(|(_, body, line)| (body, line))
}

/// The body of the script that a script leads to: `npm run dev` to that of `dev`.
pub(super) fn resolved<'a>(package: &Package<'a>, body: &'a str) -> &'a str {
    let mut body = body;
    for _ in 0..STEPS {
        let words: Vec<&str> = body.split_whitespace().collect();
        let name = match words.as_slice() {
            ["npm" | "pnpm" | "yarn" | "bun", "run", name] | ["yarn" | "pnpm", name] => *name,
            ["npm" | "bun", "start"] => "start",
            _ => break,
        };
        match package.scripts().find(|(key, ..)| *key == name) {
            Some((_, next, _)) if next != body => body = next,
            _ => break,
        }
    }
    body
}

/// The package below that a script hands on to: `cd web && npm start`, `npm start -w web`, `pnpm --filter web start`.
pub(super) fn handed<'t>(package: &Package<'t>, body: &str) -> Option<Package<'t>> {
    const OPTIONS: [&str; 8] = ["--workspace", "-w", "--filter", "-F", "--prefix", "--cwd", "-C", "--scope"];
    let words: Vec<&str> = body.split_whitespace().collect();
    let behind = |word: &str| words.get(words.iter().position(|one| *one == word)? + 1).copied();
    let wanted = behind("cd").or_else(|| behind("workspace")).or_else(|| option(body, &OPTIONS));
    let runs_all = words.starts_with(&["turbo", "start"]) || words.starts_with(&["turbo", "run", "start"]);
    if wanted.is_none() && !runs_all {
        return None;
    }
    let mut below = Package::all(package.tree).filter(|other| {
        let within = if package.root == "." { Some(other.root) } else { other.root.strip_prefix(package.root) };
        let is_below =
            other.root != package.root && within.is_some_and(|rest| package.root == "." || rest.starts_with('/'));
        is_below
            && match wanted.map(|wanted| wanted.trim_matches(['.', '/', '{', '}', ';'])) {
                Some(wanted) => {
                    within.is_some_and(|within| within.trim_start_matches('/') == wanted)
                        || other.text(&["name"]).is_some_and(|(name, _)| name == wanted)
                }
                None => runs_all && other.script("start").is_some(),
            }
    });
    let first = below.next()?;
    below.next().is_none().then_some(first)
}

/// The commands of a script, each from its own first word.
pub(super) fn commands(body: &str) -> impl Iterator<Item = Vec<&str>> {
    body.split(['&', ';', '|', '\n']).filter(|part| !part.trim().is_empty()).map(|part| {
        let words = part.split_whitespace().map(|word| word.trim_matches(['"', '\'']));
        words.skip_while(|word| PREPARE.contains(word) || word.contains('=') && !word.starts_with('-')).collect()
    })
}

/// What stands behind an option of a script.
pub(super) fn option<'a>(body: &'a str, options: &[&str]) -> Option<&'a str> {
    let words: Vec<&str> = body.split_whitespace().map(|word| word.trim_matches(['"', '\''])).collect();
    words.iter().enumerate().find_map(|(index, word)| {
        options.iter().find_map(|option| {
            let rest = word.strip_prefix(option)?;
            if rest.is_empty() { words.get(index + 1).copied() } else { rest.strip_prefix('=') }
        })
    })
}
