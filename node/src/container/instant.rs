//! Instants as results carry them and as arguments give them.

use std::{borrow::Cow, fmt};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use time::{Duration, OffsetDateTime, UtcOffset, format_description::well_known::Rfc3339, macros::format_description};

/// An instant, written in RFC 3339, UTC, with milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Instant(pub(crate) OffsetDateTime);

impl From<OffsetDateTime> for Instant {
    fn from(at: OffsetDateTime) -> Self {
        Self(at)
    }
}

impl Instant {
    /// The instant to the second: `2026-11-21T07:25:40Z`.
    pub(crate) fn seconds(self) -> String {
        let form = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]Z");
        self.0.to_offset(UtcOffset::UTC).format(form).unwrap_or_else(|_| "unknown".to_owned())
    }
}

impl fmt::Display for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let form = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");
        f.write_str(&self.0.to_offset(UtcOffset::UTC).format(form).map_err(|_| fmt::Error)?)
    }
}

impl Serialize for Instant {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Instant {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        OffsetDateTime::parse(&text, &Rfc3339).map(Self).map_err(de::Error::custom)
    }
}

impl JsonSchema for Instant {
    fn schema_name() -> Cow<'static, str> {
        "Instant".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "format": "date-time"})
    }
}

/// An instant as an argument: RFC 3339 with a zone, or how long ago.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Moment {
    At(OffsetDateTime),
    Ago(Duration),
}

impl Moment {
    /// The instant, counted from `now`.
    pub(crate) fn resolve(self, now: OffsetDateTime) -> OffsetDateTime {
        match self {
            Self::At(at) => at,
            Self::Ago(ago) => now.checked_sub(ago).unwrap_or(OffsetDateTime::UNIX_EPOCH),
        }
    }

    fn parse(text: &str) -> Option<Self> {
        if let Some(ago) = ago(text) {
            return Some(Self::Ago(ago));
        }
        // The parser takes the 60 of a leap second, which no engine keeps.
        if text.get(17..19) == Some("60") {
            return None;
        }
        let at = OffsetDateTime::parse(text, &Rfc3339).ok()?;
        (1970..=9999).contains(&at.to_offset(UtcOffset::UTC).year()).then_some(Self::At(at))
    }
}

/// Reads `500ms`, `30s`, `10m`, `2h`, `7d`.
fn ago(text: &str) -> Option<Duration> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits)?;
    let number: i64 = number.parse().ok().filter(|number| *number <= 1_000_000_000)?;
    match unit {
        "ms" => Some(Duration::milliseconds(number)),
        "s" => Some(Duration::seconds(number)),
        "m" => Some(Duration::minutes(number)),
        "h" => Some(Duration::hours(number)),
        "d" => Some(Duration::days(number)),
        _ => None,
    }
}

impl<'de> Deserialize<'de> for Moment {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| {
            let shown = aigis_proxy::quoted(&text);
            de::Error::custom(format!(
                "\"{shown}\" is no instant: give RFC 3339 with a zone (2026-11-21T07:25:40Z), or how long ago (10m)"
            ))
        })
    }
}

impl JsonSchema for Moment {
    fn schema_name() -> Cow<'static, str> {
        "Moment".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "RFC 3339 with a zone, or how long ago: 500ms, 30s, 10m, 2h, 7d"
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    #[test]
    fn bad_68_instants_are_read_or_refused() {
        let now = datetime!(2026-11-21 08:00 UTC);
        for (text, expected) in [
            ("10m", datetime!(2026-11-21 07:50 UTC)),
            ("500ms", datetime!(2026-11-21 07:59:59.5 UTC)),
            ("2026-11-21T07:25:40.450Z", datetime!(2026-11-21 07:25:40.450 UTC)),
            ("2026-11-21T07:25:40+02:00", datetime!(2026-11-21 05:25:40 UTC)),
        ] {
            assert_eq!(Moment::parse(text).map(|moment| moment.resolve(now)), Some(expected), "{text}");
        }
        for text in [
            "yesterday",
            "",
            "10",
            "m",
            "-1m",
            "5 s",
            "∞",
            "99999999999d",
            "2026-02-30T00:00:00Z",
            "0000-01-01T00:00:00Z",
            "10000-01-01T00:00:00Z",
            "2026-11-21T07:25:40",
            "2026-12-31T23:59:60Z",
            "2026-11-21T23:59:60Z",
        ] {
            assert_eq!(Moment::parse(text), None, "{text}");
        }
        assert!(serde_json::from_str::<Moment>("\"yesterday\"").unwrap_err().to_string().contains("10m"));
    }

    #[test]
    fn instants_have_milliseconds() {
        let at = Instant(datetime!(2026-11-21 09:25:40.450_9 +2));
        assert_eq!(
            (at.to_string().as_str(), at.seconds().as_str()),
            ("2026-11-21T07:25:40.450Z", "2026-11-21T07:25:40Z")
        );
    }
}
