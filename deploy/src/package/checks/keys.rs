//! Known keys in what a package brings. What its bases hold is theirs.

use std::{
    io::{self, Read},
    sync::LazyLock,
};

use aho_corasick::AhoCorasick;
use aigis_proxy::{Code, Error};
use aigis_registry::archive::{Members, What};

use super::{
    super::{Record, Store},
    Found, MOST, Outcome,
};
use crate::{
    Digest,
    layer::Kind,
    secret::{KEYS, is_key},
};

/// Most bytes of layers that are looked through.
const SEARCHED: u64 = 1024 * 1024 * 1024;
/// How much is read at once.
const PIECE: usize = 1024 * 1024;
/// How much of a piece is looked at again with the next: more than a key is looked at.
const OVERLAP: usize = 256;

static BEGINS: LazyLock<Option<AhoCorasick>> =
    LazyLock::new(|| AhoCorasick::new(KEYS.iter().map(|(begin, _)| *begin)).ok());

pub(super) fn found(store: &Store, record: &Record) -> Result<Found, Error> {
    let mut layers: Vec<(Digest, u64)> = Vec::new();
    for layer in record.images.iter().flat_map(|image| &image.layers) {
        if layer.kind != Kind::Base && !layers.iter().any(|(known, _)| *known == layer.digest) {
            layers.push((layer.digest, layer.size_bytes));
        }
    }
    let bytes = layers.iter().map(|(_, size)| *size).fold(0, u64::saturating_add);
    if bytes > SEARCHED {
        return Ok((Outcome::Unknown, vec![format!("its layers have {bytes} bytes, more than are looked through")]));
    }
    store.bring(record, |digest| layers.iter().any(|(layer, _)| layer == digest))?;
    let mut evidence = Vec::new();
    for (layer, _) in &layers {
        let (file, _) = store.blobs().open_blob(layer)?;
        let lost = |error: io::Error| Error::new(Code::DataLoss, format!("the layer {layer} cannot be read: {error}"));
        let mut members = Members::new(io::BufReader::with_capacity(PIECE, file));
        while let Some(member) = members.next().map_err(lost)? {
            if member.what != What::File || evidence.len() >= MOST {
                continue;
            }
            if let Some(kind) = search(&mut members).map_err(lost)? {
                evidence.push(format!("{} holds a key that begins with {kind}", member.path));
            }
        }
    }
    if evidence.is_empty() {
        return Ok((Outcome::Pass, vec![format!("no known key in the {bytes} bytes of its layers")]));
    }
    Ok((Outcome::Fail, evidence))
}

/// How the first known key in some content begins.
fn search(content: &mut impl Read) -> io::Result<Option<&'static str>> {
    let mut piece = Vec::new();
    loop {
        let before = piece.len();
        content.by_ref().take(PIECE as u64).read_to_end(&mut piece)?;
        if let Some(kind) = in_bytes(&piece) {
            return Ok(Some(kind));
        }
        if piece.len() == before {
            return Ok(None);
        }
        piece.drain(..piece.len().saturating_sub(OVERLAP));
    }
}

fn in_bytes(bytes: &[u8]) -> Option<&'static str> {
    let begins = BEGINS.as_ref()?;
    begins.find_overlapping_iter(bytes).find_map(|hit| {
        let before = hit.start().checked_sub(1).and_then(|at| bytes.get(at)).copied();
        let rest = bytes.get(hit.end()..)?;
        let (begin, least) = KEYS.get(hit.pattern().as_usize())?;
        is_key(before, begin, rest, *least).then_some(*begin)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pkg_57_keys_are_found_across_pieces_and_what_looks_like_one_is_not() {
        let key = format!("AKIA{}", "Q7".repeat(8));
        for at in [0, 1, PIECE - 3, PIECE, 2 * PIECE - 10] {
            let mut text = vec![b' '; at];
            text.extend(key.as_bytes());
            assert_eq!(search(&mut &text[..]).unwrap(), Some("AKIA"), "{at}");
        }
        let private = format!("-----BEGIN RSA PRIVATE KEY-----\n{}", "MIIE".repeat(16));
        assert_eq!(search(&mut private.as_bytes()).unwrap(), Some("-----BEGIN "));
        for text in [
            "AKIA",
            &format!("X{key}"),
            "sk-fading-circle-in-a-sheet-of-style",
            "begins with -----BEGIN PRIVATE KEY----- and ends",
            "-----BEGIN CERTIFICATE-----\nMIIEMIIEMIIEMIIEMIIEMIIEMIIEMIIEMIIE",
        ] {
            assert_eq!(search(&mut text.as_bytes()).unwrap(), None, "{text}");
        }
    }
}
