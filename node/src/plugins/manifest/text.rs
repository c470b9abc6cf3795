//! Python's strings: all quotes, the prefixes `r` and `u`, and what a backslash means.

use super::{cursor::Cursor, literal::ONLY, value::Fault};

/// Reads one string, if one is next.
pub(super) fn read(cursor: &mut Cursor<'_>) -> Result<Option<String>, Fault> {
    let start = cursor.clone();
    let prefix = cursor.name().unwrap_or_default();
    if !matches!(cursor.peek(), Some('"' | '\'')) {
        *cursor = start;
        return Ok(None);
    }
    let is_raw = match prefix {
        "" | "u" | "U" => false,
        "r" | "R" => true,
        _ => {
            let what = match prefix.to_ascii_lowercase().as_str() {
                "f" | "fr" | "rf" => "an f-string is computed",
                "b" | "br" | "rb" => "bytes are no text",
                _ => "strings begin with a quote, or with r or u",
            };
            return Err(Fault::new(start.at(), format!("{ONLY}: {what}")));
        }
    };
    let quote = if cursor.take("\"\"\"") {
        "\"\"\""
    } else if cursor.take("'''") {
        "'''"
    } else if cursor.take("\"") {
        "\""
    } else {
        cursor.next();
        "'"
    };
    let mut text = String::new();
    loop {
        let at = cursor.at();
        if cursor.take(quote) {
            return Ok(Some(text));
        }
        if quote.len() == 1 && cursor.is_end() || cursor.peek().is_none() {
            return Err(Fault::new(start.at(), "the string that begins here has no end"));
        }
        // As Python reads files: every end of a line is one character.
        if cursor.take("\r\n") {
            text.push('\n');
            continue;
        }
        match cursor.next() {
            Some('\\') if is_raw => {
                text.push('\\');
                // A quote behind a backslash does not end it.
                text.extend(if cursor.take("\r\n") { Some('\n') } else { cursor.next() });
            }
            Some('\\') => escape(cursor, at, &mut text)?,
            next => text.extend(next),
        }
    }
}

/// What a backslash and what follows it mean.
fn escape(cursor: &mut Cursor<'_>, at: usize, text: &mut String) -> Result<(), Fault> {
    if cursor.take("\r\n") || cursor.take("\n") {
        return Ok(());
    }
    let Some(c) = cursor.next() else { return Ok(()) };
    let plain = match c {
        '\\' | '\'' | '"' => c,
        'a' => '\x07',
        'b' => '\x08',
        'f' => '\x0c',
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        'v' => '\x0b',
        '0'..='7' => {
            let mut value = c.to_digit(8).unwrap_or_default();
            for _ in 0..2 {
                let Some(digit) = cursor.peek().and_then(|c| c.to_digit(8)) else { break };
                cursor.next();
                value = value * 8 + digit;
            }
            character(value, at)?
        }
        'x' => character(hex(cursor, 2, at)?, at)?,
        'u' => character(hex(cursor, 4, at)?, at)?,
        'U' => character(hex(cursor, 8, at)?, at)?,
        'N' => {
            return Err(Fault::new(
                at,
                "a character is given by its name here; write it itself, or \\u and its number",
            ));
        }
        other => {
            // Python keeps the backslash of what it does not know.
            text.push('\\');
            other
        }
    };
    text.push(plain);
    Ok(())
}

fn hex(cursor: &mut Cursor<'_>, digits: usize, at: usize) -> Result<u32, Fault> {
    let mut value = 0;
    for _ in 0..digits {
        let digit = cursor.peek().and_then(|c| c.to_digit(16));
        let digit = digit.ok_or_else(|| Fault::new(at, format!("{digits} hexadecimal digits are due here")))?;
        cursor.next();
        value = value << 4 | digit;
    }
    Ok(value)
}

fn character(value: u32, at: usize) -> Result<char, Fault> {
    char::from_u32(value).ok_or_else(|| Fault::new(at, "there is no character of that number"))
}
