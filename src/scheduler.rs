//! Accepts deliveries, schedules redeploys on runner threads, and reports results. A delivery goes one way: [`Scheduler::accept`] puts
//! it in the journal, a runner starts its redeploys ([`runners`]), each redeploy journals its progress ([`observer`]), and
//! [`Scheduler::end`] journals the outcome. Every change is decided on the ledger, appended to the journal, then applied, in that order.

pub(crate) mod notify;
pub(crate) mod probe;
mod busy;
mod observer;
mod runners;

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;

use self::busy::BusyTracker;
use self::notify::Notifier;
use crate::clock::Clock;
use crate::delivery::ledger::{Acceptance, Entry, Ledger, StackFailure, report};
use crate::delivery::queue::RunningRedeploy;
use crate::delivery::{Accepted, Delivery, DeliveryId, RequestedRedeploy};
use crate::metrics::Metrics;
use crate::redeploy::{Images, Observer};
use crate::stack::order::Order;
use crate::stack::outcome::{Outcome, StackReport};
use crate::stack::{Stack, StackKey};
use crate::store::lock::LockManager;
use crate::store::stacks::StackStore;
use crate::store::{Journal, Sync, WriteError};

/// The function that carries out one redeploy.
pub(crate) type RedeployFn =
    dyn Fn(&RedeployTask, &dyn Observer) -> StackReport + Send + std::marker::Sync;

/// Called with the id of each delivery that has ended. Must not block.
pub(crate) type OnEnd = dyn Fn(&DeliveryId) + Send + std::marker::Sync;

/// One redeploy, with the data of an earlier attempt that a crash interrupted.
#[derive(Debug, Clone)]
pub(crate) struct RedeployTask {
    pub(crate) stack: Stack,
    /// The merged order of its deliveries.
    pub(crate) order: Order,
    /// The images before the earlier attempt pulled anything; empty if there was none.
    pub(crate) before: Images,
    /// The submission of the earlier attempt: it is followed, and never sent again.
    pub(crate) submission: Option<Value>,
}

/// Everything that outlives a redeploy, and the locks.
pub(crate) struct Persistence {
    /// The journal and its entries; `None`: memory only.
    pub(crate) journal: Option<(Journal, Vec<Entry>)>,
    /// Records and pauses of single stacks.
    pub(crate) store: StackStore,
    /// Locks, shared with commands that run beside the server.
    pub(crate) locks: LockManager,
}

/// Receivers of results.
#[derive(Debug, Default)]
pub(crate) struct Observers {
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) notifier: Option<Notifier>,
}

/// The reason why a delivery was not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NotAccepted {
    /// Too many deliveries are open, in total or of its hook.
    Full,
    /// It is signed with a time, and the table of such requests is full, so its replay could not be recognised.
    Unremembered,
    /// It asks for a rollback while another redeploy of the stack runs or waits.
    Busy,
    /// It could not be written to the journal.
    NotWritten,
    /// The server is stopping.
    Stopping,
}

/// The scheduler; shared by all threads.
pub(crate) struct Scheduler {
    /// Locked from a decision until it is applied, so that decisions are serialised. Lock order: this before `state`.
    journal: Mutex<Option<Journal>>,
    is_persistent: bool,
    state: Mutex<SchedulerState>,
    changed: Condvar,
    stacks: HashMap<StackKey, Stack>,
    redeploy: Box<RedeployFn>,
    clock: Arc<dyn Clock>,
    store: StackStore,
    locks: LockManager,
    observers: Observers,
    on_end: OnceLock<Box<OnEnd>>,
}

#[derive(Default)]
struct SchedulerState {
    ledger: Ledger,
    /// Redeploys that began and have no runner, because of a crash or because they wait for a lock. They are resumed first.
    begun: VecDeque<StackKey>,
    /// Redeploys during which servers ended so often that they must run last and alone.
    must_run_alone: VecDeque<StackKey>,
    /// The one among them that runs.
    runs_alone: Option<StackKey>,
    busy: BusyTracker,
    /// The stack that was started last, for round-robin.
    last: Option<StackKey>,
    /// Updates that are journalled as sent and may not have reached Portainer yet, with the time of the entry.
    submitting: HashMap<StackKey, Instant>,
    runners: usize,
    /// Runners that are choosing their next redeploy.
    idle: usize,
    /// The server is stopping: nothing is accepted or started.
    stopping: bool,
    /// The stop is complete: nothing is waited for.
    stopped: bool,
}

impl Scheduler {
    /// Restores the state from the journal. Nothing starts before [`Scheduler::begin`].
    ///
    /// Errors: the journal cannot be written.
    pub(crate) fn new(
        stacks: &[Stack],
        clock: Arc<dyn Clock>,
        persistence: Persistence,
        observers: Observers,
        redeploy: Box<RedeployFn>,
    ) -> Result<Arc<Scheduler>, WriteError> {
        let keyed = |stack: &Stack| (stack.key.clone(), stack.clone());
        let stacks = stacks.iter().map(keyed).collect();
        let (mut journal, entries) = persistence.journal.unzip();
        let mut ledger = Ledger::default();
        let entries = entries.into_iter().flatten();
        entries.for_each(|entry| ledger.apply(entry));
        let orphaned = ledger.fail_orphaned(clock.unix());
        if orphaned > 0 {
            log::error!(
                "the result of {orphaned} accepted deliveries is unknown, because the journal is damaged; check their stacks in Portainer"
            );
        }
        correct_clock(&mut ledger, clock.unix());
        let running = ledger.all_running();
        let resumes = !running.is_empty();
        if resumes {
            ledger.apply(Entry::Resumed);
        }
        match journal.as_mut() {
            Some(journal) if journal.is_behind() => journal.rewrite(&ledger.state())?,
            Some(journal) if resumes => journal.append(&Entry::Resumed, Sync::Now, Vec::new)?,
            Some(_) | None => {}
        }
        for delivery in ledger.history() {
            for report in delivery.reports().filter(|report| report.outcome.is_good()) {
                let unix = delivery.ended.unwrap_or(delivery.at);
                observers.metrics.success(&report.stack, unix);
            }
        }
        let (must_run_alone, begun) = running.into_iter().partition(|stack| {
            let running = ledger.running(stack);
            running.is_some_and(RunningRedeploy::must_run_alone)
        });
        let state = SchedulerState {
            begun,
            must_run_alone,
            ledger,
            ..SchedulerState::default()
        };
        Ok(Arc::new(Scheduler {
            is_persistent: journal.is_some(),
            journal: Mutex::new(journal),
            state: Mutex::new(state),
            changed: Condvar::new(),
            stacks,
            redeploy,
            clock,
            store: persistence.store,
            locks: persistence.locks,
            observers,
            on_end: OnceLock::new(),
        }))
    }

    /// Sets the function that is called when a delivery has ended; only the first one counts.
    pub(crate) fn set_on_end(&self, on_end: Box<OnEnd>) {
        drop(self.on_end.set(on_end));
    }

    /// Resumes the deliveries that earlier servers left open.
    pub(crate) fn begin(self: &Arc<Self>) {
        let mut state = self.lock();
        if state.ledger.open() > 0 {
            log::info!(
                "resuming after a restart; open deliveries: {}, running redeploys: {}",
                state.ledger.open(),
                state.begun.len() + state.must_run_alone.len()
            );
        }
        let given_up = state.take_given_up();
        drop(state);
        for (stack, outcome, message) in given_up {
            let report = self.report(&stack, outcome, message);
            self.end(&mut self.journal(), stack, report);
        }
        self.start_runners(&mut self.lock());
    }

    /// Accepts a delivery; its redeploys start as soon as their stacks are free. On disk when this returns, if there is a journal.
    pub(crate) fn accept(self: &Arc<Self>, accepted: Accepted) -> Result<Acceptance, NotAccepted> {
        let mut journal = self.journal();
        let unix = self.clock.unix();
        {
            let mut state = self.lock();
            correct_clock(&mut state.ledger, unix);
            match state.ledger.recognize(&accepted, unix) {
                Acceptance::New => state.check(&accepted, unix)?,
                repeated => return Ok(repeated),
            }
        }
        self.commit(&mut journal, Sync::Now, Entry::Accepted { accepted, unix })
            .map_err(|WriteError| NotAccepted::NotWritten)?;
        Ok(Acceptance::New)
    }

    /// Returns a delivery that is open or still known.
    pub(crate) fn find(&self, id: &DeliveryId) -> Option<Delivery> {
        self.lock().ledger.find(id).cloned()
    }

    /// Returns the last deliveries, newest first.
    pub(crate) fn history(&self) -> Vec<Delivery> {
        self.lock().ledger.history().cloned().collect()
    }

    /// Returns the last failure of each stack.
    pub(crate) fn failures(&self) -> Vec<StackFailure> {
        self.lock().ledger.failures().cloned().collect()
    }

    /// Returns the number of open deliveries.
    pub(crate) fn open(&self) -> usize {
        self.lock().ledger.open()
    }

    /// Returns true if accepted deliveries survive a restart.
    pub(crate) fn is_persistent(&self) -> bool {
        self.is_persistent
    }

    /// Waits until the delivery has ended, the time is over, or the stop is complete.
    #[cfg(test)]
    pub(crate) fn wait(&self, id: &DeliveryId, until: Instant) -> Option<Delivery> {
        let mut state = self.lock();
        loop {
            let delivery = state.ledger.find(id)?;
            let left = until.saturating_duration_since(Instant::now());
            if delivery.has_ended() || left.is_zero() || state.stopped {
                return Some(delivery.clone());
            }
            state = self.wait_for_change(state, left);
        }
    }

    /// Stops accepting and starting work. With a journal, running redeploys are left for the next start, after submissions already
    /// journalled have gone out; without one, they may take up to `within`. Returns true if nothing is lost.
    pub(crate) fn stop(&self, within: Duration) -> bool {
        let until = Instant::now() + within;
        let mut state = self.lock();
        state.stopping = true;
        // Waiting clients are released at once.
        state.stopped = self.is_persistent;
        self.changed.notify_all();
        loop {
            let until = match self.is_persistent {
                true => state.submitting_until(),
                false => Some(until).filter(|_| state.runners > 0),
            };
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            let Some(left) = left.filter(|left| !left.is_zero()) else {
                break;
            };
            state = self.wait_for_change(state, left);
        }
        state.stopped = true;
        self.changed.notify_all();
        let ended = state.runners == 0;
        drop(state);
        let written = self.is_persistent && self.close_journal();
        ended || written
    }

    /// Writes entries that could not be written before, for example because the disk was full, and notes that the server stops in
    /// order, so that running redeploys are not suspected of having ended it. Returns true if the journal is complete.
    fn close_journal(&self) -> bool {
        let mut journal = self.journal();
        let state = self.lock();
        let has_running = !state.ledger.all_running().is_empty();
        drop(state);
        if has_running {
            let written = self.append(&mut journal, &Entry::Stopped, Sync::Now);
            self.lock().ledger.apply(Entry::Stopped);
            return written.is_ok();
        }
        match &mut *journal {
            Some(journal) if journal.is_behind() => {
                let state = self.lock().ledger.state();
                journal.rewrite(&state).is_ok()
            }
            Some(_) | None => true,
        }
    }

    /// Appends an entry to the journal and applies it; nothing changes if it cannot be written.
    fn commit(
        self: &Arc<Self>,
        journal: &mut Option<Journal>,
        sync: Sync,
        entry: Entry,
    ) -> Result<(), WriteError> {
        self.append(journal, &entry, sync)?;
        self.apply(entry);
        Ok(())
    }

    /// Ends the running redeploy of a stack. The end is applied even if it cannot be written: the next rewrite of the journal contains
    /// it, and after a crash before that the outcome is determined again.
    fn end(self: &Arc<Self>, journal: &mut Option<Journal>, stack: StackKey, report: StackReport) {
        log_end(&report);
        let unix = self.clock.unix();
        let entry = Entry::Ended {
            stack,
            report,
            unix,
        };
        let _ = self.append(journal, &entry, Sync::Now);
        self.apply(entry);
    }

    fn append(
        &self,
        journal: &mut Option<Journal>,
        entry: &Entry,
        sync: Sync,
    ) -> Result<(), WriteError> {
        match journal {
            Some(journal) => journal.append(entry, sync, || self.lock().ledger.state()),
            None => Ok(()),
        }
    }

    /// Applies an entry, reports results to metrics, notices and waiting clients, and starts redeploys that became ready.
    fn apply(self: &Arc<Self>, entry: Entry) {
        let mut state = self.lock();
        let accepted = usize::from(matches!(entry, Entry::Accepted { .. }));
        let open = state.ledger.open() + accepted;
        if let Entry::Ended {
            stack,
            report,
            unix,
        } = &entry
        {
            self.observers.metrics.redeploy(report, *unix);
            if let Some(notifier) = &self.observers.notifier {
                let running = state.ledger.running(stack);
                notifier.ended(report, running.is_some_and(|one| one.job.order.rollback));
            }
        }
        state.ledger.apply(entry);
        let ended = open.saturating_sub(state.ledger.open());
        for delivery in state.ledger.last_ended(ended) {
            let status = delivery.status().name();
            self.observers.metrics.delivery(&delivery.hook, status);
            if let Some(on_end) = self.on_end.get() {
                on_end(&delivery.id);
            }
        }
        self.changed.notify_all();
        self.start_runners(&mut state);
    }

    /// Returns a report on a redeploy that did not run to its end.
    fn report(&self, stack: &StackKey, outcome: Outcome, message: String) -> StackReport {
        let configured = self.stacks.get(stack);
        let name = configured.map_or(stack.as_str(), |stack| &stack.name);
        report(stack, name, outcome, message)
    }

    fn journal(&self) -> MutexGuard<'_, Option<Journal>> {
        self.journal.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> MutexGuard<'_, SchedulerState> {
        // A panic under this lock leaves a consistent ledger, because every change is one `apply`.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait_for_change<'s>(
        &self,
        state: MutexGuard<'s, SchedulerState>,
        within: Duration,
    ) -> MutexGuard<'s, SchedulerState> {
        let waited = self.changed.wait_timeout(state, within);
        waited.unwrap_or_else(PoisonError::into_inner).0
    }
}

impl SchedulerState {
    /// Returns the reason why a new delivery cannot be accepted.
    fn check(&self, accepted: &Accepted, unix: u64) -> Result<(), NotAccepted> {
        if self.stopping {
            return Err(NotAccepted::Stopping);
        }
        if !self.ledger.has_room(&accepted.hook) {
            return Err(NotAccepted::Full);
        }
        if accepted.replay.is_some() && !self.ledger.can_remember(&accepted.hook, unix) {
            return Err(NotAccepted::Unremembered);
        }
        let is_busy = |requested: &RequestedRedeploy| {
            requested.order.rollback && !self.ledger.is_idle(&requested.stack)
        };
        match accepted.orders.iter().any(is_busy) {
            true => Err(NotAccepted::Busy),
            false => Ok(()),
        }
    }
}

/// Corrects saved times after the clock went back, and logs it.
fn correct_clock(ledger: &mut Ledger, unix: u64) {
    let corrected = ledger.correct_clock(unix);
    if corrected > 0 {
        log::warn!(
            "the system clock went back: {corrected} saved times were in the future and are corrected; check the time synchronisation"
        );
    }
}

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

#[cfg(test)]
mod tests;
