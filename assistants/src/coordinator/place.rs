//! How a holder speaks with a place.

use std::time::Duration;

use aigis_proxy::{
    Code, Error, NodeName,
    chain::{Attempt, ChainId},
    fault::{self, Point},
    rpc::{self, Asker},
    services::steps::{Ended, Known, News, Order, Question, STEPS, StepsClient, StepsRequest, StepsResponse},
};
use aigis_registry::shared::ChainRecord;
use tokio::time::{Instant, sleep, timeout};

use super::{Core, holding::Told, log::StepLog, records::now};
use crate::machine;

/// How long a command may take.
const COMMAND: Duration = Duration::from_secs(20);
/// How long news are waited for; the place answers before.
const NEWS: Duration = Duration::from_secs(40);
/// How long after an answer that did not come.
const PAUSE: Duration = Duration::from_millis(500);
/// How long an attempt is given to end.
const ENDING: Duration = Duration::from_secs(20);
/// How often an order is given to a place that knows nothing of it.
const ORDERS: usize = 4;
/// How long a place that is not known to be lost may refuse to answer to an order.
const SILENT: Duration = Duration::from_secs(90);

/// What came of following an attempt.
#[derive(Debug)]
pub(super) enum Followed {
    /// It ended.
    Ended(Box<Ended>),
    /// Somebody wants something else.
    Told(Told),
    /// Its place is lost.
    Lost,
}

/// How long something is followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Patience {
    /// Until somebody wants something else.
    UntilTold,
    /// To its end; who wants something else breaks it off himself.
    ToTheEnd,
}

impl Core {
    fn place(&self, place: &NodeName) -> StepsClient<Asker<StepsRequest, StepsResponse>> {
        StepsClient::from(Asker::new(&self.parts.bus, place.as_str(), STEPS))
    }

    /// Gives an order, which the place may have had before, and follows the attempt to its end.
    pub(super) async fn follow(
        &self,
        place: &NodeName,
        order: &Order,
        log: &StepLog,
        patience: Patience,
    ) -> Result<Followed, Error> {
        let (id, epoch) = (&order.attempt.chain, order.epoch);
        let following = self.follow_at(place, order, log);
        tokio::select! {
            followed = following => followed,
            told = self.told(id, epoch), if patience == Patience::UntilTold => Ok(Followed::Told(told)),
            () = self.lost(place) => Ok(Followed::Lost),
        }
    }

    /// Completes when a place is surely away.
    async fn lost(&self, place: &NodeName) {
        while !self.is_lost(place) {
            sleep(Duration::from_secs(1)).await;
        }
    }

    async fn follow_at(&self, place: &NodeName, order: &Order, log: &StepLog) -> Result<Followed, Error> {
        let client = self.place(place);
        let attempt = &order.attempt;
        let (mut known, mut orders, mut asked) = (Known::default(), 0, Vec::new());
        let mut order = order.clone();
        let mut silent_since: Option<Instant> = None;
        let mut is_ordered = false;
        loop {
            if !is_ordered {
                match rpc::answered(client.run(rpc::within(COMMAND), order.clone()).await) {
                    Ok(()) => {
                        fault::point(Point::StepOrdered);
                        (is_ordered, silent_since) = (true, None);
                    }
                    Err(error) if super::records::is_away(&error) => {
                        let since = *silent_since.get_or_insert_with(Instant::now);
                        if since.elapsed() > SILENT {
                            return Ok(Followed::Ended(Box::new(unable(error))));
                        }
                        sleep(PAUSE).await;
                        continue;
                    }
                    // Whoever has no room, or no engine, is no fault of the assistant's.
                    Err(error) if error.code == Code::ResourceExhausted => {
                        let error = Error { code: Code::Unavailable, ..error };
                        return Ok(Followed::Ended(Box::new(unable(error))));
                    }
                    Err(error) => return Ok(Followed::Ended(Box::new(unable(error)))),
                }
                // A bid is taken up once.
                order.bid = None;
                orders += 1;
            }
            let news = match rpc::answered(client.follow(rpc::within(NEWS), attempt.clone(), known).await) {
                Ok(news) => news,
                Err(error) if error.code == Code::NotFound && orders < ORDERS => {
                    is_ordered = false;
                    continue;
                }
                Err(error) if super::records::is_away(&error) => {
                    sleep(PAUSE).await;
                    continue;
                }
                Err(error) => {
                    let error = Error { code: Code::Unavailable, ..error };
                    return Ok(Followed::Ended(Box::new(unable(error))));
                }
            };
            let News { version, log: piece, log_from, questions, progress, ended } = news;
            if log_from > known.log && known.log > 0 {
                log.line(&format!("[{} bytes of the log were left out]", log_from - known.log));
            }
            log.write(&piece.0);
            if let Some((part, words)) = progress {
                log.progress(part, words);
            }
            known = Known { log: log_from + piece.0.len() as u64, version };
            if let Some(ended) = ended {
                log.asks(false);
                if !asked.is_empty() {
                    self.ask(&attempt.chain, order.epoch, None).await?;
                }
                return Ok(Followed::Ended(ended));
            }
            log.asks(!questions.is_empty());
            if asked != questions {
                self.ask(&attempt.chain, order.epoch, questions.first().cloned()).await?;
                asked = questions;
            }
        }
    }

    /// Writes the question that waits, or that none does.
    pub(super) async fn ask(&self, chain: &ChainId, epoch: u64, question: Option<Question>) -> Result<(), Error> {
        let change = |record: &ChainRecord| {
            (record.question != question).then(|| machine::asking(record, question.clone(), now()))
        };
        self.update(chain, epoch, change).await.map(drop)
    }

    /// Ends an attempt, and waits for how it ended; `None` if its place does not say.
    pub(super) async fn end_at(&self, place: &NodeName, attempt: &Attempt, epoch: u64) -> Option<Ended> {
        let client = self.place(place);
        let ending = async {
            loop {
                if self.is_lost(place) {
                    return None;
                }
                match rpc::answered(client.end(rpc::within(COMMAND), attempt.clone(), epoch).await) {
                    Ok(()) => break,
                    Err(error) if super::records::is_away(&error) => sleep(PAUSE).await,
                    Err(error) => {
                        tracing::debug!(%attempt, %error, "an attempt is not ended");
                        return None;
                    }
                }
            }
            let mut known = Known::default();
            loop {
                match rpc::answered(client.follow(rpc::within(NEWS), attempt.clone(), known).await) {
                    Ok(News { ended: Some(ended), .. }) => return Some(*ended),
                    Ok(news) => {
                        known = Known { log: news.log_from + news.log.0.len() as u64, version: news.version };
                    }
                    Err(error) if super::records::is_away(&error) => sleep(PAUSE).await,
                    Err(_) => return None,
                }
            }
        };
        timeout(ENDING, ending).await.ok().flatten()
    }

    /// Has a place forget a step. One that does not hear it finds in the record that the step is over.
    pub(super) async fn forget_at(&self, place: &NodeName, chain: &ChainId, step: u32, epoch: u64) {
        let (client, chain) = (self.place(place), chain.clone());
        let forgetting = async move {
            for _ in 0..3 {
                match rpc::answered(client.forget(rpc::within(COMMAND), chain.clone(), step, epoch).await) {
                    Err(error) if super::records::is_away(&error) => sleep(PAUSE).await,
                    _ => return,
                }
            }
        };
        let _ = timeout(COMMAND, forgetting).await;
    }
}

/// The end of an attempt that its place never began.
fn unable(error: Error) -> Ended {
    let at = now().to_string();
    Ended {
        result: Err(error),
        remains: Default::default(),
        started_at: at.clone(),
        ended_at: at,
        log: None,
        log_dropped: 0,
    }
}
