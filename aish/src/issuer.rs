//! The issuer, as a command asks it: the one node that this host was told of when it joined.

use aigis_node::home::MeshFile;
use aigis_proxy::{
    Code, Error, Grant, NodeName, Role, UserName,
    rpc::{self, Asker},
    secret::SecretName,
    services::{
        GrantedToken, ISSUER, IssuerClient, IssuerRequest, IssuerResponse, ListedSecret, Revoked, Rotation,
        WantedSecret, WantedToken,
    },
};
use tarpc::{client::RpcError, context};

use crate::{context::Context, exit::Failure};

/// A connection to the issuer.
pub(crate) struct Desk {
    client: IssuerClient<Asker<IssuerRequest, IssuerResponse>>,
    node: NodeName,
    deadline: context::Context,
}

/// The issuer that this host knows.
///
/// # Errors
///
/// `failed_precondition` where it knows none.
pub(crate) fn known(context: &Context) -> Result<NodeName, Failure> {
    let MeshFile { issuer, .. } = context.mesh_file()?.ok_or_else(|| {
        let message = format!("this host was not told who issues for the mesh \"{}\"", context.global.mesh);
        Error::precondition(message).hint("do it on a host of the mesh, or join it: aish join TOKEN")
    })?;
    Ok(issuer)
}

impl Desk {
    /// Connects.
    ///
    /// # Errors
    ///
    /// As [`known`], and what keeps from connecting.
    pub(crate) async fn of(context: &Context) -> Result<Self, Failure> {
        let node = known(context)?;
        let bus = context.connect().await?;
        let client = IssuerClient::from(Asker::new(&bus, node.as_str(), ISSUER));
        Ok(Self { client, node, deadline: deadline(context) })
    }

    /// Has a credential signed.
    ///
    /// # Errors
    ///
    /// What the issuer says, or that it is away.
    pub(crate) async fn issue(&self, name: UserName, role: Role, public_key: &str) -> Result<String, Error> {
        answered(self.client.issue(self.deadline, name, role, public_key.to_owned()).await, &self.node)
    }

    /// Has a plugin given these grants in place of those that it had.
    ///
    /// # Errors
    ///
    /// As [`Desk::issue`].
    pub(crate) async fn grant(&self, name: UserName, grants: Vec<Grant>) -> Result<(), Error> {
        answered(self.client.grant(self.deadline, name, grants).await, &self.node)
    }

    /// Has a user ended.
    ///
    /// # Errors
    ///
    /// As [`Desk::issue`].
    pub(crate) async fn revoke(&self, name: UserName) -> Result<Revoked, Error> {
        answered(self.client.revoke(self.deadline, name).await, &self.node)
    }

    /// Has the signing keys rotated, or the former ones removed.
    ///
    /// # Errors
    ///
    /// As [`Desk::issue`].
    pub(crate) async fn rotate_keys(&self, end: bool) -> Result<Rotation, Error> {
        answered(self.client.rotate_keys(self.deadline, end).await, &self.node)
    }

    /// Has a node that is offline removed.
    ///
    /// # Errors
    ///
    /// As [`Desk::issue`].
    pub(crate) async fn remove_node(&self, node: NodeName) -> Result<(), Error> {
        answered(self.client.remove_node(self.deadline, node).await, &self.node)
    }

    /// Has the store that the bus has now taken for the mesh's; answers with its id.
    ///
    /// # Errors
    ///
    /// As [`Desk::issue`].
    pub(crate) async fn accept_store(&self) -> Result<String, Error> {
        answered(self.client.accept_store(self.deadline).await, &self.node)
    }

    /// Has a join token made for a key.
    ///
    /// # Errors
    ///
    /// As [`Desk::issue`].
    pub(crate) async fn create_token(&self, public_key: &str, wanted: WantedToken) -> Result<GrantedToken, Error> {
        answered(self.client.create_token(self.deadline, public_key.to_owned(), wanted).await, &self.node)
    }

    /// Ends a join token.
    ///
    /// # Errors
    ///
    /// As [`Desk::issue`].
    pub(crate) async fn revoke_token(&self, id: UserName) -> Result<(), Error> {
        answered(self.client.revoke_token(self.deadline, id).await, &self.node)
    }

    /// Has the next value of a secret kept.
    ///
    /// # Errors
    ///
    /// As [`Desk::issue`].
    pub(crate) async fn set_secret(&self, secret: WantedSecret) -> Result<(), Error> {
        answered(self.client.set_secret(self.deadline, secret).await, &self.node)
    }

    /// Has a secret removed.
    ///
    /// # Errors
    ///
    /// As [`Desk::issue`].
    pub(crate) async fn remove_secret(&self, name: SecretName) -> Result<(), Error> {
        answered(self.client.remove_secret(self.deadline, name).await, &self.node)
    }

    /// Lists the secrets.
    ///
    /// # Errors
    ///
    /// As [`Desk::issue`].
    pub(crate) async fn secrets(&self) -> Result<Vec<ListedSecret>, Error> {
        answered(self.client.secrets(self.deadline).await, &self.node)
    }
}

/// How long a request of this command may take.
pub(crate) fn deadline(context: &Context) -> context::Context {
    context.global.timeout.map_or_else(context::current, rpc::within)
}

/// The issuer's answer, or that it is away.
///
/// # Errors
///
/// What it says; `unavailable`, naming its node, if nothing answers.
pub(crate) fn answered<T>(answer: Result<Result<T, Error>, RpcError>, issuer: &NodeName) -> Result<T, Error> {
    match rpc::answered(answer) {
        Err(error) if error.code == Code::Unavailable && error.detail("sent") == Some(&false.into()) => {
            let message = format!("the issuer of the mesh, the node {issuer}, is not on the bus");
            Err(Error::unavailable(message).hint("start it on that host: aish up --detach").sent(false))
        }
        answer => answer,
    }
}
