//! What one look at a compose stack's containers saw, as values.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::stack::outcome::{ServiceReport, ServiceState};

/// One look at all containers of a stack.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct ContainerSnapshot {
    /// The containers of its services; one-off containers (`docker compose run`) are none.
    pub(crate) containers: Vec<Container>,
    /// The time of the answer by the clock of the host that gave it (Unix seconds), where it said so.
    pub(crate) date: Option<u64>,
}

/// One container, from the list and its inspection (contract 6).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Container {
    /// Docker's id.
    pub(crate) id: String,
    /// The service it belongs to.
    pub(crate) service: String,
    /// The id of the image it runs.
    pub(crate) image_id: String,
    /// The reference it was made from: `Config.Image`, for the list shows a bare id once the tag has moved.
    pub(crate) reference: String,
    /// Docker's word: `created`, `running`, `restarting`, `exited`, ….
    pub(crate) state: String,
    /// Docker's word of its health check: `starting`, `healthy`, `unhealthy`; absent without one.
    pub(crate) health: Option<String>,
    /// The code of its last end.
    pub(crate) exit_code: i64,
    /// How often Docker started it again.
    pub(crate) restarts: u64,
    /// When it was last started, as Docker writes it.
    pub(crate) started_at: String,
    /// Docker's word: `no`, `on-failure`, `always`, `unless-stopped`.
    pub(crate) restart_policy: String,
    /// How long its health check may take to say something for certain.
    pub(crate) health_takes: Option<Duration>,
    /// Services whose completion this one waits for.
    pub(crate) waits_for: BTreeSet<String>,
}

impl Container {
    /// In the reply's words, whatever should be.
    pub(crate) fn state(&self) -> ServiceState {
        match (self.state.as_str(), self.health.as_deref()) {
            ("running", None) => ServiceState::Running,
            ("running", Some("healthy")) => ServiceState::Healthy,
            ("running", Some("unhealthy")) => ServiceState::Unhealthy,
            ("running", Some(_)) => ServiceState::Starting,
            ("restarting", _) => ServiceState::Restarting,
            ("created", _) => ServiceState::Created,
            _ => ServiceState::Exited,
        }
    }

    /// Whether it runs, or Docker is about to start it again.
    pub(crate) fn runs(&self) -> bool {
        matches!(self.state.as_str(), "running" | "restarting")
    }

    /// Whether Docker leaves it ended: then waiting does not help.
    pub(crate) fn stays_ended(&self) -> bool {
        self.state() == ServiceState::Exited
            && match self.restart_policy.as_str() {
                "always" | "unless-stopped" => false,
                "on-failure" => self.exit_code == 0,
                _ => true,
            }
    }

    /// Whether an end with 0 is what its restart policy leaves room for.
    pub(crate) fn may_complete(&self) -> bool {
        matches!(self.restart_policy.as_str(), "" | "no" | "on-failure")
    }

    /// Whether it ended with 0 and is left so.
    pub(crate) fn ended_well(&self) -> bool {
        self.state() == ServiceState::Exited && self.exit_code == 0 && self.may_complete()
    }

    /// Since when it has been running by the clock of its host (Unix seconds).
    pub(crate) fn running_since(&self) -> Option<u64> {
        unix_of(&self.started_at).filter(|_| self.state == "running")
    }

    /// How long it has been running by the clock of its host, where that can be told.
    pub(crate) fn running_for(&self, date: Option<u64>) -> Option<Duration> {
        let age = date?.checked_sub(unix_of(&self.started_at)?)?;
        (self.state == "running").then(|| Duration::from_secs(age))
    }
}

impl ContainerSnapshot {
    /// The containers of one service.
    pub(crate) fn of<'a>(&'a self, service: &str) -> Vec<&'a Container> {
        self.containers
            .iter()
            .filter(|container| container.service == service)
            .collect()
    }

    /// The services that have a container.
    pub(crate) fn services(&self) -> BTreeSet<String> {
        self.containers
            .iter()
            .map(|one| one.service.clone())
            .collect()
    }

    /// Services that ran before and of which no container is left, not even one that is about to be started.
    pub(crate) fn gone_since(&self, before: &ContainerSnapshot) -> Vec<String> {
        let gone = |service: &str| self.of(service).is_empty();
        before.ran().into_iter().filter(|one| gone(one)).collect()
    }

    /// Services that ran before and of which nothing runs now; such as have completed are none of them.
    pub(crate) fn down_since(&self, before: &ContainerSnapshot) -> Vec<String> {
        let alive =
            |one: &&Container| one.runs() || self.state_of(one, before) == ServiceState::Completed;
        let down = |service: &str| !self.of(service).iter().any(alive);
        before.ran().into_iter().filter(|one| down(one)).collect()
    }

    /// The services of which something runs.
    fn ran(&self) -> BTreeSet<String> {
        let running = self.containers.iter().filter(|one| one.runs());
        running.map(|one| one.service.clone()).collect()
    }

    /// What a container does; an end with 0 is a completion if it may be one and was one before, or another service
    /// waits for it, or the service had no container before.
    pub(crate) fn state_of(
        &self,
        container: &Container,
        before: &ContainerSnapshot,
    ) -> ServiceState {
        let old = before.of(&container.service);
        let awaited = || {
            self.containers
                .iter()
                .any(|other| other.waits_for.contains(&container.service))
        };
        let expected = || old.is_empty() || old.iter().any(|old| old.ended_well()) || awaited();
        match container.ended_well() && expected() {
            true => ServiceState::Completed,
            false => container.state(),
        }
    }

    fn report_of(&self, container: &Container, before: &ContainerSnapshot) -> ServiceReport {
        let old = before.of(&container.service);
        let state = self.state_of(container, before);
        let has_ended = matches!(state, ServiceState::Exited | ServiceState::Restarting);
        ServiceReport {
            service: container.service.clone(),
            image: container.reference.clone(),
            image_id: Some(container.image_id.clone()),
            previous_image_id: old
                .first()
                .map(|old| old.image_id.clone())
                .filter(|old| *old != container.image_id),
            new_image: !old.iter().any(|old| old.image_id == container.image_id),
            recreated: !old.iter().any(|old| old.id == container.id),
            state,
            exit_code: has_ended.then_some(container.exit_code),
            restarts: (container.restarts > 0).then_some(container.restarts),
        }
    }

    /// For the reply: one line a service, its worst container speaks.
    pub(crate) fn report(&self, before: &ContainerSnapshot) -> Vec<ServiceReport> {
        let mut rows: BTreeMap<&str, ServiceReport> = BTreeMap::new();
        for container in &self.containers {
            let row = self.report_of(container, before);
            match rows.get_mut(container.service.as_str()) {
                Some(worst) if rank(worst.state) >= rank(row.state) => {
                    worst.new_image |= row.new_image;
                    worst.recreated |= row.recreated;
                }
                Some(worst) => {
                    let (new_image, recreated) = (worst.new_image, worst.recreated);
                    *worst = row;
                    worst.new_image |= new_image;
                    worst.recreated |= recreated;
                }
                None => drop(rows.insert(&container.service, row)),
            }
        }
        rows.into_values().collect()
    }
}

fn rank(state: ServiceState) -> u8 {
    match state {
        ServiceState::Healthy | ServiceState::Running | ServiceState::Completed => 0,
        ServiceState::Starting => 1,
        ServiceState::Created => 2,
        ServiceState::Unhealthy => 3,
        ServiceState::Restarting => 4,
        ServiceState::Exited => 5,
        ServiceState::Missing => 6,
    }
}

/// Services that a `com.docker.compose.depends_on` label waits for until they have completed
/// (`migrate:service_completed_successfully:false,db:service_started:false`).
pub(crate) fn waits_for_completion(label: &str) -> BTreeSet<String> {
    let completed = |entry: &str| {
        let mut parts = entry.split(':');
        let service = parts.next()?;
        (parts.next()? == "service_completed_successfully").then(|| service.to_owned())
    };
    label.split(',').filter_map(completed).collect()
}

/// Seconds since 1970 of a time as Docker writes it: RFC 3339 in UTC, with any number of decimals.
fn unix_of(text: &str) -> Option<u64> {
    let (date, rest) = text.split_once('T')?;
    let time = rest.strip_suffix('Z')?.split('.').next()?;
    let mut date = date.splitn(3, '-').map(str::parse::<i64>);
    let (year, month, day) = (date.next()?.ok()?, date.next()?.ok()?, date.next()?.ok()?);
    let mut time = time.splitn(3, ':').map(str::parse::<i64>);
    let (hour, minute, second) = (time.next()?.ok()?, time.next()?.ok()?, time.next()?.ok()?);
    if !(1970..=9999).contains(&year) || !(1..=12).contains(&month) {
        return None;
    }
    // The year is taken to begin in March, so that the leap day is its last and months follow one formula.
    let (year, month) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let days =
        365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1 - 719_468;
    u64::try_from(days * 86_400 + hour * 3600 + minute * 60 + second).ok()
}

/// One look at all services of a swarm stack.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct ServiceSnapshot {
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

impl ServiceSnapshot {
    /// The names of the services.
    pub(crate) fn names(&self) -> BTreeSet<String> {
        self.services.iter().map(|one| one.name.clone()).collect()
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
    pub(super) fn is_fully_scaled(&self) -> bool {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, unix: Option<u64>) {
        assert_eq!(unix_of(text), unix, "{text}");
    }

    #[test]
    fn times_of_docker_are_read() {
        check("1970-01-01T00:00:00Z", Some(0));
        check("2000-02-29T12:00:00.5Z", Some(951_825_600));
        check("2026-11-24T11:40:41.123456789Z", Some(1_795_520_441));
        check("2100-03-01T00:00:00Z", Some(4_107_542_400));
        check("0001-01-01T00:00:00Z", None);
        check("2026-11-24 11:40:41", None);
        check("", None);
    }

    #[test]
    fn only_awaited_completions_are_read_from_the_label() {
        let label = "db:service_healthy:false,migrate:service_completed_successfully:false,cache:service_started:true";
        assert_eq!(
            waits_for_completion(label),
            BTreeSet::from(["migrate".to_owned()])
        );
        assert_eq!(waits_for_completion(""), BTreeSet::new());
    }
}
