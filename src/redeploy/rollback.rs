//! Restores the previous images: automatically when an update took the stack down, or when a person asks for it. A stack that cannot
//! be rolled back, or must not be, is started again by one submit of the same content if nothing in that is at fault.

use std::collections::{BTreeMap, BTreeSet};

use crate::health::{ContainerSnapshot, Roles, Snapshot};
use crate::image::Reference;
use crate::portainer::{EnvironmentId, Update};
use crate::redeploy::record::moved;
use crate::redeploy::result::{Culprits, restored};
use crate::redeploy::submission::Blame;
use crate::redeploy::submit::{PinnedTags, Sent};
use crate::redeploy::verify::ABSENT;
use crate::redeploy::{
    AttemptError, Direction, RedeployResult, Run, Step, Submission, find, inspect,
};
use crate::stack::RollBack;
use crate::stack::outcome::Outcome;

/// The state that a rollback or restart leads to.
#[derive(Clone)]
struct Goal {
    environment: EnvironmentId,
    /// The containers or services now, or when the failed update was sent.
    before: Snapshot,
    expected: BTreeSet<String>,
    roles: Roles,
    /// Empty, like `variables`, for a restart.
    images: BTreeMap<Reference, String>,
    /// The ids that the failed update moved them to: after a crash in the middle of a rollback, the references do not show these.
    newer: BTreeMap<Reference, String>,
    variables: BTreeMap<String, Option<String>>,
    /// References whose tags a restart leaves as they are; those of all other running images are pinned.
    unpinned: BTreeSet<Reference>,
    /// The images and values that are blocked afterwards; `None`: all that are rolled back, because a person asked for it.
    blame: Option<Blame>,
}

impl Goal {
    /// Returns true if it is the state of the failed update itself.
    fn is_restart(&self) -> bool {
        self.images.is_empty() && self.variables.is_empty()
    }
}

impl Run<'_> {
    /// Rolls back because a person asks for it.
    pub(super) fn rollback_on_request(&mut self) -> Result<RedeployResult, RedeployResult> {
        self.step(Step::Finding);
        let unsent = |error: AttemptError| match error {
            AttemptError::Over(end) => end,
            error => {
                let end = error.into_result();
                RedeployResult {
                    message: format!("{}; nothing was sent", end.message),
                    ..end
                }
            }
        };
        let found = find::find(self.cx.portainer, self.stack).map_err(unsent)?;
        self.update_redactor(&found, None);
        // Tells the observer the stack's id. A rollback ignores pauses.
        let _ = self.cx.observer.pause(Some(found.record.id));
        self.lock_stack(found.record.id)?;
        let record = self.cx.memory.recall(found.record.id);
        if record.previous.is_empty() && record.previous_variables.is_empty() {
            let why = match self.cx.memory.lasts() {
                true => "cannot roll back: no update of this stack is remembered",
                false => "cannot roll back: nothing is kept without a state_dir",
            };
            return Err(RedeployResult::refused(why));
        }
        if !found.can_roll_back() {
            return Err(RedeployResult::refused(
                "cannot roll back: only compose stacks whose file Portainer keeps can be rolled back",
            ));
        }
        let environment = found.record.environment;
        self.lock_environment(environment)?;
        let before = inspect::containers(self.cx.portainer, environment, &found.record.project())
            .map_err(|error| unsent(error.into()))?;
        let roles = self.roles_of(&found);
        let (own, _) = before.split(&roles);
        let goal = Goal {
            environment,
            expected: own.services(),
            before: Snapshot::Compose(before),
            roles,
            images: record.previous,
            newer: BTreeMap::new(),
            variables: record.previous_variables,
            unpinned: BTreeSet::new(),
            blame: None,
        };
        let end = self.deploy_goal(&goal);
        let restored = restored(false, &end);
        end.map(|end| RedeployResult {
            outcome: Outcome::Updated,
            message: format!("{restored} {}", end.message),
            ..end
        })
    }

    /// The roles of the services of the file that Portainer has; none where it is not certain.
    fn roles_of(&self, found: &find::FoundStack) -> Roles {
        let wanted = crate::compose::read(
            &found.file,
            &find::compose_variables(&found.record, &BTreeMap::new()),
        );
        let services = wanted.ok().filter(|_| !found.record.has_more_files);
        let services = services.into_iter().flat_map(|wanted| wanted.services);
        Roles(services.map(|(name, wants)| (name, wants.role)).collect())
    }

    /// Rolls back after a failed update if the settings ask for it and it is possible. Otherwise a stack that is down is started again,
    /// unless its own content is at fault. The reply tells both.
    pub(super) fn rollback_if_needed(
        &mut self,
        submission: &Submission,
        failed: RedeployResult,
    ) -> RedeployResult {
        let Some(before) = submission
            .before
            .as_ref()
            .filter(|_| submission.direction == Direction::Update)
            // An update whose end is not known may still be under way.
            .filter(|_| failed.outcome == Outcome::Failed)
        else {
            return failed;
        };
        let mut goal = Goal {
            environment: submission.environment,
            before: before.clone(),
            expected: submission.expected.clone(),
            roles: submission.roles.clone(),
            images: moved(submission),
            newer: submission.images.clone(),
            variables: submission.variables_before.clone(),
            unpinned: BTreeSet::new(),
            blame: Some(self.blame(submission, &failed)),
        };
        let down = || self.is_down(submission);
        let may_roll_back = submission.can_roll_back && self.stack.rollback != RollBack::Never;
        let is_unhealthy = || {
            self.stack.rollback == RollBack::WhenUnhealthy
                && failed.verified == Some(true)
                && !goal.is_restart()
        };
        let needed = match may_roll_back {
            true => is_unhealthy() || down(),
            false => self.may_restart(submission, &failed) && down(),
        };
        if !needed {
            return failed;
        }
        if !may_roll_back {
            // After an update of the whole stack, every tag names the image that belongs to it.
            goal.unpinned = match submission.expected.is_empty() {
                true => references_of(before),
                false => goal.images.into_keys().collect(),
            };
            (goal.images, goal.variables) = (BTreeMap::new(), BTreeMap::new());
            goal.blame = Some(Blame::default());
            self.notes.retain(|note| !note.starts_with(ABSENT));
        }
        self.answer_lost = false;
        let mut end = self.deploy_goal(&goal);
        // The engine or Portainer may have gone away in the middle of the rollback, too.
        let interrupted = self.answer_lost || self.was_absent();
        if end.is_err() && interrupted && self.is_down(submission) {
            end = self.deploy_goal(&goal);
        }
        let restored = restored(goal.is_restart(), &end);
        let is_done = end.is_ok();
        let (Ok(back) | Err(back)) = end;
        let is_known = is_done || !back.services.is_empty();
        RedeployResult {
            message: format!("{}; {restored} {}", failed.message, back.message),
            services: if is_known {
                back.services
            } else {
                failed.services
            },
            now: back.now.or(failed.now).filter(|_| !is_done),
            ..failed
        }
    }

    /// Returns true if the content of a failed update may run when it is submitted again: nothing in it is known to be at fault.
    fn may_restart(&self, submission: &Submission, failed: &RedeployResult) -> bool {
        let is_blameless = || match &failed.culprits {
            Culprits::Unknown => true,
            Culprits::Services(services) if services.is_empty() => true,
            // Portainer pulls the images of a git stack, so that they may be newer.
            Culprits::SomeImage | Culprits::Services(_) => {
                failed.verified != Some(true)
                    && submission.checkout.is_none()
                    && moved(submission).is_empty()
                    && submission.variables_before.is_empty()
            }
        };
        self.was_absent() || is_blameless()
    }

    /// Repeats a rollback that was sent before a crash and of which nothing can be seen.
    pub(super) fn retry_rollback(
        &mut self,
        submission: &Submission,
    ) -> Result<RedeployResult, RedeployResult> {
        let goal = Goal {
            environment: submission.environment,
            before: submission
                .before
                .clone()
                .unwrap_or_else(|| Snapshot::Compose(ContainerSnapshot::default())),
            expected: submission.expected.clone(),
            roles: submission.roles.clone(),
            images: submission.images.clone(),
            newer: moved_to(submission),
            variables: submission.variables_before.clone(),
            unpinned: submission.images_before.keys().cloned().collect(),
            blame: Some(submission.blame.clone()),
        };
        self.deploy_goal(&goal)
    }

    /// Records a rollback that was sent before a crash, as one that was not cut short is recorded.
    pub(super) fn remember_rollback(
        &mut self,
        submission: &Submission,
        end: &Result<RedeployResult, RedeployResult>,
    ) {
        let unix = self.cx.clock.unix();
        self.remember(submission.id, |record| match submission.is_restart() {
            true => record.restarted(end),
            false => record.rolled_back(&submission.blame, &submission.images, unix, end),
        });
    }

    /// Returns true if a service that ran has no running container now and did not complete, or a Swarm service is gone.
    fn is_down(&self, submission: &Submission) -> bool {
        let now = self.snapshot_patiently(submission);
        now.is_ok_and(|now| self.is_down_in(submission, &now))
    }

    /// The same, of a snapshot.
    pub(super) fn is_down_in(&self, submission: &Submission, now: &Snapshot) -> bool {
        let (expected, roles) = self.requirements(submission);
        let down: Vec<String> = match (&submission.before, now) {
            (Some(Snapshot::Compose(before)), Snapshot::Compose(now)) => {
                now.down_since(before, &roles)
            }
            (Some(Snapshot::Swarm(before)), Snapshot::Swarm(now)) => {
                (&before.names() - &now.names()).into_iter().collect()
            }
            _ => return false,
        };
        // Without a certain file, everything that ran is missed.
        let is_missed = |service: &String| expected.is_empty() || expected.contains(service);
        down.iter().any(is_missed)
    }

    /// Submits the goal, follows and verifies it. Every image must still be on the host before anything is touched.
    fn deploy_goal(&mut self, goal: &Goal) -> Result<RedeployResult, RedeployResult> {
        self.lock_environment(goal.environment)?;
        // The failed update may have used up the time.
        self.locks.since = Some(self.cx.clock.now());
        self.step(match goal.is_restart() {
            true => Step::Restarting,
            false => Step::RollingBack,
        });
        // Not before it has its lock: a person may have changed the stack while it waited.
        let found = self.find_patiently()?;
        let newer = self.newer_ids(goal)?;
        let others = self.used_by_others(&found.record.project(), goal.environment, &newer)?;
        let portainer = self.cx.portainer;
        let mut tagged = BTreeMap::new();
        for (reference, id) in &goal.images {
            if let Err(error) = self.patiently(|| portainer.tag(goal.environment, id, reference)) {
                self.notes
                    .extend(PinnedTags::new(tagged).release(portainer, goal.environment));
                return Err(RedeployResult::refused(format!(
                    "cannot roll back: {error}"
                )));
            }
            tagged.extend(
                newer
                    .get(reference)
                    .map(|id| (reference.clone(), id.clone())),
            );
        }
        tagged.retain(|reference, _| others.contains(reference));
        let mut forward = tagged;
        forward.extend(self.pin_the_rest(goal));
        let blame = goal.blame.clone().unwrap_or_else(|| Blame {
            images: newer.clone(),
            ..Blame::default()
        });
        let sent = self.submit_rollback(&found, goal, &newer, &blame);
        let end = sent.and_then(|sent| {
            self.follow(&sent.submission, sent.answer)?;
            self.verify(&sent.submission)
        });
        self.notes
            .extend(PinnedTags::new(forward).release(portainer, goal.environment));
        let unix = self.cx.clock.unix();
        self.remember(found.record.id, |record| match goal.is_restart() {
            true => record.restarted(&end),
            false => record.rolled_back(&blame, &goal.images, unix, &end),
        });
        end
    }

    /// Also pins services outside the update to their previous image during the submit, even if their tag was moved. Returns the ids
    /// that the tags get again afterwards. A tag that cannot be pinned is a note: a newer image is better than none.
    fn pin_the_rest(&mut self, goal: &Goal) -> BTreeMap<Reference, String> {
        let mut forward = BTreeMap::new();
        let Snapshot::Compose(before) = &goal.before else {
            return forward;
        };
        for container in &before.containers {
            let Some(reference) = inspect::reference_of(container) else {
                continue;
            };
            let known = goal.images.contains_key(&reference)
                || goal.unpinned.contains(&reference)
                || forward.contains_key(&reference);
            if known || reference.digest().is_some() {
                continue;
            }
            let portainer = self.cx.portainer;
            let tagged = portainer
                .image(goal.environment, &reference.familiar())
                .and_then(|now| {
                    let newer = now.map(|now| now.id).filter(|id| *id != container.image_id);
                    if newer.is_some() {
                        portainer.tag(goal.environment, &container.image_id, &reference)?;
                    }
                    Ok(newer)
                });
            match tagged {
                Ok(newer) => forward.extend(newer.map(|id| (reference, id))),
                Err(error) => self.notes.push(format!(
                    "{} may run a newer image now: {error}",
                    container.service
                )),
            }
        }
        forward
    }

    /// The ids that the references have now.
    fn newer_ids(&self, goal: &Goal) -> Result<BTreeMap<Reference, String>, RedeployResult> {
        let mut newer = BTreeMap::new();
        let image = |text: &str| {
            self.patiently(|| self.cx.portainer.image(goal.environment, text))
                .map_err(|error| RedeployResult::refused(format!("cannot roll back: {error}")))
        };
        for (reference, id) in &goal.images {
            if image(id)?.is_none() {
                return Err(RedeployResult::refused(format!(
                    "cannot roll back: the image that {} was before is gone from the host",
                    reference.familiar()
                )));
            }
            let moved = image(&reference.familiar())?
                .map(|now| now.id)
                .filter(|now| now != id);
            let known = || {
                goal.newer
                    .get(reference)
                    .cloned()
                    .filter(|known| known != id)
            };
            newer.extend(moved.or_else(known).map(|newer| (reference.clone(), newer)));
        }
        Ok(newer)
    }

    /// The references that containers of other stacks run with the newer id. For a user who cannot see all containers these are all of
    /// them: giving a tag back does no harm if no other stack uses it.
    fn used_by_others(
        &mut self,
        project: &str,
        environment: EnvironmentId,
        newer: &BTreeMap<Reference, String>,
    ) -> Result<BTreeSet<Reference>, RedeployResult> {
        if newer.is_empty() || !self.is_administrator() {
            return Ok(newer.keys().cloned().collect());
        }
        let all = self
            .patiently(|| self.cx.portainer.all_containers(environment))
            .map_err(|error| RedeployResult::refused(format!("cannot roll back: {error}")))?;
        let foreign = all.iter().filter(|one| one.labels.project != project);
        let ids: Vec<&str> = foreign.map(|one| one.image_id.as_str()).collect();
        let used = newer.iter().filter(|(_, id)| ids.contains(&id.as_str()));
        Ok(used.map(|(reference, _)| reference.clone()).collect())
    }

    /// Submits file and variables as Portainer has them now, with the old values of those that the update set, without a pull.
    fn submit_rollback(
        &self,
        found: &find::FoundStack,
        goal: &Goal,
        newer: &BTreeMap<Reference, String>,
        blame: &Blame,
    ) -> Result<Sent, RedeployResult> {
        let variables = goal.variables.iter();
        let set: BTreeMap<String, String> = variables
            .clone()
            .filter_map(|(name, value)| Some((name.clone(), value.clone()?)))
            .collect();
        let gone = variables.filter(|(_, value)| value.is_none());
        let gone: Vec<&str> = gone.map(|(name, _)| name.as_str()).collect();
        let update = || Update::new(&found.record, &found.file, &set, false).without(&gone);
        // A restart stores the references whose tags it leaves as they are.
        let unpinned = goal
            .unpinned
            .iter()
            .map(|reference| (reference.clone(), None));
        let images_before = newer.iter();
        let submission = Submission {
            direction: Direction::Rollback,
            before: Some(goal.before.clone()),
            expected: goal.expected.clone(),
            roles: goal.roles.clone(),
            images_before: images_before
                .map(|(reference, id)| (reference.clone(), Some(id.clone())))
                .chain(unpinned)
                .collect(),
            images: goal.images.clone(),
            variables_before: goal.variables.clone(),
            blame: blame.clone(),
            ..Submission::new(&found.record)
        };
        self.send(submission, |_| {
            self.cx.portainer.update(update(), self.left())
        })
        .map_err(AttemptError::into_result)
    }
}

/// The references that the containers of a snapshot were made from.
fn references_of(snapshot: &Snapshot) -> BTreeSet<Reference> {
    match snapshot {
        Snapshot::Compose(seen) => {
            let containers = seen.containers.iter();
            containers.filter_map(inspect::reference_of).collect()
        }
        Snapshot::Swarm(_) => BTreeSet::new(),
    }
}

/// The ids that the references of a rollback had before it.
fn moved_to(submission: &Submission) -> BTreeMap<Reference, String> {
    let known = submission.images_before.iter();
    known
        .filter_map(|(reference, id)| Some((reference.clone(), id.clone()?)))
        .collect()
}

#[cfg(test)]
mod tests;
