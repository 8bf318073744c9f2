//! The observer of a redeploy that runs in the scheduler: journals its progress and acquires its locks.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use crate::delivery::ledger::Entry;
use crate::portainer::StackId;
use crate::redeploy::{Images, NotWritten, Observer, Step, Submission};
use crate::scheduler::{Scheduler, Task};
use crate::stack::StackKey;
use crate::store::lock::{LockError, LockGuard, LockKey};
use crate::store::stacks::Pause;
use crate::store::{self, Sync};

/// Observer of one redeploy.
pub(super) struct Watch<'a> {
    scheduler: &'a Arc<Scheduler>,
    task: &'a Task,
    /// It had the lock of its environment before: from here on it waits for locks in its runner.
    had_its_turn: AtomicBool,
    /// A lock is in use in this process, so it has to start again later.
    for_later: AtomicBool,
}

impl Watch<'_> {
    pub(super) fn new<'a>(scheduler: &'a Arc<Scheduler>, task: &'a Task) -> Watch<'a> {
        Watch {
            scheduler,
            task,
            had_its_turn: AtomicBool::new(false),
            for_later: AtomicBool::new(false),
        }
    }

    /// Returns true if it has to start again after another redeploy.
    pub(super) fn is_for_later(&self) -> bool {
        self.for_later.load(Ordering::SeqCst)
    }

    fn commit(&self, sync: Sync, entry: Entry) -> Result<(), NotWritten> {
        let written = self
            .scheduler
            .commit(sync, |_| Ok::<_, store::NotWritten>(entry));
        written.map_err(|store::NotWritten| NotWritten("journal cannot be written".to_owned()))
    }

    fn show(&self, step: &str) {
        let stack = &self.task.stack.key;
        self.scheduler.lock().ledger.step(stack, step);
    }

    /// Notes that a stop need not wait for a submission of this redeploy.
    fn has_left(&self) {
        let mut state = self.scheduler.lock();
        if state.leaving.remove(&self.task.stack.key).is_some() {
            self.scheduler.changed.notify_all();
        }
    }
}

impl Observer for Watch<'_> {
    fn step(&self, step: &Step) {
        self.show(&step.to_string());
        if *step != Step::Submitting {
            self.has_left();
        }
    }

    fn pulling(&self, before: &Images) -> Result<(), NotWritten> {
        let stack = self.task.stack.key.clone();
        let before = before.clone();
        self.commit(Sync::Now, Entry::Pulling { stack, before })
    }

    fn submitting(&self, submission: &Submission) -> Result<(), NotWritten> {
        let stack = self.task.stack.key.clone();
        let submission = serde_json::to_value(submission)
            .map_err(|error| NotWritten(format!("what is sent cannot be written down: {error}")))?;
        self.scheduler.may_leave(&stack);
        let written = self.commit(Sync::Now, Entry::Submitting { stack, submission });
        if written.is_err() {
            self.has_left();
        }
        written
    }

    fn not_sent(&self) {
        let stack = self.task.stack.key.clone();
        // If this cannot be written, a crash now makes the outcome unknown although nothing was sent; the log says so.
        let _ = self.commit(Sync::Later, Entry::NotSent(stack));
        self.has_left();
    }

    fn earlier(&self) -> Images {
        self.task.before.clone()
    }

    fn pause(&self, id: Option<StackId>) -> Option<Pause> {
        let (key, store) = (&self.task.stack.key, &self.scheduler.store);
        if let Some(id) = id {
            store.set_id(key, id.0);
        }
        match self.task.order.staff {
            true => None,
            false => store.pause_of(key, self.scheduler.clock.unix()),
        }
    }

    fn acquire_lock(&self, thing: LockKey, within: Duration) -> Result<LockGuard, LockError> {
        let key = &self.task.stack.key;
        let waits_for = |who: &str| self.show(&format!("waiting for {who}"));
        if !self.had_its_turn.load(Ordering::SeqCst)
            && !self.scheduler.lock().places.want(key, thing)
        {
            waits_for("another redeploy of this stackhook");
            self.for_later.store(true, Ordering::SeqCst);
            return Err(LockError::Later);
        }
        let turn = self.scheduler.locks.acquire(thing, within, &waits_for)?;
        if matches!(thing, LockKey::Environment(_)) {
            self.had_its_turn.store(true, Ordering::SeqCst);
        }
        let (scheduler, key) = (Arc::clone(self.scheduler), key.clone());
        Ok(turn.and_then(move || {
            let mut state = scheduler.lock();
            state.places.leave(&key, thing);
            scheduler.start_runners(&mut state);
        }))
    }
}

impl Scheduler {
    /// Returns when a submission may be journalled. After a stop has begun it never does: a journalled but unsent update could not be
    /// told from a sent one after the restart.
    fn may_leave(&self, stack: &StackKey) {
        let mut state = self.lock();
        while state.stopping && self.lasts {
            state = self
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
        state.leaving.insert(stack.clone(), Instant::now());
    }
}
