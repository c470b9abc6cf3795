//! Which servers are new enough.

use std::{fmt, str::FromStr};

/// A server's version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    major: u32,
    minor: u32,
    patch: u32,
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

/// A text that is no version.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no version of the form MAJOR.MINOR.PATCH")]
pub struct NotAVersion;

impl FromStr for Version {
    type Err = NotAVersion;

    fn from_str(text: &str) -> Result<Self, NotAVersion> {
        let plain = text.trim_start_matches('v').split(['-', '+']).next().unwrap_or_default();
        let mut parts = plain.split('.').map(|part| part.parse().map_err(|_| NotAVersion));
        let mut next = || parts.next().ok_or(NotAVersion)?;
        Ok(Self { major: next()?, minor: next()?, patch: next()? })
    }
}

impl Version {
    /// Whether this version has the fixes that the mesh relies on: 2.11.16, 2.12.7 or 2.14.0 in its line, or newer.
    #[must_use]
    pub fn is_supported(self) -> bool {
        let floor = match (self.major, self.minor) {
            (2, 11) => 16,
            (2, 12) => 7,
            (2, 13) => u32::MAX,
            _ => 0,
        };
        (self.major, self.minor) >= (2, 11) && self.patch >= floor
    }
}

/// Checks that a server can carry a mesh at all: it needs per-key time to live.
///
/// # Errors
///
/// The oldest version that works.
pub fn check(version: &str) -> Result<(), &'static str> {
    const OLDEST: &str = "2.11.0";
    match version.parse::<Version>() {
        Ok(version) if (version.major, version.minor) >= (2, 11) => Ok(()),
        _ => Err(OLDEST),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floors_hold_in_each_line() {
        for good in ["2.11.16", "2.12.7", "2.14.0", "v2.15.1", "3.0.0", "2.14.0-beta.1"] {
            assert!(good.parse::<Version>().unwrap().is_supported(), "{good}");
        }
        for bad in ["2.9.10", "2.11.15", "2.12.6", "2.13.9"] {
            assert!(!bad.parse::<Version>().unwrap().is_supported(), "{bad}");
        }
        assert_eq!(check("2.9.10"), Err("2.11.0"));
        assert_eq!(check("2.11.0"), Ok(()));
        assert_eq!(check("nonsense"), Err("2.11.0"));
    }
}
