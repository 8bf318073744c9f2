//! What happened lately that no delivery of the scheduler's tells: who was turned away, what was verified and not acted on, and which secret
//! of a hook was used last. Kept in memory, bounded.

use std::borrow::Cow;
use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Rejections that are kept for the page.
const REJECTIONS_KEPT: usize = 50;

/// The memory.
#[derive(Debug, Default)]
pub(super) struct Recent(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// Newest first.
    turned_away: VecDeque<TurnedAway>,
    /// Newest first.
    not_acted_on: VecDeque<Idle>,
    /// By hook.
    used: BTreeMap<String, Used>,
}

/// A request that was turned away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TurnedAway {
    /// When, the last time (Unix seconds).
    pub(super) unix: u64,
    /// Who sent it.
    pub(super) peer: IpAddr,
    /// To which hook; empty where it was to none.
    pub(super) hook: String,
    /// What it was answered.
    pub(super) status: u16,
    /// Why, for a person.
    pub(super) words: Cow<'static, str>,
    /// How often.
    pub(super) times: u64,
}

/// A delivery that was verified and not acted on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Idle {
    /// When (Unix seconds).
    pub(super) unix: u64,
    /// To which hook.
    pub(super) hook: String,
    /// `ignored` or `refused`.
    pub(super) result: &'static str,
    /// Why, for a person.
    pub(super) reason: String,
}

/// Which secret of a hook was used last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Used {
    /// Its number, and how many there are.
    pub(super) secret: (usize, usize),
    /// When (Unix seconds).
    pub(super) unix: u64,
}

impl Recent {
    /// The same again counts up, so that a flood of one kind does not push out the others.
    pub(super) fn turned_away(&self, mut new: TurnedAway) {
        let mut inner = self.lock();
        let same = |old: &TurnedAway| {
            (&old.peer, &old.hook, old.status, &old.words)
                == (&new.peer, &new.hook, new.status, &new.words)
        };
        if let Some(old) = inner
            .turned_away
            .iter()
            .position(same)
            .and_then(|at| inner.turned_away.remove(at))
        {
            new.times = old.times.saturating_add(1);
        }
        inner.turned_away.push_front(new);
        inner.turned_away.truncate(REJECTIONS_KEPT);
    }

    /// Something was verified and not acted on.
    pub(super) fn not_acted_on(&self, new: Idle) {
        let mut inner = self.lock();
        inner.not_acted_on.push_front(new);
        inner.not_acted_on.truncate(REJECTIONS_KEPT);
    }

    /// A secret of a configured hook was used.
    pub(super) fn used(&self, hook: &str, secret: (usize, usize), unix: u64) {
        self.lock()
            .used
            .insert(hook.to_owned(), Used { secret, unix });
    }

    /// Newest first.
    pub(super) fn rejections(&self) -> Vec<TurnedAway> {
        self.lock().turned_away.iter().cloned().collect()
    }

    /// Newest first.
    pub(super) fn idle(&self) -> Vec<Idle> {
        self.lock().not_acted_on.iter().cloned().collect()
    }

    /// Which secret of a hook was used last, since the start.
    pub(super) fn last_used(&self, hook: &str) -> Option<Used> {
        self.lock().used.get(hook).copied()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn rejection(peer: &str, unix: u64) -> TurnedAway {
        TurnedAway {
            unix,
            peer: peer.parse().unwrap(),
            hook: "update".to_owned(),
            status: 401,
            words: "the secret differs".into(),
            times: 1,
        }
    }

    #[test]
    fn a_flood_is_one_line_with_a_count_and_the_others_stay() {
        let recent = Recent::default();
        recent.turned_away(rejection("192.0.2.1", 1));
        (2..1000).for_each(|unix| recent.turned_away(rejection("192.0.2.2", unix)));
        let kept = recent.rejections();
        let seen: Vec<_> = kept
            .iter()
            .map(|one| (one.peer.to_string(), one.times))
            .collect();
        assert_eq!(
            seen,
            [("192.0.2.2".to_owned(), 998), ("192.0.2.1".to_owned(), 1)]
        );
        let address = |number: u32| Ipv4Addr::from(number).to_string();
        (0..1000).for_each(|number| recent.turned_away(rejection(&address(number), 2000)));
        assert_eq!(recent.rejections().len(), REJECTIONS_KEPT);
    }
}
