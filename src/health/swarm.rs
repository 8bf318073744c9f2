//! Judges a swarm stack look by look: Portainer's answer only says that the services were submitted, so the rollout and the tasks
//! of the new spec are watched (contract 8).

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::health::Verdict;
use crate::limits;
use crate::stack::outcome::{ServiceReport, ServiceState};

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

impl Service {
    /// The reference without the digest that the swarm pinned it to.
    pub(crate) fn reference(&self) -> &str {
        self.image
            .split_once('@')
            .map_or(self.image.as_str(), |(reference, _)| reference)
    }

    fn of_this_spec(&self) -> impl Iterator<Item = &Task> {
        self.tasks
            .iter()
            .filter(|task| task.image == self.image && task.force_update == self.force_update)
    }

    fn running(&self) -> u64 {
        count(
            self.of_this_spec()
                .filter(|task| task.state == "running" && task.desired == "running"),
        )
    }

    /// Whether there are as many tasks of this spec as there should be.
    fn is_whole(&self) -> bool {
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
    fn reason(&self) -> Option<String> {
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

fn has_failed(state: &str) -> bool {
    matches!(state, "paused" | "rollback_paused" | "rollback_completed")
}

/// Looks at a swarm stack until it is certain how it stands.
#[derive(Debug)]
pub(crate) struct Watch {
    before: Seen,
    /// The last look at which something got ahead.
    moved: Instant,
    ahead: u64,
    within: Duration,
    /// Since when a service without a rollout has been whole.
    whole_since: HashMap<String, Instant>,
}

impl Watch {
    /// `before`: what was seen before the submit; `within`: how long a rollout may take to get ahead.
    pub(crate) fn new(before: Seen, within: Duration, now: Instant) -> Watch {
        Watch {
            before,
            moved: now,
            ahead: 0,
            within,
            whole_since: HashMap::new(),
        }
    }

    /// `None`: not certain yet, look again.
    pub(crate) fn see(&mut self, now: Instant, seen: &Seen) -> Option<Verdict> {
        self.remember(now, seen);
        let open = seen
            .services
            .iter()
            .any(|service| self.is_open(service, now));
        let failed = seen.services.iter().any(|service| self.has_failed(service));
        (failed || !open || now.duration_since(self.moved) >= self.within)
            .then(|| self.judge(now, seen))
    }

    /// How it stands at this moment, certain or not.
    pub(crate) fn judge(&mut self, now: Instant, seen: &Seen) -> Verdict {
        self.remember(now, seen);
        let some_changed = seen.services.iter().any(|service| self.changed(service));
        let (mut bad, mut bad_as_before, mut reasons) = (Vec::new(), Vec::new(), BTreeMap::new());
        for service in &seen.services {
            if self.has_failed(service) || self.is_open(service, now) {
                let old_story = some_changed && !self.changed(service) && self.was_bad(service);
                if old_story {
                    &mut bad_as_before
                } else {
                    &mut bad
                }
                .push(service.name.clone());
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
        ServiceReport::sort(&mut services);
        Verdict {
            services,
            bad,
            bad_as_before,
            reasons,
        }
    }

    fn remember(&mut self, now: Instant, seen: &Seen) {
        let ahead = seen.services.iter().map(Service::running).sum();
        if ahead > self.ahead {
            (self.ahead, self.moved) = (ahead, now);
        }
        let whole = seen
            .services
            .iter()
            .filter(|service| service.is_whole())
            .map(|service| {
                (
                    service.name.clone(),
                    self.whole_since.get(&service.name).copied().unwrap_or(now),
                )
            });
        self.whole_since = whole.collect();
    }

    fn old(&self, service: &Service) -> Option<&Service> {
        self.before.services.iter().find(|old| old.id == service.id)
    }

    /// A submit that changes nothing leaves no rollout behind, although it raises the version.
    fn changed(&self, service: &Service) -> bool {
        self.old(service).is_none_or(|old| {
            old.image != service.image
                || old.force_update != service.force_update
                || (old.version != service.version && service.rollout.is_some())
        })
    }

    fn was_bad(&self, service: &Service) -> bool {
        self.old(service).is_some_and(|old| !old.is_whole())
    }

    fn has_failed(&self, service: &Service) -> bool {
        let failed = service
            .rollout
            .as_ref()
            .is_some_and(|(state, _)| has_failed(state));
        // A rollback has put the old image back, so the image alone may look unchanged.
        failed
            && self
                .old(service)
                .is_none_or(|old| old.version != service.version)
    }

    /// Whether it is not yet as it should be.
    fn is_open(&self, service: &Service, now: Instant) -> bool {
        let rolling = service.rollout.as_ref().map(|(state, _)| state.as_str());
        if self.changed(service) && matches!(rolling, Some("updating" | "rollback_started")) {
            return true;
        }
        let nobody_watched = self.changed(service)
            && rolling.is_none()
            && !matches!(service.wants, Wants::Completed(_));
        let settled = || {
            let since = self.whole_since.get(&service.name);
            since.is_some_and(|since| now.duration_since(*since) >= self.within.min(limits::SETTLE))
        };
        !service.is_whole() || (nobody_watched && !settled())
    }

    fn report(&self, service: &Service, now: Instant) -> ServiceReport {
        let failed: Vec<&Task> = service
            .of_this_spec()
            .filter(|task| matches!(task.state.as_str(), "failed" | "rejected"))
            .collect();
        let state = match (
            service.wants,
            service.is_whole() && !self.is_open(service, now),
        ) {
            (Wants::Completed(_), true) => ServiceState::Completed,
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
            new_image: self
                .old(service)
                .is_none_or(|old| old.image != service.image),
            recreated: self.changed(service),
            state,
            exit_code: exit_code.filter(|_| state == ServiceState::Restarting),
            restarts: (!failed.is_empty()).then(|| u64::try_from(failed.len()).unwrap_or(u64::MAX)),
        }
    }
}

#[cfg(test)]
mod tests;
