use super::*;

mod hostile;
mod table;

/// A process as the node reads it on its own host.
fn exact(pid: u32, executable: &str, args: &[&str]) -> Process {
    Process {
        pid,
        ppid: 1,
        user: "root".to_owned(),
        args: args.iter().map(|&arg| arg.to_owned()).collect(),
        exact_argv: true,
        executable: (!executable.is_empty()).then(|| executable.to_owned()),
    }
}

/// A process of which only the title is known, as of a remote engine.
fn titled(pid: u32, title: &str) -> Process {
    Process { exact_argv: false, ..exact(pid, "", &title.split(' ').collect::<Vec<_>>()) }
}

fn text(found: &Services, container_running: bool) -> String {
    super::text(&found.services, &found.unknown, container_running)
}

/// What a line of a status says of the services that run.
fn running(found: &Services) -> Option<String> {
    summary(found.services.iter().filter(|service| service.running).map(|service| (&*service.name, &*service.ports)))
}

fn listens(port: u16, pids: &[u32]) -> Socket {
    Socket { port, protocol: Protocol::Tcp, address: "0.0.0.0".to_owned(), pids: pids.to_vec() }
}

fn seen(processes: Vec<Process>, sockets: Vec<Socket>) -> Services {
    judge(&Evidence { processes: Some(processes), sockets: Some(sockets), ..Evidence::default() })
}

fn names(services: &Services) -> Vec<&str> {
    services.services.iter().map(|service| service.name.as_str()).collect()
}

fn unknown(services: &Services) -> Vec<&str> {
    services.unknown.iter().map(|unknown| unknown.command.as_deref().unwrap_or("-")).collect()
}

/// `name role detail`, or `?command`, or nothing, of one title.
fn of(title: &str) -> String {
    shown(&seen(vec![titled(7, title)], Vec::new()))
}

fn shown(services: &Services) -> String {
    let mut parts: Vec<String> = services
        .services
        .iter()
        .map(|service| {
            let detail = service.detail.as_deref().map_or_else(String::new, |detail| format!(" {detail}"));
            format!("{} {}{detail}", service.name, service.role)
        })
        .collect();
    parts.extend(unknown(services).iter().map(|command| format!("?{command}")));
    parts.join("; ")
}

#[test]
fn launchers_supervisors_and_shells_are_neither_service_nor_unknown() {
    for title in [
        "tini -- nginx",
        "dumb-init node x.js",
        "/sbin/docker-init -- /entry.sh",
        "catatonit -P",
        "gosu redis redis-server",
        "npm start",
        "node /usr/bin/npm start",
        "node /usr/lib/node_modules/npm/bin/npm-cli.js run x",
        "yarn start",
        "node /usr/bin/nodemon x.js",
        "/bin/sh /usr/bin/mysqld_safe",
        "mysqld_safe",
        "/usr/bin/python3 /usr/bin/supervisord -n",
        "s6-svscan /run",
        "s6-supervise nginx",
        "runsv nginx",
        "runsvdir -P /etc/service",
        "/lib/systemd/systemd --user",
        "systemd-journald",
        "/bin/bash -c while true; do nginx; done",
        "-bash",
        "ash",
        "[nginx] <defunct>",
    ] {
        assert_eq!(of(title), "", "{title}");
    }
    assert_eq!(shown(&seen(vec![exact(1, "/usr/lib/systemd/systemd", &["/sbin/init"])], Vec::new())), "");
    assert_eq!(shown(&seen(vec![exact(9, "", &[])], Vec::new())), "", "a zombie has neither argv nor executable");
}

#[test]
fn ci_10_a_static_program_is_unknown_with_its_port() {
    let services = seen(vec![exact(12, "/srv", &["/srv"])], vec![listens(9000, &[12])]);
    assert!(services.services.is_empty() && services.complete);
    assert_eq!(services.unknown[0].command.as_deref(), Some("srv"));
    assert_eq!(services.unknown[0].ports[0].port, 9000);
    assert_eq!(text(&services, true), "unknown: srv (pid 12, 9000/tcp)");
}

#[test]
fn ci_34_three_under_one_supervisor() {
    let python = "/usr/bin/python3.11";
    let services = seen(
        vec![
            exact(1, python, &["/usr/bin/python3", "/usr/bin/supervisord", "-n"]),
            exact(8, "/usr/sbin/nginx", &["nginx: master process /usr/sbin/nginx -g daemon off;"]),
            exact(9, "/usr/sbin/nginx", &["nginx: worker process"]),
            exact(10, "/usr/bin/redis-check-rdb", &["/usr/bin/redis-server *:6379"]),
            exact(11, python, &["/usr/bin/python3", "/usr/bin/gunicorn", "-b", "0.0.0.0:8000", "app:app"]),
            exact(12, python, &["/usr/bin/python3", "/usr/bin/gunicorn", "-b", "0.0.0.0:8000", "app:app"]),
        ],
        vec![listens(80, &[8, 9]), listens(6379, &[10]), listens(8000, &[11, 12])],
    );
    assert_eq!(names(&services), ["gunicorn", "nginx", "redis"]);
    assert!(services.unknown.is_empty() && services.complete, "{services:?}");
    let ports: Vec<u16> = services.services.iter().map(|service| service.ports[0].port).collect();
    assert_eq!(ports, [8000, 80, 6379]);
    let pids: Vec<&[u32]> = services.services.iter().map(|service| service.pids.as_slice()).collect();
    assert_eq!(pids, [&[11, 12][..], &[8, 9], &[10]]);
    assert!(services.services.iter().all(|service| service.running && service.confidence == Confidence::Certain));
    assert_eq!(
        text(&services, true),
        "gunicorn app 8000/tcp certain (process, socket)\nnginx web 80/tcp certain (process, executable, socket)\n\
         redis cache 6379/tcp certain (process, executable, socket)"
    );
}

#[test]
fn ci_35_an_image_alone_is_no_service() {
    let services = judge(&Evidence {
        processes: Some(vec![exact(1, "/bin/busybox", &["sleep", "1000"])]),
        sockets: Some(Vec::new()),
        exposed: vec![(5432, Protocol::Tcp)],
        image: "postgres:16".to_owned(),
        ..Evidence::default()
    });
    assert!(services.services.is_empty(), "{services:?}");
    assert_eq!(unknown(&services), ["sleep"]);
}

#[test]
fn ci_36_names_that_only_contain_a_service() {
    let services = seen(
        vec![
            exact(5, "/node_exporter", &["/node_exporter"]),
            exact(6, "/usr/bin/python3.11", &["python3", "nginx_log_parser.py"]),
            exact(7, "/usr/bin/tail", &["tail", "-f", "/var/log/nginx/access.log"]),
        ],
        Vec::new(),
    );
    assert_eq!(shown(&services), "node_exporter metrics; python runtime nginx_log_parser.py; ?tail");
}

#[test]
fn ci_37_an_executable_contradicts_a_borrowed_name() {
    let services = seen(
        vec![
            exact(5, "/usr/bin/sleep", &["redis-server", "1000"]),
            exact(6, "/bin/busybox", &["httpd", "-f", "-p", "8080"]),
            exact(7, "/bin/busybox", &["busybox", "httpd", "-f"]),
            exact(8, "/usr/bin/bash", &["nginx"]),
            exact(9, "/bin/busybox", &["postgres"]),
            exact(10, "/usr/bin/coreutils", &["/usr/bin/coreutils", "--coreutils-prog-shebang=tail", "-f", "x"]),
            exact(11, "/bin/busybox", &["sh", "/entry.sh"]),
            exact(12, "/bin/dash", &["-sh"]),
        ],
        vec![listens(8080, &[6])],
    );
    assert_eq!(shown(&services), "busybox-httpd web; ?bash; ?busybox; ?sleep; ?tail");
}

#[test]
fn executables_tell_kin_apart() {
    let one = |executable: &str, args: &[&str]| shown(&seen(vec![exact(3, executable, args)], Vec::new()));
    assert_eq!(one("/usr/sbin/mariadbd (deleted)", &["/usr/sbin/mysqld"]), "mariadb database");
    assert_eq!(one("/usr/sbin/mysqld", &["mysqld"]), "mysql database");
    assert_eq!(one("/usr/bin/valkey-server", &["redis-server *:6379"]), "valkey cache");
    assert_eq!(one("/usr/sbin/httpd", &["httpd", "-p", "x"]), "apache web");
    assert_eq!(one("/opt/My App/srv 1", &["/opt/My App/srv 1"]), "?srv 1");
    assert_eq!(one("/opt/srv", &[]), "?srv");
}

#[test]
fn helpers_of_multiprocessing_belong_to_their_parent() {
    let helper = ["python3", "-c", "from multiprocessing.spawn import spawn_main; spawn_main()"];
    let mut child = exact(8, "", &helper);
    child.ppid = 7;
    let mut grandchild = exact(9, "", &helper);
    grandchild.ppid = 8;
    let server = exact(7, "", &["python3", "/usr/bin/uvicorn", "main:app", "--workers", "2"]);
    let services = seen(vec![grandchild.clone(), child.clone(), server], vec![listens(8000, &[8, 9])]);
    assert_eq!(names(&services), ["uvicorn"]);
    assert_eq!(services.services[0].pids, [7, 8, 9]);
    assert!(services.services[0].evidence[0].detail.ends_with("(pid 7) and 2 more"), "{services:?}");
    child.ppid = 9;
    grandchild.ppid = 8;
    assert_eq!(names(&seen(vec![child, grandchild], Vec::new())), ["python"], "a circle of parents ends");
}

#[test]
fn confidence_counts_the_sources() {
    let likely = judge(&Evidence {
        processes: Some(vec![titled(4, "redis-server *:6379")]),
        sockets: Some(Vec::new()),
        image: "example/redis-tools".to_owned(),
        ..Evidence::default()
    });
    assert_eq!(likely.services[0].confidence, Confidence::Likely);
    for image in ["redis", "redis:7", "docker.io/library/redis:7@sha256:00", "localhost:5000/redis"] {
        let certain = judge(&Evidence {
            processes: Some(vec![titled(4, "redis-server *:6379")]),
            image: image.to_owned(),
            ..Evidence::default()
        });
        assert_eq!(certain.services[0].confidence, Confidence::Certain, "{image}");
    }
}

#[test]
fn ports_go_to_their_owner_and_else_to_the_only_service() {
    let nginx = || titled(4, "nginx: master process nginx");
    let remote = judge(&Evidence {
        processes: Some(vec![nginx()]),
        sockets: None,
        exposed: vec![(80, Protocol::Tcp)],
        published: vec![Published { port: 80, protocol: Protocol::Tcp, host: "0.0.0.0:8080".to_owned() }],
        ..Evidence::default()
    });
    let port = &remote.services[0].ports[0];
    assert_eq!((port.port, port.address.as_deref()), (80, None));
    assert_eq!(port.published, ["0.0.0.0:8080"]);
    assert_eq!(remote.services[0].confidence, Confidence::Likely, "an exposed port proves nothing");
    assert!(!remote.complete && remote.notes.len() == 1);
    assert_eq!(running(&remote).as_deref(), Some("nginx (80/tcp -> 0.0.0.0:8080)"));

    let unowned = seen(vec![nginx()], vec![listens(80, &[])]);
    assert_eq!(unowned.services[0].ports.len(), 1);
    assert!(!unowned.complete);
    let two = seen(vec![nginx(), titled(5, "memcached")], vec![listens(80, &[])]);
    assert!(two.services.iter().all(|service| service.ports.is_empty()));
    assert_eq!((unknown(&two), two.unknown[0].ports[0].port), (vec!["-"], 80));

    let both = |address: &str| Socket { address: address.to_owned(), ..listens(80, &[4]) };
    let services = seen(vec![nginx()], vec![both("::"), both("0.0.0.0"), both("127.0.0.1"), listens(99, &[4000])]);
    assert_eq!(services.services[0].ports.len(), 1, "another container's socket is not listed");
    assert_eq!(services.services[0].ports[0].address.as_deref(), Some("0.0.0.0"));

    let host = judge(&Evidence {
        processes: Some(vec![nginx()]),
        sockets: Some(vec![listens(22, &[]), listens(23, &[900]), listens(80, &[4])]),
        exposed: vec![(99, Protocol::Tcp)],
        host_network: true,
        ..Evidence::default()
    });
    assert_eq!(host.services[0].ports.iter().map(|port| port.port).collect::<Vec<_>>(), [80]);
    assert!(host.unknown.is_empty() && host.complete);

    let supervised = seen(vec![titled(1, "supervisord -n"), nginx()], vec![listens(9001, &[1]), listens(80, &[1, 4])]);
    assert_eq!(shown(&supervised), "nginx web; ?supervisord");
    assert_eq!(supervised.services[0].ports.len(), 1);
}

#[test]
fn declared_services_are_joined_to_what_is_seen() {
    let declared = |name: &str, port| DeclaredService {
        name: name.to_owned(),
        port,
        protocol: Protocol::Tcp,
        source: Source::Label,
    };
    let services = judge(&Evidence {
        processes: Some(vec![
            exact(4, "/usr/sbin/nginx", &["nginx"]),
            exact(5, "/srv", &["/srv"]),
            exact(6, "/worker", &["/worker"]),
            exact(7, "", &["python3", "app.py"]),
        ]),
        sockets: Some(vec![listens(9000, &[5]), listens(8000, &[7])]),
        declared: vec![
            declared("nginx", None),
            declared("api", Some(9000)),
            declared("worker", None),
            declared("shop", Some(8000)),
            declared("redis", Some(6379)),
            declared("other", None),
        ],
        ..Evidence::default()
    });
    assert_eq!(names(&services), ["api", "nginx", "other", "python", "redis", "shop", "worker"]);
    let running: Vec<bool> = services.services.iter().map(|service| service.running).collect();
    assert_eq!(running, [true, true, false, true, false, true, true]);
    let api = &services.services[0];
    assert_eq!((api.detail.as_deref(), api.pids.as_slice(), api.ports[0].port), (Some("srv"), &[5][..], 9000));
    assert_eq!(services.services[4].role, "cache");
    assert!(services.services[4].ports.is_empty() && services.unknown.is_empty(), "{services:?}");
    let lines = text(&services, true);
    assert!(lines.contains("\nother unknown declared, not running (label)\n"), "{lines}");
    assert!(lines.contains("\nshop runtime 8000/tcp certain (process, socket, label)\n"), "{lines}");
}

#[test]
fn what_cannot_be_read_is_said() {
    let services = judge(&Evidence { sockets: Some(vec![listens(80, &[3])]), ..Evidence::default() });
    assert!(!services.complete && services.notes.len() == 1 && services.services.is_empty());
    assert_eq!(text(&services, true), "unknown: owner not readable (80/tcp)");
    let none = seen(Vec::new(), Vec::new());
    assert!(none.complete);
    assert_eq!((text(&none, false).as_str(), text(&none, true).as_str()), ("no process", "no known service"));
    assert_eq!(running(&none), None);
}

#[test]
fn ci_43_secrets_do_not_show_in_evidence() {
    let services = seen(
        vec![
            exact(3, "/usr/bin/redis-server", &["redis-server", "--requirepass", "NONCE"]),
            exact(4, "", &["node", "--token=NONCE", "x.js", "--db", "postgres://a:NONCE@h/"]),
            titled(5, "gunicorn a:b --api-key NONCE"),
        ],
        Vec::new(),
    );
    assert_eq!(services.services.len(), 3);
    assert!(!serde_json::to_string(&services).unwrap().contains("NONCE"));
}

#[test]
fn the_json_has_the_fields_of_the_services_skill() {
    let services = seen(vec![exact(3, "/nginx", &["nginx"]), exact(4, "/srv", &["/srv"])], vec![listens(80, &[3])]);
    let json = serde_json::to_value(&services).unwrap();
    assert_eq!(
        json,
        serde_json::json!({
            "services": [{"name": "nginx", "role": "web", "detail": null, "running": true, "confidence": "certain", "pids": [3],
                "ports": [{"port": 80, "protocol": "tcp", "address": "0.0.0.0", "published": []}],
                "evidence": [{"source": "process", "detail": "nginx (pid 3)"}, {"source": "executable", "detail": "/nginx"},
                    {"source": "socket", "detail": "80/tcp on 0.0.0.0 (pid 3)"}]}],
            "unknown": [{"command": "srv", "pids": [4], "ports": []}], "complete": true, "notes": []
        })
    );
    let schema = serde_json::to_value(schemars::schema_for!(Services)).unwrap();
    assert_eq!(schema["required"], serde_json::json!(["services", "unknown", "complete", "notes"]));
}
