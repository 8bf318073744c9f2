//! One redeploy at a time for a stack, and for an environment from Look to Follow; and staff may keep a stack out of its turn.

use std::time::Instant;

use crate::clock::rfc3339;
use crate::portainer::{EnvironmentId, StackId};
use crate::redeploy::{RedeployResult, Run};
use crate::stack::outcome::Fault;
use crate::store::lock::{NoTurn, Thing, Turn};

/// The turns that a redeploy has; given back when it is over.
#[derive(Debug, Default)]
pub(super) struct Locks {
    stack: Option<Turn>,
    /// Given back early: verification runs beside the next redeploy.
    pub(super) environment: Option<Turn>,
    /// Since when the time for all is counted: from having both, and anew for a way back.
    pub(super) since: Option<Instant>,
}

impl Run<'_> {
    /// Two keys may stand for one stack, so that its number decides.
    pub(super) fn lock_stack(&mut self, id: StackId) -> Result<(), RedeployResult> {
        if self.locks.stack.is_none() {
            self.locks.stack = Some(self.take(Thing::Stack(id.0))?);
        }
        Ok(())
    }

    /// Tags belong to the host, not to a stack.
    pub(super) fn lock_environment(&mut self, id: EnvironmentId) -> Result<(), RedeployResult> {
        if self.locks.environment.is_none() {
            self.locks.environment = Some(self.take(Thing::Environment(id.0))?);
            let now = self.cx.clock.now();
            self.locks.since.get_or_insert(now);
        }
        Ok(())
    }

    /// Whoever stands in the queue is told when staff have paused the stack.
    pub(super) fn check_not_paused(&self, id: StackId) -> Result<(), RedeployResult> {
        match self.cx.observer.paused(id) {
            None => Ok(()),
            Some(since) => Err(RedeployResult::skipped(format!(
                "paused by staff since {}; resume it on the settings page, or run \"stackhook redeploy {} --force\"",
                rfc3339(since),
                self.stack.key
            ))),
        }
    }

    fn take(&self, thing: Thing) -> Result<Turn, RedeployResult> {
        let turn = self.cx.observer.turn(thing, self.cx.timeout);
        turn.map_err(|none| match none {
            NoTurn::Held(who) => RedeployResult::failed(
                Fault::NotReached,
                format!(
                    "{who} was still at work after {} s; nothing was sent",
                    self.cx.timeout.as_secs()
                ),
            ),
            NoTurn::Later => RedeployResult::failed(
                Fault::NotReached,
                "another redeploy has its turn; nothing was sent",
            ),
            NoTurn::Unusable(why) => {
                RedeployResult::failed(Fault::NotWritten, format!("{why}; nothing was sent"))
            }
        })
    }
}
