//! A folder that is made known as an assistant.

use aigis_assistants::folder::{Folder, SECRETS};
use aigis_proxy::{
    Error,
    secret::{SecretName, Selector},
    services::chains::NewAssistant,
};
use aigis_registry::{Asking, dotenv};
use serde_json::Value;
use zeroize::Zeroizing;

use crate::{
    command::secrets::{For, keep},
    context::Context,
    coordinator::Coordinator,
    exit::Failure,
    upload,
};

/// Whether what names an assistant is a folder's path.
pub(super) fn is_path(text: &str) -> bool {
    text.contains('/') && !text.contains(':') || matches!(text, "." | "..")
}

/// An assistant that was made known.
#[derive(Debug)]
pub(crate) struct Known {
    /// Its whole name.
    pub(crate) name: String,
    /// The digest of its folder.
    pub(crate) digest: String,
}

/// Uploads a folder, and makes it known as `local:NAME`, with its secrets if it brings any.
///
/// # Errors
///
/// `invalid_argument` for what is no assistant; what the store, a coordinator or the issuer says.
pub(crate) async fn make_known(context: &Context, asking: &Asking, folder: Folder) -> Result<Known, Failure> {
    let bus = asking.bus();
    let root = folder.path.canonicalize().unwrap_or(folder.path.clone());
    let found = upload::look(&context.output, &root).await?;
    if let Some(file) = SECRETS.into_iter().find(|file| found.files.contains_key(*file)) {
        let message = format!("{file} holds secrets, and would go with the folder: a rule takes it back");
        return Err(Error::invalid(message)
            .hint(format!("remove !{file} from its .aigisignore or .gitignore"))
            .with("file", file)
            .into());
    }
    if let Some(secrets) = &folder.secrets {
        // Before the folder: whoever runs it then has what it needs.
        let name = secret(folder.name.as_str())?;
        // As one form, whatever of a dotenv file's forms its author chose.
        let value = Zeroizing::new(dotenv::write(&secrets.variables).into_bytes());
        let nodes = asking.snapshot().nodes().map(|node| Selector::Node(node.name.clone())).collect();
        keep(context, &name, &value, For::These(nodes)).await?;
    }
    let uploaded = upload::send(&context.output, bus, &root, found.bytes).await?;
    let settings = serde_json::to_value(&folder.settings).unwrap_or(Value::Null);
    let (name, digest) = (folder.name.to_string(), uploaded.tree.map(|tree| tree.to_string()).unwrap_or_default());
    let new = NewAssistant { name: name.clone(), folder: uploaded.tree, settings };
    Coordinator::any(bus).keep_assistant(new).await?;
    Ok(Known { name: format!("local:{name}"), digest })
}

/// The name of the secret that holds an assistant's variables.
///
/// # Errors
///
/// `invalid_argument` for a name that is none.
pub(crate) fn secret(assistant: &str) -> Result<SecretName, Error> {
    SecretName::parse(&format!("assistant/local/{assistant}")).map_err(|error| Error::invalid(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slash_makes_a_path() {
        for path in ["./x", "a/b", "/x", ".", ".."] {
            assert!(is_path(path), "{path}");
        }
        for name in ["x", "local:x", "aip:agents/x.aip"] {
            assert!(!is_path(name), "{name}");
        }
    }

    #[test]
    fn chn_34_the_secret_is_called_after_the_assistant() {
        assert_eq!(secret("prem").unwrap().as_str(), "assistant/local/prem");
    }
}
