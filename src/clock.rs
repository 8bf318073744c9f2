//! The time, passed in: the only module that asks the system for it, so that tests can let minutes pass in no time.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// What tells the time and lets it pass.
pub(crate) trait Clock: Send + Sync {
    /// For measuring; never goes back.
    fn now(&self) -> Instant;
    /// Seconds since 1970, as signed times have it.
    fn unix(&self) -> u64;
    /// Returns when the time has passed.
    fn sleep(&self, time: Duration);
}

/// The system's time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Instant {
        Instant::now()
    }

    fn unix(&self) -> u64 {
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |time| time.as_secs())
    }

    fn sleep(&self, time: Duration) {
        std::thread::sleep(time);
    }
}

#[cfg(test)]
pub(crate) mod skipping {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::{Clock, Duration, Instant, SystemClock};

    /// A clock whose sleeps return at once and move the time ahead, for everybody who reads the same offset.
    #[derive(Debug, Clone)]
    pub(crate) struct SkippingClock {
        /// Milliseconds ahead of the system's time.
        ahead: Arc<AtomicU64>,
    }

    impl SkippingClock {
        pub(crate) fn new(ahead: Arc<AtomicU64>) -> SkippingClock {
            SkippingClock { ahead }
        }

        fn ahead(&self) -> Duration {
            Duration::from_millis(self.ahead.load(Ordering::SeqCst))
        }
    }

    impl Clock for SkippingClock {
        fn now(&self) -> Instant {
            SystemClock.now() + self.ahead()
        }

        fn unix(&self) -> u64 {
            SystemClock.unix() + self.ahead().as_secs()
        }

        fn sleep(&self, time: Duration) {
            let millis = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
            self.ahead.fetch_add(millis, Ordering::SeqCst);
        }
    }
}
