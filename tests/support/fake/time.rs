//! The fake's clock: real time plus an offset that a test may advance, and the date formats of Portainer and Docker.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A point on the fake's clock: milliseconds since 1970.
pub(crate) type Millis = u64;

/// Real time since the start, plus `ahead`: the only clock of the fake.
#[derive(Clone, Debug)]
pub(crate) struct Clock {
    began: Instant,
    unix_at_start: Duration,
    ahead: Arc<AtomicU64>,
}

impl Clock {
    pub(super) fn start() -> Clock {
        Clock {
            began: Instant::now(),
            unix_at_start: SystemTime::now().duration_since(UNIX_EPOCH).unwrap(),
            ahead: Arc::new(AtomicU64::new(0)),
        }
    }

    /// The offset in milliseconds, shared with the test that advances it.
    pub(super) fn ahead(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.ahead)
    }

    /// The current time in milliseconds since 1970.
    pub(crate) fn now(&self) -> Millis {
        let real = self.unix_at_start + self.began.elapsed();
        millis(real) + self.ahead.load(Ordering::SeqCst)
    }

    /// Jumps to `when`, unless it has passed.
    pub(super) fn skip_to(&self, when: Millis) {
        self.ahead
            .fetch_add(when.saturating_sub(self.now()), Ordering::SeqCst);
    }
}

/// A duration in milliseconds.
pub(super) fn millis(duration: Duration) -> Millis {
    u64::try_from(duration.as_millis()).unwrap()
}

/// Whole seconds, as in Portainer's records and Docker's `Created`.
pub(super) fn seconds(at: Millis) -> i64 {
    i64::try_from(at / 1000).unwrap()
}

/// `2026-11-24T04:23:29.885000000Z`, and Docker's year one for "never".
pub(super) fn rfc3339(at: Option<Millis>) -> String {
    let Some(at) = at else {
        return "0001-01-01T00:00:00Z".to_owned();
    };
    let (year, month, day) = civil(at / 86_400_000);
    let (h, m, s, ms) = (
        at / 3_600_000 % 24,
        at / 60_000 % 60,
        at / 1000 % 60,
        at % 1000,
    );
    format!("{year:04}-{month:02}-{day:02}T{h:02}:{m:02}:{s:02}.{ms:03}000000Z")
}

/// The `Date` header's form.
pub(super) fn http_date(at: Millis) -> String {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let days = at / 86_400_000;
    let (year, month, day) = civil(days);
    let (h, m, s) = (at / 3_600_000 % 24, at / 60_000 % 60, at / 1000 % 60);
    let (weekday, month) = (
        DAYS[usize::try_from(days % 7).unwrap()],
        MONTHS[usize::try_from(month - 1).unwrap()],
    );
    format!("{weekday}, {day:02} {month} {year:04} {h:02}:{m:02}:{s:02} GMT")
}

/// An age in Docker's words: `Less than a second`, `4 seconds`, `About a minute`, `2 minutes`, `About an hour` …
pub(super) fn age(milliseconds: Millis) -> String {
    let seconds = milliseconds / 1000;
    match seconds {
        0 => "Less than a second".to_owned(),
        1 => "1 second".to_owned(),
        2..60 => format!("{seconds} seconds"),
        60..120 => "About a minute".to_owned(),
        120..3600 => format!("{} minutes", seconds / 60),
        3600..7200 => "About an hour".to_owned(),
        7200..172_800 => format!("{} hours", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}

/// Days since 1970 to year, month, day (the era arithmetic of the proleptic Gregorian calendar).
fn civil(days: u64) -> (u64, u64, u64) {
    let z = days + 719_468;
    let era = z / 146_097;
    let day_of_era = z % 146_097;
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let month = if shifted < 10 {
        shifted + 3
    } else {
        shifted - 9
    };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    (year, month, day_of_year - (153 * shifted + 2) / 5 + 1)
}
