//! Checking JSON by the rules of the strict reader without building values: for what only passes through.

use std::{borrow::Cow, collections::HashSet, fmt};

use serde::{
    Deserialize,
    de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor},
};

use super::loses_value;

/// Takes a value whose every key stands once and whose numbers can be held, and makes nothing of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sound {
    /// Any value.
    Value,
    /// An array.
    Array,
    /// An object.
    Object,
}

impl<'de> DeserializeSeed<'de> for Sound {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        match self {
            Self::Value => deserializer.deserialize_any(self),
            Self::Array => deserializer.deserialize_seq(self),
            Self::Object => deserializer.deserialize_map(self),
        }
    }
}

/// A key, which is copied only where it is written with escapes.
#[derive(Deserialize, PartialEq, Eq, Hash)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'de> Visitor<'de> for Sound {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Value => "a JSON value",
            Self::Array => "an array",
            Self::Object => "an object",
        })
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<(), E> {
        if loses_value(value) { Err(E::custom("a number that does not fit 64 bits")) } else { Ok(()) }
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<(), A::Error> {
        while access.next_element_seed(Self::Value)?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<(), A::Error> {
        let mut keys = HashSet::new();
        while let Some(key) = access.next_key::<Key<'de>>()? {
            if !keys.insert(key) {
                return Err(de::Error::custom("a key stands there twice"));
            }
            access.next_value_seed(Self::Value)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::{read, skim};
    use super::*;

    /// Whether a text is taken without being read.
    fn is_taken(text: &str) -> bool {
        skim(text.as_bytes(), |deserializer| Sound::Value.deserialize(deserializer)).is_some()
    }

    #[test]
    fn what_is_taken_is_what_the_strict_reader_takes() {
        for text in [
            "null",
            "[1,1.0,-0.0,1e5,18446744073709551615,\"a\\n\"]",
            r#"{"a":{"a":1},"b":[{"$ref":{}}]}"#,
            r#"{"a":1,"a":2}"#,
            r#"{"a":1,"\u0061":2}"#,
            r#"[{"b":{"c":1,"c":1}}]"#,
            "18446744073709551616",
            "1e300",
            "1e999",
            "01",
            "[1",
            "",
            "{} x",
            "\u{feff}1",
            &format!("{}1{}", "[".repeat(128), "]".repeat(128)),
            &format!("{}1{}", "[".repeat(129), "]".repeat(129)),
        ] {
            assert_eq!(is_taken(text), read(text.as_bytes()).is_ok(), "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn whatever_is_taken_is_what_the_strict_reader_takes(text in "[\\[\\]{}:,\"a0e.$-]{0,40}") {
            proptest::prop_assert_eq!(is_taken(&text), read(text.as_bytes()).is_ok());
        }
    }
}
