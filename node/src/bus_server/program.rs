//! The program of the bus: where it lies, and whether it is new enough.

use std::{
    env,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use aigis_proxy::bus::Version;
use tokio::process::Command;

use super::Error;

/// Finds a server: `AIGIS_NATS_SERVER`, then `PATH`, then the data directory's `bin/`; checks its version.
///
/// # Errors
///
/// None found, not runnable, too old.
pub async fn find(data: &Path) -> Result<PathBuf, Error> {
    let named = env::var_os("AIGIS_NATS_SERVER").filter(|value| !value.is_empty()).map(PathBuf::from);
    let (named, path) = match named {
        Some(path) => ("AIGIS_NATS_SERVER: ", path),
        None => env::split_paths(&env::var_os("PATH").unwrap_or_default())
            .chain([data.join("bin")])
            .map(|directory| directory.join("nats-server"))
            .find(|candidate| candidate.is_file())
            .map(|path| ("", path))
            .ok_or_else(|| Error::NotFound { data: data.join("bin") })?,
    };
    let not_usable = |reason: String| Error::NotUsable { named, path: path.clone(), reason };
    if path.is_dir() {
        return Err(not_usable("it is a directory".to_owned()));
    }
    let asked = Command::new(&path).arg("--version").stdin(Stdio::null()).kill_on_drop(true).output();
    let output = tokio::time::timeout(Duration::from_secs(10), asked)
        .await
        .map_err(|_| not_usable("it does not say its version".to_owned()))?
        .map_err(|error| not_usable(error.to_string()))?;
    let words = String::from_utf8_lossy(&output.stdout);
    let version = words.split_whitespace().find_map(|word| word.parse::<Version>().ok());
    match version {
        Some(version) if version.is_supported() => Ok(path),
        Some(version) => Err(Error::TooOld { named, found: version.to_string(), path }),
        None => Err(not_usable("it does not say its version".to_owned())),
    }
}
