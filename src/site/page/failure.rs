//! A failed stack on the page: what failed, what helps with its button, what runs now, and the log.

use crate::secret;
use crate::site::page::known::Known;
use crate::site::page::text::{Moment, changes, duration, sentence};
use crate::site::page::{PageData, Tone};
use crate::stack::Stack;
use crate::stack::outcome::{Fault, Outcome, StackReport, Stage};

/// A failure, ready for its template.
pub(super) struct FailurePanel {
    pub(super) tone: Tone,
    pub(super) title: &'static str,
    pub(super) message: String,
    pub(super) at: Moment,
    pub(super) took: String,
    /// Such as `web 6213467 → f2a2f90`; empty if no image changed.
    pub(super) changes: String,
    pub(super) advice: &'static str,
    pub(super) button: Option<Button>,
    /// A sentence about the running services, if there is more to say than their table says.
    pub(super) now: String,
    pub(super) logs: Vec<Log>,
}

/// The one button of a failure, which acts without a dry run.
pub(super) struct Button {
    pub(super) action: &'static str,
    pub(super) label: &'static str,
    /// Identifies the state that the button was shown for: it does nothing after the stack's next event.
    pub(super) code: String,
}

/// The end of a service's log.
pub(super) struct Log {
    pub(super) service: String,
    pub(super) text: String,
}

/// The failure of a stack, as far as it is known.
pub(super) fn failure(
    data: &PageData<'_>,
    stack: &Stack,
    known: &Known<'_>,
    unix: u64,
    report: &StackReport,
    event: &str,
) -> FailurePanel {
    let (advice, button) = advice(known, report);
    FailurePanel {
        tone: if known.is_healthy() {
            Tone::Warn
        } else {
            Tone::Bad
        },
        title: match (report.outcome, event) {
            (Outcome::Unknown, _) => "The result is unknown",
            (_, "rollback") => "The rollback failed",
            _ => "The update failed",
        },
        message: sentence(&report.message),
        at: data.moment(unix),
        took: duration(report.seconds),
        changes: changes(report),
        advice,
        button: button.map(|(action, label)| {
            let shown = format!("{} {action} {}", stack.key, known.marker());
            let mut code = secret::to_hex(&secret::sha256(&[shown.as_bytes()]));
            code.truncate(16);
            Button {
                action,
                label,
                code,
            }
        }),
        now: now(known, report),
        logs: logs(data, stack.key.as_str(), report),
    }
}

/// The logs that belong to this very report: they are kept once for each stack.
pub(super) fn logs(data: &PageData<'_>, stack: &str, report: &StackReport) -> Vec<Log> {
    let mut failures = data.failures.iter();
    let failure = failures.find(|failure| {
        failure.stack.as_str() == stack && failure.report.message == report.message
    });
    let logs = failure.map_or(&[][..], |failure| &failure.report.logs);
    let log = logs.iter().map(|log| Log {
        service: log.service.clone(),
        text: log.text.clone(),
    });
    log.collect()
}

/// The state of the running services, where their table does not say it.
fn now(known: &Known<'_>, report: &StackReport) -> String {
    let services = known.view.map(|view| view.services.as_ref());
    match services {
        Err(why) => format!("This cannot be seen: {why}."),
        Ok(Err(why)) => format!("This cannot be seen: {why}."),
        Ok(Ok(none)) if none.is_empty() => {
            "No container of the stack is visible: it is down, or this user may not see it."
                .to_owned()
        }
        Ok(_) if report.is_restored() => {
            "These are the images from before the failed update.".to_owned()
        }
        Ok(_) => String::new(),
    }
}

/// The advice about this failure, and the button that follows it. The stage of the failure decides, not earlier events.
fn advice(
    known: &Known<'_>,
    report: &StackReport,
) -> (&'static str, Option<(&'static str, &'static str)>) {
    let again = Some(("update", "Try the update again"));
    let roll_back = (
        "Roll back to the images that ran before the update; they are still on the host. The failed image is then blocked until a newer one arrives.",
        Some(("rollback", "Roll back")),
    );
    let forward = (
        "No earlier images are remembered, so fix the cause (the log below says more) and push again, or try the update again.",
        again,
    );
    let healthy = known.is_healthy();
    if known.view.is_err() {
        return (
            "Check whether Portainer answers, and what it reports.",
            Some(("test", "Test the connection")),
        );
    }
    if report.fault == Some(Fault::NotReached) {
        return (
            "Nothing was sent, so nothing changed. Try again once Portainer answers.",
            again,
        );
    }
    if report.outcome == Outcome::Unknown {
        return match healthy {
            true => (
                "The running containers are healthy. Another update finds out whether anything is missing.",
                again,
            ),
            false if known.can_roll_back() => roll_back,
            false => forward,
        };
    }
    match report.stage {
        Some(Stage::Pull) => (
            "Nothing was changed. Check that the image exists in the registry and that Portainer may pull it, then try again.",
            again,
        ),
        Some(Stage::Find) => (
            "Nothing was changed. Fix what the message names, then try again.",
            again,
        ),
        Some(Stage::RollBack) if healthy => (
            "Nothing needs to be done right now: the previous images run again, and the failed image is blocked. A fixed image is deployed automatically when it is pushed.",
            None,
        ),
        Some(Stage::RollBack) => (
            "The rollback did not succeed either. Look at the stack in Portainer, fix the cause, then try the update again.",
            again,
        ),
        Some(Stage::Submit | Stage::Verify) | None if healthy => (
            "The running containers are healthy. Fix what the message names; the next delivery, or this button, tries again.",
            again,
        ),
        Some(Stage::Submit | Stage::Verify) | None if known.can_roll_back() => roll_back,
        Some(Stage::Submit | Stage::Verify) | None => forward,
    }
}
