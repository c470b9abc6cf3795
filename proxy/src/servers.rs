//! The bus's servers, told of what changed about a mesh's accounts.

use std::time::Duration;

use async_nats::Client;
use futures::{StreamExt, future::join_all};
use serde::Deserialize;
use tokio::time::{Instant, timeout_at};

use crate::{
    error::Error,
    identity::{CaCertificate, Login, mesh::ANSWERS, mesh::AccountToken, permissions},
    kv,
    name::{MeshName, SiteName},
    subject::Token,
};

/// Where a login of the system account tells servers an account's token.
const UPDATE: &str = "$SYS.REQ.CLAIMS.UPDATE";
/// How long the first server may take.
const FIRST: Duration = Duration::from_secs(3);
/// How long after an answer another one may come: they all begin at once.
const NEXT: Duration = Duration::from_millis(250);
/// The same, for one that is known to belong to the bus.
const LATE: Duration = Duration::from_secs(1);
/// More servers than one bus has.
const MOST: usize = 1_000;

/// What one server answers.
#[derive(Debug, Deserialize)]
struct Answer {
    server: Named,
    error: Option<Trouble>,
}

#[derive(Debug, Deserialize)]
struct Named {
    name: String,
}

#[derive(Debug, Deserialize)]
struct Trouble {
    description: String,
}

/// Gives every server that answers an account's token, by which it ends the connections of those who were revoked, and
/// says which servers took it. `login` is one to the system account; `expected` servers are waited for a little longer.
///
/// # Errors
///
/// `unavailable` if none answers, or one of them refuses.
pub async fn update(
    url: &str,
    ca: Option<&CaCertificate>,
    login: &Login,
    token: &AccountToken,
    expected: usize,
) -> Result<Vec<String>, Error> {
    let failed = |what: &str| Error::unavailable(format!("the servers of the bus at {url} were not told: {what}"));
    let client = kv::connect(url, ca, login, "aigis revocation").await.map_err(|error| failed(&error.to_string()))?;
    let told = tell(&client, UPDATE.to_owned(), token, expected).await.map_err(|what| failed(&what))?;
    match told.is_empty() {
        true => Err(failed("none answers").hint("does it keep accounts in a directory (resolver type: full)?")),
        false => Ok(told),
    }
}

/// Gives the servers of sites the mesh account's token as each has it, and says which sites took it. `login` is one that may
/// tell them.
///
/// # Errors
///
/// `unavailable` if the bus is away.
pub async fn update_sites(
    url: &str,
    ca: Option<&CaCertificate>,
    login: &Login,
    mesh: &MeshName,
    tokens: &[(SiteName, AccountToken)],
) -> Result<Vec<SiteName>, Error> {
    let failed = |what: &str| Error::unavailable(format!("the sites of the bus at {url} were not told: {what}"));
    let client = kv::connect(url, ca, login, "aigis sites").await.map_err(|error| failed(&error.to_string()))?;
    let telling = tokens.iter().map(async |(site, token)| {
        match tell(&client, permissions::site_subject(mesh, site), token, 1).await {
            Ok(told) => (!told.is_empty()).then(|| site.clone()),
            Err(error) => {
                tracing::warn!(%site, error, "a site does not take the accounts of the mesh");
                None
            }
        }
    });
    Ok(join_all(telling).await.into_iter().flatten().collect())
}

/// Says an account's token under that subject, and which servers took it.
async fn tell(client: &Client, subject: String, token: &AccountToken, expected: usize) -> Result<Vec<String>, String> {
    let inbox = ANSWERS.replace('*', Token::random().as_str());
    let mut answers = client.subscribe(inbox.clone()).await.map_err(|error| error.to_string())?;
    let asked = client.publish_with_reply(subject, inbox, token.jwt.clone().into()).await;
    asked.map_err(|error| error.to_string())?;
    let mut told = Vec::new();
    let mut until = Instant::now() + FIRST;
    while told.len() < MOST
        && let Ok(Some(message)) = timeout_at(until, answers.next()).await
    {
        let Ok(answer) = serde_json::from_slice::<Answer>(&message.payload) else { break };
        if let Some(trouble) = answer.error {
            return Err(format!("{} says: {}", answer.server.name, trouble.description));
        }
        told.push(answer.server.name);
        until = Instant::now() + if told.len() < expected { LATE } else { NEXT };
    }
    Ok(told)
}
