//! A record as it is stored: its content, and the digest by which damage shows.

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::value::RawValue;

/// Why a stored record is not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// Its content is not what was written.
    #[error("its digest does not match its content")]
    Digest,
    /// It has no form of a record.
    #[error("it cannot be read: {0}")]
    Form(String),
    /// It stands under the key of another.
    #[error("it stands under a key that is not its own")]
    Place,
    /// It does not follow the version that was the newest before it.
    #[error("it does not follow the version that was the newest before it")]
    Order,
    /// No node of the mesh has signed it.
    #[error("no node of the mesh has signed it")]
    Writer,
}

#[derive(Serialize, Deserialize)]
struct Sealed<'a> {
    digest: std::borrow::Cow<'a, str>,
    #[serde(borrow)]
    content: &'a RawValue,
}

/// The SHA-256 of bytes, in hex.
#[must_use]
pub fn digest(bytes: &[u8]) -> String {
    data_encoding::HEXLOWER.encode(ring::digest::digest(&ring::digest::SHA256, bytes).as_ref())
}

/// Writes a record as it is stored, with its digest.
pub(crate) fn seal(record: &impl Serialize) -> Result<Vec<u8>, serde_json::Error> {
    let content = serde_json::value::to_raw_value(record)?;
    let digest = digest(content.get().as_bytes()).into();
    serde_json::to_vec(&Sealed { digest, content: &content })
}

/// What is wrong with a form, without anything that a terminal would obey: the record is another's.
fn form(error: &serde_json::Error) -> Damage {
    Damage::Form(aigis_proxy::quoted_within(&error.to_string()))
}

/// Reads a stored record and checks its digest.
pub(crate) fn open<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Damage> {
    let sealed: Sealed<'_> = serde_json::from_slice(bytes).map_err(|error| form(&error))?;
    if digest(sealed.content.get().as_bytes()) != sealed.digest {
        return Err(Damage::Digest);
    }
    serde_json::from_str(sealed.content.get()).map_err(|error| form(&error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{record::CiRecord, testing::container};

    #[test]
    fn r_16_a_flipped_bit_is_refused_and_never_believed() {
        let record = container("web", "alpha");
        let sealed = seal(&record).unwrap();
        assert_eq!(open::<CiRecord>(&sealed).unwrap(), record);
        for index in 0..sealed.len() {
            for bit in 0..8 {
                let mut flipped = sealed.clone();
                flipped[index] ^= 1 << bit;
                if let Ok(read) = open::<CiRecord>(&flipped) {
                    assert_eq!(read, record, "byte {index} bit {bit}");
                }
            }
        }
    }

    #[test]
    fn a_reader_ignores_what_it_does_not_know() {
        let mut value = serde_json::to_value(container("web", "alpha")).unwrap();
        value["colour"] = "red".into();
        assert_eq!(open::<CiRecord>(&seal(&value).unwrap()).unwrap().name.as_str(), "web");
    }
}
