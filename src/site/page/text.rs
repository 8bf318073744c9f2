//! Times, durations, digests and states as people read them on the page.

use crate::calendar::rfc3339;
pub(super) use crate::image::short_id as short;
use crate::site::page::Tone;
use crate::stack::outcome::{Outcome, ServiceReport, ServiceState, StackReport};

/// A moment, shown relative to the time at which the page is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Moment {
    /// The moment itself (Unix seconds).
    pub(super) unix: u64,
    /// The time of the page (Unix seconds).
    pub(super) now: u64,
}

impl Moment {
    /// For the `datetime` attribute.
    pub(super) fn iso(self) -> String {
        rfc3339(self.unix)
    }

    /// The absolute time, as a tooltip; the script turns it into local time.
    pub(super) fn utc(self) -> String {
        self.iso().replace('T', " ").replace('Z', " UTC")
    }

    /// The date, such as `2026-11-30`.
    pub(super) fn date(self) -> String {
        self.iso().chars().take(10).collect()
    }

    /// The time of day, such as `14:32:05 UTC`.
    pub(super) fn clock(self) -> String {
        let utc = self.utc();
        utc.split_once(' ').map_or("", |(_, time)| time).to_owned()
    }

    /// The relative time, such as `12 min ago`.
    pub(super) fn ago(self) -> String {
        let seconds = self.now.saturating_sub(self.unix);
        match seconds {
            0..10 => "just now".to_owned(),
            10..90 => format!("{seconds} s ago"),
            90..5_400 => format!("{} min ago", (seconds + 30) / 60),
            5_400..129_600 => format!("{} h ago", (seconds + 1_800) / 3_600),
            _ => format!("{} days ago", (seconds + 43_200) / 86_400),
        }
    }
}

/// `0.4 s`, `12 s`, `3 min 5 s`
pub(super) fn duration(seconds: f64) -> String {
    if seconds < 9.95 {
        return format!("{seconds:.1} s");
    }
    // Rounded first, so that 59.7 s is not shown as 60 s.
    let seconds = seconds.round();
    match (seconds / 60.0).floor() {
        0.0 => format!("{seconds} s"),
        minutes => format!("{minutes} min {} s", seconds % 60.0),
    }
}

/// The images of a service: `6213467`, or `6213467 → f2a2f90` where the redeploy changed it; empty if unknown.
pub(super) fn digests(service: &ServiceReport) -> String {
    match (&service.previous_image_id, &service.image_id) {
        (Some(old), Some(new)) if old != new => format!("{} → {}", short(old), short(new)),
        (_, Some(id)) => short(id).to_owned(),
        (_, None) => String::new(),
    }
}

/// The changes of a redeploy, such as `web 6213467 → f2a2f90`; empty if nothing.
pub(super) fn changes(report: &StackReport) -> String {
    let changed = |service: &&ServiceReport| {
        service.previous_image_id.is_some() && service.previous_image_id != service.image_id
    };
    let one = |service: &ServiceReport| format!("{} {}", service.service, digests(service));
    let changes: Vec<String> = report.services.iter().filter(changed).map(one).collect();
    changes.join(", ")
}

pub(super) fn outcome_tone(outcome: Outcome) -> Tone {
    match outcome {
        Outcome::Updated | Outcome::Unchanged => Tone::Good,
        Outcome::Skipped => Tone::Neutral,
        Outcome::Unknown => Tone::Warn,
        Outcome::Failed => Tone::Bad,
    }
}

/// The outcome as the page calls it; `event` is what the delivery asked for.
pub(super) fn outcome(report: &StackReport, event: &str) -> &'static str {
    report.word(event == "rollback")
}

pub(super) fn state_tone(state: ServiceState) -> Tone {
    match state {
        state if state.is_good() => Tone::Good,
        ServiceState::Starting => Tone::Warn,
        _ => Tone::Bad,
    }
}

/// `restarting, exit code 3, 5 restarts`
pub(super) fn state(service: &ServiceReport) -> String {
    let mut words = state_name(service.state).to_owned();
    if let Some(code) = service.exit_code {
        words.push_str(&format!(", exit code {code}"));
    }
    match service.restarts {
        Some(1) => words.push_str(", 1 restart"),
        Some(restarts) => words.push_str(&format!(", {restarts} restarts")),
        None => {}
    }
    words
}

fn state_name(state: ServiceState) -> &'static str {
    match state {
        ServiceState::Healthy => "healthy",
        ServiceState::Running => "running",
        ServiceState::Completed => "completed",
        ServiceState::Starting => "starting",
        ServiceState::Unhealthy => "unhealthy",
        ServiceState::Restarting => "restarting",
        ServiceState::Exited => "exited",
        ServiceState::Created => "created, not started",
        ServiceState::Missing => "no container",
    }
}

/// The first reason of a failure, short enough for a headline: `web keeps restarting, exit code 3`.
pub(super) fn cause(report: &StackReport) -> String {
    let bad = |service: &&ServiceReport| state_tone(service.state) == Tone::Bad;
    if let Some(service) = report.services.iter().find(bad) {
        let name = &service.service;
        let words = match service.state {
            ServiceState::Restarting => format!("{name} keeps restarting"),
            ServiceState::Created => format!("{name} was not started"),
            ServiceState::Missing => format!("{name} has no container"),
            ServiceState::Exited => format!("{name} exited"),
            _ => format!("{name} is unhealthy"),
        };
        return match service.exit_code {
            Some(code) => format!("{words}, exit code {code}"),
            None => words,
        };
    }
    const LONGEST: usize = 80;
    let first = report.message.split("; ").next().unwrap_or_default();
    // The answer of Portainer behind the colon is on the card.
    let first = match first.split_once(": ") {
        Some((before, _)) if first.chars().count() > LONGEST => before,
        _ => first,
    };
    match first.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", first.get(..end).unwrap_or_default()),
        None => first.to_owned(),
    }
}

/// With a capital letter and a full stop.
pub(super) fn sentence(text: &str) -> String {
    let mut characters = text.chars();
    let first: String = characters
        .next()
        .map(|first| first.to_uppercase().collect())
        .unwrap_or_default();
    let stop = if text.is_empty() || text.ends_with(['.', '!', '?', '…']) {
        ""
    } else {
        "."
    };
    format!("{first}{}{stop}", characters.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_short() {
        let cases = [
            (0.44, "0.4 s"),
            (9.97, "10 s"),
            (12.3, "12 s"),
            (59.7, "1 min 0 s"),
            (119.6, "2 min 0 s"),
            (185.0, "3 min 5 s"),
            (3600.0, "60 min 0 s"),
        ];
        for (seconds, words) in cases {
            assert_eq!(duration(seconds), words);
        }
    }

    #[test]
    fn times_are_relative_and_never_in_the_future() {
        let cases = [
            (0, "just now"),
            (9, "just now"),
            (10, "10 s ago"),
            (89, "89 s ago"),
            (90, "2 min ago"),
            (720, "12 min ago"),
            (5_399, "90 min ago"),
            (5_400, "2 h ago"),
            (129_599, "36 h ago"),
            (129_600, "2 days ago"),
        ];
        let now = 1_000_000;
        for (seconds, words) in cases {
            let unix = now - seconds;
            let moment = Moment { unix, now };
            assert_eq!(moment.ago(), words);
        }
        let moment = Moment {
            unix: now + 60,
            now,
        };
        assert_eq!(moment.ago(), "just now");
        assert_eq!(moment.clock(), "13:47:40 UTC");
    }

    #[test]
    fn shortens_ids_of_any_form() {
        for (id, expected) in [
            ("sha256:f2a2f90aa", "f2a2f90"),
            ("f2a2f90aa", "f2a2f90"),
            ("ghcr.io/acme/web@sha256:f2a2f90aa", "f2a2f90"),
            ("abc", "abc"),
            ("", ""),
            ("sha256:äöüäöü", "sha256:äöüäöü".rsplit(':').next().unwrap()),
        ] {
            assert_eq!(short(id), expected, "{id}");
        }
    }
}
