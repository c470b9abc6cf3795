//! Files of variables: `KEY=VALUE`, one a line.
//!
//! A line may begin with `export`. A value may stand in quotes, and then go over several lines: in double ones `\n`, `\r`,
//! `\t`, `\"`, `\\` and `\$` mean what they do elsewhere, in single ones nothing does. Of a value without quotes the white
//! space around it does not count, nor what follows ` #`. No variable is put in place of its name.

use std::path::Path;

use aigis_proxy::text_file::Error;

#[cfg(test)]
mod tests;

/// Names and values of variables, in the order of their file.
pub type Variables = Vec<(String, String)>;

/// Most variables of a file.
const MAX: usize = 256;

/// Reads the variables of a file whose text this is. Messages name the line and the variable, never a value.
///
/// # Errors
///
/// What is no line of such a file, or says a variable twice.
pub fn parse(path: &Path, text: &str) -> Result<Variables, Error> {
    let mut variables = Variables::new();
    let mut at = 0;
    while at < text.len() {
        let rest = text.get(at..).unwrap_or_default();
        let refuse = |reason: String| Error::at(path, text, at, reason);
        let line = rest.split('\n').next().unwrap_or_default();
        let trimmed = line.trim();
        if trimmed.is_empty() || trimmed.starts_with('#') {
            at += line.len() + 1;
            continue;
        }
        let Some((before, _)) = line.split_once('=') else {
            return Err(refuse("this is no variable; write NAME=VALUE".to_owned()));
        };
        let name = before.trim();
        let name = name.strip_prefix("export").filter(|rest| rest.starts_with([' ', '\t'])).unwrap_or(name).trim();
        if !is_name(name) {
            let reason = "what stands before = is no name of a variable: letters, digits and _, and no digit first";
            return Err(refuse(reason.to_owned()));
        }
        let after = rest.get(before.len() + 1..).unwrap_or_default();
        let (value, length) = value(after).map_err(|reason| refuse(format!("{name}: {reason}")))?;
        if variables.iter().any(|(known, _)| known == name) {
            return Err(refuse(format!("{name} stands there twice; keep one")));
        }
        if variables.len() == MAX {
            return Err(refuse(format!("there are more than {MAX} variables")));
        }
        if value.contains('\0') {
            return Err(refuse(format!("{name}: it holds a zero byte, which no variable can")));
        }
        variables.push((name.to_owned(), value));
        at += before.len() + 1 + length + 1;
    }
    Ok(variables)
}

/// Writes variables as such a file, which reads back the same.
#[must_use]
pub fn write(variables: &[(String, String)]) -> String {
    let escaped = |value: &str| {
        let mut out = String::new();
        for c in value.chars() {
            match c {
                '\n' => out.push_str("\\n"),
                '\r' => out.push_str("\\r"),
                '"' | '\\' | '$' => out.extend(['\\', c]),
                c => out.push(c),
            }
        }
        out
    };
    variables.iter().map(|(name, value)| format!("{name}=\"{}\"\n", escaped(value))).collect()
}

fn is_name(text: &str) -> bool {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    !text.is_empty() && text.len() <= 128 && !text.starts_with(|c: char| c.is_ascii_digit()) && text.bytes().all(good)
}

/// The value at the beginning of a text, and how many bytes it takes up to the end of its last line.
fn value(text: &str) -> Result<(String, usize), &'static str> {
    let blank = text.len() - text.trim_start_matches([' ', '\t']).len();
    let inner = text.get(blank..).unwrap_or_default();
    let Some(quote) = inner.chars().next().filter(|c| matches!(c, '"' | '\'')) else {
        let line = text.split('\n').next().unwrap_or_default();
        let end = line
            .match_indices('#')
            .map(|(at, _)| at)
            .find(|at| *at == 0 || line.get(..*at).is_some_and(|before| before.ends_with([' ', '\t'])));
        let value = line.get(..end.unwrap_or(line.len())).unwrap_or_default();
        return Ok((value.trim().to_owned(), line.len()));
    };
    let mut value = String::new();
    let mut chars = inner.char_indices().skip(1);
    let end = loop {
        let (at, c) = chars.next().ok_or("its quotes are not closed")?;
        match c {
            c if c == quote => break blank + at + 1,
            '\\' if quote == '"' => match chars.next() {
                Some((_, 'n')) => value.push('\n'),
                Some((_, 'r')) => value.push('\r'),
                Some((_, 't')) => value.push('\t'),
                Some((_, c @ ('"' | '\\' | '$'))) => value.push(c),
                Some((_, c)) => value.extend(['\\', c]),
                None => return Err("its quotes are not closed"),
            },
            c => value.push(c),
        }
    };
    let rest = text.get(end..).and_then(|rest| rest.split('\n').next()).unwrap_or_default();
    if !rest.trim().is_empty() && !rest.trim_start().starts_with('#') {
        return Err("something follows its quotes");
    }
    Ok((value, end + rest.len()))
}
