//! What places have to say of instances: noted in the app's record, and acted on by whoever holds the chain.

use aigis_proxy::{
    Code, Error, Role,
    services::chains::{Report, Reported},
};
use aigis_registry::shared::{AppRecord, Instance, InstanceEnd};

use super::Desk;
use crate::coordinator::records::patiently;

impl Desk {
    /// Notes what a place says of an instance of its own. What is said of one that no record names is of no use to anybody.
    pub(super) async fn take_report(&self, report: Report) -> Result<(), Error> {
        let name = &self.caller.name;
        if self.caller.role != Role::Node {
            self.core.parts.journal.refused(&self.caller, "chains.report", "only nodes report").await;
            return Err(Error::new(Code::PermissionDenied, format!("{name} is no node: only nodes report")));
        }
        let change = |app: &AppRecord| {
            let mut becomes = app.clone();
            let is_in_force = app.instance.as_ref().is_some_and(|instance| instance.id == report.instance);
            let named = [&mut becomes.instance, &mut becomes.candidate].into_iter().flatten();
            let Some(instance) = named.into_iter().find(|instance| instance.id == report.instance) else {
                return Ok(None);
            };
            if instance.node.user() != *name {
                let message = format!("the instance is at {}: {name} has nothing to say of it", instance.node);
                return Err(Error::new(Code::PermissionDenied, message));
            }
            let trouble = note(instance, &report.what);
            if is_in_force {
                becomes.trouble = trouble;
            }
            Ok((becomes != *app).then_some(becomes))
        };
        match patiently(|| self.core.records.change_app(&report.app, change)).await {
            // An app that was removed.
            Err(error) if error.code == Code::NotFound => Ok(()),
            done => done.map(drop),
        }
    }
}

/// Notes it in the instance; answers with what is wrong with it, if anything is.
fn note(instance: &mut Instance, what: &Reported) -> Option<String> {
    match what {
        Reported::Ready => {
            (instance.ready, instance.silent) = (true, Vec::new());
            None
        }
        Reported::Silent { ports } => {
            instance.silent.clone_from(ports);
            let ports: Vec<String> = ports.iter().map(u16::to_string).collect();
            Some(format!("it does not listen on {}", ports.join(", ")))
        }
        Reported::Ended { exit_code, out_of_memory, log, by } => {
            instance.exit_code = Some(*exit_code);
            instance.end = Some(InstanceEnd {
                exit_code: Some(*exit_code),
                out_of_memory: *out_of_memory,
                log: *log,
                by: by.clone(),
                error: None,
            });
            Some(format!("it exited with {exit_code}"))
        }
        Reported::Failed { error } => {
            let message = error.message.clone();
            instance.end = Some(InstanceEnd {
                exit_code: None,
                out_of_memory: false,
                log: None,
                by: None,
                error: Some(error.clone()),
            });
            Some(format!("it cannot be started: {message}"))
        }
    }
}
