//! Which redeploys may run beside which: what each stack was seen to need, its own number in Portainer and its environment, and who
//! has that now. So a redeploy that would only wait for its turn takes no runner's place. The locks themselves, which commands beside
//! the server share, are taken by the redeploy.

use std::collections::{HashMap, HashSet};
use std::mem::discriminant;

use crate::limits;
use crate::stack::StackKey;
use crate::store::lock::LockKey;

/// What is needed and who has it; forgotten with the process, and learned again.
#[derive(Debug, Default)]
pub(super) struct Places {
    needs: HashMap<StackKey, Vec<LockKey>>,
    held: HashMap<LockKey, StackKey>,
    /// Who has a runner.
    out: HashSet<StackKey>,
}

impl Places {
    /// Whether nothing that a stack is known to need is somebody else's.
    pub(super) fn are_free(&self, stack: &StackKey) -> bool {
        let mut needs = self.needs(stack);
        needs.all(|thing| !self.is_taken(stack, thing))
    }

    /// How many of these stacks could run side by side.
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

    /// A runner takes a stack on, and with it what that is known to need.
    pub(super) fn take(&mut self, stack: &StackKey) {
        self.out.insert(stack.clone());
        for thing in self.needs.get(stack).into_iter().flatten() {
            self.held.insert(*thing, stack.clone());
        }
    }

    /// A stack with a runner needs this, and has it from now on if this returns true.
    pub(super) fn want(&mut self, stack: &StackKey, thing: LockKey) -> bool {
        let needs = self.needs.entry(stack.clone()).or_default();
        // It may have been made anew elsewhere.
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

    /// A stack does not need this any more, or not for now.
    pub(super) fn leave(&mut self, stack: &StackKey, thing: LockKey) {
        if self.held.get(&thing) == Some(stack) {
            self.held.remove(&thing);
        }
    }

    /// A runner is done with a stack.
    pub(super) fn leave_all(&mut self, stack: &StackKey) {
        self.out.remove(stack);
        self.held.retain(|_, holder| holder != stack);
    }

    fn needs(&self, stack: &StackKey) -> impl Iterator<Item = &LockKey> {
        self.needs.get(stack).into_iter().flatten()
    }

    /// By somebody else; or by so many, each of which is being verified, that other environments would wait for a runner.
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
                // From here on it is verified.
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
