//! Many nodes in one process: each is the real one, with a home, a key, a connection and a lease of its own.

use std::{
    io::{BufRead as _, Write as _},
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, mpsc},
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use aigis_node::{Home, LogTap, Node, Options, mesh::CREDENTIAL_LIFE, mesh::member::Membership};
use aigis_proxy::{
    Bus, NodeName, UserName, bus,
    identity::{Credential, JoinToken},
    rpc::Asker,
    services::{ADMISSION, AdmissionClient, Admitted, JOIN},
    task,
};
use futures::{StreamExt, stream};
use serde_json::json;
use tokio::runtime::Builder;

use crate::{engine, say};

/// How many runtimes share the nodes: one for each processor that there is at least.
const RUNTIMES: usize = 2;
/// How many nodes of a runtime join, or start, at once.
const AT_ONCE: usize = 4;
/// How often a node is started before it counts as one that does not start.
const ATTEMPTS: usize = 20;
/// How many join again until the issuer admits them.
const PAUSE: Duration = Duration::from_millis(500);
/// Of ten nodes, one reaches the bus over a link that can be cut.
pub(crate) const CUT: usize = 10;

/// The name of a node.
pub(crate) fn name(node: usize) -> String {
    format!("n{node}")
}

/// What all nodes are told.
#[derive(Clone)]
struct Plan {
    directory: PathBuf,
    token: Arc<JoinToken>,
    /// The link that some have; none where the bus has several servers, of which a node would take another.
    relay: Option<SocketAddr>,
}

/// When a node's link came back, by the server that it found: a new one after each start.
type Links = Arc<Mutex<Vec<(usize, String, f64)>>>;

/// Runs so many nodes, and does what is asked over standard input, a word a line, until that ends.
pub(crate) fn run(directory: &Path, nodes: usize) {
    let mut lines = std::io::stdin().lock().lines().map_while(Result::ok);
    let token = lines.next().unwrap_or_default();
    let relay = lines.next().filter(|relay| !relay.is_empty());
    let relay = relay.map(|relay| relay.parse().unwrap_or_else(|error| panic!("{error}")));
    let token = JoinToken::parse(&token).unwrap_or_else(|error| panic!("{error}"));
    let plan = Plan { directory: directory.to_owned(), token: Arc::new(token), relay };
    let links = Links::default();
    let (said, answers) = mpsc::channel();
    let crews: Vec<Crew> = (0..RUNTIMES)
        .map(|crew| Crew::start(plan.clone(), (crew..nodes).step_by(RUNTIMES).collect(), links.clone(), said.clone()))
        .collect();
    for word in lines {
        let begun = Instant::now();
        let mut failures = 0;
        match word.as_str() {
            "join" | "start" | "stop" => {
                crews.iter().for_each(|crew| crew.tell(&word));
                failures = crews.iter().map(|_| answers.recv().unwrap_or_else(|error| panic!("{error}"))).sum();
            }
            "mark" => lock(&links).clear(),
            "links" => {
                // The last time counts: who came back and was lost again was not back.
                let mut back = vec![None; nodes];
                lock(&links).iter().for_each(|(node, _, at)| back[*node] = Some(*at));
                say(&json!(back).to_string());
                continue;
            }
            other => panic!("no such word: {other}"),
        }
        say(&json!({"took": begun.elapsed().as_secs_f64(), "failures": failures}).to_string());
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Some of the nodes, on a runtime of one thread, as `aish` has it.
struct Crew {
    orders: tokio::sync::mpsc::UnboundedSender<String>,
}

impl Crew {
    fn start(plan: Plan, members: Vec<usize>, links: Links, said: mpsc::Sender<usize>) -> Self {
        let (orders, mut queue) = tokio::sync::mpsc::unbounded_channel::<String>();
        let work = move || {
            let runtime = Builder::new_current_thread().enable_all().build().unwrap_or_else(|error| panic!("{error}"));
            runtime.block_on(async move {
                let mut nodes = Vec::new();
                while let Some(order) = queue.recv().await {
                    let failures = match order.as_str() {
                        "join" => {
                            let joining = members.iter().map(|node| join(&plan, *node));
                            stream::iter(joining).buffer_unordered(AT_ONCE).collect::<Vec<usize>>().await.iter().sum()
                        }
                        "start" => {
                            let starting = members.iter().map(|node| start(&plan, *node, links.clone()));
                            let started: Vec<_> = stream::iter(starting).buffer_unordered(AT_ONCE).collect().await;
                            let failures = started.iter().map(|(_, failures)| failures).sum();
                            nodes.extend(started.into_iter().map(|(node, _)| node));
                            failures
                        }
                        _ => {
                            let stopping = nodes.drain(..).map(|(node, _): (Node, task::Owned)| node.stop(PAUSE));
                            stream::iter(stopping).buffer_unordered(AT_ONCE).collect::<Vec<()>>().await;
                            0
                        }
                    };
                    if said.send(failures).is_err() {
                        return;
                    }
                }
            });
        };
        let named = thread::Builder::new().name("nodes".to_owned()).spawn(work);
        drop(named.unwrap_or_else(|error| panic!("{error}")));
        Self { orders }
    }

    fn tell(&self, order: &str) {
        self.orders.send(order.to_owned()).unwrap_or_else(|error| panic!("{error}"));
    }
}

fn home(plan: &Plan, node: usize) -> Home {
    Home::new(plan.directory.join(name(node)), plan.token.mesh.clone())
}

fn parsed<T: std::str::FromStr>(text: &str) -> T
where
    T::Err: std::fmt::Display,
{
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// Makes a node's key and exchanges the token for its credential, as `aish join` does; says how often it failed.
async fn join(plan: &Plan, node: usize) -> usize {
    for failures in 0..ATTEMPTS {
        match admitted(plan, node).await {
            Ok(membership) => {
                membership.write(&home(plan, node)).unwrap_or_else(|error| panic!("{error}"));
                return failures;
            }
            Err(error) => complain(&format!("{} does not join: {error}", name(node))),
        }
        tokio::time::sleep(PAUSE).await;
    }
    panic!("{} does not join", name(node));
}

async fn admitted(plan: &Plan, node: usize) -> Result<Membership, Box<dyn std::error::Error>> {
    let token = &plan.token;
    let credential = Arc::new(token.credential()?);
    let options = bus::Options { url: token.bus.clone(), ca: None, credential, label: "join".to_owned() };
    let bus = Bus::connect(options).await?;
    let (key, user) = (Credential::generate()?, parsed::<UserName>(&name(node)));
    let client = AdmissionClient::from(Asker::new(&bus, ADMISSION, JOIN));
    let answer = client.join(tarpc::context::current(), key.public().to_owned(), user).await?;
    let Admitted { jwt, node: admitting, issuer } = answer.map_err(|error| error.to_string())?;
    let issuer = issuer.verify(&token.account).ok_or("the issuer is a stranger")?;
    let credential = Credential::new(&jwt, key, Some(&issuer))?;
    let relay = plan.relay.filter(|_| node.is_multiple_of(CUT));
    let bus = relay.map_or_else(|| token.bus.clone(), |relay| format!("nats://{relay}"));
    Ok(Membership { credential, issuer, node: admitting, bus, ca: None, hosts: false })
}

/// Starts a node, and notes whenever it finds the bus; with how often it did not start.
async fn start(plan: &Plan, node: usize, links: Links) -> ((Node, task::Owned), usize) {
    for failures in 0..ATTEMPTS {
        let options = Options {
            home: home(plan, node),
            node: parsed::<NodeName>(&name(node)),
            listen: None,
            bus: None,
            ca: None,
            credential_life: CREDENTIAL_LIFE,
            new_store: false,
            bus_cluster: None,
            bus_sites: Vec::new(),
            ended_sites: Vec::new(),
            labels: [("zone".to_owned(), format!("z{}", node % 3))].into(),
            metrics: None,
            gateway: None,
            engine: Some(engine::socket(&plan.directory, node).display().to_string()),
            images: Default::default(),
            audit_room: None,
            plugins: None,
            logs: LogTap::default(),
        };
        match Box::pin(Node::start(options)).await {
            Ok(started) => {
                let watching = task::Owned::spawn("link", note(node, started.link(), links));
                return ((started, watching), failures);
            }
            Err(error) => {
                let cause = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
                complain(&format!("{} does not start: {error}: {cause}", name(node)));
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
    panic!("{} does not start", name(node));
}

async fn note(node: usize, mut link: tokio::sync::watch::Receiver<bus::Link>, links: Links) {
    loop {
        let now = link.borrow_and_update().clone();
        if now.up {
            let at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
            lock(&links).push((node, now.server, at));
        }
        if link.changed().await.is_err() {
            return;
        }
    }
}

/// Says on standard error what went wrong.
fn complain(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}
