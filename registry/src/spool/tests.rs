use std::sync::Mutex;

use super::*;

/// Numbered words.
#[derive(Debug, Clone, Default)]
struct Words(u64);

impl Content for Words {
    type Item = String;
    type Kept = (u64, String);

    const NAME: &'static str = "words";
    const FLUSHED: bool = false;
    const KEPT_FOR: Duration = Duration::ZERO;

    fn found(&mut self, kept: &(u64, String)) {
        self.0 = kept.0;
    }

    fn next(&mut self, item: &String) -> serde_json::Result<(u64, String)> {
        self.0 += 1;
        Ok((self.0, item.clone()))
    }

    fn last(&self) -> u64 {
        self.0
    }
}

fn open(directory: &Path) -> Spool<Words> {
    Spool::open(directory, Words::default(), drop).unwrap()
}

/// Ships until nothing waits, and gives the numbers that arrived.
async fn shipped(spool: &Spool<Words>) -> Vec<u64> {
    let arrived: Arc<Mutex<Vec<u64>>> = Arc::default();
    let taken = arrived.clone();
    let shipping = ship(spool.clone(), move |(number, _)| {
        taken.lock().unwrap().push(number);
        std::future::ready(())
    });
    let mut left = 1000;
    while spool.backlog() > 0 {
        left -= 1;
        assert!(left > 0, "{} bytes still wait", spool.backlog());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    drop(shipping);
    std::mem::take(&mut *arrived.lock().unwrap())
}

#[tokio::test]
async fn flt_13_all_that_waited_arrives_in_order_over_restarts_and_segments() {
    let directory = tempfile::tempdir().unwrap();
    // Several readings a segment and several segments, no line of which ends where a reading does.
    let word = "x".repeat(10_007);
    let mut count = 0;
    for _ in 0..3 {
        let spool = open(directory.path());
        for _ in 0..300 {
            spool.append(word.clone()).await.unwrap();
            count += 1;
        }
    }
    assert!(segments(directory.path()).unwrap().len() >= 3);
    let spool = open(directory.path());
    assert!(spool.backlog() > count * 10_007);
    assert_eq!(shipped(&spool).await, (1..=count).collect::<Vec<_>>());
    drop(spool);

    let spool = open(directory.path());
    assert_eq!(spool.backlog(), 0, "nothing is shipped twice");
    spool.append("more".to_owned()).await.unwrap();
    assert_eq!(shipped(&spool).await, [count + 1]);
}

#[tokio::test]
async fn what_was_shipped_makes_room() {
    let directory = tempfile::tempdir().unwrap();
    let spool = open(directory.path());
    let word = "x".repeat(100_000);
    for round in 0..4 {
        for _ in 0..SEGMENT / 100_000 + 1 {
            spool.append(word.clone()).await.unwrap();
        }
        let _numbers = shipped(&spool).await;
        let there = segments(directory.path()).unwrap();
        assert!(there.len() <= 2, "round {round}: {there:?}");
    }
}

#[tokio::test]
async fn a_spool_whose_newest_segment_is_empty_goes_on_behind_it() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(path(directory.path(), 40), "").unwrap();
    write_cursor(directory.path(), Cursor { segment: 40, offset: 0 }).unwrap();
    let spool = open(directory.path());
    spool.append("here".to_owned()).await.unwrap();
    assert_eq!(segments(directory.path()).unwrap(), [40]);
    assert_eq!(shipped(&spool).await.len(), 1);
}

#[tokio::test]
async fn a_full_queue_takes_no_more_and_makes_nobody_wait() {
    let directory = tempfile::tempdir().unwrap();
    let spool = open(directory.path());
    let taken = (0..200 * QUEUE).filter(|_| spool.offer("x".to_owned())).count();
    assert!(taken >= QUEUE, "{taken}");
    spool.append("last".to_owned()).await.unwrap();
    let numbers = shipped(&spool).await;
    assert_eq!(numbers.len(), taken + 1);
}
