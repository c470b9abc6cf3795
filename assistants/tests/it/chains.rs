use aigis_proxy::{Code, services::chains::Control};
use aigis_registry::shared::{Status, StepStatus};

use crate::{
    bus_server::until,
    mesh::{Mesh, node},
};

#[tokio::test]
async fn a_chain_of_containers_runs_to_its_end() {
    let mesh = Mesh::start().await;
    let alpha = mesh.host("alpha").await;
    let _coordinator = alpha.coordinator().await;
    mesh.keep(&["first", "slow"]).await;
    let id = mesh.push("web", "first").await;
    mesh.until(&id, "step 2", |record| record.step == 2).await;
    alpha.place.release();
    let record = mesh.over(&id).await;
    assert_eq!(
        (record.status, record.error, record.budget.used_steps),
        (Status::Done, None, 2),
        "{}",
        record.status_reason
    );
    assert_eq!(alpha.place.begun(), [(1, 1), (2, 1)]);
    let step = mesh.step(&id, 1).await.unwrap();
    assert_eq!(
        (step.status, step.assistant.as_str(), step.node),
        (StepStatus::Done, "local:first", Some(node("alpha")))
    );
    assert_eq!(step.placement.bids.len(), 1);
    assert_eq!(mesh.app("web").await.unwrap().chain, id);
    until("all is forgotten", async || (alpha.place.told.lock().unwrap().forgotten.len() == 2).then_some(())).await;
}

#[tokio::test]
async fn chn_13_14_26_what_fails_says_why() {
    let mesh = Mesh::start().await;
    let alpha = mesh.host("alpha").await;
    let _coordinator = alpha.coordinator().await;
    mesh.keep(&["fail3", "nowhere", "self", "flaky"]).await;
    let id = mesh.push("web", "local:fail3").await;
    let record = mesh.over(&id).await;
    assert_eq!((record.status, record.error.unwrap().message.as_str()), (Status::Failed, "fail3 exited with 3"));
    assert_eq!(mesh.step(&id, 1).await.unwrap().exit_code, Some(3));
    assert_eq!(mesh.control(&id, Control::Retry { from: None }).await.unwrap(), "queued");
    mesh.until(&id, "another attempt", |record| record.status == Status::Failed).await;
    let step = mesh.step(&id, 1).await.unwrap();
    assert_eq!((step.attempt, step.status), (2, StepStatus::Failed));

    let record = mesh.over(&mesh.push("web", "local:nowhere").await).await;
    let error = record.error.unwrap();
    assert!(error.message.contains("nosuch") && error.code == Code::InvalidArgument, "{error:?}");

    let record = mesh.over(&mesh.push("web", "local:self").await).await;
    assert_eq!((record.budget.used_steps, record.error.unwrap().code), (2, Code::ResourceExhausted));

    let id = mesh.push("web", "local:flaky").await;
    let record = mesh.over(&id).await;
    assert_eq!(record.status, Status::Done);
    let step = mesh.step(&id, 1).await.unwrap();
    assert_eq!((step.attempt, step.earlier.len()), (2, 1));

    let refused = mesh.try_push(mesh.a_push("web", "nosuch")).await.unwrap_err();
    assert_eq!(refused.code, Code::InvalidArgument);
}

#[tokio::test]
async fn chn_46_another_holder_attaches_to_the_running_step() {
    let mesh = Mesh::start().await;
    let mut alpha = mesh.host("alpha").await;
    let beta = mesh.host("beta").await;
    let first = alpha.coordinator().await;
    mesh.keep(&["slow"]).await;
    let mut push = mesh.a_push("web", "slow");
    push.wish.on = Some(vec!["beta".to_owned()]);
    let id = mesh.try_push(push).await.unwrap();
    until("the step runs", async || (beta.place.begun() == [(1, 1)]).then_some(())).await;
    // It ends without a word, as a process that is killed.
    drop(first);
    let second = alpha.coordinator().await;
    let record = mesh.until(&id, "the same node's next life", |record| record.epoch == 2).await;
    assert_eq!(record.holder.unwrap().node, node("alpha"));
    drop(second);
    let _third = beta.coordinator().await;
    alpha.goodbye().await;
    let record = mesh.until(&id, "another node", |record| record.epoch == 3).await;
    assert_eq!(record.holder.unwrap().node, node("beta"));
    beta.place.release();
    assert_eq!(mesh.over(&id).await.status, Status::Done);
    assert_eq!(beta.place.begun(), [(1, 1)], "it ran once");
    assert_eq!(mesh.step(&id, 1).await.unwrap().attempt, 1);
}

#[tokio::test]
async fn chn_35_51_53_people_answer_hold_cancel_and_supersede() {
    let mesh = Mesh::start().await;
    let alpha = mesh.host("alpha").await;
    let _coordinator = alpha.coordinator().await;
    mesh.keep(&["ask", "slow", "cp"]).await;
    let id = mesh.push("web", "ask").await;
    let record = mesh.until(&id, "a question", |record| record.status == Status::Asking).await;
    assert_eq!(record.question.unwrap().ask, "more?");
    let answer = Control::Answer { id: None, value: "more".to_owned() };
    mesh.control(&id, answer).await.unwrap();
    let record = mesh.over(&id).await;
    assert_eq!((record.status, record.step, record.question), (Status::Done, 2, None));

    let id = mesh.push("web", "slow").await;
    until("it runs", async || alpha.place.begun().get(2).map(drop)).await;
    let hold = Control::Hold { why: "maintenance".to_owned(), until: None, now: true };
    assert_eq!(mesh.control(&id, hold).await.unwrap(), "held");
    let record = mesh.until(&id, "given back", |record| record.holder.is_none()).await;
    assert_eq!((record.status, record.hold.unwrap().by.as_str()), (Status::Held, "olga"));
    let refused = mesh.try_push(mesh.a_push("web", "cp")).await.unwrap_err();
    assert!(refused.code == Code::FailedPrecondition && refused.message.contains("olga"), "{refused}");
    mesh.control(&id, Control::Resume).await.unwrap();
    until("it runs again", async || (alpha.place.begun().get(3) == Some(&(1, 2))).then_some(())).await;

    let newer = mesh.push("web", "slow").await;
    let record = mesh.over(&id).await;
    assert_eq!((record.status, record.status_reason), (Status::Cancelled, format!("superseded by {newer}")));
    until("the newer one runs", async || alpha.place.begun().get(4).map(drop)).await;
    let mut queued = mesh.a_push("web", "cp");
    queued.wish.queue = true;
    let queued = mesh.try_push(queued).await.unwrap();
    assert_eq!(mesh.chain(&queued).await.queued_behind, Some(newer.clone()));
    assert_eq!(mesh.control(&newer, Control::Cancel).await.unwrap(), "cancelled");
    let record = mesh.over(&newer).await;
    assert_eq!((record.status, record.status_reason.as_str()), (Status::Cancelled, "cancelled by olga"));
    assert_eq!(mesh.over(&queued).await.status, Status::Done);

    let refused = mesh.control(&queued, Control::Cancel).await.unwrap_err();
    assert_eq!(refused.code, Code::FailedPrecondition);
    let mut other = mesh.a_push("web", "cp");
    other.wish.project = Some("p2".to_owned());
    let taken = mesh.try_push(other.clone()).await.unwrap_err();
    assert_eq!(taken.code, Code::AlreadyExists);
    other.wish.replace = true;
    let replaced = mesh.try_push(other).await.unwrap();
    assert_eq!(mesh.over(&replaced).await.status, Status::Done);
}

#[tokio::test]
async fn chn_54_flt_28_nobody_takes_it_and_nobody_asked_for_it() {
    let mesh = Mesh::start().await;
    let alpha = mesh.host("alpha").await;
    let _coordinator = alpha.coordinator().await;
    mesh.keep(&["cp", "first", "slow"]).await;
    let mut push = mesh.a_push("web", "cp");
    push.wish.on = Some(vec!["zone=x".to_owned()]);
    let id = mesh.try_push(push.clone()).await.unwrap();
    let record = mesh.over(&id).await;
    assert_eq!(record.error.unwrap().code, Code::Unavailable);
    let note = mesh.step(&id, 1).await.unwrap().placement;
    assert_eq!(note.bids[0].refusal.as_deref(), Some("is not zone=x"));
    push.wish.on = Some(vec!["nosuch".to_owned()]);
    assert_eq!(mesh.try_push(push.clone()).await.unwrap_err().code, Code::NotFound);
    push.wish.on = Some(vec!["any".to_owned()]);
    push.first = "first".to_owned();
    let id = mesh.try_push(push).await.unwrap();
    mesh.revoke().await;
    let record = mesh.until(&id, "a pause", |record| record.status == Status::Held || record.step == 2).await;
    alpha.place.release();
    let record = if record.step == 2 {
        mesh.until(&id, "an end", |record| record.status != Status::Running).await
    } else {
        record
    };
    assert!(matches!(record.status, Status::Held | Status::Done), "{record:?}");
}
