//! How many log lines strangers can cause: a burst, then one every few seconds; the rest is counted.

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use crate::limits;

/// Allows or counts lines about rejected requests.
#[derive(Debug, Default)]
pub(super) struct Rejections(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// Lines written lately; one is forgotten every [`limits::REJECTION_LINE_EVERY`].
    lines: u32,
    since: Option<Instant>,
    hidden: u64,
}

impl Rejections {
    /// `Some`: write a line, and say that so many were not written before it.
    pub(super) fn may_be_logged(&self, now: Instant) -> Option<u64> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let since = *state.since.get_or_insert(now);
        let every = limits::REJECTION_LINE_EVERY;
        let forgotten = now.duration_since(since).as_secs() / every.as_secs().max(1);
        if let Ok(forgotten) = u32::try_from(forgotten) {
            state.lines = state.lines.saturating_sub(forgotten);
            state.since = since.checked_add(every.saturating_mul(forgotten));
        }
        if state.lines >= limits::REJECTION_LINES {
            state.hidden += 1;
            return None;
        }
        state.lines += 1;
        Some(std::mem::take(&mut state.hidden))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_flood_leaves_a_burst_of_lines_and_a_count() {
        let rejections = Rejections::default();
        let now = Instant::now();
        let written = (0..1000)
            .filter(|_| rejections.may_be_logged(now).is_some())
            .count();
        assert_eq!(written, usize::try_from(limits::REJECTION_LINES).unwrap());
        let later = now + limits::REJECTION_LINE_EVERY;
        assert_eq!(
            rejections.may_be_logged(later),
            Some(1000 - u64::from(limits::REJECTION_LINES))
        );
        assert_eq!(rejections.may_be_logged(later), None);
        let much_later = later + Duration::from_secs(3600);
        assert_eq!(rejections.may_be_logged(much_later), Some(1));
        assert_eq!(rejections.may_be_logged(much_later), Some(0));
    }
}
