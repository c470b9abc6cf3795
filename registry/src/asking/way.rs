//! The mesh as a program on the bridge sees it.

use aigis_proxy::{
    Address, Error, SkillPath,
    bridge::{Answer, Asked, Opened, Refused, Way},
    client::Response,
};
use futures::FutureExt;

use super::{Addressee, Asking};

impl Asking {
    /// Whom a call is for, and which of its skills.
    fn meant(&self, ci: Option<Address>, path: Option<SkillPath>) -> Result<(Addressee, SkillPath), Refused> {
        match (ci, path) {
            (None, Some(path)) => Ok(self.find_path(&path).map_err(|error| error.sent(false))?),
            (None, None) => Err(Error::invalid("nothing is named that can be called").sent(false).into()),
            (Some(address), path) => {
                let whom = self.find(&address).map_err(|error| error.sent(false))?;
                let Some(path) = path else {
                    let error = whom.resolved().no_skill().sent(false);
                    return Err(Refused { error, ci: Some(whom.address) });
                };
                Ok((whom, path))
            }
        }
    }
}

impl Way for Asking {
    async fn open(&self, asked: Asked) -> Result<Opened, Refused> {
        let Asked { ci, path, request } = asked;
        let (whom, path) = self.meant(ci, path)?;
        match self.pass(&whom, &path, request).await {
            Ok(Response::Value(value)) => Ok(Opened { ci: whom.address, answer: Answer::Value(value) }),
            Ok(Response::Stream(frames)) => {
                let (ci, server, asking) = (whom.address.clone(), frames.server().clone(), self.clone());
                let lost = async move { asking.lost(&whom, &server).await }.boxed();
                Ok(Opened { ci, answer: Answer::Stream(frames, lost) })
            }
            Err(error) => Err(Refused { error, ci: Some(whom.address) }),
        }
    }
}
