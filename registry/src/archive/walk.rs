//! The walk over an archive's entries: each header is read and judged before anything of it is believed.

use std::io::Read;

use super::{
    BLOCK, Limits, MAX_PATH,
    census::{Astray, Census, What},
    error::{Error, Form, Reached},
    header::Header,
    path::{self, TreePath},
    pax::{MAX_RECORDS, Records},
    rule::{LinkFault, MetadataFault, PathFault, Rule, escaped},
    source::Source,
};

/// Most bytes of names and records in one archive.
const MAX_METADATA: u64 = 256 * 1024 * 1024;
/// Most empty bytes after the end: archives are padded to the size of a tape's record.
const MAX_PADDING: u64 = 1024 * 1024;
/// The longest name or target that GNU headers bring, with the NUL behind it.
const MAX_LONG: u64 = MAX_PATH as u64 + 1;

/// An archive that is walked over.
pub(super) struct Walk<R: Read> {
    source: Source<R>,
    limits: Limits,
    census: Census,
    /// Where the source stands, in plain bytes.
    offset: u64,
    number: u64,
    /// Bytes of names and records so far.
    metadata: u64,
    /// Bytes of files so far.
    bytes: u64,
    /// What is left of the entry's content, and of the padding behind it.
    left: u64,
    padding: u64,
    at: String,
}

/// An entry that breaks no rule by itself.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) number: u64,
    pub(super) path: TreePath,
    pub(super) what: Content,
    pub(super) odd: Oddities,
}

#[derive(Debug)]
pub(super) enum Content {
    Directory,
    File {
        executable: bool,
    },
    Link(String),
    /// The same content as an earlier file.
    HardLink(TreePath),
}

/// Attributes that a tree does not have.
#[derive(Debug, Default)]
pub(super) struct Oddities {
    pub(super) special: bool,
    pub(super) no_mode: bool,
    pub(super) owner: bool,
    pub(super) time: bool,
    pub(super) extended: bool,
}

/// What was said of the next entry before its header.
#[derive(Debug, Default)]
struct Said {
    records: Option<Records>,
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
}

impl<R: Read> Walk<R> {
    pub(super) fn new(reader: R, limits: &Limits) -> Result<Self, Error> {
        Ok(Self {
            source: Source::new(reader, limits)?,
            limits: *limits,
            census: Census::default(),
            offset: 0,
            number: 0,
            metadata: 0,
            bytes: 0,
            left: 0,
            padding: 0,
            at: String::new(),
        })
    }

    /// The next entry; `None` at the end, once all of it was judged.
    pub(super) fn next(&mut self) -> Result<Option<Member>, Error> {
        self.skip()?;
        let mut said = Said::default();
        loop {
            let mut block = [0; BLOCK];
            match self.fill(&mut block)? {
                0 => return Err(self.form(Form::NoEnd)),
                BLOCK => {}
                _ => return Err(self.form(Form::CutHeader)),
            }
            if block == [0; BLOCK] {
                self.end(&said)?;
                return Ok(None);
            }
            let header =
                Header::read(&block).map_err(|form| Error::Form { offset: self.offset - BLOCK as u64, form })?;
            self.at = escaped(&header.path());
            match header.kind() {
                b'x' if said.records.is_none() => {
                    let bytes = self.text(&header, "records", MAX_RECORDS)?;
                    said.records = Some(Records::read(&bytes).map_err(|fault| self.refuse_next(fault))?);
                }
                b'L' if said.path.is_none() => said.path = Some(self.long(&header, "name")?),
                b'K' if said.link.is_none() => said.link = Some(self.long(&header, "linkname")?),
                kind @ (b'x' | b'L' | b'K') => {
                    let twice = format!("headers of type {}", kind as char);
                    return Err(self.refuse_next(MetadataFault::Twice(twice)));
                }
                b'g' => return Err(self.refuse_next(MetadataFault::Global)),
                _ => {
                    self.number += 1;
                    return self.member(&header, said).map(Some);
                }
            }
        }
    }

    /// Reads some of the content of the entry that came last; 0 at its end.
    pub(super) fn read(&mut self, into: &mut [u8]) -> Result<usize, Error> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(into.len());
        if most == 0 {
            return Ok(0);
        }
        let count = self.source.read(&mut into[..most])?;
        if count == 0 {
            return Err(self.form(Form::CutData));
        }
        self.offset += count as u64;
        self.left -= count as u64;
        Ok(count)
    }

    /// How many bytes are left of the content of the entry that came last.
    pub(super) fn left(&self) -> u64 {
        self.left
    }

    /// Counts bytes that a file gets without bringing them.
    pub(super) fn count(&mut self, bytes: u64) -> Result<(), Error> {
        self.bytes = self.bytes.saturating_add(bytes);
        if self.bytes > self.limits.total_bytes {
            return Err(self.limit(Reached::TotalBytes(self.limits.total_bytes)));
        }
        Ok(())
    }

    /// Whether there is time left.
    pub(super) fn in_time(&self) -> Result<(), Error> {
        self.source.in_time()
    }

    /// How many things the tree has, and how many bytes its files have.
    pub(super) fn totals(&self) -> (u64, u64) {
        (self.census.len(), self.bytes)
    }

    fn member(&mut self, header: &Header<'_>, said: Said) -> Result<Member, Error> {
        let kind = header.kind();
        let (path, link) = self.names(header, &said)?;
        self.at = escaped(&path);
        let size = self.size(header, said.records.as_ref())?;
        let [special, no_mode, owner, time] = header.oddities().map_err(|fault| self.refuse(fault))?;
        let records = said.records.unwrap_or_default();
        let odd = Oddities {
            special,
            no_mode,
            owner: owner || records.odd_owner,
            time: time || records.odd_time,
            extended: records.extended,
        };
        if let Some(name) = refused_type(kind) {
            return Err(self.refuse(name));
        }
        let path = TreePath::parse(&path, kind == b'5').map_err(|fault| self.refuse(fault))?;
        let (what, census) = match kind {
            b'5' => (Content::Directory, What::Directory),
            b'2' => {
                let target = path::link_target(&path, &link).map_err(|rule| self.refuse(rule))?;
                let census = What::Link(target.as_str().into());
                (Content::Link(target), census)
            }
            b'1' => {
                let refuse = |fault| Rule::Link { target: escaped(&link), fault };
                let target = TreePath::parse(&link, false).map_err(|fault| match fault {
                    PathFault::Absolute | PathFault::Parent => refuse(LinkFault::Leaves),
                    fault => refuse(LinkFault::Path(fault)),
                });
                let target = target.map_err(|rule| self.refuse(rule))?;
                self.census.regular_file(&target).map_err(|fault| self.refuse(refuse(fault)))?;
                (Content::HardLink(target), What::File)
            }
            _ => {
                let mode = header.mode().map_err(|fault| self.refuse(fault))?;
                (Content::File { executable: mode & 0o111 != 0 }, What::File)
            }
        };
        self.budget(kind, size)?;
        self.census.add(self.number, &path, census).map_err(|rule| self.refuse(rule))?;
        if self.census.len() > self.limits.entries {
            return Err(self.limit(Reached::Entries(self.limits.entries)));
        }
        Ok(Member { number: self.number, path, what, odd })
    }

    /// The path and the target, each said once, or in agreement.
    fn names(&self, header: &Header<'_>, said: &Said) -> Result<(Vec<u8>, Vec<u8>), Error> {
        let records = said.records.as_ref();
        let one = |field, plain: Vec<u8>, long: Option<&Vec<u8>>, record: Option<&Vec<u8>>| match (long, record) {
            (Some(_), Some(_)) => Err(self.refuse(MetadataFault::Twice(format!("{field}, by PAX and by GNU")))),
            (None, None) => Ok(plain),
            // What the header could have said itself, it has to say too.
            (Some(name), None) | (None, Some(name)) if name.is_ascii() && name.len() <= 100 && *name != plain => {
                Err(self.refuse(MetadataFault::Contradiction(field)))
            }
            (Some(name), None) | (None, Some(name)) => Ok(name.clone()),
        };
        let path = one("path", header.path(), said.path.as_ref(), records.and_then(|records| records.path.as_ref()))?;
        let link = header.link().to_vec();
        let link = one("linkpath", link, said.link.as_ref(), records.and_then(|records| records.link.as_ref()))?;
        Ok((path, link))
    }

    fn size(&self, header: &Header<'_>, records: Option<&Records>) -> Result<u64, Error> {
        let size = header.size().map_err(|fault| self.refuse(fault))?;
        if records.and_then(|records| records.size).is_some_and(|said| said != size) {
            return Err(self.refuse(MetadataFault::Contradiction("size")));
        }
        if !(0..i128::from(i64::MAX)).contains(&size) {
            return Err(self.refuse(MetadataFault::Absurd { field: "size", value: size }));
        }
        if !matches!(header.kind(), b'0' | 0) && size != 0 && refused_type(header.kind()).is_none() {
            return Err(self.refuse(MetadataFault::Size(size)));
        }
        u64::try_from(size).map_err(|_| self.refuse(MetadataFault::Number("size")))
    }

    fn budget(&mut self, kind: u8, size: u64) -> Result<(), Error> {
        if !matches!(kind, b'0' | 0) {
            return Ok(());
        }
        if size > self.limits.file_bytes {
            return Err(self.limit(Reached::FileBytes(self.limits.file_bytes)));
        }
        self.count(size)?;
        self.left = size;
        self.padding = size.next_multiple_of(BLOCK as u64) - size;
        Ok(())
    }

    /// A long name; its NUL is not part of it.
    fn long(&mut self, header: &Header<'_>, field: &'static str) -> Result<Vec<u8>, Error> {
        let mut name = self.text(header, field, MAX_LONG)?;
        if name.last() == Some(&0) {
            name.pop();
        }
        Ok(name)
    }

    /// The content of an entry that speaks of the next one. Nothing is reserved for a size that is only claimed.
    fn text(&mut self, header: &Header<'_>, field: &'static str, limit: u64) -> Result<Vec<u8>, Error> {
        let claimed = header.size().map_err(|fault| self.refuse_next(fault))?;
        let size = u64::try_from(claimed)
            .map_err(|_| self.refuse_next(MetadataFault::Absurd { field: "size", value: claimed }))?;
        if size > limit {
            return Err(self.refuse_next(MetadataFault::Large { field, size, limit }));
        }
        self.metadata += size + BLOCK as u64;
        if self.metadata > MAX_METADATA {
            return Err(self.limit(Reached::Metadata(MAX_METADATA)));
        }
        self.left = size;
        self.padding = size.next_multiple_of(BLOCK as u64) - size;
        let mut bytes = vec![0; usize::try_from(size).unwrap_or_default()];
        let mut at = 0;
        while at < bytes.len() {
            at += self.read(&mut bytes[at..])?;
        }
        self.skip()?;
        Ok(bytes)
    }

    /// Passes over what is left of an entry.
    fn skip(&mut self) -> Result<(), Error> {
        self.left += std::mem::take(&mut self.padding);
        let mut buffer = [0; 4096];
        while self.read(&mut buffer)? > 0 {}
        Ok(())
    }

    /// What follows the first empty block.
    fn end(&mut self, said: &Said) -> Result<(), Error> {
        for (name, is_left) in [("x", said.records.is_some()), ("L", said.path.is_some()), ("K", said.link.is_some())] {
            if is_left {
                return Err(self.refuse_next(MetadataFault::Orphan(name)));
            }
        }
        let mut empty = BLOCK as u64;
        let mut block = [0; BLOCK];
        loop {
            let count = self.fill(&mut block)?;
            if block[..count].iter().any(|byte| *byte != 0) {
                // A lone empty block is no end.
                let form = if empty == BLOCK as u64 { Form::NoEnd } else { Form::Trailing };
                return Err(Error::Form { offset: self.offset - count as u64, form });
            }
            empty += count as u64;
            if empty > MAX_PADDING {
                return Err(self.form(Form::Trailing));
            }
            if count < BLOCK {
                break;
            }
        }
        if empty < 2 * BLOCK as u64 {
            return Err(self.form(Form::NoEnd));
        }
        if self.number == 0 {
            return Err(Error::Empty);
        }
        match self.census.follow(|| self.source.in_time())? {
            Some(Astray { number, path, rule }) => Err(Error::Entry { number, path, rule }),
            None => Ok(()),
        }
    }

    /// Reads until a block is full or the source ends.
    fn fill(&mut self, block: &mut [u8; BLOCK]) -> Result<usize, Error> {
        let mut at = 0;
        while at < BLOCK {
            match self.source.read(&mut block[at..])? {
                0 => break,
                count => at += count,
            }
        }
        self.offset += at as u64;
        Ok(at)
    }

    fn form(&self, form: Form) -> Error {
        if self.offset == 0 { Error::Empty } else { Error::Form { offset: self.offset, form } }
    }

    fn limit(&self, reached: Reached) -> Error {
        self.source.limit(reached, Some((self.number.max(1), self.at.clone())))
    }

    fn refuse(&self, rule: impl Into<Rule>) -> Error {
        Error::Entry { number: self.number, path: self.at.clone(), rule: rule.into() }
    }

    /// Refuses what stands before the header of an entry, by that entry's number.
    fn refuse_next(&self, rule: impl Into<Rule>) -> Error {
        Error::Entry { number: self.number + 1, path: self.at.clone(), rule: rule.into() }
    }
}

/// The rule that an entry breaks by its type alone.
fn refused_type(kind: u8) -> Option<Rule> {
    let name = match kind {
        b'0' | 0 | b'1' | b'2' | b'5' => return None,
        b'S' => return Some(MetadataFault::Sparse("typeflag".to_owned()).into()),
        b'3' => "a character device".to_owned(),
        b'4' => "a block device".to_owned(),
        b'6' => "a FIFO".to_owned(),
        other => format!("\"{}\", which is unknown", escaped(&[other])),
    };
    Some(Rule::Type(name))
}
