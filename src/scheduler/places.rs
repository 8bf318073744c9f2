//! Tracks which stacks and environments are busy, so that runners only get work that can start. The locks across processes are
//! acquired by the redeploy itself.

use std::collections::{HashMap, HashSet};
use std::mem::discriminant;

use crate::limits;
use crate::stack::StackKey;
use crate::store::lock::LockKey;

/// The locks that each stack was seen to need, and their holders; not saved, because it is learned again.
#[derive(Debug, Default)]
pub(super) struct Places {
    needs: HashMap<StackKey, Vec<LockKey>>,
    held: HashMap<LockKey, StackKey>,
    /// Stacks with a runner.
    out: HashSet<StackKey>,
}

impl Places {
    /// Returns true if no other stack holds a lock that this one is known to need.
    pub(super) fn are_free(&self, stack: &StackKey) -> bool {
        let mut needs = self.needs(stack);
        needs.all(|thing| !self.is_taken(stack, thing))
    }

    /// Returns the number of these stacks that could run side by side.
    pub(super) fn count<'s>(&self, stacks: impl Iterator<Item = &'s StackKey>) -> usize {
        let mut spoken_for: Vec<&LockKey> = Vec::new();
        let mut fits = |stack: &StackKey| {
            let needs = || self.needs(stack);
            let fits = self.are_free(stack) && !needs().any(|thing| spoken_for.contains(&thing));
            if fits {
                spoken_for.extend(needs());
            }
            fits
        };
        stacks.filter(|stack| fits(stack)).count()
    }

    /// Returns true if no runner is busy.
    pub(super) fn are_all_free(&self) -> bool {
        self.out.is_empty()
    }

    /// Assigns a stack to a runner, with the locks that it is known to need.
    pub(super) fn take(&mut self, stack: &StackKey) {
        self.out.insert(stack.clone());
        for thing in self.needs.get(stack).into_iter().flatten() {
            self.held.insert(*thing, stack.clone());
        }
    }

    /// Notes that a running stack needs this lock, and assigns it if it is free; returns true in that case.
    pub(super) fn want(&mut self, stack: &StackKey, thing: LockKey) -> bool {
        let needs = self.needs.entry(stack.clone()).or_default();
        // The stack may have been created again in another environment.
        let other =
            |known: &LockKey| discriminant(known) == discriminant(&thing) && *known != thing;
        needs.retain(|known| {
            if other(known) && self.held.get(known) == Some(stack) {
                self.held.remove(known);
            }
            !other(known)
        });
        if !needs.contains(&thing) {
            needs.push(thing);
        }
        let free = !self.is_taken(stack, &thing);
        if free {
            self.held.insert(thing, stack.clone());
        }
        free
    }

    /// Releases one lock of a stack.
    pub(super) fn leave(&mut self, stack: &StackKey, thing: LockKey) {
        if self.held.get(&thing) == Some(stack) {
            self.held.remove(&thing);
        }
    }

    /// Releases a stack and all its locks.
    pub(super) fn leave_all(&mut self, stack: &StackKey) {
        self.out.remove(stack);
        self.held.retain(|_, holder| holder != stack);
    }

    fn needs(&self, stack: &StackKey) -> impl Iterator<Item = &LockKey> {
        self.needs.get(stack).into_iter().flatten()
    }

    /// Returns true if another stack holds the lock, or if so many stacks of the environment are being verified that other
    /// environments would have to wait for a runner.
    fn is_taken(&self, stack: &StackKey, thing: &LockKey) -> bool {
        let others = || self.out.iter().filter(|other| *other != stack);
        let there = |other: &&StackKey| self.needs(other).any(|need| need == thing);
        self.held.get(thing).is_some_and(|holder| holder != stack)
            || matches!(thing, LockKey::Environment(_))
                && others().filter(there).count() >= limits::RUNNERS_OF_ONE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> StackKey {
        StackKey::parse(text).unwrap()
    }

    const LOCAL: LockKey = LockKey::Environment(1);

    #[test]
    fn an_environment_is_had_by_one_until_that_one_leaves_it() {
        let (a, b) = (key("a"), key("b"));
        let mut places = Places::default();
        places.take(&a);
        places.take(&b);
        assert!(places.want(&a, LOCAL));
        assert!(!places.want(&b, LOCAL));
        places.leave_all(&b);
        assert!(places.are_free(&a) && !places.are_free(&b));
        places.leave(&b, LOCAL);
        assert!(!places.are_free(&b), "it was not its own to leave");
        places.leave(&a, LOCAL);
        assert!(places.are_free(&b));
        assert_eq!(places.count([&a, &b].into_iter()), 1);
        places.take(&b);
        assert!(!places.are_free(&a), "what it needs is known by now");
    }

    #[test]
    fn a_stack_that_moved_needs_its_old_environment_no_longer() {
        let (a, b) = (key("a"), key("b"));
        let mut places = Places::default();
        places.take(&a);
        assert!(places.want(&a, LOCAL));
        assert!(places.want(&a, LockKey::Environment(2)));
        places.take(&b);
        assert!(places.want(&b, LOCAL));
        assert!(!places.want(&b, LockKey::Environment(2)));
    }

    #[test]
    fn one_environment_leaves_runners_to_the_others() {
        let mut places = Places::default();
        let many: Vec<StackKey> = (0..limits::RUNNERS)
            .map(|number| key(&format!("stack{number}")))
            .collect();
        let taken = many.iter().filter(|stack| {
            places.take(stack);
            let taken = places.want(stack, LOCAL);
            match taken {
                // Verification does not need the lock.
                true => places.leave(stack, LOCAL),
                false => places.leave_all(stack),
            }
            taken
        });
        assert_eq!(taken.count(), limits::RUNNERS_OF_ONE);
        let elsewhere = key("elsewhere");
        places.take(&elsewhere);
        assert!(places.want(&elsewhere, LockKey::Environment(2)));
        places.leave_all(&many[0]);
        assert!(places.are_free(many.last().unwrap()));
    }
}
