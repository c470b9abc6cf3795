use std::{collections::BTreeMap, path::Path, sync::Arc, time::Duration};

use aigis_node::{mask::Masks, renewal::Reach};
use aigis_proxy::{
    Bus, Effect, Error, Name, bus,
    identity::Credential,
    skill::Ci as _,
    socket::{Host, Offer, OfferKind, OfferedSkill, Offering},
};
use futures::FutureExt as _;

use crate::{
    context::{Context, damaged, read_credential},
    exit::{Failure, INTERRUPTED},
    signals::Signals,
    wrap::{
        child::Spec,
        ci::{Wrapped, WrappedCi},
        framing::{self, Framing},
        logs::Logs,
        program::{Ended, Options, Program, Restart},
        secrets::{self, Files, Wanted},
    },
};

/// Run a program as a CI
///
/// The program runs here, in the foreground, as a child of this command, and answers messages under a name of its own:
/// by default each message is a line on its standard input, and a line on its standard output is the reply.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  aish wrap -n echo -- cat\n  aish wrap -n calc --pty --prompt '>>> $' -- python3 -iq\n  aish wrap -n agent --jsonl --concurrency 4 -- ./agent"
)]
pub(crate) struct Wrap {
    /// The name to answer to, unique in the mesh
    #[arg(short, long, value_name = "NAME", value_parser = Name::choose)]
    name: Name,
    /// A message is a line, and so is a reply; this is the default
    #[arg(long, group = "framing")]
    line: bool,
    /// A message ends in D, and so does a reply: text with \n \r \t \0 \\ \xNN
    #[arg(long, group = "framing", value_name = "D", value_parser = parsed_delimiter, allow_hyphen_values = true)]
    delimiter: Option<Bytes>,
    /// With --delimiter: a message ends in this D instead
    #[arg(long, requires = "delimiter", value_name = "D", value_parser = parsed_delimiter, allow_hyphen_values = true)]
    request_delimiter: Option<Bytes>,
    /// A message is a line of JSON, {"id","message","input","deadline_ms"}, and so is a reply, {"id","reply"}
    #[arg(long, group = "framing")]
    jsonl: bool,
    /// A message is a line, and the reply what comes until REGEX matches at the end
    #[arg(long, group = "framing", value_name = "REGEX", value_parser = Framing::prompt, allow_hyphen_values = true)]
    prompt: Option<Framing>,
    /// A message is a line, and the reply what comes until N milliseconds of silence
    #[arg(long, group = "framing", value_name = "N", value_parser = clap::value_parser!(u64).range(1..=60_000))]
    quiet_ms: Option<u64>,
    /// Give the program a terminal, with echo off
    #[arg(long)]
    pty: bool,
    /// What a message to the program does
    #[arg(long, value_name = "EFFECT", value_parser = ["read", "write"], default_value = "write")]
    effect: String,
    /// With --jsonl: how many messages the program gets before it has replied
    #[arg(
        long,
        requires = "jsonl",
        value_name = "N",
        default_value_t = 1,
        value_parser = clap::value_parser!(u16).range(1..=1024)
    )]
    concurrency: u16,
    /// When to start the program again
    #[arg(long, value_name = "WHEN", value_enum, default_value_t)]
    restart: Restart,
    /// What it is for, for @SELECTORS
    #[arg(long, value_name = "W")]
    purpose: Option<String>,
    /// Variables for the program
    #[arg(long, value_name = "K=V", value_parser = super::exec::variable)]
    env: Vec<(String, String)>,
    /// A secret for the program, as a file of that name in the directory AIGIS_SECRETS
    #[arg(long, value_name = "NAME[=FILE]", value_parser = Wanted::file)]
    secret: Vec<Wanted>,
    /// A secret for the program that is to be a variable too
    #[arg(long, value_name = "NAME=VARIABLE", value_parser = Wanted::variable)]
    secret_env: Vec<Wanted>,
    /// Take the name from a holder that is offline
    #[arg(long)]
    replace: bool,
    /// The program and its arguments
    #[arg(value_name = "CMD", last = true, required = true)]
    argv: Vec<String>,
}

/// Bytes of a delimiter.
#[derive(Debug, Clone)]
struct Bytes(Vec<u8>);

fn parsed_delimiter(text: &str) -> Result<Bytes, String> {
    framing::delimiter(text).map(Bytes)
}

impl Wrap {
    pub(crate) async fn run(self, context: &Context, mut signals: Signals) -> Result<(), Failure> {
        let node = context.mesh_file()?.and_then(|mesh| mesh.node).ok_or_else(|| {
            let message = format!("this host has no node of the mesh \"{}\"", context.global.mesh);
            Error::unavailable(message).hint("start it: aish up --detach").sent(false)
        })?;
        let credential = reading(context)?;
        context.renew_beside(Arc::new(context.credential()?), by_bus(context)?, None)?;
        let host = Host { path: context.home()?.socket(), server: node.user(), credential: Box::new(credential) };
        let effect = if self.effect == "read" { Effect::Read } else { Effect::Write };
        let labels: BTreeMap<String, String> =
            self.purpose.iter().map(|purpose| ("aigis.purpose".to_owned(), purpose.clone())).collect();
        let (name, replace) = (self.name.clone(), self.replace);
        // Arguments may hold what is nobody else's.
        let program = self.argv.first().and_then(|program| Path::new(program).file_name());
        let description = program.map(|program| program.to_string_lossy().into_owned()).unwrap_or_default();
        let wanted = [self.secret.clone(), self.secret_env.clone()].concat();
        let named = secrets::named(&wanted);
        let secrets = named.map_err(|message| Failure::usage(message, "name one: --secret NAME=FILE"))?;
        let secrets = secrets.into_values().cloned().collect();
        let masks = Masks::default();
        let logs = Logs::new(&masks);
        let (mut program, handle) = Program::new(self.options(), logs.clone());
        let wrapped =
            Wrapped { name: name.clone(), node, labels: labels.clone(), handle: handle.clone(), logs: logs.clone() };
        let ci = Arc::new(WrappedCi::new(wrapped, effect));
        let skills = ci.table().skills().iter().map(|skill| OfferedSkill::from(&**skill)).collect();
        let offer =
            Offer { name, kind: OfferKind::Wrapped, description, labels, skills, replace, process: None, secrets };
        let address = format!("{}@{}", ci.name(), ci.node());
        let offering = tokio::select! {
            offering = Offering::begin(host, offer, ci) => offering.map_err(|error| no_node(error, context))?,
            () = signals.any() => return Err(Failure::Said(INTERRUPTED)),
        };
        let over = offering.watch();
        let output = context.output;
        let given = offering.given().borrow().clone();
        let mut files = match given {
            Some(given) => Some(Files::make(wanted, &given, masks)?),
            None => None,
        };
        if let Some(files) = &files {
            program.finds(files.directory(), files.variables());
        }
        let keeping = async {
            match &mut files {
                Some(files) => files.keep(offering.given(), &logs).await,
                None => std::future::pending().await,
            }
        };
        let running = program.run(&offering, || output.aside(&format!("wrapped {address}")));
        tokio::pin!(running);
        let ended = tokio::select! {
            ended = &mut running => outcome(ended),
            error = over.over() => {
                // The name is another's, or the credential is none any more: the program ends in order.
                finish(&mut running, &handle, &mut signals).await;
                Err(error.into())
            }
            () = signals.any() => {
                finish(&mut running, &handle, &mut signals).await;
                Err(Failure::Said(INTERRUPTED))
            }
            () = keeping => Err(Failure::Said(1)),
        };
        offering.withdraw().await;
        ended
    }

    fn options(self) -> Options {
        let framing = match (self.delimiter, self.prompt, self.quiet_ms) {
            (Some(Bytes(reply)), _, _) => {
                let request = self.request_delimiter.map_or_else(|| reply.clone(), |Bytes(request)| request);
                Framing::Delimiter { request, reply }
            }
            (_, Some(prompt), _) => prompt,
            (_, _, Some(quiet)) => Framing::Quiet(Duration::from_millis(quiet)),
            _ if self.jsonl => Framing::JsonLines,
            _ => Framing::line(),
        };
        let spec = Spec { argv: self.argv, env: self.env, env_files: Vec::new(), pty: self.pty };
        let concurrency = usize::from(self.concurrency);
        Options { name: self.name, spec, framing, concurrency, restart: self.restart }
    }
}

/// Reads the credential as it is by then, and checks it by whoever vouches for it by then.
fn reading(context: &Context) -> Result<impl Fn() -> Result<Credential, Error> + Send + Sync + use<>, Failure> {
    let (file, home) = (context.credential_file()?, context.home()?);
    Ok(move || {
        let issuer = home.read_issuer().map_err(damaged)?;
        read_credential(&file, issuer.as_ref())
    })
}

/// Reaches the bus for one question: a program needs no connection of its own.
fn by_bus(context: &Context) -> Result<Reach, Failure> {
    let (url, credential) = (context.bus_url()?, reading(context)?);
    let ca = context.ca(&url)?;
    Ok(Box::new(move || {
        let (url, ca, credential) = (url.clone(), ca.clone(), credential());
        async move {
            let credential = Arc::new(credential?);
            let label = format!("aish wrap {}", credential.name());
            Ok(Bus::connect(bus::Options { url, ca, credential, label }).await?)
        }
        .boxed()
    }))
}

/// Ends the program in order, or at once where somebody asks again.
async fn finish(
    running: &mut (impl Future<Output = Ended> + Unpin),
    handle: &crate::wrap::program::Handle,
    signals: &mut Signals,
) {
    let stopped = async { tokio::join!(handle.stop(), running) };
    tokio::select! {
        _ = stopped => {}
        () = signals.any() => {}
    }
}

fn outcome(ended: Ended) -> Result<(), Failure> {
    match ended {
        Ended::Over { good: true } => Ok(()),
        Ended::Over { good: false } => Err(Failure::Said(1)),
        Ended::NotStarted(error) | Ended::CrashLoop(error) => Err(error.into()),
    }
}

/// Says what is missing where nobody took the offer.
fn no_node(error: Error, context: &Context) -> Failure {
    match error.code {
        aigis_proxy::Code::Unavailable if error.hint.is_none() => {
            let mesh = &context.global.mesh;
            let message = format!("the node of the mesh \"{mesh}\" on this host does not take it: {}", error.message);
            Error { message, ..error }.hint("is it up? aish doctor; start it: aish up --detach").into()
        }
        _ => error.into(),
    }
}
