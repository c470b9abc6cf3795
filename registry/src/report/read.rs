//! Reading what nodes logged: the last lines of what is kept, and those that come.

use std::{collections::VecDeque, time::Duration};

use aigis_proxy::{
    Bus, Error, NodeName,
    kv::{Log, LogMessage, LogReader, Since},
};
use futures::{Stream, stream};
use time::OffsetDateTime;

use super::{Line, Source};

/// How long it may take until the first line is there.
const WITHIN: Duration = Duration::from_secs(10);
/// How far back the last lines are looked for, step by step, before all is read.
const BACK: [Duration; 4] =
    [Duration::from_secs(60), Duration::from_secs(15 * 60), Duration::from_secs(4 * 3600), Duration::from_secs(86_400)];

/// What is read of a node's log.
#[derive(Debug, Clone)]
pub struct Query {
    /// The node.
    pub node: NodeName,
    /// How many of the last lines.
    pub tail: usize,
    /// Only from this instant on, by the node's clock.
    pub since: Option<OffsetDateTime>,
    /// Only up to this instant, by the node's clock.
    pub until: Option<OffsetDateTime>,
    /// Only from this source.
    pub source: Option<Source>,
    /// Whether to go on with what comes.
    pub follow: bool,
}

/// Reads a node's log from the stream that keeps it; whether the node lives does not matter.
///
/// # Errors
///
/// `permission_denied`, or `unavailable` if the stream cannot be read. A reading that goes on takes itself up again
/// where it broke off.
pub async fn read(
    bus: &Bus,
    query: Query,
) -> Result<impl Stream<Item = Result<Line, Error>> + Send + 'static + use<>, Error> {
    let reader = open(bus, &query).await?;
    let reading = Reading { bus: bus.clone(), query, reader, next: 0, known: 0, ready: VecDeque::new() };
    let reading = reading.last_lines().await?;
    Ok(stream::try_unfold(reading, Reading::step))
}

/// Opens the stream where the last lines are sure to begin at the latest.
async fn open(bus: &Bus, query: &Query) -> Result<LogReader, Error> {
    let at = async |since| LogReader::open(bus, Log::Lines, &[query.node.as_str()], since, WITHIN).await;
    if let Some(since) = query.since {
        // The store takes a line after the node has written it.
        return Ok(at(Since::Time(since)).await?);
    }
    // Filters may pass over lines of the window, so only without any does it tell how many there are.
    if query.until.is_none() && query.source.is_none() {
        for back in BACK {
            let reader = at(Since::Time(OffsetDateTime::now_utc() - back)).await?;
            if reader.pending() >= query.tail as u64 {
                return Ok(reader);
            }
        }
    }
    Ok(at(Since::Beginning).await?)
}

struct Reading {
    bus: Bus,
    query: Query,
    reader: LogReader,
    /// The place in the stream from which on nothing was read.
    next: u64,
    /// The number of the newest line that was read: a line that was sent twice is read once.
    known: u64,
    ready: VecDeque<Line>,
}

impl Reading {
    /// Reads what stands there, and keeps the last lines of it.
    async fn last_lines(mut self) -> Result<Self, Error> {
        let reading = async {
            while self.reader.pending() > 0 {
                let Some(message) = self.reader.next().await? else { break };
                self.take(&message);
                while self.ready.len() > self.query.tail {
                    self.ready.pop_front();
                }
            }
            Ok::<_, Error>(())
        };
        let late = |_| Error::unavailable("the log was not read in time");
        tokio::time::timeout(WITHIN * 3, reading).await.map_err(late)??;
        Ok(self)
    }

    fn take(&mut self, message: &LogMessage) {
        self.next = message.sequence + 1;
        let Ok(line) = serde_json::from_slice::<Line>(&message.body) else { return };
        let Query { since, until, source, .. } = &self.query;
        let wanted = since.is_none_or(|since| line.at.time() >= since)
            && until.is_none_or(|until| line.at.time() <= until)
            && source.is_none_or(|source| line.source == source);
        if wanted && line.seq != self.known {
            self.known = line.seq;
            self.ready.push_back(line);
        }
    }

    /// The next line; `None` at the end.
    async fn step(mut self) -> Result<Option<(Line, Self)>, Error> {
        loop {
            if let Some(line) = self.ready.pop_front() {
                return Ok(Some((line, self)));
            }
            if !self.query.follow {
                return Ok(None);
            }
            match self.reader.next().await {
                Ok(Some(message)) => self.take(&message),
                Ok(None) => {}
                Err(_) => self.reader = self.reopened().await?,
            }
        }
    }

    /// The stream from where the reading broke off, as soon as the bus is back.
    async fn reopened(&self) -> Result<LogReader, Error> {
        let mut link = self.bus.link();
        let since = if self.next == 0 { Since::Beginning } else { Since::Sequence(self.next) };
        loop {
            if link.wait_for(|link| link.up).await.is_err() {
                return Err(Error::unavailable("the connection to the bus was closed"));
            }
            let opened = LogReader::open(&self.bus, Log::Lines, &[self.query.node.as_str()], since, WITHIN).await;
            match opened.map_err(Error::from) {
                Err(error) if error.code == aigis_proxy::Code::Unavailable => {
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
                other => return other,
            }
        }
    }
}
