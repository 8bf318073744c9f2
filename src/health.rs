//! Judges the health of a stack from snapshots of its containers or tasks. The caller takes the snapshots and passes the time in.

pub(crate) mod snapshot;
pub(crate) mod compose;
pub(crate) mod swarm;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use serde::{Deserialize, Serialize};

use crate::stack::outcome::ServiceReport;
pub(crate) use snapshot::{Container, ContainerSnapshot, Roles, ServiceSnapshot};

/// A stack at one moment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Snapshot {
    /// The containers of a compose stack.
    Compose(ContainerSnapshot),
    /// The services and tasks of a Swarm stack.
    Swarm(ServiceSnapshot),
}

impl Snapshot {
    /// Returns true if it has no containers or services. Portainer also shows an empty list to a user without access.
    pub(crate) fn is_empty(&self) -> bool {
        match self {
            Snapshot::Compose(snapshot) => snapshot.containers.is_empty(),
            Snapshot::Swarm(snapshot) => snapshot.services.is_empty(),
        }
    }

    /// The names of the services in it.
    pub(crate) fn services(&self) -> BTreeSet<String> {
        match self {
            Snapshot::Compose(snapshot) => snapshot.services(),
            Snapshot::Swarm(snapshot) => snapshot.names(),
        }
    }
}

/// Observes a stack until its health is certain.
#[derive(Debug)]
pub(crate) enum HealthWatch {
    /// Observes containers.
    Compose(compose::ContainerWatch),
    /// Observes services and tasks.
    Swarm(swarm::ServiceWatch),
}

impl HealthWatch {
    /// Takes in a snapshot; `None` while the verdict is not certain.
    pub(crate) fn observe(&mut self, now: Instant, snapshot: &Snapshot) -> Option<Verdict> {
        match (self, snapshot) {
            (HealthWatch::Compose(watch), Snapshot::Compose(seen)) => watch.observe(now, seen),
            (HealthWatch::Swarm(watch), Snapshot::Swarm(seen)) => watch.observe(now, seen),
            _ => None,
        }
    }

    /// Gives all services their full time again: the engine could not be reached for a while.
    pub(crate) fn restart(&mut self, now: Instant) {
        match self {
            HealthWatch::Compose(watch) => watch.restart(now),
            HealthWatch::Swarm(watch) => watch.restart(now),
        }
    }

    /// The verdict at this moment, certain or not.
    pub(crate) fn evaluate(&mut self, now: Instant, snapshot: &Snapshot) -> Verdict {
        match (self, snapshot) {
            (HealthWatch::Compose(watch), Snapshot::Compose(seen)) => watch.evaluate(now, seen),
            (HealthWatch::Swarm(watch), Snapshot::Swarm(seen)) => watch.evaluate(now, seen),
            _ => Verdict::default(),
        }
    }
}

/// The health of a stack.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Verdict {
    /// Every service of the stack, as last seen.
    pub(crate) services: Vec<ServiceReport>,
    /// The services that failed and for which this redeploy answers.
    pub(crate) bad: Vec<String>,
    /// The services that failed before already and were not touched.
    pub(crate) bad_as_before: Vec<String>,
    /// The services that are neither healthy nor failed yet.
    pub(crate) unsettled: Vec<String>,
    /// The jobs that still run.
    pub(crate) unfinished: Vec<String>,
    /// Containers that carry the stack's label although the file does not define their service, with their state.
    pub(crate) leftovers: Vec<String>,
    /// The reason for a service's failure, where one is known.
    pub(crate) reasons: BTreeMap<String, String>,
    /// Set if the engine was restarted meanwhile.
    pub(crate) engine_restarted: bool,
}

impl Verdict {
    /// Returns true if any service got another container.
    pub(crate) fn recreated(&self) -> bool {
        self.services.iter().any(|service| service.recreated)
    }

    /// The services that still have to become healthy or to finish.
    pub(crate) fn pending(&self) -> Vec<String> {
        let all: BTreeSet<&String> = [&self.bad, &self.unsettled, &self.unfinished]
            .into_iter()
            .flatten()
            .collect();
        all.into_iter().cloned().collect()
    }

    /// `; left over, no part of the stack: old (exited)`, or an empty string.
    pub(crate) fn leftovers_note(&self) -> String {
        match self.leftovers.is_empty() {
            true => String::new(),
            false => format!(
                "; left over, no part of the stack: {}",
                self.leftovers.join(", ")
            ),
        }
    }

    /// Counts services that have not settled as failed, because the time is over.
    pub(crate) fn at_the_deadline(mut self) -> Verdict {
        if self.bad.is_empty() {
            self.bad = std::mem::take(&mut self.unsettled);
        }
        self
    }
}
