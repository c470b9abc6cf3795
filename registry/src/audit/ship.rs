//! Brings the spool's lines to the audit stream, in order, each acknowledged before the next.

use std::{io::SeekFrom, time::Duration};

use aigis_proxy::{Bus, kv, task};
use tokio::{
    fs::File,
    io::{AsyncReadExt, AsyncSeekExt},
    sync::watch,
    time::sleep,
};

use super::{
    Line,
    spool::{Cursor, Flushed, Kept, Spool, parse, path, read_cursor, segments, write_cursor},
};

/// How much is read of the disk at once; more than any line has.
const CHUNK: usize = 1024 * 1024;
/// How long one attempt may take, and how long to wait after one that failed.
const ATTEMPT: Duration = Duration::from_secs(5);
const AGAIN: Duration = Duration::from_secs(1);
/// After how many lines the cursor is written.
const NOTED: usize = 64;

/// Ships until the returned task is dropped.
pub(super) fn start(spool: Spool, bus: Bus) -> task::Owned {
    task::Owned::spawn("audit-ship", async move {
        let mut shipper = Shipper { cursor: read_cursor(spool.directory()), flushed: spool.flushed(), spool, bus };
        loop {
            match shipper.round().await {
                Ok(true) => {}
                Ok(false) => {
                    if shipper.flushed.changed().await.is_err() {
                        return;
                    }
                }
                Err(error) => {
                    tracing::error!(%error, "the audit spool cannot be read");
                    sleep(AGAIN).await;
                }
            }
        }
    })
}

struct Shipper {
    spool: Spool,
    bus: Bus,
    flushed: watch::Receiver<Flushed>,
    cursor: Cursor,
}

impl Shipper {
    /// Ships what one reading gives; says whether there was anything.
    async fn round(&mut self) -> std::io::Result<bool> {
        let flushed = *self.flushed.borrow_and_update();
        let directory = self.spool.directory().to_owned();
        let there = segments(&directory)?;
        let Some(segment) = there.iter().copied().find(|segment| *segment >= self.cursor.segment) else {
            return Ok(false);
        };
        if segment > self.cursor.segment {
            self.cursor = Cursor { segment, offset: 0 };
        }
        let mut file = File::open(path(&directory, segment)).await?;
        let end = if segment == flushed.segment { flushed.length } else { file.metadata().await?.len() };
        if self.cursor.offset >= end {
            let next = there.into_iter().find(|other| *other > segment && *other <= flushed.segment);
            let Some(next) = next else { return Ok(false) };
            self.cursor = Cursor { segment: next, offset: 0 };
            write_cursor(&directory, self.cursor)?;
            return Ok(true);
        }
        file.seek(SeekFrom::Start(self.cursor.offset)).await?;
        let mut chunk = Vec::new();
        let size = (end - self.cursor.offset).min(CHUNK as u64);
        file.take(size).read_to_end(&mut chunk).await?;
        let mut count = 0;
        for line in chunk.split_inclusive(|byte| *byte == b'\n') {
            if !line.ends_with(b"\n") && line.len() < CHUNK && (chunk.len() as u64) < end - self.cursor.offset {
                // The rest of this line comes with the next reading.
                break;
            }
            match parse(line) {
                Some(kept) => self.ship(&kept).await,
                None => tracing::error!(segment, offset = self.cursor.offset, "a damaged audit line is left out"),
            }
            let length = line.len() as u64;
            self.cursor.offset += length;
            self.spool.shipped(length);
            count += 1;
            if count % NOTED == 0 {
                write_cursor(&directory, self.cursor)?;
            }
        }
        write_cursor(&directory, self.cursor)?;
        Ok(true)
    }

    /// Ships one line, however long it takes: none is left out and none overtakes another.
    async fn ship(&self, kept: &Kept) {
        let signed = &kept.signed;
        let phase = serde_json::from_str::<Line>(signed.line.get()).map_or("line", |line| line.phase.as_str());
        let subject = self.bus.subjects().event("audit", self.bus.user(), phase);
        let Ok(body) = serde_json::to_vec(signed) else { return };
        let mut link = self.bus.link();
        loop {
            let sent = kv::append(&self.bus, subject.clone(), &signed.digest, body.clone().into(), ATTEMPT).await;
            let Err(error) = sent else { return };
            tracing::debug!(%error, "an audit line waits for the bus");
            sleep(AGAIN).await;
            if link.wait_for(|link| link.up).await.is_err() {
                // The connection was closed for good; this task ends with its owner.
                std::future::pending::<()>().await;
            }
        }
    }
}
