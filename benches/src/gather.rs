//! Asking many CIs at once, and taking the answers as they come, beside as many plain requests.

use std::time::{Duration, Instant};

use aigis_proxy::{
    Request, Role,
    client::{Client, Target},
};
use bytes::Bytes;
use futures::{StreamExt, stream::FuturesUnordered};

use crate::{
    Effort,
    bus::{BusServer, connect_raw},
    callee::{self, CIS},
    calls::{BODY, target, wrong},
    error::{Error, part},
    rounds::{Figures, median, turns},
    runtimes::{shared, single},
    table::{Goal, Table, milliseconds},
};

/// How many gathers make a round: one alone is too short to be compared.
const GATHERS: usize = 20;

/// Measures both, in turns.
pub(crate) fn measure(effort: Effort, table: &mut Table) -> Result<(), Error> {
    let server = BusServer::start()?;
    let _callees = (server.callee("raw", callee::RAW)?, server.callee("skill", callee::SKILL)?);
    let (shared, single) = (shared()?, single()?);
    let raw = shared.block_on(connect_raw(server.url(), server.credential("gesa", Role::Operator)?))?;
    let ours = Client::new(single.block_on(server.connect("gina", Role::Operator))?);
    let targets = targets()?;
    let rounds = turns(effort.rounds, || {
        let (mut plain, mut gathered) = (Vec::new(), Vec::new());
        for _ in 0..GATHERS {
            plain.push(shared.block_on(request_all(&raw))?.as_secs_f64());
            gathered.push(single.block_on(call_all(&ours, &targets))?.as_secs_f64());
        }
        Ok((median(plain), median(gathered)))
    })?;
    let ratios: Figures = rounds.iter().map(|(plain, ours)| ours / plain).collect();
    let (ours, plain) = (median(rounds.iter().map(|round| round.1)), median(rounds.iter().map(|round| round.0)));
    let work = format!("gather from {CIS} CIs of one process");
    table.row(&work, milliseconds(ours), milliseconds(plain), &ratios, Goal::AtMost(1.5));
    Ok(())
}

fn targets() -> Result<Vec<Target>, Error> {
    let of = |number| Ok(Target { ci: callee::name(number)?, ..target("echo")? });
    (0..CIS).map(of).collect()
}

async fn request_all(client: &async_nats::Client) -> Result<Duration, Error> {
    let body = Bytes::from(vec![b'x'; BODY]);
    let started = Instant::now();
    let mut asked: FuturesUnordered<_> = (0..CIS)
        .map(|number| {
            let subject = format!("aigis.v1.main.to.{}.operator.gesa.echo{number}.echo", callee::RAW);
            client.request(subject, body.clone())
        })
        .collect();
    while let Some(reply) = asked.next().await {
        if reply.map_err(part("ask"))?.payload.len() != BODY {
            return Err(wrong());
        }
    }
    Ok(started.elapsed())
}

async fn call_all(client: &Client, targets: &[Target]) -> Result<Duration, Error> {
    let text = "x".repeat(BODY);
    let started = Instant::now();
    let call = |target| client.call(target, Request { args: vec![text.clone().into()], ..Request::default() });
    let mut asked: FuturesUnordered<_> = targets.iter().map(call).collect();
    while let Some(value) = asked.next().await {
        if value.map_err(part("call"))?.as_str().map(str::len) != Some(BODY) {
            return Err(wrong());
        }
    }
    Ok(started.elapsed())
}
