//! Submits the update: one PUT, after a last check that the stack was not changed meanwhile. Services outside the selection are pinned
//! to their running images until the update has ended.

use std::collections::{BTreeMap, BTreeSet};

use crate::health::Snapshot;
use crate::image::Reference;
use crate::limits;
use crate::portainer::{
    EnvironmentId, Origin, Portainer, PortainerError, Record, StackId, StackStatus, SwarmService,
    Update,
};
use crate::redeploy::find::{self, FoundStack};
use crate::redeploy::inspect::{self, StackInspection, reference_of};
use crate::redeploy::plan::Plan;
use crate::redeploy::{
    AttemptError, Direction, Images, RedeployResult, Run, Step, Submission, UnderWay,
};
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
    pub(super) variables: SentVariables,
}

/// The variables of a stack around an update; kept in memory only, for they hold secrets.
#[derive(Default)]
pub(super) struct SentVariables {
    before: BTreeMap<String, String>,
    sent: BTreeMap<String, String>,
}

impl std::fmt::Debug for SentVariables {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SentVariables").finish_non_exhaustive()
    }
}

impl Run<'_> {
    /// Sends the update once; an error means that nothing was sent.
    pub(super) fn submit(
        &self,
        order: &Order,
        found: &FoundStack,
        inspection: &StackInspection,
        plan: &Plan,
        before: Images,
    ) -> Result<Sent, AttemptError> {
        let why = match order.force {
            true => "it was forced",
            false => "not every selected service is known to run the newest image",
        };
        self.log_decision(format_args!("an update is sent, {why}"));
        let environment = found.record.environment;
        let pinned = pin_unselected(self.cx.portainer, environment, inspection, plan)?;
        match self
            .check_not_edited(found, inspection)
            .and_then(|()| self.send_update(order, found, inspection, plan, before))
        {
            Ok(sent) => {
                let before = found.record.variables();
                let mut variables = before.clone();
                variables.extend(order.set.clone());
                Ok(Sent {
                    pinned,
                    variables: SentVariables {
                        before,
                        sent: variables,
                    },
                    ..sent
                })
            }
            Err(error) => {
                let notes = pinned.release(self.cx.portainer, environment);
                Err(match error {
                    AttemptError::Over(mut end) => {
                        for note in notes {
                            end.message.push_str(&format!("; {note}"));
                        }
                        AttemptError::Over(end)
                    }
                    error => error,
                })
            }
        }
    }

    /// Returns an error if the stack was changed since it was found: a person's edit is never overwritten.
    fn check_not_edited(
        &self,
        found: &FoundStack,
        inspection: &StackInspection,
    ) -> Result<(), AttemptError> {
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
        // While Portainer deploys a person's edit, the file is new already and the record still old; the containers show it.
        let listed = self
            .cx
            .portainer
            .containers(found.record.environment, &found.record.project());
        match (&inspection.seen, listed) {
            (Ok(seen), Ok(listed)) => inspect::check_same_containers(seen, &listed),
            _ => Ok(()),
        }
    }

    /// Notes variables that now differ both from what was sent and from what was there before: a person saved the stack meanwhile.
    pub(super) fn note_foreign_changes(&mut self, id: StackId, variables: &SentVariables) {
        let Ok(record) = self.cx.portainer.stack(id) else {
            return;
        };
        let (now, SentVariables { before, sent }) = (record.variables(), variables);
        let names: BTreeSet<&String> = now.keys().chain(sent.keys()).chain(before.keys()).collect();
        let is_foreign = |name: &&String| {
            now.get(*name) != sent.get(*name) && now.get(*name) != before.get(*name)
        };
        let foreign: Vec<&str> = names
            .into_iter()
            .filter(is_foreign)
            .map(String::as_str)
            .collect();
        if !foreign.is_empty() {
            self.notes.push(format!(
                "variables of the stack were changed in Portainer during the update: {}; check that they have the values you want",
                foreign.join(", ")
            ));
        }
    }

    fn send_update(
        &self,
        order: &Order,
        found: &FoundStack,
        inspection: &StackInspection,
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
            can_roll_back: found.can_roll_back(),
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
            ..Submission::new(&found.record)
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

    /// Sends variables first, by an update that pulls nothing; when that is over, each service by itself. The first refusal ends it;
    /// `done` counts the parts that are not sent again.
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
        // The status in the record is that of an earlier deployment.
        let mut record = record.clone();
        record.status = StackStatus::Active;
        Ok(record)
    }

    /// Polls a part that is under way until `seen` finds its end; returns its own `answer` if the time is over.
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

    /// Stores the submission and sends it. Sends it a second time if the first attempt has changed nothing and removed its own obstacle:
    /// a container that an interrupted update left behind under the name of its successor, or a Swarm service that was still being
    /// written. `act` counts the parts that are done: after the first one the submit cannot be taken back.
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
                    self.withdraw(again);
                    return Err(AttemptError::Busy(UnderWay::Reported));
                }
                Err(error) if error.nothing_was_sent() && done == 0 => {
                    self.withdraw(again);
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
                        variables: SentVariables::default(),
                    });
                }
            }
        }
    }

    /// Withdraws the stored submission, unless an earlier attempt was sent.
    fn withdraw(&self, first: bool) {
        if first {
            self.cx.observer.not_sent();
        }
    }

    /// Waits until two snapshots of a Swarm stack are equal, for a while at most.
    fn until_settled(&self, submission: &Submission) {
        let mut last = None;
        for _ in 0..SETTLING_LOOKS {
            let seen = inspect::take_snapshot(self.cx.portainer, submission).ok();
            if seen.is_some() && seen == last {
                return;
            }
            last = seen;
            self.cx.clock.sleep(limits::FOLLOW_PAUSE.0);
        }
    }
}

fn says(error: &PortainerError, text: &str) -> bool {
    error
        .portainer_says()
        .is_some_and(|(message, _)| message.contains(text))
}

/// Tags that point at an older image for the time of a submit, with the newer id that each gets again.
#[derive(Debug, Default)]
pub(super) struct PinnedTags(BTreeMap<Reference, String>);

/// Pins the services outside the selection: their tags point at the running images, so that compose keeps their containers. A refusal
/// undoes the pins that were made.
pub(super) fn pin_unselected(
    portainer: &Portainer,
    environment: EnvironmentId,
    inspection: &StackInspection,
    plan: &Plan,
) -> Result<PinnedTags, AttemptError> {
    let mut pinned = PinnedTags::default();
    for (service, reference, runs, newer) in moved(inspection, plan) {
        let Err(error) = portainer.tag(environment, &runs, &reference) else {
            pinned.0.insert(reference, newer);
            continue;
        };
        let notes = pinned.release(portainer, environment);
        if error.is_temporary() {
            return Err(error.into());
        }
        let mut why = format!(
            "the update would also restart {service}, whose tag {} names a newer image now, and that cannot be prevented: {error}; nothing was sent",
            reference.familiar()
        );
        notes
            .iter()
            .for_each(|note| why.push_str(&format!("; {note}")));
        return Err(RedeployResult::refused(why).into());
    }
    Ok(pinned)
}

impl PinnedTags {
    /// Tags that get these ids again.
    pub(super) fn new(newer: BTreeMap<Reference, String>) -> PinnedTags {
        PinnedTags(newer)
    }

    /// Gives the tags their newer ids again. A failure is a note: the older image keeps the tag until the next pull.
    pub(super) fn release(self, portainer: &Portainer, environment: EnvironmentId) -> Vec<String> {
        let forward = |(reference, newer): (Reference, String)| {
            let error = portainer.tag(environment, &newer, &reference).err()?;
            Some(format!(
                "{} still names the older image, until the next pull: {error}",
                reference.familiar()
            ))
        };
        self.0.into_iter().filter_map(forward).collect()
    }
}

/// The services to pin: name, reference, running image id, and the newer id that the reference has now.
fn moved(inspection: &StackInspection, plan: &Plan) -> Vec<(String, Reference, String, String)> {
    let Ok(seen) = &inspection.seen else {
        return Vec::new();
    };
    let mut moved: Vec<(String, Reference, String, String)> = Vec::new();
    for (service, wanted) in &plan.others {
        let Some(wanted) = wanted else { continue };
        let runs = seen
            .containers_of(service)
            .into_iter()
            .find(|container| reference_of(container).as_ref() == Some(wanted));
        let (Some(runs), Some(now)) = (runs, inspection.id_of(wanted)) else {
            continue;
        };
        let known = moved.iter().any(|(_, reference, ..)| reference == wanted);
        if runs.image_id != now && wanted.digest().is_none() && !known {
            moved.push((
                service.clone(),
                wanted.clone(),
                runs.image_id.clone(),
                now.to_owned(),
            ));
        }
    }
    moved
}
