//! What the server of a site must be given, so that it knows a mesh's operator and accounts and connects to its bus.

use std::{
    fmt::Write as _,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use super::{
    CaCertificate,
    mesh::{self, MeshKeys},
    private_file,
    server::string,
};
use crate::SiteName;

/// The port at which a bus of others is taken to listen for the servers of sites, unless the file is told otherwise.
pub const PORT: u16 = 7422;
/// How far the port for servers of sites lies behind that for clients, where the bus is supervised.
pub(super) const BEHIND: u16 = 3_200;
/// How often a silent server is asked whether it is there, in seconds.
const PING: u32 = 3;

/// Where a server that listens there for clients listens for the servers of sites; `None` where there is no such port.
#[must_use]
pub fn port(clients: SocketAddr) -> Option<SocketAddr> {
    let port = clients.port().checked_add(BEHIND).filter(|_| clients.port() > 0)?;
    Some(SocketAddr::new(clients.ip(), port))
}

/// Where the bus at `url` listens for the servers of sites.
fn remotes(url: &str, is_supervised: bool) -> Vec<String> {
    let remote = |url: &str| {
        let (scheme, address) = url.split_once("://")?;
        let scheme = if scheme == "tls" { "tls" } else { "nats-leaf" };
        if is_supervised {
            return Some(format!("{scheme}://{}", port(address.parse().ok()?)?));
        }
        let host = address.rsplit_once(':').filter(|_| !address.ends_with(']')).map_or(address, |(host, _)| host);
        Some(format!("{scheme}://{host}:{PORT}"))
    };
    url.split(',').filter_map(remote).collect()
}

/// The line by which a server lets what is said to JetStream in that account cross to another server, and back.
pub(super) fn default_domain(account: &str) -> String {
    format!("default_js_domain {{ {account}: \"\" }}\n")
}

/// Writes what the site's server is given into `directory`, and says which file its configuration includes. The
/// credential beside it is the only secret.
///
/// # Errors
///
/// What cannot be signed or written.
pub fn write(
    directory: &Path,
    keys: &MeshKeys,
    site: &SiteName,
    url: &str,
    is_supervised: bool,
    ca: Option<&CaCertificate>,
) -> Result<PathBuf, mesh::Error> {
    let file = directory.join("site.conf");
    let ca_file = directory.join("ca.pem");
    if let Some(ca) = ca {
        private_file::write(&ca_file, &ca.pem())?;
    }
    let remotes = remotes(url, is_supervised);
    private_file::write(&file, &render(keys, site, &remotes, ca.is_some())?)?;
    Ok(file)
}

/// Where the credential of a site's server stands in its directory.
#[must_use]
pub fn credential(directory: &Path) -> PathBuf {
    directory.join("site.creds")
}

fn render(keys: &MeshKeys, site: &SiteName, remotes: &[String], has_ca: bool) -> Result<String, mesh::Error> {
    let (mesh, account) = (keys.mesh(), keys.issuer().account);
    let mut text = format!(
        "# The site \"{site}\" of the Aigis mesh \"{mesh}\". The secret is in site.creds; keep that file to its owner.\n\
         # Copy this directory's files to where the site's nats-server is started, and say in its configuration:\n\
         #   include \"site.conf\"\n\
         #   jetstream {{ domain: \"{site}\" }}      where it has a JetStream of its own\n\
         # and, below that line, where it has accounts of its own, signed by an operator of its own:\n\
         #   operator: [ $aigis_operator, \"OPERATOR.jwt\" ]\n\
         aigis_operator: {operator}\n\
         operator: [ $aigis_operator ]\n\
         system_account: {system}\n\
         resolver {{\n  type: full\n  dir: \"aigis-{mesh}-accounts\"\n  allow_delete: false\n  interval: \"2m\"\n}}\n\
         resolver_preload {{\n",
        operator = string(keys.operator_token()),
        system = string(keys.system_account()),
    );
    for token in keys.accounts_of_site(site)? {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "  {}: {}", token.account, string(&token.jwt));
    }
    text.push_str("}\n");
    text.push_str(&default_domain(&account));
    let urls: Vec<_> = remotes.iter().map(|url| string(url)).collect();
    let tls = if has_ca { "    tls { ca_file: \"ca.pem\", timeout: 5 }\n" } else { "" };
    let _ = write!(
        text,
        "ping_interval: \"{PING}s\"\n\
         ping_max: 3\n\
         leafnodes {{\n  reconnect: 1\n  remotes: [ {{\n    \
         # Where the bus listens for the servers of sites.\n    \
         urls: [ {urls} ]\n    \
         account: {account}\n    \
         credentials: \"site.creds\"\n{tls}  }} ]\n}}\n",
        urls = urls.join(", "),
    );
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_site_connects_behind_the_port_for_clients() {
        assert_eq!(remotes("nats://127.0.0.1:4222", true), ["nats-leaf://127.0.0.1:7422"]);
        let three = "tls://10.0.0.1:4222,tls://10.0.0.2:4222,tls://[fd00::3]:5000";
        let behind = ["tls://10.0.0.1:7422", "tls://10.0.0.2:7422", "tls://[fd00::3]:8200"];
        assert_eq!(remotes(three, true), behind);
        assert_eq!(remotes("tls://bus.example:4222", false), ["tls://bus.example:7422"]);
        assert_eq!(remotes("nats://bus.example", false), ["nats-leaf://bus.example:7422"]);
        let port = |address: &str| super::port(address.parse().unwrap());
        assert!(port("127.0.0.1:0").is_none() && port("127.0.0.1:62336").is_none());
        assert!(port("127.0.0.1:62335").is_some());
    }
}
