//! Whether the node answers on its socket, without which calls go over the bus.

use std::{io, path::Path, time::Duration};

use aigis_proxy::{MeshName, NodeName};
use serde::Deserialize;
use tokio::{io::AsyncReadExt, net::UnixStream, time::timeout};

use super::Check;

/// How long the node may take to introduce itself.
const WITHIN: Duration = Duration::from_secs(2);
/// The longest introduction.
const LONGEST: u32 = 16 * 1024;
const NAME: &str = "socket";

/// The node's first word.
#[derive(Debug, Deserialize)]
struct Hello {
    mesh: MeshName,
    server: String,
}

pub(super) async fn check(path: &Path, mesh: &MeshName, node: &NodeName) -> Check {
    let shown = path.display();
    let warn = |what: String| {
        Check::warn(NAME, format!("{what}; calls on this host go over the bus"), "the node makes it: aish up --detach")
    };
    let hello = match timeout(WITHIN, hello(path)).await {
        Ok(Ok(hello)) => hello,
        Ok(Err(error)) if error.kind() == io::ErrorKind::NotFound => return warn(format!("{shown} is not there")),
        Ok(Err(error)) => return warn(format!("{shown} does not answer: {error}")),
        Err(_) => return warn(format!("{shown} does not answer")),
    };
    if hello.mesh != *mesh || hello.server != node.as_str() {
        return warn(format!("{shown} is that of {} of the mesh \"{}\"", hello.server, hello.mesh));
    }
    Check::pass(NAME, format!("{node} answers at {shown}: calls on this host go over it"))
}

async fn hello(path: &Path) -> io::Result<Hello> {
    let mut stream = UnixStream::connect(path).await?;
    let length = stream.read_u32().await?;
    if length > LONGEST {
        return Err(io::Error::other("it is no node's"));
    }
    let mut frame = Vec::new();
    stream.take(length.into()).read_to_end(&mut frame).await?;
    Ok(serde_json::from_slice(&frame)?)
}

#[cfg(test)]
mod tests {
    use super::super::Outcome;
    use super::*;
    use tokio::{io::AsyncWriteExt, net::UnixListener};

    async fn checked(greeting: Option<&'static [u8]>) -> Check {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("node.sock");
        if let Some(greeting) = greeting {
            let listener = UnixListener::bind(&path).unwrap();
            aigis_proxy::task::spawn("greeter", async move {
                let (mut stream, _) = listener.accept().await.unwrap();
                stream.write_u32(u32::try_from(greeting.len()).unwrap()).await.unwrap();
                stream.write_all(greeting).await.unwrap();
            });
        }
        check(&path, &MeshName::parse("main").unwrap(), &NodeName::parse("alpha").unwrap()).await
    }

    #[tokio::test]
    async fn only_this_node_passes() {
        let good = checked(Some(br#"{"aigis":1,"mesh":"main","server":"alpha","nonce":"x"}"#)).await;
        assert_eq!(good.outcome, Outcome::Pass, "{good:?}");
        for (greeting, said) in [
            (None, "is not there"),
            (Some(br#"{"mesh":"main","server":"beta"}"#.as_slice()), "that of beta"),
            (Some(b"hello".as_slice()), "does not answer"),
        ] {
            let bad = checked(greeting).await;
            assert!(bad.outcome == Outcome::Warn && bad.detail.contains(said), "{bad:?}");
        }
    }
}
