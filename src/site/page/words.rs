//! How times, durations and states are written on the page.

use crate::clock::rfc3339;
use crate::site::page::Mood;
use crate::stack::outcome::{Outcome, ServiceReport, ServiceState};

/// For machines.
pub(super) fn time(unix: u64) -> String {
    rfc3339(unix)
}

/// For people without the script, which makes it their own time.
pub(super) fn utc(unix: u64) -> String {
    rfc3339(unix).replace('T', " ").replace('Z', " UTC")
}

/// `0.4 s`, `12 s`, `3 min 5 s`.
pub(super) fn lasted(seconds: f64) -> String {
    if seconds < 9.95 {
        return format!("{seconds:.1} s");
    }
    // Rounded first: there is no minute of 60 seconds.
    let seconds = seconds.round();
    match (seconds / 60.0).floor() {
        0.0 => format!("{seconds} s"),
        minutes => format!("{minutes} min {} s", seconds % 60.0),
    }
}

pub(super) fn outcome_mood(outcome: Outcome) -> Mood {
    match outcome {
        Outcome::Updated | Outcome::Unchanged => Mood::Good,
        Outcome::Skipped => Mood::Soft,
        Outcome::Unknown => Mood::Warn,
        Outcome::Failed => Mood::Bad,
    }
}

/// The class of a cell.
pub(super) fn text_class(mood: Mood) -> &'static str {
    match mood {
        Mood::Soft => "",
        Mood::Good => "good-text",
        Mood::Warn => "warn-text",
        Mood::Bad => "bad-text",
    }
}

pub(super) fn state_mood(state: ServiceState) -> Mood {
    match state {
        ServiceState::Healthy | ServiceState::Running | ServiceState::Completed => Mood::Good,
        ServiceState::Starting => Mood::Warn,
        ServiceState::Unhealthy
        | ServiceState::Restarting
        | ServiceState::Exited
        | ServiceState::Created
        | ServiceState::Missing => Mood::Bad,
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

pub(super) fn state_name(state: ServiceState) -> &'static str {
    match state {
        ServiceState::Healthy => "healthy",
        ServiceState::Running => "running",
        ServiceState::Completed => "completed",
        ServiceState::Starting => "starting",
        ServiceState::Unhealthy => "unhealthy",
        ServiceState::Restarting => "restarting",
        ServiceState::Exited => "exited",
        ServiceState::Created => "created, not started",
        ServiceState::Missing => "without a container",
    }
}

/// A sentence: with a capital, and a full stop.
pub(super) fn sentence(text: &str) -> String {
    let mut signs = text.chars();
    let first: String = signs
        .next()
        .map(|first| first.to_uppercase().collect())
        .unwrap_or_default();
    let rest = signs.as_str();
    let stop = if text.ends_with(['.', '!', '?', '…']) {
        ""
    } else {
        "."
    };
    format!("{first}{rest}{stop}")
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
            assert_eq!(lasted(seconds), words);
        }
    }
}
