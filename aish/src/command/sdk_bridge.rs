use std::{io::IsTerminal as _, time::Duration};

use aigis_proxy::{
    Code, Error,
    bridge::{Calls, End, Header, Hello, Kind, Mode, Outbox, Reader, Violation, outbox, write},
    task,
};
use bytes::Bytes;

use crate::{
    bridge::{join, standard},
    context::Context,
    exit::Failure,
};

/// How long the program's first words may take.
const HELLO: Duration = Duration::from_secs(10);
/// How long the way to the mesh may take: the program waits a little longer.
const CONNECT: Duration = Duration::from_millis(9_500);
/// How long a program may take to read what is left for it when the bridge ends.
const FAREWELL: Duration = Duration::from_secs(2);

/// Connect a program to the mesh over standard input and output; the Python package starts it by itself
///
/// What it speaks is the bridge: frames of a header and a body, as the book's page "The bridge" says. Calls have the identity
/// of the user's own credential. It ends with its input.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  python3 -c 'import aigis; print(aigis.web.status())'\n  AIGIS_AISH=/opt/aigis/aish python3 script.py"
)]
pub(crate) struct SdkBridge {}

impl SdkBridge {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Failure> {
        if std::io::stdin().is_terminal() {
            return Err(Failure::usage(
                "this command speaks with programs, not with people",
                "in Python: import aigis; aigis.web.status()",
            ));
        }
        let (input, output) = standard()?;
        let (outbox, queue) = outbox();
        let mut writer = task::spawn("bridge-writer", write(output, queue));
        let mut reader = Reader::new(input);
        let served = tokio::select! {
            served = serve(context, &mut reader, &outbox) => served,
            // Whoever reads no more has ended.
            _ = &mut writer => return Ok(()),
        };
        if let Err(error) = &served {
            // If it cannot be said there, it is said to people.
            let _ = outbox.refuse(None, None, error).await;
        }
        drop(outbox);
        if tokio::time::timeout(FAREWELL, &mut writer).await.is_err() {
            writer.abort();
        }
        Ok(served?)
    }
}

/// Serves the program until its input ends.
async fn serve(
    context: &Context,
    reader: &mut Reader<impl tokio::io::AsyncRead + Unpin>,
    outbox: &Outbox,
) -> Result<(), Error> {
    let Ok(first) = tokio::time::timeout(HELLO, reader.next()).await else {
        return Err(Error::invalid("the program did not say hello within 10 s"));
    };
    let Some(first) = first.map_err(ended)? else { return Ok(()) };
    let hello = Hello::read(&first).map_err(broken)?;
    hello.check()?;
    if hello.mode != Mode::Client {
        return Err(Error::precondition("this bridge is for programs that call, of the mode client")
            .hint("plugins are started by their node"));
    }
    let joining = Box::pin(join(context));
    let (asking, welcome) = match tokio::time::timeout(CONNECT, joining).await {
        Ok(joined) => joined.map_err(Failure::into_error)?,
        Err(_) => {
            return Err(Error::new(Code::Unavailable, "the mesh did not answer within 9.5 s")
                .hint("aish doctor")
                .sent(false));
        }
    };
    if outbox.send(Header::new(Kind::Hello, None), welcome.to_bytes()).await.is_err() {
        return Ok(());
    }
    let calls = Calls::new(asking, outbox.clone());
    let served = loop {
        match reader.next().await {
            Ok(Some(message)) if message.header.t == Kind::Error && message.header.id.is_none() => {
                break Err(said(message.body));
            }
            Ok(Some(message)) => {
                if let Err(violation) = calls.take(message) {
                    break Err(broken(violation));
                }
            }
            Ok(None) => break Ok(()),
            Err(end) => break Err(ended(end)),
        }
    };
    calls.end().await;
    served
}

fn ended(end: End) -> Error {
    match end {
        End::Violation(violation) => broken(violation),
        End::Broken(error) => Error::unavailable(format!("standard input cannot be read: {error}")),
    }
}

/// What a program did wrong: its own package, or whatever else wrote to us.
fn broken(violation: Violation) -> Error {
    Error::invalid(violation.to_string()).hint("what is spoken here stands in the book's page \"The bridge\"")
}

/// Why the program itself ended the connection.
fn said(body: Option<Bytes>) -> Error {
    let error = body.and_then(|body| serde_json::from_slice::<Error>(&body).ok());
    error.unwrap_or_else(|| Error::invalid("the program ended the connection by an error that cannot be read"))
}
