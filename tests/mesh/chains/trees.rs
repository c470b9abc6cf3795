//! The pushed tree: what goes, how it comes back, what is refused.

use std::{fs, io::Read as _, os::unix::fs::PermissionsExt as _};

use aigis_tests::Mesh;
use serde_json::Value;

use super::{COPY, LIMIT, Source, ended, write};

/// What each file of a tree is: its path, and its content, target or mode.
fn listing(root: &std::path::Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut open = vec![root.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let entry = entry.unwrap();
            let (path, about) = (entry.path(), entry.path().symlink_metadata().unwrap());
            let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
            if name == ".aigis" {
                continue;
            }
            if about.is_dir() {
                open.push(path);
                found.push(format!("{name}/"));
            } else if about.is_symlink() {
                found.push(format!("{name} -> {}", fs::read_link(&path).unwrap().display()));
            } else {
                let executable = about.permissions().mode() & 0o111 != 0;
                found.push(format!("{name} {executable} {}", fs::read_to_string(&path).unwrap()));
            }
        }
    }
    found.sort();
    found
}

#[test]
fn chn_28_only_what_changed_is_sent() {
    let (mesh, source) = (Mesh::up(), Source::new(&[]));
    let folder = source.assistant("nothing", "true");
    // 10,000 files of 10 KiB that have nothing in common: 100 MiB.
    let mut noise = fs::File::open("/dev/urandom").unwrap();
    let mut bytes = vec![0; 10_486];
    for file in 0..10_000 {
        noise.read_exact(&mut bytes).unwrap();
        let folder = source.path().join(format!("d{}", file % 100));
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join(format!("f{file}")), &bytes).unwrap();
    }
    let pushed = || {
        let ran = ended(source.push(&mesh, &["--assistant", &folder, "--json", "--no-save"]), 0);
        let events: Vec<Value> = ran.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        events.into_iter().find(|event| event["event"] == "upload").unwrap_or_else(|| panic!("{}", ran.stdout))
    };
    let first = pushed();
    assert!(first["files"].as_u64() >= Some(10_000) && first["sent_bytes"].as_u64() > Some(100_000_000), "{first}");
    source.write("d7/f7", "changed");
    let second = pushed();
    let sent = second["sent_bytes"].as_u64().unwrap();
    assert!(sent > 0 && sent < 256 * 1024, "{second}");
    let third = pushed();
    assert_eq!((third["sent_chunks"].as_u64(), &third["tree"]), (Some(0), &second["tree"]), "{third}");
}

#[test]
fn chn_29_a_tree_arrives_as_it_is_and_comes_back() {
    let (mesh, source) = (Mesh::up(), Source::new(&[("with space", "1"), ("über/größe", "2"), ("run", "#!/bin/sh\n")]));
    fs::set_permissions(source.path().join("run"), fs::Permissions::from_mode(0o755)).unwrap();
    fs::create_dir(source.path().join("empty")).unwrap();
    std::os::unix::fs::symlink("run", source.path().join("link")).unwrap();
    let folder = source.assistant("cp", &format!("cd /in/app && find . | sort && ls -l run && readlink link\n{COPY}"));
    let ran = ended(source.push(&mesh, &["--assistant", &folder]), 0);
    for line in ["./empty", "./with space", "./über/größe", "run"] {
        assert!(ran.stderr.contains(&format!("[local:cp] {line}\n")), "{line}: {}", ran.stderr);
    }
    assert!(ran.stderr.contains("[local:cp] -rwxr-xr-x"), "{}", ran.stderr);
    let back = tempfile::tempdir().unwrap();
    let into = back.path().join("back");
    let _pulled = ended(mesh.aish(["apps", "pull", &source.name, into.to_str().unwrap()]), 0);
    assert_eq!(listing(&into), listing(&source.path()));
}

#[test]
fn chn_30_ignored_files_stay_here() {
    let (mesh, source) =
        (Mesh::up(), Source::new(&[("a", ""), ("dist/x", ""), (".env", "S=1"), ("node_modules/m", "")]));
    source.write(".gitignore", "dist/\n*.log\n");
    source.write(".aigisignore", "!dist/\n");
    source.write("sub/.gitignore", "secret\n");
    source.write("sub/secret", "");
    source.write("x.log", "");
    let ran = source.push(&mesh, &["--dry-run", "--json"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let plan = ran.json();
    let files: Vec<&str> =
        plan["files"].as_array().unwrap().iter().map(|file| file["path"].as_str().unwrap()).collect();
    for gone in [".env", "node_modules/m", "sub/secret", "x.log"] {
        assert!(!files.contains(&gone), "{files:?}");
    }
    for there in ["a", "dist/x", ".gitignore", ".aigisignore", "sub/.gitignore"] {
        assert!(files.contains(&there), "{there}: {files:?}");
    }
    assert!(ran.stderr.contains(".env"), "{}", ran.stderr);
    assert_eq!(mesh.aish(["chains", "list", "--json"]).good().stdout.trim(), "[]");
}

#[test]
fn chn_31_what_no_tree_holds_is_named() {
    let mesh = Mesh::up();
    for target in ["/etc/passwd", "../x"] {
        let source = Source::new(&[("a", "")]);
        std::os::unix::fs::symlink(target, source.path().join("link")).unwrap();
        let ran = source.push(&mesh, &[]).failed(65);
        assert!(ran.stderr.contains("link"), "{ran:?}");
    }
    let source = Source::new(&[("a", "")]);
    let folder = source.assistant("cp", COPY);
    rustix::fs::mknodat(
        rustix::fs::CWD,
        source.path().join("pipe"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o644),
        0,
    )
    .unwrap();
    let ran = ended(source.push(&mesh, &["--assistant", &folder]), 0);
    assert!(ran.stderr.contains("pipe"), "{}", ran.stderr);
    let source = Source::new(&[("a", "")]);
    let name = <std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(b"bad\xff");
    fs::write(source.path().join(name), "").unwrap();
    let _refused = source.push(&mesh, &[]).failed(65);
    let _empty = Source::new(&[]).push(&mesh, &[]).failed(65);
    assert_eq!(mesh.aish(["chains", "list", "--json"]).good().json().as_array().map(Vec::len), Some(1));
}

#[test]
fn chn_32_what_a_step_may_not_leave_fails_it() {
    let mesh = Mesh::up();
    for (make, path) in [
        ("ln -s /etc/shadow /out/app/link", "link"),
        ("mknod /out/app/device c 1 3", "device"),
        ("mkfifo /out/app/pipe", "pipe"),
    ] {
        let source = Source::new(&[("keep", "")]);
        let folder = source.assistant("bad", &format!("{COPY}{make}"));
        let ran = ended(source.push(&mesh, &["--assistant", &folder]), 1);
        assert!(ran.stderr.contains(path), "{}", ran.stderr);
        assert!(!source.path().join(path).exists() && source.path().join(path).symlink_metadata().is_err());
    }
}

#[test]
fn chn_32_links_in_the_place_of_directories_lead_nowhere() {
    let mesh = Mesh::up();
    // The name of a file of the host, which any container could ask for.
    for (make, path) in [
        ("rm -rf /out/app && ln -s /etc /out/app", "/out/app"),
        ("rm -rf /out/state && ln -s /etc /out/state", "/out/state"),
        ("rm -rf /out/ask && ln -s /etc /out/ask && sleep 2 && ls /in/answer && exit 3", "exited with 3"),
    ] {
        let source = Source::new(&[("keep", "")]);
        let folder = source.assistant("bad", &format!("{COPY}{make}"));
        let ran = ended(source.push(&mesh, &["--assistant", &folder]), 1);
        assert!(ran.stderr.contains(path) && !ran.stderr.contains("passwd"), "{}", ran.stderr);
        assert_eq!((source.read("passwd"), source.state("passwd")), (None, None), "{make}");
    }
}

#[test]
fn chn_33_a_local_edit_is_kept_and_the_other_one_set_aside() {
    let (mesh, source) = (Mesh::up(), Source::new(&[("edited", "as pushed"), ("other", "as pushed")]));
    let both = "echo 'by the assistant' > /out/app/edited\necho 'by the assistant' > /out/app/other\n";
    let folder = source.assistant("edits", &format!("{COPY}{both}echo go\nsleep 3"));
    let path = source.path();
    let mut push =
        aigis_tests::Running::of_stderr(mesh.spawn(["push", path.to_str().unwrap(), "--assistant", &folder]));
    push.until("the step runs", LIMIT, |line| line.contains("[local:edits] go").then_some(()));
    write(&path.join("edited"), "by hand");
    let ran = push.end(LIMIT);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(source.read("edited").as_deref(), Some("by hand"));
    assert_eq!(source.read("other").as_deref(), Some("by the assistant\n"));
    assert_eq!(source.read(".aigis/conflicts/edited").as_deref(), Some("by the assistant\n"));
}
