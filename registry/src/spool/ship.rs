//! Brings a spool's lines to the bus, in order, each taken before the next is sent.

use std::{io::SeekFrom, time::Duration};

use aigis_proxy::{Bus, task};
use tokio::{
    fs::File,
    io::{AsyncReadExt, AsyncSeekExt},
    sync::watch,
    time::sleep,
};

use super::{Content, Cursor, Spool, Written, parse, path, read_cursor, segments, write_cursor};

/// How much is read of the disk at once; more than any line has.
const CHUNK: usize = 1024 * 1024;
/// How long to wait after an attempt that failed.
const AGAIN: Duration = Duration::from_secs(1);
/// After how many lines the cursor is written.
const NOTED: usize = 64;

/// Ships until the returned task is dropped: `deliver` returns once a line needs no further attempt.
pub(crate) fn ship<C: Content, F>(
    spool: Spool<C>,
    deliver: impl Fn(C::Kept) -> F + Send + Sync + 'static,
) -> task::Owned
where
    F: Future<Output = ()> + Send,
{
    task::Owned::spawn("ship", async move {
        let mut shipper = Shipper { cursor: read_cursor(&spool.directory), written: spool.written.clone(), spool };
        loop {
            match shipper.round(&deliver).await {
                Ok(true) => {}
                Ok(false) => {
                    if shipper.written.changed().await.is_err() {
                        return;
                    }
                }
                Err(error) => {
                    tracing::error!(%error, spool = C::NAME, "a spool cannot be read");
                    sleep(AGAIN).await;
                }
            }
        }
    })
}

/// Tries to bring one line to the bus, however long it takes: none is left out and none overtakes another.
pub(crate) async fn until_taken<F, T, E: std::fmt::Display>(bus: &Bus, attempt: impl Fn() -> F)
where
    F: Future<Output = Result<T, E>>,
{
    let mut link = bus.link();
    while let Err(error) = attempt().await {
        tracing::debug!(%error, "a line waits for the bus");
        sleep(AGAIN).await;
        if link.wait_for(|link| link.up).await.is_err() {
            // The connection was closed for good; this task ends with its owner.
            std::future::pending::<()>().await;
        }
    }
}

struct Shipper<C: Content> {
    spool: Spool<C>,
    written: watch::Receiver<Written>,
    cursor: Cursor,
}

impl<C: Content> Shipper<C> {
    /// Ships what one reading gives; says whether there was anything.
    async fn round<F>(&mut self, deliver: &(impl Fn(C::Kept) -> F + Sync)) -> std::io::Result<bool>
    where
        F: Future<Output = ()> + Send,
    {
        let written = *self.written.borrow_and_update();
        let directory = self.spool.directory.clone();
        let there = segments(&directory)?;
        let Some(segment) = there.iter().copied().find(|segment| *segment >= self.cursor.segment) else {
            return Ok(false);
        };
        if segment > self.cursor.segment {
            self.cursor = Cursor { segment, offset: 0 };
        }
        let mut file = File::open(path(&directory, segment)).await?;
        let end = if segment == written.segment { written.length } else { file.metadata().await?.len() };
        if self.cursor.offset >= end {
            let next = there.into_iter().find(|other| *other > segment && *other <= written.segment);
            let Some(next) = next else { return Ok(false) };
            self.cursor = Cursor { segment: next, offset: 0 };
            write_cursor(&directory, self.cursor)?;
            return Ok(true);
        }
        file.seek(SeekFrom::Start(self.cursor.offset)).await?;
        let mut chunk = Vec::new();
        let size = (end - self.cursor.offset).min(CHUNK as u64);
        let more = size < end - self.cursor.offset;
        file.take(size).read_to_end(&mut chunk).await?;
        let mut count = 0;
        for line in chunk.split_inclusive(|byte| *byte == b'\n') {
            if !line.ends_with(b"\n") && line.len() < CHUNK && more {
                // The rest of this line comes with the next reading.
                break;
            }
            match parse(line) {
                Some(kept) => deliver(kept).await,
                None => {
                    tracing::error!(
                        spool = C::NAME,
                        segment,
                        offset = self.cursor.offset,
                        "a damaged line is left out"
                    );
                }
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
}
