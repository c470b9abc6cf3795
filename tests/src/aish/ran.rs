//! How a command ended, and what tests ask of that.

use std::time::{Duration, Instant};

use serde_json::Value;

/// How a command ended, and what it wrote.
#[derive(Debug)]
pub struct Ran {
    /// Its exit code.
    pub code: i32,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
    /// How long it took.
    pub took: Duration,
}

impl Ran {
    pub(super) fn of(output: std::process::Output, started: Instant) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
            took: started.elapsed(),
        }
    }

    /// The standard output as JSON.
    ///
    /// # Panics
    ///
    /// Panics with what there is instead.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("no JSON ({error}): {self:?}"))
    }

    /// Asserts success with nothing on standard error, and gives the result.
    ///
    /// # Panics
    ///
    /// Panics with all there is.
    #[must_use]
    pub fn good(self) -> Self {
        assert!(self.code == 0 && self.stderr.is_empty(), "{self:?}");
        self
    }

    /// Asserts a failure of that code with nothing on standard output.
    ///
    /// # Panics
    ///
    /// Panics with all there is.
    #[must_use]
    pub fn failed(self, code: i32) -> Self {
        assert!(self.code == code && self.stdout.is_empty(), "expected {code}: {self:?}");
        self
    }

    /// Asserts a refusal of bad input: that code, nothing on standard output, and no control character in what is said.
    ///
    /// # Panics
    ///
    /// Panics with all there is.
    #[must_use]
    pub fn refused(self, code: i32) -> Self {
        let ran = self.failed(code);
        assert!(!ran.stderr.is_empty() && !ran.stderr.chars().any(|c| c.is_control() && c != '\n'), "{ran:?}");
        ran
    }
}
