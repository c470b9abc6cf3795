//! Figures in words, for titles and reasons.

pub(super) use crate::container::text::bytes;

/// `93.9%`.
pub(super) fn percent(value: f64) -> String {
    format!("{value:.1}%")
}

/// `0.75`, without needless digits.
pub(super) fn cpus(value: f64) -> String {
    let text = format!("{value:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// A percent with the one decimal that results carry.
pub(super) fn rounded(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_read_as_people_write_them() {
        assert_eq!((cpus(0.75), cpus(2.0), cpus(10.0)), ("0.75".into(), "2".into(), "10".into()));
        assert_eq!(percent(93.94), "93.9%");
    }
}
