//! The mesh as a program on the bridge sees it, and the streams that the bridge stands on.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    sync::Arc,
};

use aigis_proxy::{
    Address, Code, Error, Name, NodeName, SkillPath,
    bridge::{Answer, Asked, Opened, Refused, Way, Welcome},
    client::Response,
};
use futures::FutureExt as _;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::unix::pipe,
};

use crate::{
    ask,
    context::Context,
    exit::Failure,
    session::{Found, Session},
};

/// The mesh, as a user of it.
#[derive(Debug)]
pub(crate) struct Mesh(Arc<Session>);

impl Mesh {
    /// Connects to it, and says as whom.
    ///
    /// # Errors
    ///
    /// What keeps from it.
    pub(crate) async fn join(context: &Context) -> Result<(Self, Welcome), Failure> {
        let session = context.session().await?;
        let user = session.bus().caller().name.clone();
        let node: Option<NodeName> = context.mesh_file()?.and_then(|mesh| mesh.node);
        let welcome = Welcome::client(context.global.mesh.clone(), node, user);
        Ok((Self(Arc::new(session)), welcome))
    }

    /// Whom a call is for, and which of its skills.
    fn find(&self, ci: Option<Address>, path: Option<SkillPath>) -> Result<(Found, SkillPath), Refused> {
        let (address, path) = match (ci, path) {
            (Some(address), path) => (address, path),
            (None, Some(path)) => named(&path)?,
            (None, None) => return Err(Error::invalid("nothing is named that can be called").sent(false).into()),
        };
        let found = self.0.find(&address).map_err(|failure| failure.into_error().sent(false))?;
        match path {
            Some(path) => Ok((found, path)),
            None => {
                let skills: Vec<&str> = found.skills().iter().map(|skill| skill.path.as_str()).collect();
                let error = Error::invalid(format!("{} is no skill; its skills: {}", found.address, skills.join(", ")));
                let error = error.with("skills", skills).sent(false);
                Err(Refused { error, ci: Some(found.address) })
            }
        }
    }
}

impl Way for Mesh {
    async fn open(&self, asked: Asked) -> Result<Opened, Refused> {
        let Asked { ci, path, request } = asked;
        let (found, path) = self.find(ci, path)?;
        let session = self.0.clone();
        match ask::pass(&session, &found, &path, request).await {
            Ok(Response::Value(value)) => Ok(Opened { ci: found.address, answer: Answer::Value(value) }),
            Ok(Response::Stream(frames)) => {
                let (ci, server) = (found.address.clone(), frames.server().clone());
                let lost = async move { session.lost(&found, &server).await }.boxed();
                Ok(Opened { ci, answer: Answer::Stream(frames, lost) })
            }
            Err(error) => Err(Refused { error, ci: Some(found.address) }),
        }
    }
}

/// Splits a path after the name of its CI.
fn named(path: &SkillPath) -> Result<(Address, Option<SkillPath>), Error> {
    let (first, rest) = match path.as_str().split_once('.') {
        Some((first, rest)) => (first, Some(rest)),
        None => (path.as_str(), None),
    };
    // What cannot be a name is nobody's, however it is written.
    let name = Name::parse(first).map_err(|error| {
        Error::new(Code::NotFound, format!("no CI is called {first}: {error}"))
            .hint("who there is: aish list; for other names: aigis[\"NAME\"]")
            .with("kind", "ci")
            .sent(false)
    })?;
    let rest = rest.map(SkillPath::parse).transpose()?;
    Ok((Address { name, node: None }, rest))
}

/// What bytes come from, and go to.
type Streams = (Box<dyn AsyncRead + Send + Unpin>, Box<dyn AsyncWrite + Send + Unpin>);

/// Our standard input and output: where they are pipes, without a thread in between.
///
/// # Errors
///
/// What the operating system says.
pub(crate) fn standard() -> io::Result<Streams> {
    let own = |fd: &dyn AsFd| -> io::Result<OwnedFd> { fd.as_fd().try_clone_to_owned() };
    let input: Box<dyn AsyncRead + Send + Unpin> = match pipe::Receiver::from_owned_fd(own(&io::stdin())?) {
        Ok(pipe) => Box::new(pipe),
        Err(_) => Box::new(tokio::io::stdin()),
    };
    let output: Box<dyn AsyncWrite + Send + Unpin> = match pipe::Sender::from_owned_fd(own(&io::stdout())?) {
        Ok(pipe) => Box::new(pipe),
        Err(_) => Box::new(tokio::io::stdout()),
    };
    Ok((input, output))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(path: &str) -> Result<(Address, Option<SkillPath>), Error> {
        named(&SkillPath::parse(path).unwrap())
    }

    #[test]
    fn a_path_begins_with_the_name_of_its_ci() {
        let (address, path) = of("web.optimize.apply").unwrap();
        assert_eq!((address.to_string().as_str(), path.unwrap().as_str()), ("web", "optimize.apply"));
        assert_eq!(of("web").unwrap().1, None);
        for nobody in ["_x.y", "list.x", &format!("{}.x", "a".repeat(64))] {
            assert_eq!(of(nobody).unwrap_err().code, Code::NotFound, "{nobody}");
        }
    }
}
