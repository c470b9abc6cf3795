//! Figures in words, for titles and reasons.

/// `64.0 MiB`.
pub(super) fn bytes(value: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if value < 1024 {
        return format!("{value} B");
    }
    let mut shown = value as f64 / 1024.0;
    let mut unit = 0;
    while shown >= 1023.95 && unit + 1 < UNITS.len() {
        shown /= 1024.0;
        unit += 1;
    }
    format!("{shown:.1} {}", UNITS.get(unit).copied().unwrap_or("TiB"))
}

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
        assert_eq!(bytes(512), "512 B");
        assert_eq!(bytes(64 * 1024 * 1024), "64.0 MiB");
        assert_eq!(bytes(1024 * 1024 * 1024 - 1), "1.0 GiB");
        assert_eq!((cpus(0.75), cpus(2.0), cpus(10.0)), ("0.75".into(), "2".into(), "10".into()));
        assert_eq!(percent(93.94), "93.9%");
    }
}
