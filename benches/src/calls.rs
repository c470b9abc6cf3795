//! Skill calls beside plain request and reply: 64 bytes, with 1, 64 and 256 in flight.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use aigis_proxy::{
    Name, Request, Role, SkillPath, UserName,
    client::{Client, Target},
    task,
};
use bytes::Bytes;
use tracing::Instrument;

use crate::{
    Effort,
    bus::{BusServer, connect_raw},
    callee,
    error::{Error, part},
    rounds::{Figures, Round, median, turns},
    runtimes::{shared, single},
    table::{Goal, Table, microseconds, thousands},
};

/// The body of a call, in bytes.
pub(crate) const BODY: usize = 64;

/// Measures all three, in turns.
pub(crate) fn measure(effort: Effort, table: &mut Table) -> Result<(), Error> {
    let server = BusServer::start()?;
    let _callees = (server.callee("raw", callee::RAW)?, server.callee("skill", callee::SKILL)?);
    // The plain client runs as its own documentation shows it; ours as `aish` does.
    let (shared, single) = (shared()?, single()?);
    let credential = |name: &str| server.credential(name, Role::Operator);
    let raw_shared = shared.block_on(connect_raw(server.url(), credential("olga")?))?;
    let raw_single = single.block_on(connect_raw(server.url(), credential("oskar")?))?;
    let ours_single = Client::new(single.block_on(server.connect("otto", Role::Operator))?);
    let ours_shared = Client::new(shared.block_on(server.connect("olaf", Role::Operator))?);
    for in_flight in [1, 64, 256] {
        let rounds = turns(effort.rounds, || {
            Ok([
                shared.block_on(plain(&raw_shared, "olga", in_flight, effort.round))?,
                single.block_on(skill(&ours_single, in_flight, effort.round).instrument(command()))?,
                shared.block_on(skill(&ours_shared, in_flight, effort.round).instrument(command()))?,
                single.block_on(plain(&raw_single, "oskar", in_flight, effort.round))?,
            ])
        })?;
        rows(table, in_flight, &rounds);
    }
    Ok(())
}

/// The span of a command, whose calls are part of its trace.
pub(crate) fn command() -> tracing::Span {
    tracing::info_span!("bench")
}

fn rows(table: &mut Table, in_flight: usize, rounds: &[[Round; 4]]) {
    let p50 = |which: usize| median(rounds.iter().map(|round| round[which].p50.as_secs_f64()));
    let rate = |which: usize| median(rounds.iter().map(|round| round[which].rate));
    let times = |which: usize| -> Figures {
        rounds.iter().map(|round| round[which].p50.as_secs_f64() / round[0].p50.as_secs_f64()).collect()
    };
    let rates = |which: usize| -> Figures { rounds.iter().map(|round| round[which].rate / round[0].rate).collect() };
    let shown = |which: usize| format!("{} · {}/s", microseconds(p50(which)), thousands(rate(which)));
    let kinds = [("skill call", 1), ("skill call, caller on a shared runtime", 2), ("plain request, one thread", 3)];
    for (name, which) in kinds {
        let (ratios, goal) =
            if in_flight == 1 { (times(which), Goal::AtMost(1.10)) } else { (rates(which), Goal::AtLeast(1.2)) };
        let goal = if which == 1 { goal } else { Goal::None };
        table.row(&format!("{name}, 64 B, {in_flight} in flight"), shown(which), shown(0), &ratios, goal);
    }
}

/// One round of plain requests.
async fn plain(client: &async_nats::Client, user: &str, in_flight: usize, round: Duration) -> Result<Round, Error> {
    let subject = format!("aigis.v1.main.to.{}.operator.{user}.echo.echo", callee::RAW);
    let (client, body) = (client.clone(), Bytes::from(vec![b'x'; BODY]));
    many(in_flight, round, move || {
        let (client, subject, body) = (client.clone(), subject.clone(), body.clone());
        async move {
            let reply = client.request(subject, body).await.map_err(part("ask"))?;
            if reply.payload.len() == BODY { Ok(()) } else { Err(wrong()) }
        }
    })
    .await
}

/// One round of skill calls.
pub(crate) async fn skill(client: &Client, in_flight: usize, round: Duration) -> Result<Round, Error> {
    let target = Arc::new(target("echo")?);
    let (client, text) = (client.clone(), "x".repeat(BODY));
    many(in_flight, round, move || {
        let (client, target, text) = (client.clone(), target.clone(), text.clone());
        async move {
            let request = Request { args: vec![text.into()], ..Request::default() };
            let value = client.call(&target, request).await.map_err(part("call"))?;
            if value.as_str().is_some_and(|text| text.len() == BODY) { Ok(()) } else { Err(wrong()) }
        }
    })
    .await
}

/// The callee's skill of that path.
pub(crate) fn target(path: &str) -> Result<Target, Error> {
    Ok(Target {
        server: UserName::parse(callee::SKILL).map_err(part("name the server"))?,
        ci: Name::parse(callee::CI).map_err(part("name the CI"))?,
        path: SkillPath::parse(path).map_err(part("name the skill"))?,
        timeout: None,
    })
}

pub(crate) fn wrong() -> Error {
    Error::Part { what: "use a reply", reason: "it is not what was sent".to_owned() }
}

/// Keeps so many calls in flight for a while, each in a task of its own.
pub(crate) async fn many<F, Fut>(in_flight: usize, round: Duration, call: F) -> Result<Round, Error>
where
    F: Fn() -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<(), Error>> + Send + 'static,
{
    let (call, started) = (Arc::new(call), Instant::now());
    let callers: Vec<_> = (0..in_flight)
        .map(|_| {
            let call = call.clone();
            let calling = async move {
                let mut times = Vec::new();
                while started.elapsed() < round {
                    let begun = Instant::now();
                    call().await?;
                    times.push(begun.elapsed());
                }
                Ok(times)
            };
            task::spawn("caller", calling.in_current_span())
        })
        .collect();
    let mut times = Vec::new();
    for caller in callers {
        times.extend(caller.await.map_err(part("join a caller"))??);
    }
    Ok(Round::of(times, started.elapsed()))
}
