//! Accepts deliveries, schedules redeploys on runner threads, and lets callers wait for the result. Every state change goes through
//! `commit`: it is decided on the ledger, written to the journal, then applied, in that order.

pub(crate) mod notify;
pub(crate) mod probe;
mod places;
mod watch;
mod runners;

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;

use self::notify::Notifier;
use self::places::Places;
use crate::clock::Clock;
use crate::delivery::DeliveryId;
use crate::delivery::ledger::{Entry, Failure, Ledger, Repeat};
use crate::delivery::queue::Running;
use crate::delivery::{Accepted, Asked, Delivery};
use crate::metrics::Metrics;
use crate::redeploy::{Images, Observer};
use crate::stack::order::Order;
use crate::stack::outcome::StackReport;
use crate::stack::{Stack, StackKey};
use crate::store::lock::LockManager;
use crate::store::stacks::StackStore;
use crate::store::{self, Journal, Sync};

/// The function that carries out one redeploy.
pub(crate) type Redeploy = dyn Fn(&Task, &dyn Observer) -> StackReport + Send + std::marker::Sync;

/// One redeploy, with the data of an earlier attempt that a crash interrupted.
#[derive(Debug, Clone)]
pub(crate) struct Task {
    /// The stack.
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
    /// The counters.
    pub(crate) metrics: Arc<Metrics>,
    /// Sends notices.
    pub(crate) notifier: Option<Notifier>,
}

/// The result of accepting a delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Taken {
    /// It was accepted.
    New,
    /// It is a repetition of this delivery.
    Again(DeliveryId),
    /// It is a repetition of a delivery that is no longer known.
    Forgotten,
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
    tail: Mutex<Option<Journal>>,
    lasts: bool,
    state: Mutex<State>,
    changed: Condvar,
    stacks: HashMap<StackKey, Stack>,
    redeploy: Box<Redeploy>,
    clock: Arc<dyn Clock>,
    store: StackStore,
    locks: LockManager,
    observers: Observers,
    on_end: OnceLock<Box<OnEnd>>,
}

/// Called with the id of each delivery that has ended. Must not block.
pub(crate) type OnEnd = dyn Fn(&DeliveryId) + Send + std::marker::Sync;

#[derive(Default)]
struct State {
    ledger: Ledger,
    /// Redeploys that began and have no runner, because of a crash or because they wait for a lock. They are resumed first.
    begun: VecDeque<StackKey>,
    /// Redeploys during which servers ended so often that they must run last and alone.
    must_run_alone: VecDeque<StackKey>,
    /// The one among them that runs.
    runs_alone: Option<StackKey>,
    places: Places,
    /// The stack that was started last, for round-robin.
    last: Option<StackKey>,
    /// Updates that are journalled as sent and may not have reached Portainer yet, with the time of the entry.
    leaving: HashMap<StackKey, Instant>,
    runners: usize,
    /// Runners that are choosing their next redeploy.
    idle: usize,
    /// The server is stopping: nothing is accepted or started.
    stopping: bool,
    /// The stop is complete: nothing is waited for.
    over: bool,
}

/// The reason why a decision led to no entry.
enum Refused {
    Repeat(Repeat),
    Not(NotAccepted),
}

impl From<store::NotWritten> for Refused {
    fn from(_: store::NotWritten) -> Refused {
        Refused::Not(NotAccepted::NotWritten)
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

impl Scheduler {
    /// Restores the state from the journal. Nothing starts before [`Scheduler::begin`].
    ///
    /// # Errors
    /// The journal cannot be written.
    pub(crate) fn new(
        stacks: &[Stack],
        clock: Arc<dyn Clock>,
        lasting: Persistence,
        observers: Observers,
        redeploy: Box<Redeploy>,
    ) -> Result<Arc<Scheduler>, store::NotWritten> {
        let keyed = |stack: &Stack| (stack.key.clone(), stack.clone());
        let stacks = stacks.iter().map(keyed).collect();
        let mut ledger = Ledger::default();
        let (mut journal, entries) = match lasting.journal {
            Some((journal, entries)) => (Some(journal), entries),
            None => (None, Vec::new()),
        };
        entries.into_iter().for_each(|entry| ledger.apply(entry));
        let lost = ledger.fail_orphaned(clock.unix());
        if lost > 0 {
            log::error!(
                "what became of {lost} accepted deliveries is not known, because the journal is damaged"
            );
        }
        correct_clock(&mut ledger, clock.unix());
        let takes_up = !ledger.all_running().is_empty();
        if takes_up {
            ledger.apply(Entry::Resumed);
        }
        match journal.as_mut() {
            Some(journal) if journal.is_behind() => journal.rewrite(&ledger.state())?,
            Some(journal) if takes_up => journal.append(&Entry::Resumed, Sync::Now, Vec::new)?,
            Some(_) | None => {}
        }
        for delivery in ledger.history() {
            for report in delivery.reports().filter(|report| report.outcome.is_good()) {
                let unix = delivery.ended.unwrap_or(delivery.at);
                observers.metrics.success(&report.stack, unix);
            }
        }
        let (alone, begun) = ledger.all_running().into_iter().partition(|stack| {
            let running = ledger.running(stack);
            running.is_some_and(Running::must_run_alone)
        });
        let state = State {
            begun,
            must_run_alone: alone,
            ledger,
            ..State::default()
        };
        Ok(Arc::new(Scheduler {
            lasts: journal.is_some(),
            tail: Mutex::new(journal),
            state: Mutex::new(state),
            changed: Condvar::new(),
            stacks,
            redeploy,
            clock,
            store: lasting.store,
            locks: lasting.locks,
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
                "what was open when stackhook ended goes on; deliveries: {}, redeploys under way: {}",
                state.ledger.open(),
                state.begun.len()
            );
        }
        let given_up = state.give_up();
        drop(state);
        for (stack, mut report) in given_up {
            if let Some(configured) = self.stacks.get(&stack) {
                report.name.clone_from(&configured.name);
            }
            runners::log_end(&report);
            self.commit_end(stack, report);
        }
        self.start_runners(&mut self.lock());
    }

    /// Accepts a delivery; its redeploys start as soon as their stacks are free. On disk when this returns, if there is a journal.
    pub(crate) fn accept(self: &Arc<Self>, accepted: Accepted) -> Result<Taken, NotAccepted> {
        let unix = self.clock.unix();
        correct_clock(&mut self.lock().ledger, unix);
        let taken = self.commit(Sync::Now, |state| {
            match state.ledger.repeat(&accepted, unix) {
                Repeat::New => {}
                repeat => return Err(Refused::Repeat(repeat)),
            }
            if state.stopping {
                return Err(Refused::Not(NotAccepted::Stopping));
            }
            if !state.ledger.has_room(&accepted.hook) {
                return Err(Refused::Not(NotAccepted::Full));
            }
            if accepted.replay.is_some() && !state.ledger.can_remember(&accepted.hook, unix) {
                return Err(Refused::Not(NotAccepted::Unremembered));
            }
            let busy = |asked: &Asked| asked.order.rollback && !state.ledger.is_idle(&asked.stack);
            if accepted.orders.iter().any(busy) {
                return Err(Refused::Not(NotAccepted::Busy));
            }
            Ok(Entry::Accepted { accepted, unix })
        });
        match taken {
            Ok(()) | Err(Refused::Repeat(Repeat::New)) => Ok(Taken::New),
            Err(Refused::Repeat(Repeat::Of(first))) => Ok(Taken::Again(first)),
            Err(Refused::Repeat(Repeat::Forgotten)) => Ok(Taken::Forgotten),
            Err(Refused::Not(why)) => Err(why),
        }
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
    pub(crate) fn failures(&self) -> Vec<Failure> {
        self.lock().ledger.failures().cloned().collect()
    }

    /// Returns the number of open deliveries.
    pub(crate) fn open(&self) -> usize {
        self.lock().ledger.open()
    }

    /// Returns true if accepted deliveries survive a restart.
    pub(crate) fn lasts(&self) -> bool {
        self.lasts
    }

    /// Waits until the delivery has ended, the time is over, or the stop is complete.
    #[cfg(test)]
    pub(crate) fn wait(&self, id: &DeliveryId, until: Instant) -> Option<Delivery> {
        let mut state = self.lock();
        loop {
            let delivery = state.ledger.find(id)?;
            let left = until.saturating_duration_since(Instant::now());
            if delivery.has_ended() || left.is_zero() || state.over {
                return Some(delivery.clone());
            }
            state = self
                .changed
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    /// Stops accepting and starting work. With a journal, running redeploys are left for the next start, after submissions already
    /// journalled have gone out; without one, they may take up to `within`. Returns true if nothing is lost.
    pub(crate) fn stop(&self, within: Duration) -> bool {
        let until = Instant::now() + within;
        let mut state = self.lock();
        state.stopping = true;
        // Waiting clients are released at once.
        state.over = self.lasts;
        self.changed.notify_all();
        loop {
            let until = match self.lasts {
                true => state.leaving_until(),
                false => Some(until).filter(|_| state.runners > 0),
            };
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            let Some(left) = left.filter(|left| !left.is_zero()) else {
                break;
            };
            state = self
                .changed
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        state.over = true;
        self.changed.notify_all();
        let ended = state.runners == 0;
        let is_marked = state.ledger.all_running().is_empty();
        drop(state);
        let is_marked = is_marked || !self.lasts || self.mark_stopped();
        ended || self.lasts && self.catch_up() && is_marked
    }

    /// Writes entries that could not be written before, for example because the disk was full.
    fn catch_up(&self) -> bool {
        match &mut *self.tail() {
            Some(journal) if journal.is_behind() => {
                let state = self.lock().ledger.state();
                journal.rewrite(&state).is_ok()
            }
            Some(_) | None => true,
        }
    }

    /// Notes that the server stops in order, so that the running redeploys are not suspected of having ended it.
    fn mark_stopped(&self) -> bool {
        let mut tail = self.tail();
        let marked = self.append(&mut tail, &Entry::Stopped, Sync::Now);
        self.lock().ledger.apply(Entry::Stopped);
        marked.is_ok()
    }

    /// The only way to change the state: decides, writes the entry, applies it, wakes waiters, and starts redeploys that became ready.
    fn commit<R: From<store::NotWritten>>(
        self: &Arc<Self>,
        sync: Sync,
        decide: impl FnOnce(&State) -> Result<Entry, R>,
    ) -> Result<(), R> {
        let mut tail = self.tail();
        let entry = decide(&self.lock())?;
        self.append(&mut tail, &entry, sync)?;
        self.apply(entry);
        Ok(())
    }

    /// Applies an end even if it cannot be written: the next rewrite of the journal contains it, and after a crash before that the
    /// outcome is determined again.
    fn commit_end(self: &Arc<Self>, stack: StackKey, report: StackReport) {
        let mut tail = self.tail();
        let unix = self.clock.unix();
        let entry = Entry::Ended {
            stack,
            report,
            unix,
        };
        let _ = self.append(&mut tail, &entry, Sync::Now);
        self.apply(entry);
    }

    fn append(
        &self,
        tail: &mut Option<Journal>,
        entry: &Entry,
        sync: Sync,
    ) -> Result<(), store::NotWritten> {
        match tail {
            Some(journal) => journal.append(entry, sync, || self.lock().ledger.state()),
            None => Ok(()),
        }
    }

    fn apply(self: &Arc<Self>, entry: Entry) {
        let mut state = self.lock();
        self.fold(&mut state, entry);
        self.changed.notify_all();
        self.start_runners(&mut state);
    }

    /// Applies an entry, and reports results to metrics, notices and waiting clients.
    fn fold(&self, state: &mut State, entry: Entry) {
        let new = usize::from(matches!(entry, Entry::Accepted { .. }));
        let open = state.ledger.open() + new;
        if let Entry::Ended {
            stack,
            report,
            unix,
            ..
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
    }

    fn tail(&self) -> MutexGuard<'_, Option<Journal>> {
        self.tail.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic under this lock leaves a consistent ledger, because every change is one `apply`.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
