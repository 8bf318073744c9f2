//! Snapshots of a stack's containers, or of its Swarm services and tasks, as values.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::calendar::parse_rfc3339;
use crate::compose::Role;
use crate::stack::outcome::{ServiceReport, ServiceState};

/// The role of every service that the compose file defines; empty where the file is not certain.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Roles(pub(crate) BTreeMap<String, Role>);

impl Roles {
    /// Returns true if a container of this service belongs to the stack; without a certain file every container does.
    pub(crate) fn defines(&self, service: &str) -> bool {
        self.0.is_empty() || self.0.contains_key(service)
    }

    fn role_of(&self, service: &str) -> Role {
        self.0.get(service).copied().unwrap_or_default()
    }
}

/// All containers of a stack at one moment.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct ContainerSnapshot {
    /// The containers of its services, without one-off containers (`docker compose run`).
    pub(crate) containers: Vec<Container>,
    /// The time of the answer by the clock of the host that gave it (Unix seconds), where it said so.
    pub(crate) date: Option<u64>,
}

/// One container, from the list and its inspection.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Container {
    /// Docker's id of the container.
    pub(crate) id: String,
    /// The service it belongs to.
    pub(crate) service: String,
    /// The id of the image it runs.
    pub(crate) image_id: String,
    /// The reference it was made from: `Config.Image`, for the list shows a bare id once the tag has moved.
    pub(crate) reference: String,
    /// Docker's state: `created`, `running`, `restarting`, `exited`, ….
    pub(crate) state: String,
    /// The state of its health check: `starting`, `healthy`, `unhealthy`; absent without one.
    pub(crate) health: Option<String>,
    /// The exit code of its last run.
    pub(crate) exit_code: i64,
    /// The number of times that Docker restarted it.
    pub(crate) restarts: u64,
    /// The time of its last start, as Docker writes it.
    pub(crate) started_at: String,
    /// Docker's restart policy: `no`, `on-failure`, `always`, `unless-stopped`.
    pub(crate) restart_policy: String,
    /// The longest time its health check may need for a certain result.
    pub(crate) health_takes: Option<Duration>,
    /// Services whose completion this one waits for.
    pub(crate) waits_for: BTreeSet<String>,
    /// Set if compose has created it to replace another container and has not finished that.
    #[serde(default)]
    pub(crate) replaces: bool,
}

impl Container {
    /// Its state as a reply names it, without regard to its role.
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

    /// Returns true if it runs, or Docker is about to start it again.
    pub(crate) fn runs(&self) -> bool {
        matches!(self.state.as_str(), "running" | "restarting")
    }

    /// Returns true if it has exited and Docker does not restart it.
    pub(crate) fn stays_ended(&self) -> bool {
        self.state() == ServiceState::Exited
            && match self.restart_policy.as_str() {
                "always" | "unless-stopped" => false,
                "on-failure" => self.exit_code == 0,
                _ => true,
            }
    }

    /// Returns true if its restart policy leaves it exited after an exit with 0.
    fn may_complete(&self) -> bool {
        matches!(self.restart_policy.as_str(), "" | "no" | "on-failure")
    }

    fn has_exited_with_zero(&self) -> bool {
        self.state() == ServiceState::Exited && self.exit_code == 0 && self.may_complete()
    }

    /// Returns true if its process exited by itself, not by SIGKILL or SIGTERM, which a stop sends.
    fn has_ended_by_itself(&self) -> bool {
        self.state() == ServiceState::Exited
            && self.may_complete()
            && !matches!(self.exit_code, 137 | 143)
    }

    /// The time of its start by the clock of its host (Unix seconds), while it runs.
    pub(crate) fn running_since(&self) -> Option<u64> {
        parse_rfc3339(&self.started_at).filter(|_| self.state == "running")
    }

    /// The time it has been running by the clock of its host, where that is known.
    pub(crate) fn running_for(&self, date: Option<u64>) -> Option<Duration> {
        let age = date?.checked_sub(parse_rfc3339(&self.started_at)?)?;
        (self.state == "running").then(|| Duration::from_secs(age))
    }
}

impl ContainerSnapshot {
    /// The containers of one service.
    pub(crate) fn containers_of<'a>(&'a self, service: &str) -> Vec<&'a Container> {
        self.containers
            .iter()
            .filter(|container| container.service == service)
            .collect()
    }

    /// The services that have a container.
    pub(crate) fn services(&self) -> BTreeSet<String> {
        self.containers
            .iter()
            .map(|container| container.service.clone())
            .collect()
    }

    /// The containers of services that the file defines, and those of others.
    pub(crate) fn split(&self, roles: &Roles) -> (ContainerSnapshot, Vec<Container>) {
        let (own, others) = self
            .containers
            .iter()
            .cloned()
            .partition(|container| roles.defines(&container.service));
        let own = ContainerSnapshot {
            containers: own,
            date: self.date,
        };
        (own, others)
    }

    /// Returns true while compose replaces a container, and after it was interrupted there.
    pub(crate) fn is_half_replaced(&self) -> bool {
        self.containers
            .iter()
            .any(|container| container.replaces && container.state() == ServiceState::Created)
    }

    /// Services that ran before and have no container left, not even one that is about to be started.
    pub(crate) fn gone_since(&self, before: &ContainerSnapshot, roles: &Roles) -> Vec<String> {
        let gone = |service: &str| self.containers_of(service).is_empty();
        let ran = before.running_services(roles).into_iter();
        ran.filter(|service| gone(service)).collect()
    }

    /// Services that ran before and of which nothing runs now. A completed job is not down.
    pub(crate) fn down_since(&self, before: &ContainerSnapshot, roles: &Roles) -> Vec<String> {
        let alive = |container: &&Container| {
            container.runs() || self.state_of(container, before, roles) == ServiceState::Completed
        };
        let down = |service: &str| !self.containers_of(service).iter().any(alive);
        let ran = before.running_services(roles).into_iter();
        ran.filter(|service| down(service)).collect()
    }

    /// The services of the file of which a container runs.
    fn running_services(&self, roles: &Roles) -> BTreeSet<String> {
        let counts = |container: &&Container| container.runs() && roles.defines(&container.service);
        let running = self.containers.iter().filter(counts);
        running.map(|container| container.service.clone()).collect()
    }

    fn is_awaited(&self, service: &str) -> bool {
        let mut containers = self.containers.iter();
        containers.any(|container| container.waits_for.contains(service))
    }

    /// Returns true for a job: by the file, or, if that states nothing, by the restart policy `on-failure`, because another service
    /// waits for its completion, or because its predecessor completed.
    pub(crate) fn is_job(
        &self,
        container: &Container,
        before: &ContainerSnapshot,
        roles: &Roles,
    ) -> bool {
        match roles.role_of(&container.service) {
            Role::Job => true,
            Role::Service => false,
            Role::Unstated => {
                container.restart_policy == "on-failure"
                    || self.is_awaited(&container.service)
                    || before.predecessor(&container.service, Container::has_exited_with_zero)
            }
        }
    }

    /// Returns true if a service had exited in this way; an interrupted replacement shows that it was stopped instead.
    fn predecessor(&self, service: &str, exited: impl Fn(&Container) -> bool) -> bool {
        let old = self.containers_of(service);
        old.iter().any(|old| exited(old)) && !old.iter().any(|old| old.replaces)
    }

    /// The state of a container as a reply names it. An exit with 0 is a completion for a job, and, where the file states
    /// nothing, for a service whose predecessor had ended by itself.
    pub(crate) fn state_of(
        &self,
        container: &Container,
        before: &ContainerSnapshot,
        roles: &Roles,
    ) -> ServiceState {
        let may = || {
            self.is_job(container, before, roles)
                || roles.role_of(&container.service) == Role::Unstated
                    && before.predecessor(&container.service, Container::has_ended_by_itself)
        };
        match container.has_exited_with_zero() && may() {
            true => ServiceState::Completed,
            false => container.state(),
        }
    }

    fn report_of(
        &self,
        container: &Container,
        before: &ContainerSnapshot,
        roles: &Roles,
    ) -> ServiceReport {
        let old = before.containers_of(&container.service);
        let state = self.state_of(container, before, roles);
        let has_ended = matches!(state, ServiceState::Exited | ServiceState::Restarting);
        let new_image = !old.iter().any(|old| old.image_id == container.image_id);
        ServiceReport {
            service: container.service.clone(),
            image: container.reference.clone(),
            image_id: Some(container.image_id.clone()),
            previous_image_id: old
                .first()
                .filter(|_| new_image)
                .map(|old| old.image_id.clone()),
            new_image,
            recreated: !old.iter().any(|old| old.id == container.id),
            state,
            exit_code: has_ended.then_some(container.exit_code),
            restarts: (container.restarts > 0).then_some(container.restarts),
        }
    }

    /// One row for each service of the file; of several containers the worst is reported.
    pub(crate) fn report(&self, before: &ContainerSnapshot, roles: &Roles) -> Vec<ServiceReport> {
        let mut rows: BTreeMap<&str, ServiceReport> = BTreeMap::new();
        let own = self
            .containers
            .iter()
            .filter(|container| roles.defines(&container.service));
        for container in own {
            let row = self.report_of(container, before, roles);
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

/// The name of a state in a message.
pub(crate) fn name_of(state: ServiceState) -> &'static str {
    match state {
        ServiceState::Healthy => "healthy",
        ServiceState::Running => "running",
        ServiceState::Completed => "completed",
        ServiceState::Starting => "still starting",
        ServiceState::Unhealthy => "unhealthy",
        ServiceState::Restarting => "restarting",
        ServiceState::Exited => "exited",
        ServiceState::Created => "created and not started",
        ServiceState::Missing => "without a container",
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

/// All services of a Swarm stack at one moment.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct ServiceSnapshot {
    /// The services, each with its tasks.
    pub(crate) services: Vec<SwarmService>,
}

/// One service with its tasks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct SwarmService {
    /// Swarm's id of the service.
    pub(crate) id: String,
    /// Its name in the compose file.
    pub(crate) name: String,
    /// The reference, with the digest it is pinned to.
    pub(crate) image: String,
    /// Grows with every submit, and while a rollout goes on.
    pub(crate) version: u64,
    /// Grows with every forced update.
    pub(crate) force_update: u64,
    /// The number of tasks that it should have.
    pub(crate) wants: Replicas,
    /// State and message of its last rollout; absent before the first one, and after one that changed nothing.
    pub(crate) rollout: Option<(String, String)>,
    /// Its tasks, also of earlier specs.
    pub(crate) tasks: Vec<SwarmTask>,
}

/// The number of tasks that a service should have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Replicas {
    /// This number of running tasks.
    Running(u64),
    /// One on every node; the tasks show how many those are.
    RunningEverywhere,
    /// This number of completed tasks.
    Completed(u64),
}

/// One task of a Swarm service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct SwarmTask {
    /// The reference it was made from, with its digest.
    pub(crate) image: String,
    /// The service's count of forced updates when it was made.
    pub(crate) force_update: u64,
    /// `running`, `complete`, `failed`, `rejected`, ….
    pub(crate) state: String,
    /// `running`, `shutdown`, ….
    pub(crate) desired: String,
    /// The reason for its failure; empty without one.
    pub(crate) error: String,
    /// The exit code of its process.
    pub(crate) exit_code: i64,
}

impl ServiceSnapshot {
    /// The names of the services.
    pub(crate) fn names(&self) -> BTreeSet<String> {
        self.services.iter().map(|one| one.name.clone()).collect()
    }
}

impl SwarmService {
    /// The reference without the digest that Swarm pinned it to.
    pub(crate) fn reference(&self) -> &str {
        self.image
            .split_once('@')
            .map_or(self.image.as_str(), |(reference, _)| reference)
    }

    pub(super) fn of_this_spec(&self) -> impl Iterator<Item = &SwarmTask> {
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

    /// Returns true if it has as many tasks of this spec as it should have.
    pub(super) fn is_fully_scaled(&self) -> bool {
        match self.wants {
            Replicas::Running(replicas) => self.running() >= replicas,
            Replicas::RunningEverywhere => {
                let mut wanted = self
                    .of_this_spec()
                    .filter(|task| task.desired == "running")
                    .peekable();
                wanted.peek().is_some() && wanted.all(|task| task.state == "running")
            }
            Replicas::Completed(total) => {
                count(self.of_this_spec().filter(|task| task.state == "complete")) >= total
            }
        }
    }

    /// The digest that its reference is pinned to.
    pub(crate) fn digest(&self) -> Option<&str> {
        self.image.split_once('@').map(|(_, digest)| digest)
    }

    /// Swarm's message about a failed rollout, and the last error of a task.
    pub(super) fn reason(&self) -> Option<String> {
        let error = self
            .of_this_spec()
            .filter(|task| !task.error.is_empty())
            .last()
            .map(|task| task.error.clone());
        let rollout = self.rollout.as_ref();
        let failed = rollout.filter(|(state, _)| has_failed(state));
        let failed = failed.map(|(state, message)| match state.starts_with("rollback") {
            true => format!("rolled back by Swarm: {message}"),
            false => message.clone(),
        });
        match (error, failed) {
            (Some(error), Some(message)) => Some(format!("{error}; {message}")),
            (Some(only), None) | (None, Some(only)) => Some(only),
            (None, None) => None,
        }
    }
}

fn count<'a>(tasks: impl Iterator<Item = &'a SwarmTask>) -> u64 {
    tasks.fold(0, |count, _| count + 1)
}

pub(super) fn has_failed(state: &str) -> bool {
    matches!(state, "paused" | "rollback_paused" | "rollback_completed")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_only_awaited_completions_from_the_label() {
        let label = "db:service_healthy:false,migrate:service_completed_successfully:false,cache:service_started:true";
        assert_eq!(
            waits_for_completion(label),
            BTreeSet::from(["migrate".to_owned()])
        );
        assert_eq!(waits_for_completion(""), BTreeSet::new());
    }
}
