//! Step 5: the one PUT, after a last check that the stack was not changed meanwhile.

use std::collections::{BTreeMap, BTreeSet};

use crate::health::Snapshot;
use crate::limits;
use crate::portainer::{Kind, Origin, PortainerError, Record, StackStatus, SwarmService, Update};
use crate::redeploy::find::{self, Found};
use crate::redeploy::inspect::{self, Inspection};
use crate::redeploy::pin::{PinnedTags, pin_unselected};
use crate::redeploy::plan::Plan;
use crate::redeploy::{AttemptError, Direction, Images, Run, Step, Submission, UnderWay};
use crate::secret::{sha256, to_hex};
use crate::stack::order::Order;

/// Inspections of a Swarm service that is still being written, before the update is sent once more.
const SETTLING_LOOKS: usize = 15;

/// An update that was sent.
#[derive(Debug)]
pub(super) struct Sent {
    pub(super) submission: Submission,
    pub(super) answer: Result<Record, PortainerError>,
    pub(super) pinned: PinnedTags,
    pub(super) variables: Variables,
}

/// The variables of a stack around an update; kept in memory only, for they hold secrets.
#[derive(Default)]
pub(super) struct Variables {
    pub(super) before: BTreeMap<String, String>,
    pub(super) sent: BTreeMap<String, String>,
}

impl std::fmt::Debug for Variables {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Variables").finish_non_exhaustive()
    }
}

impl Run<'_> {
    /// Sends the update once. Whatever says that nothing was sent is still before the submit.
    pub(super) fn submit(
        &self,
        order: &Order,
        found: &Found,
        inspection: &Inspection,
        plan: &Plan,
        before: Images,
    ) -> Result<Sent, AttemptError> {
        let environment = found.record.environment;
        let pinned = pin_unselected(self.cx.portainer, environment, inspection, plan)?;
        match self
            .check_not_edited(found, inspection)
            .and_then(|()| self.send_forward(order, found, inspection, plan, before))
        {
            Ok(sent) => {
                let before = found.record.variables();
                let mut variables = before.clone();
                variables.extend(order.set.clone());
                Ok(Sent {
                    pinned,
                    variables: Variables {
                        before,
                        sent: variables,
                    },
                    ..sent
                })
            }
            Err(halt) => {
                let notes = pinned.release(self.cx.portainer, environment);
                Err(match halt {
                    AttemptError::Over(mut end) => {
                        for note in notes {
                            end.message.push_str(&format!("; {note}"));
                        }
                        AttemptError::Over(end)
                    }
                    again => again,
                })
            }
        }
    }

    /// A person's edit made meanwhile is never overwritten.
    fn check_not_edited(&self, found: &Found, inspection: &Inspection) -> Result<(), AttemptError> {
        let record = self.cx.portainer.stack(found.record.id)?;
        let same = record.update_date == found.record.update_date
            && record.status == found.record.status
            && record.environment == found.record.environment
            && record.origin() == found.record.origin()
            && record.variables() == found.record.variables();
        let (file, _) = find::read_file(self.cx.portainer, &record)?;
        if !same || file != found.file {
            return Err(AttemptError::Edited);
        }
        // While Portainer deploys what a person saved, the file is new already and the record still old; the containers show it.
        let listed = self
            .cx
            .portainer
            .containers(found.record.environment, &found.record.project());
        match (&inspection.seen, listed) {
            (Ok(seen), Ok(listed)) => inspect::check_same_containers(seen, &listed),
            _ => Ok(()),
        }
    }

    fn send_forward(
        &self,
        order: &Order,
        found: &Found,
        inspection: &Inspection,
        plan: &Plan,
        images_before: Images,
    ) -> Result<Sent, AttemptError> {
        let ids = inspection
            .local
            .iter()
            .filter_map(|(reference, image)| Some((reference.clone(), image.as_ref()?.id.clone())));
        let stored = found.record.variables();
        let changed = order
            .set
            .iter()
            .filter(|(name, value)| stored.get(*name) != Some(value));
        let containers = || {
            inspection
                .seen
                .as_ref()
                .ok()
                .cloned()
                .map(Snapshot::Compose)
        };
        let services = || {
            inspection
                .services
                .as_ref()
                .ok()
                .cloned()
                .map(Snapshot::Swarm)
        };
        let submission = Submission {
            direction: Direction::Update,
            can_roll_back: found.record.origin() == Origin::File
                && found.record.kind == Kind::Compose,
            before: containers().or_else(services),
            expected: if plan.repull {
                BTreeSet::new()
            } else {
                plan.expected()
            },
            forced: plan
                .forced
                .iter()
                .map(|service| (service.id.clone(), service.force_update))
                .collect(),
            checkout: match found.record.origin() {
                Origin::Git { config_hash, .. } => {
                    Some((config_hash, to_hex(&sha256(&[found.file.as_bytes()]))))
                }
                Origin::File => None,
            },
            roles: inspection.roles(),
            images_before,
            images: ids.into_iter().collect(),
            variables_before: changed
                .map(|(name, _)| (name.clone(), stored.get(name).cloned()))
                .collect(),
            ..Submission::of(&found.record)
        };
        let whole = || Update::new(&found.record, &found.file, &order.set, plan.repull);
        match plan.forced.is_empty() {
            true => self.send(submission, |_| {
                self.cx.portainer.update(whole(), self.left())
            }),
            false => self.send(submission, |done| {
                self.one_by_one(order, whole, plan, &found.record, done)
            }),
        }
    }

    /// Variables first, by an update that pulls nothing; when that is over, each service by itself. The first refusal ends it;
    /// the parts that are done already are not sent again.
    fn one_by_one(
        &self,
        order: &Order,
        variables: impl Fn() -> Update,
        plan: &Plan,
        record: &Record,
        done: &mut usize,
    ) -> Result<Record, PortainerError> {
        let portainer = self.cx.portainer;
        let before = usize::from(!order.set.is_empty());
        if *done < before {
            let answer = portainer.update(variables(), self.left());
            let lost = matches!(answer, Err(PortainerError::Interrupted(_)));
            let answer =
                match lost || matches!(&answer, Ok(now) if now.status == StackStatus::Deploying) {
                    true => self.until_seen(answer, || {
                        let now = portainer.stack(record.id).ok()?;
                        let moved = !lost || now.update_date != record.update_date;
                        (moved && now.status != StackStatus::Deploying).then_some(now)
                    }),
                    false => answer,
                }?;
            if !matches!(
                answer.status,
                StackStatus::Active | StackStatus::Unspecified
            ) {
                return Ok(answer);
            }
            *done += 1;
        }
        for service in plan.forced.iter().skip(*done - before) {
            let (id, name) = (&service.id, &service.name);
            match portainer.force_update_service(record.environment, id, name, true, self.left()) {
                lost @ Err(PortainerError::Interrupted(_)) => self.until_seen(lost, || {
                    let now = portainer
                        .services(record.environment, &record.project())
                        .ok()?;
                    let forced = |one: &SwarmService| {
                        one.id == *id && one.force_update > service.force_update
                    };
                    now.iter().any(forced).then_some(())
                }),
                answer => answer,
            }?;
            *done += 1;
        }
        // What the record says of an earlier deployment says nothing of these.
        let mut record = record.clone();
        record.status = StackStatus::Active;
        Ok(record)
    }

    /// What is seen of a part that is under way once it is over; where that is not seen in time, its own `answer`.
    fn until_seen<T>(
        &self,
        answer: Result<T, PortainerError>,
        seen: impl Fn() -> Option<T>,
    ) -> Result<T, PortainerError> {
        self.step(Step::Following);
        while !self.left().is_zero() {
            self.cx.clock.sleep(limits::FOLLOW_PAUSE.0);
            if let Some(seen) = seen() {
                return Ok(seen);
            }
        }
        answer
    }

    /// Writes down what is sent, and sends it. Once more where the first attempt has changed nothing for good and has itself
    /// removed what was in its way: a container that an interrupted update left behind under the name of its successor
    /// (contract 5), or a swarm service that was still being written (contract 8). `act` counts the parts that are done: after
    /// the first one there is no way back to before the submit.
    pub(super) fn send(
        &self,
        submission: Submission,
        act: impl Fn(&mut usize) -> Result<Record, PortainerError>,
    ) -> Result<Sent, AttemptError> {
        let (mut again, mut done) = (true, 0);
        loop {
            self.cx.observer.submitting(&submission)?;
            self.step(Step::Submitting);
            match act(&mut done) {
                Err(PortainerError::Conflict(_)) if done == 0 => {
                    self.tell_not_sent(again);
                    return Err(AttemptError::Busy(UnderWay::Reported));
                }
                Err(error) if error.nothing_was_sent() && done == 0 => {
                    self.tell_not_sent(again);
                    return Err(error.into());
                }
                Err(error) if again && says(&error, "Conflict. The container name") => {
                    again = false
                }
                Err(error) if again && says(&error, "update out of sequence") => {
                    again = false;
                    self.until_settled(&submission);
                }
                answer => {
                    return Ok(Sent {
                        submission,
                        answer,
                        pinned: PinnedTags::default(),
                        variables: Variables::default(),
                    });
                }
            }
        }
    }

    /// Only where no attempt before it was sent.
    fn tell_not_sent(&self, first: bool) {
        if first {
            self.cx.observer.not_sent();
        }
    }

    /// Until two looks at a swarm stack see the same, for a while at most.
    fn until_settled(&self, submission: &Submission) {
        let mut last = None;
        for _ in 0..SETTLING_LOOKS {
            let seen = inspect::again(self.cx.portainer, submission).ok();
            if seen.is_some() && seen == last {
                return;
            }
            last = seen;
            self.cx.clock.sleep(limits::FOLLOW_PAUSE.0);
        }
    }
}

fn says(error: &PortainerError, words: &str) -> bool {
    error
        .portainer_says()
        .is_some_and(|(message, _)| message.contains(words))
}
