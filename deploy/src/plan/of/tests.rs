use proptest::prelude::*;

use crate::{
    Candidate,
    dockerfile::{self, Level, Surroundings},
    fact::{Application, Evidence, Fact, Managed, ProviderName},
    plan::{self, Bases, Error, Step},
};

/// All that may stand in a Dockerfile of ours.
const SUBSET: [&str; 13] = [
    "CMD",
    "COPY",
    "ENTRYPOINT",
    "ENV",
    "EXPOSE",
    "FROM",
    "HEALTHCHECK",
    "LABEL",
    "RUN",
    "STOPSIGNAL",
    "USER",
    "WORKDIR",
    "#",
];
/// Every ecosystem with a template, what it installs with, what installs and builds, and what starts.
const KINDS: [(ProviderName, &str, &str, &str, &str); 17] = [
    (ProviderName::Node, "npm", "npm ci", "npm run build", "npm run start"),
    (ProviderName::Node, "pnpm", "pnpm install --frozen-lockfile", "pnpm run build", "pnpm run start"),
    (ProviderName::Node, "yarn", "yarn install --immutable", "yarn run build", "yarn run start"),
    (ProviderName::Node, "bun", "bun install --frozen-lockfile", "bun run build", "bun index.ts"),
    (ProviderName::Node, "npm", "npm ci", "npm run build", "caddy run --config /app/Caddyfile"),
    (ProviderName::Python, "pip", "pip install --require-hashes -r r.txt", "", "python main.py"),
    (ProviderName::Ruby, "bundler", "bundle install", "", "ruby app.rb"),
    (ProviderName::Php, "composer", "composer install --no-dev", "", "apache2-foreground"),
    (ProviderName::Go, "go", "go mod download", "go build -o bin/a .", "./bin/a"),
    (ProviderName::Rust, "cargo", "cargo fetch --locked", "cargo build --release --locked", "./bin/a"),
    (ProviderName::Cpp, "", "", "cmake --build build", "./build/a"),
    (ProviderName::Java, "maven", "", "mvn -B package", "java -jar target/a.jar"),
    (ProviderName::Dotnet, "nuget", "", "dotnet publish -o out", "dotnet out/a.dll"),
    (ProviderName::Elixir, "mix", "mix deps.get", "mix release", "_build/prod/rel/a/bin/a start"),
    (ProviderName::Gleam, "gleam", "", "gleam export erlang-shipment", "./build/erlang-shipment/entrypoint.sh run"),
    (ProviderName::Deno, "deno", "", "deno cache main.ts", "deno run -A main.ts"),
    (ProviderName::Static, "", "", "", "caddy run --config /app/Caddyfile"),
];

fn application(kind: usize, port: Option<u16>) -> Application {
    let (provider, manager, install, build, start) = KINDS[kind % KINDS.len()];
    let at = |file: &str| vec![Evidence::new(file, 3)];
    let mut app = Application::of(provider, &Candidate::new(".", 80, "a.rule", at("file")));
    app.name = "app".to_owned();
    let some =
        |command: &str| (!command.is_empty()).then(|| Fact::known(vec![command.to_owned()], "x.command", at("file")));
    app.install = some(install).unwrap_or_default();
    app.build = some(build).unwrap_or_default();
    app.start = Fact::command(start, "x.start", at("Procfile"));
    app.port = port.map(|port| Fact::known(port, "x.port", at("main"))).unwrap_or_default();
    if start.starts_with("caddy") {
        app.output_dir = Fact::known("dist".to_owned(), "x.output", at("file"));
    }
    if !manager.is_empty() {
        let managed = Managed { version: None, lock: Some("lock".to_owned()), locked: true };
        app.package_manager = Fact::known(manager.to_owned(), "x.lock", at("lock")).with(managed);
    }
    app.details.dependency_files = vec!["lock".to_owned(), "sub/manifest".to_owned()];
    app.details.context = vec!["lock".to_owned(), "templates/".to_owned()];
    app
}

fn rendered(app: &Application) -> String {
    let bases = Bases::known();
    dockerfile::render(&plan::of(app, &bases).unwrap(), &bases).unwrap()
}

/// What every Dockerfile of ours keeps to.
fn check(app: &Application, text: &str) {
    let lines: Vec<&str> = text.lines().filter(|line| !line.is_empty()).collect();
    let words = |keyword: &str| lines.iter().filter(|line| line.split(' ').next() == Some(keyword)).count();
    for line in &lines {
        let (keyword, rest) = line.split_once(' ').unwrap_or((line, ""));
        assert!(SUBSET.contains(&keyword), "{line}");
        let is_json = |rest: &str| {
            serde_json::from_str::<Vec<String>>(rest).is_ok_and(|words| keyword == "ENTRYPOINT" || !words.is_empty())
        };
        match keyword {
            "RUN" | "CMD" | "ENTRYPOINT" => assert!(is_json(rest), "{line}"),
            "COPY" => {
                assert!(is_json(rest.split_once('[').map(|(_, rest)| format!("[{rest}")).unwrap().as_str()), "{line}");
            }
            "HEALTHCHECK" => assert!(is_json(rest.split_once("CMD ").unwrap().1), "{line}"),
            "USER" => assert_eq!(rest, "10001:10001"),
            "FROM" => assert!(!rest.contains("latest") && rest.contains(':'), "{line}"),
            _ => {}
        }
    }
    let ports = usize::from(app.port.is_known());
    assert_eq!((words("EXPOSE"), words("HEALTHCHECK"), words("USER"), words("CMD")), (ports, ports, 1, 1), "{text}");
    if let Some(port) = app.port.value {
        assert!(
            lines.contains(&format!("ENV PORT=\"{port}\"").as_str())
                && lines.contains(&format!("EXPOSE {port}").as_str())
        );
    }
}

#[test]
fn pkg_18_every_ecosystem_has_a_dockerfile_in_the_subset() {
    for kind in 0..KINDS.len() {
        for port in [None, Some(8000)] {
            let app = application(kind, port);
            let text = rendered(&app);
            check(&app, &text);
            let found = dockerfile::lint(&text, &Surroundings::default());
            let others: Vec<_> =
                found.iter().filter(|one| !matches!(one.rule.as_str(), "base-not-pinned" | "unlocked")).collect();
            assert!(others.is_empty(), "{others:?} in\n{text}");
            assert!(found.iter().all(|one| one.level == Level::Warning));
        }
    }
}

#[test]
fn pkg_17_dependencies_are_installed_before_the_rest_and_facts_are_told() {
    let text = rendered(&application(0, Some(3000)));
    let at = |part: &str| text.find(part).unwrap_or_else(|| panic!("{part} in\n{text}"));
    assert!(at("COPY [\"lock\",\"./\"]") < at("RUN [\"npm\",\"ci\"]"));
    assert!(at("RUN [\"npm\",\"ci\"]") < at("COPY [\".\",\"./\"]"));
    assert!(at("COPY [\".\",\"./\"]") < at("RUN [\"npm\",\"run\",\"build\"]"));
    assert!(at("RUN [\"npm\",\"prune\",\"--omit=dev\"]") < at("COPY --from=build [\"/app\",\"/app\"]"));
    assert!(at("# x.start (Procfile)\nCMD [\"npm\",\"run\",\"start\"]") > at("# x.port (main)"));
    assert!(!text.contains(":3"), "no line numbers: a comment would change with each line above");
}

#[test]
fn pkg_17_a_package_manager_goes_with_what_it_starts() {
    let mut app = application(1, None);
    app.package_manager.more.version = Some("9.1.0".to_owned());
    let text = rendered(&app);
    assert!(text.contains("[\"npm\",\"install\",\"--global\",\"--prefix\",\"/opt/tools\",\"pnpm@9.1.0\"]"), "{text}");
    assert!(text.contains("COPY --from=build [\"/opt/tools\",\"/opt/tools\"]"), "{text}");
    app.package_manager.more.version = Some(">=9 && x".to_owned());
    assert!(rendered(&app).contains("\"pnpm@9.15.9\""), "a range is no version");
}

#[test]
fn pkg_20_what_is_compiled_stands_alone_in_its_image() {
    for kind in [8, 9, 10] {
        let plan = plan::of(&application(kind, None), &Bases::known()).unwrap();
        assert_eq!(plan.image.from.base.logical, "debian");
        let from_build: Vec<_> =
            plan.image.from.steps.iter().filter(|step| matches!(step, Step::Copy { from: Some(_), .. })).collect();
        assert_eq!(from_build.len(), 1, "the program alone");
        assert!(plan.image.from.steps.iter().all(|step| matches!(step, Step::Copy { .. })));
    }
}

#[test]
fn pkg_20_packages_of_debian_leave_neither_lists_nor_archives() {
    let mut app = application(0, None);
    app.system_packages.run = vec!["libpq5".to_owned()];
    let text = rendered(&app);
    let line = text.lines().find(|line| line.contains("\"libpq5\"")).unwrap();
    assert!(line.contains("&& apt-get clean && rm -rf /var/lib/apt/lists/*"), "{line}");
}

#[test]
fn pkg_17_sites_are_served_with_what_their_paths_mean() {
    let mut app = application(4, Some(80));
    assert!(!rendered(&app).contains("/index.html\",\""));
    app.details.single_page = true;
    let text = rendered(&app);
    assert!(text.contains("{path}.html /index.html\""), "{text}");
    assert!(text.contains("COPY --from=build [\"/app/dist/\",\"/app/site/\"]"), "{text}");
    assert!(rendered(&application(16, None)).contains("COPY [\"dist/\",\"/app/site/\"]"));
}

#[test]
fn a_member_is_built_in_its_workspace() {
    let mut app = application(0, None);
    app.root = "packages/api".to_owned();
    app.workspace = Some(".".to_owned());
    let text = rendered(&app);
    assert!(text.contains("\"packages/api\",\"npm\",\"run\",\"build\"]"), "{text}");
    assert!(text.contains("RUN [\"npm\",\"ci\"]") && text.contains("WORKDIR /app/packages/api"), "{text}");
}

#[test]
fn what_cannot_be_made_says_why() {
    let bases = Bases::known();
    let mut app = application(0, None);
    app.provider.value = Some(ProviderName::Zig);
    assert!(matches!(plan::of(&app, &bases), Err(Error::NoTemplate(name)) if name == "zig"));
    let mut app = application(0, None);
    app.start = Fact::default();
    assert!(matches!(plan::of(&app, &bases), Err(Error::Unknown { what: "how it is started", .. })));
}

proptest! {
    #[test]
    fn pkg_23_hostile_text_adds_no_instruction(
        kind in 0..KINDS.len(),
        hostile in prop::collection::vec("[a-z]{0,3}(\\$\\(touch M\\)|`touch M`|\"|'|\\\\|\\$\\{HOME\\}|#| |\\]|\\[|\\*|ä)[a-z]{0,3}", 6),
    ) {
        let clean = application(kind, Some(8000));
        let mut app = clean.clone();
        app.name = hostile[0].clone();
        let evidence = |file: &str| vec![Evidence::new(file, 1)];
        app.output_dir.value = app.output_dir.value.map(|_| hostile[1].clone());
        app.start.evidence = evidence(&hostile[2]);
        app.writable = vec![hostile[3].clone()];
        app.details.dependency_files = vec![hostile[4].clone()];
        app.details.health_path = Some(format!("/{}", hostile[5]));
        app.runtime = Fact::known(hostile[0].clone(), "x", evidence("file"));
        app.package_manager.more.version = Some(hostile[1].clone());
        let text = rendered(&app);
        check(&app, &text);
        let parsed = |text: &str| text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()).count();
        // A path that has to be writable takes one more, files whose names are no plain ones one less.
        let (before, after) = (parsed(&rendered(&clean)), parsed(&text));
        prop_assert!(after <= before + 1, "{before} {after}\n{text}");
        prop_assert!(!text.lines().any(|line| line.trim_start().starts_with("touch")));
    }

    #[test]
    fn pkg_23_a_control_character_is_refused(kind in 0..KINDS.len(), control in "[\\n\\r\\t\u{0}\u{1b}]") {
        let mut app = application(kind, Some(8000));
        app.start.evidence = vec![Evidence::new(format!("a{control}RUN touch M"), 1)];
        let bases = Bases::known();
        let refused = plan::of(&app, &bases).and_then(|plan| dockerfile::render(&plan, &bases)).unwrap_err();
        prop_assert_eq!(refused.code(), aigis_proxy::Code::InvalidArgument);
    }
}
