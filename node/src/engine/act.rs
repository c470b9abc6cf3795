//! What changes a container.

use std::time::Duration;

use bollard::{
    models::{ContainerUpdateBody, RestartPolicy as Policy, RestartPolicyNameEnum},
    query_parameters::{RestartContainerOptions, StartContainerOptions, StopContainerOptions},
};

use hyper::Method;

use super::{ContainerId, Engine, Error, REQUEST, RestartPolicy, error::Asked, query};

/// New limits of a container; what is `None` stays as it is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Limits {
    /// Memory in bytes.
    pub memory: Option<u64>,
    /// Memory and swap together in bytes; must not be below `memory`.
    pub memory_swap: Option<u64>,
    /// CPU time in microseconds per period; not for a container that was made with a CPU count.
    pub cpu_quota: Option<u64>,
    /// The period in microseconds.
    pub cpu_period: Option<u64>,
    /// CPUs in billionths; not for a container that was made with a quota.
    pub nano_cpus: Option<u64>,
    /// Most processes.
    pub pids_limit: Option<u64>,
    /// What the engine does when the container ends.
    pub restart_policy: Option<RestartPolicy>,
}

impl Engine {
    /// Starts a container; nothing happens if it runs.
    ///
    /// # Errors
    ///
    /// As every request; [`Error::Refused`] with the engine's words for a port taken or a network missing.
    pub async fn start(&self, id: &ContainerId) -> Result<(), Error> {
        const ASK: Asked = Asked { what: "start the container", endpoint: "POST /containers/ID/start" };
        // Starting pulls up networks and mounts, and takes its time on a busy host: the caller's budget bounds it.
        let limit = REQUEST * 3;
        let started = self.shared.docker()?.start_container(id.as_str(), None::<StartContainerOptions>);
        self.bounded(ASK, limit, started).await
    }

    /// Stops a container: its stop signal, then a kill after `grace`. Nothing happens if it does not run.
    ///
    /// # Errors
    ///
    /// As every request.
    pub async fn stop(&self, id: &ContainerId, grace: Duration) -> Result<(), Error> {
        const ASK: Asked = Asked { what: "stop the container", endpoint: "POST /containers/ID/stop" };
        let options = StopContainerOptions { signal: None, t: Some(seconds(grace)) };
        let stopped = self.shared.docker()?.stop_container(id.as_str(), Some(options));
        self.bounded(ASK, grace + REQUEST, stopped).await
    }

    /// Stops a container as [`Self::stop`] does, if it runs, and starts it.
    ///
    /// # Errors
    ///
    /// As every request; after an error it may be stopped.
    pub async fn restart(&self, id: &ContainerId, grace: Duration) -> Result<(), Error> {
        const ASK: Asked = Asked { what: "restart the container", endpoint: "POST /containers/ID/restart" };
        let options = RestartContainerOptions { signal: None, t: Some(seconds(grace)) };
        let restarted = self.shared.docker()?.restart_container(id.as_str(), Some(options));
        self.bounded(ASK, grace + REQUEST * 3, restarted).await
    }

    /// Gives a container another name.
    ///
    /// # Errors
    ///
    /// As every request; [`Error::Conflict`] if the name is taken.
    pub async fn rename(&self, id: &ContainerId, name: &str) -> Result<(), Error> {
        const ASK: Asked = Asked { what: "rename the container", endpoint: "POST /containers/ID/rename" };
        let mut asked = query::Query::new();
        asked.add("name", name);
        self.ask(ASK, REQUEST, Method::POST, &format!("/containers/{id}/rename{asked}"), None).await.map(drop)
    }

    /// Freezes a container's processes.
    ///
    /// # Errors
    ///
    /// As every request; [`Error::Conflict`] if it is frozen or does not run.
    pub async fn pause(&self, id: &ContainerId) -> Result<(), Error> {
        const ASK: Asked = Asked { what: "pause the container", endpoint: "POST /containers/ID/pause" };
        self.bounded(ASK, REQUEST, self.shared.docker()?.pause_container(id.as_str())).await
    }

    /// Lets a container's processes go on.
    ///
    /// # Errors
    ///
    /// As every request; [`Error::Conflict`] or [`Error::Refused`] if it is not frozen.
    pub async fn unpause(&self, id: &ContainerId) -> Result<(), Error> {
        const ASK: Asked = Asked { what: "resume the container", endpoint: "POST /containers/ID/unpause" };
        self.bounded(ASK, REQUEST, self.shared.docker()?.unpause_container(id.as_str())).await
    }

    /// Changes a container's limits in one request, without a restart.
    ///
    /// # Errors
    ///
    /// As every request; [`Error::Refused`] with the engine's words for limits that do not go together.
    pub async fn update(&self, id: &ContainerId, limits: &Limits) -> Result<(), Error> {
        const ASK: Asked = Asked { what: "update the container", endpoint: "POST /containers/ID/update" };
        let number = |value: Option<u64>| value.map(|value| i64::try_from(value).unwrap_or(i64::MAX));
        let body = ContainerUpdateBody {
            memory: number(limits.memory),
            memory_swap: number(limits.memory_swap),
            cpu_quota: number(limits.cpu_quota),
            cpu_period: number(limits.cpu_period),
            nano_cpus: number(limits.nano_cpus),
            pids_limit: number(limits.pids_limit),
            restart_policy: limits.restart_policy.as_ref().map(|policy| Policy {
                name: Some(policy_name(&policy.name)),
                maximum_retry_count: number(Some(policy.maximum_retries)),
            }),
            ..ContainerUpdateBody::default()
        };
        self.bounded(ASK, REQUEST, self.shared.docker()?.update_container(id.as_str(), body)).await
    }
}

fn seconds(grace: Duration) -> i32 {
    i32::try_from(grace.as_secs()).unwrap_or(i32::MAX)
}

fn policy_name(name: &str) -> RestartPolicyNameEnum {
    match name {
        "always" => RestartPolicyNameEnum::ALWAYS,
        "unless-stopped" => RestartPolicyNameEnum::UNLESS_STOPPED,
        "on-failure" => RestartPolicyNameEnum::ON_FAILURE,
        _ => RestartPolicyNameEnum::NO,
    }
}
