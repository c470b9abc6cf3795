//! Python's literals, read and never run.
//!
//! What is taken: comments, strings that stand alone (a docstring), and `NAME = VALUE`, where VALUE is built of strings
//! (with the prefixes `r` and `u`), adjacent strings, numbers, `True False None`, lists, tuples, dicts, `+` between strings
//! or lists, parentheses, and names that were assigned above. Everything else is refused where it begins.

use std::collections::HashMap;

use aigis_proxy::quoted;

use super::{
    cursor::Cursor,
    number, text,
    value::{Binding, Fault, Node, Value},
};

/// How deep values may stand in one another.
const DEEPEST: usize = 64;
/// How much memory all that names and sums repeat may take.
const ROOM: usize = 16 << 20;
/// What is said of everything else.
pub(super) const ONLY: &str = "only literal values are allowed here";

/// Reads a whole file.
pub(super) fn parse(text: &str) -> Result<Vec<Binding>, Fault> {
    let mut parser = Parser { cursor: Cursor::new(text), known: HashMap::new(), depth: 0, room: ROOM };
    let mut bindings = Vec::new();
    parser.cursor.skip(true);
    while parser.cursor.peek().is_some() {
        bindings.extend(parser.statement()?);
        parser.cursor.skip(true);
    }
    Ok(bindings)
}

struct Parser<'a> {
    cursor: Cursor<'a>,
    known: HashMap<&'a str, Node>,
    depth: usize,
    room: usize,
}

impl<'a> Parser<'a> {
    fn refuse<T>(&self, at: usize, why: impl std::fmt::Display) -> Result<T, Fault> {
        Err(Fault::new(at, format!("{ONLY}: {why}")))
    }

    /// A statement, with what ends it.
    fn statement(&mut self) -> Result<Option<Binding>, Fault> {
        let at = self.cursor.at();
        if !self.cursor.is_start() && !self.follows() {
            return Err(Fault::new(at, "this line is set in, and belongs to nothing"));
        }
        let binding = if let Some(string) = self.text(at)? {
            // A docstring, or a text that serves as a comment.
            self.sum_from(string)?;
            None
        } else {
            Some(self.binding(at)?)
        };
        self.cursor.skip(false);
        let end = self.cursor.at();
        if self.cursor.is_end() || self.cursor.take(";") { Ok(binding) } else { self.refuse(end, "NAME = VALUE") }
    }

    /// Whether a statement may begin here behind another one on its line.
    fn follows(&self) -> bool {
        self.cursor.before_on_line().trim_end().ends_with(';')
    }

    fn binding(&mut self, at: usize) -> Result<Binding, Fault> {
        let Some(name) = self.cursor.name() else { return self.refuse(at, "NAME = VALUE") };
        self.cursor.skip(false);
        if self.cursor.rest().starts_with("==") || !self.cursor.take("=") {
            return self.refuse(at, "NAME = VALUE");
        }
        self.cursor.skip(false);
        let node = self.values()?;
        self.known.insert(name, node.clone());
        self.spend(&node.value, at)?;
        Ok(Binding { name: name.to_owned(), at, node })
    }

    /// A value, or several with commas between them, which are a tuple.
    fn values(&mut self) -> Result<Node, Fault> {
        let at = self.cursor.at();
        let first = self.sum()?;
        self.cursor.skip(self.depth > 0);
        if !self.cursor.rest().starts_with(',') {
            return Ok(first);
        }
        let mut items = vec![first];
        while self.cursor.take(",") {
            self.cursor.skip(self.depth > 0);
            if self.cursor.is_end() || self.cursor.rest().starts_with([')', ';']) {
                break;
            }
            items.push(self.sum()?);
            self.cursor.skip(self.depth > 0);
        }
        Ok(Node { at, value: Value::Tuple(items) })
    }

    fn sum(&mut self) -> Result<Node, Fault> {
        let first = self.operand()?;
        self.sum_from(first)
    }

    fn sum_from(&mut self, mut sum: Node) -> Result<Node, Fault> {
        loop {
            self.cursor.skip(self.depth > 0);
            let plus = self.cursor.at();
            if !self.cursor.take("+") {
                return Ok(sum);
            }
            self.cursor.skip(self.depth > 0);
            let next = self.operand()?;
            self.spend(&next.value, plus)?;
            match (&mut sum.value, next.value) {
                (Value::Text(text), Value::Text(more)) => text.push_str(&more),
                (Value::List(items), Value::List(more)) => items.extend(more),
                (one, other) => {
                    let why = format!("+ joins strings or lists, and no {} and {}", one.kind(), other.kind());
                    return self.refuse(plus, why);
                }
            }
        }
    }

    /// One thing, and nothing that is done with it.
    fn operand(&mut self) -> Result<Node, Fault> {
        let at = self.cursor.at();
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err(Fault::new(at, format!("values stand more than {DEEPEST} deep in one another")));
        }
        let node = self.atom(at);
        self.depth -= 1;
        let node = node?;
        self.cursor.skip(self.depth > 0);
        match self.cursor.peek() {
            Some('(') => self.refuse(self.cursor.at(), "nothing is called"),
            Some('[' | '.') => self.refuse(self.cursor.at(), "nothing is looked up"),
            _ => Ok(node),
        }
    }

    fn atom(&mut self, at: usize) -> Result<Node, Fault> {
        if let Some(text) = self.text(at)? {
            return Ok(text);
        }
        let node = |value| Node { at, value };
        match self.cursor.peek() {
            Some('(') => {
                self.cursor.next();
                self.cursor.skip(true);
                if self.cursor.take(")") {
                    return Ok(node(Value::Tuple(Vec::new())));
                }
                let inner = self.values()?;
                self.close(at, ")")?;
                Ok(Node { at, ..inner })
            }
            Some('[') => Ok(node(Value::List(self.items(at)?))),
            Some('{') => Ok(node(Value::Dict(self.dict(at)?))),
            Some('-' | '+' | '.' | '0'..='9') => Ok(node(number::read(&mut self.cursor)?)),
            Some(c) if c == '_' || c.is_alphabetic() => self.named(at),
            _ if self.cursor.is_end() => self.refuse(at, "a value is missing"),
            Some(c) => self.refuse(at, format!("'{}' begins none", c.escape_debug())),
            None => self.refuse(at, "a value is missing"),
        }
    }

    /// Adjacent strings, if one is next.
    fn text(&mut self, at: usize) -> Result<Option<Node>, Fault> {
        let mut joined: Option<String> = None;
        loop {
            let before = self.cursor.clone();
            if joined.is_some() {
                self.cursor.skip(self.depth > 1);
            }
            match text::read(&mut self.cursor)? {
                Some(part) => joined.get_or_insert_default().push_str(&part),
                None => {
                    self.cursor = before;
                    return Ok(joined.map(|text| Node { at, value: Value::Text(text) }));
                }
            }
        }
    }

    fn named(&mut self, at: usize) -> Result<Node, Fault> {
        let name = self.cursor.name().unwrap_or_default();
        let value = match name {
            "None" => Value::None,
            "True" => Value::Bool(true),
            "False" => Value::Bool(false),
            _ => match self.known.get(name) {
                Some(known) => {
                    let value = known.value.clone();
                    self.spend(&value, at)?;
                    value
                }
                None => return self.refuse(at, format!("\"{}\" has no value above", quoted(name))),
            },
        };
        Ok(Node { at, value })
    }

    fn items(&mut self, at: usize) -> Result<Vec<Node>, Fault> {
        self.cursor.next();
        let mut items = Vec::new();
        loop {
            self.cursor.skip(true);
            if self.cursor.take("]") {
                return Ok(items);
            }
            items.push(self.sum()?);
            self.cursor.skip(true);
            if !self.cursor.take(",") {
                self.close(at, "]")?;
                return Ok(items);
            }
        }
    }

    fn dict(&mut self, at: usize) -> Result<Vec<(Node, Node)>, Fault> {
        self.cursor.next();
        let mut items = Vec::new();
        loop {
            self.cursor.skip(true);
            if self.cursor.take("}") {
                return Ok(items);
            }
            let key = self.sum()?;
            self.cursor.skip(true);
            if !self.cursor.take(":") {
                return self.refuse(self.cursor.at(), "a dict has KEY: VALUE");
            }
            self.cursor.skip(true);
            items.push((key, self.sum()?));
            self.cursor.skip(true);
            if !self.cursor.take(",") {
                self.close(at, "}")?;
                return Ok(items);
            }
        }
    }

    /// Takes the end of what began at `open`.
    fn close(&mut self, open: usize, end: &str) -> Result<(), Fault> {
        self.cursor.skip(true);
        if self.cursor.take(end) {
            return Ok(());
        }
        if self.cursor.peek().is_none() {
            return Err(Fault::new(open, format!("what begins here has no end: \"{end}\" is missing")));
        }
        self.refuse(self.cursor.at(), format!("\",\" or \"{end}\" is due"))
    }

    /// Counts what is held once more.
    fn spend(&mut self, value: &Value, at: usize) -> Result<(), Fault> {
        self.room = self
            .room
            .checked_sub(value.weight())
            .ok_or_else(|| Fault::new(at, format!("the values are larger than {ROOM} bytes together")))?;
        Ok(())
    }
}
