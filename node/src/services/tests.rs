use proptest::prelude::*;

use super::*;

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
fn every_row_of_the_table_knows_its_programs() {
    for (title, expected) in [
        ("nginx: master process nginx -g daemon off;", "nginx web"),
        ("nginx: worker process", "nginx web"),
        ("/usr/sbin/nginx -g daemon off;", "nginx web"),
        ("/usr/sbin/apache2 -k start", "apache web"),
        ("httpd -DFOREGROUND", "apache web"),
        ("httpd -f /etc/httpd.conf", "apache web"),
        ("caddy run --config /etc/caddy/Caddyfile", "caddy web"),
        ("caddy file-server", "caddy web"),
        ("caddy reverse-proxy --to :9000", "caddy web"),
        ("haproxy -W -db", "haproxy proxy"),
        ("traefik", "traefik proxy"),
        ("envoy -c /etc/envoy.yaml", "envoy proxy"),
        ("node /app/server.js", "node app server.js"),
        ("nodejs --require dotenv/config dist/main.js", "node app main.js"),
        ("node -e require('http')", "node app -e"),
        ("/usr/bin/python3 /usr/bin/gunicorn -w 2 shop.wsgi:app", "gunicorn app shop.wsgi:app"),
        ("gunicorn: master [shop.wsgi]", "gunicorn app shop.wsgi"),
        ("gunicorn: worker [shop.wsgi]", "gunicorn app shop.wsgi"),
        ("python3 -m gunicorn a:b -k uvicorn.workers.UvicornWorker", "gunicorn app uvicorn.workers.UvicornWorker"),
        ("gunicorn --worker-class=uvicorn.workers.UvicornWorker a:b", "gunicorn app uvicorn.workers.UvicornWorker"),
        ("python3 -m uvicorn main:app --host 0.0.0.0", "uvicorn app main:app"),
        ("/opt/venv/bin/python /opt/venv/bin/hypercorn main:app", "hypercorn app main:app"),
        ("/usr/bin/python3 /usr/bin/daphne shop.asgi:application", "daphne app shop.asgi:application"),
        ("python3 -m flask run --port 80", "flask app"),
        ("/usr/bin/python3 /usr/bin/flask --app x run", "flask app"),
        ("python manage.py runserver 0.0.0.0:8000", "django app"),
        ("python /usr/bin/django-admin runserver", "django app"),
        ("python3 /usr/bin/celery -A proj worker -l info", "celery worker"),
        ("python3 -m celery -A proj beat", "celery-beat worker"),
        ("[celeryd: celery@host:MainProcess] -active- (-A proj worker)", "celery worker"),
        ("[celery beat] -A proj", "celery-beat worker"),
        ("python3 /usr/bin/rq worker high", "rq worker"),
        ("python3 /usr/bin/celery -A proj flower", "flower app"),
        ("sidekiq 7.1.0 app [0 of 5 busy]", "sidekiq worker"),
        ("ruby /usr/bin/sidekiq -c 5", "sidekiq worker"),
        ("resque-2.0.0: Waiting for *", "resque worker"),
        ("ruby3.1 /usr/bin/resque", "resque worker"),
        ("puma 6.4.0 (tcp://0.0.0.0:3000) [app]", "puma app"),
        ("puma: cluster worker 0: 7 [app]", "puma app"),
        ("ruby /usr/bin/bundle exec puma -C x", "puma app"),
        ("bundle exec sidekiq", "sidekiq worker"),
        ("unicorn master -c config.rb", "unicorn app"),
        ("ruby bin/rails server -b 0.0.0.0", "rails app"),
        ("ruby bin/rails s", "rails app"),
        ("python3 -u -W ignore /srv/job.py --x", "python runtime job.py"),
        ("python3 -um http.server 80", "python runtime http.server"),
        ("python3.11 -c import time", "python runtime -c"),
        ("pypy3 x.py", "python runtime x.py"),
        ("ruby -e sleep", "ruby runtime -e"),
        ("ruby -I lib app.rb", "ruby runtime app.rb"),
        ("php artisan queue:work", "php runtime artisan"),
        ("php8.2 -d a=b script.php", "php runtime script.php"),
        ("perl -w /srv/x.pl", "perl runtime x.pl"),
        ("perl -ne print", "perl runtime -e"),
        ("php-fpm: master process (/etc/php/fpm.conf)", "php-fpm app"),
        ("php-fpm: pool www", "php-fpm app"),
        ("php-fpm8.2 -F", "php-fpm app"),
        ("java -Xmx1g -cp /x/bootstrap.jar org.apache.catalina.startup.Bootstrap start", "tomcat app"),
        ("java -cp a:b kafka.Kafka server.properties", "kafka queue"),
        ("java -cp a org.apache.zookeeper.server.quorum.QuorumPeerMain zoo.cfg", "zookeeper queue"),
        (
            "java --add-modules=x -m org.elasticsearch.server/org.elasticsearch.bootstrap.Elasticsearch",
            "elasticsearch database",
        ),
        ("java -jar /srv/shop.jar --port 80", "java runtime shop.jar"),
        ("java -cp x com.shop.Main", "java runtime com.shop.Main"),
        ("/usr/lib/postgresql/15/bin/postgres -D /data", "postgres database"),
        ("postgres: 15/main: checkpointer", "postgres database"),
        ("postmaster -D /data", "postgres database"),
        ("pgbouncer /etc/pgbouncer.ini", "pgbouncer proxy"),
        ("/usr/sbin/mysqld --user=mysql", "mysql database"),
        ("mariadbd", "mariadb database"),
        ("redis-server *:6379", "redis cache"),
        ("redis-server *:26379 [sentinel]", "redis-sentinel cache"),
        ("redis-server /etc/s.conf --sentinel", "redis-sentinel cache"),
        ("valkey-server *:6379", "valkey cache"),
        ("memcached -m 64", "memcached cache"),
        ("mongod --bind_ip_all", "mongodb database"),
        ("mongos --configdb x", "mongos proxy"),
        ("/usr/lib/erlang/bin/beam.smp -W w -- -noinput -s rabbit boot", "rabbitmq queue"),
        ("beam.smp -- -noshell -s app", "erlang runtime"),
        ("nats-server -js", "nats queue"),
        ("/bin/node_exporter --web.listen-address=:9100", "node_exporter metrics"),
        ("redis_exporter", "redis_exporter metrics"),
        ("nginx-prometheus-exporter", "nginx-prometheus-exporter metrics"),
        ("-nginx", "nginx web"),
    ] {
        assert_eq!(of(title), expected, "{title}");
    }
}

#[test]
fn every_row_of_the_table_knows_what_it_is_not() {
    for (title, expected) in [
        ("python3 nginx_log_parser.py", "python runtime nginx_log_parser.py"),
        ("tail -f /var/log/nginx/access.log", "?tail"),
        ("nginx_exporter", "nginx_exporter metrics"),
        ("busybox httpd -f", "busybox-httpd web"),
        ("httpd -f -p 8080", "busybox-httpd web"),
        ("rotatelogs /x", "?rotatelogs"),
        ("htcacheclean -d 30", "?htcacheclean"),
        ("caddy fmt", "?caddy"),
        ("haproxy_exporter", "haproxy_exporter metrics"),
        ("/bin/sh /home/node/run.sh", ""),
        ("/home/node/run.sh", "?run.sh"),
        ("node --version", "?node"),
        ("python3 imports_gunicorn.py", "python runtime imports_gunicorn.py"),
        ("python manage.py migrate", "python runtime manage.py"),
        ("python3 /usr/bin/celery -A worker inspect ping", "python runtime celery"),
        ("celery inspect", "?celery"),
        ("rq info", "?rq"),
        ("sidekiqmon", "?sidekiqmon"),
        ("ruby bin/rails console", "ruby runtime rails"),
        ("php-fpm_exporter server", "php-fpm_exporter metrics"),
        ("php php-fpm.php", "php runtime php-fpm.php"),
        ("java -version", "?java"),
        ("java -cp x kafka.admin.TopicCommand", "java runtime kafka.admin.TopicCommand"),
        ("javac X.java", "?javac"),
        ("keytool -list", "?keytool"),
        ("psql -h db", "?psql"),
        ("pg_dump x", "?pg_dump"),
        ("mysql -u root", "?mysql"),
        ("mysqldump x", "?mysqldump"),
        ("mysqld_exporter", "mysqld_exporter metrics"),
        ("redis-cli monitor", "?redis-cli"),
        ("mongosh", "?mongosh"),
        ("mongodump", "?mongodump"),
        ("/bin/sh /usr/sbin/rabbitmqctl status", ""),
        ("nats sub x", "?nats"),
        ("Nginx", "?Nginx"),
        ("my-nginx", "?my-nginx"),
        ("python3", "?python3"),
    ] {
        assert_eq!(of(title), expected, "{title}");
    }
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

#[test]
fn hostile_arguments_are_judged_in_linear_time() {
    let hostile = [
        "://".repeat(100_000),
        "key:".repeat(50_000),
        "x://a:b@c ".repeat(20_000),
        "--token ".repeat(20_000),
        "[".repeat(100_000),
    ];
    let deep: Vec<&str> = ["bundle", "exec"].into_iter().cycle().take(50_000).collect();
    let mut processes: Vec<Process> =
        hostile.iter().zip(10..).map(|(arg, pid)| exact(pid, "", &["srv", arg])).collect();
    processes.push(exact(2, "", &deep));
    let begun = std::time::Instant::now();
    let services = seen(processes, Vec::new());
    assert_eq!(unknown(&services), ["srv"]);
    assert!(begun.elapsed() < std::time::Duration::from_secs(5), "{:?}", begun.elapsed());
    assert!(serde_json::to_string(&services).unwrap().len() < 4096);
}

fn word() -> impl Strategy<Value = String> {
    let words = [
        "nginx",
        "nginx:",
        "python3",
        "-m",
        "-c",
        "-e",
        "gunicorn",
        "bundle",
        "exec",
        "java",
        "-jar",
        "-cp",
        "node",
        "ruby",
        "supervisord",
        "tini",
        "--",
        "-",
        ":",
        "/",
        "",
        " ",
        "redis-server",
        "busybox",
        "httpd",
        "-f",
        "[celery",
        "beat]",
        "from multiprocessing.spawn",
        "celery",
        "worker",
        "x_exporter",
        "sh",
        "srv",
        "--token",
        "kafka.Kafka",
        "\u{1b}",
    ];
    prop_oneof![4 => proptest::sample::select(words.to_vec()).prop_map(str::to_owned), 1 => "\\PC{0,12}"]
}

fn process() -> impl Strategy<Value = Process> {
    let executables =
        ["/bin/busybox", "/bin/sh", "/usr/bin/sleep", "/usr/bin/python3.11", "/usr/sbin/nginx", "/srv", "/", ""];
    let executable = proptest::option::of(proptest::sample::select(executables.to_vec()).prop_map(str::to_owned));
    (0u32..12, 0u32..12, proptest::collection::vec(word(), 0..6), any::<bool>(), executable).prop_map(
        |(pid, ppid, args, exact_argv, executable)| Process {
            pid,
            ppid,
            user: String::new(),
            args,
            exact_argv,
            executable,
        },
    )
}

fn protocol() -> impl Strategy<Value = Protocol> {
    proptest::sample::select(vec![Protocol::Tcp, Protocol::Udp])
}

fn evidence() -> impl Strategy<Value = Evidence> {
    let socket = (1u16..9, protocol(), "0\\.0\\.0\\.0|::|127\\.0\\.0\\.1", proptest::collection::vec(0u32..14, 0..3))
        .prop_map(|(port, protocol, address, pids)| Socket { port, protocol, address, pids });
    let declared = ("nginx|srv|api|redis", proptest::option::of(1u16..9), protocol())
        .prop_map(|(name, port, protocol)| DeclaredService { name, port, protocol, source: Source::Label });
    let published =
        (1u16..9, protocol(), "[a-z]{1,4}").prop_map(|(port, protocol, host)| Published { port, protocol, host });
    (
        proptest::option::of(proptest::collection::vec(process(), 0..8)),
        proptest::option::of(proptest::collection::vec(socket, 0..6)),
        proptest::collection::vec((1u16..9, protocol()), 0..3),
        proptest::collection::vec(published, 0..3),
        "nginx|redis:7|",
        proptest::collection::vec(declared, 0..4),
        any::<bool>(),
    )
        .prop_map(|(processes, sockets, exposed, published, image, declared, host_network)| Evidence {
            processes,
            sockets,
            exposed,
            published,
            image,
            declared,
            host_network,
        })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_seen_is_judged(evidence in evidence()) {
        let services = judge(&evidence);
        prop_assert_eq!(&services, &judge(&evidence));
        let pids: Vec<u32> = evidence.processes.iter().flatten().map(|process| process.pid).collect();
        for service in &services.services {
            prop_assert_eq!(service.running, !service.pids.is_empty());
            prop_assert!(service.pids.iter().all(|pid| pids.contains(pid)));
            prop_assert!(!service.evidence.is_empty() && !service.role.is_empty());
            let process = service.evidence.iter().any(|line| line.source == Source::Process);
            prop_assert_eq!(service.running, process, "{:?}", service);
            prop_assert_eq!(service.running, service.confidence != Confidence::Declared);
            prop_assert!(service.running || service.ports.is_empty());
        }
        for unknown in &services.unknown {
            prop_assert!(unknown.pids.iter().all(|pid| pids.contains(pid)));
        }
        prop_assert!(names(&services).is_sorted());
        prop_assert!(!text(&services, true).contains(char::from(0x1b)));
        if evidence.processes.is_none() || evidence.sockets.is_none() {
            prop_assert!(!services.complete && !services.notes.is_empty());
        }
    }
}
