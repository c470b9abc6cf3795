use proptest::prelude::*;

use super::*;

const DIGEST: &str = "sha256:0000000000000000000000000000000000000000000000000000000000000000";

fn context(files: &[&str], ignore: Option<&str>) -> Surroundings {
    let files = files.iter().map(|file| (*file).to_owned()).collect();
    Surroundings { files, is_whole: true, ignore: ignore.map(str::to_owned) }
}

/// A Dockerfile without a fault but those of the lines that are put into its build and its last stage.
fn with(build: &str, last: &str) -> String {
    format!(
        "FROM go@{DIGEST} AS build\n{build}\nFROM debian@{DIGEST}\nCOPY --from=build [\"/a\", \"/b\"]\n{last}\nUSER 10001:10001\nCMD [\"/b\"]\n"
    )
}

fn found(text: &str, surroundings: &Surroundings) -> Vec<(String, Level, u64)> {
    lint(text, surroundings).into_iter().map(|finding| (finding.rule, finding.level, finding.line)).collect()
}

#[test]
fn pkg_25_each_rule_finds_its_line() {
    let empty = Surroundings::default();
    let files = context(&["app.py", "src/a.c", ".env", "tls/server.key"], Some(".git\n.env\n*.md\n"));
    let open = context(&["app.py", ".env", ".git/HEAD"], Some("dist\n"));
    let rows: Vec<(String, &Surroundings, &str, Level, u64)> = vec![
        (with("ENV A", ""), &empty, "syntax", Level::Error, 2),
        (with("EXPOSE 70000", ""), &empty, "syntax", Level::Error, 2),
        (with("COPY a", ""), &empty, "syntax", Level::Error, 2),
        (format!("RUN x\n{}", with("", "")), &empty, "syntax", Level::Error, 1),
        (String::new(), &empty, "syntax", Level::Error, 1),
        (with("RUNN x", ""), &empty, "unknown-instruction", Level::Error, 2),
        (with("", "COPY --from=biuld a b"), &empty, "stage-unknown", Level::Error, 5),
        (with("COPY --from=build a b", ""), &empty, "stage-unknown", Level::Error, 2),
        (with("", "COPY --from=1 a b"), &empty, "stage-unknown", Level::Error, 5),
        (with("COPY nothing /x", ""), &files, "source-missing", Level::Error, 2),
        (with("COPY [\"src\", \"*.rs\", \"/x/\"]", ""), &files, "source-missing", Level::Error, 2),
        (with("COPY ../x /x", ""), &files, "source-outside", Level::Error, 2),
        (with("COPY a/../../x /x", ""), &empty, "source-outside", Level::Error, 2),
        (with("ENV API_KEY=abc", ""), &empty, "secret-value", Level::Error, 2),
        (with("ARG DB_PASSWORD=\"x\"", ""), &empty, "secret-value", Level::Error, 2),
        (with("RUN export A=1 && GITHUB_TOKEN=abc make", ""), &empty, "secret-value", Level::Error, 2),
        (with("RUN git clone https://me:pw@example.org/x", ""), &empty, "secret-value", Level::Error, 2),
        (with("RUN [\"echo\", \"AKIAABCDEFGHIJKLMNOP\"]", ""), &empty, "secret-value", Level::Error, 2),
        (with("COPY .env /x", ""), &empty, "env-file-copied", Level::Error, 2),
        (with("COPY tls /x", ""), &files, "env-file-copied", Level::Error, 2),
        (with("ADD https://example.org/x.tar /x", ""), &empty, "add-url", Level::Error, 2),
        (with("", "").replace(&format!("debian@{DIGEST}"), "debian:12"), &empty, "base-not-pinned", Level::Warning, 3),
        (
            with("", "").replace(&format!("debian@{DIGEST}"), "r.example:5000/debian"),
            &empty,
            "base-latest",
            Level::Warning,
            3,
        ),
        (with("", "").replace("USER 10001:10001", "USER root"), &empty, "root-user", Level::Warning, 6),
        (with("", "").replace("USER 10001:10001", "USER 0:5"), &empty, "root-user", Level::Warning, 6),
        (with("", "").replace("USER 10001:10001\n", ""), &empty, "root-user", Level::Warning, 3),
        (with("", "").replace("CMD [\"/b\"]", "CMD /b"), &empty, "shell-form-cmd", Level::Warning, 7),
        (with("", "EXPOSE 80"), &empty, "no-health-check", Level::Warning, 5),
        (with("", "ENV PORT=80"), &empty, "port-not-exposed", Level::Warning, 5),
        (with("", "").replace("[\"/b\"]", "[\"/b\",\"--port\",\"90\"]"), &empty, "port-not-exposed", Level::Warning, 7),
        (with("RUN npm install", ""), &empty, "unlocked", Level::Warning, 2),
        (
            with("RUN [\"python\",\"-m\",\"pip\",\"install\",\"-r\",\"r.txt\"]", ""),
            &empty,
            "unlocked",
            Level::Warning,
            2,
        ),
        (with("RUN apt-get update && apt-get install -y gcc", ""), &empty, "apt-no-clean", Level::Warning, 2),
        (with("COPY . /x", ""), &open, "ignore-lacks", Level::Warning, 2),
        (with("RUN --mount=type=cache,target=/c make", ""), &empty, "outside-subset", Level::Warning, 2),
        (with("COPY --chmod=755 a /b", ""), &empty, "outside-subset", Level::Warning, 2),
        (with("RUN <<E\nmake\nE", ""), &empty, "outside-subset", Level::Warning, 2),
        (format!("# syntax=docker/dockerfile:1\n{}", with("", "")), &empty, "outside-subset", Level::Warning, 1),
    ];
    for (text, surroundings, rule, level, line) in rows {
        let all = found(&text, surroundings);
        let others: Vec<_> = all.iter().filter(|(known, ..)| known != rule && known != "env-file-copied").collect();
        assert!(all.contains(&(rule.to_owned(), level, line)), "{rule} of\n{text}\nbut {all:?}");
        assert!(others.is_empty(), "{rule} of\n{text}\nand {others:?}");
    }
}

#[test]
fn pkg_25_a_clean_one_has_no_finding() {
    let files = context(&["app.py", "src/a.c", "README.md", "$x/it's.c"], None);
    let build = "ARG V\nENV TOKEN_FILE=/run/secrets/t A=\"b c\"\nCOPY [\"app.py\", \"\\\\$x/it\\\\'s.c\", \"/x/\"]\nCOPY src/*.c *.py /x/\n\
        COPY . .\nRUN [\"/bin/sh\",\"-c\",\"apt-get update && apt-get install -y gcc && rm -rf /var/lib/apt/lists/*\"]\n\
        RUN npm ci && yarn install --immutable && npm install --global pnpm@9.1.0\nRUN pip install --require-hashes -r r.txt\n\
        RUN PASSWORD=$(cat /run/secrets/p) make";
    let last = "ENV PORT=8000\nEXPOSE 8000/tcp\nHEALTHCHECK CMD [\"/b\", \"--port\", \"8000\"]";
    assert_eq!(found(&with(build, last), &files), []);
    let inherited = format!(
        "FROM a@{DIGEST} AS base\nUSER 1:1\nHEALTHCHECK NONE\nEXPOSE 80\nFROM base AS next\nENV PORT=80\nCMD [\"x\"]\n"
    );
    assert_eq!(found(&inherited, &files), []);
    assert_eq!(found("FROM scratch\nUSER 1\n", &files), []);
}

#[test]
fn pkg_25_what_a_context_holds_is_judged_after_its_ignore_file() {
    let kept = context(&["a.py", "dist/x", ".env"], Some(".git\n.env\ndist\n"));
    assert_eq!(found(&with("COPY . .", ""), &kept), []);
    let all = found(&with("COPY dist /x", ""), &kept);
    assert_eq!(all, [("source-missing".to_owned(), Level::Error, 2)], "what is ignored is not there");
    let none = context(&["a.py", "node_modules/x/y.js"], None);
    assert_eq!(found(&with("COPY . .", ""), &none), [("ignore-lacks".to_owned(), Level::Warning, 2)]);
    let secret = context(&["a.py", "conf/.env"], None);
    let rules: Vec<String> = found(&with("COPY . .", ""), &secret).into_iter().map(|(rule, ..)| rule).collect();
    assert_eq!(rules, ["env-file-copied", "ignore-lacks"]);
}

proptest! {
    #[test]
    fn pkg_25_anything_is_judged(text in "(?s)((FROM|RUN|COPY|ENV|EXPOSE|CMD|HEALTHCHECK|USER|ADD) [-=a$:./\\[\\]\"',0-9 \\\\]{0,20}\n?){0,8}.{0,40}") {
        let all = lint(&text, &context(&["a", "b/c"], None));
        prop_assert!(all.iter().all(|finding| finding.line >= 1 && !finding.message.is_empty() && !finding.hint.is_empty()));
    }
}
