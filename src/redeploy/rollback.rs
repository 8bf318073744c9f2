//! Step 8: back to the images that ran before, by itself when an update took the stack down, or by a person at any time.

use std::collections::{BTreeMap, BTreeSet};

use crate::health::{ContainerSnapshot, Snapshot};
use crate::image::Reference;
use crate::portainer::{EnvironmentId, Kind, Origin, Update};
use crate::redeploy::inspect;
use crate::redeploy::pin::PinnedTags;
use crate::redeploy::record::moved;
use crate::redeploy::submit::Sent;
use crate::redeploy::{AttemptError, Direction, RedeployResult, Run, Step, Submission, find};
use crate::stack::RollBack;
use crate::stack::outcome::Outcome;

/// Where to go back to.
struct Goal {
    environment: EnvironmentId,
    /// What runs now, or ran when the failed update was sent.
    before: ContainerSnapshot,
    expected: BTreeSet<String>,
    images: BTreeMap<Reference, String>,
    /// What the failed update moved them to: after a crash in the middle of a rollback, the references do not tell any more.
    newer: BTreeMap<Reference, String>,
    variables: BTreeMap<String, Option<String>>,
}

impl Run<'_> {
    /// A person asks for it.
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
        self.lock_stack(found.record.id)?;
        let past = self.cx.memory.recall(found.record.id);
        if past.previous.is_empty() && past.previous_variables.is_empty() {
            let why = match self.cx.memory.lasts() {
                true => "no way back: no update of this stack is remembered",
                false => "no way back: nothing is kept without a state_dir",
            };
            return Err(RedeployResult::refused(why));
        }
        if found.record.origin() != Origin::File || found.record.kind != Kind::Compose {
            return Err(RedeployResult::refused(
                "no way back: only compose stacks whose file Portainer keeps can be rolled back",
            ));
        }
        let environment = found.record.environment;
        self.lock_environment(environment)?;
        let before = inspect::containers(self.cx.portainer, environment, &found.record.name)
            .map_err(|error| unsent(error.into()))?;
        let goal = Goal {
            environment,
            expected: before.services(),
            before,
            images: past.previous,
            newer: BTreeMap::new(),
            variables: past.previous_variables,
        };
        let down = goal.before.containers.is_empty();
        let end = self.roll_back_to(goal, down)?;
        Ok(RedeployResult {
            outcome: Outcome::Updated,
            message: format!("the previous images run again, {}", end.message),
            ..end
        })
    }

    /// After a failed update: back, where that is due and possible. The reply says both.
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
        let images = moved(submission);
        let changed = !images.is_empty() || !submission.variables_before.is_empty();
        let down = self.is_down(submission, before);
        let due = changed
            && match self.stack.rollback {
                RollBack::Never => false,
                RollBack::WhenDown => down,
                RollBack::WhenUnhealthy => down || failed.verified == Some(true),
            };
        if !due {
            return failed;
        }
        let goal = Goal {
            environment: submission.environment,
            before: before.clone(),
            expected: submission.expected.clone(),
            images,
            newer: submission.images.clone(),
            variables: submission.variables_before.clone(),
        };
        match self.roll_back_to(goal, down) {
            Ok(back) => RedeployResult {
                message: format!(
                    "{}; the previous images run again, {}",
                    failed.message, back.message
                ),
                services: back.services,
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
                    ..failed
                }
            }
        }
    }

    /// A rollback that was sent before a crash, and of which nothing is to be seen, is sent once more.
    pub(super) fn retry_rollback(
        &mut self,
        submission: &Submission,
    ) -> Result<RedeployResult, RedeployResult> {
        let goal = Goal {
            environment: submission.environment,
            before: match &submission.before {
                Some(Snapshot::Compose(before)) => before.clone(),
                Some(Snapshot::Swarm(_)) | None => ContainerSnapshot::default(),
            },
            expected: submission.expected.clone(),
            images: submission.images.clone(),
            newer: moved_to(submission),
            variables: submission.variables_before.clone(),
        };
        self.roll_back_to(goal, true)
    }

    /// What a rollback that was sent before a crash leaves behind, as one that was not cut short does.
    pub(super) fn remember_sent_back(
        &mut self,
        submission: &Submission,
        end: &Result<RedeployResult, RedeployResult>,
    ) {
        let (newer, unix) = (moved_to(submission), self.cx.clock.unix());
        self.remember(submission.id, |past| {
            past.rolled_back(&newer, &submission.images, unix, end);
        });
    }

    /// Whether a service that ran has no running container now and did not complete.
    pub(super) fn is_down(&self, submission: &Submission, before: &ContainerSnapshot) -> bool {
        let Ok(seen) = inspect::containers(
            self.cx.portainer,
            submission.environment,
            &submission.project,
        ) else {
            return false;
        };
        // Where nobody knows what the file wants, everything that ran is missed.
        let expected = self.expected(submission);
        let missed = |service: &String| expected.is_empty() || expected.contains(service);
        seen.down_since(before).iter().any(missed)
    }

    /// The way back itself: every image must still be there before anything is touched.
    fn roll_back_to(&mut self, goal: Goal, down: bool) -> Result<RedeployResult, RedeployResult> {
        self.lock_environment(goal.environment)?;
        // What led here may have used up the time.
        self.locks.since = Some(self.cx.clock.now());
        self.step(Step::RollingBack);
        // Not before it has its turn: a person may have changed the stack while it waited.
        let found = find::find(self.cx.portainer, self.stack).map_err(AttemptError::at_once)?;
        let newer = self.newer_ids(&goal)?;
        let others = self.used_by_others(&found.record.name, goal.environment, &newer, down)?;
        let mut tagged = BTreeMap::new();
        for (reference, id) in &goal.images {
            if let Err(error) = self.cx.portainer.tag(goal.environment, id, reference) {
                self.notes
                    .extend(PinnedTags::of(tagged).release(self.cx.portainer, goal.environment));
                return Err(RedeployResult::refused(format!("no way back: {error}")));
            }
            tagged.extend(
                newer
                    .get(reference)
                    .map(|id| (reference.clone(), id.clone())),
            );
        }
        let tagged = tagged.into_iter();
        let mut forward = tagged
            .filter(|(reference, _)| others.contains(reference))
            .collect::<BTreeMap<_, _>>();
        forward.extend(self.keep_the_rest(&goal));
        let sent = self.submit_rollback(&found, &goal, &newer);
        let end = sent.and_then(|sent| {
            let followed = self.follow(&sent.submission, sent.answer);
            followed.and_then(|()| self.verify(&sent.submission))
        });
        self.notes
            .extend(PinnedTags::of(forward).release(self.cx.portainer, goal.environment));
        let unix = self.cx.clock.unix();
        self.remember(found.record.id, |past| {
            past.rolled_back(&newer, &goal.images, unix, &end);
        });
        end
    }

    /// A service that the update did not mean goes back to what it ran too, although somebody has moved its tag: for the time of
    /// the submit. Returns what goes forward again. What cannot be kept is a note: a newer image is better than none.
    fn keep_the_rest(&mut self, goal: &Goal) -> BTreeMap<Reference, String> {
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
        for (reference, id) in &goal.images {
            match self.cx.portainer.image(goal.environment, id) {
                Ok(Some(_)) => {}
                Ok(None) => {
                    return Err(RedeployResult::refused(format!(
                        "no way back: the image that {} was before is gone from the host",
                        reference.familiar()
                    )));
                }
                Err(error) => return Err(RedeployResult::refused(format!("no way back: {error}"))),
            }
            let now = self
                .cx
                .portainer
                .image(goal.environment, &reference.familiar());
            let now =
                now.map_err(|error| RedeployResult::refused(format!("no way back: {error}")))?;
            let moved = now.map(|now| now.id).filter(|now| now != id);
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

    /// The references that containers of other stacks run with the newer id. Who cannot see all containers goes back only
    /// from a stack that is down.
    fn used_by_others(
        &mut self,
        project: &str,
        environment: EnvironmentId,
        newer: &BTreeMap<Reference, String>,
        down: bool,
    ) -> Result<BTreeSet<Reference>, RedeployResult> {
        if !self.is_administrator() {
            if !down {
                return Err(RedeployResult::refused(
                    "no way back: this user does not see the containers of other stacks, which may use the same images",
                ));
            }
            self.notes
                .push("whether other stacks use the same images could not be checked".to_owned());
        }
        let all = self
            .cx
            .portainer
            .all_containers(environment)
            .map_err(|error| RedeployResult::refused(format!("no way back: {error}")))?;
        let foreign = all.iter().filter(|one| one.labels.project != project);
        let ids: Vec<&str> = foreign.map(|one| one.image_id.as_str()).collect();
        let used = newer.iter().filter(|(_, id)| ids.contains(&id.as_str()));
        Ok(used.map(|(reference, _)| reference.clone()).collect())
    }

    /// File and variables as Portainer has them now, with the old values of what the update set, and no pull.
    fn submit_rollback(
        &self,
        found: &find::Found,
        goal: &Goal,
        newer: &BTreeMap<Reference, String>,
    ) -> Result<Sent, RedeployResult> {
        let variables = goal.variables.iter();
        let set = variables
            .clone()
            .filter_map(|(name, value)| Some((name.clone(), value.clone()?)))
            .collect();
        let gone = variables.filter(|(_, value)| value.is_none());
        let gone: Vec<&str> = gone.map(|(name, _)| name.as_str()).collect();
        let update = || Update::of(&found.record, &found.file, &set, false).without(&gone);
        let submission = Submission {
            direction: Direction::Rollback,
            can_roll_back: false,
            before: Some(Snapshot::Compose(goal.before.clone())),
            expected: goal.expected.clone(),
            images_before: newer
                .iter()
                .map(|(reference, id)| (reference.clone(), Some(id.clone())))
                .collect(),
            images: goal.images.clone(),
            variables_before: goal.variables.clone(),
            ..Submission::of(&found.record)
        };
        self.send(submission, |_| {
            self.cx.portainer.update(update(), self.left())
        })
        .map_err(AttemptError::at_once)
    }
}

/// What a rollback that was sent has moved back from.
fn moved_to(submission: &Submission) -> BTreeMap<Reference, String> {
    let known = submission.images_before.iter();
    known
        .filter_map(|(reference, id)| Some((reference.clone(), id.clone()?)))
        .collect()
}
