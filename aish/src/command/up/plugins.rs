//! The Aigis config file that a node is started with.

use std::path::{Path, PathBuf};

use aigis_node::plugins::config::Config;
use aigis_proxy::{Error, text_file, with_causes};

use crate::{
    config,
    exit::{Failure, Usage},
};

/// Its name in the directory of configuration.
const FILE: &str = "config.aigis";

/// The file that is named, or the usual one, which may not be there yet. It is read, so that what is wrong with it is told
/// before anything starts.
///
/// # Errors
///
/// A usage error for a named file that cannot be had; `invalid_argument`, with line and column, for what is wrong in it.
pub(super) fn file(named: Option<&Path>) -> Result<Option<PathBuf>, Failure> {
    let Some(path) = named.map(Path::to_owned).or_else(usual) else { return Ok(None) };
    let path = std::path::absolute(&path).unwrap_or(path);
    match Config::read(&path) {
        Ok(_) => Ok(Some(path)),
        Err(text_file::Error::Missing { .. }) if named.is_none() => Ok(Some(path)),
        Err(error @ text_file::Error::Malformed { .. }) => Err(Error::invalid(error.to_string()).into()),
        Err(error) => Err(Failure::Usage(Usage {
            message: format!("the Aigis config file {}", with_causes(&error)),
            hint: Some("name another: aish up -c FILE".to_owned()),
        })),
    }
}

/// Where it lies unless somebody says else.
fn usual() -> Option<PathBuf> {
    Some(config::folder()?.join(FILE))
}
