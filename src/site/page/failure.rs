//! A failed stack on the page: what failed, what helps with its button, what runs now, and the log.

use crate::redeploy::{Running, View};
use crate::site::page::known::Known;
use crate::site::page::text::{
    Moment, changes, digests, duration, is_restored, sentence, state, state_tone,
};
use crate::site::page::{Snapshot, Tone};
use crate::stack::Stack;
use crate::stack::outcome::{Fault, Outcome, StackReport, Stage};

/// A failure, ready for its template.
pub(super) struct Failure {
    pub(super) tone: Tone,
    pub(super) title: &'static str,
    pub(super) message: String,
    pub(super) at: Moment,
    pub(super) took: String,
    /// Such as `web 6213467 → f2a2f90`; empty if no image changed.
    pub(super) changes: String,
    pub(super) services: Vec<String>,
    pub(super) advice: &'static str,
    /// The action and the label of its button.
    pub(super) button: Option<(&'static str, &'static str)>,
    pub(super) now: Vec<String>,
    pub(super) now_note: &'static str,
    pub(super) logs: Vec<Log>,
}

/// The end of a service's log.
pub(super) struct Log {
    pub(super) service: String,
    pub(super) text: String,
}

/// The failure of a stack, as far as it is known.
pub(super) fn failure(
    snapshot: &Snapshot<'_>,
    stack: &Stack,
    known: &Known<'_>,
    unix: u64,
    report: &StackReport,
    event: &str,
) -> Failure {
    let (advice, button) = advice(known, report);
    let (now, now_note) = now(known, report);
    let bad = report
        .services
        .iter()
        .filter(|service| state_tone(service.state) != Tone::Good)
        .map(|service| format!("{}: {}", service.service, state(service)));
    Failure {
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
        at: snapshot.moment(unix),
        took: duration(report.seconds),
        changes: changes(report),
        services: bad.collect(),
        advice,
        button,
        now,
        now_note,
        logs: logs(snapshot, stack.key.as_str(), report),
    }
}

/// The logs that belong to this very report: they are kept once for each stack.
pub(super) fn logs(snapshot: &Snapshot<'_>, stack: &str, report: &StackReport) -> Vec<Log> {
    let mut failures = snapshot.failures.iter();
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

fn now(known: &Known<'_>, report: &StackReport) -> (Vec<String>, &'static str) {
    let unseen = |why: &str| (vec![format!("This cannot be seen: {why}.")], "");
    match known.view {
        Err(why) => unseen(why),
        Ok(View {
            services: Err(why), ..
        }) => unseen(why),
        Ok(_) if known.services().is_empty() => {
            let down =
                "No container of the stack is visible: it is down, or this user may not see it.";
            (vec![down.to_owned()], "")
        }
        Ok(_) => {
            let one = |Running { service, .. }: &Running| {
                let digest = match digests(service) {
                    none if none.is_empty() => none,
                    digest => format!(" ({digest})"),
                };
                let (name, state) = (&service.service, state(service));
                format!("{name}: {state}, {}{digest}", service.image)
            };
            let note = match report.stage {
                Some(Stage::RollBack) if is_restored(report) => {
                    "These are the images from before the failed update."
                }
                _ => "",
            };
            (known.services().iter().map(one).collect(), note)
        }
    }
}

/// What to do about this failure, and the button that does it. The stage of the failure decides, not what happened earlier.
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
