//! The memory of a process whose calls run into their deadlines, beside that of one with plain requests.

use std::{sync::Arc, time::Duration};

use aigis_proxy::{Code, Meta, Request, Role, client, identity::Credential};
use futures::StreamExt;
use rustix::process::getpid;

use crate::{
    Effort,
    bus::{BusServer, connect, connect_raw},
    callee::{self, until_told},
    calls::target,
    error::{Error, part},
    rounds::Figures,
    table::{Goal, Table},
};

/// How many calls.
const CALLS: usize = 40_000;
/// How many before them, which show what the process needs at all.
const FIRST: usize = 4_000;
/// How many at once; a callee takes no more than 1,024 from one caller.
const AT_ONCE: usize = 500;
/// How long each waits.
const PATIENCE: Duration = Duration::from_millis(20);
/// The growth that counts as none, in bytes: a tenth of what the plain client keeps.
const FLAT: f64 = 2.0 * 1024.0 * 1024.0;

/// Measures both, once: what grows does not depend on the load of the machine.
pub(crate) fn measure(_: Effort, table: &mut Table) -> Result<(), Error> {
    let server = BusServer::start()?;
    let _callees = (server.callee("raw", callee::RAW)?, server.callee("skill", callee::SKILL)?);
    let plain = grown(&server, "plain-timeouts", "paul")?;
    let ours = grown(&server, "timeouts", "pia")?;
    let mebibytes = |bytes: f64| format!("{:+.1} MB", bytes / 1024.0 / 1024.0);
    let limit = format!("plain requests: {}; limit {}", mebibytes(plain), mebibytes(FLAT));
    let ratio: Figures = std::iter::once(ours.max(0.0) / FLAT).collect();
    let work = "memory after 40,000 calls that time out".to_owned();
    table.row(&work, mebibytes(ours), limit, &ratio, Goal::AtMost(1.0));
    Ok(())
}

fn grown(server: &BusServer, kind: &str, name: &str) -> Result<f64, Error> {
    server.process(kind, name, Role::Operator)?.said.parse().map_err(part("read an amount"))
}

/// Calls a skill that does not answer, and says by how much the process grew.
pub(crate) async fn call(url: &str, credential: Credential) -> Result<(), Error> {
    let (bus, target) = (connect(url, Arc::new(credential)).await?, target("never")?);
    let one = || async {
        let meta = Meta { timeout: Some(PATIENCE), ..Meta::default() };
        match client::call(&bus, &target, Request { meta, ..Request::default() }).await {
            Err(error) if error.code == Code::DeadlineExceeded => Ok(()),
            other => Err(Error::Part { what: "run into a deadline", reason: format!("{other:?}") }),
        }
    };
    many(FIRST, one).await?;
    let before = resident();
    many(CALLS, one).await?;
    until_told(&(resident() - before).to_string()).await
}

/// The same with plain requests.
pub(crate) async fn request(url: &str, credential: Credential) -> Result<(), Error> {
    let subject = format!("aigis.v1.main.to.{}.operator.{}.echo.never", callee::RAW, credential.name());
    let client = connect_raw(url, credential).await?;
    let one = || async {
        match tokio::time::timeout(PATIENCE, client.request(subject.clone(), "x".into())).await {
            Err(_) => Ok(()),
            Ok(other) => Err(Error::Part { what: "run into a deadline", reason: format!("{other:?}") }),
        }
    };
    many(FIRST, one).await?;
    let before = resident();
    many(CALLS, one).await?;
    until_told(&(resident() - before).to_string()).await
}

async fn many<F, Fut>(count: usize, one: F) -> Result<(), Error>
where
    F: Fn() -> Fut,
    Fut: Future<Output = Result<(), Error>>,
{
    let mut calls = futures::stream::iter((0..count).map(|_| one())).buffer_unordered(AT_ONCE);
    while let Some(ended) = calls.next().await {
        ended?;
    }
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "a process is smaller than 2^52 bytes")]
fn resident() -> f64 {
    aigis_tests::resident_bytes(getpid()) as f64
}
