//! Follows an update to its end, live or after a crash. Portainer's answer decides; an update whose answer was lost
//! is never sent again, its end is derived from the stack record and the containers.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use crate::health::{ContainerSnapshot, Roles, Snapshot, snapshot, swarm};
use crate::limits;
use crate::portainer::{Origin, PortainerError, Record, StackStatus, says_engine_is_away};
use crate::redeploy::find::{self, FoundStack};
use crate::redeploy::result::{Culprits, restored};
use crate::redeploy::{AttemptError, Direction, RedeployResult, Run, Step, Submission, inspect};
use crate::secret::{sha256, to_hex};
use crate::stack::outcome::{Fault, Outcome, ServiceReport, ServiceState};

/// The time for which an update that was sent before a crash and is not under way is watched.
const RESUME: Duration = Duration::from_secs(5 * 60);

/// After a crash, containers that have not changed for this long are not expected to change any more.
const RESUME_QUIET: Duration = Duration::from_secs(60);

/// The time for which an inspection is retried after an update was sent, while the engine or Portainer cannot be reached.
const LOOK_PATIENCE: Duration = Duration::from_secs(120);

/// The first pause between two inspections after an update whose result is not known: a Portainer that restarts is
/// away for a second or two.
const FOLLOW_FIRST_PAUSE: Duration = Duration::from_millis(250);

/// The reason for which the end of an update has to be derived.
#[derive(Debug)]
pub(super) enum Watched {
    /// Portainer took the update and deploys it in the background.
    Deploying,
    /// Portainer's answer was lost.
    Lost(PortainerError),
    /// stackhook was restarted after it had recorded the update as sent.
    Resumed,
}

/// The end of an update.
#[derive(Debug)]
pub(super) enum Followed {
    Done,
    /// It failed for this reason.
    Failed(String),
    /// Nothing can be concluded, for this reason.
    Unclear(String),
}

/// A state of record and containers, and the time since which it is the same.
struct Quiet {
    since: Instant,
    record: (i64, StackStatus),
    snapshot: Snapshot,
}

impl Run<'_> {
    /// Follows an update by the answer to it. `Ok`: Portainer reports it as done, or record and containers show it.
    pub(super) fn follow(
        &mut self,
        submission: &Submission,
        answer: Result<Record, PortainerError>,
    ) -> Result<(), RedeployResult> {
        let watched = match answer {
            Ok(record) => match deployment_result(&record) {
                Some(end) => return end.map_err(|why| self.failed(submission, why)),
                None => Watched::Deploying,
            },
            Err(error @ PortainerError::Interrupted(_)) => Watched::Lost(error),
            Err(error) => return Err(self.failed(submission, error.to_string())),
        };
        match self.watch_deployment(submission, &watched) {
            Followed::Done => Ok(()),
            Followed::Failed(why) => Err(self.failed(submission, why)),
            Followed::Unclear(why) => Err(self.unclear(submission, &watched, &why)),
        }
    }

    /// Polls the record, and without an answer from Portainer also the containers, until the end of the update is known.
    pub(super) fn watch_deployment(
        &mut self,
        submission: &Submission,
        watched: &Watched,
    ) -> Followed {
        self.step(Step::Following);
        self.answer_lost |= matches!(watched, Watched::Lost(_));
        let began = self.cx.clock.now();
        let (mut pause, mut has_begun, mut knows_names) = (FOLLOW_FIRST_PAUSE, false, false);
        let mut quiet: Option<Quiet> = None;
        // A closed connection, too, shows that a process between here and the engine has ended.
        let mut was_away = match watched {
            Watched::Deploying => false,
            Watched::Lost(error) => error.connection_was_closed(),
            Watched::Resumed => true,
        };
        loop {
            // Waiting for the answer may have used up the time; the record is read once all the same.
            let last = self.left().is_zero();
            let record = match self.cx.portainer.stack(submission.id) {
                Ok(record) => Some(record),
                Err(error) => {
                    was_away |= error.is_away() || matches!(error, PortainerError::Denied(_));
                    None
                }
            };
            if let Some(record) = record.as_ref().filter(|_| !knows_names) {
                knows_names = true;
                if matches!(watched, Watched::Resumed) {
                    self.learn_names(record);
                }
            }
            if was_away {
                // Probably nothing of this stack is under way any more; other stacks need not wait until that is certain.
                self.locks.environment = None;
            }
            let uncertain = was_away || !matches!(watched, Watched::Deploying);
            let deploying = record
                .as_ref()
                .is_some_and(|record| record.status == StackStatus::Deploying);
            has_begun |= deploying;
            let end = record.as_ref().and_then(|record| match uncertain {
                true => self.unanswered_result(submission, record, has_begun),
                false => deployment_result(record),
            });
            if let Some(end) = end {
                return end.map_or_else(Followed::Failed, |()| Followed::Done);
            }
            let now = self.cx.clock.now();
            if let Some(record) = record.as_ref().filter(|_| uncertain && !deploying) {
                match inspect::take_snapshot(self.cx.portainer, submission) {
                    Ok(snapshot) => {
                        let record = (record.update_date, record.status);
                        let same = |quiet: &Quiet| {
                            quiet.record == record && is_alike(&quiet.snapshot, &snapshot)
                        };
                        let since = quiet.as_ref().filter(|quiet| same(quiet));
                        let since = since.map_or(now, |quiet| quiet.since);
                        let for_time = now.duration_since(since);
                        if let Some(found) =
                            self.conclude_quiet(submission, &snapshot, for_time, was_away)
                        {
                            return found;
                        }
                        quiet = Some(Quiet {
                            since,
                            record,
                            snapshot,
                        });
                    }
                    Err(_) => quiet = None,
                }
            } else {
                quiet = None;
            }
            let waited = now.duration_since(began);
            if last {
                return Followed::Unclear("the time was over before its end was known".to_owned());
            }
            if matches!(watched, Watched::Resumed) && !deploying && waited >= RESUME {
                return Followed::Unclear(format!(
                    "there was no conclusive state after {} s",
                    waited.as_secs()
                ));
            }
            self.cx.clock.sleep(pause);
            pause = (pause * 3 / 2).min(limits::FOLLOW_PAUSE.1);
        }
    }

    /// Decides from containers that have been the same for `quiet_for`, while the record has not changed. A Portainer that was not away
    /// may still be working; then only containers that it has removed count.
    fn conclude_quiet(
        &self,
        submission: &Submission,
        snapshot: &Snapshot,
        quiet_for: Duration,
        was_away: bool,
    ) -> Option<Followed> {
        let before = submission.before.as_ref()?;
        let long = quiet_for >= RESUME_QUIET && was_away;
        let (Snapshot::Compose(before), Snapshot::Compose(now)) = (before, snapshot) else {
            let is_down = || self.is_down_in(submission, snapshot);
            return long.then(|| match is_alike(before, snapshot) {
                true => Followed::Unclear(NOTHING_MOVED.to_owned()),
                false if is_down() => Followed::Failed(INTERRUPTED.to_owned()),
                false => Followed::Unclear(HALF_DONE.to_owned()),
            });
        };
        let is_down = || self.is_down_in(submission, snapshot);
        let gone = now.gone_since(before, &submission.roles);
        match submission.direction {
            Direction::Update if !gone.is_empty() && quiet_for >= limits::SETTLE => {
                Some(Followed::Failed(format!(
                    "{} ran before and has no container left",
                    gone.join(", ")
                )))
            }
            _ if !long => None,
            Direction::Update if is_down() => Some(Followed::Failed(INTERRUPTED.to_owned())),
            Direction::Update if ids(now) == ids(before) => {
                Some(Followed::Unclear(NOTHING_MOVED.to_owned()))
            }
            Direction::Update => Some(Followed::Unclear(HALF_DONE.to_owned())),
            Direction::Rollback if now.containers.is_empty() || is_down() => {
                Some(Followed::Failed("nothing runs".to_owned()))
            }
            Direction::Rollback => Some(Followed::Done),
        }
    }

    /// The result of an update whose answer was lost, by the stack record. An old status stays there until the next deployment
    /// begins, so it only counts if its date or value changed, or if a deployment was seen to begin (`has_begun`).
    pub(super) fn unanswered_result(
        &self,
        submission: &Submission,
        record: &Record,
        has_begun: bool,
    ) -> Option<Result<(), String>> {
        let end = deployment_result(record)?;
        let other_status = submission.status.is_some_and(|old| old != record.status);
        let moved = has_begun || other_status || record.update_date != submission.update_date;
        if submission.forced.is_empty() || record.status == StackStatus::Inactive {
            return moved.then_some(end);
        }
        // An update of single services leaves the record as it is; the variables before them may have failed.
        match self.are_forced(submission) {
            true => Some(Ok(())),
            false => Some(end).filter(|end| moved && end.is_err()),
        }
    }

    /// Returns true if all services that are updated one by one have been forced once more.
    fn are_forced(&self, submission: &Submission) -> bool {
        let Ok(Snapshot::Swarm(now)) = inspect::take_snapshot(self.cx.portainer, submission) else {
            return false;
        };
        submission.forced.iter().all(|(id, before)| {
            let forced = |service: &snapshot::SwarmService| {
                service.id == *id && service.force_update > *before
            };
            now.services.iter().any(forced)
        })
    }

    /// Repeats a call for a while when Portainer, the environment or its engine cannot be reached: after something was submitted, one
    /// failed call must not decide. Failures in that time are not an image's fault.
    pub(super) fn patiently<T>(
        &self,
        call: impl Fn() -> Result<T, PortainerError>,
    ) -> Result<T, PortainerError> {
        let began = self.cx.clock.now();
        loop {
            match call() {
                // Another deployment locks Portainer's database.
                Err(PortainerError::Busy(_)) if !self.left().is_zero() => {
                    self.cx.clock.sleep(limits::FOLLOW_PAUSE.0);
                }
                Err(error) if error.is_away() => {
                    self.note_absence();
                    let waited = self.cx.clock.now().duration_since(began);
                    if waited >= LOOK_PATIENCE {
                        return Err(error);
                    }
                    self.cx.clock.sleep(limits::FOLLOW_PAUSE.0);
                }
                answer => return answer,
            }
        }
    }

    /// The stack as it is now; inspected again for a while if it cannot be seen.
    pub(super) fn snapshot_patiently(
        &self,
        submission: &Submission,
    ) -> Result<Snapshot, PortainerError> {
        self.patiently(|| inspect::take_snapshot(self.cx.portainer, submission))
    }

    /// The result of an update whose end is not known.
    pub(super) fn unclear(
        &self,
        submission: &Submission,
        watched: &Watched,
        why: &str,
    ) -> RedeployResult {
        let why = match watched {
            Watched::Deploying => format!("Portainer is still deploying; {why}"),
            Watched::Lost(error) => format!("{error}; {why}"),
            Watched::Resumed => format!(
                "stackhook was restarted when it had sent the update, or was about to, and {why}"
            ),
        };
        let (runs, services, _) = self.describe_now(submission);
        RedeployResult {
            services,
            now: Some(runs),
            ..RedeployResult::new(
                Outcome::Unknown,
                format!("{why}; it is not sent again, check the stack in Portainer"),
            )
        }
    }

    /// The result of a failed update, with Portainer's reason and the services that run now.
    pub(super) fn failed(&self, submission: &Submission, why: String) -> RedeployResult {
        if says_engine_is_away(&why) {
            self.note_absence();
        }
        let (runs, services, snapshot) = self.describe_now(submission);
        let culprits = Culprits::of_deployment(&why, submission, snapshot.as_ref(), &services);
        let message = format!("{why}{}", self.checked_out(submission));
        RedeployResult {
            services,
            culprits,
            now: Some(runs),
            ..RedeployResult::failed(Fault::Refused, message)
        }
    }

    /// The stack as it is now: in words, service by service, and as a snapshot.
    fn describe_now(
        &self,
        submission: &Submission,
    ) -> (String, Vec<ServiceReport>, Option<Snapshot>) {
        let roles = &submission.roles;
        match (
            self.snapshot_patiently(submission),
            submission.before.as_ref(),
        ) {
            (Ok(Snapshot::Compose(now)), before) => {
                let before = before
                    .and(submission.containers())
                    .cloned()
                    .unwrap_or_default();
                let text = runs_now(&before, &now, roles);
                let services = with_missing(&before, &now, roles);
                (text, services, Some(Snapshot::Compose(now)))
            }
            (Ok(Snapshot::Swarm(seen)), Some(Snapshot::Swarm(before))) => {
                let there = before.names();
                let (within, now) = (self.stack.healthy_within, self.cx.clock.now());
                let services = swarm::ServiceWatch::new(before.clone(), there, within, now)
                    .evaluate(now, &seen)
                    .services;
                let which = |fits: &dyn Fn(&&ServiceReport) -> bool| -> BTreeSet<String> {
                    let services = services.iter().filter(fits);
                    services.map(|service| service.service.clone()).collect()
                };
                let gone = &before.names() - &seen.names();
                let text = parts([
                    ("changed nevertheless", which(&|one| one.recreated)),
                    ("no longer there", which(&|one| gone.contains(&one.service))),
                ]);
                let as_before = || "the services are as before".to_owned();
                let text = text.unwrap_or_else(as_before);
                (text, services, Some(Snapshot::Swarm(seen)))
            }
            (Ok(Snapshot::Swarm(_)), _) | (Err(_), _) => {
                ("what runs now cannot be seen".to_owned(), Vec::new(), None)
            }
        }
    }

    /// The addition to a message if the checkout of a git stack is ahead of the deployed commit: the next redeploy deploys it.
    fn checked_out(&self, submission: &Submission) -> String {
        let Some((commit, file)) = &submission.checkout else {
            return String::new();
        };
        let (Ok(record), Ok(now)) = (
            self.cx.portainer.stack(submission.id),
            self.cx.portainer.file(submission.id),
        ) else {
            return String::new();
        };
        let deployed =
            matches!(record.origin(), Origin::Git { config_hash, .. } if config_hash != *commit);
        match deployed || to_hex(&sha256(&[now.as_bytes()])) == *file {
            true => String::new(),
            false => {
                format!("; Portainer has checked out a newer file, but deployed is commit {commit}")
            }
        }
    }

    /// Notes the variables that Portainer keeps with their new values although the update failed, and that no rollback has restored.
    pub(super) fn note_stored_variables(&mut self, submission: &Submission) {
        if submission.variables_before.is_empty() {
            return;
        }
        let Ok(record) = self.cx.portainer.stack(submission.id) else {
            return;
        };
        let now = record.variables();
        let stored: Vec<&str> = submission
            .variables_before
            .iter()
            .filter(|(name, before)| now.get(*name) != before.as_ref())
            .map(|(name, _)| name.as_str())
            .collect();
        if !stored.is_empty() {
            self.notes.push(format!(
                "Portainer has stored the new value of {}",
                stored.join(", ")
            ));
        }
    }

    /// Learns the texts that messages about this stack may and may not show.
    fn learn_names(&mut self, record: &Record) {
        let environments = self.cx.portainer.environments().unwrap_or_default();
        let environment = environments
            .into_iter()
            .find(|environment| environment.id == record.environment)
            .map(|environment| environment.name);
        let file = self.cx.portainer.file(record.id).unwrap_or_default();
        let found = FoundStack {
            unreadable: None,
            record: record.clone(),
            file,
            environment,
        };
        self.update_redactor(&found, None);
    }

    /// Finds out the result of an update that was sent before stackhook was restarted.
    pub(super) fn resume_submission(
        &mut self,
        submission: Submission,
    ) -> Result<RedeployResult, RedeployResult> {
        self.lock_stack(submission.id)?;
        self.lock_environment(submission.environment)?;
        let followed = self.watch_deployment(&submission, &Watched::Resumed);
        match submission.direction {
            Direction::Update => {
                let followed = match followed {
                    Followed::Done => Ok(()),
                    Followed::Failed(why) => Err(self.failed(&submission, why)),
                    Followed::Unclear(why) => {
                        Err(self.unclear(&submission, &Watched::Resumed, &why))
                    }
                };
                self.conclude_sent(submission, followed)
            }
            Direction::Rollback => {
                let end = match followed {
                    Followed::Done => self.verify(&submission),
                    Followed::Failed(_) => self.retry_rollback(&submission),
                    Followed::Unclear(why) => {
                        Err(self.unclear(&submission, &Watched::Resumed, &why))
                    }
                };
                self.remember_rollback(&submission, &end);
                let failed = "the update failed (stackhook was restarted meanwhile and does not know the reason)";
                let restored = restored(submission.is_restart(), &end);
                let (Ok(back) | Err(back)) = end;
                // A rollback was needed because an update had failed, so the delivery failed, whatever the result of the rollback.
                Err(RedeployResult {
                    message: format!("{failed}; {restored} {}", back.message),
                    services: back.services,
                    verified: back.verified,
                    ..RedeployResult::refused("")
                })
            }
        }
    }

    /// The stack, found again after a while if Portainer cannot be reached.
    pub(super) fn find_patiently(&self) -> Result<FoundStack, RedeployResult> {
        let began = self.cx.clock.now();
        loop {
            match find::find(self.cx.portainer, self.stack) {
                Err(AttemptError::Away(_))
                    if self.cx.clock.now().duration_since(began) < LOOK_PATIENCE =>
                {
                    self.note_absence();
                    self.cx.clock.sleep(limits::FOLLOW_PAUSE.0);
                }
                found => return found.map_err(AttemptError::into_result),
            }
        }
    }
}

const INTERRUPTED: &str = "the update was interrupted half-way";
const NOTHING_MOVED: &str = "nothing has changed";
const HALF_DONE: &str = "something has changed, but Portainer does not report the update as done";

fn ids(snapshot: &ContainerSnapshot) -> BTreeSet<&str> {
    let containers = snapshot.containers.iter();
    containers.map(|container| container.id.as_str()).collect()
}

/// The same containers in the same states, or the same services with the same tasks.
fn is_alike(one: &Snapshot, other: &Snapshot) -> bool {
    let states = |snapshot: &ContainerSnapshot| -> BTreeSet<(String, String, Option<String>)> {
        let containers = snapshot.containers.iter();
        containers
            .map(|one| (one.id.clone(), one.state.clone(), one.health.clone()))
            .collect()
    };
    match (one, other) {
        (Snapshot::Compose(one), Snapshot::Compose(other)) => states(one) == states(other),
        (one, other) => one == other,
    }
}

/// The result of the last deployment by the stack record; `None` while it is under way.
fn deployment_result(record: &Record) -> Option<Result<(), String>> {
    match record.status {
        StackStatus::Deploying => None,
        StackStatus::Active | StackStatus::Unspecified => Some(Ok(())),
        StackStatus::Inactive => Some(Err("the stack was stopped meanwhile".to_owned())),
        StackStatus::Error => {
            let message = record.deployment_message.as_deref();
            let why = message.unwrap_or("Portainer gives no reason");
            Some(Err(format!("the deployment failed: {why}")))
        }
    }
}

/// The services of the snapshot, and those that had a container before and have none now.
fn with_missing(
    before: &ContainerSnapshot,
    now: &ContainerSnapshot,
    roles: &Roles,
) -> Vec<ServiceReport> {
    let mut services = now.report(before, roles);
    for gone in before.report(before, roles) {
        if now.containers_of(&gone.service).is_empty() {
            services.push(ServiceReport {
                state: ServiceState::Missing,
                ..gone
            });
        }
    }
    services
}

/// The services that run after an update that failed, in words.
fn runs_now(before: &ContainerSnapshot, now: &ContainerSnapshot, roles: &Roles) -> String {
    if now.containers.is_empty() {
        return match before.containers.is_empty() {
            true => "no container can be seen".to_owned(),
            false => "the stack is down: no container is left".to_owned(),
        };
    }
    let new = |one: &&snapshot::Container| !before.containers.iter().any(|old| old.id == one.id);
    let services = |fits: &dyn Fn(&&snapshot::Container) -> bool| -> BTreeSet<String> {
        let containers = now.containers.iter().filter(|one| fits(one));
        containers.map(|one| one.service.clone()).collect()
    };
    let down: BTreeSet<String> = now.down_since(before, roles).into_iter().collect();
    let started = services(&|one| new(one) && one.state != "created");
    let waiting = &services(&|one| new(one) && one.state == "created") - &down;
    let text = parts([
        ("down", down),
        ("in a new container", started),
        ("created and not started", waiting),
    ]);
    text.unwrap_or_else(|| "the containers are as before".to_owned())
}

/// `down: web, worker; in a new container: db`; `None` if all parts are empty.
fn parts<const N: usize>(parts: [(&str, BTreeSet<String>); N]) -> Option<String> {
    let parts: Vec<String> = parts
        .into_iter()
        .filter(|(_, services)| !services.is_empty())
        .map(|(what, services)| {
            let services: Vec<String> = services.into_iter().collect();
            format!("{what}: {}", services.join(", "))
        })
        .collect();
    (!parts.is_empty()).then(|| parts.join("; "))
}

#[cfg(test)]
mod tests;
