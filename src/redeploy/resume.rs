//! After a crash: an update that was sent is not sent again; how it ended is found out from what Portainer and the containers show.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use crate::health::{Container, ContainerSnapshot, Snapshot};
use crate::limits;
use crate::portainer::{Record, Status};
use crate::redeploy::find::Found;
use crate::redeploy::{Direction, RedeployResult, Run, Step, Submission, inspect};
use crate::stack::outcome::Outcome;

/// What was found out about an update that nobody watched.
enum FoundOut {
    Done,
    Failed(String),
    /// Nothing can be concluded; why.
    Unclear(String),
}

impl Run<'_> {
    /// The second half alone.
    pub(super) fn resumed(
        &mut self,
        submission: Submission,
    ) -> Result<RedeployResult, RedeployResult> {
        self.lock_stack(submission.id)?;
        self.lock_environment(submission.environment)?;
        self.step(Step::Following);
        let found = self.find_out(&submission);
        match submission.direction {
            Direction::Update => {
                let followed = match found {
                    FoundOut::Done => Ok(()),
                    FoundOut::Failed(why) => Err(self.failed(&submission, why)),
                    FoundOut::Unclear(why) => Err(self.unclear(&submission, &why)),
                };
                self.conclude_sent(submission, followed)
            }
            Direction::Rollback => {
                let end = match found {
                    FoundOut::Done => self.verify(&submission),
                    FoundOut::Failed(_) => self.retry_rollback(&submission),
                    FoundOut::Unclear(why) => Err(self.unclear(&submission, &why)),
                };
                self.remember_sent_back(&submission, &end);
                let failed =
                    "the update failed (stackhook was restarted meanwhile and does not know how)";
                // A rollback was due because an update had failed, so that is what the delivery is told, whatever came of it.
                Err(match end {
                    Ok(back) => RedeployResult {
                        message: format!(
                            "{failed}; the previous images run again, {}",
                            back.message
                        ),
                        services: back.services,
                        verified: back.verified,
                        ..RedeployResult::refused("")
                    },
                    Err(back) => RedeployResult {
                        message: format!("{failed}; it could not be rolled back: {}", back.message),
                        services: back.services,
                        verified: back.verified,
                        ..RedeployResult::refused("")
                    },
                })
            }
        }
    }

    /// By the rule for updates that nobody watched.
    fn find_out(&mut self, submission: &Submission) -> FoundOut {
        let (mut known, mut anew) = (false, false);
        let mut quiet: Option<(Instant, Snapshot)> = None;
        let began = self.cx.clock.now();
        loop {
            let record = self.cx.portainer.stack(submission.id).ok();
            if let Some(record) = record.as_ref().filter(|_| !known) {
                self.recognise(record);
                known = true;
            }
            let deploying = record
                .as_ref()
                .is_some_and(|record| record.status == Status::Deploying);
            anew |= deploying;
            let end = record.and_then(|record| self.ended_unanswered(submission, &record, anew));
            if let Some(end) = end {
                return end.map_or_else(FoundOut::Failed, |()| FoundOut::Done);
            }
            let now = self.cx.clock.now();
            let seen = inspect::again(self.cx.portainer, submission);
            quiet = match (quiet, seen.ok().filter(|_| !deploying)) {
                (Some((since, before)), Some(seen)) if alike(&before, &seen) => Some((since, seen)),
                (_, seen) => seen.map(|seen| (now, seen)),
            };
            let quiet_for = quiet
                .as_ref()
                .map(|(since, _)| now.duration_since(*since))
                .unwrap_or_default();
            if let Some(found) = quiet
                .as_ref()
                .and_then(|(_, seen)| self.conclude_quiet(submission, seen, quiet_for))
            {
                return found;
            }
            let waited = now.duration_since(began);
            if self.left().is_zero() || !deploying && waited >= limits::RESUME {
                return FoundOut::Unclear(format!(
                    "nothing certain was to be seen for {} s",
                    waited.as_secs()
                ));
            }
            self.cx.clock.sleep(limits::FOLLOW_PAUSE.0);
        }
    }

    /// The record is as before: what do containers say that have been as they are for so long?
    fn conclude_quiet(
        &self,
        submission: &Submission,
        seen: &Snapshot,
        quiet_for: Duration,
    ) -> Option<FoundOut> {
        let before = submission.before.as_ref()?;
        let long = quiet_for >= limits::RESUME_QUIET;
        let (Snapshot::Compose(before), Snapshot::Compose(seen)) = (before, seen) else {
            let why = match alike(before, seen) {
                true => "nothing has moved",
                false => HALF,
            };
            return long.then(|| FoundOut::Unclear(why.to_owned()));
        };
        let gone = seen.gone_since(before);
        let ids = |seen: &ContainerSnapshot| -> BTreeSet<String> {
            seen.containers.iter().map(|one| one.id.clone()).collect()
        };
        match submission.direction {
            Direction::Update if !gone.is_empty() && quiet_for >= limits::SETTLE => Some(
                FoundOut::Failed(format!("{} ran and has no container left", gone.join(", "))),
            ),
            _ if !long => None,
            Direction::Update if self.is_down(submission, before) => {
                Some(FoundOut::Failed("the update stopped half way".to_owned()))
            }
            Direction::Update if ids(seen) == ids(before) => {
                Some(FoundOut::Unclear("nothing has moved".to_owned()))
            }
            Direction::Update => Some(FoundOut::Unclear(HALF.to_owned())),
            Direction::Rollback
                if seen.containers.is_empty() || self.is_down(submission, before) =>
            {
                Some(FoundOut::Failed("nothing runs".to_owned()))
            }
            Direction::Rollback => Some(FoundOut::Done),
        }
    }

    fn unclear(&self, submission: &Submission, why: &str) -> RedeployResult {
        let message = format!(
            "stackhook was restarted when it had sent the update, or was about to, and {why}; it is not sent again, look at the stack in Portainer"
        );
        let (_, services) = self.now(submission);
        RedeployResult {
            services,
            ..RedeployResult::new(Outcome::Unknown, message)
        }
    }

    /// What messages about this stack may and may not show.
    fn recognise(&mut self, record: &Record) {
        let environments = self.cx.portainer.environments().unwrap_or_default();
        let environment = environments
            .into_iter()
            .find(|one| one.id == record.environment)
            .map(|one| one.name);
        let file = self.cx.portainer.file(record.id).unwrap_or_default();
        let found = Found {
            unreadable: None,
            record: record.clone(),
            file,
            environment,
        };
        self.know(&found, None);
    }
}

const HALF: &str = "something has changed, but Portainer does not say that the update is done";

/// The same containers doing the same, or the same services with the same tasks.
fn alike(one: &Snapshot, other: &Snapshot) -> bool {
    let glimpse = |seen: &ContainerSnapshot| -> BTreeSet<(String, String, Option<String>)> {
        let glimpse = |one: &Container| (one.id.clone(), one.state.clone(), one.health.clone());
        seen.containers.iter().map(glimpse).collect()
    };
    match (one, other) {
        (Snapshot::Compose(one), Snapshot::Compose(other)) => glimpse(one) == glimpse(other),
        (one, other) => one == other,
    }
}

#[cfg(test)]
mod tests;
