use super::*;

fn analysis(files: &[(&str, &str)]) -> Analysis {
    analyze(&Tree::of(files.iter().copied()), &Options::default()).unwrap()
}

#[test]
fn pkg_01_nothing_says_what_was_looked_for() {
    let nothing = analyze(&Tree::of([("README.md", "# x")]), &Options::default()).unwrap_err();
    assert!(nothing.looked_for.iter().any(|one| one.starts_with("static: ") && one.contains("index.html")));
    assert_eq!(nothing.looked_for.len(), provider::ALL.len());
    assert!(nothing.looked_for.is_sorted() && nothing.to_string().lines().count() == provider::ALL.len() + 1);
}

#[test]
fn pkg_13_a_dockerfile_says_how_and_the_rest_what() {
    let files = [("Dockerfile", "FROM x\nEXPOSE 9000\nCMD [\"serve\"]\n"), ("public/index.html", "<p>")];
    let analysis = analysis(&files);
    let application = analysis.primary().unwrap();
    assert_eq!(application.provider.value, Some(ProviderName::Dockerfile));
    assert_eq!((application.port.value, &application.port.evidence[0].line), (Some(9000), &2));
    assert_eq!(application.start.more.argv, ["serve"]);
    assert_eq!(application.alternatives[0].provider, ProviderName::Static);
}

#[test]
fn pkg_11_a_procfile_starts_and_releases_apart() {
    let page = ("index.html", "<p>");
    let with = analysis(&[page, ("Procfile", "clock: ruby clock.rb\nqueue: ruby queue.rb\n")]);
    assert_eq!(with.applications[0].start.value.as_deref(), Some("ruby clock.rb"));
    let with = analysis(&[page, ("Procfile", "release: ./migrate\nclock: x\nweb: bin/web -p 5000\n")]);
    let application = &with.applications[0];
    assert_eq!(application.start.value.as_deref(), Some("bin/web -p 5000"));
    assert_eq!(application.start.evidence, [crate::fact::Evidence::new("Procfile", 3)]);
    assert_eq!(application.release.value.as_deref(), Some("./migrate"));
    assert_eq!((application.port.value, application.output_dir.is_known()), (Some(5000), false));
}

#[test]
fn what_was_asked_for_wins() {
    let tree = Tree::of([("index.html", "<p>"), ("Dockerfile", "FROM x\n")]);
    let options = Options { providers: vec!["dockerfile".parse().unwrap()], ..Options::default() };
    let analysis = analyze(&tree, &options).unwrap();
    let provider = &analysis.primary().unwrap().provider;
    assert_eq!((provider.value, provider.more.score), (Some(ProviderName::Dockerfile), 100));
    assert!("nosuch".parse::<Asked>().is_err());
    assert_eq!("a/b=go".parse::<Asked>().unwrap().root, "a/b");
}

#[test]
fn pkg_12_directories_are_applications_where_the_root_is_none() {
    let analysis = analysis(&[
        ("README.md", ""),
        ("web/index.html", "<p>"),
        ("web/sub/index.html", "<p>"),
        ("examples/x/index.html", "<p>"),
        ("docs/index.html", "<p>"),
        ("other/site/index.html", "<p>"),
        ("web/other/site/index.html", "<p>"),
    ]);
    let named: Vec<_> = analysis.applications.iter().map(|one| (one.name.as_str(), one.root.as_str())).collect();
    assert_eq!(named, [("site", "other/site"), ("web", "web")]);
    assert_eq!(analysis.primary, "site");
}

#[test]
fn text_has_a_line_for_each_known_fact() {
    let mut analysis = analysis(&[("index.html", "<p>"), ("sub/index.html", "<p>")]);
    let commands = vec!["python -c 'a\nb'".to_owned()];
    analysis.applications[0].install = crate::fact::Fact::known(commands, "x.install", Vec::new());
    let text = "app (.): static\n  provider: static (static.index, index.html:1)\n  \
        install: python -c 'a … (x.install, nowhere)\n  \
        start: caddy run --config /app/Caddyfile (static.site, index.html:1)\n  port: 80 (static.site, index.html:1)\n  \
        output: . (static.directory, index.html:1)\n";
    assert_eq!(analysis.to_string(), text);
}
