use std::{io::Read, net::SocketAddr, sync::Arc};

use aigis_node::{
    Home, MeshFile,
    mesh::{self, member::Membership},
};
use aigis_proxy::{
    Bus, Code, Error, Role, UserName,
    bus::{self, ConnectError},
    identity::{CaCertificate, Credential, JoinToken},
    rpc::Asker,
    services::{ADMISSION, AdmissionClient, Admitted, JOIN},
    with_causes,
};
use serde_json::json;
use zeroize::Zeroizing;

use super::{
    list::label,
    up::{Up, host_name, loopback},
};
use crate::{
    context::{Context, damaged},
    exit::Failure,
    issuer,
};

/// Longer than any token, with what a terminal or a mail program may have put between.
const LONGEST: u64 = 64 * 1024;
const ASK: &str = "ask an admin for a new one: aish tokens create";

/// Make this host, or a person on it, part of a mesh
///
/// The key is made here and stays here; the token is exchanged for a credential, once. With a token for a node, the node
/// starts in the background. Doing it again changes nothing.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  aish join TOKEN\n  ssh alpha aish tokens create --role node | aish join - --name beta\n  aish join TOKEN --bus nats://server.of.the.site:4222"
)]
pub(crate) struct Join {
    /// The token that an admin made with `aish tokens create`; - reads it from standard input
    #[arg(value_name = "TOKEN|-", hide_possible_values = true)]
    token: String,
    /// The name to join under [default: the token's, else the host's for a node, the login's for a person]
    #[arg(long, value_parser = UserName::choose)]
    name: Option<UserName>,
    /// A label of the node
    #[arg(long, value_name = "KEY=VALUE", value_parser = label)]
    label: Vec<(String, String)>,
    /// Serve /metrics for Prometheus there: IP or IP:PORT, of this host alone [default port: 9464]
    #[arg(long, value_name = "ADDR", value_parser = loopback)]
    metrics: Option<SocketAddr>,
    /// Do not start the node
    #[arg(long)]
    no_start: bool,
}

impl Join {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Failure> {
        let token = read(&self.token).await?;
        let home = Home::new(context.data()?, token.mesh.clone());
        let known = home.read_mesh().map_err(damaged)?;
        same_mesh(&home, &token)?;
        if let Some(known) = &known
            && is_member(&home, known, token.role)
        {
            return self.done(context, &home, &token, known, "is a member already").await;
        }
        let name = self.choose(&token)?;
        context.output.progress(&format!("joining the mesh \"{}\" as {name}", token.mesh));
        let membership = exchange(context, &token, &name).await?;
        let file = membership.write(&home).map_err(|error| Error::precondition(with_causes(&error)))?;
        self.done(context, &home, &token, &file, "has joined").await
    }

    /// The name to ask for.
    fn choose(&self, token: &JoinToken) -> Result<UserName, Failure> {
        match (&self.name, &token.name) {
            (Some(name), Some(only)) if name != only => {
                let message = format!("the join token is for the name {only}, not for {name}");
                Err(Failure::usage(message, "leave --name away"))
            }
            (Some(name), _) | (None, Some(name)) => Ok(name.clone()),
            (None, None) if token.role == Role::Node => Ok(host_name()?.user()),
            (None, None) => {
                mesh::login().ok_or_else(|| Failure::usage("the login gives no name", "name yourself: --name NAME"))
            }
        }
    }

    /// Tells what is now so, and starts the node.
    async fn done(
        self,
        context: &Context,
        home: &Home,
        token: &JoinToken,
        file: &MeshFile,
        how: &str,
    ) -> Result<(), Failure> {
        let mesh = &token.mesh;
        let option = if mesh.as_str() == "main" { String::new() } else { format!(" --mesh {mesh}") };
        if let (Role::Node, Some(node)) = (token.role, &file.node) {
            if !self.no_start {
                return Up::background(context, home, node.clone(), self.label, self.metrics).await;
            }
            if context.output.is_json() {
                return context.output.json(&json!({"node": node, "mesh": mesh, "bus": file.bus}));
            }
            return context.output.text(&format!("node {node} of mesh {mesh} {how}; next: aish up --detach{option}"));
        }
        let path = home.default_credential();
        let issuer = home.read_issuer().map_err(damaged)?;
        let credential = crate::context::read_credential(&path, issuer.as_ref())?;
        let (name, role) = (credential.name(), credential.role());
        if context.output.is_json() {
            let bus = &file.bus;
            return context.output.json(&json!({"name": name, "role": role, "mesh": mesh, "bus": bus, "file": path}));
        }
        context.output.text(&format!("{name} ({role}) of mesh {mesh} {how}; next: aish{option} list"))
    }
}

/// Reads a join token, from standard input where `-` stands for it.
///
/// # Errors
///
/// It is none.
pub(super) async fn read(token: &str) -> Result<JoinToken, Failure> {
    let mut text = Zeroizing::new(token.to_owned());
    if *text == "-" {
        let reading = tokio::task::spawn_blocking(|| {
            let mut text = Zeroizing::new(String::new());
            std::io::stdin().take(LONGEST).read_to_string(&mut text).map(|_| text)
        });
        let read = reading.await.map_err(std::io::Error::other).and_then(|read| read);
        text =
            read.map_err(|error| Error::invalid(format!("standard input holds no join token: {error}")).hint(ASK))?;
    }
    Ok(JoinToken::parse(&text).map_err(|error| Error::invalid(error.to_string()).hint(ASK).sent(false))?)
}

/// Refuses a token of another mesh of the same name than that of this host.
pub(super) fn same_mesh(home: &Home, token: &JoinToken) -> Result<(), Failure> {
    match home.read_issuer().map_err(damaged)? {
        Some(issuer) if issuer.account != token.account => {
            let mesh = &token.mesh;
            let message = format!("this host is part of another mesh of the name \"{mesh}\"");
            let hint = format!("keep the two apart by --data DIR, or leave that one: remove {}", home.root().display());
            Err(Error::precondition(message).hint(hint).with("mesh", mesh.as_str()).sent(false).into())
        }
        _ => Ok(()),
    }
}

/// Whether this host has already what such a token gives.
fn is_member(home: &Home, known: &MeshFile, role: Role) -> bool {
    match role {
        Role::Node => known.node.is_some(),
        _ => home.default_credential().exists(),
    }
}

/// Exchanges the token for a credential of a key that is made here.
pub(super) async fn exchange(context: &Context, token: &JoinToken, name: &UserName) -> Result<Membership, Failure> {
    let used = |error: String| Error::invalid(error).hint(ASK).sent(false);
    let credential = Arc::new(token.credential().map_err(|flaw| used(flaw.to_string()))?);
    let (url, ca) = way(context, token)?;
    let label = format!("aish join {name}");
    let options = bus::Options { url: url.clone(), ca: ca.clone(), credential, label };
    let bus = Bus::connect(options).await.map_err(|error| unreached(error, token))?;
    let key = Credential::generate().map_err(|error| Error::internal(error.to_string()))?;
    let client = AdmissionClient::from(Asker::new(&bus, ADMISSION, JOIN));
    let answer = client.join(issuer::deadline(context), key.public().to_owned(), name.clone()).await;
    let Admitted { jwt, node, issuer } = issuer::answered(answer, &token.issuer)?;
    let stranger = || {
        let message = "the answer does not come from the issuer of the mesh that the token is for";
        Error::new(Code::PermissionDenied, message).hint(ASK)
    };
    let issuer = issuer.verify(&token.account).filter(|issuer| issuer.mesh == token.mesh).ok_or_else(stranger)?;
    let credential = Credential::new(&jwt, key, Some(&issuer))
        .map_err(|flaw| Error::precondition(format!("the credential that was issued cannot be used here: {flaw}")))?;
    if credential.name() != name || credential.role() != token.role {
        return Err(stranger().into());
    }
    Ok(Membership { credential, issuer, node, bus: url, ca, hosts: false })
}

/// Where the bus is reached from this host, and who vouches for it: as the token says, unless this host is told otherwise, as
/// at a site with a server of its own.
fn way(context: &Context, token: &JoinToken) -> Result<(String, Option<CaCertificate>), Failure> {
    let url = context.given_bus()?;
    let ca = context.given_ca()?;
    let by_token = url.as_ref().is_none_or(|url| url.split(',').any(|url| url.starts_with("tls://")));
    let ca = ca.or_else(|| token.ca.clone().filter(|_| by_token));
    Ok((url.unwrap_or_else(|| token.bus.clone()), ca))
}

fn unreached(error: ConnectError, token: &JoinToken) -> Error {
    match &error {
        ConnectError::Unreachable { .. } => {
            Error::unavailable(error.to_string()).hint("does it run, and can this host reach that address?").sent(false)
        }
        ConnectError::Refused { url, .. } => {
            let message = format!("the bus at {url} refuses the join token: it has expired, or is of another mesh");
            Error::new(Code::PermissionDenied, message).hint(ASK).with("mesh", token.mesh.as_str()).sent(false)
        }
        ConnectError::Untrusted(_) | ConnectError::TooOld { .. } => error.into(),
    }
}
