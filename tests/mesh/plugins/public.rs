//! Plugins that others published, as they are. `AIGIS_PUBLIC_PLUGINS` names a folder with a folder for each repository, by
//! the repository's name; where it is not set, these tests say that they are not run.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream, ToSocketAddrs as _},
    thread::JoinHandle,
};

use super::{requirements::has_packages, *};

/// Where a repository lies, if any do; if not, it is said.
fn repository(row: &str, name: &str) -> Option<PathBuf> {
    let Some(folder) = std::env::var_os("AIGIS_PUBLIC_PLUGINS") else {
        println!("not run: {row}, set AIGIS_PUBLIC_PLUGINS to a folder of the public repositories");
        return None;
    };
    let path = Path::new(&folder).join(name);
    assert!(path.is_dir(), "{} is not there", path.display());
    Some(path)
}

/// As [`repository`], of a plugin that needs packages.
fn with_packages(row: &str, name: &str) -> Option<PathBuf> {
    repository(row, name).filter(|_| has_packages(row))
}

/// A mesh with one plugin from there, which runs.
fn running(table: &str, name: &str, path: &Path) -> Mesh {
    let mesh = Mesh::hosting(&format!("[{table}]\n{name} = \"{}\"\n", path.display()));
    ready(&mesh, name);
    mesh
}

/// Waits until a plugin runs whose packages have yet to be brought.
fn ready(mesh: &Mesh, name: &str) {
    until(&format!("{name} runs"), Duration::from_secs(300), || {
        let row = row(mesh, name)?;
        assert_ne!(row["state"], "failed", "{row}");
        (row["state"] == "running").then_some(())
    });
}

/// The paths of a plugin's own skills.
fn leaves(mesh: &Mesh, name: &str) -> Vec<String> {
    let described = mesh.aish(["plugins", "describe", name, "--json"]).good().json();
    let skills = described["skills"].as_array().unwrap().iter().filter(|skill| skill["kind"] != "standard");
    let mut paths: Vec<String> = skills.map(|skill| skill["path"].as_str().unwrap().to_owned()).collect();
    paths.sort_unstable();
    paths
}

#[test]
fn plg_05_the_public_config_file_lists_seven_plugins() {
    let Some(path) = repository("PLG-05", "AIGIS") else { return };
    let file = path.join("config/config.aigis").display().to_string();
    let listed = Mesh::absent().aish(["plugins", "check", "--config", &file, "--json"]).good().json();
    let names: Vec<&str> = listed.as_array().unwrap().iter().map(|row| row["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["backdoorgery", "dnd", "translate", "genesis", "boorunator", "madbot", "archiveserver"]);
}

#[test]
fn plg_14_ten_public_plugins_are_read() {
    let core =
        ["AIGun", "backdoorgery", "boorunator", "content-generator", "dnd-utils", "email-tools", "translation-utils"];
    let internal = ["archib-backend", "mad-bot", "youtube-rss-email"];
    for (names, kind) in [(&core[..], "core"), (&internal[..], "internal")] {
        for name in names {
            let Some(path) = repository("PLG-14", name) else { return };
            let path = path.canonicalize().unwrap();
            let words = ["plugins", "check", &path.display().to_string(), "--static", "--json"];
            let ran = Mesh::absent().aish(words);
            assert_eq!(ran.code, 0, "{name}: {ran:?}");
            let shown = ran.json();
            assert_eq!(shown["type"], kind, "{name}");
            let named = read(&path.join("AIGIS/AIGIS.config")).contains("REQUIREMENT_FILE");
            let expected =
                if named { Value::from(path.join("requirements.txt").display().to_string()) } else { Value::Null };
            assert_eq!(shown["requirement_file"], expected, "{name}");
        }
    }
}

/// A mail server that takes one message.
fn sink(listener: TcpListener) -> JoinHandle<String> {
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
        let mut message = String::new();
        stream.write_all(b"220 sink\r\n").unwrap();
        while let Some(line) = lines.next() {
            let line = line.unwrap().to_ascii_uppercase();
            if !line.starts_with("DATA") {
                stream.write_all(b"250 well\r\n").unwrap();
                continue;
            }
            stream.write_all(b"354 go on\r\n").unwrap();
            for line in lines.by_ref().map(Result::unwrap).take_while(|line| line != ".") {
                message += &line;
                message += "\n";
            }
            stream.write_all(b"250 taken\r\n").unwrap();
            break;
        }
        message
    })
}

#[test]
fn plg_28_email_tools_sends_and_shows_one_skill_alone() {
    let Some(path) = repository("PLG-28", "email-tools") else { return };
    let mesh = running("core", "emailtools", &path);
    assert_eq!(leaves(&mesh, "emailtools"), ["emailtools.simple_email"]);
    for path in ["emailtools.smtplib.SMTP", "emailtools.SMTP.connect"] {
        let _unknown = call(&mesh, [path]).failed(65);
    }
    let listener = match TcpListener::bind("127.0.0.1:25") {
        Ok(listener) => listener,
        Err(error) => return println!("not run: PLG-28 in part, the port for mail cannot be had: {error}"),
    };
    let address = listener.local_addr().unwrap();
    drop(listener);
    let nonce = aigis_tests::nonce();
    let send = || call(&mesh, ["emailtools.simple_email", "a@x", "b@x", "hi", &nonce]);
    let refused = send().failed(1);
    assert!(refused.stderr.contains("ConnectionRefusedError"), "{refused:?}");
    let sink = sink(TcpListener::bind(address).unwrap());
    let _sent = send().good();
    let message = sink.join().unwrap();
    assert!(message.contains(&nonce) && message.contains("Subject: hi"), "{message}");
}

#[test]
fn plg_29_boorunator_sanitizes() {
    let Some(path) = with_packages("PLG-29", "boorunator") else { return };
    let mesh = running("core", "boorunator", &path);
    assert_eq!(call(&mesh, ["boorunator.sanitize", r#"["Blue Sky","cat"]"#]).good().stdout, "blue_sky+cat\n");
    assert_eq!(call(&mesh, ["boorunator.ratings.SAFE"]).good().stdout, "safe\n");
    let bad = call(&mesh, ["boorunator.sanitize", r#"["no!"]"#]).failed(1);
    assert!(bad.stderr.contains("BadTag"), "{bad:?}");
    let _unknown = call(&mesh, ["boorunator.requests.get", "x"]).failed(65);
}

#[test]
fn plg_30_backdoorgery_shows_what_it_lists() {
    let Some(path) = with_packages("PLG-30", "backdoorgery") else { return };
    let mesh = running("core", "backdoorgery", &path);
    assert_eq!(leaves(&mesh, "backdoorgery"), ["backloggery.getConsoleMetrics", "backloggery.getFortuneCookie"]);
    if "backloggery.com:443".to_socket_addrs().is_ok() {
        return println!("not run: PLG-30 in part, this host reaches what it is to miss");
    }
    let ran = call(&mesh, ["backloggery.getFortuneCookie", "x"]).failed(1);
    assert!(ran.stderr.contains("ConnectionError: "), "{ran:?}");
}

/// A mesh with an internal plugin of that name and its secrets, which runs.
fn with_secrets(name: &str, path: &Path, secrets: &[(&str, &str)]) -> Mesh {
    let mesh = Mesh::hosting("");
    let folder = mesh.config().with_file_name("secrets").join(name);
    fs::create_dir_all(&folder).unwrap();
    for (key, value) in secrets {
        fs::write(folder.join(key), value).unwrap();
    }
    mesh.configure(&format!("[internal]\n{name} = \"{}\"\n", path.display()));
    let _synced = mesh.aish(["plugins", "sync"]).good();
    ready(&mesh, name);
    mesh
}

#[test]
fn plg_31_archib_backend_serves() {
    const PORT: u16 = 44361;
    let Some(path) = with_packages("PLG-31", "archib-backend") else { return };
    if let Err(error) = TcpListener::bind(("0.0.0.0", PORT)) {
        return println!("not run: PLG-31, its port cannot be had: {error}");
    }
    let secret = "[general]\nuser = \"nobody\"\nhost = \"127.0.0.1\"\nport = 9\n";
    let mesh = with_secrets("archiveserver", &path, &[("secrets.toml", secret)]);
    let answer = until("it answers", LIMIT, || {
        let mut stream = TcpStream::connect(("127.0.0.1", PORT)).ok()?;
        stream.set_read_timeout(Some(LIMIT)).ok()?;
        stream.write_all(b"GET / HTTP/1.0\r\n\r\n").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        Some(answer)
    });
    assert!(answer.contains(" 200 ") && answer.ends_with("Undefined endpoint"), "{answer}");
    let pid = settled(&mesh, "archiveserver", "running")["pid"].as_u64().unwrap();
    assert_eq!(fs::read_link(format!("/proc/{pid}/cwd")).unwrap(), copy(&mesh, "archiveserver").join("src"));
}

#[test]
fn plg_32_youtube_rss_email_runs_without_the_pip_it_asks_for() {
    let Some(path) = with_packages("PLG-32", "youtube-rss-email") else { return };
    let mesh = with_secrets("yns", &path, &[("subscriptions.json", "{}"), ("youtube.secret", "{}")]);
    let row = settled(&mesh, "yns", "running");
    assert!(row["warnings"].to_string().contains("pip3.7"), "{row}");
    assert_eq!(call(&mesh, ["subtopewdiepie.unsubscribe", "a", "b"]).good().stdout, "false\n");
    logged(&mesh, "yns", "Sleeping for a bit");
}

#[test]
fn plg_33_programs_that_are_missing_are_named_and_what_comes_later_runs() {
    let programs = ["pdftk", "pdflatex", "chromedriver"];
    let (Some(dnd), Some(translation)) = (repository("PLG-33", "dnd-utils"), repository("PLG-33", "translation-utils"))
    else {
        return;
    };
    let path = std::env::var_os("PATH").unwrap_or_default();
    if std::env::split_paths(&path).any(|folder| programs.iter().any(|name| folder.join(name).exists())) {
        return println!("not run: PLG-33, this host has one of {programs:?}");
    }
    let plugins = Plugins::new();
    let fx = plugins.fx().path("fx");
    let line = |name: &str, path: &Path| format!("{name} = \"{}\"\n", path.display());
    let lines = [line("dnd", &dnd), line("translate", &translation), line("fx", &fx)];
    let mesh = Mesh::hosting(&format!("[core]\n{}", lines.concat()));
    for (name, missing) in [("dnd", &programs[..2]), ("translate", &programs[2..])] {
        let row = settled(&mesh, name, "failed");
        let error = row["error"].as_str().unwrap();
        for program in programs {
            assert_eq!(error.contains(program), missing.contains(&program), "{error}");
        }
        assert!(!error.contains("pip3.7"), "{error}");
    }
    settled(&mesh, "fx", "running");
}

#[test]
fn plg_34_boorunator_and_another_package_of_the_same_name_do_not_meet() {
    let Some(path) = with_packages("PLG-34", "boorunator") else { return };
    let plugins = Plugins::new();
    plugins.write(
        "other",
        &[
            ("AIGIS/AIGIS.config", CORE),
            ("AIGIS/AIGIS.core", "from src import consts as other\nSKILLS = [\"other.rated\"]\n"),
            ("src/__init__.py", ""),
            (
                "src/consts.py",
                "import aigis\ndef rated(): return [\"own\", aigis.value(aigis.boorunator.ratings.SAFE)]\n",
            ),
        ],
    );
    let other = plugins.path("other");
    let lines = format!("[core]\nboorunator = \"{}\"\nother = \"{}\"\n", path.display(), other.display());
    let mesh = Mesh::hosting(&lines);
    ready(&mesh, "other");
    assert_eq!(call(&mesh, ["other.rated"]).good().json(), serde_json::json!(["own", "safe"]));
    assert_eq!(call(&mesh, ["boorunator.sanitize", r#"["Blue Sky","cat"]"#]).good().stdout, "blue_sky+cat\n");
    let (one, two) = (row(&mesh, "boorunator").unwrap(), row(&mesh, "other").unwrap());
    assert_ne!(one["pid"], two["pid"]);
    assert!(two["warnings"].to_string().contains("core host of its own"), "{two}");
}
