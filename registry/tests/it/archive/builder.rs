//! A writer of tars that writes whatever it is told to, wrong headers included.

/// A header under the tests' hands, with what follows it.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) header: [u8; 512],
    pub(crate) data: Vec<u8>,
}

/// An entry of that type and path, with content.
pub(crate) fn entry(kind: u8, path: impl AsRef<[u8]>, data: impl AsRef<[u8]>) -> Entry {
    let (path, data) = (path.as_ref(), data.as_ref().to_vec());
    let mut header = [0; 512];
    header[..path.len().min(100)].copy_from_slice(&path[..path.len().min(100)]);
    header[100..124].copy_from_slice(b"0000644\x000000000\x000000000\0");
    header[124..148].copy_from_slice(format!("{:011o}\x0000000000000\0", data.len()).as_bytes());
    header[156] = kind;
    header[257..265].copy_from_slice(b"ustar\x0000");
    Entry { header, data }.sum()
}

pub(crate) fn file(path: impl AsRef<[u8]>) -> Entry {
    entry(b'0', path, "content")
}

pub(crate) fn directory(path: impl AsRef<[u8]>) -> Entry {
    entry(b'5', path, "")
}

pub(crate) fn link(path: &str, target: impl AsRef<[u8]>) -> Entry {
    entry(b'2', path, "").put(157, target.as_ref())
}

pub(crate) fn hard_link(path: &str, target: impl AsRef<[u8]>) -> Entry {
    entry(b'1', path, "").put(157, target.as_ref())
}

/// PAX records for the entry that follows.
pub(crate) fn pax(records: &[(&str, &str)]) -> Entry {
    let records: String = records.iter().map(|(key, value)| record(key, value)).collect();
    entry(b'x', "PaxHeaders/x", records)
}

pub(crate) fn record(key: &str, value: &str) -> String {
    let rest = format!(" {key}={value}\n").len();
    let length = (1..).map(|digits| rest + digits).find(|length| length.to_string().len() + rest == *length);
    format!("{} {key}={value}\n", length.unwrap())
}

impl Entry {
    /// Writes over a field, and makes the checksum right again.
    pub(crate) fn put(mut self, at: usize, bytes: &[u8]) -> Self {
        self.header[at..at + bytes.len()].copy_from_slice(bytes);
        self.sum()
    }

    /// Claims a size, in base 256.
    pub(crate) fn size(self, size: i128) -> Self {
        self.base_256(124, 12, size)
    }

    pub(crate) fn base_256(self, at: usize, length: usize, value: i128) -> Self {
        let bytes = value.to_be_bytes();
        let mut field = bytes[16 - length..].to_vec();
        field[0] |= 0x80;
        self.put(at, &field)
    }

    fn sum(mut self) -> Self {
        self.header[148..156].fill(b' ');
        let sum: u32 = self.header.iter().map(|byte| u32::from(*byte)).sum();
        self.header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        self
    }
}

/// The entries without an end.
pub(crate) fn open_ended(entries: &[Entry]) -> Vec<u8> {
    let mut tar = Vec::new();
    for Entry { header, data } in entries {
        tar.extend_from_slice(header);
        tar.extend_from_slice(data);
        tar.resize(tar.len().next_multiple_of(512), 0);
    }
    tar
}

/// A whole tar of those entries.
pub(crate) fn tar(entries: &[Entry]) -> Vec<u8> {
    let mut tar = open_ended(entries);
    tar.resize(tar.len() + 1024, 0);
    tar
}
