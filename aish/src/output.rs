//! The one place that prints: results on standard output, everything else on standard error.

use std::{
    fmt::Write as _,
    io::{self, IsTerminal, Write},
    time::Duration,
};

use aigis_proxy::Error;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::time::interval;

use crate::exit::{Failure, Usage};

mod colors;
mod printer;

pub(crate) use printer::{Pen, Printer};

/// How often it is looked whether anybody still reads.
const LOOK: Duration = Duration::from_millis(500);

/// When to use colour.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Color {
    /// On a terminal, unless `NO_COLOR` is set.
    #[default]
    Auto,
    /// Wherever a table is drawn.
    Always,
    /// Never.
    Never,
}

/// How and where to print.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Output {
    json: bool,
    quiet: bool,
    raw: bool,
    color: bool,
    stdout_terminal: bool,
    stderr_terminal: bool,
}

/// How many bytes it takes for a bar.
const WORTH_A_BAR: u64 = 1024 * 1024;

impl Output {
    /// Looks at what both streams are, once.
    pub(crate) fn new(json: bool, quiet: bool, raw: bool, color: Color) -> Self {
        let stdout_terminal = io::stdout().is_terminal();
        let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
            || std::env::var_os("TERM").is_none_or(|term| term.is_empty() || term == "dumb");
        let color = match color {
            Color::Auto => stdout_terminal && !plain,
            Color::Always => true,
            Color::Never => false,
        };
        Self { json, quiet, raw, color, stdout_terminal, stderr_terminal: io::stderr().is_terminal() }
    }

    /// Whether results are JSON.
    pub(crate) fn is_json(&self) -> bool {
        self.json
    }

    /// Whether a person looks at standard output.
    pub(crate) fn is_terminal(&self) -> bool {
        self.stdout_terminal
    }

    /// Whether only results are wanted.
    pub(crate) fn is_quiet(&self) -> bool {
        self.quiet
    }

    /// Whether a person can be asked: at the terminal, and not by a program.
    pub(crate) fn can_ask(&self) -> bool {
        self.stderr_terminal && !self.json && io::stdin().is_terminal()
    }

    /// A bar for so many bytes on their way; only for a person, and not for what is there at once.
    pub(crate) fn bar(&self, bytes: u64) -> Option<indicatif::ProgressBar> {
        (self.stderr_terminal && !self.quiet && !self.json && bytes >= WORTH_A_BAR).then(|| {
            let bar = indicatif::ProgressBar::new(bytes);
            let style = "{bar:30} {binary_bytes} of {binary_total_bytes}, {binary_bytes_per_sec}";
            match indicatif::ProgressStyle::with_template(style) {
                Ok(style) => bar.with_style(style),
                Err(_) => bar,
            }
        })
    }

    /// Prints a result's text, with one newline at its end.
    pub(crate) fn text(&self, text: &str) -> Result<(), Failure> {
        let text = text.strip_suffix('\n').unwrap_or(text);
        let mut line = self.shown(text);
        line.push('\n');
        self.bytes(line.as_bytes())
    }

    /// Prints a value as one line of JSON.
    pub(crate) fn json(&self, value: &impl Serialize) -> Result<(), Failure> {
        let mut line = serde_json::to_string(value).map_err(io::Error::from)?;
        line.push('\n');
        self.bytes(line.as_bytes())
    }

    /// Prints bytes of a result: escaped on a terminal, as they are elsewhere.
    pub(crate) fn data(&self, bytes: &[u8]) -> Result<(), Failure> {
        if self.stdout_terminal && !self.raw {
            return self.bytes(escaped(&String::from_utf8_lossy(bytes)).as_bytes());
        }
        self.bytes(bytes)
    }

    /// Prints bytes that are no text; a terminal would make anything of them.
    pub(crate) fn binary(&self, bytes: &[u8]) -> Result<(), Failure> {
        if self.stdout_terminal && !self.raw {
            let message = format!("the result is {} bytes, which a terminal cannot show", bytes.len());
            return Err(Failure::usage(message, "write them into a file: > FILE; or see them as JSON: --json"));
        }
        self.bytes(bytes)
    }

    /// Prints bytes as they are: what a command with a terminal of its own writes, and what was escaped before.
    #[expect(clippy::unused_self, reason = "printing is this type's alone")]
    pub(crate) fn bytes(&self, bytes: &[u8]) -> Result<(), Failure> {
        let mut stdout = io::stdout().lock();
        stdout.write_all(bytes)?;
        Ok(stdout.flush()?)
    }

    /// Resolves once nobody can read standard output any more, which may be never: for a command that may have nothing
    /// to print for long, and so would not notice.
    async fn closed(&self) {
        let mut look = interval(LOOK);
        loop {
            look.tick().await;
            let stdout = io::stdout();
            let mut watched = [PollFd::new(&stdout, PollFlags::empty())];
            let looked = poll(&mut watched, Some(&Timespec::default()));
            if looked.is_ok() && watched[0].revents().intersects(PollFlags::ERR | PollFlags::HUP) {
                return;
            }
        }
    }

    /// Prints what an app writes: as it is, and on a terminal its colours alone of all that steers one.
    pub(crate) fn app(&self, bytes: &[u8], is_error: bool) -> Result<(), Failure> {
        let is_terminal = if is_error { self.stderr_terminal } else { self.stdout_terminal };
        let shown = (is_terminal && !self.raw)
            .then(|| colors::colored(&String::from_utf8_lossy(bytes), self.color).into_bytes());
        let bytes = shown.as_deref().unwrap_or(bytes);
        if is_error {
            // As with all that is said there: nobody can be told that it cannot be said.
            let _ = io::stderr().lock().write_all(bytes);
            return Ok(());
        }
        self.bytes(bytes)
    }

    /// Prints bytes of a command's standard error on ours.
    pub(crate) fn error_data(&self, bytes: &[u8], terminal: bool) {
        let mut stderr = io::stderr().lock();
        let _ = if self.stderr_terminal && !self.raw && !terminal {
            stderr.write_all(escaped(&String::from_utf8_lossy(bytes)).as_bytes())
        } else {
            stderr.write_all(bytes)
        };
    }

    /// Prints rows: aligned below a header on a terminal, else fields with tabs between them and no header. The
    /// field of index `state` is coloured by its word.
    pub(crate) fn table(&self, header: &[&str], rows: &[Vec<String>], state: usize) -> Result<(), Failure> {
        if rows.is_empty() {
            return Ok(());
        }
        let text = if self.stdout_terminal { aligned(header, rows, self.color.then_some(state)) } else { tabbed(rows) };
        self.bytes(text.as_bytes())
    }

    /// Prints what a command lists: the rows as JSON, else the fields of each as [`Output::table`] does.
    pub(crate) fn rows<T: Serialize>(
        &self,
        header: &[&str],
        rows: &[T],
        fields: impl Fn(&T) -> Vec<String>,
        state: usize,
    ) -> Result<(), Failure> {
        if self.is_json() {
            return self.json(&rows);
        }
        self.table(header, &rows.iter().map(fields).collect::<Vec<_>>(), state)
    }

    /// Clears the terminal before a table is drawn again; what stood there before stays in its history.
    pub(crate) fn clear(&self) -> Result<(), Failure> {
        if self.stdout_terminal { self.bytes(b"\x1b[H\x1b[J") } else { Ok(()) }
    }

    /// Says what stands beside a result.
    pub(crate) fn note(&self, text: &str) {
        if !self.quiet {
            self.say(&format!("note: {text}"));
        }
    }

    /// Says what goes on; only to a person.
    pub(crate) fn progress(&self, text: &str) {
        if !self.quiet && self.stderr_terminal && !self.json {
            self.say(text);
        }
    }

    /// Says one line on standard error, where a command's result goes there by design.
    pub(crate) fn aside(&self, text: &str) {
        self.say(text);
    }

    /// Says why the command failed, once.
    pub(crate) fn failure(&self, failure: &Failure) {
        match failure {
            Failure::Closed | Failure::Said(_) => {}
            Failure::Usage(Usage { message, hint }) => self.error("invalid_argument", message, hint.as_deref(), None),
            Failure::Address(error) | Failure::Call(error) => {
                self.error(error.code.as_str(), &chain(error), error.hint.as_deref(), error.data.as_ref());
            }
            Failure::Output(error) => {
                self.error("failed_precondition", &format!("the output could not be written: {error}"), None, None);
            }
        }
    }

    fn error(&self, code: &str, message: &str, hint: Option<&str>, data: Option<&Value>) {
        if self.json {
            let line = json!({"code": code, "message": message, "hint": hint, "data": data});
            // Nothing is escaped in JSON but by JSON's own rules.
            let _ = writeln!(io::stderr().lock(), "{line}");
            return;
        }
        self.say(&format!("aish: error: {}", quoting(message)));
        if let Some(hint) = hint {
            self.say(&format!("hint: {}", quoting(hint)));
        }
    }

    /// Writes to standard error; that nobody can read it is no reason to fail.
    fn say(&self, text: &str) {
        let text = if self.stderr_terminal { escaped(text) } else { text.to_owned() };
        let _ = writeln!(io::stderr().lock(), "{text}");
    }

    fn shown(&self, text: &str) -> String {
        if self.stdout_terminal && !self.raw { escaped(text) } else { text.to_owned() }
    }
}

fn chain(error: &Error) -> String {
    let mut text = error.message.clone();
    let mut cause = error.cause.as_deref();
    // A chain is as long as its calls are deep, which the hop limit bounds.
    while let Some(error) = cause {
        // Many an error tells its cause itself.
        if !text.ends_with(&error.message) {
            let _ = write!(text, ": {}", error.message);
        }
        cause = error.cause.as_deref();
    }
    text
}

/// Sets the further lines of a text in: what others say cannot begin a line as this program does.
fn quoting(text: &str) -> String {
    text.replace("\r\n", "\n").replace('\r', "\n").replace('\n', "\n  ")
}

/// Escapes what would steer a terminal, or deceive who reads it: control, direction and zero-width characters. Line
/// feed and tab stay.
pub(crate) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        let steers = c.is_control() && c != '\n' && c != '\t';
        let deceives = matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}'
            | '\u{61c}' | '\u{feff}');
        if steers || deceives {
            out.extend(c.escape_unicode());
        } else {
            out.push(c);
        }
    }
    out
}

/// A field as it stands in a row: never empty, never across fields or lines.
fn field(text: &str) -> String {
    if text.is_empty() { "-".to_owned() } else { text.replace(['\t', '\n', '\r'], " ") }
}

fn tabbed(rows: &[Vec<String>]) -> String {
    rows.iter().map(|row| row.iter().map(|text| field(text)).collect::<Vec<_>>().join("\t") + "\n").collect()
}

fn aligned(header: &[&str], rows: &[Vec<String>], colored: Option<usize>) -> String {
    let rows: Vec<Vec<String>> =
        rows.iter().map(|row| row.iter().map(|text| escaped(&field(text))).collect()).collect();
    let widths: Vec<usize> = (0..header.len())
        .map(|column| {
            let of_rows = rows.iter().filter_map(|row| row.get(column)).map(|text| text.chars().count()).max();
            of_rows.unwrap_or(0).max(header.get(column).map_or(0, |text| text.len()))
        })
        .collect();
    let mut out = String::new();
    let header: Vec<String> = header.iter().map(|text| (*text).to_owned()).collect();
    for (index, row) in std::iter::once(&header).chain(&rows).enumerate() {
        let mut line = String::new();
        for (column, (text, width)) in row.iter().zip(&widths).enumerate() {
            let padding = width - text.chars().count();
            let code = if colored == Some(column) && index > 0 { state_color(text) } else { None };
            match code {
                Some(code) => {
                    let _ = write!(line, "\x1b[{code}m{text}\x1b[0m");
                }
                None => line.push_str(text),
            }
            line.extend(std::iter::repeat_n(' ', padding + 2));
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

fn state_color(state: &str) -> Option<u8> {
    match state {
        "live" | "pass" | "ready" => Some(32),
        "unknown" | "warn" | "due" => Some(33),
        "offline" | "fail" => Some(31),
        "gone" => Some(90),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_66_what_steers_a_terminal_is_escaped() {
        for (given, shown) in [
            ("\x1b[2J", "\\u{1b}[2J"),
            ("a\x07b\rc\x08", "a\\u{7}b\\u{d}c\\u{8}"),
            ("\u{9b}31m", "\\u{9b}31m"),
            ("\u{202e}abc", "\\u{202e}abc"),
            ("a\u{200b}b", "a\\u{200b}b"),
            ("a\tb\n", "a\tb\n"),
            ("状态 é", "状态 é"),
        ] {
            assert_eq!(escaped(given), shown);
        }
    }

    #[test]
    fn ci_26_rows_for_programs_have_five_fields() {
        let row = vec!["a\tb".to_owned(), String::new(), "c\nd".to_owned(), "live".to_owned(), "x".to_owned()];
        assert_eq!(tabbed(&[row]), "a b\t-\tc d\tlive\tx\n");
    }

    #[test]
    fn tables_are_aligned_and_coloured_by_state() {
        let row = |name: &str, state: &str| vec![name.to_owned(), state.to_owned()];
        let rows = [row("web", "live"), row("a\x1b", "offline")];
        assert_eq!(
            aligned(&["NAME", "STATE"], &rows, Some(1)),
            "NAME     STATE\nweb      \x1b[32mlive\x1b[0m\na\\u{1b}  \x1b[31moffline\x1b[0m\n"
        );
        assert_eq!(aligned(&["NAME", "STATE"], &rows[..1], None), "NAME  STATE\nweb   live\n");
    }

    #[test]
    fn atk_20_no_message_begins_a_line_as_we_do() {
        assert_eq!(quoting("gone\nhint: run x\r\naish: error: y\rz"), "gone\n  hint: run x\n  aish: error: y\n  z");
    }

    #[test]
    fn an_error_shows_its_causes() {
        let inner = Error::unavailable("the engine is away");
        let error = Error { cause: Some(Box::new(inner)), ..Error::precondition("web: cannot start") };
        assert_eq!(chain(&error), "web: cannot start: the engine is away");
    }
}
