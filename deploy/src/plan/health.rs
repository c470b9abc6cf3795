//! How the health of a container is looked at with what its base has.

use super::Health;

/// By the logical bases: the program that looks, the script of a connection, and that of a request. A script gets the port
/// and the path as words of its own.
const PROBES: [(&[&str], &[&str], &str, &str); 3] = [
    (
        &["python"],
        &["python", "-c"],
        "import socket,sys; socket.create_connection((\"127.0.0.1\", int(sys.argv[1])), 2)",
        "import http.client,sys; c = http.client.HTTPConnection(\"127.0.0.1\", int(sys.argv[1]), timeout=2); \
         c.request(\"GET\", sys.argv[2]); sys.exit(c.getresponse().status >= 500)",
    ),
    (
        &["node"],
        &["node", "-e"],
        "require(\"net\").connect(+process.argv[1], \"127.0.0.1\", () => process.exit(0)).on(\"error\", () => process.exit(1))",
        "require(\"http\").get({ host: \"127.0.0.1\", port: process.argv[1], path: process.argv[2] }, \
         (r) => process.exit(r.statusCode < 500 ? 0 : 1)).on(\"error\", () => process.exit(1))",
    ),
    (
        &["static"],
        &["/bin/sh", "-c"],
        "wget -q -O /dev/null \"http://127.0.0.1:$0/\"",
        "wget -q -O /dev/null \"http://127.0.0.1:$0$1\"",
    ),
];
/// Where none of them is, Debian's shell can connect by itself.
const BASH: [&str; 2] = [
    "exec 3<>\"/dev/tcp/127.0.0.1/$0\"",
    "exec 3<>\"/dev/tcp/127.0.0.1/$0\" && printf 'GET %s HTTP/1.0\\r\\nHost: localhost\\r\\n\\r\\n' \"$1\" >&3 \
     && read -r _ status _ <&3 && [ \"$status\" -lt 500 ]",
];

/// How it is looked whether something listens on that port of a container on that base, and answers below 500 at the path,
/// if one is known.
pub(super) fn health(base: &str, port: u16, path: Option<&str>) -> Health {
    // What is no path of HTTP is not asked for.
    let path = path.filter(|path| path.starts_with('/') && path.chars().all(|c| c.is_ascii_graphic()));
    let probe = PROBES.iter().find(|(bases, ..)| bases.contains(&base));
    let (program, connect, request): (&[&str], _, _) = probe
        .map_or((&["bash", "-c"], BASH[0], BASH[1]), |(_, program, connect, request)| (program, *connect, *request));
    let script = if path.is_some() { request } else { connect };
    let words = program.iter().copied().chain([script]).map(str::to_owned);
    let argv = words.chain([port.to_string()]).chain(path.map(str::to_owned)).collect();
    Health { argv, interval_s: 10, timeout_s: 3, start_s: 20, retries: 3 }
}
