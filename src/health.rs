//! What was seen of a stack's containers or tasks → whether they are well. Looking is left to others; time comes in.

pub(crate) mod snapshot;
pub(crate) mod compose;
pub(crate) mod swarm;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use serde::{Deserialize, Serialize};

use crate::stack::outcome::ServiceReport;
pub(crate) use snapshot::{Container, ContainerSnapshot, ServiceSnapshot};

/// One look at a stack.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Snapshot {
    /// The containers of a compose stack.
    Compose(ContainerSnapshot),
    /// The services and tasks of a swarm stack.
    Swarm(ServiceSnapshot),
}

impl Snapshot {
    /// Whether nothing was seen: no proof that nothing is there (contract 7).
    pub(crate) fn is_empty(&self) -> bool {
        match self {
            Snapshot::Compose(seen) => seen.containers.is_empty(),
            Snapshot::Swarm(seen) => seen.services.is_empty(),
        }
    }

    /// The services that there are.
    pub(crate) fn services(&self) -> BTreeSet<String> {
        match self {
            Snapshot::Compose(seen) => seen.services(),
            Snapshot::Swarm(seen) => seen.names(),
        }
    }
}

/// Looks at a stack until it is certain how it stands.
#[derive(Debug)]
pub(crate) enum Watch {
    /// At containers.
    Compose(compose::Watch),
    /// At services and tasks.
    Swarm(swarm::Watch),
}

impl Watch {
    /// `None`: not certain yet, look again.
    pub(crate) fn observe(&mut self, now: Instant, seen: &Snapshot) -> Option<Verdict> {
        match (self, seen) {
            (Watch::Compose(watch), Snapshot::Compose(seen)) => watch.observe(now, seen),
            (Watch::Swarm(watch), Snapshot::Swarm(seen)) => watch.observe(now, seen),
            (Watch::Compose(_), Snapshot::Swarm(_)) | (Watch::Swarm(_), Snapshot::Compose(_)) => {
                None
            }
        }
    }

    /// How it stands at this moment, certain or not.
    pub(crate) fn evaluate(&mut self, now: Instant, seen: &Snapshot) -> Verdict {
        match (self, seen) {
            (Watch::Compose(watch), Snapshot::Compose(seen)) => watch.evaluate(now, seen),
            (Watch::Swarm(watch), Snapshot::Swarm(seen)) => watch.evaluate(now, seen),
            (Watch::Compose(_), Snapshot::Swarm(_)) | (Watch::Swarm(_), Snapshot::Compose(_)) => {
                Verdict::default()
            }
        }
    }
}

/// How it stands with a stack.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Verdict {
    /// Every service, as last seen.
    pub(crate) services: Vec<ServiceReport>,
    /// The services that are not well and for which this redeploy answers.
    pub(crate) bad: Vec<String>,
    /// The services that are not well, were so before, and were not touched.
    pub(crate) bad_as_before: Vec<String>,
    /// Why a service is not well, where something says so.
    pub(crate) reasons: BTreeMap<String, String>,
}

impl Verdict {
    /// Whether any service got another container.
    pub(crate) fn recreated(&self) -> bool {
        self.services.iter().any(|service| service.recreated)
    }
}
