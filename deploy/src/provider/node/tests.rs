use crate::{
    Analysis, Options, Tree, analyze,
    fact::{Application, ProviderName, Role},
};

fn analysis(files: &[(&str, &str)]) -> Analysis {
    analyze(&Tree::of(files.iter().copied()), &Options::default()).unwrap()
}

fn one(files: &[(&str, &str)]) -> Application {
    let analysis = analysis(files);
    analysis.primary().unwrap().clone()
}

/// What it starts with, its output, its port.
fn served(files: &[(&str, &str)]) -> (String, Option<String>, Option<u16>) {
    let application = one(files);
    (application.start.value.unwrap_or_default(), application.output_dir.value, application.port.value)
}

#[test]
fn pkg_10_the_better_claim_manages_and_the_other_is_named() {
    let manifest = r#"{"packageManager": "yarn@4.1.0+sha512.abc", "scripts": {"start": "node x.js"}}"#;
    let analysis = analysis(&[("package.json", manifest), ("package-lock.json", "{}")]);
    let managed = &analysis.applications[0].package_manager;
    assert_eq!((managed.value.as_deref(), managed.more.version.as_deref()), (Some("yarn"), Some("4.1.0")));
    assert_eq!(
        (managed.more.locked, analysis.applications[0].install.value.as_deref()),
        (false, Some(&["yarn install".to_owned()][..]))
    );
    assert_eq!(
        (analysis.warnings[0].code.as_str(), analysis.warnings[0].at.file.as_str()),
        ("lock.two", "package-lock.json")
    );
    let files = [
        ("package.json", "{\"main\":\"a.js\"}"),
        ("a.js", ""),
        ("pnpm-lock.yaml", "x: 1"),
        ("package-lock.json", "{}"),
    ];
    let analysis = self::analysis(&files);
    let application = &analysis.applications[0];
    assert_eq!(application.package_manager.value.as_deref(), Some("pnpm"));
    assert_eq!(application.install.value.as_deref(), Some(&["pnpm install --frozen-lockfile".to_owned()][..]));
    assert!(
        analysis.warnings[0].message.contains("package-lock.json")
            && analysis.warnings[0].message.contains("pnpm-lock.yaml")
    );
}

#[test]
fn managers_are_known_by_each_kind_of_claim() {
    for (files, manager) in [
        (vec![("package.json", "{}"), ("index.js", "")], "npm"),
        (vec![("package.json", r#"{"engines":{"bun":"1"}}"#), ("index.js", "")], "bun"),
        (vec![("package.json", r#"{"engines":{"pnpm":"8"}}"#), ("index.js", ""), ("yarn.lock", "")], "yarn"),
        (vec![("package.json", "{}"), ("index.js", ""), ("pnpm-workspace.yaml", "packages: [x]")], "pnpm"),
        (vec![("package.json5", "{name: 'x', packageManager: 'bun@1.2'}"), ("index.js", "")], "bun"),
    ] {
        assert_eq!(one(&files).package_manager.value.as_deref(), Some(manager), "{files:?}");
    }
}

#[test]
fn pkg_09_tools_and_assets_are_no_application_beside_another_language() {
    let python = [("requirements.txt", "flask\n"), ("app.py", "from flask import Flask\napp = Flask(__name__)\n")];
    for (manifest, role, score) in [
        (r#"{"devDependencies":{"prettier":"3"},"scripts":{"format":"prettier ."}}"#, Role::Tooling, 9),
        (r#"{"devDependencies":{"vite":"5"},"scripts":{"build":"vite build"}}"#, Role::Assets, 29),
    ] {
        let mut files = python.to_vec();
        files.push(("package.json", manifest));
        let application = one(&files);
        assert_eq!(application.provider.value, Some(ProviderName::Python));
        let other = &application.alternatives[0];
        assert_eq!((other.provider, other.role, other.score <= score), (ProviderName::Node, role, true), "{manifest}");
        assert_eq!(application.assets.is_some(), role == Role::Assets);
        assert!(!application.ambiguous);
    }
}

#[test]
fn tools_at_the_root_do_not_hide_what_lies_below() {
    let analysis = analysis(&[
        ("package.json", r#"{"devDependencies":{"husky":"9"}}"#),
        ("api/package.json", r#"{"scripts":{"start":"node s.js"},"dependencies":{"express":"4"}}"#),
        ("api/s.js", "require('express')().listen(5005)"),
    ]);
    assert_eq!(analysis.primary, "api");
    assert_eq!(analysis.applications[0].port.value, Some(5005));
}

#[test]
fn sites_are_served_from_where_their_tool_writes() {
    let caddy = "caddy run --config /app/Caddyfile";
    let page = ("index.html", "");
    for (files, output) in [
        (vec![("package.json", r#"{"devDependencies":{"vite":"5"},"scripts":{"build":"vite build"}}"#), page], "dist"),
        (
            vec![
                ("package.json", r#"{"devDependencies":{"vite":"5"},"scripts":{"build":"vite build --outDir=out"}}"#),
                page,
            ],
            "out",
        ),
        (
            vec![
                (
                    "package.json",
                    r#"{"devDependencies":{"vite":"5"},"scripts":{"build":"vite build","start":"vite preview"}}"#,
                ),
                ("vite.config.ts", "export default { // outDir: 'no'\n build: { outDir: './www' } }"),
                page,
            ],
            "www",
        ),
        (
            vec![(
                "package.json",
                r#"{"dependencies":{"react-scripts":"5"},"scripts":{"start":"react-scripts start"}}"#,
            )],
            "build",
        ),
        (
            vec![
                (
                    "package.json",
                    r#"{"dependencies":{"next":"15"},"scripts":{"build":"next build","start":"next start"}}"#,
                ),
                ("next.config.mjs", "export default { output: \"export\" }"),
            ],
            "out",
        ),
        (
            vec![
                ("package.json", r#"{"dependencies":{"@angular/core":"17"},"scripts":{"start":"ng serve"}}"#),
                (
                    "angular.json",
                    r#"{"projects":{"shop":{"projectType":"application","architect":{"build":{
                    "builder":"@angular-devkit/build-angular:application","options":{"outputPath":"dist/shop"}}}}}}"#,
                ),
            ],
            "dist/shop/browser",
        ),
        (
            vec![
                (
                    "package.json",
                    r#"{"devDependencies":{"@react-router/dev":"7"},"dependencies":{"react-router":"7"}}"#,
                ),
                ("react-router.config.ts", "export default { ssr: false } satisfies Config"),
            ],
            "build/client",
        ),
        (
            vec![(
                "package.json",
                r#"{"devDependencies":{"vitepress":"1"},"scripts":{"build":"vitepress build docs"}}"#,
            )],
            "docs/.vitepress/dist",
        ),
    ] {
        assert_eq!(served(&files), (caddy.to_owned(), Some(output.to_owned()), Some(80)), "{files:?}");
    }
}

#[test]
fn servers_are_no_sites() {
    for (files, start, port) in [
        (
            vec![("package.json", r#"{"dependencies":{"next":"15"},"scripts":{"start":"next start -p 3005"}}"#)],
            "npm run start",
            3005,
        ),
        (
            vec![
                ("package.json", r#"{"dependencies":{"express":"4","vite":"5"},"scripts":{"start":"node server.js"}}"#),
                ("server.js", "import express from 'express'\nexpress().listen(config.port)"),
                ("index.html", ""),
                ("vite.config.js", ""),
            ],
            "npm run start",
            3000,
        ),
        (
            vec![
                ("package.json", r#"{"dependencies":{"astro":"5","@astrojs/node":"9"}}"#),
                ("astro.config.mjs", "export default { adapter: node({ mode: 'standalone' }) }"),
            ],
            "node ./dist/server/entry.mjs",
            4321,
        ),
        (
            vec![
                ("package.json", r#"{"main":"a"}"#),
                ("a.js", "require('http').createServer().listen(process.env.PORT)"),
            ],
            "node a.js",
            3000,
        ),
        (
            vec![("package.json", r#"{"dependencies":{"nuxt":"3"}}"#), ("nuxt.config.ts", "")],
            "node .output/server/index.mjs",
            3000,
        ),
    ] {
        assert_eq!(served(&files), (start.to_owned(), None, Some(port)), "{files:?}");
    }
}

#[test]
fn pkg_09_a_framework_needs_more_than_its_name() {
    for manifest in [
        r#"{"description":"express","dependencies":{"express-validator":"7"},"scripts":{"start":"node a.js"}}"#,
        r#"{"dependencies":{"vitest":"1"},"scripts":{"start":"node a.js"}}"#,
        r#"{"devDependencies":{"express":"4"},"scripts":{"start":"node a.js"}}"#,
    ] {
        let application = one(&[("package.json", manifest), ("a.js", "// require('express')\n")]);
        assert_eq!(application.framework.value, None, "{manifest}");
    }
}

#[test]
fn pkg_12_members_with_an_entry_are_applications() {
    let analysis = analysis(&[
        ("package.json", r#"{"workspaces":["packages/*","!packages/old"],"private":true}"#),
        ("package-lock.json", "{}"),
        ("packages/web/package.json", r#"{"devDependencies":{"vite":"5"},"scripts":{"build":"vite build"}}"#),
        ("packages/web/index.html", ""),
        (
            "packages/api/package.json",
            r#"{"name":"@me/api","dependencies":{"fastify":"4"},"scripts":{"start":"node i.js"}}"#,
        ),
        ("packages/api/i.js", "require('fastify')"),
        ("packages/lib/package.json", r#"{"main":"index.js"}"#),
        ("packages/lib/index.js", "module.exports = 1"),
        ("packages/old/package.json", r#"{"scripts":{"start":"node i.js"}}"#),
    ]);
    let named: Vec<_> = analysis.applications.iter().map(|one| one.name.as_str()).collect();
    assert_eq!(named, ["api", "web"]);
    let api = &analysis.applications[0];
    assert_eq!(api.workspace.as_deref(), Some("."));
    assert_eq!(api.package_manager.more.lock.as_deref(), Some("package-lock.json"));
    assert!(api.details.dependency_files.contains(&"packages/lib/package.json".to_owned()));
}

#[test]
fn versions_are_asked_for_in_order() {
    let manifest = ("package.json", r#"{"engines":{"node":"^20.1"},"main":"a.js"}"#);
    let file = ("a.js", "");
    let runtime = |files: &[(&str, &str)]| {
        let runtime = one(files).runtime;
        (runtime.value.unwrap(), runtime.more.requested)
    };
    assert_eq!(runtime(&[manifest, file]), ("20".to_owned(), Some("^20.1".to_owned())));
    assert_eq!(runtime(&[manifest, file, (".nvmrc", "lts/jod\n")]), ("22".to_owned(), Some("lts/jod".to_owned())));
    assert_eq!(runtime(&[("package.json", "{}"), ("index.js", "")]).1, None);
}

#[test]
fn pkg_15_a_manifest_that_is_refused_is_there_without_content() {
    let analysis = analysis(&[("package.json", "{\n\"scripts\": {,\n"), ("index.js", "")]);
    assert_eq!(analysis.applications[0].start.value.as_deref(), Some("node index.js"));
    assert_eq!((analysis.warnings[0].code.as_str(), analysis.warnings[0].at.line), ("file.refused", 2));
}

#[test]
fn a_library_of_servers_listens_where_code_says_so() {
    let manifest = r#"{"dependencies":{"fastify":"4"},"scripts":{"start":"node index.js"}}"#;
    let by_command = r#"{"dependencies":{"fastify":"4"},"scripts":{"start":"fastify start index.js"}}"#;
    for (manifest, code, port) in [
        (manifest, "console.log('hello')", None),
        (manifest, "// fastify().listen()\nimport 'fastify'", None),
        (manifest, "import fastify from 'fastify'\nfastify().listen(settings)", Some(3000)),
        (by_command, "import 'fastify'\nexport default async () => {}", Some(3000)),
    ] {
        let application = one(&[("package.json", manifest), ("index.js", code)]);
        assert_eq!((application.framework.value.as_deref(), application.port.value), (Some("fastify"), port), "{code}");
    }
}

#[test]
fn a_script_that_hands_on_listens_where_that_one_does() {
    let next = r#"{"name":"web","dependencies":{"next":"15"},"scripts":{"start":"next start","build":"next build"}}"#;
    for (start, port) in [
        ("cd apps/web && npm start", Some(3000)),
        ("npm run start --workspace=web", Some(3000)),
        ("npm start -w apps/web", Some(3000)),
        ("yarn workspace web start", Some(3000)),
        ("pnpm --filter ./apps/web start", Some(3000)),
        ("turbo run start", Some(3000)),
        ("cd apps/other && npm start", None),
        ("node tool.js", None),
    ] {
        let manifest = format!(r#"{{"workspaces":["apps/*"],"scripts":{{"start":"{start}"}}}}"#);
        let analysis = analysis(&[("package.json", manifest.as_str()), ("apps/web/package.json", next)]);
        let root = analysis.applications.iter().find(|one| one.root == ".").unwrap();
        assert_eq!(root.port.value, port, "{start}");
    }
}
