//! `aish push`: a directory becomes an app.

use std::{collections::BTreeMap, time::Duration};

use aigis_proxy::{
    Code, Error, Name, NodeName,
    services::{
        chains::{PushOptions, Restart},
        steps::Limits,
    },
};
use aigis_registry::Snapshot;
use clap_complete::ArgValueCompleter;

use self::{finish::finish, prepare::Prepared};
use crate::{
    completion,
    context::Context,
    duration,
    exit::{Failure, INTERRUPTED},
    follow::{
        Wishes, follow,
        ports::{self, PortOption, Ports},
        teller::Teller,
    },
    output::Printer,
    quantity,
    signals::Signals,
};

pub(super) mod assistant;
mod choice;
pub(super) mod finish;
mod prepare;
mod source;
mod watch;

pub(crate) use choice::known;
pub(super) use source::named;

/// Push a directory as an app, and follow what becomes of it
///
/// Its files go into the mesh, only those that changed; a chain of assistants makes an app of them that runs on one of the
/// nodes. The app's output is this command's, and its ports are those of this host. What assistants made of the files comes
/// back. Ctrl-C before the app runs cancels the chain; after that it goes to the app. If this command vanishes, the chain
/// goes on: see aish chains follow.
#[derive(Debug, Clone, clap::Args)]
#[command(
    after_help = "Examples:\n  aish push\n  aish push ./shop --name shop --until ready\n  aish push --assistant ./assistants/lint --watch\n  aish push https://git.example/shop.git --on zone=west --no-follow"
)]
pub(crate) struct Push {
    /// The directory, or a git URL with #REF if it is not to be the usual branch
    #[arg(value_name = "PATH", default_value = ".")]
    path: String,
    /// The first assistant: its name, or a folder, with a slash in it, that is made known first
    #[arg(long, value_name = "NAME|PATH", add = ArgValueCompleter::new(completion::assistants))]
    assistant: Option<String>,
    /// The app's name [default: what the directory was pushed as, or is called]
    #[arg(long, value_name = "N", value_parser = Name::choose)]
    name: Option<Name>,
    /// Where it is to run: a node, KEY=VALUE for nodes with that label, or any; may be repeated, and holds for later pushes
    #[arg(long, value_name = "X")]
    on: Vec<On>,
    /// Only begin the chain, and print its id
    #[arg(long, conflicts_with_all = ["until", "watch"])]
    no_follow: bool,
    /// Leave once the app serves, and leave it running
    #[arg(long, value_name = "WHAT", value_parser = ["ready"], conflicts_with = "watch")]
    until: Option<String>,
    /// Push again whenever a file changes
    #[arg(long)]
    watch: bool,
    /// Answer every question for yes or no with yes, and be asked nothing
    #[arg(long)]
    yes: bool,
    /// The answer to the question of that id
    #[arg(long = "answer", value_name = "ID=V", value_parser = answer)]
    answers: Vec<(String, String)>,
    /// A port of the app as that one of this host, or none [default: all, as themselves]
    #[arg(long = "port", value_name = "LOCAL:PORT")]
    ports: Vec<PortOption>,
    /// When the app is started again after it ended [default: on-failure once it has served, else no]
    #[arg(long, value_name = "P", value_parser = ["no", "on-failure", "always"])]
    restart: Option<String>,
    /// How many steps the chain may have
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    max_steps: u32,
    /// How long its steps may run together
    #[arg(long, value_name = "D", default_value = "2h", value_parser = duration::parse)]
    max_time: Duration,
    /// How long one step may run [default: 30m; a build 60m]
    #[arg(long, value_name = "D", value_parser = duration::parse)]
    step_timeout: Option<Duration>,
    /// How long the app has to listen on its ports
    #[arg(long, value_name = "D", default_value = "60s", value_parser = duration::parse)]
    ready_timeout: Duration,
    /// How much memory the app may use, such as 512MiB
    #[arg(long, value_name = "SIZE", value_parser = size)]
    memory: Option<u64>,
    /// How many processors the app may use, such as 1.5
    #[arg(long, value_name = "N", value_parser = processors)]
    cpus: Option<f64>,
    /// How many processes the app may have
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pids: Option<u32>,
    /// Wait for a chain of the app that runs, rather than to end it
    #[arg(long)]
    queue: bool,
    /// Take the name over from another project's app
    #[arg(long)]
    replace: bool,
    /// Bring no files back, only the state
    #[arg(long)]
    no_save: bool,
    /// Say what would go and what would begin, and send nothing
    #[arg(long, conflicts_with_all = ["watch", "no_follow", "until"])]
    dry_run: bool,
}

impl Push {
    pub(crate) async fn run(self, context: &Context, mut signals: Signals) -> Result<(), Failure> {
        let mut ports = ports::Wish::of(&self.ports)?;
        ports.check()?;
        // Who leaves at once takes them along.
        ports.none |= self.until.is_some();
        let source = source::Source::of(&self.path, self.name.as_ref())?;
        if self.watch {
            return Box::pin(watch::run(&self, context, source, &ports, &mut signals)).await;
        }
        let printer = Printer::start(&context.output);
        let teller = Teller::new(context.output, printer.pen());
        printer.until(false, Box::pin(self.once(context, &source, ports, &mut signals, teller))).await
    }

    /// Pushes once, and follows.
    async fn once(
        &self,
        context: &Context,
        source: &source::Source,
        ports: ports::Wish,
        signals: &mut Signals,
        teller: Teller,
    ) -> Result<(), Failure> {
        // Until the record stands nothing has begun, so whatever signal ends it.
        let prepared = tokio::select! {
            prepared = Box::pin(prepare::prepare(self, context, source, &teller)) => prepared?,
            _ = signals.next() => return Err(Failure::Said(INTERRUPTED)),
        };
        let Some(prepared) = prepared else { return Ok(()) };
        let Begun { chain, interrupted } = begin(&prepared, signals).await?;
        if self.no_follow && !interrupted {
            return match context.output.is_json() {
                true => teller.event("start", prepared.fields(&chain), "").await,
                false => context.output.text(chain.id.as_str()),
            };
        }
        teller.event("start", prepared.fields(&chain), prepared.words(&chain)).await?;
        let until_ready = self.until.is_some();
        let wishes = Wishes { until_ready, steers: true, cancels: interrupted };
        let mut ports = Ports::new(&prepared.asking, &chain.app, &ports);
        let followed = follow(&prepared.asking, chain, &wishes, &mut ports, Some(signals), &teller).await?;
        finish(prepared.home(self.no_save).as_ref(), followed, &teller).await
    }

    /// The options that the record keeps.
    fn options(&self) -> PushOptions {
        PushOptions {
            max_steps: self.max_steps,
            max_time_s: seconds(self.max_time),
            step_timeout_s: self.step_timeout.map(seconds),
            yes: self.yes,
            answers: self.answers.iter().cloned().collect::<BTreeMap<_, _>>(),
            restart: self.restart.as_deref().map(|word| match word {
                "always" => Restart::Always,
                "on-failure" => Restart::OnFailure,
                _ => Restart::No,
            }),
            limits: Limits { memory_bytes: self.memory, cpus: self.cpus, pids: self.pids },
            ready_timeout_s: seconds(self.ready_timeout),
        }
    }

    /// Where it is to run, if that was said.
    ///
    /// # Errors
    ///
    /// A node that there is not.
    fn places(&self, snapshot: &Snapshot) -> Result<Option<Vec<String>>, Failure> {
        if self.on.is_empty() {
            return Ok(None);
        }
        if self.on.contains(&On::Any) {
            return match self.on.len() {
                1 => Ok(Some(Vec::new())),
                _ => Err(Failure::usage("--on any goes with no other --on", "leave one of them out")),
            };
        }
        for on in &self.on {
            if let On::Node(node) = on
                && snapshot.node(node).is_none()
            {
                let known = snapshot.nodes().map(|node| node.name.to_string()).collect::<Vec<_>>().join(", ");
                let error = Error::new(Code::NotFound, format!("there is no node \"{node}\""));
                return Err(Failure::Address(error.hint(format!("the nodes are {known}"))));
            }
        }
        Ok(Some(self.on.iter().map(ToString::to_string).collect()))
    }
}

/// A chain that has begun.
struct Begun {
    chain: aigis_registry::shared::ChainRecord,
    /// Whether the user has changed their mind meanwhile.
    interrupted: bool,
}

/// Begins the chain. Whoever interrupts it meanwhile waits for what became of it, so that it can be cancelled.
async fn begin(prepared: &Prepared, signals: &mut Signals) -> Result<Begun, Failure> {
    let mut interrupted = false;
    let mut begun = Box::pin(prepared.begin());
    loop {
        tokio::select! {
            chain = &mut begun => return Ok(Begun { chain: chain?, interrupted }),
            _ = signals.next() => {
                if interrupted {
                    return Err(Failure::Said(INTERRUPTED));
                }
                interrupted = true;
            }
        }
    }
}

/// Where a push is to run.
#[derive(Debug, Clone, PartialEq, Eq)]
enum On {
    Any,
    Node(NodeName),
    Label(String, String),
}

impl std::str::FromStr for On {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "any" {
            return Ok(Self::Any);
        }
        match text.split_once('=') {
            Some((key, value)) if !key.is_empty() && !value.contains('=') => {
                Ok(Self::Label(key.to_owned(), value.to_owned()))
            }
            Some(_) => Err("write NODE, KEY=VALUE or any".to_owned()),
            None => NodeName::parse(text).map(Self::Node).map_err(|error| error.to_string()),
        }
    }
}

impl std::fmt::Display for On {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Any => f.pad("any"),
            Self::Node(node) => f.pad(node.as_str()),
            Self::Label(key, value) => write!(f, "{key}={value}"),
        }
    }
}

/// Reads `ID=V`.
fn answer(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((id, value)) if !id.is_empty() => Ok((id.to_owned(), value.to_owned())),
        _ => Err("write ID=ANSWER".to_owned()),
    }
}

/// Reads a size: of bytes, or with a unit.
fn size(text: &str) -> Result<u64, String> {
    let unit = |short: char, long: &str| text.strip_suffix(short).map(|digits| format!("{digits}{long}"));
    let text = unit('k', "KiB").or_else(|| unit('m', "MiB")).or_else(|| unit('g', "GiB")).unwrap_or(text.to_owned());
    let bytes = quantity::parse(&text).or_else(|| text.parse().ok());
    bytes.filter(|bytes| *bytes > 0).ok_or_else(|| "write such as 256MiB, 256m or 2GiB".to_owned())
}

fn processors(text: &str) -> Result<f64, String> {
    let number = text.parse::<f64>().ok().filter(|number| *number > 0.0 && *number <= 4096.0);
    number.ok_or_else(|| "write such as 2 or 0.5".to_owned())
}

fn seconds(duration: Duration) -> u64 {
    duration.as_secs().max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chn_54_places_are_read() {
        assert_eq!("any".parse(), Ok(On::Any));
        assert_eq!("zone=x".parse(), Ok(On::Label("zone".into(), "x".into())));
        assert_eq!("beta".parse(), Ok(On::Node(NodeName::parse("beta").unwrap())));
        for bad in ["a=b=c", "=x", "", "Be ta", "*"] {
            assert!(bad.parse::<On>().is_err(), "{bad}");
        }
    }

    #[test]
    fn sizes_and_processors_are_read() {
        assert_eq!((size("256m"), size("2GiB"), size("1024")), (Ok(256 << 20), Ok(2 << 30), Ok(1024)));
        assert!(size("0").is_err() && size("x").is_err() && size("-1m").is_err());
        assert_eq!(processors("0.5"), Ok(0.5));
        assert!(processors("0").is_err() && processors("NaN").is_err() && processors("inf").is_err());
    }

    #[test]
    fn chn_27_times_are_whole_seconds_and_never_none() {
        assert_eq!(seconds(Duration::from_millis(500)), 1);
        assert_eq!(seconds(Duration::from_secs(3)), 3);
        assert_eq!(answer("q=a=b"), Ok(("q".to_owned(), "a=b".to_owned())));
        assert!(answer("=x").is_err() && answer("q").is_err());
    }
}
