//! How much is run here at once, and what was offered of it.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use aigis_proxy::{Code, Error, chain::ChainId, services::steps::Room};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, sleep, timeout_at},
};

/// How many steps and builds run at once.
const STEPS: usize = 4;
const BUILDS: usize = 2;
/// How long a bid holds.
const HOLDS: Duration = Duration::from_secs(30);
/// How long it holds against others who want the same room: every place bids for a step, and one of them is taken.
const ALONE: Duration = Duration::from_secs(3);
/// How long somebody is in line who was told that there is no room, and has not asked again.
const IN_LINE: Duration = Duration::from_secs(5);
/// How long a bid waits for room at most, and how long between two looks.
const MOST_PATIENCE: Duration = Duration::from_secs(2);
const BETWEEN: Duration = Duration::from_millis(5);
/// Most bids that are open, besides those that hold a room: apps have no bound of their own.
const BIDS: usize = 256;

/// The rooms of a place.
#[derive(Debug)]
pub(super) struct Rooms {
    steps: Arc<Semaphore>,
    builds: Arc<Semaphore>,
    bids: Mutex<BTreeMap<String, Held>>,
    /// Who waits for room, the oldest chain first, since their ids are in the order of time.
    line: Mutex<BTreeMap<ChainId, (Room, Instant)>>,
}

#[derive(Debug)]
struct Held {
    since: Instant,
    chain: ChainId,
    room: Room,
    permit: Option<OwnedSemaphorePermit>,
}

impl Rooms {
    pub(super) fn new() -> Self {
        let (steps, builds) = (Arc::new(Semaphore::new(STEPS)), Arc::new(Semaphore::new(BUILDS)));
        Self { steps, builds, bids: Mutex::default(), line: Mutex::default() }
    }

    fn of(&self, room: Room) -> Option<&Arc<Semaphore>> {
        match room {
            Room::Step => Some(&self.steps),
            Room::Build => Some(&self.builds),
            Room::App => None,
        }
    }

    /// Keeps room for a while under an id, for the oldest chain of those that wait for it. A chain has one step at a time, and
    /// so one bid.
    pub(super) fn offer(&self, chain: &ChainId, room: Room) -> Result<String, Error> {
        self.expire();
        self.yield_to(chain, room);
        let id = self.keep(chain, room);
        let mut line = self.line.lock().unwrap_or_else(PoisonError::into_inner);
        match &id {
            Ok(_) => drop(line.remove(chain)),
            Err(_) => drop(line.insert(chain.clone(), (room, Instant::now()))),
        }
        id
    }

    /// As [`Rooms::offer`], and waits for room for that long at most.
    pub(super) async fn offer_within(&self, chain: &ChainId, room: Room, patience: Duration) -> Result<String, Error> {
        let until = Instant::now() + patience.min(MOST_PATIENCE);
        loop {
            let offered = self.offer(chain, room);
            let (Some(rooms), Err(_)) = (self.of(room), &offered) else { return offered };
            // Who has waited longer is let in first, and what is idle yields: both show only when it is asked for again.
            let freed = timeout_at(until, async {
                drop(rooms.acquire().await);
                sleep(BETWEEN).await;
            });
            // Whoever was told meanwhile that another place was chosen is in line no more.
            if freed.await.is_err() || !self.is_in_line(chain) {
                return offered;
            }
        }
    }

    fn keep(&self, chain: &ChainId, room: Room) -> Result<String, Error> {
        let full = |what| Err(Error::new(Code::ResourceExhausted, what).with("full", true).sent(false));
        let permit = match self.of(room) {
            None => None,
            Some(rooms) if rooms.available_permits() > 0 && rooms.available_permits() <= self.before(chain, room) => {
                return full("others have waited longer for room here".to_owned());
            }
            Some(rooms) => match rooms.clone().try_acquire_owned() {
                Ok(permit) => Some(permit),
                Err(_) if room == Room::Build => return full(format!("{BUILDS} builds run here already")),
                Err(_) => return full(format!("{STEPS} steps run here already")),
            },
        };
        let mut bids = self.bids.lock().unwrap_or_else(PoisonError::into_inner);
        if bids.len() >= BIDS {
            return full(format!("{BIDS} bids are open here"));
        }
        let id = format!("bid_{}", uuid::Uuid::now_v7().simple());
        bids.insert(id.clone(), Held { since: Instant::now(), chain: chain.clone(), room, permit });
        Ok(id)
    }

    fn is_in_line(&self, chain: &ChainId) -> bool {
        self.line.lock().unwrap_or_else(PoisonError::into_inner).contains_key(chain)
    }

    /// How many older chains wait for such a room.
    fn before(&self, chain: &ChainId, room: Room) -> usize {
        let line = self.line.lock().unwrap_or_else(PoisonError::into_inner);
        line.range(..chain).filter(|(_, (wanted, _))| *wanted == room).count()
    }

    /// Gives back what was offered to a chain, which waits no more either.
    pub(super) fn decline(&self, chain: &ChainId) {
        self.bids.lock().unwrap_or_else(PoisonError::into_inner).retain(|_, held| held.chain != *chain);
        self.line.lock().unwrap_or_else(PoisonError::into_inner).remove(chain);
    }

    /// Gives back what the same chain was offered before, and, if there is no room, what another one has not taken up soon.
    fn yield_to(&self, chain: &ChainId, room: Room) {
        let mut bids = self.bids.lock().unwrap_or_else(PoisonError::into_inner);
        bids.retain(|_, held| held.chain != *chain);
        let is_full = self.of(room).is_some_and(|rooms| rooms.available_permits() == 0);
        let idle = bids.iter().filter(|(_, held)| held.room == room && held.since.elapsed() >= ALONE);
        let oldest = idle.min_by_key(|(_, held)| held.since).map(|(id, _)| id.clone());
        if let Some(oldest) = oldest.filter(|_| is_full) {
            bids.remove(&oldest);
        }
    }

    /// Takes up a bid, once.
    pub(super) fn take(&self, bid: &str, room: Room) -> Option<OwnedSemaphorePermit> {
        self.expire();
        let mut bids = self.bids.lock().unwrap_or_else(PoisonError::into_inner);
        bids.remove(bid).filter(|held| held.room == room)?.permit
    }

    /// Waits in order for room.
    pub(super) async fn enter(&self, room: Room) -> Option<OwnedSemaphorePermit> {
        // They are never closed.
        self.of(room)?.clone().acquire_owned().await.ok()
    }

    /// Gives back what was offered and not taken up.
    pub(super) fn expire(&self) {
        let now = Instant::now();
        self.bids.lock().unwrap_or_else(PoisonError::into_inner).retain(|_, held| held.since + HOLDS > now);
        self.line.lock().unwrap_or_else(PoisonError::into_inner).retain(|_, (_, since)| *since + IN_LINE > now);
    }

    /// How many steps and builds run, or have room kept for them.
    pub(super) fn running(&self) -> usize {
        STEPS + BUILDS - self.steps.available_permits() - self.builds.available_permits()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_bid_holds_its_room_and_is_taken_once() {
        let rooms = Rooms::new();
        let offer = |room| rooms.offer(&ChainId::new(), room);
        let bids: Vec<String> = (0..BUILDS).map(|_| offer(Room::Build).unwrap()).collect();
        assert_eq!(offer(Room::Build).unwrap_err().code, Code::ResourceExhausted);
        assert!(offer(Room::Step).is_ok() && offer(Room::App).is_ok());
        let taken = rooms.take(&bids[0], Room::Build);
        assert!(taken.is_some() && rooms.take(&bids[0], Room::Build).is_none());
        tokio::time::advance(HOLDS + Duration::from_secs(1)).await;
        let again = offer(Room::Build).unwrap();
        assert!(offer(Room::Build).is_err(), "one is taken, one is offered");
        assert!(rooms.take(&again, Room::Step).is_none(), "another kind of room");
        drop(taken);
        tokio::time::advance(IN_LINE).await;
        assert!(offer(Room::Build).is_ok() && offer(Room::Build).is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn chn_37_the_oldest_chain_in_line_is_the_next() {
        let rooms = Rooms::new();
        let mut chains = (0..=BUILDS + 2).map(|_| ChainId::new()).collect::<Vec<_>>();
        chains.sort();
        let [second, third] = [BUILDS, BUILDS + 1].map(|at| chains[at].clone());
        let ids: Vec<String> = chains[..BUILDS].iter().map(|chain| rooms.offer(chain, Room::Build).unwrap()).collect();
        let taken = rooms.take(&ids[0], Room::Build);
        let _other = rooms.take(&ids[1], Room::Build);
        assert!(rooms.offer(&third, Room::Build).is_err() && rooms.offer(&second, Room::Build).is_err());
        drop(taken);
        let refused = rooms.offer(&third, Room::Build).unwrap_err();
        assert!(refused.detail("full").is_some() && refused.message.contains("longer"), "{refused:?}");
        assert!(rooms.offer(&second, Room::Build).is_ok());
        rooms.decline(&second);
        assert!(rooms.offer(&third, Room::Build).is_ok(), "who declines is out of line, and gives its room back");
        rooms.decline(&third);
        assert!(rooms.offer(&chains[BUILDS + 2], Room::Build).is_ok(), "nobody is left in line");
    }

    #[tokio::test(start_paused = true)]
    async fn chn_37_who_may_wait_gets_the_room_that_is_given_back_unless_another_place_was_chosen() {
        let rooms = Arc::new(Rooms::new());
        let taken: Vec<String> = (0..BUILDS).map(|_| rooms.offer(&ChainId::new(), Room::Build).unwrap()).collect();
        let taken: Vec<_> = taken.iter().map(|id| rooms.take(id, Room::Build).unwrap()).collect();
        let (patience, begun) = (Duration::from_millis(500), Instant::now());
        let (first, second) = (ChainId::new(), ChainId::new());
        assert!(rooms.offer_within(&first, Room::Build, patience).await.is_err());
        assert_eq!(begun.elapsed(), patience);
        let waiting = |chain: ChainId| {
            let rooms = rooms.clone();
            async move { rooms.offer_within(&chain, Room::Build, Duration::from_secs(1)).await }
        };
        let (waits, ends) =
            tokio::join!(async { futures::join!(waiting(first.clone()), waiting(second.clone())) }, async {
                sleep(Duration::from_millis(100)).await;
                rooms.decline(&first);
                sleep(Duration::from_millis(100)).await;
                drop(taken);
                Instant::now()
            });
        assert!(waits.0.is_err() && waits.1.is_ok(), "{waits:?}");
        assert!(ends.elapsed() < Duration::from_millis(50));
    }

    #[tokio::test(start_paused = true)]
    async fn chn_37_a_bid_that_nobody_takes_up_yields_to_who_needs_the_room() {
        let rooms = Rooms::new();
        let chain = ChainId::new();
        let own: Vec<String> = (0..=BUILDS).map(|_| rooms.offer(&chain, Room::Build).unwrap()).collect();
        assert!(rooms.take(&own[0], Room::Build).is_none(), "a chain has one bid");
        let other = rooms.offer(&ChainId::new(), Room::Build).unwrap();
        let third = ChainId::new();
        assert!(rooms.offer(&third, Room::Build).is_err());
        tokio::time::advance(ALONE).await;
        assert!(rooms.offer(&third, Room::Build).is_ok());
        assert!(rooms.take(&own[BUILDS], Room::Build).is_none(), "the oldest went");
        assert!(rooms.take(&other, Room::Build).is_some());
    }
}
