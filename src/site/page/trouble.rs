//! A stack that failed on the page: what failed, what runs now, and the one button that helps.

use crate::redeploy::{Running, View};
use crate::site::page::told::Told;
use crate::site::page::words::{lasted, sentence, state, state_mood, state_name, time, utc};
use crate::site::page::{Known, Mood};
use crate::site::template::Fields;
use crate::stack::Stack;
use crate::stack::outcome::{Fault, Outcome, StackReport};

/// All of it.
pub(super) fn trouble(
    known: &Known<'_>,
    stack: &Stack,
    told: &Told<'_>,
    unix: u64,
    report: &StackReport,
) -> Fields {
    let failure = known
        .failures
        .iter()
        .find(|failure| failure.stack == stack.key && failure.report.message == report.message);
    let logs = failure.map_or(&[][..], |failure| &failure.report.logs);
    let bad = report
        .services
        .iter()
        .filter(|service| state_mood(service.state) != Mood::Good);
    let what = match report.outcome {
        Outcome::Unknown => "Nobody knows how this ended",
        _ => "What failed",
    };
    let (advice, button) = advice(told, report);
    let class = if told.all_well() { "warn" } else { "bad" };
    Fields::default()
        .text("trouble_class", class)
        .text("what", what)
        .text("message", sentence(&report.message))
        .text("at", time(unix))
        .text("at_words", utc(unix))
        .text("took", lasted(report.seconds))
        .list(
            "bad_services",
            bad.map(|service| {
                let text =
                    |number: Option<i64>| number.map_or(String::new(), |number| number.to_string());
                Fields::default()
                    .text("service", service.service.as_str())
                    .text("state", state_name(service.state))
                    .text("exit", text(service.exit_code))
                    .text(
                        "restarts",
                        service
                            .restarts
                            .map_or(String::new(), |number| number.to_string()),
                    )
            }),
        )
        .list(
            "logs",
            logs.iter().map(|log| {
                Fields::default()
                    .text("service", log.service.as_str())
                    .text("log", log.text.as_str())
            }),
        )
        .text("now", now(told))
        .text("advice", advice)
        .list(
            "button",
            button.map(|(action, label)| {
                Fields::default()
                    .text("action", action)
                    .text("label", label)
            }),
        )
}

fn now(told: &Told<'_>) -> String {
    match told.view {
        Err(why) => format!("That cannot be seen: {why}."),
        Ok(View {
            services: Err(why), ..
        }) => format!("That cannot be seen: {why}."),
        Ok(view) => {
            let one = |running: &Running| {
                format!("{} is {}", running.service.service, state(&running.service))
            };
            let all: Vec<String> = told.services().iter().map(one).collect();
            let back = match view.held.is_empty() {
                true => "",
                false => " These are the images from before the failed update.",
            };
            match all.is_empty() {
                true => "No container of it can be seen: it is down, or not shown to this user."
                    .to_owned(),
                false => format!("{}.{back}", all.join("; ")),
            }
        }
    }
}

/// What to do, and the button that does it.
fn advice(
    told: &Told<'_>,
    report: &StackReport,
) -> (&'static str, Option<(&'static str, &'static str)>) {
    let again = Some(("update", "Try the update again"));
    let held = matches!(told.view, Ok(view) if !view.held.is_empty());
    match () {
        () if told.view.is_err() => (
            "Find out whether Portainer answers, and what it says.",
            Some(("test", "Test the connection")),
        ),
        () if report.fault == Some(Fault::NotReached) => (
            "Nothing was sent, so nothing changed. Once Portainer answers, try again.",
            again,
        ),
        () if told.all_well() && held => (
            "Nothing, right now: the images from before run again, and the bad one stays out. When a mended image is pushed, it is taken by itself.",
            None,
        ),
        () if told.all_well() && report.outcome == Outcome::Unknown => (
            "What runs is well. An update finds out whether anything is missing, and ends the doubt.",
            again,
        ),
        () if told.all_well() => (
            "What runs is well. Mend what the message says; then the next delivery, or this button, tries again.",
            again,
        ),
        () if told.can_roll_back() => (
            "Go back to the images that ran before the update; they are still there. The bad one then stays out, and there is time to look for the cause.",
            Some(("rollback", "Back to the previous images")),
        ),
        () => (
            "No earlier images are remembered, so the way is forward: mend the cause (the log above says more), push, and the update comes by itself, or try again here.",
            again,
        ),
    }
}
