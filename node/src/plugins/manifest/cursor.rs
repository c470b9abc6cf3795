//! A place in the text of a Python file, and how it moves over what means nothing.

/// A place in a text.
#[derive(Debug, Clone)]
pub(super) struct Cursor<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    /// The place, in bytes.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    /// What is still to come.
    pub(super) fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    pub(super) fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    /// Takes the next character.
    pub(super) fn next(&mut self) -> Option<char> {
        let next = self.peek()?;
        self.at += next.len_utf8();
        Some(next)
    }

    /// Takes these words, if they are next.
    pub(super) fn take(&mut self, words: &str) -> bool {
        let is_next = self.rest().starts_with(words);
        if is_next {
            self.at += words.len();
        }
        is_next
    }

    /// Takes what follows and satisfies.
    pub(super) fn take_while(&mut self, wanted: impl Fn(char) -> bool) -> &'a str {
        let rest = self.rest();
        let end = rest.find(|c| !wanted(c)).unwrap_or(rest.len());
        self.at += end;
        rest.get(..end).unwrap_or_default()
    }

    /// Takes a name, if one is next.
    pub(super) fn name(&mut self) -> Option<&'a str> {
        let starts = self.peek().is_some_and(|c| c == '_' || c.is_alphabetic());
        starts.then(|| self.take_while(|c| c == '_' || c.is_alphanumeric()))
    }

    /// Passes over spaces, comments and joined lines; over ends of lines too, where they mean nothing.
    pub(super) fn skip(&mut self, lines: bool) {
        loop {
            match self.peek() {
                Some(' ' | '\t' | '\x0c') => {
                    self.next();
                }
                Some('#') => {
                    self.take_while(|c| c != '\n');
                }
                Some('\\') if self.joins() => {}
                Some('\n') if lines => {
                    self.next();
                }
                Some('\r') if lines => {
                    self.next();
                }
                _ => return,
            }
        }
    }

    /// Takes a backslash at the end of a line, which joins it with the next.
    fn joins(&mut self) -> bool {
        self.take("\\\n") || self.take("\\\r\n")
    }

    /// Whether a line, or the text, ends here.
    pub(super) fn is_end(&self) -> bool {
        let rest = self.rest();
        rest.is_empty() || rest.starts_with('\n') || rest.starts_with("\r\n")
    }

    /// What stands before this place on its line.
    pub(super) fn before_on_line(&self) -> &'a str {
        let before = self.text.get(..self.at).unwrap_or_default();
        before.rsplit('\n').next().unwrap_or_default()
    }

    /// Whether a line begins here.
    pub(super) fn is_start(&self) -> bool {
        self.before_on_line().is_empty()
    }
}
