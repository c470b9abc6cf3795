//! How long a connection of the node's socket may last: as long as its caller's token, and that of each renewal.

use tokio::sync::watch;

use super::{reader::End, server::Gate};
use crate::{
    error::{Code, Error},
    identity::Vouched,
};

/// The token that a connection stands on.
#[derive(Debug, Clone)]
pub(super) struct Tenure {
    gate: Gate,
    user: watch::Sender<Vouched>,
}

impl Tenure {
    /// Begins with the token of the introduction.
    pub(super) fn new(gate: Gate, user: Vouched) -> Self {
        Self { gate, user: watch::Sender::new(user) }
    }

    /// Takes a renewed token. That its bearer has the key was shown in the introduction. One that cannot be checked is passed
    /// over: the node may not have heard yet of the keys that sign now.
    ///
    /// # Errors
    ///
    /// The connection's end, for what is no text, or another's token.
    pub(super) fn renew(&self, token: &[u8]) -> Result<(), End> {
        let token = std::str::from_utf8(token).map_err(|_| End::Violation)?;
        let renewed = match self.gate.issuer.borrow().vouch(token) {
            Ok(renewed) => renewed,
            Err(flaw) => {
                tracing::debug!(%flaw, "a renewed token is passed over");
                return Ok(());
            }
        };
        let is_same = self.user.borrow().is_same_user(&renewed);
        if !is_same {
            return Err(End::Violation);
        }
        self.user.send_replace(renewed);
        Ok(())
    }

    /// Resolves when the token has ended or counts no more, with what its bearer is told.
    pub(super) async fn over(&self) -> (End, Error) {
        let denied = |what: &str| {
            Error::new(Code::PermissionDenied, format!("the node has ended the connection: {what}"))
                .hint("ask an admin of this mesh for a new credential")
                .sent(true)
        };
        let mut user = self.user.subscribe();
        let mut revoked = self.gate.revoked.clone();
        loop {
            let now = user.borrow_and_update().clone();
            tokio::select! {
                () = now.ended() => {
                    let ended = format!("the credential of {} has ended, and was not renewed", now.caller().name);
                    return (End::Dismissed("its credential ended"), denied(&ended));
                }
                true = async { revoked.wait_for(|revoked| revoked.end(&now)).await.is_ok() } => {
                    let ended = format!("the credential of {} was revoked", now.caller().name);
                    return (End::Dismissed("its credential was revoked"), denied(&ended));
                }
                // The sender is held here.
                _ = user.changed() => {}
            }
        }
    }
}
