//! The node's half of deployments, on a real bus and the real engine: containers of projects made, replaced, judged, removed.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{SocketAddr, TcpListener},
    process::Command,
    time::{Duration, Instant},
};

use aigis_proxy::{
    Code, Name, NodeName,
    blob::{Digest, Life, Store},
    identity::{Mandate, Purpose},
    rpc,
    services::deployments::{Remote, Replica, Restart},
};
use serde_json::{Value, json};
use tokio::net::TcpStream;

use crate::images::{busybox, docker};
use stand::{Image, SOON, Stand, field, free, get, soon};

mod stand;

#[tokio::test(flavor = "multi_thread")]
async fn pkg_63_and_67_a_container_takes_the_place_of_another_or_changes_nothing() {
    let stand = Stand::start().await;
    let (one, two) = (Image::web("one"), Image::web("two"));
    let at = free();
    let first = Replica { publish: BTreeMap::from([(8000, at)]), ..stand.replica("api", &one) };
    let id = stand.replace(&first).await.unwrap();
    let healthy = stand.judged(&first.name, |judged| judged.verdict == "healthy").await;
    assert_eq!((healthy.id.as_str(), healthy.is_running, healthy.restarts), (id.as_str(), true, 0));
    assert!(healthy.checks.as_array().is_some_and(|checks| checks.iter().any(|one| one["name"] == "engine_health")));
    assert_eq!(get(at).await.unwrap(), "one");
    assert_eq!(stand.replace(&first).await.unwrap(), id, "what is as wanted stays");
    // From another package, but made from the same.
    let next = Digest::of(b"another package");
    let again = Replica { package: next, about: json!({ "package": "x" }), ..first.clone() };
    let mandate = Mandate::sign(&stand.admin, Purpose::Deployment, stand.project.clone(), Some(next));
    assert_eq!(rpc::answered(stand.client().replace(soon(), mandate, again).await).unwrap(), id);

    // What cannot be made changes nothing.
    let absent = Replica { image: Digest::of(b"no image"), ..first.clone() };
    let error = stand.replace(&absent).await.unwrap_err();
    assert!(error.code == Code::FailedPrecondition && error.message.contains("has no image"), "{error}");
    let holder = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = Replica { publish: BTreeMap::from([(8000, holder.local_addr().unwrap())]), ..first.clone() };
    let error = stand.replace(&taken).await.unwrap_err();
    assert!(error.code == Code::FailedPrecondition && error.message.contains("another program"), "{error}");
    let unknown = Replica { secret_files: ["NONE".to_owned()].into(), ..first.clone() };
    assert_eq!(stand.replace(&unknown).await.unwrap_err().code, Code::NotFound);
    let survey = stand.survey(&[]).await;
    assert_eq!(survey.containers.len(), 1);
    assert_eq!((survey.containers[0].id.as_str(), survey.containers[0].is_running), (id.as_str(), true));
    assert_eq!((survey.containers[0].made_from, survey.containers[0].image), (first.digest(), one.digest()));
    assert_eq!(get(at).await.unwrap(), "one");

    // Another image on the same port: the old one is gone, and its name, port and network are the new one's.
    let second = Replica { image: two.digest(), ..first.clone() };
    let other = stand.replace(&second).await.unwrap();
    assert_ne!(other, id);
    stand.judged(&second.name, |judged| judged.id == other && judged.verdict == "healthy").await;
    assert_eq!(get(at).await.unwrap(), "two");
    assert_eq!(docker(&["ps", "-aq", "--no-trunc", "--filter", &stand.mark()]), other);
    assert_eq!(field(&other, "{{.Name}} {{.Config.StopTimeout}}"), format!("/{} 1", second.name));

    // What is somebody else's is never touched.
    let foreign = stand.name("foreign");
    let container = docker(&["run", "-d", "--name", foreign.as_str(), busybox(), "sleep", "100"]);
    let survey = stand.survey(&[&foreign, &second.name]).await;
    assert_eq!(survey.foreign, BTreeSet::from([foreign.clone()]));
    let wanted = Replica { name: foreign.clone(), publish: BTreeMap::new(), ..first.clone() };
    let refused = stand.replace(&wanted).await;
    rpc::answered(stand.client().remove(soon(), stand.mandate(), stand.project.clone(), foreign.clone()).await)
        .unwrap();
    let runs = field(&container, "{{.State.Running}}");
    docker(&["rm", "-f", &container]);
    assert_eq!((refused.unwrap_err().code, runs.as_str()), (Code::AlreadyExists, "true"));
    stand.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pkg_63_what_ends_or_never_listens_is_judged_so() {
    let stand = Stand::start().await;
    let ends = Image::new("echo going down; exit 3", "");
    let ending = stand.replica("ends", &ends);
    stand.replace(&ending).await.unwrap();
    let judged = stand.judged(&ending.name, |judged| !judged.is_running && !judged.lines.is_empty()).await;
    assert_eq!((judged.verdict.as_str(), judged.lines), ("stopped", vec!["going down".to_owned()]));
    let looping = Replica { restart: Restart::Always, ..stand.replica("loops", &ends) };
    stand.replace(&looping).await.unwrap();
    stand.judged(&looping.name, |judged| judged.restarts > 1).await;
    // It runs, and nothing listens where its manifest says so.
    let silent = Image::new("exec sleep 1000", "EXPOSE 8000");
    // Before there is a word for it, its port says so.
    let early = stand.replica("early", &silent);
    stand.replace(&early).await.unwrap();
    let judged = stand.judged(&early.name, |judged| !judged.silent.is_empty()).await;
    assert_eq!((judged.verdict.as_str(), judged.silent), ("unknown", vec![8000]));
    let about = json!({ "container": "silent", "ports": [8000], "applications": [{ "name": "a", "type": "fastapi" }] });
    let silent = Replica { about, ..stand.replica("silent", &silent) };
    stand.replace(&silent).await.unwrap();
    let judged = stand.judged(&silent.name, |judged| judged.is_running && judged.verdict == "degraded").await;
    assert!(judged.checks.to_string().contains("fastapi"), "{judged:?}");
    let unknown = rpc::answered(stand.client().judge(soon(), stand.project.clone(), stand.name("no")).await);
    assert_eq!(unknown.unwrap_err().code, Code::NotFound);
    stand.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pkg_61_and_62_the_ci_has_its_manifest_and_only_the_listed_capabilities() {
    let stand = Stand::start().await;
    let web = Image::web("hi");
    let applications = json!([{ "name": "shop-api", "type": "fastapi" }]);
    let about = json!({ "project": stand.project, "container": "api", "package": stand.package, "ports": [8000],
        "applications": applications });
    let document = json!({ "containers": { "api": { "ports": [8000], "x-long": "v".repeat(8000) } } });
    let capabilities = Some(["monitor", "optimize", "debug"].map(str::to_owned).into());
    let api = Replica { about: about.clone(), document: document.clone(), capabilities, ..stand.replica("api", &web) };
    stand.replace(&api).await.unwrap();
    let described = stand.called(&api.ci_name, "describe").await;
    assert_eq!(described["manifest"], about);
    assert_eq!((&described["warnings"], &described["labels"]["aigis.document"]), (&json!([]), &Value::Null));
    let has = |path: &str| described["skills"].as_array().unwrap().iter().any(|skill| skill["path"] == path);
    for path in ["monitor", "optimize", "optimize.apply", "debug", "describe", "status", "health", "services"] {
        assert!(has(path), "{path}");
    }
    for path in ["message", "manifest", "start", "stop", "restart"] {
        assert!(has(path), "{path}");
    }
    for path in ["exec", "logs", "stats"] {
        assert!(!has(path), "{path}");
        assert_eq!(stand.call(&api.ci_name, path).await.unwrap_err().code, Code::NotFound, "{path}");
    }
    let part = stand.called(&api.ci_name, "manifest").await;
    assert_eq!((&part["document"], &part["manifest"]), (&document, &about));
    // A later package that holds the same keeps it, and is what is told.
    let next = Digest::of(b"another package");
    let later = Replica { package: next, about: json!({ "package": next, "ports": [8000] }), ..api.clone() };
    let mandate = Mandate::sign(&stand.admin, Purpose::Deployment, stand.project.clone(), Some(next));
    rpc::answered(stand.client().tell(soon(), mandate.clone(), later.clone()).await).unwrap();
    assert_eq!(stand.called(&api.ci_name, "describe").await["manifest"], later.about);
    assert_eq!(stand.survey(&[]).await.containers[0].package, next);
    let unlike = rpc::answered(stand.client().tell(soon(), mandate, Replica { grace_s: 9, ..later }).await);
    assert_eq!(unlike.unwrap_err().code, Code::FailedPrecondition);
    stand.judged(&api.name, |judged| judged.verdict == "healthy").await;
    let services = stand.called(&api.ci_name, "services").await;
    let evidence = json!({ "source": "manifest", "detail": "fastapi:8000/tcp" });
    let found = services["services"].as_array().unwrap();
    assert!(found.iter().any(|one| one["evidence"].as_array().unwrap().contains(&evidence)), "{services}");
    // One that no deployment has set up has no manifest, and all else.
    let plain = stand.replica("plain", &web);
    stand.replace(&Replica { document: json!({}), ..plain.clone() }).await.unwrap();
    let described = stand.called(&plain.ci_name, "describe").await;
    let paths: Vec<&str> =
        described["skills"].as_array().unwrap().iter().map(|skill| skill["path"].as_str().unwrap()).collect();
    assert!(["exec", "logs", "stats", "manifest"].iter().all(|path| paths.contains(path)), "{paths:?}");
    stand.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pkg_60_secrets_volumes_and_limits_reach_a_container_and_the_engine_shows_no_value() {
    let stand = Stand::start().await;
    let (file, variable) = ("the-file-of-30-bytes-12345678", "the-variable-of-30-bytes-8765");
    stand.keep_secret("API_KEY", file).await;
    stand.keep_secret("TOKEN", variable).await;
    let script = "cat /run/secrets/API_KEY > /data/file; printf %s \"$TOKEN\" > /data/env; ls -ln /run/secrets; \
                  mkdir w && cd w && cp /data/file index.html && exec httpd -f -p 8000";
    let image = Image::new(script, "EXPOSE 8000\nUSER 0:0\nRUN [\"mkdir\", \"/data\"]");
    let api = Replica {
        secret_files: ["API_KEY".to_owned()].into(),
        secret_env: ["TOKEN".to_owned()].into(),
        volumes: BTreeMap::from([(Name::parse("data").unwrap(), "/data".to_owned())]),
        resources: aigis_proxy::services::steps::Limits {
            memory_bytes: Some(64 * 1024 * 1024),
            cpus: Some(0.5),
            pids: Some(50),
        },
        restart: Restart::OnFailure,
        grace_s: 7,
        ..stand.replica("api", &image)
    };
    let id = stand.replace(&api).await.unwrap();
    let judged = stand.judged(&api.name, |judged| !judged.lines.is_empty()).await;
    assert!(judged.lines.iter().any(|line| line.starts_with("-r--------") && line.ends_with("API_KEY")), "{judged:?}");
    let end = Instant::now() + SOON;
    loop {
        let read = Command::new("docker").args(["exec", &id, "cat", "/data/file", "/data/env"]).output().unwrap();
        if read.stdout == format!("{file}{variable}").as_bytes() {
            break;
        }
        assert!(Instant::now() < end, "{read:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let shown = docker(&["inspect", &id]);
    assert!(!shown.contains(file) && !shown.contains(variable), "{shown}");
    let limits = "{{.HostConfig.Memory}} {{.HostConfig.NanoCpus}} {{.HostConfig.PidsLimit}} \
                  {{.HostConfig.RestartPolicy.Name}} {{.Config.StopTimeout}}";
    assert_eq!(field(&id, limits), "67108864 500000000 50 on-failure 7");
    assert_eq!(stand.survey(&[]).await.volumes, BTreeSet::from([Name::parse("data").unwrap()]));

    // A command sees the same, and is gone afterwards.
    let run = async |script: &str| {
        let command = ["sh", "-c", script].map(str::to_owned).to_vec();
        rpc::answered(stand.client().run(soon(), stand.mandate(), api.clone(), command).await).unwrap()
    };
    let ran = run("cat /data/env; echo; cat /run/secrets/API_KEY; echo; test \"$TOKEN\" && exit 7").await;
    assert_eq!(ran.exit_code, 7);
    assert!(!ran.lines.concat().contains(file) && !ran.lines.concat().contains(variable), "{ran:?}");
    assert_eq!(ran.lines.len(), 2, "they were there, and are masked: {ran:?}");
    assert_eq!(run("true").await.exit_code, 0);
    assert_eq!(docker(&["ps", "-aq", "--no-trunc", "--filter", &stand.mark()]), id);

    // Stopped it is left; removed it is gone, and its volume stays until that is to go, too.
    let (mandate, project) = (stand.mandate(), stand.project.clone());
    rpc::answered(stand.client().stop(soon(), mandate.clone(), project.clone(), api.name.clone()).await).unwrap();
    assert!(!stand.survey(&[]).await.containers[0].is_running);
    let early = rpc::answered(stand.client().clear(soon(), mandate.clone(), project.clone(), true).await);
    assert_eq!(early.unwrap_err().code, Code::FailedPrecondition);
    for _ in 0..2 {
        rpc::answered(stand.client().remove(soon(), mandate.clone(), project.clone(), api.name.clone()).await).unwrap();
    }
    let nobody = Mandate::sign(&stand.admin, Purpose::Deployment, project.clone(), None);
    rpc::answered(stand.client().clear(soon(), nobody.clone(), project.clone(), false).await).unwrap();
    let filter = format!("label=aigis.owner=deployment/{project}");
    assert_eq!(docker(&["network", "ls", "-q", "--filter", &filter]), "");
    assert_eq!(docker(&["volume", "ls", "-q", "--filter", &filter]).lines().count(), 1);
    rpc::answered(stand.client().clear(soon(), nobody, project, true).await).unwrap();
    assert_eq!(docker(&["volume", "ls", "-q", "--filter", &filter]), "");
    assert!(stand.survey(&[]).await.volumes.is_empty());
    stand.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pkg_69_an_image_is_loaded_from_the_mesh_and_has_to_be_that_one() {
    let stand = Stand::start().await;
    let image = Image::new(&format!("echo {}", stand.project), "");
    let archive = Command::new("docker").args(["save", &image.0]).output().unwrap().stdout;
    let stored = Store::new(&stand.bus).put(Life::Kept, &archive[..]).await.unwrap().blob;
    docker(&["rmi", &image.0]);
    let load = async |id: Digest| {
        let loaded = stand.client().load(soon(), stand.mandate(), stand.project.clone(), id, stored).await;
        rpc::answered(loaded)
    };
    assert_eq!(load(Digest::of(b"other")).await.unwrap_err().code, Code::DataLoss);
    docker(&["image", "inspect", &image.0]);
    docker(&["rmi", &image.0]);
    load(image.digest()).await.unwrap();
    load(image.digest()).await.unwrap();
    docker(&["image", "inspect", &image.0]);
    stand.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pkg_60_nothing_is_done_without_the_wish_of_a_person() {
    let stand = Stand::start().await;
    let image = Image::new("sleep 100", "");
    let api = stand.replica("api", &image);
    let (project, package) = (stand.project.clone(), Some(stand.package));
    let other = Digest::of(b"another package");
    for wrong in [
        Mandate::sign(&stand.admin, Purpose::App, project.clone(), package),
        Mandate::sign(&stand.admin, Purpose::Deployment, stand.name("other"), package),
        Mandate::sign(&stand.admin, Purpose::Deployment, project.clone(), Some(other)),
        Mandate::sign(&stand.admin, Purpose::Deployment, project.clone(), None),
    ] {
        let refused = rpc::answered(stand.client().replace(soon(), wrong.clone(), api.clone()).await);
        assert_eq!(refused.unwrap_err().code, Code::PermissionDenied, "{wrong:?}");
        let refused = rpc::answered(stand.client().run(soon(), wrong, api.clone(), vec!["true".to_owned()]).await);
        assert_eq!(refused.unwrap_err().code, Code::PermissionDenied);
    }
    assert_eq!(docker(&["ps", "-aq", "--filter", &stand.mark()]), "");
    stand.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pkg_60_a_container_elsewhere_is_reached_by_its_name_and_its_declared_ports_alone() {
    let mut stand = Stand::start().await;
    let (db, caller) = (Image::web("from-db"), Image::new("exec sleep 1000", ""));
    // The node is its own other one: the way is the same.
    let alpha = NodeName::parse("alpha").unwrap();
    let remote = |container: &str, port: u16| Remote {
        container: Name::parse(container).unwrap(),
        node: alpha.clone(),
        name: stand.name("db"),
        ports: vec![port],
    };
    let api = Replica { remotes: vec![remote("store", 8000), remote("hidden", 8001)], ..stand.replica("api", &caller) };
    let clash = Replica { remotes: vec![remote("other", 8000)], ..stand.replica("clash", &caller) };
    stand.replace(&stand.replica("db", &db)).await.unwrap();
    stand.judged(&stand.name("db"), |judged| judged.verdict == "healthy").await;
    let id = stand.replace(&api).await.unwrap();
    let ask = |url: &str| {
        let asked = Command::new("docker").args(["exec", &id, "timeout", "10", "wget", "-q", "-O", "-", url]).output();
        String::from_utf8(asked.unwrap().stdout).unwrap()
    };
    assert_eq!(ask("http://store:8000/").trim(), "from-db");
    assert_eq!(ask("http://db:8000/").trim(), "from-db", "beside it by its name");
    assert_eq!(ask("http://hidden:8001/"), "", "no port of its manifest");
    let error = stand.replace(&clash).await.unwrap_err();
    assert!(["store", "other", "8000"].iter().all(|word| error.message.contains(word)), "{error}");
    // From outside of the project's network nobody is let in.
    let gateway = field(&id, "{{range .NetworkSettings.Networks}}{{.Gateway}}{{end}}");
    let at: SocketAddr = format!("{gateway}:8000").parse().unwrap();
    assert!(get(at).await.map_or(true, |answer| answer.is_empty()), "this host is no container of the project");
    stand.restart().await;
    let end = Instant::now() + SOON;
    while ask("http://store:8000/").trim() != "from-db" {
        assert!(Instant::now() < end, "it is not reached again");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let (mandate, project) = (stand.mandate(), stand.project.clone());
    rpc::answered(stand.client().remove(soon(), mandate, project, api.name.clone()).await).unwrap();
    let end = Instant::now() + SOON;
    while TcpStream::connect(at).await.is_ok() {
        assert!(Instant::now() < end, "nobody needs it any more");
    }
    stand.stop().await;
}
