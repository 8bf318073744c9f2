//! The observer of a redeploy that runs in the scheduler: journals its progress and acquires its locks.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use crate::delivery::ledger::Entry;
use crate::portainer::StackId;
use crate::redeploy::{Images, NotWritten, Observer, Step, Submission};
use crate::scheduler::{RedeployTask, Scheduler};
use crate::stack::StackKey;
use crate::store::lock::{LockError, LockGuard, LockKey};
use crate::store::stacks::Pause;
use crate::store::{Sync, WriteError};

/// Observer of one redeploy.
pub(super) struct RedeployObserver<'a> {
    scheduler: &'a Arc<Scheduler>,
    task: &'a RedeployTask,
    /// It had the lock of its environment before: from here on it waits for locks in its runner.
    had_environment: AtomicBool,
    /// A lock is in use in this process, so it has to start again later.
    is_deferred: AtomicBool,
}

impl RedeployObserver<'_> {
    pub(super) fn new<'a>(
        scheduler: &'a Arc<Scheduler>,
        task: &'a RedeployTask,
    ) -> RedeployObserver<'a> {
        RedeployObserver {
            scheduler,
            task,
            had_environment: AtomicBool::new(false),
            is_deferred: AtomicBool::new(false),
        }
    }

    /// Returns true if it has to start again after another redeploy.
    pub(super) fn is_deferred(&self) -> bool {
        self.is_deferred.load(Ordering::SeqCst)
    }

    fn key(&self) -> StackKey {
        self.task.stack.key.clone()
    }

    fn commit(&self, sync: Sync, entry: Entry) -> Result<(), NotWritten> {
        let mut journal = self.scheduler.journal();
        let written = self.scheduler.commit(&mut journal, sync, entry);
        written.map_err(|WriteError| NotWritten("journal cannot be written".to_owned()))
    }

    fn set_step(&self, step: &str) {
        let stack = &self.task.stack.key;
        self.scheduler.lock().ledger.set_step(stack, step);
    }

    /// Notes that a stop need not wait for a submission of this redeploy.
    fn clear_submitting(&self) {
        let mut state = self.scheduler.lock();
        if state.submitting.remove(&self.task.stack.key).is_some() {
            self.scheduler.changed.notify_all();
        }
    }
}

impl Observer for RedeployObserver<'_> {
    fn step(&self, step: &Step) {
        self.set_step(&step.to_string());
        if *step != Step::Submitting {
            self.clear_submitting();
        }
    }

    fn pulling(&self, before: &Images) -> Result<(), NotWritten> {
        let (stack, before) = (self.key(), before.clone());
        self.commit(Sync::Now, Entry::Pulling { stack, before })
    }

    fn submitting(&self, submission: &Submission) -> Result<(), NotWritten> {
        let stack = self.key();
        let submission = serde_json::to_value(submission)
            .map_err(|error| NotWritten(format!("the submission cannot be serialised: {error}")))?;
        self.scheduler.mark_submitting(&stack);
        let written = self.commit(Sync::Now, Entry::Submitting { stack, submission });
        if written.is_err() {
            self.clear_submitting();
        }
        written
    }

    fn not_sent(&self) {
        // If this cannot be written, a crash now makes the outcome unknown although nothing was sent; the log says so.
        let _ = self.commit(Sync::Later, Entry::NotSent(self.key()));
        self.clear_submitting();
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

    fn acquire_lock(&self, lock: LockKey, within: Duration) -> Result<LockGuard, LockError> {
        let key = self.key();
        let waits_for = |holder: &str| self.set_step(&format!("waiting for {holder}"));
        if !self.had_environment.load(Ordering::SeqCst)
            && !self.scheduler.lock().busy.claim(&key, lock)
        {
            waits_for("another redeploy of this stackhook");
            self.is_deferred.store(true, Ordering::SeqCst);
            return Err(LockError::Later);
        }
        let guard = self.scheduler.locks.acquire(lock, within, &waits_for)?;
        if matches!(lock, LockKey::Environment(_)) {
            self.had_environment.store(true, Ordering::SeqCst);
        }
        let scheduler = Arc::clone(self.scheduler);
        Ok(guard.and_then(move || {
            let mut state = scheduler.lock();
            state.busy.release(&key, lock);
            scheduler.start_runners(&mut state);
        }))
    }
}

impl Scheduler {
    /// Notes that a submission is about to be journalled and sent. Never returns once a stop has begun: after the restart, a journalled
    /// but unsent update could not be distinguished from a sent one.
    fn mark_submitting(&self, stack: &StackKey) {
        let mut state = self.lock();
        while state.stopping && self.is_persistent {
            state = self
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
        state.submitting.insert(stack.clone(), Instant::now());
    }
}
