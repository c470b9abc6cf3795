//! Durations and instants as they are written on the command line.

use std::time::{Duration, SystemTime};

use aigis_proxy::{Error, quoted};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

/// The longest duration that may be given.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);
const FORM: &str = "write 500ms, 5s, 2m or 1h; a bare number is seconds; more than 0, at most 24h";

/// Reads a duration: digits and `ms`, `s`, `m` or `h`, a bare number being seconds; more than 0, at most 24 h.
///
/// # Errors
///
/// Says the form and the range.
pub(crate) fn parse(text: &str) -> Result<Duration, String> {
    let wrong = || format!("\"{}\" is no duration: {FORM}", quoted(text));
    let end = text.bytes().position(|byte| !byte.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at(end);
    let milliseconds: u64 = match unit {
        "ms" => 1,
        "s" | "" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err(wrong()),
    };
    if digits.is_empty() {
        return Err(wrong());
    }
    // Too many digits for the type are too long for the range as well.
    let count: u64 = digits.parse().unwrap_or(u64::MAX);
    let duration = Duration::from_millis(count.saturating_mul(milliseconds));
    if duration.is_zero() || duration > LONGEST {
        return Err(format!("\"{}\" is out of range: {FORM}", quoted(text)));
    }
    Ok(duration)
}

/// Reads an instant: RFC 3339, or a duration that counts back from `now`.
///
/// # Errors
///
/// `invalid_argument` that names the argument and the form.
pub(crate) fn instant(argument: &str, text: &str, now: OffsetDateTime) -> Result<OffsetDateTime, Error> {
    if let Ok(ago) = parse(text) {
        return Ok(now - ago);
    }
    OffsetDateTime::parse(text, &Rfc3339).map_err(|_| {
        Error::invalid(format!("argument \"{argument}\": \"{}\" is no instant", quoted(text)))
            .hint("write RFC 3339, such as 2026-11-21T07:25:40Z, or how long ago, such as 10m")
    })
}

/// Reads words that say something.
///
/// # Errors
///
/// Says that they do not.
pub(crate) fn said(text: &str) -> Result<String, String> {
    let text = text.trim();
    if text.is_empty() { Err("say why".to_owned()) } else { Ok(text.to_owned()) }
}

/// Reads an instant to come: RFC 3339, or how long from now.
///
/// # Errors
///
/// Says the form, or that it is over.
pub(crate) fn later(text: &str) -> Result<String, String> {
    let now = OffsetDateTime::from(SystemTime::now());
    let at = match text.strip_prefix('+') {
        Some(text) => now + parse(text)?,
        None => OffsetDateTime::parse(text, &Rfc3339)
            .map_err(|_| "write RFC 3339, such as 2026-11-21T07:25:40Z, or for how long, such as +20m".to_owned())?,
    };
    if at <= now {
        return Err("that is over already".to_owned());
    }
    at.format(&Rfc3339).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    #[test]
    fn durations() {
        for (text, milliseconds) in [("500ms", 500), ("5s", 5_000), ("2m", 120_000), ("7", 7_000), ("24h", 86_400_000)]
        {
            assert_eq!(parse(text).unwrap().as_millis(), milliseconds, "{text}");
        }
    }

    #[test]
    fn bad_69_durations_say_the_range() {
        for bad in
            ["0", "-1s", "25h", "1e3", "5 s", "∞", "", "s", "0ms", "99999999999999999999999s", "1.5s", "+5", "5S"]
        {
            assert!(parse(bad).unwrap_err().contains("at most 24h"), "{bad}");
        }
    }

    #[test]
    fn bad_68_instants_name_the_argument() {
        let now = datetime!(2026-11-21 07:25:40 UTC);
        assert_eq!(instant("since", "10m", now).unwrap(), datetime!(2026-11-21 07:15:40 UTC));
        assert!(instant("since", "2026-11-21T07:25:40Z", now).is_ok());
        for bad in ["yesterday", "2026-02-30T00:00:00Z", "10000-01-01T00:00:00Z", "2026-11-21T07:25:40"] {
            let error = instant("since", bad, now).unwrap_err();
            assert!(error.message.contains("\"since\""), "{bad}");
        }
    }

    #[test]
    fn chn_51_a_hold_says_why_and_ends_later() {
        assert!(said(" ").is_err());
        assert_eq!(said(" x ").as_deref(), Ok("x"));
        let until = OffsetDateTime::parse(&later("+20s").unwrap(), &Rfc3339).unwrap();
        let left = until - OffsetDateTime::now_utc();
        assert!(left.whole_seconds() <= 20 && left.whole_seconds() >= 15, "{left}");
        assert!(later("2199-01-01T00:00:00Z").is_ok());
        for bad in ["20s", "+0s", "+", "tomorrow", "2020-01-01T00:00:00Z"] {
            assert!(later(bad).is_err(), "{bad}");
        }
    }
}
