//! The bytes of an archive, decompressed where they are compressed, with a bound on time and on what comes of them.

use std::{
    io::{self, BufRead, BufReader, Chain, Cursor, Read},
    time::Instant,
};

use flate2::bufread::GzDecoder;
use zstd::stream::read::Decoder as ZstdDecoder;

use super::{
    Limits,
    error::{Error, Form, Reached},
};

/// How many times its size compressed content may have.
const RATIO: u64 = 200;
/// Up to how many bytes of content the ratio says nothing.
const RATIO_FROM: u64 = 1024 * 1024;
/// The largest window of zstd, as a power of two: what every decoder has to take (RFC 8878, section 3.1.1.1.2).
const WINDOW: u32 = 23;
const BUFFER: usize = 64 * 1024;
const GZIP: &[u8] = b"\x1f\x8b";
const ZSTD: &[u8] = b"\x28\xb5\x2f\xfd";

/// An archive that is read from its beginning to its end.
pub(super) struct Source<R: Read> {
    form: Compression<R>,
    limits: Limits,
    began: Instant,
    /// Plain bytes so far.
    unpacked: u64,
}

enum Compression<R: Read> {
    Plain(Counted<R>),
    Gzip(Box<GzDecoder<Counted<R>>>),
    Zstd(Box<ZstdDecoder<'static, Counted<R>>>),
}

impl<R: Read> Source<R> {
    /// Looks at the first bytes: they tell how the archive is compressed.
    pub(super) fn new(mut reader: R, limits: &Limits) -> Result<Self, Error> {
        let began = Instant::now();
        let mut head = Vec::new();
        reader.by_ref().take(ZSTD.len() as u64).read_to_end(&mut head).map_err(Error::Stream)?;
        let (gzip, zstd) = (head.starts_with(GZIP), head.starts_with(ZSTD));
        let whole = Cursor::new(head).chain(Watched(reader));
        let reader = Counted { inner: BufReader::with_capacity(BUFFER, whole), count: 0 };
        let form = if gzip {
            Compression::Gzip(Box::new(GzDecoder::new(reader)))
        } else if zstd {
            let mut decoder = ZstdDecoder::with_buffer(reader).map_err(Error::Stream)?.single_frame();
            decoder.window_log_max(WINDOW).map_err(Error::Stream)?;
            Compression::Zstd(Box::new(decoder))
        } else {
            Compression::Plain(reader)
        };
        Ok(Self { form, limits: *limits, began, unpacked: 0 })
    }

    /// How many bytes were read, as they came.
    pub(super) fn read_so_far(&self) -> u64 {
        match &self.form {
            Compression::Plain(reader) => reader.count,
            Compression::Gzip(decoder) => decoder.get_ref().count,
            Compression::Zstd(decoder) => decoder.get_ref().count,
        }
    }

    /// The refusal of what reached a limit.
    pub(super) fn limit(&self, reached: Reached, at: Option<(u64, String)>) -> Error {
        Error::Limit { reached, read: self.read_so_far(), at }
    }

    /// Whether there is time left.
    pub(super) fn in_time(&self) -> Result<(), Error> {
        if self.began.elapsed() >= self.limits.time {
            return Err(self.limit(Reached::Time(self.limits.time), None));
        }
        Ok(())
    }

    /// Reads some plain bytes; 0 at the end, behind which nothing follows.
    pub(super) fn read(&mut self, into: &mut [u8]) -> Result<usize, Error> {
        self.in_time()?;
        let count = loop {
            let read = match &mut self.form {
                Compression::Plain(reader) => reader.read(into),
                Compression::Gzip(decoder) => decoder.read(into),
                Compression::Zstd(decoder) => decoder.read(into),
            };
            match read {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.broken(error)),
                Ok(count) => break count,
            }
        };
        if count == 0 && !into.is_empty() {
            self.end()?;
        }
        self.unpacked += count as u64;
        let bound = self.read_so_far().saturating_mul(RATIO).max(RATIO_FROM);
        if !matches!(self.form, Compression::Plain(_)) && self.unpacked > bound {
            return Err(self.limit(Reached::Ratio(RATIO), None));
        }
        Ok(count)
    }

    /// Nothing may follow what was compressed.
    fn end(&mut self) -> Result<(), Error> {
        let (reader, magic) = match &mut self.form {
            Compression::Plain(_) => return Ok(()),
            Compression::Gzip(decoder) => (decoder.get_mut(), GZIP),
            Compression::Zstd(decoder) => (decoder.get_mut(), ZSTD),
        };
        let rest = reader.fill_buf().map_err(source)?;
        let form = match rest {
            [] => return Ok(()),
            _ if rest.starts_with(magic) => Form::SecondMember,
            _ => Form::Junk,
        };
        Err(Error::Compression { read: reader.count, form })
    }

    fn broken(&self, error: io::Error) -> Error {
        if error.get_ref().is_some_and(|inner| inner.is::<SourceFailed>()) || matches!(self.form, Compression::Plain(_))
        {
            return source(error);
        }
        let form = match error.kind() {
            io::ErrorKind::UnexpectedEof => Form::Cut,
            // The decoder has no kind for this, only these words.
            _ if error.to_string().contains("too much memory") => {
                return self.limit(Reached::Window(1 << WINDOW), None);
            }
            _ => Form::Damaged,
        };
        Error::Compression { read: self.read_so_far(), form }
    }
}

/// What the reader met, taken out of its wrapping.
fn source(error: io::Error) -> Error {
    let failed = error.downcast::<SourceFailed>().map(|SourceFailed(inner)| inner);
    Error::Stream(failed.unwrap_or_else(|error| error))
}

/// A failure of the reader that the archive comes from, and not of a decoder.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct SourceFailed(io::Error);

/// Marks the failures of a reader.
struct Watched<R>(R);

impl<R: Read> Read for Watched<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.0.read(into).map_err(|error| match error.kind() {
            io::ErrorKind::Interrupted => error,
            _ => io::Error::other(SourceFailed(error)),
        })
    }
}

/// Counts what is taken out of a buffer.
struct Counted<R: Read> {
    inner: BufReader<Chain<Cursor<Vec<u8>>, Watched<R>>>,
    count: u64,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(into)?;
        self.count += count as u64;
        Ok(count)
    }
}

impl<R: Read> BufRead for Counted<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.inner.fill_buf()
    }

    fn consume(&mut self, amount: usize) {
        self.count += amount as u64;
        self.inner.consume(amount);
    }
}
