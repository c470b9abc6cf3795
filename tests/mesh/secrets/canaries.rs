//! Values that can be told from all else, given to programs that print them; then they are looked for everywhere.

use super::*;

/// How many; as many as `AIGIS_CANARIES` says, in a longer run.
const CANARIES: usize = 32;
/// As many as one program may have.
const AT_ONCE: usize = 32;

/// Every file below a directory.
fn files(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => files(&entry.path(), found),
            Ok(kind) if kind.is_file() => found.push(entry.path()),
            _ => {}
        }
    }
}

fn holds(path: &Path, text: &str) -> bool {
    String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).contains(text)
}

#[test]
fn r_40_no_canary_is_found_where_it_must_not_be() {
    let wanted = std::env::var("AIGIS_CANARIES").ok().and_then(|count| count.parse().ok()).unwrap_or(CANARIES);
    let mesh = Mesh::up();
    let mark = format!("CANARY{}", nonce());
    // As base64 writes it, wherever in three bytes it begins.
    let encoded = ["", "x", "xy"].map(|before| {
        let text = base64::Engine::encode(&base64::prelude::BASE64_STANDARD, format!("{before}{mark}"));
        text[4..16].to_owned()
    });
    let names: Vec<String> = (0..wanted).map(|number| format!("canaries/number-{number}")).collect();
    for name in &names {
        let number = name.rsplit('-').next().unwrap();
        let _set = set(&mesh, name, format!("{mark}-{number}").as_bytes(), &[]).good();
    }
    // Prints them to where logs are kept, in pieces too; one is a variable.
    let script = "for file in \"$AIGIS_SECRETS\"/*; do cat \"$file\" >&2; echo >&2; echo stray; cat \"$file\"; echo; \
        head -c 5 \"$file\" >&2; sleep 0.01; tail -c +6 \"$file\" >&2; echo >&2; done; echo \"$VARIABLE\" >&2; \
        while read line; do echo done; done";
    for (index, names) in names.chunks(AT_ONCE).enumerate() {
        let name = format!("singer-{index}");
        let mut options =
            vec!["-n".to_owned(), name.clone(), "--secret-env".to_owned(), format!("{}=VARIABLE", names[0])];
        options.extend(names.iter().flat_map(|name| ["--secret".to_owned(), name.clone()]));
        options.extend(["--", "sh", "-c", script].map(str::to_owned));
        let _wrap = mesh.wrap(&options);
        let shown = until("the program has printed them", SOON, || {
            let ran = mesh.aish(["logs", &name, "--tail", "10000", "--json"]);
            (ran.stdout.matches("***").count() >= 3 * names.len()).then_some(ran.stdout)
        });
        assert!(!shown.contains(&mark), "a line of {name} shows one");
        for process in fs::read_dir("/proc").unwrap().flatten() {
            assert!(!holds(&process.path().join("cmdline"), &mark), "in the arguments of {:?}", process.path());
        }
    }
    let _debug = mesh.aish(["logs", "alpha", "--tail", "1000"]);
    let _listed = mesh.aish(["secrets", "list", "--json"]).good();
    let _audit = mesh.audit("alpha", wanted.min(50));
    let _down = mesh.aish(["down"]);
    let mut all = Vec::new();
    files(&mesh.path(), &mut all);
    // That this finds what is there: names stand in the records and the audit in clear.
    assert!(all.iter().any(|path| holds(path, "canaries/number-0")), "{all:?}");
    for path in &all {
        assert!(!holds(path, &mark), "{} holds one", path.display());
        assert!(encoded.iter().all(|text| !holds(path, text)), "{} holds one, encoded", path.display());
    }
    assert!(all.len() > 10, "{all:?}");
}
