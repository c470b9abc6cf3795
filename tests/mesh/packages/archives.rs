//! Archives that are no packages, and packages that go from mesh to mesh.

use std::{collections::BTreeSet, fs, io::Write as _, path::Path, process::Command};

use aigis_registry::archive::{Attributes, Writer};
use aigis_tests::{Mesh, docker, nonce};
use serde_json::{Value, json};

use super::{
    build::{PACKAGE, golden, shown, write},
    tier2::{Names, name_of},
};

/// More entries than any package has, in so many equal parts: nobody reads beyond the first.
const ENTRIES: usize = 1_000_000;
const PARTS: usize = 40;
/// What ends an archive, in bytes.
const END: usize = 1024;

/// All that a host keeps of packages, by its paths.
fn kept(host: &Mesh) -> BTreeSet<String> {
    let output =
        Command::new("find").arg(host.path().with_file_name("packages")).args(["-type", "f"]).output().unwrap();
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

/// An archive of a package that is not on these hosts.
fn exported(into: &Path) -> Vec<u8> {
    let (here, project) = (Mesh::absent(), golden(0o644));
    let _ = here.aish(["packages", "build", shown(project.path()), "--local"]);
    let _ = here.aish(["packages", "export", "golden", "-o", shown(into)]).good();
    fs::read(into).unwrap()
}

#[test]
fn pkg_50_an_archive_with_a_changed_byte_is_not_taken_and_leaves_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("golden.tar");
    let tar = exported(&file);
    for host in [Mesh::absent(), Mesh::up()] {
        let before = kept(&host);
        // In a layer; in the document; in the index; in what says where all that is.
        for text in ["echo golden", "application/vnd.aigis.lock.v1+json", "aigis.project", "imageLayoutVersion"] {
            let at = tar.windows(text.len()).position(|window| window == text.as_bytes()).unwrap();
            let mut broken = tar.clone();
            broken[at] ^= 1;
            fs::write(&file, &broken).unwrap();
            let _ = host.aish(["packages", "import", shown(&file)]).refused(65);
            assert_eq!(kept(&host), before, "{text}");
        }
        assert_eq!(host.aish(["packages", "list", "--json"]).good().json(), json!([]));
        fs::write(&file, &tar).unwrap();
        let taken = host.aish(["packages", "import", shown(&file), "--json"]).good().json();
        assert_eq!((&taken["id"], &taken["created"]), (&PACKAGE.into(), &true.into()));
    }
}

#[test]
fn pkg_51_an_archive_that_would_harm_is_not_taken_and_writes_nowhere_else() {
    let place = tempfile::tempdir().unwrap();
    let outer = place.path().join("outer");
    write(&outer, "x", "x");
    std::os::unix::fs::symlink("/etc/passwd", outer.join("absolute")).unwrap();
    fs::File::create(outer.join("zeros")).unwrap().set_len(10 * 1024 * 1024 * 1024).unwrap();
    let made = |name: &str, words: &[&str]| {
        let tar = place.path().join(name);
        let made = Command::new("tar").args(["-cPf", shown(&tar)]).args(words).current_dir(&outer).output().unwrap();
        assert!(made.status.success(), "{made:?}");
        tar
    };
    // 10 GiB of zeros in 10 MiB: members of a gzip file are read as one.
    fs::File::create(outer.join("part")).unwrap().set_len(64 * 1024 * 1024).unwrap();
    let part = Command::new("gzip").args(["-c", shown(&outer.join("part"))]).output().unwrap();
    assert!(part.status.success(), "{part:?}");
    let bomb = place.path().join("bomb.tar.gz");
    fs::write(&bomb, part.stdout.repeat(160)).unwrap();
    let many = place.path().join("many.tar");
    let mut writer = Writer::new(Vec::new());
    for number in 0..ENTRIES / PARTS {
        writer.directory_with(&format!("{number:07}"), Attributes::plain(true)).unwrap();
    }
    let whole = writer.end().unwrap();
    let (part, end) = whole.split_at(whole.len() - END);
    let mut file = fs::File::create(&many).unwrap();
    (0..PARTS).for_each(|_| file.write_all(part).unwrap());
    file.write_all(end).unwrap();
    let archives = [
        made("up.tar", &["--transform=s,x,../x,", "x"]),
        made("rooted.tar", &[&format!("--transform=s,x,{}/rooted,", place.path().display()), "x"]),
        made("link.tar", &["absolute"]),
        made("device.tar", &["--transform=s,dev/null,null,", "/dev/null"]),
        made("sparse.tar", &["--sparse", "zeros"]),
        bomb,
    ];
    let there = || -> BTreeSet<String> {
        let names = fs::read_dir(place.path()).unwrap();
        names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    };
    let files = there();
    // Looked at before it is known whose store it would go to: once is enough.
    let alone = Mesh::absent();
    let refused = alone.aish(["packages", "import", shown(&many)]).refused(65);
    assert!(refused.stderr.contains("more than 20000 entries"), "{refused:?}");
    assert_eq!((kept(&alone), there()), (BTreeSet::new(), files.clone()));
    for host in [Mesh::absent(), Mesh::up()] {
        let before = kept(&host);
        for archive in &archives {
            let _ = host.aish(["packages", "import", shown(archive)]).refused(65);
            assert_eq!((kept(&host), there()), (before.clone(), files.clone()), "{archive:?}");
        }
        assert_eq!(host.aish(["packages", "list", "--json"]).good().json(), json!([]));
    }
}

#[test]
fn pkg_52_a_package_with_commands_runs_from_its_archive_and_is_the_same_in_another_mesh() {
    let (alpha, project) = (Mesh::up(), tempfile::tempdir().unwrap());
    let (name, word) = (format!("moved-{}", nonce()), nonce());
    let manifest = json!({
        "manifest_version": "1.0", "project": {"name": name},
        "applications": {"api": {
            "type": "files", "build_commands": ["cat source.txt > out.txt"], "run_command": ["/bin/cat", "/app/out.txt"],
            "network": false,
        }},
        "containers": {"api": {"base_image": "busybox", "applications": ["api"]}},
    });
    write(project.path(), "aigis.json", &manifest.to_string());
    let build = |content: &str| -> Value {
        write(project.path(), "source.txt", content);
        let ran = alpha.aish(["packages", "build", shown(project.path()), "--json"]);
        assert_eq!(ran.code, 0, "{ran:?}");
        ran.json()
    };
    let (parent, child) = (build("first\n"), build(&word));
    assert_eq!((&child["parents"][0], &child["images"][0]["tier"]), (&parent["id"], &json!(1)));
    let archive = alpha.path().join("moved.tar");
    let _ = alpha.aish(["packages", "export", &name, "-o", shown(&archive)]).good();

    let image = name_of(&child, "api");
    let _names = Names(vec![image.clone()]);
    docker(None, &["load", "--input", shown(&archive)]);
    assert_eq!(docker(None, &["run", "--rm", "--network", "none", &image]).trim(), word);

    for other in [Mesh::absent(), Mesh::up()] {
        let taken = other.aish(["packages", "import", shown(&archive), "--json"]).good().json();
        assert_eq!((&taken["id"], &taken["created"]), (&child["id"], &json!(true)));
        let line = other.aish(["packages", "lineage", &name, "--json"]).good().json();
        assert_eq!(
            (&line[0]["external"], &line[1]["id"], &line[1]["external"]),
            (&json!(false), &parent["id"], &json!(true))
        );
        let known = other.aish(["packages", "show", &name, "--json"]).good().json();
        assert_eq!(known["builds"], json!([]), "what was measured elsewhere is not measured here");
    }
}
