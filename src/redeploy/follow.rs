//! Step 6: how the deployment ends. The answer decides, not Portainer's version; what is ambiguous is never sent again, but looked at.

use std::collections::BTreeSet;

use crate::health::{Container, ContainerSnapshot, Snapshot, snapshot, swarm};
use crate::limits;
use crate::portainer::{Error, Origin, Record, Status};
use crate::redeploy::inspect;
use crate::redeploy::{RedeployResult, Run, Step, Submission};
use crate::secret::{sha256, to_hex};
use crate::stack::outcome::{Fault, Outcome, ServiceReport, ServiceState};

impl Run<'_> {
    /// `Ok`: Portainer says that it is done, or it can be seen; what that is worth is for the verification to tell.
    pub(super) fn follow(
        &self,
        submission: &Submission,
        answer: Result<Record, Error>,
    ) -> Result<(), RedeployResult> {
        match answer {
            Ok(record) => match ended(&record) {
                Some(end) => end.map_err(|why| self.failed(submission, why)),
                None => self.poll(submission, None),
            },
            Err(error @ Error::Interrupted(_)) => self.poll(submission, Some(error)),
            Err(error) => Err(self.failed(submission, error.to_string())),
        }
    }

    /// `None`: still under way. `lost`: the answer to the update did not arrive, so a record as before proves nothing.
    fn poll(&self, submission: &Submission, lost: Option<Error>) -> Result<(), RedeployResult> {
        self.step(Step::Following);
        let (mut pause, mut anew) = (limits::FOLLOW_PAUSE.0, false);
        loop {
            // One look there is also where waiting for the answer has used up the time.
            let last = self.left().is_zero();
            if !last {
                self.cx.clock.sleep(pause);
                pause = (pause * 3 / 2).min(limits::FOLLOW_PAUSE.1);
            }
            // Portainer may be restarting: whatever it cannot say now it may say later.
            if let Ok(record) = self.cx.portainer.stack(submission.id) {
                let under_way = record.status == Status::Deploying;
                anew |= under_way;
                let end = match lost {
                    Some(_) => self.ended_unanswered(submission, &record, anew),
                    None => ended(&record),
                };
                if let Some(end) = end {
                    return end.map_err(|why| self.failed(submission, why));
                }
                if let (Some(lost), false) = (&lost, under_way)
                    && let Some(gone) = self.gone(submission)
                {
                    let gone = gone.join(", ");
                    let why = format!("{lost}; {gone} ran and has no container left");
                    return Err(self.failed(submission, why));
                }
            }
            if last {
                break;
            }
        }
        let why = lost.map_or_else(
            || "Portainer is still deploying".to_owned(),
            |lost| lost.to_string(),
        );
        let (runs, services) = self.now(submission);
        let message = format!(
            "{why}; the time was over before it could be found out how the update ended; {runs}; look at the stack in Portainer"
        );
        Err(RedeployResult {
            services,
            ..RedeployResult::new(Outcome::Unknown, message)
        })
    }

    /// How the update ended, where no answer says that the record tells of it. What it tells of an earlier deployment stays there
    /// until the next one begins: so it counts only with another date or status than before, or `anew`, where a deployment was seen
    /// under way meanwhile.
    pub(super) fn ended_unanswered(
        &self,
        submission: &Submission,
        record: &Record,
        anew: bool,
    ) -> Option<Result<(), String>> {
        let end = ended(record)?;
        let other_status = submission.status.is_some_and(|old| old != record.status);
        let moved = anew || other_status || record.update_date != submission.update_date;
        if submission.forced.is_empty() || record.status == Status::Inactive {
            return moved.then_some(end);
        }
        // Services that are updated one by one leave the record as it is; before them, variables may have failed.
        match self.are_forced(submission) {
            true => Some(Ok(())),
            false => Some(end).filter(|end| moved && end.is_err()),
        }
    }

    /// Whether all services that are updated one by one have been forced once more.
    fn are_forced(&self, submission: &Submission) -> bool {
        let Ok(Snapshot::Swarm(seen)) = inspect::again(self.cx.portainer, submission) else {
            return false;
        };
        submission.forced.iter().all(|(id, before)| {
            let forced = |one: &snapshot::Service| one.id == *id && one.force_update > *before;
            seen.services.iter().any(forced)
        })
    }

    /// Services that ran and of which nothing is left, where that can be seen.
    fn gone(&self, submission: &Submission) -> Option<Vec<String>> {
        let before = submission.containers()?;
        let Ok(Snapshot::Compose(seen)) = inspect::again(self.cx.portainer, submission) else {
            return None;
        };
        Some(seen.gone_since(before)).filter(|gone| !gone.is_empty())
    }

    /// A failed update: what Portainer said, what it stored all the same, and what runs now.
    pub(super) fn failed(&self, submission: &Submission, why: String) -> RedeployResult {
        let mut message = why;
        let stored = self.stored_all_the_same(submission);
        if !stored.is_empty() {
            message.push_str(&format!(
                "; Portainer has stored the new value of {}",
                stored.join(", ")
            ));
        }
        message.push_str(&self.checked_out(submission));
        let (runs, services) = self.now(submission);
        RedeployResult {
            services,
            ..RedeployResult::failed(Fault::Refused, format!("{message}; {runs}"))
        }
    }

    /// What runs now: in words, and service by service.
    pub(super) fn now(&self, submission: &Submission) -> (String, Vec<ServiceReport>) {
        match (
            inspect::again(self.cx.portainer, submission),
            submission.before.as_ref(),
        ) {
            (Ok(Snapshot::Compose(seen)), before) => {
                let before = before
                    .and(submission.containers())
                    .cloned()
                    .unwrap_or_default();
                (runs_now(&before, &seen), with_missing(&before, &seen))
            }
            (Ok(Snapshot::Swarm(seen)), Some(Snapshot::Swarm(before))) => {
                let there = before.names();
                let (within, now) = (self.stack.healthy_within, self.cx.clock.now());
                let services = swarm::Watch::new(before.clone(), there, within, now)
                    .evaluate(now, &seen)
                    .services;
                let which = |fits: &dyn Fn(&&ServiceReport) -> bool| -> BTreeSet<String> {
                    let services = services.iter().filter(fits);
                    services.map(|one| one.service.clone()).collect()
                };
                let gone = &before.names() - &seen.names();
                let words = parts([
                    ("changed all the same", which(&|one| one.recreated)),
                    ("no longer there", which(&|one| gone.contains(&one.service))),
                ]);
                let as_before = || "the services are as before".to_owned();
                (words.unwrap_or_else(as_before), services)
            }
            (Ok(Snapshot::Swarm(_)), _) | (Err(_), _) => {
                ("what runs now cannot be seen".to_owned(), Vec::new())
            }
        }
    }

    /// A git stack whose checkout is ahead of what is deployed: the next redeploy, by whomever, deploys that.
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

    /// The variables whose new values Portainer keeps although the update failed.
    fn stored_all_the_same(&self, submission: &Submission) -> Vec<String> {
        if submission.variables_before.is_empty() {
            return Vec::new();
        }
        let Ok(record) = self.cx.portainer.stack(submission.id) else {
            return Vec::new();
        };
        let stored = record.variables();
        let changed =
            |(name, before): &(&String, &Option<String>)| stored.get(*name) != before.as_ref();
        submission
            .variables_before
            .iter()
            .filter(changed)
            .map(|(name, _)| name.clone())
            .collect()
    }
}

/// How the last deployment ended by what Portainer says of it; `None`: it is under way.
fn ended(record: &Record) -> Option<Result<(), String>> {
    match record.status {
        Status::Deploying => None,
        Status::Active | Status::Unsaid => Some(Ok(())),
        Status::Inactive => Some(Err("the stack was stopped meanwhile".to_owned())),
        Status::Error => {
            let said = record.deployment_message.as_deref();
            let said = said.unwrap_or("Portainer does not say why");
            Some(Err(format!("the deployment failed: {said}")))
        }
    }
}

/// The services as seen, and those that had a container and have none.
fn with_missing(before: &ContainerSnapshot, seen: &ContainerSnapshot) -> Vec<ServiceReport> {
    let mut services = seen.report(before);
    for mut gone in before.report(before) {
        if seen.of(&gone.service).is_empty() {
            gone.state = ServiceState::Missing;
            services.push(gone);
        }
    }
    services
}

/// What runs after an update that has not ended well, in words.
fn runs_now(before: &ContainerSnapshot, seen: &ContainerSnapshot) -> String {
    if seen.containers.is_empty() {
        return match before.containers.is_empty() {
            true => "no container can be seen".to_owned(),
            false => "the stack is down: no container is left".to_owned(),
        };
    }
    let new = |one: &&Container| !before.containers.iter().any(|old| old.id == one.id);
    let services = |fits: &dyn Fn(&&Container) -> bool| -> BTreeSet<String> {
        let containers = seen.containers.iter().filter(|one| fits(one));
        containers.map(|one| one.service.clone()).collect()
    };
    let down = BTreeSet::from_iter(seen.down_since(before));
    let started = services(&|one| new(one) && one.state != "created");
    let waiting = &services(&|one| new(one) && one.state == "created") - &down;
    let words = parts([
        ("down", down),
        ("in a new container", started),
        ("made anew and not started", waiting),
    ]);
    words.unwrap_or_else(|| "the containers are as before".to_owned())
}

/// `down: web, worker; in a new container: db`; `None` where there is nothing to say.
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
