//! The clock. It is passed in, so that tests can skip waiting times; only this module reads the system time.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A source of time.
pub(crate) trait Clock: Send + Sync {
    /// Monotonic time, for measuring.
    fn now(&self) -> Instant;
    /// Wall-clock time (Unix seconds).
    fn unix(&self) -> u64;
    /// Blocks for this long.
    fn sleep(&self, time: Duration);
}

/// The system clock.
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

impl SystemClock {
    /// Milliseconds since 1970, for log lines.
    pub(crate) fn unix_millis(self) -> u64 {
        let time = SystemTime::now().duration_since(UNIX_EPOCH);
        time.map_or(0, |time| {
            u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
        })
    }
}

#[cfg(test)]
pub(crate) mod skipping {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::{Clock, Duration, Instant, SystemClock};

    /// A clock whose sleeps return at once and move the time ahead, for all clocks with the same offset.
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
