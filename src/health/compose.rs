//! Judges a compose stack look by look: a crash loop that seems to run for a moment must not pass, and a slow start must not fail.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use crate::health::Verdict;
use crate::health::seen::{Container, Seen};
use crate::limits;
use crate::stack::outcome::{ServiceReport, ServiceState};

/// Looks at a stack until it is certain how it stands.
#[derive(Debug)]
pub(crate) struct Watch {
    before: Seen,
    /// Services that must have a container.
    expected: BTreeSet<String>,
    /// Services that our last redeploy of this stack left not well: untouched or not, they are no old story.
    ours: BTreeSet<String>,
    began: Instant,
    within: Duration,
    /// By container id: its last start, its restarts, and since when they have been the same.
    steady: BTreeMap<String, (String, u64, Instant)>,
}

/// What one look says of one container or service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Look {
    Well,
    NotYet,
    /// Past its deadline, or ended for good.
    Bad,
}

impl Watch {
    /// `before`: what was seen before the submit; `expected`: services that must have a container; `ours`: services
    /// that our last redeploy left not well; `within`: how long containers may take.
    pub(crate) fn new(
        before: Seen,
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
            steady: BTreeMap::new(),
        }
    }

    /// `None`: not certain yet, look again.
    pub(crate) fn see(&mut self, now: Instant, seen: &Seen) -> Option<Verdict> {
        let verdict = self.judge(now, seen);
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
        let open = looks
            .iter()
            .any(|(container, look)| *look == Look::NotYet && !self.is_old_story(container, seen));
        let final_bad = looks
            .iter()
            .any(|(container, look)| *look == Look::Bad && !self.is_old_story(container, seen));
        let waiting_for_missing = !missing.is_empty() && !time_over;
        (final_bad || !(open || waiting_for_missing)).then_some(verdict)
    }

    /// Whether all is well right now. `None`: something runs too shortly to tell, look again once it had time to settle.
    pub(crate) fn holds(&mut self, now: Instant, seen: &Seen) -> Option<Verdict> {
        let verdict = self.judge(now, seen);
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
    pub(crate) fn judge(&mut self, now: Instant, seen: &Seen) -> Verdict {
        self.remember(now, seen);
        let mut services = seen.report(&self.before);
        let missing = self
            .expected
            .iter()
            .filter(|service| seen.of(service).is_empty());
        services.extend(missing.map(|service| self.missing(service)));
        services.sort_by(|one, other| one.service.cmp(&other.service));
        let (mut bad, mut bad_as_before) = (BTreeSet::new(), BTreeSet::new());
        for container in &seen.containers {
            if self.look(container, now, seen) != Look::Well {
                let list = if self.is_old_story(container, seen) {
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
        bad_as_before.retain(|service| !bad.contains(service));
        Verdict {
            services,
            bad: bad.into_iter().collect(),
            bad_as_before: bad_as_before.into_iter().collect(),
            reasons: BTreeMap::new(),
        }
    }

    fn remember(&mut self, now: Instant, seen: &Seen) {
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

    fn look(&self, container: &Container, now: Instant, seen: &Seen) -> Look {
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
    fn has_settled(&self, container: &Container, now: Instant, seen: &Seen) -> bool {
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
    fn is_old_story(&self, container: &Container, seen: &Seen) -> bool {
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
        let image = self
            .before
            .of(service)
            .first()
            .map(|old| old.reference.clone());
        ServiceReport {
            service: service.to_owned(),
            image: image.unwrap_or_default(),
            new_image: false,
            recreated: false,
            state: ServiceState::Missing,
            exit_code: None,
            restarts: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn container(id: &str, service: &str, state: &str) -> Container {
        Container {
            id: id.to_owned(),
            service: service.to_owned(),
            image_id: format!("sha256:{id}"),
            reference: format!("example.org/{service}:1"),
            state: state.to_owned(),
            health: None,
            exit_code: 0,
            restarts: 0,
            started_at: "2026-11-24T11:40:00Z".to_owned(),
            restart_policy: "unless-stopped".to_owned(),
            health_takes: None,
            waits_for: BTreeSet::new(),
        }
    }

    fn seen(containers: &[Container]) -> Seen {
        Seen {
            containers: containers.to_vec(),
            date: None,
        }
    }

    fn with_health(id: &str, service: &str, health: &str, takes: u64) -> Container {
        let health = Some(health.to_owned());
        Container {
            health,
            health_takes: Some(Duration::from_secs(takes)),
            ..container(id, service, "running")
        }
    }

    fn ended(id: &str, service: &str, policy: &str, exit_code: i64) -> Container {
        Container {
            restart_policy: policy.to_owned(),
            exit_code,
            ..container(id, service, "exited")
        }
    }

    /// Looks every second; `at(second)` is what is there. Returns the second of the verdict, and who is bad.
    #[track_caller]
    fn check(
        before: &[Container],
        at: impl Fn(u64) -> Vec<Container>,
        second: u64,
        bad: &[&str],
        as_before: &[&str],
    ) {
        let began = Instant::now();
        let expected = before
            .iter()
            .map(|container| container.service.clone())
            .collect();
        let mut watch = Watch::new(
            seen(before),
            expected,
            BTreeSet::new(),
            Duration::from_secs(120),
            began,
        );
        for tick in 0..1000 {
            if let Some(verdict) = watch.see(began + Duration::from_secs(tick), &seen(&at(tick))) {
                assert_eq!(
                    (tick, verdict.bad, verdict.bad_as_before),
                    (second, owned(bad), owned(as_before))
                );
                return;
            }
        }
        panic!("no verdict in 1000 s");
    }

    fn owned(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    #[test]
    fn one_without_a_health_check_must_run_for_ten_seconds() {
        check(
            &[container("a", "web", "running")],
            |_| vec![container("b", "web", "running")],
            10,
            &[],
            &[],
        );
    }

    #[test]
    fn one_with_a_health_check_is_well_when_it_says_so() {
        let at = |tick| {
            vec![with_health(
                "b",
                "web",
                if tick < 7 { "starting" } else { "healthy" },
                20,
            )]
        };
        check(&[container("a", "web", "running")], at, 7, &[], &[]);
    }

    #[test]
    fn an_unhealthy_one_may_recover_until_the_deadline() {
        let at = |tick| {
            vec![with_health(
                "b",
                "web",
                if tick < 119 { "unhealthy" } else { "healthy" },
                20,
            )]
        };
        check(&[container("a", "web", "running")], at, 119, &[], &[]);
        check(
            &[container("a", "web", "running")],
            |_| vec![with_health("b", "web", "unhealthy", 20)],
            120,
            &["web"],
            &[],
        );
    }

    #[test]
    fn a_health_check_that_takes_longer_moves_the_deadline() {
        check(
            &[container("a", "web", "running")],
            |_| vec![with_health("b", "web", "starting", 300)],
            300,
            &["web"],
            &[],
        );
    }

    #[test]
    fn a_crash_loop_that_looks_running_is_caught() {
        let at = |tick| {
            let started_at = format!("2026-11-24T11:40:{:02}Z", tick / 5);
            vec![Container {
                restarts: tick / 5,
                started_at,
                ..container("b", "web", "running")
            }]
        };
        check(&[container("a", "web", "running")], at, 130, &["web"], &[]);
    }

    #[test]
    fn an_end_that_nothing_restarts_is_final_at_once() {
        check(
            &[container("a", "web", "running")],
            |_| vec![ended("b", "web", "no", 1)],
            0,
            &["web"],
            &[],
        );
        check(
            &[container("a", "web", "running")],
            |_| vec![ended("b", "web", "no", 0)],
            0,
            &["web"],
            &[],
        );
        check(
            &[container("a", "web", "running")],
            |_| vec![ended("b", "web", "on-failure", 0)],
            0,
            &["web"],
            &[],
        );
    }

    #[test]
    fn an_end_that_will_be_restarted_is_waited_for() {
        check(
            &[container("a", "web", "running")],
            |_| vec![ended("b", "web", "always", 1)],
            120,
            &["web"],
            &[],
        );
    }

    #[test]
    fn a_one_shot_service_completes() {
        check(
            &[ended("a", "job", "no", 0)],
            |_| vec![ended("b", "job", "no", 0)],
            0,
            &[],
            &[],
        );
        check(
            &[],
            |_| vec![ended("b", "job", "on-failure", 0)],
            0,
            &[],
            &[],
        );
        let awaited = |_| {
            let waits_for = BTreeSet::from(["job".to_owned()]);
            vec![
                ended("b", "job", "no", 0),
                Container {
                    waits_for,
                    ..with_health("c", "web", "healthy", 1)
                },
            ]
        };
        check(&[container("a", "job", "running")], awaited, 0, &[], &[]);
        check(
            &[ended("a", "job", "no", 0)],
            |_| vec![ended("b", "job", "always", 0)],
            120,
            &["job"],
            &[],
        );
    }

    #[test]
    fn a_service_without_a_container_is_missing() {
        check(
            &[container("a", "web", "running")],
            |_| vec![],
            10,
            &["web"],
            &[],
        );
    }

    #[test]
    fn an_old_story_is_a_warning_only_beside_real_work() {
        let before = [
            container("a", "web", "running"),
            with_health("s", "sick", "unhealthy", 20),
        ];
        let at = |_| {
            vec![
                with_health("b", "web", "healthy", 1),
                with_health("s", "sick", "unhealthy", 20),
            ]
        };
        check(&before, at, 0, &[], &["sick"]);
        let nothing_done = |_| {
            vec![
                container("a", "web", "running"),
                with_health("s", "sick", "unhealthy", 20),
            ]
        };
        check(&before, nothing_done, 120, &["sick"], &[]);
    }

    #[test]
    fn what_our_last_redeploy_left_sick_is_no_old_story() {
        let before = seen(&[
            container("a", "web", "running"),
            with_health("s", "sick", "unhealthy", 20),
        ]);
        let ours = BTreeSet::from(["sick".to_owned()]);
        let now = Instant::now();
        let mut watch = Watch::new(before, BTreeSet::new(), ours, Duration::from_secs(30), now);
        let after = seen(&[
            with_health("b", "web", "healthy", 1),
            with_health("s", "sick", "unhealthy", 20),
        ]);
        assert_eq!(watch.see(now, &after), None);
        let verdict = watch.see(now + Duration::from_secs(30), &after).unwrap();
        assert_eq!(
            (verdict.bad, verdict.bad_as_before),
            (owned(&["sick"]), owned(&[]))
        );
    }

    #[test]
    fn one_that_has_run_for_long_by_its_host_needs_no_second_look() {
        let began = Instant::now();
        let mut watch = Watch::new(
            Seen::default(),
            BTreeSet::new(),
            BTreeSet::new(),
            Duration::from_secs(30),
            began,
        );
        let started = Seen {
            containers: vec![container("a", "web", "running")],
            date: Some(1_795_520_410),
        };
        assert_eq!(
            watch.see(began, &started).map(|verdict| verdict.bad),
            Some(vec![])
        );
        let young = Seen {
            date: Some(1_795_520_409),
            ..started
        };
        assert_eq!(watch.see(began, &young), None);
    }
}
