//! What a bus server that somebody else runs must be given, so that it knows a mesh's operator and accounts.

use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
};

use super::{
    mesh::MeshKeys,
    private_file,
    server::string,
    site::{self, PORT},
};

/// The name of the file in the directory of the bus's files.
const FILE: &str = "operator.conf";

/// Writes the file that such a server's configuration includes, and says where it is. It holds no secret.
///
/// # Errors
///
/// The file cannot be written.
pub fn write(directory: &Path, keys: &MeshKeys) -> Result<PathBuf, private_file::Error> {
    let file = directory.join(FILE);
    private_file::write(&file, &render(keys))?;
    Ok(file)
}

fn render(keys: &MeshKeys) -> String {
    let mut text = format!(
        "# The operator and the accounts of the Aigis mesh \"{mesh}\". It holds no secret.\n\
         # Copy it beside the configuration of nats-server, and say there:\n\
         #   include \"{FILE}\"\n\
         #   jetstream {{ sync_interval: always }}\n\
         operator: {operator}\n\
         system_account: {system}\n\
         resolver {{\n  type: full\n  dir: \"aigis-{mesh}-accounts\"\n  allow_delete: false\n  interval: \"2m\"\n}}\n\
         resolver_preload {{\n",
        mesh = keys.mesh(),
        operator = string(keys.operator_token()),
        system = string(keys.system_account()),
    );
    for token in keys.accounts() {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "  {}: {}", token.account, string(&token.jwt));
    }
    text.push_str("}\n");
    if !keys.sites().is_empty() {
        let _ = write!(
            text,
            "# Servers of sites connect to this one as leaf nodes. Say where, and by which certificate:\n\
             #   leafnodes {{ listen: \"ADDRESS:{PORT}\", tls {{ cert_file: \"…\", key_file: \"…\" }} }}\n{}",
            site::default_domain(&keys.issuer().account),
        );
    }
    text
}
