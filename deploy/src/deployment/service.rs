//! The typed service by which deployments are begun and held. How they go on stands in their records.

use std::{fmt, time::Duration};

use aigis_proxy::{
    Bus, Code, Error, Name,
    identity::Mandate,
    rpc::{self, Asker},
};
use aigis_registry::Timestamp;
use serde::{Deserialize, Serialize};

use super::Target;
use crate::Digest;

/// The name of [`Carriers`], which all nodes share.
pub(super) const CARRIERS: &str = "carriers";
/// How long a deployment may take to begin: packages are read, and nodes asked.
const BEGUN: Duration = Duration::from_secs(120);
/// How long a node may take to write something down.
const NOTED: Duration = Duration::from_secs(30);

/// What is wished of a project.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Order {
    /// The project.
    pub project: Name,
    /// What is to become of it.
    pub what: What,
    /// The signature of who wishes it, over the package; over none, if all is to be removed.
    pub mandate: Mandate,
}

/// What can be wished.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// That a package runs: only these containers of it, if any are named.
    Deploy {
        /// The package.
        package: Digest,
        /// The containers.
        containers: Vec<Name>,
    },
    /// That what a kept release wanted runs again.
    Rollback {
        /// The release.
        to: u32,
    },
    /// That nothing of it runs.
    Remove {
        /// And that its volumes go.
        volumes: bool,
    },
}

/// What was begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Begun {
    /// The release; the newest one, where all is removed.
    pub release: u32,
    /// With which epoch, or later, its record tells of it.
    pub epoch: u64,
    /// Whether anything is to be done.
    pub changes: bool,
}

/// A node that carries deployments.
#[tarpc::service(derive = [serde::Serialize, serde::Deserialize])]
pub(super) trait Carriers {
    /// Begins a change of a project, and answers once it is recorded.
    async fn begin(order: Box<Order>) -> Result<Begun, Error>;
    /// Holds something back, in place of another hold on it.
    async fn hold(target: Target, why: String, until: Option<Timestamp>) -> Result<(), Error>;
    /// Ends a hold.
    async fn resume(target: Target) -> Result<(), Error>;
}

/// Any node that carries deployments, as it is asked.
#[derive(Clone)]
pub struct Carrier {
    client: CarriersClient<Asker<CarriersRequest, CarriersResponse>>,
}

impl fmt::Debug for Carrier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Carrier").finish_non_exhaustive()
    }
}

impl Carrier {
    /// Any of those on that bus.
    #[must_use]
    pub fn any(bus: &Bus) -> Self {
        Self { client: CarriersClient::from(Asker::new(bus, rpc::SHARED, CARRIERS)) }
    }

    /// Begins a change of a project.
    ///
    /// # Errors
    ///
    /// `failed_precondition` while another is under way, or is held; `unavailable` where no node takes it; what else is wrong
    /// with it.
    pub async fn begin(&self, order: Order) -> Result<Begun, Error> {
        said(self.client.begin(rpc::within(BEGUN), Box::new(order)).await)
    }

    /// Holds something back.
    ///
    /// # Errors
    ///
    /// `permission_denied` for who may not.
    pub async fn hold(&self, target: Target, why: String, until: Option<Timestamp>) -> Result<(), Error> {
        said(self.client.hold(rpc::within(NOTED), target, why, until).await)
    }

    /// Ends a hold.
    ///
    /// # Errors
    ///
    /// `failed_precondition` where there is none; `permission_denied` for who may not.
    pub async fn resume(&self, target: Target) -> Result<(), Error> {
        said(self.client.resume(rpc::within(NOTED), target).await)
    }
}

fn said<T>(answer: Result<Result<T, Error>, tarpc::client::RpcError>) -> Result<T, Error> {
    rpc::answered(answer).map_err(|error| {
        match error.code == Code::Unavailable && error.detail("sent") == Some(&false.into()) {
            true => Error::unavailable("no node is on the bus that carries deployments")
                .hint("start one: aish up --detach; see: aish nodes list")
                .sent(false),
            false => error,
        }
    })
}
