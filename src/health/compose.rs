//! Judges a compose stack look by look: a crash loop that seems to run for a moment must not pass, and a slow start must not fail.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::{Duration, Instant};

use crate::health::Verdict;
use crate::health::snapshot::{Container, ContainerSnapshot};
use crate::limits;
use crate::stack::outcome::{ServiceReport, ServiceState};

/// Looks at a stack until it is certain how it stands.
#[derive(Debug)]
pub(crate) struct Watch {
    before: ContainerSnapshot,
    /// Services that must have a container.
    expected: BTreeSet<String>,
    /// Services that our last redeploy of this stack left not well: untouched or not, they are no old story.
    ours: BTreeSet<String>,
    began: Instant,
    within: Duration,
    /// By container id: its last start, its restarts, and since when they have been the same.
    steady: HashMap<String, (String, u64, Instant)>,
}

/// What one look says of one container or service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Look {
    Well,
    NotYet,
    /// StackRecord its deadline, or ended for good.
    Bad,
}

impl Watch {
    /// `before`: what was seen before the submit; `expected`: services that must have a container; `ours`: services
    /// that our last redeploy left not well; `within`: how long containers may take.
    pub(crate) fn new(
        before: ContainerSnapshot,
        expected: BTreeSet<String>,
        ours: BTreeSet<String>,
        within: Duration,
        now: Instant,
    ) -> Watch {
        Watch {
            before,
            expected,
            ours,
            began: now,
            within,
            steady: HashMap::new(),
        }
    }

    /// `None`: not certain yet, look again.
    pub(crate) fn observe(&mut self, now: Instant, seen: &ContainerSnapshot) -> Option<Verdict> {
        let verdict = self.evaluate(now, seen);
        let looks: Vec<(&Container, Look)> = seen
            .containers
            .iter()
            .map(|container| (container, self.look(container, now, seen)))
            .collect();
        let missing: Vec<&String> = self
            .expected
            .iter()
            .filter(|service| seen.of(service).is_empty())
            .collect();
        let time_over = now.duration_since(self.began) >= self.within.min(limits::SETTLE);
        let open = looks.iter().any(|(container, look)| {
            *look == Look::NotYet && !self.was_already_unhealthy(container, seen)
        });
        let final_bad = looks.iter().any(|(container, look)| {
            *look == Look::Bad && !self.was_already_unhealthy(container, seen)
        });
        let waiting_for_missing = !missing.is_empty() && !time_over;
        (final_bad || !(open || waiting_for_missing)).then_some(verdict)
    }

    /// Whether all is well right now. `None`: something runs too shortly to tell, look again once it had time to settle.
    pub(crate) fn recheck(&mut self, now: Instant, seen: &ContainerSnapshot) -> Option<Verdict> {
        let verdict = self.evaluate(now, seen);
        let unsettled = |container: &&Container| {
            let state = seen.state_of(container, &self.before);
            matches!(state, ServiceState::Running | ServiceState::Healthy)
        };
        let mut not_well = seen
            .containers
            .iter()
            .filter(|one| self.look(one, now, seen) != Look::Well);
        let only_young = !verdict.bad.is_empty() && not_well.all(|one| unsettled(&one));
        let first_look = now.duration_since(self.began) < limits::SETTLE;
        (!(only_young && first_look)).then_some(verdict)
    }

    /// How it stands at this moment, certain or not: for the end of all time.
    pub(crate) fn evaluate(&mut self, now: Instant, seen: &ContainerSnapshot) -> Verdict {
        self.remember(now, seen);
        let mut services = seen.report(&self.before);
        let missing = self
            .expected
            .iter()
            .filter(|service| seen.of(service).is_empty());
        services.extend(missing.map(|service| self.missing(service)));
        ServiceReport::sort(&mut services);
        let (mut bad, mut bad_as_before) = (BTreeSet::new(), BTreeSet::new());
        for container in &seen.containers {
            if self.look(container, now, seen) != Look::Well {
                let list = if self.was_already_unhealthy(container, seen) {
                    &mut bad_as_before
                } else {
                    &mut bad
                };
                list.insert(container.service.clone());
            }
        }
        bad.extend(
            self.expected
                .iter()
                .filter(|service| seen.of(service).is_empty())
                .cloned(),
        );
        let bad_as_before = bad_as_before.into_iter();
        Verdict {
            services,
            bad_as_before: bad_as_before
                .filter(|service| !bad.contains(service))
                .collect(),
            bad: bad.into_iter().collect(),
            reasons: BTreeMap::new(),
        }
    }

    fn remember(&mut self, now: Instant, seen: &ContainerSnapshot) {
        let steady = seen.containers.iter().map(|container| {
            let since = match self.steady.get(&container.id) {
                Some((started, restarts, since))
                    if *started == container.started_at && *restarts == container.restarts =>
                {
                    *since
                }
                _ => now,
            };
            (
                container.id.clone(),
                (container.started_at.clone(), container.restarts, since),
            )
        });
        self.steady = steady.collect();
    }

    fn look(&self, container: &Container, now: Instant, seen: &ContainerSnapshot) -> Look {
        let waited = now.duration_since(self.began);
        let deadline = match container.health_takes {
            Some(takes) => self.within.max(takes),
            None => self.within,
        };
        let not_yet = if waited >= deadline {
            Look::Bad
        } else {
            Look::NotYet
        };
        match seen.state_of(container, &self.before) {
            ServiceState::Completed => Look::Well,
            ServiceState::Healthy
                if container.restarts == 0 || self.has_settled(container, now, seen) =>
            {
                Look::Well
            }
            ServiceState::Running if self.has_settled(container, now, seen) => Look::Well,
            ServiceState::Exited if container.stays_ended() => Look::Bad,
            // One that only has to settle is given that time, whatever was configured.
            ServiceState::Running | ServiceState::Healthy if waited < deadline + limits::SETTLE => {
                Look::NotYet
            }
            _ => not_yet,
        }
    }

    /// Runs without a restart for long enough, by the host's clock or by ours.
    fn has_settled(&self, container: &Container, now: Instant, seen: &ContainerSnapshot) -> bool {
        let settle = self.within.min(limits::SETTLE);
        let by_host = container
            .running_for(seen.date)
            .is_some_and(|time| time >= limits::SETTLE);
        let by_us = self
            .steady
            .get(&container.id)
            .is_some_and(|(_, _, since)| now.duration_since(*since) >= settle);
        by_host || by_us
    }

    /// Not well before, not touched now, and not left so by us: a warning, provided that this redeploy did its work elsewhere.
    fn was_already_unhealthy(&self, container: &Container, seen: &ContainerSnapshot) -> bool {
        let before = |other: &&Container| other.id == container.id;
        let was_bad = self
            .before
            .containers
            .iter()
            .find(before)
            .is_some_and(|old| {
                !matches!(
                    self.before.state_of(old, &self.before),
                    ServiceState::Running
                        | ServiceState::Healthy
                        | ServiceState::Completed
                        | ServiceState::Starting
                )
            });
        let recreated_another = || {
            seen.containers
                .iter()
                .any(|other| !self.before.containers.iter().any(|old| old.id == other.id))
        };
        was_bad && !self.ours.contains(&container.service) && recreated_another()
    }

    fn missing(&self, service: &str) -> ServiceReport {
        let old = self.before.of(service);
        let image = old.first().map(|old| old.reference.as_str());
        ServiceReport::missing(service, image.unwrap_or_default())
    }
}

#[cfg(test)]
mod tests;
