//! The words of a call, in the order in which they stand on the command line.

use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};

const WORDS: &str = "words";
const TEXT: &str = "str";

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Word {
    /// `VALUE` or `KEY=VALUE`.
    Plain(String),
    /// A string as it is.
    Text(String),
}

/// All of them. What the parser derives keeps options and words apart, so the order among both is kept by hand.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Words(pub(crate) Vec<Word>);

impl Args for Words {
    fn augment_args(command: Command) -> Command {
        let words = Arg::new(WORDS).value_name("VALUE|KEY=VALUE").num_args(1..).action(ArgAction::Append);
        let text = Arg::new(TEXT).long(TEXT).value_name("TEXT").action(ArgAction::Append);
        command
            .arg(words.allow_negative_numbers(true).help("Arguments, by place or by name; a VALUE - is standard input"))
            .arg(text.allow_hyphen_values(true).help("An argument by place that is this text, whatever it looks like"))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for Words {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let of = |id, make: fn(String) -> Word| {
            let values = matches.get_many::<String>(id).into_iter().flatten();
            matches.indices_of(id).into_iter().flatten().zip(values.cloned().map(make))
        };
        let mut words: Vec<_> = of(WORDS, Word::Plain).chain(of(TEXT, Word::Text)).collect();
        words.sort_by_key(|(place, _)| *place);
        Ok(Self(words.into_iter().map(|(_, word)| word).collect()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}
