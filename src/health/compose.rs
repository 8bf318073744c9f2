//! Judges a compose stack by a series of snapshots: a crash loop that runs for a moment must not pass, and a slow start must not fail.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::{Duration, Instant};

use crate::health::snapshot::{Container, ContainerSnapshot, Roles};
use crate::health::{Verdict, snapshot};
use crate::limits;
use crate::stack::outcome::{ServiceReport, ServiceState};

/// The part of a stack's state and settings by which its containers are judged.
#[derive(Debug, Default)]
pub(crate) struct Criteria {
    /// The containers before the update.
    pub(crate) before: ContainerSnapshot,
    /// Services that must have a container.
    pub(crate) expected: BTreeSet<String>,
    /// The role of every service that the file defines.
    pub(crate) roles: Roles,
    /// Services that our last redeploy of this stack left failed: they count even if this one did not touch them.
    pub(crate) failed_last_time: BTreeSet<String>,
    /// The time that containers may take.
    pub(crate) within: Duration,
    /// Set if this verifies a rollback: a container that the failed update has only created is then a left-over.
    pub(crate) rolls_back: bool,
}

/// The number of restarts of the engine after each of which the containers get their full time again.
const RESTARTS: usize = 3;

/// Observes a stack until its health is certain.
#[derive(Debug)]
pub(crate) struct ContainerWatch {
    criteria: Criteria,
    /// Start of the time limits: when the watch began, or when the engine was last restarted.
    began: Instant,
    engine_restarts: usize,
    /// By container id.
    runs: HashMap<String, Runs>,
}

/// The runs of one container, as far as they were observed.
#[derive(Debug)]
struct Runs {
    started_at: String,
    restarts: u64,
    /// The time since which start and restarts are the same.
    since: Instant,
    /// The exit codes that were observed.
    exit_codes: BTreeSet<i64>,
    /// The start of the run that only a restart which the engine counts has replaced; `None` before it was seen running.
    first_start: Option<String>,
    /// It was unhealthy at the latest observation of that run.
    was_unhealthy: bool,
}

/// The state of one container at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Health {
    Good,
    NotYet,
    /// A job that runs; it is not judged by the time it takes.
    Unfinished,
    /// Past its deadline, or ended for good.
    Bad,
}

impl ContainerWatch {
    /// Begins to observe at `now`.
    pub(crate) fn new(criteria: Criteria, now: Instant) -> ContainerWatch {
        ContainerWatch {
            criteria,
            began: now,
            engine_restarts: 0,
            runs: HashMap::new(),
        }
    }

    /// Gives all containers their full time again: the engine was restarted, or could not be reached for a while.
    pub(crate) fn restart(&mut self, now: Instant) {
        self.engine_restarts += 1;
        if self.engine_restarts <= RESTARTS {
            self.began = now;
            self.runs.clear();
        }
    }

    /// Takes in a snapshot; `None` while the verdict is not certain.
    pub(crate) fn observe(
        &mut self,
        now: Instant,
        snapshot: &ContainerSnapshot,
    ) -> Option<Verdict> {
        let verdict = self.evaluate(now, snapshot);
        let (own, _) = self.split(snapshot);
        let counts: Vec<Health> = own
            .containers
            .iter()
            .filter(|container| !self.was_already_unhealthy(container, &own))
            .map(|container| self.health(container, now, &own))
            .collect();
        let waited = now.duration_since(self.began);
        let open = counts.contains(&Health::NotYet)
            || counts.contains(&Health::Unfinished) && waited < self.criteria.within;
        let missing = self.missing(&own).next().is_some();
        let awaited = missing && waited < self.settle_time();
        (counts.contains(&Health::Bad) || !(open || awaited)).then_some(verdict)
    }

    /// The verdict over containers that were not touched; `None` if one has run too shortly: take another snapshot after the settle time.
    pub(crate) fn recheck(
        &mut self,
        now: Instant,
        snapshot: &ContainerSnapshot,
    ) -> Option<Verdict> {
        let verdict = self.evaluate(now, snapshot).at_the_deadline();
        let (own, _) = self.split(snapshot);
        let unsettled = |container: &&Container| {
            let state = self.state_of(container, &own);
            matches!(state, ServiceState::Running | ServiceState::Healthy)
        };
        let mut not_good = own.containers.iter().filter(|container| {
            let health = self.health(container, now, &own);
            !matches!(health, Health::Good | Health::Unfinished)
        });
        let only_young = !verdict.bad.is_empty() && not_good.all(|container| unsettled(&container));
        let is_first = now.duration_since(self.began) < limits::SETTLE;
        (!(only_young && is_first)).then_some(verdict)
    }

    /// The verdict at this moment, certain or not.
    pub(crate) fn evaluate(&mut self, now: Instant, snapshot: &ContainerSnapshot) -> Verdict {
        let (own, others) = self.split(snapshot);
        self.remember(now, &own);
        let mut services = own.report(&self.criteria.before, &self.criteria.roles);
        services.extend(
            self.missing(&own)
                .map(|service| self.report_missing(service)),
        );
        ServiceReport::sort(&mut services);
        let mut by_health: [BTreeSet<String>; 4] = Default::default();
        let [bad, bad_as_before, unsettled, unfinished] = &mut by_health;
        for container in &own.containers {
            let service = container.service.clone();
            let already = self.was_already_unhealthy(container, &own);
            match self.health(container, now, &own) {
                Health::Good => false,
                Health::Unfinished => unfinished.insert(service),
                Health::Bad | Health::NotYet if already => bad_as_before.insert(service),
                Health::Bad => bad.insert(service),
                Health::NotYet => unsettled.insert(service),
            };
        }
        bad.extend(self.missing(&own).cloned());
        let leftovers: BTreeSet<String> = others
            .iter()
            .map(|other| format!("{} ({})", other.service, snapshot::name_of(other.state())))
            .collect();
        let except = |names: &BTreeSet<String>, others: &[&BTreeSet<String>]| {
            let listed = |name: &&String| others.iter().any(|other| other.contains(*name));
            names.iter().filter(|name| !listed(name)).cloned().collect()
        };
        Verdict {
            services,
            bad_as_before: except(bad_as_before, &[bad, unsettled]),
            unsettled: except(unsettled, &[bad]),
            unfinished: except(unfinished, &[bad, unsettled]),
            bad: bad.iter().cloned().collect(),
            leftovers: leftovers.into_iter().collect(),
            reasons: BTreeMap::new(),
            engine_restarted: self.engine_restarts > 0,
        }
    }

    /// The containers that are judged, and left-overs: those of services that the file does not define, and those that an
    /// interrupted update has created and never started beside one that runs.
    fn split(&self, snapshot: &ContainerSnapshot) -> (ContainerSnapshot, Vec<Container>) {
        let (own, mut others) = snapshot.split(&self.criteria.roles);
        let runs = |other: &Container, service: &str| other.service == service && other.runs();
        let is_left = |container: &Container| {
            let mut before = self.criteria.before.containers.iter();
            container.replaces
                && container.state() == ServiceState::Created
                && own
                    .containers
                    .iter()
                    .any(|other| runs(other, &container.service))
                && (self.criteria.rolls_back || before.any(|old| old.id == container.id))
        };
        let (left, containers) = own
            .containers
            .iter()
            .cloned()
            .partition::<Vec<_>, _>(is_left);
        others.extend(left);
        let own = ContainerSnapshot {
            containers,
            date: own.date,
        };
        (own, others)
    }

    fn settle_time(&self) -> Duration {
        self.criteria.within.min(limits::SETTLE)
    }

    /// Services that must have a container and have none.
    fn missing<'a>(&'a self, own: &ContainerSnapshot) -> impl Iterator<Item = &'a String> {
        let there = own.services();
        let expected = self.criteria.expected.iter();
        expected.filter(move |service| !there.contains(*service))
    }

    fn state_of(&self, container: &Container, own: &ContainerSnapshot) -> ServiceState {
        own.state_of(container, &self.criteria.before, &self.criteria.roles)
    }

    /// Returns true if the engine was restarted: every container that ran has stopped or was started again without a restart that
    /// the engine counts. The engine counts those after a crash; a single container may have been restarted by a person, or because
    /// it was unhealthy.
    fn engine_has_restarted(&self, own: &ContainerSnapshot) -> bool {
        let mut started_again = false;
        for container in &own.containers {
            let Some(runs) = self.runs.get(&container.id) else {
                continue;
            };
            let Some(first_start) = &runs.first_start else {
                continue;
            };
            let is_running = container.running_since().is_some();
            let is_counted = container.restarts > runs.restarts;
            match (is_running, container.started_at == *first_start) {
                (true, true) => return false,
                (true, false) if is_counted || runs.was_unhealthy => return false,
                (true, false) => started_again = true,
                (false, _) => {}
            }
        }
        started_again
    }

    fn remember(&mut self, now: Instant, own: &ContainerSnapshot) {
        if self.engine_has_restarted(own) {
            self.restart(now);
        }
        for container in &own.containers {
            let state = self.state_of(container, own);
            let runs = self
                .runs
                .entry(container.id.clone())
                .or_insert_with(|| Runs {
                    started_at: container.started_at.clone(),
                    restarts: container.restarts,
                    since: now,
                    exit_codes: BTreeSet::new(),
                    first_start: None,
                    was_unhealthy: false,
                });
            if container.restarts > runs.restarts {
                runs.first_start = None;
            }
            if container.running_since().is_some() {
                let first = runs
                    .first_start
                    .get_or_insert_with(|| container.started_at.clone());
                if *first == container.started_at {
                    runs.was_unhealthy = state == ServiceState::Unhealthy;
                }
            }
            if runs.started_at != container.started_at || runs.restarts != container.restarts {
                runs.started_at.clone_from(&container.started_at);
                (runs.restarts, runs.since) = (container.restarts, now);
            }
            if container.state() == ServiceState::Restarting {
                runs.exit_codes.insert(container.exit_code);
            }
        }
        self.runs
            .retain(|id, _| own.containers.iter().any(|container| container.id == *id));
    }

    fn health(&self, container: &Container, now: Instant, own: &ContainerSnapshot) -> Health {
        let waited = now.duration_since(self.began);
        let within = self.criteria.within;
        let is_job = own.is_job(container, &self.criteria.before, &self.criteria.roles);
        // A crash loop is certain; the time that its health check may take does not matter.
        let deadline = match container.health_takes {
            Some(takes) if !is_job && !self.keeps_crashing(container) => within.max(takes),
            Some(_) | None => within,
        };
        let not_yet = if waited >= deadline {
            Health::Bad
        } else {
            Health::NotYet
        };
        match self.state_of(container, own) {
            ServiceState::Completed => Health::Good,
            ServiceState::Running
            | ServiceState::Healthy
            | ServiceState::Starting
            | ServiceState::Unhealthy
                if is_job =>
            {
                Health::Unfinished
            }
            ServiceState::Healthy
                if container.restarts == 0 || self.has_settled(container, now, own) =>
            {
                Health::Good
            }
            ServiceState::Running if self.has_settled(container, now, own) => Health::Good,
            ServiceState::Exited if container.stays_ended() => Health::Bad,
            // A container that only has to settle is given that time, even beyond the deadline.
            ServiceState::Running | ServiceState::Healthy if waited < deadline + limits::SETTLE => {
                Health::NotYet
            }
            _ => not_yet,
        }
    }

    /// Returns true if every observed run ended with the same exit code.
    fn keeps_crashing(&self, container: &Container) -> bool {
        let runs = self.runs.get(&container.id);
        container.restarts >= 2 && runs.is_some_and(|runs| runs.exit_codes.len() == 1)
    }

    /// Returns true if it has run for long enough without a restart, by the host's clock or by ours.
    fn has_settled(&self, container: &Container, now: Instant, own: &ContainerSnapshot) -> bool {
        let by_host = container
            .running_for(own.date)
            .is_some_and(|time| time >= limits::SETTLE);
        let by_us = self
            .runs
            .get(&container.id)
            .is_some_and(|runs| now.duration_since(runs.since) >= self.settle_time());
        by_host || by_us
    }

    /// Returns true if a container had failed before, was not touched by this redeploy, which recreated another one, and was not left
    /// failed by our last one. A job that was started again was touched.
    fn was_already_unhealthy(&self, container: &Container, own: &ContainerSnapshot) -> bool {
        let Criteria {
            before,
            roles,
            failed_last_time,
            ..
        } = &self.criteria;
        let was_bad = |old: &Container| {
            let untouched =
                !own.is_job(container, before, roles) || old.started_at == container.started_at;
            untouched
                && !matches!(
                    before.state_of(old, before, roles),
                    ServiceState::Running
                        | ServiceState::Healthy
                        | ServiceState::Completed
                        | ServiceState::Starting
                )
        };
        let mut old = before.containers.iter();
        let was_bad = old.find(|old| old.id == container.id).is_some_and(was_bad);
        let recreated_another = || {
            let is_new =
                |other: &Container| !before.containers.iter().any(|old| old.id == other.id);
            own.containers.iter().any(is_new)
        };
        was_bad && !failed_last_time.contains(&container.service) && recreated_another()
    }

    fn report_missing(&self, service: &str) -> ServiceReport {
        let old = self.criteria.before.containers_of(service);
        let image = old.first().map(|old| old.reference.as_str());
        ServiceReport::missing(service, image.unwrap_or_default())
    }
}

#[cfg(test)]
mod tests;
