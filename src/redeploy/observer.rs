//! Who watches a redeploy from outside: is told of each step, keeps what must survive a crash, and may let it wait for its turn.

use std::time::Duration;

use crate::portainer::StackId;
use crate::redeploy::step::Step;
use crate::redeploy::submission::{Images, Submission};
use crate::store::lock::{NoTurn, Thing, Turn};

/// Who is told of each step, and writes down what must survive a crash.
pub(crate) trait Observer: Sync {
    /// For people who watch.
    fn step(&self, step: &Step);
    /// The image id that each reference has before anything is pulled. Durable when it returns, or nothing is pulled.
    fn pulling(&self, before: &Images) -> Result<(), NotWritten>;
    /// What is about to be sent. Durable when it returns, or nothing is sent.
    fn submitting(&self, submission: &Submission) -> Result<(), NotWritten>;
    /// What was said to be about to be sent was not: not a byte of it left, or Portainer did not take it on.
    fn not_sent(&self) {}
    /// What an earlier try of this redeploy, cut short by a crash, saw before its own pull.
    fn earlier(&self) -> Images {
        Images::new()
    }
    /// Since when (Unix seconds) staff have paused the stack; `None` also where this redeploy goes through a pause.
    fn paused(&self, _: StackId) -> Option<u64> {
        None
    }
    /// Waits for a turn at most so long.
    fn turn(&self, _: Thing, _: Duration) -> Result<Turn, NoTurn> {
        Ok(Turn::free())
    }
}

/// For what only looks: nothing is done, so nobody is told of it.
pub(crate) struct Unobserved;

impl Observer for Unobserved {
    fn step(&self, _: &Step) {}

    fn pulling(&self, _: &Images) -> Result<(), NotWritten> {
        Ok(())
    }

    fn submitting(&self, _: &Submission) -> Result<(), NotWritten> {
        Ok(())
    }
}

/// Why an [`Observer`] could not write down what must survive.
#[derive(Debug)]
pub(crate) struct NotWritten(pub(crate) String);
