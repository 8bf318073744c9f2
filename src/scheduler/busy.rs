//! Tracks which stacks and environments are busy, so that runners only get work that can start. The locks across processes are
//! acquired by the redeploy itself.

use std::collections::{HashMap, HashSet};
use std::mem::discriminant;

use crate::stack::StackKey;
use crate::store::lock::LockKey;

/// Concurrent redeploys of one environment, so that other environments are not blocked by its verifications.
const RUNNERS_OF_ONE: usize = 12;

/// The locks that each stack was seen to need, and their holders; not saved, because it is learned again.
#[derive(Debug, Default)]
pub(super) struct BusyTracker {
    needs: HashMap<StackKey, Vec<LockKey>>,
    held: HashMap<LockKey, StackKey>,
    /// Stacks with a runner.
    running: HashSet<StackKey>,
}

impl BusyTracker {
    /// Returns true if no other stack holds a lock that this one is known to need.
    pub(super) fn can_run(&self, stack: &StackKey) -> bool {
        self.needs(stack).all(|lock| !self.is_taken(stack, lock))
    }

    /// Returns the number of these stacks that could run side by side.
    pub(super) fn count_runnable<'s>(&self, stacks: impl Iterator<Item = &'s StackKey>) -> usize {
        let mut counted: HashSet<&LockKey> = HashSet::new();
        let mut fits = |stack: &StackKey| {
            let fits = self.can_run(stack) && !self.needs(stack).any(|lock| counted.contains(lock));
            if fits {
                counted.extend(self.needs(stack));
            }
            fits
        };
        stacks.filter(|stack| fits(stack)).count()
    }

    /// Returns true if no stack has a runner.
    pub(super) fn is_empty(&self) -> bool {
        self.running.is_empty()
    }

    /// Assigns a stack to a runner, with the locks that it is known to need.
    pub(super) fn reserve(&mut self, stack: &StackKey) {
        self.running.insert(stack.clone());
        for lock in self.needs.get(stack).into_iter().flatten() {
            self.held.insert(*lock, stack.clone());
        }
    }

    /// Notes that a running stack needs this lock, and assigns it if it is free; returns true in that case.
    pub(super) fn claim(&mut self, stack: &StackKey, lock: LockKey) -> bool {
        let needs = self.needs.entry(stack.clone()).or_default();
        // The stack may have been created again in another environment.
        let is_stale =
            |known: &LockKey| discriminant(known) == discriminant(&lock) && *known != lock;
        for stale in needs.extract_if(.., |known| is_stale(known)) {
            if self.held.get(&stale) == Some(stack) {
                self.held.remove(&stale);
            }
        }
        if !needs.contains(&lock) {
            needs.push(lock);
        }
        let is_free = !self.is_taken(stack, &lock);
        if is_free {
            self.held.insert(lock, stack.clone());
        }
        is_free
    }

    /// Releases one lock of a stack.
    pub(super) fn release(&mut self, stack: &StackKey, lock: LockKey) {
        if self.held.get(&lock) == Some(stack) {
            self.held.remove(&lock);
        }
    }

    /// Releases a stack and all its locks.
    pub(super) fn release_all(&mut self, stack: &StackKey) {
        self.running.remove(stack);
        self.held.retain(|_, holder| holder != stack);
    }

    fn needs(&self, stack: &StackKey) -> impl Iterator<Item = &LockKey> {
        self.needs.get(stack).into_iter().flatten()
    }

    /// Returns true if another stack holds the lock, or if other stacks of the environment, which are being verified, already use all
    /// the runners that one environment may have.
    fn is_taken(&self, stack: &StackKey, lock: &LockKey) -> bool {
        let needs_it =
            |other: &&StackKey| *other != stack && self.needs(other).any(|it| it == lock);
        self.held.get(lock).is_some_and(|holder| holder != stack)
            || matches!(lock, LockKey::Environment(_))
                && self.running.iter().filter(needs_it).count() >= RUNNERS_OF_ONE
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits;

    fn key(text: &str) -> StackKey {
        StackKey::parse(text).unwrap()
    }

    const LOCAL: LockKey = LockKey::Environment(1);

    #[test]
    fn gives_an_environment_to_one_stack_until_it_is_released() {
        let (a, b) = (key("a"), key("b"));
        let mut busy = BusyTracker::default();
        busy.reserve(&a);
        busy.reserve(&b);
        assert!(busy.claim(&a, LOCAL));
        assert!(!busy.claim(&b, LOCAL));
        busy.release_all(&b);
        assert!(busy.can_run(&a) && !busy.can_run(&b));
        busy.release(&b, LOCAL);
        assert!(!busy.can_run(&b), "only its holder can release it");
        busy.release(&a, LOCAL);
        assert!(busy.can_run(&b));
        assert_eq!(busy.count_runnable([&a, &b].into_iter()), 1);
        busy.reserve(&b);
        assert!(!busy.can_run(&a), "its needs are known by now");
    }

    #[test]
    fn forgets_the_old_environment_of_a_stack_that_moved() {
        let (a, b) = (key("a"), key("b"));
        let mut busy = BusyTracker::default();
        busy.reserve(&a);
        assert!(busy.claim(&a, LOCAL));
        assert!(busy.claim(&a, LockKey::Environment(2)));
        busy.reserve(&b);
        assert!(busy.claim(&b, LOCAL));
        assert!(!busy.claim(&b, LockKey::Environment(2)));
    }

    #[test]
    fn leaves_runners_to_other_environments() {
        let mut busy = BusyTracker::default();
        let many: Vec<StackKey> = (0..limits::RUNNERS)
            .map(|number| key(&format!("stack{number}")))
            .collect();
        let claimed = many.iter().filter(|stack| {
            busy.reserve(stack);
            let claimed = busy.claim(stack, LOCAL);
            match claimed {
                // Verification does not need the lock.
                true => busy.release(stack, LOCAL),
                false => busy.release_all(stack),
            }
            claimed
        });
        assert_eq!(claimed.count(), RUNNERS_OF_ONE);
        let elsewhere = key("elsewhere");
        busy.reserve(&elsewhere);
        assert!(busy.claim(&elsewhere, LockKey::Environment(2)));
        busy.release_all(&many[0]);
        assert!(busy.can_run(many.last().unwrap()));
    }
}
