//! Verifies an update: a success of Portainer says nothing about health, so the containers are observed until their state is certain.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;

use crate::compose;
use crate::health::compose::Criteria;
use crate::health::{
    Container, ContainerSnapshot, HealthWatch, Roles, ServiceSnapshot, Snapshot, Verdict,
    compose as containers, snapshot, swarm,
};
use crate::portainer::{EnvironmentId, PortainerError, Record};
use crate::redeploy::find;
use crate::redeploy::inspect::{self, PartialSnapshot};
use crate::redeploy::result::Culprits;
use crate::redeploy::{Direction, RedeployResult, Run, Step, Submission};
use crate::stack::outcome::{Outcome, ServiceLog, ServiceReport, ServiceState};

/// The beginning of the note that names services which an update of single services did not restore.
pub(super) const ABSENT: &str = "not there, as before";

/// Unhealthy services whose logs are kept.
const LOGS_KEPT: usize = 5;

/// Lines of an unhealthy container's log that are kept for the settings page.
const LOG_LINES: usize = 20;

/// The pause between two inspections of the containers.
const LOOK_PAUSE: std::time::Duration = std::time::Duration::from_secs(1);

impl Run<'_> {
    /// `Ok` if the containers are healthy, or if that cannot be verified and the result says so.
    pub(super) fn verify(
        &mut self,
        submission: &Submission,
    ) -> Result<RedeployResult, RedeployResult> {
        let unverified = |why: &str| Ok(unverified(submission, why));
        if self.stack.healthy_within.is_zero() {
            return unverified("\"healthy_within\" is zero");
        }
        let Some(before) = &submission.before else {
            return unverified("the containers could not be seen before the update");
        };
        let mut watch = self.watch(submission, before);
        let (mut last, mut administrator) = (before.clone(), None);
        loop {
            let (seen, verdict) = match self.patient_observation(submission, &last, &mut watch) {
                Ok(observed) => observed,
                Err(error) => return unverified(&error.to_string()),
            };
            let mut sees_all = || *administrator.get_or_insert_with(|| self.is_administrator());
            if seen.is_empty() && before.is_empty() && !sees_all() {
                return unverified("Portainer shows this user no container of the stack");
            }
            let Some(verdict) = verdict else {
                let now = self.cx.clock.now();
                self.step(Step::Verifying(pending(&watch.evaluate(now, &seen))));
                self.cx.clock.sleep(LOOK_PAUSE);
                last = seen;
                continue;
            };
            if verdict.engine_restarted {
                self.note_absence();
            }
            if seen.is_empty() {
                return Err(RedeployResult {
                    services: verdict.services,
                    bad: verdict.bad,
                    verified: Some(true),
                    ..RedeployResult::refused(
                        "Portainer took the update, but the stack has no containers or services",
                    )
                });
            }
            if let (Snapshot::Compose(before), Snapshot::Compose(seen)) = (before, &seen) {
                self.notes.extend(other_image(submission, before, seen));
            }
            self.notes.extend(gone(before, &seen, &verdict));
            if let (Snapshot::Swarm(before), Snapshot::Swarm(seen)) = (before, &seen)
                && let Some(why) = lost_digests(before, seen)
            {
                return without_digest(verdict, why);
            }
            return self.conclude(submission, verdict);
        }
    }

    /// One observation; while engine, environment or Portainer cannot be reached it is repeated for a while.
    fn patient_observation(
        &self,
        submission: &Submission,
        last: &Snapshot,
        watch: &mut HealthWatch,
    ) -> Result<(Snapshot, Option<Verdict>), PortainerError> {
        let watch = std::cell::RefCell::new(watch);
        let absences = self.absences.load(Ordering::Relaxed);
        self.patiently(|| {
            let mut watch = watch.borrow_mut();
            let observed = self.observe_once(submission, last, &mut watch)?;
            if self.absences.load(Ordering::Relaxed) == absences {
                return Ok(observed);
            }
            watch.restart(self.cx.clock.now());
            self.observe_once(submission, &observed.0, &mut watch)
        })
    }

    /// One observation, with the verdict once it is certain or the time is over. A verdict is based on an inspection of every container.
    fn observe_once(
        &self,
        submission: &Submission,
        last: &Snapshot,
        watch: &mut HealthWatch,
    ) -> Result<(Snapshot, Option<Verdict>), PortainerError> {
        let partial = PartialSnapshot::take(self.cx.portainer, submission, last)?;
        let (now, time_over) = (self.cx.clock.now(), self.left().is_zero());
        if watch.observe(now, &partial.seen).is_none() && !time_over {
            return Ok((partial.seen, None));
        }
        let seen = partial.completed(self.cx.portainer, submission)?;
        let certain = watch.observe(now, &seen);
        let verdict =
            certain.or_else(|| time_over.then(|| watch.evaluate(now, &seen).at_the_deadline()));
        Ok((seen, verdict))
    }

    fn watch(&mut self, submission: &Submission, before: &Snapshot) -> HealthWatch {
        let (within, now) = (self.stack.healthy_within, self.cx.clock.now());
        let (mut expected, roles) = self.requirements(submission);
        match before {
            Snapshot::Compose(before) => {
                let criteria = Criteria {
                    before: before.clone(),
                    expected,
                    roles,
                    failed_last_time: self.cx.memory.recall(submission.id).bad,
                    within,
                    rolls_back: submission.direction == Direction::Rollback,
                };
                HealthWatch::Compose(containers::ContainerWatch::new(criteria, now))
            }
            Snapshot::Swarm(before) => {
                // An update of single services does not restore the others.
                if !submission.forced.is_empty() {
                    let there = before.names();
                    let absent = &expected - &there;
                    expected = &expected - &absent;
                    let absent: Vec<String> = absent.into_iter().collect();
                    self.notes.extend(named(ABSENT, &absent));
                }
                let before = before.clone();
                HealthWatch::Swarm(swarm::ServiceWatch::new(before, expected, within, now))
            }
        }
    }

    /// The services that must have a container, and the role of every service: as planned, or by the file that Portainer has deployed.
    pub(super) fn requirements(&self, submission: &Submission) -> (BTreeSet<String>, Roles) {
        if !submission.expected.is_empty() {
            return (submission.expected.clone(), submission.roles.clone());
        }
        let wanted = |record: Record| {
            let file = self
                .patiently(|| self.cx.portainer.file(submission.id))
                .ok()?;
            let certain = !record.has_more_files;
            compose::read(&file, &find::compose_variables(&record, &BTreeMap::new()))
                .ok()
                .filter(|_| certain)
        };
        let record = self.patiently(|| self.cx.portainer.stack(submission.id));
        let wanted = record.ok().and_then(wanted);
        let services = wanted.map(|wanted| wanted.services).unwrap_or_default();
        // A Swarm service exists also if it is to have no tasks.
        let there = match &submission.before {
            Some(Snapshot::Swarm(before)) => before.names(),
            Some(Snapshot::Compose(_)) | None => BTreeSet::new(),
        };
        let needed = services
            .iter()
            .filter(|(service, wants)| !wants.optional || there.contains(*service));
        let expected = needed.map(|(service, _)| service.clone()).collect();
        let roles: BTreeMap<_, _> = services
            .iter()
            .map(|(service, wants)| (service.clone(), wants.role))
            .collect();
        (expected, Roles(roles))
    }

    fn conclude(
        &self,
        submission: &Submission,
        verdict: Verdict,
    ) -> Result<RedeployResult, RedeployResult> {
        let describe = |services: &[String]| describe(&verdict, services);
        let changed = verdict.recreated() || !submission.variables_before.is_empty();
        let is_update = submission.direction == Direction::Update;
        let mut message = match (verdict.bad.is_empty(), changed) {
            (true, true) if is_update => summary(&verdict, "updated"),
            (true, true) => {
                let new = verdict.services.iter().filter(|one| one.new_image);
                let new: Vec<String> = new.map(|one| one.service.clone()).collect();
                let new = named("; with a new image", &new).unwrap_or_default();
                summary(&verdict, "recreated") + &new
            }
            (true, false) if is_update => {
                format!("nothing needed an update, {}", verdict.wellness())
            }
            (true, false) => verdict.wellness().to_owned(),
            (false, _) if !is_update => describe(&verdict.bad),
            (false, true) => format!("the update was made, but {}", describe(&verdict.bad)),
            (false, false) if verdict.misses_any() => {
                format!("nothing newer, but {}", describe(&verdict.bad))
            }
            (false, false) => format!("nothing newer, and {}", still(&describe(&verdict.bad))),
        };
        if !verdict.bad_as_before.is_empty() {
            message.push_str(&format!(
                "; not touched and as bad as before: {}",
                describe(&verdict.bad_as_before)
            ));
        }
        if !verdict.unfinished.is_empty() {
            message.push_str(&format!(
                "; not finished yet: {}",
                verdict.unfinished.join(", ")
            ));
        }
        if !verdict.unsettled.is_empty() {
            message.push_str(&format!(
                "; not settled yet: {}",
                verdict.unsettled.join(", ")
            ));
        }
        message.push_str(&verdict.leftovers_note());
        let outcome = match (verdict.bad.is_empty(), changed) {
            (true, true) => Outcome::Updated,
            (true, false) => Outcome::Unchanged,
            (false, _) => {
                return Err(RedeployResult {
                    culprits: Culprits::of_verdict(&verdict),
                    services: verdict.services,
                    bad: verdict.bad,
                    verified: Some(true),
                    ..RedeployResult::refused(message)
                });
            }
        };
        Ok(RedeployResult {
            // A job that still runs may yet fail.
            verified: Some(verdict.unfinished.is_empty()),
            services: verdict.services,
            ..RedeployResult::new(outcome, message)
        })
    }

    /// Returns false if it is not known: an empty list of containers then proves nothing.
    pub(super) fn is_administrator(&self) -> bool {
        matches!(self.cx.portainer.me(), Ok(Some(me)) if me.administrator)
    }

    /// Adds the last log lines of failed services, before a rollback removes their containers. A log that cannot be read is left out.
    pub(super) fn with_logs(&self, submission: &Submission, end: RedeployResult) -> RedeployResult {
        let bad: Vec<&str> = end
            .services
            .iter()
            .filter(|service| !service.state.is_good())
            .map(|service| service.service.as_str())
            .take(LOGS_KEPT)
            .collect();
        if submission.containers().is_none() || bad.is_empty() {
            return end;
        }
        let environment = submission.environment;
        let Ok(seen) = inspect::containers(self.cx.portainer, environment, &submission.project)
        else {
            return end;
        };
        let log = |service: &str| {
            let containers = seen.containers_of(service);
            // Of several replicas a failed one.
            let worst = containers.iter().find(|one| !one.state().is_good());
            let container = worst.or(containers.first())?;
            self.log_of(environment, &container.id)
                .map(|text| ServiceLog {
                    service: service.to_owned(),
                    text,
                })
        };
        let logs = bad.into_iter().filter_map(log).collect();
        RedeployResult { logs, ..end }
    }

    fn log_of(&self, environment: EnvironmentId, container: &str) -> Option<String> {
        let log = self.cx.portainer.logs(environment, container, LOG_LINES);
        let text = self.redactor.show_log(log.ok()?.trim_end());
        Some(text).filter(|text| !text.is_empty())
    }
}

impl Verdict {
    fn misses_any(&self) -> bool {
        let missing = |service: &ServiceReport| service.state == ServiceState::Missing;
        self.services.iter().any(missing)
    }

    /// The health of the stack, for a message.
    pub(super) fn wellness(&self) -> &'static str {
        let healthy = |service: &ServiceReport| service.state == ServiceState::Healthy;
        if !self.bad_as_before.is_empty() || !self.unfinished.is_empty() {
            "the others are healthy"
        } else if self.services.iter().any(healthy) {
            "all healthy"
        } else {
            "all running"
        }
    }
}

/// Services whose new container runs another image than their reference had when the update was sent: the tag was moved at the same
/// moment. Of a git stack this is not said, because Portainer pulls its images after the inspection.
fn other_image(
    submission: &Submission,
    before: &ContainerSnapshot,
    seen: &ContainerSnapshot,
) -> Option<String> {
    if submission.checkout.is_some() {
        return None;
    }
    let is_new = |one: &&Container| !before.containers.iter().any(|old| old.id == one.id);
    let is_other = |one: &&Container| {
        let sent =
            inspect::reference_of(one).and_then(|reference| submission.images.get(&reference));
        one.state() != ServiceState::Created && sent.is_some_and(|id| *id != one.image_id)
    };
    let others = seen.containers.iter().filter(is_new).filter(is_other);
    let services: BTreeSet<String> = others.map(|one| one.service.clone()).collect();
    let services: Vec<String> = services.into_iter().collect();
    named(
        "not the image that its tag had when the update was sent",
        &services,
    )
}

/// Services that have gone and are not missed: the file does not define them any more, or is not certain.
fn gone(before: &Snapshot, seen: &Snapshot, verdict: &Verdict) -> Option<String> {
    let gone = &before.services() - &seen.services();
    let missed = |service: &String| verdict.bad.contains(service);
    let gone: Vec<String> = gone.into_iter().filter(|one| !missed(one)).collect();
    named("no longer there", &gone)
}

/// Swarm services whose image is not pinned to a digest any more: the registry was not asked, or did not answer.
fn lost_digests(before: &ServiceSnapshot, seen: &ServiceSnapshot) -> Option<String> {
    let lost = seen.services.iter().filter(|service| {
        let old = before.services.iter().find(|old| old.id == service.id);
        old.is_some_and(|old| old.image.contains('@')) && !service.image.contains('@')
    });
    let services = lost
        .map(|service| service.name.clone())
        .collect::<BTreeSet<String>>();
    let services: Vec<String> = services.into_iter().collect();
    (!services.is_empty()).then(|| {
        format!(
            "the registry was not reached for {}: its image has no digest any more, so each node runs whatever image it has; check the registry and its credentials, then redeploy",
            services.join(", ")
        )
    })
}

/// The result of an update for which the registry was not asked.
fn without_digest(verdict: Verdict, why: String) -> Result<RedeployResult, RedeployResult> {
    let result = match verdict.bad.is_empty() {
        true => RedeployResult::new(Outcome::Unknown, why),
        false => RedeployResult::refused(format!(
            "the update was made, but {}; {why}",
            describe(&verdict, &verdict.bad)
        )),
    };
    Err(RedeployResult {
        services: verdict.services,
        bad: verdict.bad,
        verified: Some(false),
        ..result
    })
}

/// The note `what: web, worker`; `None` without services.
fn named(what: &str, services: &[String]) -> Option<String> {
    (!services.is_empty()).then(|| format!("{what}: {}", services.join(", ")))
}

fn unverified(submission: &Submission, why: &str) -> RedeployResult {
    let message = match submission.direction {
        Direction::Update => {
            format!("Portainer took the update; its containers were not verified: {why}")
        }
        Direction::Rollback => format!("its containers were not verified: {why}"),
    };
    RedeployResult {
        verified: Some(false),
        ..RedeployResult::new(Outcome::Updated, message)
    }
}

fn summary(verdict: &Verdict, verb: &str) -> String {
    let recreated: Vec<&ServiceReport> = verdict
        .services
        .iter()
        .filter(|service| service.recreated)
        .collect();
    let same_image: Vec<&str> = recreated
        .iter()
        .filter(|service| !service.new_image)
        .map(|service| service.service.as_str())
        .collect();
    let mut text = format!(
        "{} of {} services {verb}, {}",
        recreated.len(),
        verdict.services.len(),
        verdict.wellness()
    );
    if !same_image.is_empty() {
        text.push_str(&format!(
            "; in a new container with the same image: {}",
            same_image.join(", ")
        ));
    }
    text
}

fn still(text: &str) -> String {
    text.replacen(" is ", " is still ", 1)
}

/// `web is restarting (exit code 3, 5 restarts), worker is exited (exit code 1)`
fn describe(verdict: &Verdict, services: &[String]) -> String {
    let one = |service: &ServiceReport| {
        let reason = verdict.reasons.get(&service.service);
        let state = match (service.state, reason) {
            // Swarm has restored the old tasks, which run.
            (ServiceState::Healthy | ServiceState::Running, Some(reason)) => {
                return format!("{} failed ({reason})", service.service);
            }
            (ServiceState::Healthy, None) => "healthy, but does not stay so",
            (ServiceState::Running, None) => "running, but does not stay so",
            (state, _) => snapshot::name_of(state),
        };
        let mut more = Vec::new();
        more.extend(service.exit_code.map(|code| format!("exit code {code}")));
        more.extend(
            service
                .restarts
                .map(|restarts| format!("{restarts} restarts")),
        );
        more.extend(reason.cloned());
        match more.is_empty() {
            true => format!("{} is {state}", service.service),
            false => format!("{} is {state} ({})", service.service, more.join(", ")),
        }
    };
    let services = verdict
        .services
        .iter()
        .filter(|service| services.contains(&service.service));
    services.map(one).collect::<Vec<_>>().join(", ")
}

/// The services that are not healthy yet, with the state of those that failed.
fn pending(verdict: &Verdict) -> Vec<String> {
    let one = |name: String| {
        let service = verdict.services.iter().find(|one| one.service == name);
        match service.map(|service| (service.state, service.restarts)) {
            Some((ServiceState::Restarting, Some(restarts))) => {
                format!("{name} (restarting, {restarts} restarts)")
            }
            Some((
                state @ (ServiceState::Unhealthy
                | ServiceState::Restarting
                | ServiceState::Exited
                | ServiceState::Created
                | ServiceState::Missing),
                _,
            )) => format!("{name} ({})", snapshot::name_of(state)),
            _ => name,
        }
    };
    verdict.pending().into_iter().map(one).collect()
}
