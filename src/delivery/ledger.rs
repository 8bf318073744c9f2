//! All deliveries as a fold over entries: the one place where their state changes, the same while it happens and after a crash.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Duration;

use crate::delivery::DeliveryId;
pub(crate) use crate::delivery::entry::{Entry, Failure};
use crate::delivery::queue::{Lanes, Running};
use crate::delivery::{Accepted, Delivery, Part, Print, Progress, Status};
use crate::limits;
use crate::stack::StackKey;
use crate::stack::outcome::{Outcome, StackReport};

/// Whether a delivery came before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Repeat {
    /// It did not, or may run again.
    New,
    /// It is answered as this one.
    Of(DeliveryId),
    /// It is a replay of one that is no longer known.
    Forgotten,
}

/// All deliveries that are open or still remembered, and the lanes.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Ledger {
    deliveries: HashMap<DeliveryId, Delivery>,
    /// Ended ones, oldest first.
    ended: VecDeque<DeliveryId>,
    lanes: Lanes,
    /// What was made of signed requests, and when.
    replays: HashMap<Print, (DeliveryId, u64)>,
    /// The same, oldest first.
    replayed: VecDeque<Print>,
    duplicates: HashMap<Print, DeliveryId>,
    /// One a stack.
    failures: Vec<Failure>,
}

impl Ledger {
    /// How many deliveries have not ended.
    pub(crate) fn open(&self) -> usize {
        self.deliveries.len() - self.ended.len()
    }

    /// A delivery that is open or still remembered.
    pub(crate) fn find(&self, id: &DeliveryId) -> Option<&Delivery> {
        self.deliveries.get(id)
    }

    /// Whether a delivery came before.
    pub(crate) fn repeat(&self, accepted: &Accepted, unix: u64) -> Repeat {
        let replay = accepted.replay.as_ref();
        if let Some((first, at)) = replay.and_then(|print| self.replays.get(print)) {
            match self.deliveries.contains_key(first) {
                true => return Repeat::Of(first.clone()),
                false if is_within(*at, unix, limits::REPLAY) => return Repeat::Forgotten,
                false => {}
            }
        }
        let first = accepted
            .duplicate
            .as_ref()
            .and_then(|print| self.deliveries.get(self.duplicates.get(print)?));
        match first {
            Some(first) if first.stands_for_its_duplicates(unix) => Repeat::Of(first.id.clone()),
            Some(_) | None => Repeat::New,
        }
    }

    /// Whether a replay of one more signed request would be known.
    pub(crate) fn can_remember(&self, unix: u64) -> bool {
        let oldest = self
            .replayed
            .front()
            .and_then(|print| self.replays.get(print));
        self.replayed.len() < limits::REPLAYS
            || !oldest.is_some_and(|(_, at)| is_within(*at, unix, limits::REPLAY))
    }

    /// The last deliveries, newest first: the open ones, then those that have ended.
    pub(crate) fn history(&self) -> impl Iterator<Item = &Delivery> {
        let open = self.not_ended().into_iter().rev();
        let ended = self.ended.iter().rev();
        let ended = ended.filter_map(|id| self.deliveries.get(id));
        open.chain(ended).take(limits::HISTORY)
    }

    /// The deliveries that ended last.
    pub(crate) fn last_ended(&self, count: usize) -> impl Iterator<Item = &Delivery> {
        let ended = self.ended.iter().rev().take(count);
        ended.filter_map(|id| self.deliveries.get(id))
    }

    /// Whether nothing runs or waits for a stack.
    pub(crate) fn is_idle(&self, stack: &StackKey) -> bool {
        self.lanes.running(stack).is_none() && !self.lanes.ready().any(|ready| ready == stack)
    }

    /// The last failure of each stack that ever had one.
    pub(crate) fn failures(&self) -> impl Iterator<Item = &Failure> {
        self.failures.iter()
    }

    /// The stacks whose waiting redeploy nothing of their own holds up, in the order of their keys.
    pub(crate) fn ready(&self) -> impl Iterator<Item = &StackKey> {
        self.lanes.ready()
    }

    /// The running redeploy of a stack.
    pub(crate) fn running(&self, stack: &StackKey) -> Option<&Running> {
        self.lanes.running(stack)
    }

    /// The stacks whose redeploy runs: after a crash those that must be taken up again.
    pub(crate) fn all_running(&self) -> Vec<StackKey> {
        let running = self
            .lanes
            .all()
            .filter(|(_, lane)| lane.running().is_some());
        running.map(|(stack, _)| stack.clone()).collect()
    }

    /// The step that the running redeploy of a stack is at; not lasting, so it is no entry.
    pub(crate) fn step(&mut self, stack: &StackKey, step: &str) {
        for id in self.lanes.covered(stack) {
            if let Some(part) = self
                .deliveries
                .get_mut(id)
                .and_then(|delivery| delivery.part(stack))
            {
                part.progress = Progress::Running(step.to_owned());
            }
        }
    }

    /// The fold.
    pub(crate) fn apply(&mut self, entry: Entry) {
        match entry {
            Entry::Accepted { accepted, unix } => self.accept(accepted, unix),
            Entry::Started(stack) => {
                self.lanes.start(&stack);
                self.step(&stack, "starting");
            }
            Entry::Pulling { stack, before } => {
                if let Some(running) = self.lanes.running_mut(&stack) {
                    // What the first run saw counts: a later one sees what that one pulled.
                    for (reference, id) in before {
                        running.before.entry(reference).or_insert(id);
                    }
                }
            }
            Entry::Submitting { stack, submission } => {
                if let Some(running) = self.lanes.running_mut(&stack) {
                    running.submission = Some(submission);
                }
            }
            Entry::NotSent(stack) => {
                if let Some(running) = self.lanes.running_mut(&stack) {
                    running.submission = None;
                }
            }
            Entry::Ended {
                stack,
                report,
                unix,
            } => self.end_of_run(stack, report, unix),
            Entry::Delivery(delivery) => self.put(delivery),
            Entry::Lane { stack, lane } => {
                let Ledger {
                    lanes, deliveries, ..
                } = self;
                lanes.put(stack, lane, |id| {
                    deliveries
                        .get(id)
                        .is_some_and(|delivery| delivery.ended.is_none())
                });
            }
            Entry::Replay {
                print,
                delivery,
                unix,
            } => self.remember(print, delivery, unix),
            Entry::Failure(failure) => self.failed(failure),
        }
    }

    /// Entries that amount to this: deliveries before the lanes that cover them.
    pub(crate) fn state(&self) -> Vec<Entry> {
        let ended = self.ended.iter().filter_map(|id| self.deliveries.get(id));
        let deliveries = ended.chain(self.not_ended());
        let deliveries = deliveries.cloned().map(Entry::Delivery);
        let lanes = self.lanes.all().map(|(stack, lane)| Entry::Lane {
            stack: stack.clone(),
            lane: lane.clone(),
        });
        let replays = self.replayed.iter().filter_map(|print| {
            let (delivery, unix) = self.replays.get(print)?.clone();
            Some(Entry::Replay {
                print: print.clone(),
                delivery,
                unix,
            })
        });
        let failures = self.failures.iter().cloned().map(Entry::Failure);
        deliveries
            .chain(lanes)
            .chain(replays)
            .chain(failures)
            .collect()
    }

    /// Deliveries that are open and that no redeploy covers: only a damaged journal leaves such. They end, and say what is not known.
    /// Returns how many there were.
    pub(crate) fn end_lost(&mut self, unix: u64) -> usize {
        let mut lost = Vec::new();
        let lanes = self.lanes.all();
        let covered = lanes
            .map(|(stack, lane)| (stack, lane.covers()))
            .collect::<BTreeMap<_, _>>();
        for delivery in self.not_ended() {
            for part in delivery.parts.iter().filter(|part| !part.has_ended()) {
                let lane = covered.get(&part.stack);
                if !lane.is_some_and(|lane| lane.contains(&delivery.id)) {
                    lost.push((delivery.id.clone(), part.stack.clone(), part.name.clone()));
                }
            }
        }
        for (id, stack, name) in &lost {
            let words = "the journal is damaged there, so that nobody knows how it ended; look at the stack in Portainer";
            let report = report(stack, name, Outcome::Unknown, words.to_owned());
            self.end(id, stack, report, unix);
        }
        lost.len()
    }

    /// Oldest first.
    fn not_ended(&self) -> Vec<&Delivery> {
        let open = self.deliveries.values();
        let mut open: Vec<&Delivery> = open.filter(|one| one.ended.is_none()).collect();
        open.sort_unstable_by(|one, other| (one.at, &one.id).cmp(&(other.at, &other.id)));
        open
    }

    fn accept(&mut self, accepted: Accepted, unix: u64) {
        if let Some(print) = accepted.replay {
            self.remember(print, accepted.id.clone(), unix);
        }
        let part = |asked: &super::Asked| Part {
            stack: asked.stack.clone(),
            name: asked.name.clone(),
            progress: Progress::Waiting,
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
            for overtaken in self
                .lanes
                .join(&asked.stack, &accepted.id, asked.order, time)
            {
                let report = report(
                    &asked.stack,
                    &asked.name,
                    Outcome::Skipped,
                    overtaken.words(),
                );
                self.end(&overtaken.delivery, &asked.stack, report, unix);
            }
        }
    }

    fn put(&mut self, delivery: Delivery) {
        if let Some(print) = &delivery.duplicate {
            self.duplicates.insert(print.clone(), delivery.id.clone());
        }
        if delivery.ended.is_some() {
            self.ended.push_back(delivery.id.clone());
        }
        self.deliveries.insert(delivery.id.clone(), delivery);
    }

    fn remember(&mut self, print: Print, delivery: DeliveryId, unix: u64) {
        while let Some(oldest) = self.replayed.front() {
            let at = self.replays.get(oldest).map(|(_, at)| *at);
            if at.is_some_and(|at| is_within(at, unix, limits::REPLAY)) {
                break;
            }
            self.replays.remove(oldest);
            self.replayed.pop_front();
        }
        self.replays.insert(print.clone(), (delivery, unix));
        self.replayed.push_back(print);
    }

    fn end_of_run(&mut self, stack: StackKey, report: StackReport, unix: u64) {
        // Logs are kept once a stack, not once a delivery.
        let without_logs = StackReport {
            logs: Vec::new(),
            ..report.clone()
        };
        for id in self.lanes.end(&stack) {
            self.end(&id, &stack, without_logs.clone(), unix);
        }
        if matches!(report.outcome, Outcome::Failed | Outcome::Unknown) {
            self.failed(Failure {
                stack,
                unix,
                report,
            });
        }
    }

    fn failed(&mut self, failure: Failure) {
        self.failures.retain(|one| one.stack != failure.stack);
        self.failures.push(failure);
    }

    fn end(&mut self, id: &DeliveryId, stack: &StackKey, report: StackReport, unix: u64) {
        let Some(delivery) = self.deliveries.get_mut(id) else {
            return;
        };
        // A delivery that lost two variables is told once.
        match delivery.part(stack) {
            Some(part) if !part.has_ended() => part.progress = Progress::Ended(report),
            _ => return,
        }
        if delivery.has_ended() {
            delivery.ended = Some(unix);
            self.ended.push_back(id.clone());
        }
        while let Some(oldest) = self.ended.front() {
            let ended = self
                .deliveries
                .get(oldest)
                .and_then(|delivery| delivery.ended);
            let is_old = !ended.is_some_and(|ended| is_within(ended, unix, limits::ENDED_KEPT));
            let many = self.ended.len();
            let keep = many <= limits::HISTORY || many <= limits::ENDED_DELIVERIES && !is_old;
            if keep {
                break;
            }
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        let oldest = self.ended.pop_front();
        let Some(delivery) = oldest.and_then(|id| self.deliveries.remove(&id)) else {
            return;
        };
        if let Some(print) = delivery.duplicate
            && self.duplicates.get(&print) == Some(&delivery.id)
        {
            self.duplicates.remove(&print);
        }
    }
}

/// Whether not more than `time` has passed since `at`.
fn is_within(at: u64, unix: u64, time: Duration) -> bool {
    unix.saturating_sub(at) <= time.as_secs()
}

/// The report on what was not carried out, or of which nothing is known.
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
        matches!(self.progress, Progress::Ended(_))
    }
}

impl Delivery {
    /// While it runs and for a while after it succeeded; what failed, or was not acted on, may be tried again.
    fn stands_for_its_duplicates(&self, unix: u64) -> bool {
        match (self.status(), self.ended) {
            (Status::Queued | Status::Running, _) | (Status::Succeeded, None) => true,
            (Status::Succeeded, Some(ended)) => is_within(ended, unix, limits::DUPLICATE),
            (Status::Ignored | Status::Unknown | Status::Failed, _) => false,
        }
    }

    fn part(&mut self, stack: &StackKey) -> Option<&mut Part> {
        self.parts.iter_mut().find(|part| part.stack == *stack)
    }
}

#[cfg(test)]
mod tests;
