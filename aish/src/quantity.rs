//! Quantities for people.

/// A size in bytes with one decimal, in units of 1024.
pub(crate) fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if count < 1024 {
        return format!("{count} B");
    }
    let mut unit = 0;
    // In tenths, so that no precision is lost to floating point.
    let mut tenths = u128::from(count) * 10 / 1024;
    while tenths >= 10_240 && unit + 1 < UNITS.len() {
        tenths /= 1024;
        unit += 1;
    }
    format!("{}.{} {}", tenths / 10, tenths % 10, UNITS.get(unit).unwrap_or(&"PiB"))
}

/// Reads a size: a whole number and `B`, `KiB`, `MiB` or `GiB`, with or without one space between them.
pub(crate) fn parse(text: &str) -> Option<u64> {
    let end = text.bytes().position(|byte| !byte.is_ascii_digit())?;
    let (digits, unit) = text.split_at(end);
    let shift = match unit.strip_prefix(' ').unwrap_or(unit) {
        "B" => 0,
        "KiB" => 10,
        "MiB" => 20,
        "GiB" => 30,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(1 << shift)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read() {
        for (text, count) in [("64 MiB", 64 << 20), ("1GiB", 1 << 30), ("0 B", 0), ("512 KiB", 512 << 10)] {
            assert_eq!(parse(text), Some(count), "{text}");
        }
        for bad in
            ["", "64", "MiB", "-1 MiB", "1.5 MiB", "64  MiB", "64 mib", "64 MB", "99999999999 GiB", "\u{664} MiB"]
        {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn sizes() {
        for (count, shown) in [
            (0, "0 B"),
            (1024, "1.0 KiB"),
            (12_897_484, "12.2 MiB"),
            (67_108_864, "64.0 MiB"),
            (u64::MAX, "16383.9 PiB"),
        ] {
            assert_eq!(bytes(count), shown);
        }
    }
}
