//! Audit over the bus: in order, whole, and signed, though the bus was away meanwhile.

use std::time::Duration;

use aigis_proxy::{
    Address, Bus, Code, Effect, Meta, NodeName, Request, Role, SkillPath, UserName,
    dispatch::{Begun, Deed, Journal, Outcome},
    subject::Caller,
};
use aigis_registry::audit::{self, AuditJournal, Filter, Phase};

use crate::bus_server::{BusServer, until};

const SOON: Duration = Duration::from_secs(60);

async fn act(journal: &AuditJournal, round: u32) {
    let caller = Caller { role: Role::Operator, name: UserName::parse("olga").unwrap() };
    let (ci, path) = (Address::parse("web@alpha").unwrap(), SkillPath::parse("restart").unwrap());
    let meta = Meta { call: Some(format!("call-{round}")), ..Meta::default() };
    let request = Request { meta, ..Request::default() };
    let deed = Deed { caller: &caller, ci: &ci, path: &path, effect: Effect::Write, request: &request, body: None };
    assert!(matches!(journal.begin(deed).await, Ok(Begun::Run)));
    journal.end(deed, Outcome::Stream).await;
}

#[tokio::test]
async fn r_32_lines_written_while_the_bus_is_away_arrive_in_order_and_verify() {
    let mut server = BusServer::start().await;
    let credential = server.credential("alpha", Role::Node);
    let directory = tempfile::tempdir().unwrap();
    let journal = AuditJournal::open(directory.path(), credential.clone()).unwrap();
    let bus = Bus::connect(server.options(credential.clone())).await.unwrap();
    let shipping = journal.ship(&bus);
    for round in 0..5 {
        act(&journal, round).await;
    }
    server.kill();
    for round in 5..10 {
        act(&journal, round).await;
    }
    assert!(journal.backlog() > 0);
    server.run().await;
    until("the spool to be empty", async || (journal.backlog() == 0).then_some(())).await;
    drop((shipping, journal, bus));
    // A new start ships what is new, and not what was shipped.
    let journal = AuditJournal::open(directory.path(), credential.clone()).unwrap();
    let bus = Bus::connect(server.options(credential.clone())).await.unwrap();
    let _shipping = journal.ship(&bus);
    let caller = Caller { role: Role::Viewer, name: UserName::parse("vera").unwrap() };
    journal.refused(&caller, "web@alpha stop", "the role does not permit it").await;
    until("the refusal to be shipped", async || (journal.backlog() == 0).then_some(())).await;

    let adam = server.user("adam", Role::Admin).await;
    let all = audit::read(&adam, &Filter::default(), SOON).await.unwrap();
    assert_eq!(all.entries.iter().map(|entry| entry.line.seq).collect::<Vec<_>>(), (1..=21).collect::<Vec<_>>());
    assert_eq!(all.flaws, []);
    let keys = [(NodeName::parse("alpha").unwrap(), credential.public())].into_iter().collect();
    let verified = audit::verify(&all, &keys, None, |_| true);
    assert_eq!(verified.flaws, []);
    assert_eq!((verified.extents[0].first, verified.extents[0].last, verified.extents[0].lines), (1, 21, 21));
    let filter = Filter { caller: Some(caller.name), limit: Some(1), ..Filter::default() };
    let refusals = audit::read(&adam, &filter, SOON).await.unwrap().entries;
    assert_eq!((refusals.len(), refusals[0].line.phase), (1, Phase::Refused));
    let none = Filter { nodes: vec![NodeName::parse("beta").unwrap()], ..Filter::default() };
    assert_eq!(audit::read(&adam, &none, SOON).await.unwrap().entries.len(), 0);
    let vera = server.user("vera", Role::Viewer).await;
    assert_eq!(audit::read(&vera, &Filter::default(), SOON).await.unwrap_err().code, Code::PermissionDenied);
}
