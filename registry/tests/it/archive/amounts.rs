//! Rows BAD-34 and BAD-35: compression, and amounts.

use std::{
    io::{Read, Write},
    time::Duration,
};

use aigis_proxy::Code;
use aigis_registry::archive::{Existing, Limits, unpack};
use flate2::{Compression, write::GzEncoder};

use super::{
    Place,
    builder::{directory, entry, file, hard_link, tar},
    invalid, refused, taken,
};

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = zstd::Encoder::new(Vec::new(), 3).unwrap();
    encoder.include_checksum(true).unwrap();
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn exhausted(archive: &[u8], limit: &str) {
    let message = refused(archive, Code::ResourceExhausted);
    assert!(message.contains(limit) && message.contains("bytes of the archive"), "{message}");
}

#[test]
fn bad_34_compressed_archives() {
    let good = tar(&[directory("d/"), file("d/x")]);
    let bomb = tar(&[entry(b'0', "zeros", vec![0; 20 << 20])]);
    for pack in [gzip, zstd] {
        let packed = pack(&good);
        assert_eq!(taken(&packed).1.entries, 2);
        exhausted(&pack(&bomb), "more than 200 times");
        invalid(&[packed.clone(), packed.clone()].concat(), &["second compressed member", "after"]);
        invalid(&[packed.as_slice(), b"junk"].concat(), &["more follows", &format!("after {} bytes", packed.len())]);
        invalid(&packed[..packed.len() / 2], &["cut off"]);
        invalid(&packed[..packed.len() - 1], &["cut off"]);
        let mut wrong = packed.clone();
        let sum = packed.len() - 6;
        wrong[sum] ^= 1;
        let sum = packed.len() - 2;
        wrong[sum] ^= 1;
        invalid(&wrong, &["damaged"]);
        // Up to 1 MiB the ratio says nothing.
        taken(&pack(&tar(&[entry(b'0', "zeros", vec![0; 900 * 1024])])));
    }
    // A frame of one segment whose content, and so window, claims 2 GiB.
    let mut window = b"\x28\xb5\x2f\xfd".to_vec();
    window.extend_from_slice(&[0x00, (31 - 10) << 3, 0x01, 0x00, 0x00]);
    exhausted(&window, "zstd window");
}

#[test]
fn bad_35_one_more_than_a_tree_may_have() {
    let limits = Limits { entries: 4, file_bytes: 700, total_bytes: 1_000, ..Limits::TREE };
    let sized = |path: &str, size: usize| entry(b'0', path, vec![7; size]);
    let unpacked = |entries: &[super::builder::Entry]| {
        let place = Place::new();
        let done = unpack(&tar(entries)[..], &place.tree(), Existing::Refuse, &limits);
        assert!(place.is_unharmed() && place.tree().exists() == done.is_ok());
        done.map_err(|error| {
            let error = aigis_proxy::Error::from(error);
            assert_eq!(error.code, Code::ResourceExhausted, "{error}");
            error.message
        })
    };
    let four = [file("a"), file("b"), directory("d/"), file("d/c")];
    assert_eq!(unpacked(&four).unwrap().entries, 4);
    let five = [&four[..], &[file("e")]].concat();
    assert!(unpacked(&five).unwrap_err().contains("more than 4 entries"));
    // What paths only imply is made as well, and counts.
    assert!(unpacked(&[file("a/b/c/d/e")]).unwrap_err().contains("entry 1, \"a/b/c/d/e\""));
    assert_eq!(unpacked(&[sized("a", 700), sized("b", 300)]).unwrap().bytes, 1_000);
    assert!(unpacked(&[sized("a", 701)]).unwrap_err().contains("a file has more than 700"));
    assert!(unpacked(&[sized("a", 700), sized("b", 301)]).unwrap_err().contains("more than 1000"));
    assert!(unpacked(&[sized("a", 700), hard_link("b", "a")]).unwrap_err().contains("more than 1000"));
    // A size that is only claimed is refused before anything is read or reserved.
    exhausted(&tar(&[file("x").size(1 << 40)]), "a file has more than 2147483648 bytes");
}

#[test]
fn bad_35_an_archive_of_nothing() {
    invalid(b"", &["nothing in it"]);
    invalid(&tar(&[]), &["nothing in it"]);
    invalid(&gzip(&tar(&[])), &["nothing in it"]);
}

#[test]
fn bad_35_an_archive_that_takes_too_long() {
    /// Gives a byte now and then.
    struct Slow(std::vec::IntoIter<u8>);
    impl Read for Slow {
        fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
            std::thread::park_timeout(Duration::from_millis(2));
            Ok(self.0.next().map_or(0, |byte| {
                into[0] = byte;
                1
            }))
        }
    }
    let place = Place::new();
    let limits = Limits { time: Duration::from_millis(50), ..Limits::TREE };
    let slow = Slow(tar(&[file("x")]).into_iter());
    let error = aigis_proxy::Error::from(unpack(slow, &place.tree(), Existing::Refuse, &limits).unwrap_err());
    assert!(error.code == Code::ResourceExhausted && error.message.contains("longer than 50ms"), "{error}");
    assert!(place.is_unharmed() && !place.tree().exists());
}

#[test]
fn a_reader_that_fails_is_no_fault_of_the_archive() {
    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
            Err(std::io::Error::other("the line is dead"))
        }
    }
    for head in [tar(&[file("x")])[..600].to_vec(), gzip(&tar(&[file("x")]))[..40].to_vec()] {
        let place = Place::new();
        let reader = head.chain(Broken);
        let error =
            aigis_proxy::Error::from(unpack(reader, &place.tree(), Existing::Refuse, &Limits::TREE).unwrap_err());
        assert!(error.code == Code::Internal && error.message.contains("the line is dead"), "{error}");
        assert!(place.is_unharmed());
    }
}
