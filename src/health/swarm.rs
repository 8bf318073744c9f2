//! Judges a Swarm stack by a series of snapshots: Portainer's answer only confirms that the services were submitted, so the rollout and
//! the tasks of the new spec are observed.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::{Duration, Instant};

use crate::health::Verdict;
use crate::health::snapshot::{Replicas, ServiceSnapshot, SwarmService, SwarmTask, has_failed};
use crate::limits;
use crate::stack::outcome::{ServiceReport, ServiceState};

/// The number of absences of the engine after each of which the services get their full time again.
const RESTARTS: usize = 3;

/// Observes a Swarm stack until its health is certain.
#[derive(Debug)]
pub(crate) struct ServiceWatch {
    before: ServiceSnapshot,
    /// Services that must exist.
    expected: BTreeSet<String>,
    began: Instant,
    /// The time of the last observed progress.
    progressed: Instant,
    /// The highest number of running tasks so far.
    most_running: u64,
    within: Duration,
    restarts: usize,
    /// The time since which each service has had all its tasks.
    scaled_since: HashMap<String, Instant>,
}

impl ServiceWatch {
    /// `before`: the services before the submit; `expected`: services that must exist; `within`: the longest time without progress.
    pub(crate) fn new(
        before: ServiceSnapshot,
        expected: BTreeSet<String>,
        within: Duration,
        now: Instant,
    ) -> ServiceWatch {
        ServiceWatch {
            before,
            expected,
            began: now,
            progressed: now,
            most_running: 0,
            within,
            restarts: 0,
            scaled_since: HashMap::new(),
        }
    }

    /// Gives all services their full time again: the engine could not be reached for a while.
    pub(crate) fn restart(&mut self, now: Instant) {
        self.restarts += 1;
        if self.restarts <= RESTARTS {
            (self.began, self.progressed, self.most_running) = (now, now, 0);
            self.scaled_since.clear();
        }
    }

    /// Takes in a snapshot; `None` while the verdict is not certain.
    pub(crate) fn observe(&mut self, now: Instant, seen: &ServiceSnapshot) -> Option<Verdict> {
        self.remember(now, seen);
        let open = seen
            .services
            .iter()
            .any(|service| self.is_open(service, now));
        let failed = seen.services.iter().any(|service| self.has_failed(service));
        // A missing service may be about to be created.
        let young = now.duration_since(self.began) < self.within.min(limits::SETTLE);
        let awaited = young && self.missing(seen).next().is_some();
        (failed || !(open || awaited) || now.duration_since(self.progressed) >= self.within)
            .then(|| self.evaluate(now, seen))
    }

    /// The verdict at this moment, certain or not.
    pub(crate) fn evaluate(&mut self, now: Instant, seen: &ServiceSnapshot) -> Verdict {
        self.remember(now, seen);
        let some_changed = seen.services.iter().any(|service| self.changed(service));
        let (mut bad, mut bad_as_before, mut reasons) = (Vec::new(), Vec::new(), BTreeMap::new());
        let mut unsettled = Vec::new();
        for service in &seen.services {
            let failed = self.has_failed(service);
            if failed || self.is_open(service, now) {
                let untouched = some_changed && !self.changed(service);
                let no_progress = now.duration_since(self.progressed) >= self.within;
                let list = if untouched && self.was_bad(service) {
                    &mut bad_as_before
                } else if failed || no_progress {
                    &mut bad
                } else {
                    &mut unsettled
                };
                list.push(service.name.clone());
                reasons.extend(
                    service
                        .reason()
                        .map(|reason| (service.name.clone(), reason)),
                );
            }
        }
        let mut services: Vec<ServiceReport> = seen
            .services
            .iter()
            .map(|service| self.report(service, now))
            .collect();
        for name in self.missing(seen) {
            bad.push(name.to_owned());
            reasons.insert(name.to_owned(), "the swarm has no such service".to_owned());
            services.push(self.report_missing(name));
        }
        ServiceReport::sort(&mut services);
        Verdict {
            services,
            bad,
            bad_as_before,
            unsettled,
            reasons,
            ..Verdict::default()
        }
    }

    fn missing<'a>(&'a self, seen: &ServiceSnapshot) -> impl Iterator<Item = &'a str> {
        let there = seen.names();
        let expected = self.expected.iter().map(String::as_str);
        expected.filter(move |name| !there.contains(*name))
    }

    fn remember(&mut self, now: Instant, seen: &ServiceSnapshot) {
        let running = seen.services.iter().map(SwarmService::running).sum();
        if running > self.most_running {
            (self.most_running, self.progressed) = (running, now);
        }
        let scaled = seen
            .services
            .iter()
            .filter(|service| service.is_fully_scaled())
            .map(|service| {
                (
                    service.name.clone(),
                    self.scaled_since.get(&service.name).copied().unwrap_or(now),
                )
            });
        self.scaled_since = scaled.collect();
    }

    /// The service of that name before the submit: one that was removed meanwhile and created again has another id.
    fn old_by_name(&self, service: &SwarmService) -> Option<&SwarmService> {
        let mut before = self.before.services.iter();
        before.find(|old| old.name == service.name)
    }

    fn old(&self, service: &SwarmService) -> Option<&SwarmService> {
        self.before.services.iter().find(|old| old.id == service.id)
    }

    /// Returns true if the submit changed the service. One that changes nothing raises the version, but starts no rollout.
    fn changed(&self, service: &SwarmService) -> bool {
        self.old(service).is_none_or(|old| {
            old.image != service.image
                || old.force_update != service.force_update
                || (old.version != service.version && service.rollout.is_some())
        })
    }

    fn was_bad(&self, service: &SwarmService) -> bool {
        self.old(service).is_some_and(|old| !old.is_fully_scaled())
    }

    fn has_failed(&self, service: &SwarmService) -> bool {
        let failed = service
            .rollout
            .as_ref()
            .is_some_and(|(state, _)| has_failed(state));
        // A rollback has restored the old image, so the image alone may seem unchanged.
        failed
            && self
                .old(service)
                .is_none_or(|old| old.version != service.version)
    }

    /// Returns true if the service is not yet in its desired state.
    fn is_open(&self, service: &SwarmService, now: Instant) -> bool {
        let rolling = service.rollout.as_ref().map(|(state, _)| state.as_str());
        if self.changed(service) && matches!(rolling, Some("updating" | "rollback_started")) {
            return true;
        }
        let has_no_rollout = self.changed(service)
            && rolling.is_none()
            && !matches!(service.wants, Replicas::Completed(_));
        let settled = || {
            let since = self.scaled_since.get(&service.name);
            since.is_some_and(|since| now.duration_since(*since) >= self.within.min(limits::SETTLE))
        };
        !service.is_fully_scaled() || (has_no_rollout && !settled())
    }

    fn report_missing(&self, name: &str) -> ServiceReport {
        let old = self.before.services.iter().find(|old| old.name == name);
        ServiceReport::missing(name, old.map(SwarmService::reference).unwrap_or_default())
    }

    fn report(&self, service: &SwarmService, now: Instant) -> ServiceReport {
        let failed: Vec<&SwarmTask> = service
            .of_this_spec()
            .filter(|task| matches!(task.state.as_str(), "failed" | "rejected"))
            .collect();
        let state = match (
            service.wants,
            service.is_fully_scaled() && !self.is_open(service, now),
        ) {
            (Replicas::Completed(_), true) => ServiceState::Completed,
            (_, true) => ServiceState::Running,
            (_, false) if !failed.is_empty() => ServiceState::Restarting,
            (_, false) if service.tasks.is_empty() => ServiceState::Missing,
            (_, false) => ServiceState::Starting,
        };
        let exit_code = failed
            .last()
            .map(|task| task.exit_code)
            .filter(|code| *code != 0);
        ServiceReport {
            service: service.name.clone(),
            image: service.reference().to_owned(),
            image_id: service.digest().map(str::to_owned),
            previous_image_id: self
                .old_by_name(service)
                .filter(|old| old.image != service.image)
                .and_then(SwarmService::digest)
                .map(str::to_owned),
            // Without a digest the text of the image proves nothing.
            new_image: self.old_by_name(service).is_none_or(|old| {
                old.image != service.image
                    && (service.image.contains('@') || old.reference() != service.reference())
            }),
            recreated: self.changed(service),
            state,
            exit_code: exit_code.filter(|_| state == ServiceState::Restarting),
            restarts: (!failed.is_empty()).then(|| u64::try_from(failed.len()).unwrap_or(u64::MAX)),
        }
    }
}

#[cfg(test)]
mod tests;
