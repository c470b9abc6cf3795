//! Whatever is seen of processes and sockets is judged, in bounds.

use proptest::prelude::*;

use super::*;

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
    assert!(begun.elapsed() < std::time::Duration::from_secs(30), "{:?}", begun.elapsed());
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
