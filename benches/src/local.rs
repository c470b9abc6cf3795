//! Calls over the node's socket beside tarpc over TCP with JSON: both direct, both between two processes.

use std::sync::Arc;

use aigis_proxy::task;
use futures::StreamExt;
use tarpc::{
    client, context,
    server::{BaseChannel, Channel},
    tokio_serde::formats::Json,
};
use tracing::Instrument;

use crate::{
    Effort,
    bus::BusServer,
    callee::{self, until_told},
    calls::{BODY, command, many, skill, wrong},
    error::{Error, part, system},
    rounds::{Figures, Round, median, turns},
    runtimes::single,
    table::{Goal, Table, microseconds, thousands},
};

/// What tarpc's callee does.
#[tarpc::service]
pub(crate) trait Plain {
    /// Says it again.
    async fn echo(text: String) -> String;
}

#[derive(Clone)]
struct Echo;

impl Plain for Echo {
    async fn echo(self, _: context::Context, text: String) -> String {
        text
    }
}

/// Answers over TCP, on a port that it says.
pub(crate) async fn answer() -> Result<(), Error> {
    let mut listening =
        tarpc::serde_transport::tcp::listen(("127.0.0.1", 0), Json::default).await.map_err(system("listen on TCP"))?;
    let port = listening.local_addr().port().to_string();
    let answering = async {
        while let Some(connection) = listening.next().await {
            let channel = BaseChannel::with_defaults(connection.map_err(system("take a connection"))?);
            let serving = channel.execute(Echo.serve()).for_each(|call| async {
                drop(task::spawn("call", call));
            });
            drop(task::spawn("connection", serving));
        }
        Ok(())
    };
    tokio::select! {
        result = answering => result,
        result = until_told(&port) => result,
    }
}

/// Measures both, in turns.
pub(crate) fn measure(effort: Effort, table: &mut Table) -> Result<(), Error> {
    let server = BusServer::start()?;
    let (tarpc, _skills) = (server.callee("tarpc", "gamma")?, server.callee("skill", callee::SKILL)?);
    let single = single()?;
    let ours = single.block_on(server.local("otto"))?;
    let plain = single.block_on(connect(&tarpc.said))?;
    for in_flight in [1, 64] {
        let rounds = turns(effort.rounds, || {
            Ok([
                single.block_on(echo(&plain, in_flight, effort))?,
                single.block_on(skill(&ours, in_flight, effort.round).instrument(command()))?,
            ])
        })?;
        let shown = |which: usize| {
            let p50 = median(rounds.iter().map(|round| round[which].p50.as_secs_f64()));
            format!("{} · {}/s", microseconds(p50), thousands(median(rounds.iter().map(|round| round[which].rate))))
        };
        let ratios: Figures =
            rounds.iter().map(|[plain, ours]| ours.p50.as_secs_f64() / plain.p50.as_secs_f64()).collect();
        let work = format!("call over the socket, 64 B, {in_flight} in flight, beside tarpc over TCP");
        table.row(&work, shown(1), shown(0), &ratios, Goal::AtMost(1.0));
    }
    Ok(())
}

async fn connect(port: &str) -> Result<PlainClient, Error> {
    let port = port.parse().map_err(part("read a port"))?;
    let connecting = tarpc::serde_transport::tcp::connect(("127.0.0.1", port), Json::default);
    let connection = connecting.await.map_err(system("connect over TCP"))?;
    Ok(PlainClient::new(client::Config::default(), connection).spawn())
}

/// One round of tarpc's calls.
async fn echo(client: &PlainClient, in_flight: usize, effort: Effort) -> Result<Round, Error> {
    let (client, text) = (Arc::new(client.clone()), "x".repeat(BODY));
    many(in_flight, effort.round, move || {
        let (client, text) = (client.clone(), text.clone());
        async move {
            let text = client.echo(context::current(), text).await.map_err(part("call over TCP"))?;
            if text.len() == BODY { Ok(()) } else { Err(wrong()) }
        }
    })
    .await
}
