//! Restores the previous images: by itself when an update took the stack down, or when a person asks for it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;

use crate::health::{ContainerSnapshot, Roles, Snapshot};
use crate::image::Reference;
use crate::portainer::{EnvironmentId, Kind, Origin, Update};
use crate::redeploy::pin::PinnedTags;
use crate::redeploy::record::moved;
use crate::redeploy::submission::Blame;
use crate::redeploy::submit::Sent;
use crate::redeploy::{
    AttemptError, Direction, RedeployResult, Run, Step, Submission, find, inspect,
};
use crate::stack::RollBack;
use crate::stack::outcome::Outcome;

/// The state that a rollback leads to.
#[derive(Clone)]
struct Goal {
    environment: EnvironmentId,
    /// The containers now, or when the failed update was sent.
    before: ContainerSnapshot,
    expected: BTreeSet<String>,
    roles: Roles,
    images: BTreeMap<Reference, String>,
    /// The ids that the failed update moved them to: after a crash in the middle of a rollback, the references do not show these.
    newer: BTreeMap<Reference, String>,
    variables: BTreeMap<String, Option<String>>,
    /// What is blocked afterwards; `None`: everything that is rolled back, because a person asked for it.
    blame: Option<Blame>,
}

impl Goal {
    /// Whether it is another state than that of the failed update.
    fn differs(&self) -> bool {
        !self.images.is_empty() || !self.variables.is_empty()
    }
}

impl Run<'_> {
    /// Rolls back because a person asks for it.
    pub(super) fn rollback_on_request(&mut self) -> Result<RedeployResult, RedeployResult> {
        self.step(Step::Finding);
        let unsent = |halt: AttemptError| match halt {
            AttemptError::Over(end) => end,
            halt => {
                let end = halt.at_once();
                RedeployResult {
                    message: format!("{}; nothing was sent", end.message),
                    ..end
                }
            }
        };
        let found = find::find(self.cx.portainer, self.stack).map_err(unsent)?;
        self.know(&found, None);
        // Tells the observer the stack's number. A rollback ignores pauses.
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
        if found.record.origin() != Origin::File || found.record.kind != Kind::Compose {
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
            before,
            roles,
            images: record.previous,
            newer: BTreeMap::new(),
            variables: record.previous_variables,
            blame: None,
        };
        let end = self.roll_back_to(&goal)?;
        Ok(RedeployResult {
            outcome: Outcome::Updated,
            message: format!("the previous images run again, {}", end.message),
            ..end
        })
    }

    /// The roles of the services of the file that Portainer has; none where it is not certain.
    fn roles_of(&self, found: &find::Found) -> Roles {
        let wanted = crate::compose::read(
            &found.file,
            &find::compose_variables(&found.record, &BTreeMap::new()),
        );
        let services = wanted.ok().filter(|_| !found.record.has_more_files);
        let services = services.into_iter().flat_map(|wanted| wanted.services);
        Roles(services.map(|(name, wants)| (name, wants.role)).collect())
    }

    /// Rolls back after a failed update where the settings ask for it and it is possible. A stack that is down although nothing was
    /// newer is brought back by the same content. The reply says both.
    pub(super) fn rollback_if_needed(
        &mut self,
        submission: &Submission,
        failed: RedeployResult,
    ) -> RedeployResult {
        let Some(before) = submission
            .containers()
            .filter(|_| submission.direction == Direction::Update && submission.can_roll_back)
            // Where the end is not known the update may still be under way.
            .filter(|_| failed.outcome == Outcome::Failed)
        else {
            return failed;
        };
        let goal = Goal {
            environment: submission.environment,
            before: before.clone(),
            expected: submission.expected.clone(),
            roles: submission.roles.clone(),
            images: moved(submission),
            newer: submission.images.clone(),
            variables: submission.variables_before.clone(),
            blame: Some(self.blame(submission, &failed)),
        };
        let down = || self.is_down(submission, before);
        let needed = match self.stack.rollback {
            RollBack::Never => false,
            RollBack::WhenDown => down(),
            RollBack::WhenUnhealthy => goal.differs() && failed.verified == Some(true) || down(),
        };
        if !needed {
            return failed;
        }
        let restored = match goal.differs() {
            true => "the previous images run again",
            false => "the stack was started again",
        };
        self.answer_lost = false;
        let mut back = self.roll_back_to(&goal);
        // The engine or Portainer may have gone away in the middle of the rollback, too.
        let interrupted = self.answer_lost || self.disturbed.load(Ordering::Relaxed);
        if back.is_err() && interrupted && self.is_down(submission, before) {
            back = self.roll_back_to(&goal);
        }
        match back {
            Ok(back) => RedeployResult {
                message: format!("{}; {restored}, {}", failed.message, back.message),
                services: back.services,
                now: None,
                ..failed
            },
            Err(back) => {
                let services = if back.services.is_empty() {
                    failed.services
                } else {
                    back.services
                };
                RedeployResult {
                    message: format!(
                        "{}; it could not be rolled back: {}",
                        failed.message, back.message
                    ),
                    services,
                    now: back.now.or(failed.now),
                    ..failed
                }
            }
        }
    }

    /// Repeats a rollback that was sent before a crash and of which nothing can be seen.
    pub(super) fn retry_rollback(
        &mut self,
        submission: &Submission,
    ) -> Result<RedeployResult, RedeployResult> {
        let goal = Goal {
            environment: submission.environment,
            before: submission.containers().cloned().unwrap_or_default(),
            expected: submission.expected.clone(),
            roles: submission.roles.clone(),
            images: submission.images.clone(),
            newer: moved_to(submission),
            variables: submission.variables_before.clone(),
            blame: Some(submission.blame.clone()),
        };
        self.roll_back_to(&goal)
    }

    /// Records a rollback that was sent before a crash, as one that was not cut short is recorded.
    pub(super) fn remember_rollback(
        &mut self,
        submission: &Submission,
        end: &Result<RedeployResult, RedeployResult>,
    ) {
        let unix = self.cx.clock.unix();
        self.remember(submission.id, |record| {
            record.rolled_back(&submission.blame, &submission.images, unix, end);
        });
    }

    /// Whether a service that ran has no running container now and did not complete.
    pub(super) fn is_down(&self, submission: &Submission, before: &ContainerSnapshot) -> bool {
        match self.look_patiently(submission) {
            Ok(Snapshot::Compose(now)) => self.is_down_in(submission, before, &now),
            Ok(Snapshot::Swarm(_)) | Err(_) => false,
        }
    }

    /// The same, of what was seen already.
    pub(super) fn is_down_in(
        &self,
        submission: &Submission,
        before: &ContainerSnapshot,
        now: &ContainerSnapshot,
    ) -> bool {
        // Where it is not certain what the file wants, everything that ran is missed.
        let (expected, roles) = self.requirements(submission);
        let missed = |service: &String| expected.is_empty() || expected.contains(service);
        now.down_since(before, &roles).iter().any(missed)
    }

    /// The rollback itself: every image must still be there before anything is touched.
    fn roll_back_to(&mut self, goal: &Goal) -> Result<RedeployResult, RedeployResult> {
        self.lock_environment(goal.environment)?;
        // What led here may have used up the time.
        self.locks.since = Some(self.cx.clock.now());
        self.step(Step::RollingBack);
        // Not before it has its lock: a person may have changed the stack while it waited.
        let found = self.find_patiently()?;
        let newer = self.newer_ids(goal)?;
        let others = self.used_by_others(&found.record.project(), goal.environment, &newer)?;
        let portainer = self.cx.portainer;
        let mut tagged = BTreeMap::new();
        for (reference, id) in &goal.images {
            if let Err(error) = self.patiently(|| portainer.tag(goal.environment, id, reference)) {
                self.notes
                    .extend(PinnedTags::of(tagged).release(portainer, goal.environment));
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
            .extend(PinnedTags::of(forward).release(portainer, goal.environment));
        let unix = self.cx.clock.unix();
        self.remember(found.record.id, |record| {
            record.rolled_back(&blame, &goal.images, unix, &end);
        });
        end
    }

    /// Also pins services outside the update to their previous image, even if their tag was moved, during the submit. Returns the
    /// ids that the tags are given back afterwards. A tag that cannot be pinned is a note: a newer image is better than none.
    fn pin_the_rest(&mut self, goal: &Goal) -> BTreeMap<Reference, String> {
        let mut forward = BTreeMap::new();
        for container in &goal.before.containers {
            let Some(reference) = inspect::reference_of(container) else {
                continue;
            };
            let known = goal.images.contains_key(&reference) || forward.contains_key(&reference);
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

    /// The references that containers of other stacks run with the newer id. For a user who cannot see all containers these are all
    /// of them: a tag that is given back does no harm where no other service uses it.
    fn used_by_others(
        &mut self,
        project: &str,
        environment: EnvironmentId,
        newer: &BTreeMap<Reference, String>,
    ) -> Result<BTreeSet<Reference>, RedeployResult> {
        if !self.is_administrator() {
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

    /// File and variables as Portainer has them now, with the old values of those that the update set, and no pull.
    fn submit_rollback(
        &self,
        found: &find::Found,
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
        let images_before = newer.iter();
        let submission = Submission {
            direction: Direction::Rollback,
            before: Some(Snapshot::Compose(goal.before.clone())),
            expected: goal.expected.clone(),
            roles: goal.roles.clone(),
            images_before: images_before
                .map(|(reference, id)| (reference.clone(), Some(id.clone())))
                .collect(),
            images: goal.images.clone(),
            variables_before: goal.variables.clone(),
            blame: blame.clone(),
            ..Submission::of(&found.record)
        };
        self.send(submission, |_| {
            self.cx.portainer.update(update(), self.left())
        })
        .map_err(AttemptError::at_once)
    }
}

/// The ids that a rollback which was sent has moved back from.
fn moved_to(submission: &Submission) -> BTreeMap<Reference, String> {
    let known = submission.images_before.iter();
    known
        .filter_map(|(reference, id)| Some((reference.clone(), id.clone()?)))
        .collect()
}
