//! A stream of 1 KiB frames with credit, beside plain publish and subscribe.

use std::time::{Duration, Instant};

use aigis_proxy::{
    Request, Role,
    client::{Client, Response},
};
use bytes::Bytes;
use futures::StreamExt;

use crate::{
    Effort,
    bus::{BusServer, connect_raw},
    callee::{self, FRAMES, WINDOW},
    calls::target,
    error::{Error, part},
    rounds::{Figures, median, rate, turns},
    runtimes::{shared, single},
    table::{Goal, Table, thousands},
};

/// The body of a frame, in bytes.
const BODY: usize = 1_024;
/// How long a frame may take to come.
const PATIENCE: Duration = Duration::from_secs(10);

/// Measures all three, in turns.
pub(crate) fn measure(effort: Effort, table: &mut Table) -> Result<(), Error> {
    let server = BusServer::start()?;
    let _callees = (server.callee("raw", callee::RAW)?, server.callee("skill", callee::SKILL)?);
    let (shared, single) = (shared()?, single()?);
    let raw = shared.block_on(connect_raw(server.url(), server.credential("rosa", Role::Operator)?))?;
    let bus = Client::new(single.block_on(server.connect("rita", Role::Operator))?);
    let socket = single.block_on(server.local("rolf"))?;
    let rounds = turns(effort.rounds, || {
        Ok([shared.block_on(plain(&raw))?, single.block_on(frames(&bus))?, single.block_on(frames(&socket))?])
    })?;
    let shown = |which: usize| format!("{} frames/s", thousands(median(rounds.iter().map(|round| round[which]))));
    for (way, which) in [("", 1), (" over the socket", 2)] {
        let ratios: Figures = rounds.iter().map(|round| round[which] / round[0]).collect();
        let work = format!("stream{way}, 1 KiB frames, with credit");
        table.row(&work, shown(which), shown(0), &ratios, Goal::AtLeast(0.7));
    }
    Ok(())
}

async fn plain(client: &async_nats::Client) -> Result<f64, Error> {
    let subject = format!("aigis.v1.main.to.{}.operator.rosa.echo.frames", callee::RAW);
    let inbox = client.new_inbox();
    let mut frames = client.subscribe(inbox.clone()).await.map_err(part("subscribe"))?;
    let body = Bytes::from(vec![b'x'; BODY]);
    let started = Instant::now();
    for _ in 0..FRAMES / WINDOW {
        client.publish_with_reply(subject.clone(), inbox.clone(), body.clone()).await.map_err(part("ask"))?;
        for _ in 0..WINDOW {
            let frame = tokio::time::timeout(PATIENCE, frames.next()).await.map_err(part("await a frame"))?;
            if frame.is_none_or(|frame| frame.payload.len() != BODY) {
                return Err(Error::Part { what: "use a frame", reason: "it is not what was sent".to_owned() });
            }
        }
    }
    Ok(rate(FRAMES, started.elapsed()))
}

async fn frames(client: &Client) -> Result<f64, Error> {
    let request = Request { args: vec!["x".repeat(BODY).into()], ..Request::default() };
    let started = Instant::now();
    let Response::Stream(mut frames) = client.open(&target("frames")?, request).await.map_err(part("call"))? else {
        return Err(Error::Part { what: "call", reason: "the answer is no stream".to_owned() });
    };
    let mut count = 0;
    while let Some(frame) = frames.next().await {
        frame.map_err(part("read a frame"))?;
        count += 1;
    }
    if count == FRAMES {
        Ok(rate(FRAMES, started.elapsed()))
    } else {
        Err(Error::Part { what: "read a stream", reason: format!("{count} frames came") })
    }
}
