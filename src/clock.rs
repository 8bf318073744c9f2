//! The clock. It is passed in, so that tests can let minutes pass in no time; only this module reads the system time.

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

/// Formats a time (Unix seconds) as RFC 3339 in UTC.
pub(crate) fn rfc3339(unix: u64) -> String {
    let (year, month, day) = date(unix / 86_400);
    let (hour, minute, second) = time_of_day(unix);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// Formats a time (Unix seconds) for HTTP headers (RFC 9110 section 5.6.7).
pub(crate) fn http_date(unix: u64) -> String {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let days = unix / 86_400;
    let (year, month, day) = date(days);
    let (hour, minute, second) = time_of_day(unix);
    let of = |names: &'static [&'static str], index: u64| {
        let index = usize::try_from(index).ok();
        index.and_then(|index| names.get(index)).copied()
    };
    let weekday = of(&DAYS, days % 7).unwrap_or_default();
    let month = of(&MONTHS, month - 1).unwrap_or_default();
    format!("{weekday}, {day:02} {month} {year:04} {hour:02}:{minute:02}:{second:02} GMT")
}

fn time_of_day(unix: u64) -> (u64, u64, u64) {
    let second = unix % 86_400;
    (second / 3_600, second / 60 % 60, second % 60)
}

/// Year, month and day of a day counted from 1970.
fn date(days: u64) -> (u64, u64, u64) {
    // The year is taken to begin in March, so that the leap day is its last and months follow one formula;
    // 719,468 days lie between the first of March of year 0 and 1970, and 146,097 days are 400 years.
    let day = days.saturating_add(719_468);
    let (era, day) = (day / 146_097, day % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 {
        (month + 3, 0)
    } else {
        (month - 9, 1)
    };
    (era * 400 + year + next, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(unix: u64, text: &str) {
        assert_eq!(rfc3339(unix), text);
    }

    #[test]
    fn times_are_written_as_date_writes_them() {
        // Each is what `date -u -d @N +%FT%TZ` prints.
        check(0, "1970-01-01T00:00:00Z");
        check(951_782_399, "2000-02-28T23:59:59Z");
        check(951_825_600, "2000-02-29T12:00:00Z");
        check(1_709_251_200, "2024-03-01T00:00:00Z");
        check(1_735_689_599, "2024-12-31T23:59:59Z");
        check(1_795_520_441, "2026-11-24T11:40:41Z");
        check(4_107_542_400, "2100-03-01T00:00:00Z");
        check(253_402_300_799, "9999-12-31T23:59:59Z");
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
