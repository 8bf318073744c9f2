//! The table of signed requests that must not run again. A request is remembered until its signed time is too old to be accepted,
//! and one hook can use at most half of the table, so that a leaked secret does not stop other hooks.

use std::collections::{BTreeSet, HashMap};

use crate::delivery::{DeliveryId, Fingerprint};
use crate::limits;

/// All remembered requests.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct ReplayTable {
    entries: HashMap<Fingerprint, Replay>,
    /// The keys, in the order in which they may be forgotten.
    by_expiry: BTreeSet<(u64, Fingerprint)>,
    per_hook: HashMap<String, usize>,
}

/// A signed request that was accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Replay {
    /// The delivery that it became.
    pub(crate) delivery: DeliveryId,
    /// The hook that it came through; empty in journals of version 0.1.
    pub(crate) hook: String,
    /// The last moment (Unix seconds) at which its signed time would be accepted.
    pub(crate) until: u64,
}

impl ReplayTable {
    /// Returns the delivery that this request became.
    pub(crate) fn get(&self, key: &Fingerprint) -> Option<&Replay> {
        self.entries.get(key)
    }

    /// Returns every entry, in the order in which they may be forgotten.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Fingerprint, &Replay)> {
        let keys = self.by_expiry.iter();
        keys.filter_map(|(_, key)| Some((key, self.entries.get(key)?)))
    }

    /// Returns true if one more request of this hook can be remembered.
    pub(crate) fn has_room(&self, hook: &str, unix: u64) -> bool {
        let (mut all, mut own) = (self.entries.len(), self.of_hook(hook));
        for (_, key) in self.by_expiry.range(..(unix, Fingerprint::default())) {
            all -= 1;
            own -= usize::from(
                self.entries
                    .get(key)
                    .is_some_and(|entry| entry.hook == hook),
            );
        }
        all < limits::REPLAYS && own < limits::REPLAYS / 2
    }

    /// Remembers a request, and forgets those whose time is over.
    pub(crate) fn insert(&mut self, key: Fingerprint, replay: Replay, unix: u64) {
        while let Some((until, oldest)) = self.by_expiry.first().cloned() {
            if unix <= until {
                break;
            }
            self.remove(&oldest);
        }
        self.remove(&key);
        *self.per_hook.entry(replay.hook.clone()).or_default() += 1;
        self.by_expiry.insert((replay.until, key.clone()));
        self.entries.insert(key, replay);
    }

    /// Shortens entries that were made while the clock ran ahead, so that they are forgotten. Returns their number.
    pub(crate) fn correct_clock(&mut self, unix: u64) -> usize {
        let longest = unix + limits::REPLAY.as_secs();
        let tolerated = longest + limits::CLOCK_STEP.as_secs();
        let late: Vec<Fingerprint> = self
            .by_expiry
            .iter()
            .rev()
            .take_while(|(until, _)| *until > tolerated)
            .map(|(_, key)| key.clone())
            .collect();
        for key in &late {
            if let Some(replay) = self.remove(key) {
                let replay = Replay {
                    until: longest,
                    ..replay
                };
                self.insert(key.clone(), replay, unix);
            }
        }
        late.len()
    }

    fn of_hook(&self, hook: &str) -> usize {
        self.per_hook.get(hook).copied().unwrap_or(0)
    }

    fn remove(&mut self, key: &Fingerprint) -> Option<Replay> {
        let replay = self.entries.remove(key)?;
        self.by_expiry.remove(&(replay.until, key.clone()));
        if let Some(count) = self.per_hook.get_mut(&replay.hook) {
            *count -= 1;
            if *count == 0 {
                self.per_hook.remove(&replay.hook);
            }
        }
        Some(replay)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: usize) -> Fingerprint {
        Fingerprint::of(&[&number.to_be_bytes()])
    }

    fn replay(hook: &str, until: u64) -> Replay {
        Replay {
            delivery: DeliveryId::new([0; 16]),
            hook: hook.to_owned(),
            until,
        }
    }

    #[test]
    fn one_hook_uses_at_most_half_of_the_table() {
        let mut table = ReplayTable::default();
        for number in 0..limits::REPLAYS / 2 {
            assert!(table.has_room("small", 1000));
            table.insert(key(number), replay("small", 1300), 1000);
        }
        assert!(!table.has_room("small", 1300), "the last second counts");
        assert!(table.has_room("other", 1300));
        assert!(table.has_room("small", 1301));
        for number in limits::REPLAYS / 2..limits::REPLAYS {
            table.insert(key(number), replay("other", 1400), 1300);
        }
        assert!(!table.has_room("third", 1300), "the table is full");
        assert!(table.has_room("third", 1301));
        table.insert(key(limits::REPLAYS), replay("third", 1600), 1301);
        assert_eq!(table.entries.len(), limits::REPLAYS / 2 + 1);
        assert_eq!(table.per_hook.len(), 2, "an unused hook takes no memory");
    }

    #[test]
    fn forgets_entries_of_a_clock_that_ran_ahead() {
        let mut table = ReplayTable::default();
        let year = 365 * 86_400;
        for number in 0..limits::REPLAYS / 2 {
            table.insert(key(number), replay("a", 1000 + year), 1000 + year - 300);
        }
        assert_eq!(table.correct_clock(1000), limits::REPLAYS / 2);
        assert!(!table.has_room("a", 1600), "still known as replays");
        assert!(table.get(&key(0)).is_some());
        assert!(table.has_room("a", 1601));
        assert_eq!(table.correct_clock(1000), 0, "reported once");
        table.insert(key(1), replay("a", 1600), 1000);
        assert_eq!(table.correct_clock(990), 0, "a small step needs nothing");
    }
}
