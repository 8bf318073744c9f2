//! What a running redeploy tells the engine, and asks of it.

use std::sync::Arc;
use std::time::Duration;

use crate::delivery::ledger::Entry;
use crate::engine::{Engine, Task};
use crate::journal::lock::{NoTurn, Thing, Turn};
use crate::journal::{self, Sync};
use crate::portainer::StackId;
use crate::redeploy::{Images, NotWritten, Observer, Step, Submission};

/// One redeploy under watch.
pub(super) struct Watch<'a> {
    pub(super) engine: &'a Arc<Engine>,
    pub(super) task: &'a Task,
}

impl Watch<'_> {
    fn commit(&self, sync: Sync, entry: Entry) -> Result<(), NotWritten> {
        let written = self
            .engine
            .commit(sync, |_| Ok::<_, journal::NotWritten>(entry));
        written.map_err(|journal::NotWritten| NotWritten("journal cannot be written".to_owned()))
    }

    fn show(&self, step: &str) {
        let stack = &self.task.stack.key;
        self.engine.lock().ledger.step(stack, step);
    }
}

impl Observer for Watch<'_> {
    fn step(&self, step: &Step) {
        self.show(&step.to_string());
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
        self.commit(Sync::Now, Entry::Submitting { stack, submission })
    }

    fn not_sent(&self) {
        let stack = self.task.stack.key.clone();
        // Where that cannot be written, a crash now makes the end of a redeploy unknown that never began; the log says so.
        let _ = self.commit(Sync::Later, Entry::NotSent { stack });
    }

    fn earlier(&self) -> Images {
        self.task.before.clone()
    }

    fn paused(&self, id: StackId) -> Option<u64> {
        match self.task.order.staff {
            true => None,
            false => self.engine.shelf.paused(id.0),
        }
    }

    fn turn(&self, thing: Thing, within: Duration) -> Result<Turn, NoTurn> {
        let waits_for = |who: &str| self.show(&format!("waiting for {who}"));
        self.engine.turns.take(thing, within, &waits_for)
    }
}
