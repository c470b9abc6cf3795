//! The reader: RFC 8259 and nothing beside it, within bounds.

use std::collections::HashMap;

use super::{Document, Flaw, Kind, Member, Node, Number, Places, Read, step};

/// Largest text that is read, in bytes.
pub const MAX_BYTES: usize = 1024 * 1024;
/// Deepest nesting of arrays and objects that is read.
pub const MAX_DEPTH: usize = 32;
/// Up to here, every integer has a value of its own among the numbers of JSON.
const MAX_INTEGER: i64 = 1 << 53;
/// After so many flaws reading ends.
const MOST_FLAWS: usize = 100;

/// Reads a text strictly: no doubled key, comment, trailing comma, `NaN`, lone surrogate, or integer beyond 2⁵³.
#[must_use]
pub fn read(bytes: &[u8]) -> Read {
    let text = match std::str::from_utf8(bytes) {
        _ if bytes.len() > MAX_BYTES => {
            let flaw = flaw("", (1, 1), format!("it is {} bytes long; at most {MAX_BYTES} are read", bytes.len()), "");
            return Read { document: None, flaws: vec![flaw] };
        }
        Ok(text) => text,
        Err(error) => {
            let before = String::from_utf8_lossy(bytes.get(..error.valid_up_to()).unwrap_or_default());
            let place = Places::new(&before).of(before.len());
            let flaw = flaw("", place, "this byte is not UTF-8".to_owned(), "save the file as UTF-8");
            return Read { document: None, flaws: vec![flaw] };
        }
    };
    let places = Places::new(text);
    let mut reader = Reader { text, at: 0, path: Vec::new(), flaws: Vec::new(), places: &places };
    let root = reader.document();
    let flaws = reader.flaws;
    Read { document: root.ok().map(|root| Document { root, places }), flaws }
}

fn flaw(pointer: &str, (line, column): (usize, usize), message: String, hint: &'static str) -> Flaw {
    Flaw { pointer: pointer.to_owned(), line, column, message, hint }
}

/// Reading cannot go on; the last flaw says why.
struct Stopped;

struct Reader<'a> {
    text: &'a str,
    at: usize,
    /// The steps to the value that is being read, escaped.
    path: Vec<String>,
    flaws: Vec<Flaw>,
    places: &'a Places,
}

impl Reader<'_> {
    fn document(&mut self) -> Result<Node, Stopped> {
        if self.text.starts_with('\u{feff}') {
            return self.stop("it begins with a byte order mark", "save the file as plain UTF-8");
        }
        let root = self.value()?;
        self.space()?;
        if self.at < self.text.len() {
            return self.stop("something follows the document", "one file holds one document");
        }
        Ok(root)
    }

    fn value(&mut self) -> Result<Node, Stopped> {
        self.space()?;
        let at = self.at;
        let kind = match self.peek() {
            Some(b'{') => self.object()?,
            Some(b'[') => self.list()?,
            Some(b'"') => self.string()?.map_or(Kind::Flawed, Kind::Text),
            Some(b'-' | b'0'..=b'9') => self.number()?,
            _ => self.word()?,
        };
        Ok(Node { at, kind })
    }

    fn object(&mut self) -> Result<Kind, Stopped> {
        self.enter()?;
        let mut members: Vec<Member> = Vec::new();
        // By the key: where it stands first.
        let mut firsts: HashMap<String, usize> = HashMap::new();
        while self.goes_on(b'}', members.is_empty())? {
            let at = self.at;
            if self.peek() != Some(b'"') {
                return self.stop("a key in double quotes is due here", "");
            }
            let key = self.string()?.unwrap_or_else(|| format!("\u{fffd}{}", members.len()));
            self.path.push(step(&key));
            let first = firsts.get(&key).copied();
            if let Some(first) = first {
                let (one, two) = (self.places.of(first).0, self.places.of(at).0);
                self.note(
                    at,
                    format!("the key stands there twice: on line {one} and on line {two}"),
                    "keep one of them",
                )?;
            }
            self.space()?;
            if self.peek() != Some(b':') {
                return self.stop("a colon is due here", "");
            }
            self.at += 1;
            let value = self.value()?;
            self.path.pop();
            if first.is_none() {
                firsts.insert(key.clone(), at);
                members.push(Member { key, at, value });
            }
        }
        Ok(Kind::Object(members))
    }

    fn list(&mut self) -> Result<Kind, Stopped> {
        self.enter()?;
        let mut items = Vec::new();
        while self.goes_on(b']', items.is_empty())? {
            self.path.push(items.len().to_string());
            items.push(self.value()?);
            self.path.pop();
        }
        Ok(Kind::List(items))
    }

    /// Steps into an object or array.
    fn enter(&mut self) -> Result<(), Stopped> {
        if self.path.len() >= MAX_DEPTH {
            return self.stop(&format!("it nests deeper than {MAX_DEPTH} levels"), "");
        }
        self.at += 1;
        Ok(())
    }

    /// Whether another member or item follows; if not, the closing bracket is read.
    fn goes_on(&mut self, end: u8, is_first: bool) -> Result<bool, Stopped> {
        self.space()?;
        match self.peek() {
            Some(byte) if byte == end => {
                self.at += 1;
                return Ok(false);
            }
            _ if is_first => return Ok(true),
            Some(b',') => {}
            Some(_) => return self.stop(&format!("a comma or {:?} is due here", char::from(end)), ""),
            None => return self.stop(&format!("the text ends where {:?} is due", char::from(end)), ""),
        }
        let comma = self.at;
        self.at += 1;
        self.space()?;
        if self.peek() == Some(end) {
            self.note(comma, format!("a comma stands before {:?}", char::from(end)), "take it away")?;
            self.at += 1;
            return Ok(false);
        }
        Ok(true)
    }

    fn number(&mut self) -> Result<Kind, Stopped> {
        let start = self.at;
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        if self.rest().starts_with("Infinity") {
            return self.word();
        }
        let zero = self.peek() == Some(b'0');
        if self.digits()? > 1 && zero {
            return self.stop("a number begins with 0", "take the zeros away");
        }
        let whole = self.at;
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits()?;
        }
        let literal = self.text.get(start..self.at).unwrap_or_default();
        if self.at == whole {
            let integer = literal.parse::<i64>().ok().filter(|number| (-MAX_INTEGER..=MAX_INTEGER).contains(number));
            let Some(integer) = integer else {
                self.note(start, "an integer beyond 2^53 has no value of its own".to_owned(), "write it as text")?;
                return Ok(Kind::Flawed);
            };
            return Ok(Kind::Number(integer.into()));
        }
        match Number::from_f64(literal.parse().unwrap_or(f64::INFINITY)) {
            Some(number) => Ok(Kind::Number(integral(&number).map_or(number, Number::from))),
            None => {
                self.note(start, "the number is too large".to_owned(), "write it as text")?;
                Ok(Kind::Flawed)
            }
        }
    }

    /// Reads digits, at least one, and says how many.
    fn digits(&mut self) -> Result<usize, Stopped> {
        let count = self.rest().bytes().take_while(u8::is_ascii_digit).count();
        if count == 0 {
            return self.stop("a digit is due here", "");
        }
        self.at += count;
        Ok(count)
    }

    fn word(&mut self) -> Result<Kind, Stopped> {
        let start = self.at;
        let rest = self.rest();
        let length = rest.bytes().take_while(u8::is_ascii_alphanumeric).count();
        let word = rest.get(..length).unwrap_or_default();
        let kind = match word {
            "null" => Kind::Null,
            "true" => Kind::Bool(true),
            "false" => Kind::Bool(false),
            "NaN" | "Infinity" => {
                self.note(start, format!("{word} is no JSON"), "write a number, or leave the key out")?;
                Kind::Flawed
            }
            _ if rest.is_empty() => return self.stop("the text ends where a value is due", ""),
            _ => return self.stop("a value is due here", "texts stand in double quotes"),
        };
        self.at += length;
        Ok(kind)
    }

    /// Reads a text; `None` if it has a flaw after which reading goes on.
    fn string(&mut self) -> Result<Option<String>, Stopped> {
        let start = self.at;
        self.at += 1;
        let (mut out, mut sound) = (String::new(), true);
        loop {
            let Some(next) = self.rest().chars().next() else {
                self.at = start;
                return self.stop("this text has no end", "close it with a double quote");
            };
            match next {
                '"' => {
                    self.at += 1;
                    return Ok(sound.then_some(out));
                }
                '\\' => match self.escape()? {
                    Some(c) => out.push(c),
                    None => sound = false,
                },
                '\0'..='\x1f' => {
                    return self.stop("a control character stands in a text", "write it as \\n, \\t or \\u00XX");
                }
                _ => {
                    out.push(next);
                    self.at += next.len_utf8();
                }
            }
        }
    }

    /// Reads an escape; `None` for one half of a pair.
    fn escape(&mut self) -> Result<Option<char>, Stopped> {
        let start = self.at;
        let letter = self.rest().as_bytes().get(1).copied();
        let c = match letter {
            Some(c @ (b'"' | b'\\' | b'/')) => char::from(c),
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => return self.units(start),
            _ => return self.stop("this escape is unknown", "a backslash is written as \\\\"),
        };
        self.at += 2;
        Ok(Some(c))
    }

    fn units(&mut self, start: usize) -> Result<Option<char>, Stopped> {
        let Some(first) = self.unit() else {
            return self.stop("four hexadecimal digits are due after \\u", "");
        };
        let mut units = vec![first];
        if (0xD800..0xDC00).contains(&first) && self.rest().starts_with("\\u") {
            let before = self.at;
            match self.unit() {
                Some(second) if (0xDC00..0xE000).contains(&second) => units.push(second),
                _ => self.at = before,
            }
        }
        let c = char::decode_utf16(units).next().and_then(Result::ok);
        if c.is_none() {
            self.note(
                start,
                "a surrogate stands alone".to_owned(),
                "write both halves of the pair, or the character itself",
            )?;
        }
        Ok(c)
    }

    /// Reads `\uXXXX`.
    fn unit(&mut self) -> Option<u16> {
        let digits = self.rest().get(2..6).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()))?;
        let unit = u16::from_str_radix(digits, 16).ok()?;
        self.at += 6;
        Some(unit)
    }

    fn space(&mut self) -> Result<(), Stopped> {
        self.at += self.rest().bytes().take_while(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r')).count();
        if self.rest().starts_with("//") || self.rest().starts_with("/*") {
            return self.stop("JSON has no comments", "use a key that begins with x-");
        }
        Ok(())
    }

    fn rest(&self) -> &str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    /// Takes a flaw down, after which reading goes on unless there are too many.
    fn note(&mut self, at: usize, message: String, hint: &'static str) -> Result<(), Stopped> {
        let pointer: String = self.path.iter().flat_map(|step| ["/", step]).collect();
        self.flaws.push(flaw(&pointer, self.places.of(at), message, hint));
        if self.flaws.len() < MOST_FLAWS { Ok(()) } else { Err(Stopped) }
    }

    /// Takes the last flaw down.
    fn stop<T>(&mut self, message: &str, hint: &'static str) -> Result<T, Stopped> {
        let _ = self.note(self.at, message.to_owned(), hint);
        Err(Stopped)
    }
}

/// The integer that a number is, if it has a value of its own.
fn integral(number: &Number) -> Option<i64> {
    let float = number.as_f64()?;
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        reason = "2^53 and what is below are exact"
    )]
    let exact = (float.fract() == 0.0 && float.abs() <= MAX_INTEGER as f64).then_some(float as i64);
    exact
}

#[cfg(test)]
mod tests;
