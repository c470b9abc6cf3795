//! Where things stand in the text of a TOML file, line by line: the parser gives the places of keys and values.

use std::ops::Range;

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

/// Where a line can be put into that table, and what has to stand before its key there; `None` if nowhere.
///
/// A table that is not there yet gets no header, which would be a second line: `core.x = …` needs none.
pub(super) fn spot(text: &str, root: &DeTable<'_>, table: &str) -> Option<(usize, String)> {
    let dotted = format!("{table}.");
    let Some((key, value)) = root.get_key_value(table) else {
        return Some((top(text, root), dotted));
    };
    let entries = value.get_ref().as_table()?;
    if is_assigned(text, &key.span()) {
        return None;
    }
    if let Some((key, value)) = plain(text, entries).max_by_key(|(key, _)| key.span().start) {
        let end = of(text, &key.span(), value).last()?.end;
        let prefix = text.get(line(text, key.span().start).start..key.span().start)?;
        return Some((end, prefix.to_owned()));
    }
    let header = line(text, key.span().start);
    let inner = text.get(header.clone())?.trim_start().strip_prefix('[')?.split_once(']')?.0.trim();
    // The header may be that of a table below it.
    let is_own = inner.trim_matches(['"', '\'']) == table;
    Some(if is_own { (header.end, String::new()) } else { (top(text, root), dotted) })
}

/// The lines that make up an entry, in order; the headers of its tables are among them.
pub(super) fn of(text: &str, key: &Range<usize>, value: &Spanned<DeValue<'_>>) -> Vec<Range<usize>> {
    let mut lines = Vec::new();
    collect(text, key, value, &mut lines);
    lines.sort_by_key(|lines| lines.start);
    lines.dedup();
    lines
}

fn collect(text: &str, key: &Range<usize>, value: &Spanned<DeValue<'_>>, lines: &mut Vec<Range<usize>>) {
    let Some(inner) = value.get_ref().as_table().filter(|_| !is_assigned(text, key)) else {
        let last = value.span().end.max(key.end).saturating_sub(1);
        lines.push(line(text, key.start).start..line(text, last).end);
        return;
    };
    if is_header(text, key.start) {
        lines.push(line(text, key.start));
    }
    for (key, value) in inner {
        collect(text, &key.span(), value, lines);
    }
}

/// Where a line can be put that is in no table: behind the last such line, else before the first table and what is said
/// above it.
fn top(text: &str, root: &DeTable<'_>) -> usize {
    let mut taken: Vec<Range<usize>> = Vec::new();
    for (key, value) in plain(text, root) {
        match value.get_ref().as_table().filter(|_| !is_assigned(text, &key.span())) {
            Some(inner) => {
                taken.extend(plain(text, inner).flat_map(|(key, value)| of(text, &key.span(), value)));
            }
            None => taken.extend(of(text, &key.span(), value)),
        }
    }
    if let Some(end) = taken.iter().map(|lines| lines.end).max() {
        return end;
    }
    let Some(mut at) = root.keys().map(|key| line(text, key.span().start).start).min() else { return text.len() };
    while let Some(above) = at.checked_sub(1).map(|end| line(text, end)) {
        if !text.get(above.clone()).is_some_and(|line| line.trim_start().starts_with('#')) {
            break;
        }
        at = above.start;
    }
    at
}

/// What stands in a table by lines of its own, and not as the header of another.
fn plain<'a, 'b>(
    text: &'b str,
    table: &'b DeTable<'a>,
) -> impl Iterator<Item = (&'b Spanned<toml::de::DeString<'a>>, &'b Spanned<DeValue<'a>>)> {
    table.iter().filter(move |(key, _)| !is_header(text, key.span().start))
}

/// Whether a value stands behind the key, and not a part of a longer key or the end of a header.
fn is_assigned(text: &str, key: &Range<usize>) -> bool {
    text.get(key.end..).is_some_and(|rest| rest.trim_start_matches([' ', '\t']).starts_with('='))
}

/// Whether the line of that place is the header of a table.
fn is_header(text: &str, at: usize) -> bool {
    text.get(line(text, at)).is_some_and(|line| line.trim_start().starts_with('['))
}

/// The line around a place, with what ends it.
fn line(text: &str, at: usize) -> Range<usize> {
    let start = text.get(..at).and_then(|before| before.rfind('\n')).map_or(0, |end| end + 1);
    let end = text.get(at..).and_then(|after| after.find('\n')).map_or(text.len(), |end| at + end + 1);
    start..end
}
