//! How bad a link is.

use std::{str::FromStr, time::Duration};

/// What a link does to what it carries, each way. The default is a perfect link.
#[derive(Debug, Clone, Copy, Default, PartialEq, clap::Args)]
pub struct Link {
    /// How long a frame is under way, such as 300ms; a round trip takes twice as long.
    #[arg(long, value_parser = duration, default_value = "0ms")]
    pub delay: Duration,
    /// How much more or less than that it may be, evenly spread.
    #[arg(long, value_parser = duration, default_value = "0ms")]
    pub jitter: Duration,
    /// How many frames are lost, such as 5%.
    #[arg(long, default_value = "0%")]
    pub loss: Share,
    /// How many frames come twice.
    #[arg(long, default_value = "0%")]
    pub duplicate: Share,
    /// How many frames overtake those before them: they are not delayed.
    #[arg(long, default_value = "0%")]
    pub reorder: Share,
    /// How many bits a second it carries, such as 1mbit; without this, as many as come.
    #[arg(long, value_parser = rate)]
    pub rate: Option<u64>,
}

impl Link {
    /// The options that say this on a command line.
    pub(crate) fn arguments(&self) -> Vec<String> {
        let mut arguments = vec![
            format!("--delay={}us", self.delay.as_micros()),
            format!("--jitter={}us", self.jitter.as_micros()),
            format!("--loss={}%", self.loss.percent()),
            format!("--duplicate={}%", self.duplicate.percent()),
            format!("--reorder={}%", self.reorder.percent()),
        ];
        arguments.extend(self.rate.map(|rate| format!("--rate={rate}bit")));
        arguments
    }
}

/// A share of all frames, from none to all.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Share(f64);

impl Share {
    /// So many of a hundred, not less than none and not more than all.
    #[must_use]
    pub fn of_hundred(percent: f64) -> Self {
        Self((percent / 100.0).clamp(0.0, 1.0))
    }

    fn percent(self) -> f64 {
        self.0 * 100.0
    }

    /// Whether this one is of the share.
    pub(crate) fn has(self, random: &mut fastrand::Rng) -> bool {
        random.f64() < self.0
    }
}

impl FromStr for Share {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let number = text.strip_suffix('%').unwrap_or(text).parse().ok();
        let range = number.filter(|percent| (0.0..=100.0).contains(percent));
        range.map(Self::of_hundred).ok_or_else(|| "write a percentage from 0% to 100%".to_owned())
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    let units = [("us", 1), ("ms", 1_000), ("s", 1_000_000)];
    let split = units.iter().find_map(|(unit, factor)| Some((text.strip_suffix(unit)?.parse::<u64>().ok()?, *factor)));
    let micros = split.and_then(|(count, factor)| count.checked_mul(factor)).filter(|micros| *micros <= 60_000_000);
    micros.map(Duration::from_micros).ok_or_else(|| "write a time such as 500us, 300ms or 2s, at most 60s".to_owned())
}

fn rate(text: &str) -> Result<u64, String> {
    let units = [("gbit", 1_000_000_000), ("mbit", 1_000_000), ("kbit", 1_000), ("bit", 1)];
    let split = units.iter().find_map(|(unit, factor)| Some((text.strip_suffix(unit)?.parse::<u64>().ok()?, *factor)));
    let bits = split.and_then(|(count, factor)| count.checked_mul(factor)).filter(|bits| *bits >= 1_000);
    bits.ok_or_else(|| "write a rate such as 64kbit, 1mbit or 1gbit, at least 1kbit".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        link: Link,
    }

    #[test]
    fn a_link_is_read_as_it_is_said() {
        let link = Link {
            delay: Duration::from_millis(300),
            jitter: Duration::from_micros(100_500),
            loss: Share::of_hundred(5.0),
            duplicate: Share::of_hundred(0.5),
            reorder: Share::of_hundred(100.0),
            rate: Some(1_000_000),
        };
        let words = ["lab".to_owned()].into_iter().chain(link.arguments());
        assert_eq!(Line::parse_from(words).link, link);
        assert_eq!(Line::parse_from(["lab"]).link, Link::default());
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["", "5", "-1ms", "61s", "1.5s", "ms", "99999999999999999999s"] {
            assert!(duration(text).is_err(), "{text}");
        }
        for text in ["", "mbit", "0kbit", "1", "999bit", "99999999999gbit"] {
            assert!(rate(text).is_err(), "{text}");
        }
        for text in ["", "%", "-1%", "101%", "NaN", "inf"] {
            assert!(text.parse::<Share>().is_err(), "{text}");
        }
    }
}
