//! Runners: threads that carry out redeploys as long as some are ready, and end when none is. Which ones may run side by side is known
//! to [`super::places`].

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use super::watch::Watch;
use super::{Scheduler, State, Task};
use crate::delivery::ledger::{Entry, report};
use crate::delivery::queue::Running;
use crate::limits;
use crate::stack::StackKey;
use crate::stack::outcome::{Fault, Outcome, StackReport};
use crate::store::Sync;

impl Scheduler {
    /// As many as can do something, and not more than there may be.
    pub(super) fn start_runners(self: &Arc<Self>, state: &mut State) {
        while !state.stopping && state.runners < limits::RUNNERS && state.could_begin() > state.idle
        {
            let scheduler = Arc::clone(self);
            if let Err(error) = thread::Builder::new()
                .name("redeploy".to_owned())
                .spawn(move || scheduler.run())
            {
                log::error!(
                    "cannot start a thread for a redeploy: {error}; it begins with the next delivery"
                );
                break;
            }
            state.runners += 1;
            state.idle += 1;
        }
    }

    /// A runner: redeploys as long as something is ready.
    fn run(self: Arc<Self>) {
        while let Some(task) = self.next() {
            let key = task.stack.key.clone();
            let report = self.carry_out(&task);
            let mut state = self.lock();
            state.places.leave_all(&key);
            state.leaving.remove(&key);
            state.runs_alone.take_if(|alone| *alone == key);
            state.idle += 1;
            match report {
                Some(report) => {
                    drop(state);
                    log_end(&report);
                    self.commit_end(key, report);
                }
                None => {
                    let running = state.ledger.running(&key);
                    match running.is_some_and(Running::must_run_alone) {
                        true => state.must_run_alone.push_back(key),
                        false => state.begun.push_back(key),
                    }
                    self.start_runners(&mut state);
                }
            }
        }
    }

    /// The next redeploy, or the runner's end: both under one lock, so that none is left without a runner.
    fn next(self: &Arc<Self>) -> Option<Task> {
        let mut tail = self.tail();
        loop {
            let mut state = self.lock();
            let Some((key, start)) = state.choose() else {
                state.idle -= 1;
                state.runners -= 1;
                self.changed.notify_all();
                return None;
            };
            state.places.take(&key);
            drop(state);
            if start == Start::Alone {
                let entry = Entry::RunsAlone(key.clone());
                let _ = self.append(&mut tail, &entry, Sync::Now);
                self.fold(&mut self.lock(), entry);
                log::warn!(
                    stack = key.as_str();
                    "stackhook ended unexpectedly several times during this redeploy, so nothing else runs beside it"
                );
            }
            if start == Start::New {
                let entry = Entry::Started(key.clone());
                let written = self.append(&mut tail, &entry, Sync::Later);
                self.fold(&mut self.lock(), entry);
                if written.is_err() {
                    self.never_began(&key, Fault::NotWritten, NOT_WRITTEN);
                    continue;
                }
            }
            let mut state = self.lock();
            let running = state.ledger.running(&key).cloned();
            match (self.stacks.get(&key).cloned(), running) {
                (Some(stack), Some(running)) => {
                    state.idle -= 1;
                    self.changed.notify_all();
                    return Some(Task {
                        stack,
                        order: running.job.order,
                        before: running.before,
                        submission: running.submission,
                    });
                }
                (None, Some(running)) => {
                    state.places.leave_all(&key);
                    drop(state);
                    let (outcome, words) = match running.submission {
                        None => (Outcome::Failed, GONE),
                        Some(_) => (Outcome::Unknown, GONE_AFTER),
                    };
                    let unix = self.clock.unix();
                    let report = report(&key, key.as_str(), outcome, words.to_owned());
                    log_end(&report);
                    let entry = Entry::Ended {
                        stack: key,
                        report,
                        unix,
                    };
                    let _ = self.append(&mut tail, &entry, Sync::Now);
                    self.fold(&mut self.lock(), entry);
                }
                (_, None) => state.places.leave_all(&key),
            }
        }
    }

    /// A redeploy ends before it has begun; the journal cannot be told.
    fn never_began(&self, stack: &StackKey, fault: Fault, words: &str) {
        let name = self
            .stacks
            .get(stack)
            .map_or(stack.as_str(), |stack| &stack.name);
        let report = StackReport {
            fault: Some(fault),
            ..report(stack, name, Outcome::Failed, words.to_owned())
        };
        log_end(&report);
        let unix = self.clock.unix();
        let mut state = self.lock();
        state.places.leave_all(stack);
        let entry = Entry::Ended {
            stack: stack.clone(),
            report,
            unix,
        };
        self.fold(&mut state, entry);
        self.changed.notify_all();
    }

    /// `None`: it must wait for another one, and has done nothing so far.
    fn carry_out(self: &Arc<Self>, task: &Task) -> Option<StackReport> {
        let watch = Watch::new(self, task);
        let end = catch_unwind(AssertUnwindSafe(|| (self.redeploy)(task, &watch)));
        let end = end.unwrap_or_else(|_| {
            let words = "stackhook itself failed in the middle of it (its log says more); look at the stack in Portainer";
            report(&task.stack.key, &task.stack.name, Outcome::Unknown, words.to_owned())
        });
        (!watch.is_for_later()).then_some(end)
    }
}

impl State {
    /// Chooses the next redeploy: one that has begun before, then waiting ones round-robin, and last, if nothing else is left, one that
    /// must run alone.
    fn choose(&mut self) -> Option<(StackKey, Start)> {
        if self.stopping || self.runs_alone.is_some() {
            return None;
        }
        if self.only_alone_is_left() {
            let key = self.must_run_alone.pop_front()?;
            self.runs_alone = Some(key.clone());
            return Some((key, Start::Alone));
        }
        let places = &self.places;
        if let Some(at) = self.begun.iter().position(|key| places.are_free(key)) {
            return self.begun.remove(at).map(|key| (key, Start::Again));
        }
        let free = || self.ledger.ready().filter(|key| places.are_free(key));
        let after = free().find(|key| Some(*key) > self.last.as_ref());
        let next = after.or_else(|| free().next()).cloned();
        self.last.clone_from(&next);
        next.map(|key| (key, Start::New))
    }

    /// Returns true if nothing runs, and nothing waits but redeploys that must run alone.
    fn only_alone_is_left(&self) -> bool {
        let waits = !self.begun.is_empty() || self.ledger.ready().next().is_some();
        !waits && self.places.are_all_free() && !self.must_run_alone.is_empty()
    }

    /// Reports of redeploys that are given up because servers ended during them too often.
    pub(super) fn give_up(&mut self) -> Vec<(StackKey, StackReport)> {
        let ledger = &self.ledger;
        let given_up = self.must_run_alone.iter().filter_map(|key| {
            let running = ledger.running(key)?;
            let ends = running.is_given_up()?;
            let (outcome, what) = match running.submission {
                None => (Outcome::Failed, "nothing was sent"),
                Some(_) => (
                    Outcome::Unknown,
                    "its update was sent, so look at the stack in Portainer",
                ),
            };
            let message = format!(
                "stackhook ended unexpectedly {ends} times during this redeploy, at last with nothing else running; it is not tried \
                 again, {what}; check the memory limit and the log of the service manager"
            );
            Some((key.clone(), report(key, key.as_str(), outcome, message)))
        });
        let given_up: Vec<_> = given_up.collect();
        self.must_run_alone
            .retain(|key| !given_up.iter().any(|(stack, _)| stack == key));
        given_up
    }

    /// How many redeploys could begin now.
    fn could_begin(&self) -> usize {
        if self.runs_alone.is_some() {
            return 0;
        }
        if self.only_alone_is_left() {
            return 1;
        }
        self.places
            .count(self.begun.iter().chain(self.ledger.ready()))
    }

    /// Until when something that is on record as sent may still be about to leave.
    pub(super) fn leaving_until(&self) -> Option<Instant> {
        let since = self.leaving.values().max()?;
        Some(*since + limits::LEAVING)
    }
}

/// The way in which a redeploy starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Start {
    /// For the first time.
    New,
    /// Once more, after a crash or because it had to wait.
    Again,
    /// Once more, with nothing else running.
    Alone,
}

/// What everybody is told whose redeploy needs the journal and cannot have it.
const NOT_WRITTEN: &str = "journal cannot be written, nothing was sent";
const GONE: &str = "this stack is not configured any more; nothing was sent";
const GONE_AFTER: &str = "this stack is not configured any more, so it was not found out how its update ended; look at it in Portainer";

pub(super) fn log_end(report: &StackReport) {
    let level = match report.outcome {
        Outcome::Updated | Outcome::Unchanged | Outcome::Skipped => log::Level::Info,
        Outcome::Failed | Outcome::Unknown => log::Level::Error,
    };
    log::log!(
        level,
        stack = report.stack.as_str(),
        name = report.name.as_str(),
        outcome = report.outcome.name(),
        seconds = report.seconds;
        "redeploy ended: {}", report.message
    );
}
