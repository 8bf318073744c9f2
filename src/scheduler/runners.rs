//! Runners: threads that carry out redeploys while some are ready, and end when none is. [`super::busy`] knows which
//! ones may run side by side.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use super::observer::RedeployObserver;
use super::{RedeployTask, Scheduler, SchedulerState};
use crate::delivery::ledger::Entry;
use crate::delivery::queue::RunningRedeploy;
use crate::limits;
use crate::stack::StackKey;
use crate::stack::outcome::{Fault, Outcome, StackReport};
use crate::store::{Journal, Sync};

impl Scheduler {
    /// Starts a thread for each redeploy that could begin now, up to the limit.
    pub(super) fn start_runners(self: &Arc<Self>, state: &mut SchedulerState) {
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

    fn run(self: Arc<Self>) {
        while let Some(task) = self.next() {
            let key = task.stack.key.clone();
            let report = self.carry_out(&task);
            let mut state = self.lock();
            state.release(&key);
            state.idle += 1;
            match report {
                Some(report) => {
                    drop(state);
                    self.end(&mut self.journal(), key, report);
                }
                None => {
                    let running = state.ledger.running(&key);
                    match running.is_some_and(RunningRedeploy::must_run_alone) {
                        true => state.must_run_alone.push_back(key),
                        false => state.begun.push_back(key),
                    }
                    self.start_runners(&mut state);
                }
            }
        }
    }

    /// Returns the next redeploy. If there is none, the runner is taken off the count under the same lock, so that no redeploy is left
    /// without a runner.
    fn next(self: &Arc<Self>) -> Option<RedeployTask> {
        let mut journal = self.journal();
        loop {
            let mut state = self.lock();
            let Some((key, start)) = state.choose() else {
                state.idle -= 1;
                state.runners -= 1;
                self.changed.notify_all();
                return None;
            };
            drop(state);
            match self.start(&mut journal, &key, start) {
                Ok(task) => {
                    self.lock().idle -= 1;
                    return Some(task);
                }
                Err(report) => {
                    self.lock().release(&key);
                    self.end(&mut journal, key, *report);
                }
            }
        }
    }

    /// Journals the start of a chosen redeploy. Returns the report if it cannot begin.
    fn start(
        self: &Arc<Self>,
        journal: &mut Option<Journal>,
        key: &StackKey,
        start: Start,
    ) -> Result<RedeployTask, Box<StackReport>> {
        let failed =
            |outcome, message: &str| Box::new(self.report(key, outcome, message.to_owned()));
        let (entry, sync) = match start {
            Start::New => (Some(Entry::Started(key.clone())), Sync::Later),
            Start::Alone => (Some(Entry::RunsAlone(key.clone())), Sync::Now),
            Start::Again => (None, Sync::Later),
        };
        if let Some(entry) = entry {
            let written = self.append(journal, &entry, sync);
            self.apply(entry);
            if written.is_err() && start == Start::New {
                let report = failed(Outcome::Failed, NOT_WRITTEN);
                return Err(Box::new(StackReport {
                    fault: Some(Fault::NotWritten),
                    ..*report
                }));
            }
        }
        if start == Start::Alone {
            log::warn!(
                stack = key.as_str();
                "stackhook ended unexpectedly several times during this redeploy, so nothing else runs beside it"
            );
        }
        let running = self.lock().ledger.running(key).cloned();
        match (self.stacks.get(key), running) {
            (Some(stack), Some(running)) => Ok(RedeployTask {
                stack: stack.clone(),
                order: running.job.order,
                before: running.before,
                submission: running.submission,
            }),
            (None, Some(running)) if running.submission.is_some() => {
                Err(failed(Outcome::Unknown, NOT_CONFIGURED_SENT))
            }
            _ => Err(failed(Outcome::Failed, NOT_CONFIGURED)),
        }
    }

    /// Carries out a redeploy. Returns `None` if it has to start again after another one and has done nothing so far.
    fn carry_out(self: &Arc<Self>, task: &RedeployTask) -> Option<StackReport> {
        let observer = RedeployObserver::new(self, task);
        let end = catch_unwind(AssertUnwindSafe(|| (self.redeploy)(task, &observer)));
        let end = end.unwrap_or_else(|_| {
            self.report(&task.stack.key, Outcome::Unknown, INTERNAL_ERROR.to_owned())
        });
        (!observer.is_deferred()).then_some(end)
    }
}

impl SchedulerState {
    /// Chooses and reserves the next redeploy: one that has begun before, then waiting ones round-robin, and last, if nothing else is
    /// left, one that must run alone.
    fn choose(&mut self) -> Option<(StackKey, Start)> {
        if self.stopping || self.runs_alone.is_some() {
            return None;
        }
        let chosen = if self.only_alone_is_left() {
            let key = self.must_run_alone.pop_front()?;
            self.runs_alone = Some(key.clone());
            (key, Start::Alone)
        } else if let Some(at) = self.begun.iter().position(|key| self.busy.can_run(key)) {
            (self.begun.remove(at)?, Start::Again)
        } else {
            let ready = || self.ledger.ready().filter(|key| self.busy.can_run(key));
            let after_last = ready().find(|key| Some(*key) > self.last.as_ref());
            let key = after_last.or_else(|| ready().next())?.clone();
            self.last = Some(key.clone());
            (key, Start::New)
        };
        self.busy.reserve(&chosen.0);
        Some(chosen)
    }

    /// Frees what a redeploy occupied.
    fn release(&mut self, key: &StackKey) {
        self.busy.release_all(key);
        self.submitting.remove(key);
        self.runs_alone.take_if(|alone| alone == key);
    }

    /// Returns true if nothing runs, and nothing waits but redeploys that must run alone.
    fn only_alone_is_left(&self) -> bool {
        let waits = !self.begun.is_empty() || self.ledger.ready().next().is_some();
        !waits && self.busy.is_empty() && !self.must_run_alone.is_empty()
    }

    /// Removes the redeploys during which servers ended too often; returns their outcomes and messages.
    pub(super) fn take_given_up(&mut self) -> Vec<(StackKey, Outcome, String)> {
        let mut given_up = Vec::new();
        self.must_run_alone.retain(|key| {
            let running = self.ledger.running(key);
            let Some((running, ends)) = running.and_then(|it| Some((it, it.is_given_up()?))) else {
                return true;
            };
            let (outcome, state) = match running.submission {
                None => (Outcome::Failed, "nothing was sent"),
                Some(_) => (
                    Outcome::Unknown,
                    "its update was sent, so check the stack in Portainer",
                ),
            };
            let message = format!(
                "stackhook ended unexpectedly {ends} times during this redeploy, the last times with nothing else running; it is not \
                 tried again, {state}; check the memory limit and the log of the service manager"
            );
            given_up.push((key.clone(), outcome, message));
            false
        });
        given_up
    }

    /// Returns the number of redeploys that could begin now.
    fn could_begin(&self) -> usize {
        if self.runs_alone.is_some() {
            return 0;
        }
        if self.only_alone_is_left() {
            return 1;
        }
        self.busy
            .count_runnable(self.begun.iter().chain(self.ledger.ready()))
    }

    /// Returns the time until which an update that is journalled as sent may not have reached Portainer yet.
    pub(super) fn submitting_until(&self) -> Option<Instant> {
        let since = self.submitting.values().max()?;
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

const NOT_WRITTEN: &str = "the journal cannot be written; nothing was sent";
const NOT_CONFIGURED: &str = "this stack is no longer configured; nothing was sent";
const NOT_CONFIGURED_SENT: &str = "this stack is no longer configured, so the result of its update, which was sent, is unknown; check it in Portainer";
const INTERNAL_ERROR: &str =
    "internal error during the redeploy (see the log); check the stack in Portainer";
