//! Arguments with a range: one that is out of it is refused with the range.

use std::{borrow::Cow, fmt};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, de};

/// A whole number from `LEAST` to `MOST`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub(crate) struct Whole<const LEAST: u64, const MOST: u64>(u64);

impl<const LEAST: u64, const MOST: u64> Whole<LEAST, MOST> {
    /// That number, or the nearest one in the range.
    pub(crate) const fn clamped(value: u64) -> Self {
        if value < LEAST {
            Self(LEAST)
        } else if value > MOST {
            Self(MOST)
        } else {
            Self(value)
        }
    }

    /// The number.
    pub(crate) const fn get(self) -> u64 {
        self.0
    }
}

impl<'de, const LEAST: u64, const MOST: u64> Deserialize<'de> for Whole<LEAST, MOST> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor<const LEAST: u64, const MOST: u64>;

        impl<const LEAST: u64, const MOST: u64> de::Visitor<'_> for Visitor<LEAST, MOST> {
            type Value = Whole<LEAST, MOST>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a whole number from {LEAST} to {MOST}")
            }

            fn visit_u64<E: de::Error>(self, value: u64) -> Result<Self::Value, E> {
                let good = (LEAST..=MOST).contains(&value);
                if good { Ok(Whole(value)) } else { Err(E::invalid_value(de::Unexpected::Unsigned(value), &self)) }
            }

            fn visit_i64<E: de::Error>(self, value: i64) -> Result<Self::Value, E> {
                match u64::try_from(value) {
                    Ok(value) => self.visit_u64(value),
                    Err(_) => Err(E::invalid_value(de::Unexpected::Signed(value), &self)),
                }
            }
        }

        deserializer.deserialize_u64(Visitor)
    }
}

impl<const LEAST: u64, const MOST: u64> JsonSchema for Whole<LEAST, MOST> {
    fn schema_name() -> Cow<'static, str> {
        format!("Whole{LEAST}To{MOST}").into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "integer", "minimum": LEAST, "maximum": MOST})
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, from_value, json};

    use super::*;

    #[test]
    fn bad_70_what_is_out_of_range_is_refused_with_the_range() {
        let read = from_value::<Whole<1, 3600>>;
        assert_eq!(read(json!(3600)).unwrap().get(), 3600);
        for wrong in [json!(0), json!(-1), json!(3601), json!(1e300), json!(1.5), json!("2"), Value::Null] {
            let error = read(wrong.clone()).unwrap_err().to_string();
            assert!(error.contains("from 1 to 3600"), "{wrong}: {error}");
        }
    }
}
