//! Logging in to the bus with a right that no user has: to set up the store, and to tell the servers of the accounts.

use std::time::{Duration, SystemTime};

use async_nats::{Client, ConnectErrorKind, ConnectOptions};
use bytes::Bytes;
use futures::{StreamExt, stream::FuturesUnordered};
use serde_json::Value;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::SetupError;
use crate::{
    bus::{addresses, check_version, trust::Trust},
    identity::{CaCertificate, Login, credential::Instant},
};

/// How long a connection may take, and an answer over it.
const ATTEMPT: Duration = Duration::from_secs(5);
/// How long a connection may take where there are other servers to try.
const ATTEMPT_ONE: Duration = Duration::from_secs(2);
/// How often a refused login is tried again.
const REFUSALS: u32 = 3;
/// After how long.
const REFUSED: Duration = Duration::from_millis(250);
/// Where any user asks a server who it is there, and by that what time it is.
const WHO_AM_I: &str = "$SYS.REQ.USER.INFO";

/// Logs in.
///
/// # Errors
///
/// No connection, a server that is not the mesh's, that is too old, or that refuses the login.
pub(crate) async fn connect(
    url: &str,
    ca: Option<&CaCertificate>,
    login: &Login,
    label: &str,
) -> Result<Client, SetupError> {
    let mut again = 0..REFUSALS;
    let client = loop {
        match dial(url, ca, login, label).await {
            // A server that is taking in new tokens of its accounts refuses for a moment whom it admits before and after.
            Err(SetupError::Stranger { .. }) if again.next().is_some() => tokio::time::sleep(REFUSED).await,
            dialled => break dialled?,
        }
    };
    // Before anything is made there: an older one would take half of it.
    let found = client.server_info().version;
    match check_version(&found) {
        Ok(()) => Ok(client),
        Err(floor) => Err(SetupError::TooOld { url: url.to_owned(), found, floor }),
    }
}

/// Connects to whichever server answers first: one that stands still would only be waited for.
async fn dial(url: &str, ca: Option<&CaCertificate>, login: &Login, label: &str) -> Result<Client, SetupError> {
    let each = if url.contains(',') { ATTEMPT_ONE } else { ATTEMPT };
    let mut dials: FuturesUnordered<_> = url.split(',').map(|one| dial_one(one, ca, login, label, each)).collect();
    let mut failure = None;
    while let Some(dialled) = dials.next().await {
        match dialled {
            Ok(client) => return Ok(client),
            // Who answers and refuses says more than who is away.
            Err(error) if failure.is_none() || !matches!(error, SetupError::Connect { .. }) => failure = Some(error),
            Err(_) => {}
        }
    }
    Err(failure.unwrap_or_else(|| SetupError::Silent { url: url.to_owned() }))
}

async fn dial_one(
    url: &str,
    ca: Option<&CaCertificate>,
    login: &Login,
    label: &str,
    within: Duration,
) -> Result<Client, SetupError> {
    let trust = Trust::new(url, ca)?;
    let signer = login.clone();
    let login =
        ConnectOptions::with_jwt(login.jwt().to_owned(), move |nonce| std::future::ready(Ok(signer.sign(&nonce))));
    let addresses = addresses(url).map_err(|source| SetupError::Connect { url: url.to_owned(), source })?;
    let options = login.name(label).connection_timeout(within).request_timeout(Some(ATTEMPT));
    trust.secure(options).connect(addresses).await.map_err(|source| {
        let url = url.to_owned();
        match (trust.refusal(&source), source.kind()) {
            (Some(untrusted), _) => untrusted.into(),
            (None, ConnectErrorKind::AuthorizationViolation) => SetupError::Stranger { url },
            (None, _) => SetupError::Connect { url, source },
        }
    })
}

/// Whether a login that was signed just now was refused because of the clocks: if they are `apart` or more,
/// [`SetupError::Clock`], else `None`. `login` is one that holds for so long that no clock ends it.
pub async fn clocks_apart(url: &str, ca: Option<&CaCertificate>, login: &Login, apart: Duration) -> Option<SetupError> {
    let client = connect(url, ca, login, "aigis clock").await.ok()?;
    let answer = client.request(WHO_AM_I, Bytes::new()).await.ok()?;
    let said: Value = serde_json::from_slice(&answer.payload).ok()?;
    let bus = OffsetDateTime::parse(said.pointer("/server/time")?.as_str()?, &Rfc3339).ok()?;
    let own = OffsetDateTime::from(SystemTime::now());
    let difference = if bus > own { bus - own } else { own - bus };
    let (bus, own) = (Instant::from(bus), Instant::from(own));
    (difference >= apart).then(|| SetupError::Clock { url: url.to_owned(), bus, own })
}
