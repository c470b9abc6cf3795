//! Python's numbers: whole ones in four bases, and those with a point.

use super::{
    cursor::Cursor,
    literal::ONLY,
    value::{Fault, Value},
};

/// Reads a number; one is next.
pub(super) fn read(cursor: &mut Cursor<'_>) -> Result<Value, Fault> {
    let start = cursor.at();
    let mut is_negative = false;
    while let Some(sign @ ('-' | '+')) = cursor.peek() {
        is_negative ^= sign == '-';
        cursor.next();
        cursor.skip(false);
    }
    let at = cursor.at();
    let mut word = cursor.take_while(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.')).to_owned();
    let is_based = word.starts_with('0') && word[1..].starts_with(['x', 'X', 'o', 'O', 'b', 'B']);
    if !is_based && word.ends_with(['e', 'E']) && word.starts_with(|c: char| c == '.' || c.is_ascii_digit()) {
        word.extend(cursor.peek().filter(|c| matches!(c, '-' | '+')));
        if word.ends_with(['-', '+']) {
            cursor.next();
        }
        word.push_str(cursor.take_while(|c| c.is_ascii_alphanumeric() || c == '_'));
    }
    let no_number = || {
        let at = if at == start || word.is_empty() { start } else { at };
        Fault::new(at, format!("{ONLY}: this is no number"))
    };
    let value = parse(&word, is_negative).ok_or_else(no_number)?;
    Ok(value)
}

/// The number that a word is.
fn parse(word: &str, is_negative: bool) -> Option<Value> {
    let sign = if is_negative { "-" } else { "" };
    let based = |prefix: &[&str]| prefix.iter().find_map(|prefix| word.strip_prefix(prefix));
    for (prefix, radix) in [(["0x", "0X"], 16), (["0o", "0O"], 8), (["0b", "0B"], 2)] {
        if let Some(digits) = based(&prefix) {
            // Here, and only here, an underscore may come first.
            return whole(digits.strip_prefix('_').unwrap_or(digits), radix, sign);
        }
    }
    if word.starts_with(|c: char| c.is_ascii_digit()) && word.chars().all(|c| c.is_ascii_digit() || c == '_') {
        let is_octal_of_old = word.starts_with('0') && word.contains(|c: char| !matches!(c, '0' | '_'));
        return if is_octal_of_old { None } else { whole(word, 10, sign) };
    }
    let plain = grouped(word, |c| c.is_ascii_digit() || matches!(c, '.' | 'e' | 'E' | '-' | '+'))?;
    let starts =
        plain.starts_with(|c: char| c == '.' || c.is_ascii_digit()) && plain.contains(|c: char| c.is_ascii_digit());
    let number: f64 = plain.parse().ok().filter(|_| starts)?;
    Some(Value::Float(if is_negative { -number } else { number }))
}

fn whole(digits: &str, radix: u32, sign: &str) -> Option<Value> {
    let plain = grouped(digits, |c| c.is_digit(radix))?;
    // Digits they are: what does not fit is too large.
    Some(Value::Integer(i64::from_str_radix(&format!("{sign}{plain}"), radix).ok()))
}

/// The word without underscores, each of which stands between two digits.
fn grouped(word: &str, allowed: impl Fn(char) -> bool) -> Option<String> {
    let good = !word.is_empty()
        && word.split('_').all(|part| !part.is_empty() && part.chars().all(&allowed))
        && !["_.", "._", "_e", "_E", "e_", "E_"].iter().any(|pair| word.contains(pair));
    good.then(|| word.replace('_', ""))
}
