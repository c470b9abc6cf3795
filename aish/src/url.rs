//! Addresses of buses, as they are given.

use crate::exit::Failure;

/// The environment variable that names the bus.
pub(crate) const VARIABLE: &str = "AIGIS_BUS";

/// Checks that an address reads `nats://HOST:PORT` or `tls://HOST:PORT`; of a cluster there may be one for each server,
/// with commas between. Its text is never shown where it could hold
/// a password.
///
/// # Errors
///
/// A usage error that names where the address came from.
pub(crate) fn check(origin: &str, text: &str) -> Result<String, Failure> {
    let checked: Result<Vec<String>, Failure> = text.split(',').map(|one| check_one(origin, one.trim())).collect();
    Ok(checked?.join(","))
}

/// The first of the addresses of a bus.
pub(crate) fn first(bus: &str) -> &str {
    bus.split(',').next().unwrap_or(bus)
}

fn check_one(origin: &str, text: &str) -> Result<String, Failure> {
    let wrong = |why: &str| {
        Failure::usage(format!("{origin} is no address of a bus: {why}"), "write nats://HOST:PORT or tls://HOST:PORT")
    };
    let Some((scheme, rest)) = text.split_once("://") else {
        return Err(wrong("it has no scheme"));
    };
    if !matches!(scheme, "nats" | "tls") {
        return Err(wrong("its scheme is neither nats nor tls"));
    }
    if rest.contains('@') {
        let why = "it has a user or password in it; a bus is logged in to by a credential file";
        return Err(Failure::usage(
            format!("{origin} is no address of a bus: {why}"),
            "write nats://HOST:PORT or tls://HOST:PORT, and --creds FILE",
        ));
    }
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    let (host, port) = match rest.strip_prefix('[') {
        Some(bracketed) => {
            let Some((host, after)) = bracketed.split_once(']') else {
                return Err(wrong("its host has no closing bracket"));
            };
            if host.parse::<std::net::Ipv6Addr>().is_err() {
                return Err(wrong("what stands in brackets is no IPv6 address"));
            }
            (host, after.strip_prefix(':').or((!after.is_empty()).then_some("")))
        }
        None => match rest.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (rest, None),
        },
    };
    let good = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b':');
    if host.is_empty() || !host.bytes().all(good) {
        return Err(wrong("it has no usable host"));
    }
    if port.is_some_and(|port| !port.bytes().all(|b| b.is_ascii_digit()) || port.parse::<u16>().unwrap_or(0) == 0) {
        return Err(wrong("its port is not a number from 1 to 65535"));
    }
    Ok(format!("{scheme}://{rest}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_42_addresses_name_their_origin_and_never_the_password() {
        for bad in [
            "foo",
            "http://x",
            "nats://:0",
            "nats://h:0",
            "nats://h:65536",
            "nats://",
            "nats://h:",
            "nats://a b:1",
            "nats://u:hunter2@h:4222",
            "nats://hunter2@h",
            "hunter2",
            "nats://[::1:4222",
            "nats://[hunter2]:1",
            "nats://[::1]x",
            "nats://h:1,nats://u:hunter2@i:1",
            "nats://h:1,",
        ] {
            let failure = check(VARIABLE, bad).unwrap_err();
            assert_eq!(failure.code(), 2, "{bad}");
            let shown = format!("{failure:?}");
            assert!(shown.contains("AIGIS_BUS") && !shown.contains("hunter2"), "{shown}");
        }
    }

    #[test]
    fn addresses() {
        for (good, read) in [
            ("nats://127.0.0.1:4222", "nats://127.0.0.1:4222"),
            ("nats://bus.example", "nats://bus.example"),
            ("tls://h:1/", "tls://h:1"),
            ("nats://[::1]:4222", "nats://[::1]:4222"),
            ("tls://a:1, tls://b:2/,tls://c:3", "tls://a:1,tls://b:2,tls://c:3"),
        ] {
            assert_eq!(check("--bus", good).unwrap(), read);
        }
    }
}
