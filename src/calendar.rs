//! The calendar: times in UTC as RFC 3339 and as in HTTP headers. Values only; the time itself is read in `clock`.

const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];
const SECONDS_PER_DAY: u64 = 86_400;

/// Formats a time (Unix seconds) as RFC 3339.
pub(crate) fn rfc3339(unix: u64) -> String {
    let (year, month, day) = date(unix / SECONDS_PER_DAY);
    let (hour, minute, second) = time_of_day(unix);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// Formats a time (Unix seconds) for HTTP headers (RFC 9110 section 5.6.7).
pub(crate) fn http_date(unix: u64) -> String {
    let days = unix / SECONDS_PER_DAY;
    let (year, month, day) = date(days);
    let (hour, minute, second) = time_of_day(unix);
    let weekday = name(&DAYS, days % 7);
    let month = name(&MONTHS, month - 1);
    format!("{weekday}, {day:02} {month} {year:04} {hour:02}:{minute:02}:{second:02} GMT")
}

/// Parses a time as Docker writes it: RFC 3339 in UTC with any number of decimals, which are dropped.
pub(crate) fn parse_rfc3339(text: &str) -> Option<u64> {
    let (date, time) = text.split_once('T')?;
    let time = time.strip_suffix('Z')?.split('.').next()?;
    let mut date = date.splitn(3, '-');
    let mut next = || date.next()?.parse().ok();
    unix(next()?, next()?, next()?, time)
}

/// Parses a `Date` header (RFC 9110 section 5.6.7) without the two obsolete forms.
pub(crate) fn parse_http_date(text: &str) -> Option<u64> {
    let (_, date) = text.split_once(", ")?;
    let mut words = date.strip_suffix(" GMT")?.splitn(4, ' ');
    let day = words.next()?.parse().ok()?;
    let name = words.next()?;
    let month = MONTHS.iter().position(|month| *month == name)?;
    let year = words.next()?.parse().ok()?;
    unix(year, u64::try_from(month).ok()? + 1, day, words.next()?)
}

fn name(names: &'static [&'static str], index: u64) -> &'static str {
    let index = usize::try_from(index).ok();
    index.and_then(|index| names.get(index)).unwrap_or(&"???")
}

fn time_of_day(unix: u64) -> (u64, u64, u64) {
    let second = unix % SECONDS_PER_DAY;
    (second / 3_600, second / 60 % 60, second % 60)
}

// In both directions, the year is taken to begin in March, so that the leap day is its last and months follow one formula; 719,468 days
// lie between the first of March of year 0 and 1970, and 146,097 days are 400 years.

/// Returns year, month and day of a day counted from 1970.
fn date(days: u64) -> (u64, u64, u64) {
    let day = days.saturating_add(719_468);
    let (era, day) = (day / 146_097, day % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, next) = match month {
        0..10 => (month + 3, 0),
        _ => (month - 9, 1),
    };
    (era * 400 + year + next, month, day)
}

/// Returns the Unix seconds of a date and a time `HH:MM:SS`.
fn unix(year: u64, month: u64, day: u64, time: &str) -> Option<u64> {
    let mut time = time.splitn(3, ':').map(str::parse::<u64>);
    let (hour, minute, second) = (time.next()?.ok()?, time.next()?.ok()?, time.next()?.ok()?);
    if !(1970..=9999).contains(&year) || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    if hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let (year, month) = match month {
        1 | 2 => (year - 1, month + 9),
        _ => (year, month - 3),
    };
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day;
    Some(days.checked_sub(719_469)? * SECONDS_PER_DAY + hour * 3_600 + minute * 60 + second)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_and_parses_times_as_the_command_date_does() {
        // Each is the output of `date -u -d @N +%FT%TZ` and of `date -u -d @N +'%a, %d %b %Y %T GMT'`.
        for (seconds, iso, http) in [
            (0, "1970-01-01T00:00:00Z", "Thu, 01 Jan 1970 00:00:00 GMT"),
            (
                951_782_399,
                "2000-02-28T23:59:59Z",
                "Mon, 28 Feb 2000 23:59:59 GMT",
            ),
            (
                951_825_600,
                "2000-02-29T12:00:00Z",
                "Tue, 29 Feb 2000 12:00:00 GMT",
            ),
            (
                1_709_251_200,
                "2024-03-01T00:00:00Z",
                "Fri, 01 Mar 2024 00:00:00 GMT",
            ),
            (
                1_735_689_599,
                "2024-12-31T23:59:59Z",
                "Tue, 31 Dec 2024 23:59:59 GMT",
            ),
            (
                1_795_520_441,
                "2026-11-24T11:40:41Z",
                "Tue, 24 Nov 2026 11:40:41 GMT",
            ),
            (
                4_107_542_400,
                "2100-03-01T00:00:00Z",
                "Mon, 01 Mar 2100 00:00:00 GMT",
            ),
            (
                253_402_300_799,
                "9999-12-31T23:59:59Z",
                "Fri, 31 Dec 9999 23:59:59 GMT",
            ),
        ] {
            assert_eq!(rfc3339(seconds), iso);
            assert_eq!(http_date(seconds), http);
            assert_eq!(parse_rfc3339(iso), Some(seconds));
            assert_eq!(parse_http_date(http), Some(seconds));
        }
        assert_eq!(
            parse_http_date("Sun, 06 Nov 1994 08:49:37 GMT"),
            Some(784_111_777)
        );
        let decimals = "2024-03-01T00:00:00.123456789Z";
        assert_eq!(parse_rfc3339(decimals), Some(1_709_251_200));
    }

    #[test]
    fn parses_nothing_that_is_not_a_time() {
        for text in [
            "",
            "0001-01-01T00:00:00Z",
            "2024-13-01T00:00:00Z",
            "2024-00-01T00:00:00Z",
            "2024-01-00T00:00:00Z",
            "2024-01-01T24:00:00Z",
            "2024-01-01T00:60:00Z",
            "2024-01-01T00:00:00",
            "2024-01-01T00:00:00+02:00",
            "2024-01-01",
            "-2024-01-01T00:00:00Z",
        ] {
            assert_eq!(parse_rfc3339(text), None, "{text}");
        }
        for text in [
            "",
            "Friday, 01-Mar-24 00:00:00 GMT",
            "Fri Mar  1 00:00:00 2024",
            "Fri, 01 Mrz 2024 00:00:00 GMT",
            "Fri, 99 Mar 2024 00:00:00 GMT",
            "Fri, 01 Mar 2024 00:00:00 CET",
        ] {
            assert_eq!(parse_http_date(text), None, "{text}");
        }
    }
}
