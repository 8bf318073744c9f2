//! Recent requests that did not become deliveries of the scheduler: rejections, verified deliveries that were not acted on, and the last
//! use of each hook's secret. Kept in memory, bounded.

use std::borrow::Cow;
use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Rejections that are kept for the page.
const REJECTIONS_KEPT: usize = 50;

/// The recent requests, shared by all workers.
#[derive(Debug, Default)]
pub(super) struct Recent(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// The rejections, newest first.
    rejections: VecDeque<RejectedRequest>,
    /// The deliveries that were not acted on, newest first.
    not_acted_on: VecDeque<Idle>,
    /// The last use of a secret, by hook.
    used: BTreeMap<String, Used>,
}

/// A rejected request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RejectedRequest {
    /// Time of the latest one (Unix seconds).
    pub(super) unix: u64,
    /// The address of its client.
    pub(super) peer: IpAddr,
    /// The name of its hook; empty if it had none.
    pub(super) hook: String,
    /// The HTTP status of the answer.
    pub(super) status: u16,
    /// The reason, for staff.
    pub(super) words: Cow<'static, str>,
    /// The number of such requests.
    pub(super) times: u64,
}

/// A delivery that was verified and not acted on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Idle {
    /// The time (Unix seconds).
    pub(super) unix: u64,
    /// The name of its hook.
    pub(super) hook: String,
    /// `ignored` or `refused`.
    pub(super) result: &'static str,
    /// The reason, for staff.
    pub(super) reason: String,
}

/// The last use of a hook's secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Used {
    /// Its number, and how many there are.
    pub(super) secret: (usize, usize),
    /// The time (Unix seconds).
    pub(super) unix: u64,
}

impl Recent {
    /// Records a rejection. A repetition only counts up, so that a flood of one kind does not push out the others.
    pub(super) fn record_rejection(&self, mut new: RejectedRequest) {
        let mut inner = self.lock();
        let same = |old: &RejectedRequest| {
            (&old.peer, &old.hook, old.status, &old.words)
                == (&new.peer, &new.hook, new.status, &new.words)
        };
        if let Some(old) = inner
            .rejections
            .iter()
            .position(same)
            .and_then(|at| inner.rejections.remove(at))
        {
            new.times = old.times.saturating_add(1);
        }
        inner.rejections.push_front(new);
        inner.rejections.truncate(REJECTIONS_KEPT);
    }

    /// Records a delivery that was verified and not acted on.
    pub(super) fn not_acted_on(&self, new: Idle) {
        let mut inner = self.lock();
        inner.not_acted_on.push_front(new);
        inner.not_acted_on.truncate(REJECTIONS_KEPT);
    }

    /// Records the use of a hook's secret.
    pub(super) fn used(&self, hook: &str, secret: (usize, usize), unix: u64) {
        self.lock()
            .used
            .insert(hook.to_owned(), Used { secret, unix });
    }

    /// Returns the rejections, newest first.
    pub(super) fn rejections(&self) -> Vec<RejectedRequest> {
        self.lock().rejections.iter().cloned().collect()
    }

    /// Returns the deliveries that were not acted on, newest first.
    pub(super) fn idle(&self) -> Vec<Idle> {
        self.lock().not_acted_on.iter().cloned().collect()
    }

    /// Returns the last use of a hook's secret since the start.
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

    fn rejection(peer: &str, unix: u64) -> RejectedRequest {
        RejectedRequest {
            unix,
            peer: peer.parse().unwrap(),
            hook: "update".to_owned(),
            status: 401,
            words: "the secret differs".into(),
            times: 1,
        }
    }

    #[test]
    fn counts_a_flood_in_one_entry_and_keeps_the_others() {
        let recent = Recent::default();
        recent.record_rejection(rejection("192.0.2.1", 1));
        (2..1000).for_each(|unix| recent.record_rejection(rejection("192.0.2.2", unix)));
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
        (0..1000).for_each(|number| recent.record_rejection(rejection(&address(number), 2000)));
        assert_eq!(recent.rejections().len(), REJECTIONS_KEPT);
    }
}
