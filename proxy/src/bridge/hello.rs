//! The first words of each side.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::frame::{Kind, Message, Violation};
use crate::{Error, MeshName, Name, NodeName, UserName};

/// The version of the bridge that this host speaks.
pub const VERSION: u64 = 1;

/// What a process is to its host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// The core plugins of a node.
    Core,
    /// The program of one plugin.
    Run,
    /// A program that calls.
    Client,
}

/// What a process says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Hello {
    aigis: u64,
    /// What it is.
    pub mode: Mode,
    /// The version of its Python, as it says.
    #[serde(default)]
    pub python: Option<String>,
}

impl Hello {
    /// Reads the first message of a process.
    ///
    /// # Errors
    ///
    /// It is no hello.
    pub fn read(message: &Message) -> Result<Self, Violation> {
        let body = message.body.as_ref().filter(|_| message.header.t == Kind::Hello && message.header.id.is_none());
        let body = body.ok_or_else(|| Violation::new(format!("{:?} before it said hello", message.header.t)))?;
        serde_json::from_slice(body).map_err(|error| {
            Violation::new(format!("a hello that cannot be used: {}", crate::quoted_within(&error.to_string())))
        })
    }

    /// Checks that both speak one version.
    ///
    /// # Errors
    ///
    /// `failed_precondition` that names both.
    pub fn check(&self) -> Result<(), Error> {
        if self.aigis == VERSION {
            return Ok(());
        }
        let theirs = self.aigis;
        Err(Error::precondition(format!(
            "the package aigis speaks version {theirs} of the bridge, and this aish version {VERSION}"
        ))
        .hint("install the package that came with this aish: pip install ./sdk/python"))
    }
}

/// What a host says of itself, and as whom the process calls.
#[derive(Debug, Clone, Serialize)]
pub struct Welcome {
    aigis: u64,
    mesh: MeshName,
    node: Option<NodeName>,
    user: UserName,
    ci: Option<Name>,
    #[serde(skip_serializing_if = "Option::is_none")]
    plugin: Option<Value>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    core: Vec<Value>,
}

impl Welcome {
    /// Welcomes a program that calls as that user, and that nobody calls back.
    #[must_use]
    pub fn client(mesh: MeshName, node: Option<NodeName>, user: UserName) -> Self {
        Self { aigis: VERSION, mesh, node, user, ci: None, plugin: None, core: Vec::new() }
    }

    /// The same for a process whose handles are reached at that CI.
    #[must_use]
    pub fn reached_at(self, ci: Name) -> Self {
        Self { ci: Some(ci), ..self }
    }

    /// The same for a process that launches that plugin, beside copies of those core plugins.
    #[must_use]
    pub fn launching(self, plugin: Value, core: Vec<Value>) -> Self {
        Self { plugin: Some(plugin), core, ..self }
    }

    /// The body of the host's hello.
    #[must_use]
    pub fn to_bytes(&self) -> Bytes {
        serde_json::to_vec(self).unwrap_or_default().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bridge::Header;

    fn hello(body: &str) -> Result<Hello, Violation> {
        let body = Some(Bytes::copy_from_slice(body.as_bytes()));
        Hello::read(&Message { header: Header::new(Kind::Hello, None), body })
    }

    #[test]
    fn bad_24_the_first_words_are_a_hello_of_a_version() {
        let good = hello(r#"{"aigis":1,"mode":"client","pid":4711,"python":"3.11.7","sdk":"0.1.0"}"#).unwrap();
        assert_eq!((good.mode, good.check()), (Mode::Client, Ok(())));
        let newer = hello(r#"{"aigis":2,"mode":"client"}"#).unwrap().check().unwrap_err();
        assert_eq!(newer.code, crate::Code::FailedPrecondition);
        for bad in ["", "{}", "[1,\"client\"", r#"{"aigis":"1","mode":"client"}"#, r#"{"aigis":1,"mode":"dance"}"#] {
            assert!(hello(bad).is_err(), "{bad}");
        }
        assert!(Hello::read(&Message { header: Header::new(Kind::Call, Some(1)), body: Some(Bytes::new()) }).is_err());
    }
}
