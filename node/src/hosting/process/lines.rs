//! What a process prints, line by line.

use tokio::io::{AsyncRead, AsyncReadExt as _};

use crate::hosting::line::{Line, Sink, Source};

/// Longest line, in bytes; what is longer comes in parts.
const LONGEST: usize = 16 * 1024;
/// How much is read at once.
const CHUNK: usize = 64 * 1024;

/// Gives each line to `sink`, until nobody writes any more.
pub(super) async fn read(pipe: Option<impl AsyncRead + Unpin>, source: Source, pid: u32, sink: &dyn Sink) {
    let Some(mut pipe) = pipe else { return };
    let (mut chunk, mut rest) = (vec![0; CHUNK], Vec::new());
    let mut say = |text: &[u8]| {
        let text = String::from_utf8_lossy(text);
        sink.line(Line { generation: None, source, pid, level: None, call: None, text: &text });
    };
    while let Ok(count @ 1..) = pipe.read(&mut chunk).await {
        rest.extend_from_slice(chunk.get(..count).unwrap_or_default());
        let said = cut(&rest, &mut say);
        rest.drain(..said);
    }
    if !rest.is_empty() {
        say(&rest);
    }
}

/// Says the whole lines of `text`, and gives how many bytes they were.
fn cut(text: &[u8], say: &mut impl FnMut(&[u8])) -> usize {
    let mut said = 0;
    loop {
        let rest = text.get(said..).unwrap_or_default();
        let within = rest.get(..=LONGEST).unwrap_or(rest);
        match within.iter().position(|byte| *byte == b'\n') {
            Some(end) => {
                let line = rest.get(..end).unwrap_or_default();
                say(line.strip_suffix(b"\r").unwrap_or(line));
                said += end + 1;
            }
            None if rest.len() > LONGEST => {
                let end = boundary(rest);
                say(rest.get(..end).unwrap_or_default());
                said += end;
            }
            None => return said,
        }
    }
}

/// Where a part of a long line ends: before a character that would be torn.
fn boundary(text: &[u8]) -> usize {
    let continues = |at: usize| text.get(at).is_some_and(|byte| byte & 0xc0 == 0x80);
    (LONGEST - 3..=LONGEST).rev().find(|at| !continues(*at)).unwrap_or(LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &[u8]) -> (Vec<String>, usize) {
        let mut lines = Vec::new();
        let said = cut(text, &mut |line| lines.push(String::from_utf8_lossy(line).into_owned()));
        (lines, said)
    }

    #[test]
    fn lines_are_cut_at_their_ends_and_long_ones_between_characters() {
        assert_eq!(lines(b"a\r\n\nb\rc\nrest"), (vec!["a".into(), String::new(), "b\rc".into()], 8));
        assert_eq!(lines(b""), (vec![], 0));
        let long = format!("{}\n", "é".repeat(LONGEST));
        let (parts, said) = lines(long.as_bytes());
        assert_eq!((parts.concat(), said), (long.trim_end().to_owned(), long.len()));
        assert!(parts.iter().all(|part| part.len() <= LONGEST), "{:?}", parts.len());
        let odd = format!("x{}", "é".repeat(LONGEST));
        let (parts, said) = lines(odd.as_bytes());
        assert!(odd.starts_with(&parts.concat()) && odd.len() - said <= LONGEST);
        assert_eq!(lines(&vec![0x80; LONGEST + 1]).1, LONGEST);
    }
}
