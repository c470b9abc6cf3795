//! Seeing the node from outside: `/metrics`.

use std::{
    collections::{BTreeMap, HashSet},
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

use aigis_tests::{Mesh, until};

#[test]
fn metrics_are_served_when_asked_and_count_what_happens() {
    let mesh = Mesh::up();
    let _down = mesh.aish(["down"]).good();
    let up = ["up", "--detach", "--name", "alpha", "--listen", "127.0.0.1:0", "--metrics"];
    let refused = mesh.aish(up.iter().chain(&["0.0.0.0:0"])).failed(2);
    assert!(refused.stderr.contains("127.0.0.1:PORT"), "{refused:?}");
    let _up = mesh.aish(up.iter().chain(&["127.0.0.1:0"])).good();
    let status = mesh.aish(["call", "alpha.status", "--json"]).good().json();
    let address =
        status["metrics"].as_str().unwrap().strip_prefix("http://").unwrap().strip_suffix("/metrics").unwrap();

    let before = figure(address, "aigis_requests_total");
    let _failed = mesh.aish(["call", "alpha.nosuch"]).failed(65);
    let _status = mesh.aish(["alpha", "status"]).good();
    assert!(figure(address, "aigis_requests_total") >= before + 2);
    assert!(figure(address, "aigis_request_errors_total") >= 1);
    assert_eq!((figure(address, "aigis_engine_reachable"), figure(address, "aigis_bus_connected")), (1, 1));
    // Other tests' containers come and go on the same engine: both are read until nothing came between.
    until("as many are counted as are listed", Duration::from_secs(60), || {
        (u64::try_from(mesh.rows(&[]).len()).unwrap() == figure(address, "aigis_cis")).then_some(())
    });
    assert!(get(address, "/else").starts_with("HTTP/1.1 404"));
    let families = parsed(get(address, "/metrics").split_once("\r\n\r\n").unwrap().1);
    assert_eq!(families["aigis_requests"], "counter");
    assert_eq!(families["aigis_cis"], "gauge");
}

/// Reads the text format of OpenMetrics 1.0 as strictly as it is written, and gives each family's type.
fn parsed(text: &str) -> BTreeMap<String, String> {
    let name = |name: &str| {
        let first = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_' || c == ':');
        first && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == ':')
    };
    let mut families: BTreeMap<String, String> = BTreeMap::new();
    let (mut current, mut seen, mut ended) = (String::new(), HashSet::new(), false);
    for line in text.strip_suffix('\n').unwrap().split('\n') {
        assert!(!ended && !line.is_empty(), "{line:?} in {text}");
        if line == "# EOF" {
            ended = true;
        } else if let Some(described) = line.strip_prefix("# ") {
            let mut words = described.splitn(3, ' ');
            let (keyword, family, rest) = (words.next().unwrap(), words.next().unwrap(), words.next().unwrap());
            assert!(matches!(keyword, "TYPE" | "HELP" | "UNIT") && name(family) && !rest.is_empty(), "{line}");
            if family != current {
                assert!(!families.contains_key(family), "the lines of {family} stand apart");
                current = family.to_owned();
                families.insert(current.clone(), "unknown".to_owned());
            }
            if keyword == "TYPE" {
                assert!(["counter", "gauge", "info", "histogram", "summary", "stateset"].contains(&rest), "{line}");
                families.insert(current.clone(), rest.to_owned());
            }
        } else {
            let (series, value) = line.rsplit_once(' ').unwrap();
            let (metric, labels) = series.split_once('{').unwrap_or((series, "}"));
            assert!(name(metric) && metric.starts_with(&current), "{line} below {current}");
            if families[&current] == "counter" {
                assert!(metric.ends_with("_total") && value.parse::<f64>().unwrap() >= 0.0, "{line}");
            }
            assert!(value.parse::<f64>().unwrap().is_finite(), "{line}");
            let labels = labels.strip_suffix('}').unwrap();
            for label in labels.split(',').filter(|label| !label.is_empty()) {
                let (key, quoted) = label.split_once('=').unwrap();
                assert!(name(key) && quoted.len() >= 2 && quoted.starts_with('"') && quoted.ends_with('"'), "{line}");
            }
            assert!(seen.insert(series.to_owned()), "{series} twice");
        }
    }
    assert!(ended && !families.is_empty(), "{text}");
    families
}

fn get(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

/// The one figure of that name.
fn figure(address: &str, name: &str) -> u64 {
    let text = get(address, "/metrics");
    assert!(text.starts_with("HTTP/1.1 200") && text.ends_with("# EOF\n"), "{text}");
    let prefix = format!("{name}{{mesh=\"main\",node=\"alpha\"}} ");
    let line = text.lines().find_map(|line| line.strip_prefix(&prefix));
    line.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("no {name} in {text}"))
}
