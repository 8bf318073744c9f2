//! From accepted to ended: the one door to lasting change, runners that carry out redeploys as they become ready, and people who
//! wait for an end. Every change is decided on the ledger, then made to last, then applied, in that order.

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

/// What carries out one redeploy.
pub(crate) type Redeploy = dyn Fn(&Task, &dyn Observer) -> StackReport + Send + std::marker::Sync;

/// One redeploy, and what an earlier try of it left that a crash cut short.
#[derive(Debug, Clone)]
pub(crate) struct Task {
    /// Of which stack.
    pub(crate) stack: Stack,
    /// What is asked.
    pub(crate) order: Order,
    /// The images before the earlier try pulled anything; empty where there was none.
    pub(crate) before: Images,
    /// What the earlier try sent, as the redeploy wrote it down: it is never sent again, only its end is found out.
    pub(crate) submission: Option<Value>,
}

/// What outlives a redeploy, and whose turn it is.
pub(crate) struct Lasting {
    /// What the deliveries so far amount to; `None`: memory only.
    pub(crate) journal: Option<(Journal, Vec<Entry>)>,
    /// What lasts about single stacks.
    pub(crate) store: StackStore,
    /// Shared with the commands beside it.
    pub(crate) locks: LockManager,
}

/// Who is told of ends.
#[derive(Debug, Default)]
pub(crate) struct Ears {
    /// Counts them.
    pub(crate) metrics: Arc<Metrics>,
    /// Tells people.
    pub(crate) notifier: Option<Notifier>,
}

/// What was made of a delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Taken {
    /// It is in.
    New,
    /// It came before, and is answered as this one.
    Again(DeliveryId),
    /// It came before, and is no longer known.
    Forgotten,
}

/// Why a delivery was not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NotAccepted {
    /// Too many are open.
    Full,
    /// It is signed with a time, and too many such are remembered to tell if it came again.
    Unremembered,
    /// A way back is asked for, and something else is under way.
    Busy,
    /// It could not be made to last.
    NotWritten,
    /// The end is near.
    Stopping,
}

/// The scheduler.
pub(crate) struct Scheduler {
    /// Held from a decision until it is applied, so that decisions are made one after the other; always before `state`.
    tail: Mutex<Option<Journal>>,
    lasts: bool,
    state: Mutex<State>,
    changed: Condvar,
    stacks: HashMap<StackKey, Stack>,
    redeploy: Box<Redeploy>,
    clock: Arc<dyn Clock>,
    store: StackStore,
    locks: LockManager,
    ears: Ears,
    on_end: OnceLock<Box<OnEnd>>,
}

/// Called with the id of each delivery that has ended. Must not block.
pub(crate) type OnEnd = dyn Fn(&DeliveryId) + Send + std::marker::Sync;

#[derive(Default)]
struct State {
    ledger: Ledger,
    /// Redeploys that have begun and have no runner: a crash cut them short, or what they need is another one's. They go first.
    begun: VecDeque<StackKey>,
    /// Redeploys during which servers ended so often that they must run last and alone.
    must_run_alone: VecDeque<StackKey>,
    /// The one among them that runs.
    runs_alone: Option<StackKey>,
    places: Places,
    /// Whose turn it was last among those that wait.
    last: Option<StackKey>,
    /// Updates that are on record as sent and perhaps have not left yet, and since when.
    leaving: HashMap<StackKey, Instant>,
    runners: usize,
    /// Runners on their way to the next redeploy.
    idle: usize,
    /// Nothing more is accepted or begun.
    stopping: bool,
    /// Nothing more is waited for.
    over: bool,
}

/// Why a decision led to no entry.
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
    /// `redeploy` carries out one redeploy of one of the `stacks`. Nothing begins before [`Scheduler::begin`].
    ///
    /// # Errors
    /// The journal has to be rewritten and cannot be.
    pub(crate) fn new(
        stacks: &[Stack],
        clock: Arc<dyn Clock>,
        lasting: Lasting,
        ears: Ears,
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
                ears.metrics.success(&report.stack, unix);
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
            ears,
            on_end: OnceLock::new(),
        }))
    }

    /// Sets the function that is called when a delivery has ended; only the first one counts.
    pub(crate) fn set_on_end(&self, on_end: Box<OnEnd>) {
        drop(self.on_end.set(on_end));
    }

    /// Takes up what earlier servers left.
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

    /// Takes a delivery in; its redeploys begin as soon as their queues are free. On disk when this returns, where there is one.
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

    /// How it stands with a delivery.
    pub(crate) fn find(&self, id: &DeliveryId) -> Option<Delivery> {
        self.lock().ledger.find(id).cloned()
    }

    /// The last deliveries, newest first.
    pub(crate) fn history(&self) -> Vec<Delivery> {
        self.lock().ledger.history().cloned().collect()
    }

    /// The last failure of each stack that ever had one.
    pub(crate) fn failures(&self) -> Vec<Failure> {
        self.lock().ledger.failures().cloned().collect()
    }

    /// How many deliveries are open.
    pub(crate) fn open(&self) -> usize {
        self.lock().ledger.open()
    }

    /// Whether accepted deliveries outlive the process.
    pub(crate) fn lasts(&self) -> bool {
        self.lasts
    }

    /// Waits for a delivery's end until then, or until the stop is complete.
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

    /// Accepts and begins nothing more. What runs is left to the journal, and only what is on record as sent leaves first; without a
    /// journal it may end, so long. Returns whether nothing is lost.
    pub(crate) fn stop(&self, within: Duration) -> bool {
        let until = Instant::now() + within;
        let mut state = self.lock();
        state.stopping = true;
        // Whoever waits need not wait for what only has to leave.
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

    /// What a full disk kept from being written is written now, if it can be.
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

    /// The one door to lasting change: decide, make it last, apply it, tell everybody, start what became ready.
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

    /// An end is applied even where it cannot be written: then the journal says it as soon as it can be, and after a crash before
    /// that it is found out again.
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

    /// Applies an entry, and tells who listens what ended by it.
    fn fold(&self, state: &mut State, entry: Entry) {
        let new = usize::from(matches!(entry, Entry::Accepted { .. }));
        let open = state.ledger.open() + new;
        if let Entry::Ended { report, unix, .. } = &entry {
            self.ears.metrics.redeploy(report, *unix);
            if let Some(notifier) = &self.ears.notifier {
                notifier.ended(report);
            }
        }
        state.ledger.apply(entry);
        let ended = open.saturating_sub(state.ledger.open());
        for delivery in state.ledger.last_ended(ended) {
            let status = delivery.status().name();
            self.ears.metrics.delivery(&delivery.hook, status);
            if let Some(on_end) = self.on_end.get() {
                on_end(&delivery.id);
            }
        }
    }

    fn tail(&self) -> MutexGuard<'_, Option<Journal>> {
        self.tail.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic under this lock leaves a ledger that is whole: every change is one `apply`.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
