//! What one look at a swarm stack's services and tasks saw, as values.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::gather;

/// One look at all services of a swarm stack.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Seen {
    /// The services.
    pub(crate) services: Vec<Service>,
}

/// One service with its tasks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Service {
    /// Docker's id.
    pub(crate) id: String,
    /// Its name in the compose file.
    pub(crate) name: String,
    /// The reference, with the digest it is pinned to.
    pub(crate) image: String,
    /// Grows with every submit, and while a rollout goes on.
    pub(crate) version: u64,
    /// Grows with every forced update.
    pub(crate) force_update: u64,
    /// How many tasks there should be.
    pub(crate) wants: Wants,
    /// Docker's word and message of its last update; absent before the first one, and after one that changed nothing.
    pub(crate) rollout: Option<(String, String)>,
    /// Its tasks, also of earlier specs.
    pub(crate) tasks: Vec<Task>,
}

/// How many tasks a service should have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Wants {
    /// So many that run.
    Running(u64),
    /// One a node: how many that is, the tasks tell.
    RunningEverywhere,
    /// So many that complete.
    Completed(u64),
}

/// One task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Task {
    /// The reference it was made from, with its digest.
    pub(crate) image: String,
    /// The service's count of forced updates when it was made.
    pub(crate) force_update: u64,
    /// `running`, `complete`, `failed`, `rejected`, ….
    pub(crate) state: String,
    /// `running`, `shutdown`, ….
    pub(crate) desired: String,
    /// Why it failed.
    pub(crate) error: String,
    /// The code of its end.
    pub(crate) exit_code: i64,
}

impl Seen {
    /// The names of the services.
    pub(crate) fn names(&self) -> BTreeSet<String> {
        gather::set(self.services.iter().map(|one| one.name.clone()))
    }
}

impl Service {
    /// The reference without the digest that the swarm pinned it to.
    pub(crate) fn reference(&self) -> &str {
        self.image
            .split_once('@')
            .map_or(self.image.as_str(), |(reference, _)| reference)
    }

    pub(super) fn of_this_spec(&self) -> impl Iterator<Item = &Task> {
        self.tasks
            .iter()
            .filter(|task| task.image == self.image && task.force_update == self.force_update)
    }

    pub(super) fn running(&self) -> u64 {
        count(
            self.of_this_spec()
                .filter(|task| task.state == "running" && task.desired == "running"),
        )
    }

    /// Whether there are as many tasks of this spec as there should be.
    pub(super) fn is_whole(&self) -> bool {
        match self.wants {
            Wants::Running(replicas) => self.running() >= replicas,
            Wants::RunningEverywhere => {
                let mut wanted = self
                    .of_this_spec()
                    .filter(|task| task.desired == "running")
                    .peekable();
                wanted.peek().is_some() && wanted.all(|task| task.state == "running")
            }
            Wants::Completed(total) => {
                count(self.of_this_spec().filter(|task| task.state == "complete")) >= total
            }
        }
    }

    /// What the swarm says of a failed rollout, and the last error of a task.
    pub(super) fn reason(&self) -> Option<String> {
        let error = self
            .of_this_spec()
            .filter(|task| !task.error.is_empty())
            .last()
            .map(|task| task.error.clone());
        let failed = self
            .rollout
            .as_ref()
            .filter(|(state, _)| has_failed(state))
            .map(|(_, message)| message.clone());
        match (error, failed) {
            (Some(error), Some(message)) => Some(format!("{error}; {message}")),
            (Some(only), None) | (None, Some(only)) => Some(only),
            (None, None) => None,
        }
    }
}

fn count<'a>(tasks: impl Iterator<Item = &'a Task>) -> u64 {
    tasks.fold(0, |count, _| count + 1)
}

pub(super) fn has_failed(state: &str) -> bool {
    matches!(state, "paused" | "rollback_paused" | "rollback_completed")
}
