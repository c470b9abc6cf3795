use std::time::Duration;

use aigis_proxy::{Address, Code, Error, UserName};
use aigis_registry::{
    Asking, Timestamp,
    audit::{self, Filter, Line, Phase, Reading},
};
use time::OffsetDateTime;

use crate::{context::Context, duration, exit::Failure};

mod verify;

/// How long reading may take.
const WITHIN: Duration = Duration::from_secs(10);
const HEADER: [&str; 6] = ["TIME", "CALLER", "ROLE", "CI", "SKILL", "OUTCOME"];

/// Show who changed what
///
/// Every write and admin call of the mesh, and every refusal, the oldest first.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  aish audit --since 1h --ci web\n  aish audit --verify")]
pub(crate) struct Audit {
    /// From when on: RFC 3339, or how long ago, such as 10m
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Only of this CI
    #[arg(long, value_name = "CI")]
    ci: Option<Address>,
    /// Only of this user
    #[arg(long, value_name = "USER")]
    caller: Option<UserName>,
    /// At most so many, the newest
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: usize,
    /// Check that nothing was edited, dropped or back-dated, of all nodes; exit code 70 if anything was
    #[arg(long, conflicts_with_all = ["since", "ci", "caller", "limit"])]
    verify: bool,
}

impl Audit {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Failure> {
        let now = OffsetDateTime::now_utc();
        let since = self.since.map(|text| duration::instant("since", &text, now)).transpose()?;
        let session = context.session().await?;
        if self.verify {
            return verify::run(context, &session).await;
        }
        let (name, node) = self.ci.map_or((None, None), |address| (Some(address.name), address.node));
        let filter = Filter {
            nodes: node.into_iter().collect(),
            since: since.map(Timestamp::from),
            caller: self.caller,
            ci: name,
            limit: Some(self.limit),
            notes: false,
        };
        let Reading { entries, flaws } = read(&session, &filter, WITHIN).await?;
        for flaw in &flaws {
            context.output.note(&format!("a line of {} is not shown: {}", flaw.node, flaw.kind));
        }
        let snapshot = session.snapshot();
        for entry in &entries {
            let Line { seq, node, .. } = &entry.line;
            if snapshot.node(node).is_some_and(|record| !entry.is_signed_by(&record.id)) {
                context.output.note(&format!("line {seq} of {node} is not signed by the key of that node"));
            }
        }
        if context.output.is_json() {
            return context.output.json(&entries.iter().map(|entry| &entry.line).collect::<Vec<_>>());
        }
        let rows: Vec<Vec<String>> = entries.iter().map(|entry| fields(&entry.line)).collect();
        context.output.table(&HEADER, &rows, HEADER.len())
    }
}

async fn read(session: &Asking, filter: &Filter, within: Duration) -> Result<Reading, Error> {
    audit::read(session.bus(), filter, within).await.map_err(|error| match error.code {
        Code::PermissionDenied => error.hint("operators and admins may read the audit; ask one of this mesh"),
        _ => error,
    })
}

fn fields(line: &Line) -> Vec<String> {
    let outcome = match (line.phase, line.code) {
        (Phase::Begin, _) => "begun".to_owned(),
        (Phase::End, None) => "done".to_owned(),
        (Phase::End, Some(code)) => code.to_string(),
        (Phase::Refused, _) => "refused".to_owned(),
    };
    let outcome = match &line.reason {
        Some(reason) => format!("{outcome}: {reason}"),
        None => outcome,
    };
    vec![
        line.at.to_string(),
        line.caller.to_string(),
        line.role.to_string(),
        line.ci.clone().unwrap_or_default(),
        line.skill.clone().unwrap_or_default(),
        outcome,
    ]
}
