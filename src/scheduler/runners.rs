//! Runners: threads that carry out redeploys as long as some are ready, and end when none is. Which ones may run side by side is known
//! to [`super::places`].

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use super::watch::Watch;
use super::{Scheduler, State, Task};
use crate::delivery::ledger::{Entry, report};
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
            state.idle += 1;
            match report {
                Some(report) => {
                    drop(state);
                    log_end(&report);
                    self.commit_end(key, report);
                }
                None => {
                    state.begun.push_back(key);
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
            let Some((key, has_begun)) = state.choose() else {
                state.idle -= 1;
                state.runners -= 1;
                self.changed.notify_all();
                return None;
            };
            state.places.take(&key);
            drop(state);
            if !has_begun {
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
    /// The next redeploy, and whether it has begun before. Those that wait are taken in turn, so that none is passed over for ever.
    fn choose(&mut self) -> Option<(StackKey, bool)> {
        if self.stopping {
            return None;
        }
        let places = &self.places;
        if let Some(at) = self.begun.iter().position(|key| places.are_free(key)) {
            return self.begun.remove(at).map(|key| (key, true));
        }
        let free = || self.ledger.ready().filter(|key| places.are_free(key));
        let after = free().find(|key| Some(*key) > self.last.as_ref());
        let next = after.or_else(|| free().next()).cloned();
        self.last.clone_from(&next);
        next.map(|key| (key, false))
    }

    /// How many redeploys could begin now.
    fn could_begin(&self) -> usize {
        self.places
            .count(self.begun.iter().chain(self.ledger.ready()))
    }

    /// Until when something that is on record as sent may still be about to leave.
    pub(super) fn leaving_until(&self) -> Option<Instant> {
        let since = self.leaving.values().max()?;
        Some(*since + limits::LEAVING)
    }
}

/// What everybody is told whose redeploy needs the journal and cannot have it.
const NOT_WRITTEN: &str = "journal cannot be written, nothing was sent";
const GONE: &str = "this stack is not configured any more; nothing was sent";
const GONE_AFTER: &str = "this stack is not configured any more, so it was not found out how its update ended; look at it in Portainer";

fn log_end(report: &StackReport) {
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
