use aigis_proxy::{
    Code, Error, UserName,
    rpc::{self, Asker},
    services::{ISSUER, IssuerClient},
};
use tarpc::context;

use crate::{context::Context, exit::Failure};

/// End a user: its connections, its calls and its credential
///
/// The bus ends its connections before this returns, and every node refuses its calls from then on. Who was revoked
/// gets a credential again by: aish users create
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  aish users revoke olga")]
pub(super) struct Revoke {
    /// The user
    name: UserName,
}

impl Revoke {
    pub(super) async fn run(self, context: &Context) -> Result<(), Failure> {
        let Self { name } = self;
        let mesh = context.mesh_file()?.ok_or_else(|| {
            Error::unavailable("this host does not know who issues for the mesh").hint("do it on a host of the mesh")
        })?;
        let issuer = mesh.node;
        let bus = context.connect().await?;
        let client = IssuerClient::from(Asker::new(&bus, issuer.as_str(), ISSUER));
        let mut deadline = context::current();
        if let Some(timeout) = context.global.timeout {
            deadline.deadline = std::time::Instant::now() + timeout;
        }
        let answer = client.revoke(deadline, name).await;
        let revoked =
            answer.map_err(|error| rpc::error(&error)).and_then(|answer| answer).map_err(|error| match error {
                Error { code: Code::Unavailable, data, .. } if error.detail("sent") == Some(&false.into()) => Error {
                    data,
                    ..Error::unavailable(format!("{issuer}, which issues for the mesh, is away"))
                        .hint("start it on that host: aish up; nobody was revoked")
                },
                other => other,
            })?;
        if context.output.is_json() {
            return context.output.json(&revoked);
        }
        let how = if revoked.changed { "was revoked" } else { "was revoked before" };
        context.output.text(&format!("{} {how} ({})", revoked.name, revoked.revoked_at))
    }
}
