//! Locks of a redeploy: one at a time per stack, and per environment until the update was followed to its end. Also the check for a
//! pause by staff.

use std::time::Instant;

use crate::calendar::rfc3339;
use crate::portainer::{EnvironmentId, StackId};
use crate::redeploy::{RedeployResult, Run};
use crate::stack::outcome::Fault;
use crate::store::lock::{LockError, LockGuard, LockKey};
use crate::store::stacks::Pause;

/// The locks of a redeploy, released when it is over.
#[derive(Debug, Default)]
pub(super) struct Locks {
    stack: Option<LockGuard>,
    /// Released early: verification runs beside the next redeploy.
    pub(super) environment: Option<LockGuard>,
    /// Start of the time limit: when both locks were acquired, and again when a rollback begins.
    pub(super) since: Option<Instant>,
}

impl Run<'_> {
    /// Locks the stack by its number, because two keys may be configured for one stack.
    pub(super) fn lock_stack(&mut self, id: StackId) -> Result<(), RedeployResult> {
        if self.locks.stack.is_none() {
            self.locks.stack = Some(self.acquire(LockKey::Stack(id.0))?);
        }
        Ok(())
    }

    /// Locks the environment, because image tags belong to the host, not to a stack.
    pub(super) fn lock_environment(&mut self, id: EnvironmentId) -> Result<(), RedeployResult> {
        if self.locks.environment.is_none() {
            self.locks.environment = Some(self.acquire(LockKey::Environment(id.0))?);
            let now = self.cx.clock.now();
            self.locks.since.get_or_insert(now);
        }
        Ok(())
    }

    /// Returns early if staff have paused the stack: with `None` before Portainer is asked, then with the number of the stack.
    pub(super) fn check_not_paused(&self, id: Option<StackId>) -> Result<(), RedeployResult> {
        let Some(Pause { since, until }) = self.cx.observer.pause(id) else {
            return Ok(());
        };
        let until = until.map_or_else(String::new, |until| format!(" until {}", rfc3339(until)));
        let key = &self.stack.key;
        Err(RedeployResult::skipped(format!(
            "paused by staff since {}{until}; resume it on the settings page or with \"stackhook resume {key}\", \
             or run \"stackhook redeploy {key} --force\"",
            rfc3339(since),
        )))
    }

    fn acquire(&self, key: LockKey) -> Result<LockGuard, RedeployResult> {
        let lock = self.cx.observer.acquire_lock(key, self.cx.timeout);
        lock.map_err(|error| match error {
            LockError::Held(who) => RedeployResult::failed(
                Fault::NotReached,
                format!(
                    "{who} was still at work after {} s; nothing was sent",
                    self.cx.timeout.as_secs()
                ),
            ),
            LockError::Later => RedeployResult::failed(
                Fault::NotReached,
                "another redeploy has the lock; nothing was sent",
            ),
            LockError::Unusable(why) => {
                RedeployResult::failed(Fault::NotWritten, format!("{why}; nothing was sent"))
            }
        })
    }
}
