//! The state of all deliveries, as the result of applying journal entries. It changes nowhere else, so that a restart restores exactly
//! the state before it.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Duration;

use crate::delivery::DeliveryId;
pub(crate) use crate::delivery::entry::{Entry, StackFailure};
use crate::delivery::queue::{RunningRedeploy, StackQueues};
use crate::delivery::replay::{Replay, ReplayTable};
use crate::delivery::{
    Accepted, Delivery, DeliveryStatus, Fingerprint, Part, PartProgress, RequestedRedeploy,
};
use crate::limits;
use crate::stack::StackKey;
use crate::stack::outcome::{Outcome, StackReport};

/// Finished deliveries that are neither among the last ones nor younger than this are forgotten.
const ENDED_KEPT: Duration = Duration::from_secs(60 * 60);

/// The time after a success during which the same delivery is answered like the first one.
const DUPLICATE: Duration = Duration::from_secs(15 * 60);

/// The kind of a delivery that arrives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Acceptance {
    /// It did not come before, or may run again.
    New,
    /// It repeats this delivery and gets its outcome.
    Repeated(DeliveryId),
    /// It is a replay of a delivery that has been forgotten since.
    Forgotten,
}

/// All deliveries that are open or still remembered, and the queues.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Ledger {
    deliveries: HashMap<DeliveryId, Delivery>,
    /// Ended ones, oldest first.
    ended: VecDeque<DeliveryId>,
    queues: StackQueues,
    replays: ReplayTable,
    /// Deliveries of each hook: open ones, and ended ones that are still known.
    per_hook: HashMap<String, (usize, usize)>,
    /// The last server stopped in order.
    was_stopped: bool,
    duplicates: HashMap<Fingerprint, DeliveryId>,
    /// The last failure of each stack.
    failures: Vec<StackFailure>,
}

impl Ledger {
    /// Returns the number of deliveries that have not ended.
    pub(crate) fn open(&self) -> usize {
        self.deliveries.len() - self.ended.len()
    }

    /// Returns a delivery that is open or still remembered.
    pub(crate) fn find(&self, id: &DeliveryId) -> Option<&Delivery> {
        self.deliveries.get(id)
    }

    /// Compares a delivery with earlier ones.
    pub(crate) fn recognize(&self, accepted: &Accepted, unix: u64) -> Acceptance {
        let replay = accepted.replay.as_ref();
        if let Some(replay) = replay.and_then(|key| self.replays.get(key)) {
            match self.deliveries.contains_key(&replay.delivery) {
                true => return Acceptance::Repeated(replay.delivery.clone()),
                false if unix <= replay.until => return Acceptance::Forgotten,
                false => {}
            }
        }
        let first = accepted
            .duplicate
            .as_ref()
            .and_then(|print| self.deliveries.get(self.duplicates.get(print)?));
        match first {
            Some(first) if first.answers_duplicates(unix) => Acceptance::Repeated(first.id.clone()),
            Some(_) | None => Acceptance::New,
        }
    }

    /// Returns true if one more signed request of this hook can be remembered.
    pub(crate) fn can_remember(&self, hook: &str, unix: u64) -> bool {
        self.replays.has_room(hook, unix)
    }

    /// Returns true if one more delivery of this hook may be open. One hook can use half of the table.
    pub(crate) fn has_room(&self, hook: &str) -> bool {
        let (open, _) = self.per_hook.get(hook).copied().unwrap_or((0, 0));
        self.open() < limits::OPEN_DELIVERIES && open < limits::OPEN_DELIVERIES / 2
    }

    /// Corrects times that lie in the future because the clock ran ahead when they were taken; otherwise they would count as recent
    /// until the clock gets there. Returns the number of corrected entries.
    pub(crate) fn correct_clock(&mut self, unix: u64) -> usize {
        let mut corrected = self.replays.correct_clock(unix);
        let limit = unix + limits::CLOCK_STEP.as_secs();
        // The newest is looked at first: usually there is nothing to do.
        let newest = self
            .ended
            .back()
            .and_then(|id| self.deliveries.get(id)?.ended);
        if corrected == 0 && newest.is_none_or(|ended| ended <= limit) {
            return 0;
        }
        for delivery in self.deliveries.values_mut() {
            if delivery.ended.is_some_and(|ended| ended > limit) {
                delivery.ended = Some(unix);
                corrected += 1;
            }
        }
        corrected
    }

    /// Returns the last deliveries, newest first: the open ones, then those that have ended.
    pub(crate) fn history(&self) -> impl Iterator<Item = &Delivery> {
        let open = self.not_ended().into_iter().rev();
        let ended = self.ended.iter().rev();
        let ended = ended.filter_map(|id| self.deliveries.get(id));
        open.chain(ended).take(limits::HISTORY)
    }

    /// Returns the deliveries that ended last.
    pub(crate) fn last_ended(&self, count: usize) -> impl Iterator<Item = &Delivery> {
        let ended = self.ended.iter().rev().take(count);
        ended.filter_map(|id| self.deliveries.get(id))
    }

    /// Returns true if no redeploy of a stack runs or waits.
    pub(crate) fn is_idle(&self, stack: &StackKey) -> bool {
        self.queues.running(stack).is_none() && !self.queues.ready().any(|ready| ready == stack)
    }

    /// Returns the last failure of each stack that ever had one.
    pub(crate) fn failures(&self) -> impl Iterator<Item = &StackFailure> {
        self.failures.iter()
    }

    /// Returns the stacks with a waiting and without a running redeploy, in the order of their keys.
    pub(crate) fn ready(&self) -> impl Iterator<Item = &StackKey> {
        self.queues.ready()
    }

    /// Returns the running redeploy of a stack.
    pub(crate) fn running(&self, stack: &StackKey) -> Option<&RunningRedeploy> {
        self.queues.running(stack)
    }

    /// Returns the stacks with a running redeploy; after a crash, they must be resumed.
    pub(crate) fn all_running(&self) -> Vec<StackKey> {
        let running = self
            .queues
            .all()
            .filter(|(_, queue)| queue.running().is_some());
        running.map(|(stack, _)| stack.clone()).collect()
    }

    /// Notes the current step of the running redeploy of a stack. Not journalled.
    pub(crate) fn set_step(&mut self, stack: &StackKey, step: &str) {
        for id in self.queues.covered(stack) {
            if let Some(part) = self
                .deliveries
                .get_mut(id)
                .and_then(|delivery| delivery.part(stack))
            {
                part.progress = PartProgress::Running(step.to_owned());
            }
        }
    }

    /// Applies an entry.
    pub(crate) fn apply(&mut self, entry: Entry) {
        match entry {
            Entry::Accepted { accepted, unix } => self.accept(accepted, unix),
            Entry::Started(stack) => {
                self.queues.start(&stack);
                self.set_step(&stack, "starting");
            }
            Entry::Pulling { stack, before } => {
                if let Some(running) = self.queues.running_mut(&stack) {
                    running.pulling(before);
                }
            }
            Entry::Submitting { stack, submission } => {
                if let Some(running) = self.queues.running_mut(&stack) {
                    running.submitting(submission);
                }
            }
            Entry::NotSent(stack) => {
                if let Some(running) = self.queues.running_mut(&stack) {
                    running.submission = None;
                }
            }
            Entry::Ended {
                stack,
                report,
                unix,
            } => self.end_of_run(stack, report, unix),
            Entry::Delivery(delivery) => self.put(delivery),
            Entry::Queue { stack, queue } => {
                let Ledger {
                    queues, deliveries, ..
                } = self;
                queues.put(stack, queue, |id| {
                    deliveries
                        .get(id)
                        .is_some_and(|delivery| delivery.ended.is_none())
                });
            }
            Entry::Replay {
                fingerprint,
                delivery,
                unix,
                hook,
                until,
            } => {
                let until = until.unwrap_or(unix + limits::REPLAY.as_secs());
                let replay = Replay {
                    delivery,
                    hook,
                    until,
                };
                self.replays.insert(fingerprint, replay, unix);
            }
            Entry::Failure(failure) => self.failed(failure),
            Entry::Resumed => {
                self.queues.resume(self.was_stopped);
                self.was_stopped = false;
            }
            Entry::RunsAlone(stack) => self.queues.run_alone(&stack),
            Entry::Stopped => self.was_stopped = true,
        }
    }

    /// Returns entries that restore this state: deliveries before the queues that cover them.
    pub(crate) fn state(&self) -> Vec<Entry> {
        let ended = self.ended.iter().filter_map(|id| self.deliveries.get(id));
        let deliveries = ended.chain(self.not_ended());
        let deliveries = deliveries.cloned().map(Entry::Delivery);
        let queues = self.queues.all().map(|(stack, queue)| Entry::Queue {
            stack: stack.clone(),
            queue: queue.clone(),
        });
        let replays = self
            .replays
            .iter()
            .map(|(fingerprint, replay)| Entry::Replay {
                fingerprint: fingerprint.clone(),
                delivery: replay.delivery.clone(),
                unix: replay.until.saturating_sub(limits::REPLAY.as_secs()),
                hook: replay.hook.clone(),
                until: Some(replay.until),
            });
        let failures = self.failures.iter().cloned().map(Entry::Failure);
        let stopped = self.was_stopped.then_some(Entry::Stopped);
        deliveries
            .chain(queues)
            .chain(replays)
            .chain(failures)
            .chain(stopped)
            .collect()
    }

    /// Ends open deliveries that no redeploy covers, which only a damaged journal leaves behind. Returns their number.
    pub(crate) fn fail_orphaned(&mut self, unix: u64) -> usize {
        let mut lost = Vec::new();
        let queues = self.queues.all();
        let covered = queues
            .map(|(stack, queue)| (stack, queue.covers()))
            .collect::<BTreeMap<_, _>>();
        for delivery in self.not_ended() {
            for part in delivery.parts.iter().filter(|part| !part.has_ended()) {
                let queue = covered.get(&part.stack);
                if !queue.is_some_and(|queue| queue.contains(&delivery.id)) {
                    lost.push((delivery.id.clone(), part.stack.clone(), part.name.clone()));
                }
            }
        }
        for (id, stack, name) in &lost {
            let message =
                "the journal is damaged, so the result is unknown; check the stack in Portainer";
            let report = report(stack, name, Outcome::Unknown, message.to_owned());
            self.end(id, stack, report, unix);
        }
        lost.len()
    }

    /// Returns the open deliveries, oldest first.
    fn not_ended(&self) -> Vec<&Delivery> {
        let open = self.deliveries.values();
        let mut open: Vec<&Delivery> = open.filter(|delivery| delivery.ended.is_none()).collect();
        open.sort_unstable_by_key(|delivery| (delivery.at, &delivery.id));
        open
    }

    fn accept(&mut self, accepted: Accepted, unix: u64) {
        if let Some(fingerprint) = accepted.replay {
            // Without a signed time it may have been signed up to five minutes ahead.
            let tolerance = limits::SIGNED_TIME_TOLERANCE.as_secs();
            let longest = unix + limits::REPLAY.as_secs();
            let until = accepted
                .signed_at
                .map(|time| (time + tolerance).min(longest));
            let replay = Replay {
                delivery: accepted.id.clone(),
                hook: accepted.hook.clone(),
                until: until.unwrap_or(longest),
            };
            self.replays.insert(fingerprint, replay, unix);
        }
        let part = |asked: &RequestedRedeploy| Part {
            stack: asked.stack.clone(),
            name: asked.name.clone(),
            progress: PartProgress::Waiting,
        };
        self.put(Delivery {
            id: accepted.id.clone(),
            hook: accepted.hook,
            strict: accepted.strict,
            wait: accepted.wait,
            at: unix,
            ended: None,
            duplicate: accepted.duplicate,
            event: accepted.event,
            parts: accepted.orders.iter().map(part).collect(),
        });
        let time = accepted.time.unwrap_or(unix);
        for asked in accepted.orders {
            for superseded in self
                .queues
                .join(&asked.stack, &accepted.id, asked.order, time)
            {
                let report = report(
                    &asked.stack,
                    &asked.name,
                    Outcome::Skipped,
                    superseded.message(),
                );
                self.end(&superseded.delivery, &asked.stack, report, unix);
            }
        }
    }

    fn put(&mut self, delivery: Delivery) {
        if let Some(fingerprint) = &delivery.duplicate {
            let id = delivery.id.clone();
            self.duplicates.insert(fingerprint.clone(), id);
        }
        let (open, ended) = self.per_hook.entry(delivery.hook.clone()).or_default();
        match delivery.ended {
            Some(_) => {
                *ended += 1;
                self.ended.push_back(delivery.id.clone());
            }
            None => *open += 1,
        }
        self.deliveries.insert(delivery.id.clone(), delivery);
    }

    fn end_of_run(&mut self, stack: StackKey, report: StackReport, unix: u64) {
        // Logs are kept once a stack, not once a delivery.
        let without_logs = StackReport {
            logs: Vec::new(),
            ..report.clone()
        };
        for id in self.queues.end(&stack) {
            self.end(&id, &stack, without_logs.clone(), unix);
        }
        if matches!(report.outcome, Outcome::Failed | Outcome::Unknown) {
            self.failed(StackFailure {
                stack,
                unix,
                report,
            });
        }
    }

    fn failed(&mut self, failure: StackFailure) {
        self.failures.retain(|known| known.stack != failure.stack);
        self.failures.push(failure);
    }

    fn end(&mut self, id: &DeliveryId, stack: &StackKey, report: StackReport, unix: u64) {
        let Some(delivery) = self.deliveries.get_mut(id) else {
            return;
        };
        // A delivery of which two variables were superseded ends once.
        match delivery.part(stack) {
            Some(part) if !part.has_ended() => part.progress = PartProgress::Ended(report),
            _ => return,
        }
        if delivery.has_ended() {
            delivery.ended = Some(unix);
            let (open, ended) = self.per_hook.entry(delivery.hook.clone()).or_default();
            *open = open.saturating_sub(1);
            *ended += 1;
            self.ended.push_back(id.clone());
        }
        self.forget_old(unix);
    }

    /// Forgets ended deliveries that are old or too many. Of too many, the oldest of a hook that has more than half of them.
    fn forget_old(&mut self, unix: u64) {
        while self.ended.len() > limits::HISTORY {
            let oldest = self.ended.front();
            let ended = oldest.and_then(|id| self.deliveries.get(id)?.ended);
            if ended.is_some_and(|ended| is_within(ended, unix, ENDED_KEPT)) {
                break;
            }
            self.forget(0);
        }
        while self.ended.len() > limits::ENDED_DELIVERIES {
            let mut hooks = self.per_hook.iter();
            let greedy = hooks.find(|(_, (_, ended))| *ended > limits::ENDED_DELIVERIES / 2);
            let is_of = |id: &DeliveryId, hook: &String| {
                let delivery = self.deliveries.get(id);
                delivery.is_some_and(|delivery| delivery.hook == *hook)
            };
            let index =
                greedy.and_then(|(hook, _)| self.ended.iter().position(|id| is_of(id, hook)));
            self.forget(index.unwrap_or(0));
        }
    }

    /// Forgets the ended delivery at this position, oldest first.
    fn forget(&mut self, index: usize) {
        let id = self.ended.remove(index);
        let Some(delivery) = id.and_then(|id| self.deliveries.remove(&id)) else {
            return;
        };
        if let Some((open, ended)) = self.per_hook.get_mut(&delivery.hook) {
            *ended = ended.saturating_sub(1);
            if (*open, *ended) == (0, 0) {
                self.per_hook.remove(&delivery.hook);
            }
        }
        if let Some(fingerprint) = delivery.duplicate
            && self.duplicates.get(&fingerprint) == Some(&delivery.id)
        {
            self.duplicates.remove(&fingerprint);
        }
    }
}

/// Returns true if at most `time` has passed since `at`.
fn is_within(at: u64, unix: u64, time: Duration) -> bool {
    unix.saturating_sub(at) <= time.as_secs()
}

/// Returns a report about a redeploy that was not carried out or whose result is unknown.
pub(crate) fn report(
    stack: &StackKey,
    name: &str,
    outcome: Outcome,
    message: String,
) -> StackReport {
    StackReport {
        stack: stack.to_string(),
        name: name.to_owned(),
        environment: None,
        outcome,
        verified: None,
        message,
        seconds: 0.0,
        services: Vec::new(),
        fault: None,
        stage: None,
        logs: Vec::new(),
    }
}

impl Part {
    fn has_ended(&self) -> bool {
        matches!(self.progress, PartProgress::Ended(_))
    }
}

impl Delivery {
    /// Returns true while it runs and for a while after it succeeded; a delivery that failed or was ignored may be tried again.
    fn answers_duplicates(&self, unix: u64) -> bool {
        match (self.status(), self.ended) {
            (DeliveryStatus::Queued | DeliveryStatus::Running, _)
            | (DeliveryStatus::Succeeded, None) => true,
            (DeliveryStatus::Succeeded, Some(ended)) => is_within(ended, unix, DUPLICATE),
            (DeliveryStatus::Ignored | DeliveryStatus::Unknown | DeliveryStatus::Failed, _) => {
                false
            }
        }
    }

    fn part(&mut self, stack: &StackKey) -> Option<&mut Part> {
        self.parts.iter_mut().find(|part| part.stack == *stack)
    }
}

#[cfg(test)]
mod tests;
