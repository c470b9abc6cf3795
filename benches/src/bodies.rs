//! A body of 50 MB through a skill and back, beside the same bytes put into an object store and got from it, twice.

use std::time::Instant;

use aigis_proxy::{Request, Role, client::Client, identity::Login};
use async_nats::jetstream::{
    self,
    object_store::{self, ObjectStore},
};
use tokio::io::AsyncReadExt;

use crate::{
    Effort,
    bus::BusServer,
    callee,
    calls::{target, wrong},
    error::{Error, part, system},
    rounds::{Figures, median, turns},
    runtimes::{shared, single},
    table::{Goal, Table, milliseconds},
};

/// The body, in bytes.
const BODY: usize = 50_000_000;

/// Measures both, in turns.
pub(crate) fn measure(effort: Effort, table: &mut Table) -> Result<(), Error> {
    let server = BusServer::start()?;
    let (shared, single) = (shared()?, single()?);
    let login = shared.block_on(server.create_store())?;
    let _callee = server.callee("skill", callee::SKILL)?;
    let raw = shared.block_on(open(server.url(), login))?;
    let ours = Client::new(shared.block_on(server.connect("bert", Role::Operator))?);
    let lone = Client::new(single.block_on(server.connect("britta", Role::Operator))?);
    let text: String = (0..BODY).map(|at| char::from(b'a' + u8::try_from(at * 7 % 26).unwrap_or(0))).collect();
    let rounds = turns(effort.large, || {
        Ok([
            shared.block_on(put_and_get(&raw, text.as_bytes()))?,
            shared.block_on(call(&ours, &text))?,
            single.block_on(call(&lone, &text))?,
        ])
    })?;
    let shown = |which: usize| milliseconds(median(rounds.iter().map(|round| round[which])));
    for (caller, which, goal) in [("", 1, Goal::AtLeast(0.8)), (", caller on one thread", 2, Goal::None)] {
        let ratios: Figures = rounds.iter().map(|round| round[0] / round[which]).collect();
        let work = format!("body of 50 MB there and back{caller}, beside put and get twice");
        table.row(&work, shown(which), shown(0), &ratios, goal);
    }
    Ok(())
}

async fn open(url: &str, login: Login) -> Result<ObjectStore, Error> {
    let signer = login.clone();
    let options = async_nats::ConnectOptions::with_jwt(login.jwt().to_owned(), move |nonce| {
        std::future::ready(Ok(signer.sign(&nonce)))
    });
    let client = options.connect(url).await.map_err(part("connect a plain client"))?;
    let config = object_store::Config { bucket: "bench".to_owned(), ..object_store::Config::default() };
    jetstream::new(client).create_object_store(config).await.map_err(part("make an object store"))
}

/// The seconds that the bytes take into the store and out of it, twice.
async fn put_and_get(store: &ObjectStore, mut content: &[u8]) -> Result<f64, Error> {
    let started = Instant::now();
    let whole = content;
    for _ in 0..2 {
        content = whole;
        store.put("body", &mut content).await.map_err(part("put an object"))?;
        let mut object = store.get("body").await.map_err(part("get an object"))?;
        let mut read = Vec::with_capacity(BODY);
        object.read_to_end(&mut read).await.map_err(system("read an object"))?;
        if read != whole {
            return Err(wrong());
        }
    }
    let took = started.elapsed().as_secs_f64();
    store.delete("body").await.map_err(part("delete an object"))?;
    Ok(took)
}

/// The seconds that a call with that text as its argument and its result takes.
async fn call(client: &Client, text: &str) -> Result<f64, Error> {
    let request = Request { args: vec![text.into()], ..Request::default() };
    let started = Instant::now();
    let value = client.call(&target("echo")?, request).await.map_err(part("call"))?;
    let took = started.elapsed().as_secs_f64();
    if value.as_str() == Some(text) { Ok(took) } else { Err(wrong()) }
}
