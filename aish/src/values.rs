//! The arguments of a call as words: `VALUE` by place, `KEY=VALUE` by name.

use aigis_proxy::{Error, json, quoted};
use serde_json::{Map, Value, value::RawValue};

mod words;

pub(crate) use words::{Word, Words};

/// The VALUE that stands for standard input.
const INPUT: &str = "-";

/// Arguments by place and by name.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Arguments {
    pub(crate) args: Vec<Value>,
    pub(crate) kwargs: Map<String, Value>,
}

impl Arguments {
    /// Reads the words of a call; `input` is what standard input brought.
    ///
    /// # Errors
    ///
    /// `invalid_argument` for a name given twice, and for JSON that would lose something on its way.
    pub(crate) fn read(words: &Words, input: Option<&Value>) -> Result<Self, Error> {
        let value = |text: &str| match input {
            Some(input) if text == INPUT => Ok(input.clone()),
            _ => value(text),
        };
        let mut arguments = Self::default();
        for word in &words.0 {
            let word = match word {
                Word::Text(text) => {
                    arguments.args.push(Value::String(text.clone()));
                    continue;
                }
                Word::Plain(word) => word,
            };
            match named(word) {
                Some((key, text)) => {
                    let value = value(text).map_err(|error| of(key, error))?;
                    if arguments.kwargs.insert(key.to_owned(), value).is_some() {
                        return Err(Error::invalid(format!("argument \"{}\" is given twice", quoted(key))));
                    }
                }
                None => arguments.args.push(value(word).map_err(|error| of(word, error))?),
            }
        }
        Ok(arguments)
    }
}

impl Words {
    /// How many of them stand for standard input.
    pub(crate) fn inputs(&self) -> usize {
        let is_input = |word: &&Word| match word {
            Word::Plain(word) => named(word).map_or(word.as_str(), |(_, text)| text) == INPUT,
            Word::Text(_) => false,
        };
        self.0.iter().filter(is_input).count()
    }
}

fn of(argument: &str, error: Error) -> Error {
    let message = format!("argument \"{}\": {}", quoted(argument), error.message);
    Error { message, ..error }
}

/// Splits at the first `=`, if an argument's name stands before it.
fn named(word: &str) -> Option<(&str, &str)> {
    let (key, value) = word.split_once('=')?;
    let mut bytes = key.bytes();
    let first = bytes.next()?;
    let good = (first.is_ascii_alphabetic() || first == b'_') && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_');
    good.then_some((key, value))
}

/// JSON if it parses as JSON, else a string.
fn value(text: &str) -> Result<Value, Error> {
    match json::read(text.as_bytes()) {
        Ok(value) => Ok(value),
        // Well-formed JSON that the strict reader refuses would be changed by sending it, also as a string.
        Err(error) if serde_json::from_str::<&RawValue>(text).is_ok() => Err(error),
        Err(_) => Ok(Value::String(text.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aigis_proxy::Code;
    use serde_json::json;

    fn read(words: &[&str]) -> Result<Arguments, Error> {
        Arguments::read(&Words(words.iter().map(|word| Word::Plain((*word).to_owned())).collect()), None)
    }

    #[test]
    fn a_text_is_what_it_is_and_standard_input_comes_in_its_place() {
        use clap::{Args as _, FromArgMatches as _};
        let parser = Words::augment_args(clap::Command::new("call"));
        let matches = parser.get_matches_from(["call", "1", "--str", "5", "-", "--str=-7", "k=-", "-3"]);
        let words = Words::from_arg_matches(&matches).unwrap();
        assert_eq!(words.inputs(), 2);
        let arguments = Arguments::read(&words, Some(&json!("in"))).unwrap();
        assert_eq!(Value::from(arguments.args), json!([1, "5", "in", "-7", -3]));
        assert_eq!(Value::from(arguments.kwargs), json!({"k": "in"}));
    }

    #[test]
    fn words_are_json_or_strings() {
        let arguments =
            read(&["3", "status", "tail=10", "since=10m", "follow=true", "a=b=c", "x.y=1", "=", "[1]", "e="]).unwrap();
        assert_eq!(Value::from(arguments.args), json!([3, "status", "x.y=1", "=", [1]]));
        assert_eq!(
            Value::from(arguments.kwargs),
            json!({"tail": 10, "since": "10m", "follow": true, "a": "b=c", "e": ""})
        );
    }

    #[test]
    fn bad_10_numbers_that_would_change_are_refused() {
        for bad in ["18446744073709551616", "-9223372036854775809", "1e999", "n=1e999"] {
            assert_eq!(read(&[bad]).unwrap_err().code, Code::InvalidArgument, "{bad}");
        }
        assert_eq!(read(&["01", "NaN"]).unwrap().args, [json!("01"), json!("NaN")]);
    }

    #[test]
    fn bad_12_a_name_given_twice_is_named() {
        assert!(read(&["tail=1", "tail=2"]).unwrap_err().message.contains("\"tail\""));
        assert_eq!(read(&["x={\"a\":1,\"a\":2}"]).unwrap_err().code, Code::InvalidArgument);
    }
}
