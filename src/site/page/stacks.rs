//! A stack on the page: how it stands, what failed and what helps, what it runs, and its buttons.

use crate::delivery::{Delivery, Part, Progress};
use crate::limits;
use crate::redeploy::{Running, View};
use crate::site::page::words::{
    lasted, outcome_mood, sentence, state, state_mood, state_name, text_class, time, utc,
};
use crate::site::page::{Known, Mood};
use crate::site::template::Fields;
use crate::stack::Stack;
use crate::stack::outcome::{Fault, Outcome, StackReport};

/// A stack, ready for the page.
pub(super) struct Card {
    pub(super) title: String,
    pub(super) mood: Mood,
    pub(super) is_running: bool,
    pub(super) fields: Fields,
}

/// What there is to tell about one stack.
struct Told<'k> {
    /// Newest first, with the time of the end.
    ends: Vec<(u64, &'k StackReport)>,
    /// What runs or waits, and the delivery that it is for.
    open: Option<(&'k Delivery, &'k Part)>,
    /// What was seen, or why nothing was.
    view: Result<&'k View, &'k str>,
}

impl Told<'_> {
    /// The last end that says how the stack stands.
    fn last(&self) -> Option<&(u64, &StackReport)> {
        self.ends
            .iter()
            .find(|(_, report)| report.outcome != Outcome::Skipped)
    }

    fn services(&self) -> &[Running] {
        match self.view {
            Ok(View {
                services: Ok(services),
                ..
            }) => services,
            _ => &[],
        }
    }

    fn all_well(&self) -> bool {
        let well = |one: &Running| state_mood(one.service.state) == Mood::Good;
        !self.services().is_empty() && self.services().iter().all(well)
    }

    fn has_way_back(&self) -> bool {
        matches!(self.view, Ok(view) if view.has_way_back)
    }
}

/// The card of a stack.
pub(super) fn card(known: &Known<'_>, stack: &Stack) -> Card {
    let told = told(known, stack);
    let key = &stack.key;
    let title = match key.as_str() == stack.name {
        true => stack.name.clone(),
        false => format!("{} ({key})", stack.name),
    };
    let is_running = told.open.is_some();
    let paused = known.desk.probe.paused(key);
    let trouble = told
        .last()
        .filter(|(_, report)| report.outcome.is_bad() && !is_running)
        .copied();
    let (mood, badge) = match () {
        () if is_running => (Mood::Soft, "updating"),
        () if trouble.is_some() && !told.all_well() => (Mood::Bad, "failing"),
        () if trouble.is_some() => (Mood::Warn, "last update failed"),
        () if paused.is_some() => (Mood::Warn, "paused"),
        () => match told.view {
            Err(_) if known.look.is_none() => (Mood::Soft, "not looked at yet"),
            Err(_) if !known.sees_portainer() => (Mood::Warn, "cannot be seen"),
            Err(_) => (Mood::Bad, "not usable"),
            Ok(view) if view.ready.is_err() => (Mood::Bad, "cannot be updated"),
            Ok(_) if told.all_well() => (Mood::Good, "well"),
            Ok(_) if told.services().is_empty() => (Mood::Warn, "nothing to be seen"),
            Ok(_) => (Mood::Warn, "not all well"),
        },
    };
    let unseen = match told.view {
        Err(why) if known.sees_portainer() => sentence(why),
        Err(_) => String::new(),
        Ok(view) => match (&view.ready, &view.services) {
            (Err(why), _) => format!("An update would be refused: {why}."),
            (Ok(_), Err(why)) => format!("What it runs cannot be seen: {why}."),
            (Ok(_), Ok(_)) => String::new(),
        },
    };
    let held: &[(String, u64)] = told.view.map_or(&[], |view| &view.held);
    let last = told.ends.first();
    let fields = Fields::default()
        .text("key", key.as_str())
        .text("title", title.as_str())
        .text("class", mood.class())
        .text("badge", badge)
        .text("where", place(known, stack, &told))
        .text("last", last.map_or("", |(_, report)| report.outcome.name()))
        .text(
            "last_at",
            last.map_or(String::new(), |(unix, _)| time(*unix)),
        )
        .text(
            "last_words",
            last.map_or(String::new(), |(unix, _)| utc(*unix)),
        )
        .list("running", told.open.map(running))
        .list(
            "trouble",
            trouble.map(|(unix, report)| self::trouble(known, stack, &told, unix, report)),
        )
        .list(
            "paused",
            paused.map(|since| {
                let given = since > 0;
                Fields::default()
                    .text("since", if given { time(since) } else { String::new() })
                    .text("since_words", utc(since))
            }),
        )
        .list(
            "held",
            held.iter().map(|(image, unix)| {
                Fields::default()
                    .text("image", image.as_str())
                    .text("at", time(*unix))
                    .text("at_words", utc(*unix))
            }),
        )
        .given("held_any", !held.is_empty())
        .text("unseen", unseen)
        .given("has_services", !told.services().is_empty())
        .list("services", told.services().iter().map(service))
        .list(
            "dry",
            known.desk.probe.note(key).map(|note| {
                Fields::default()
                    .text("dry_title", note.title)
                    .text("at", time(note.unix))
                    .text("at_words", utc(note.unix))
                    .lines(
                        "lines",
                        "line",
                        note.lines.iter().map(|line| sentence(line)),
                    )
            }),
        )
        .given("busy", is_running)
        .given("no_way_back", !told.has_way_back() || is_running);
    Card {
        title,
        mood,
        is_running,
        fields: strip(&told, fields),
    }
}

fn told<'k>(known: &'k Known<'_>, stack: &Stack) -> Told<'k> {
    let (mut ends, mut open) = (Vec::new(), None);
    for delivery in &known.history {
        for part in &delivery.parts {
            if part.stack != stack.key {
                continue;
            }
            match &part.progress {
                Progress::Ended(report) => {
                    let unix = delivery.ended.unwrap_or(delivery.at);
                    ends.push((unix, report));
                }
                // What runs says more than what waits behind it.
                Progress::Running(_) => open = Some((delivery, part)),
                Progress::Waiting => open = open.or(Some((delivery, part))),
            }
        }
    }
    if ends.is_empty() {
        let failure = known
            .failures
            .iter()
            .find(|failure| failure.stack == stack.key);
        ends.extend(failure.map(|failure| (failure.unix, &failure.report)));
    }
    let view = match known.look.as_ref().map(|look| look.stacks.get(&stack.key)) {
        Some(Some(Ok(view))) => Ok(view),
        Some(Some(Err(why))) => Err(why.as_str()),
        Some(None) | None => Err("Portainer has not been looked at yet"),
    };
    Told { ends, open, view }
}

fn place(known: &Known<'_>, stack: &Stack, told: &Told<'_>) -> String {
    let environment = told.view.ok().and_then(|view| view.environment.as_deref());
    let environment = environment.or(stack.environment.as_deref());
    let (good, bad) = known.site.metrics.of_stack(stack.key.as_str());
    let on = environment.map_or(String::new(), |name| format!("on {name} · "));
    format!("{on}{good} went well, {bad} failed since the start")
}

fn running((delivery, part): (&Delivery, &Part)) -> Fields {
    let step = match &part.progress {
        Progress::Running(step) => step.as_str(),
        Progress::Waiting | Progress::Ended(_) => "waiting for its turn",
    };
    Fields::default()
        .text("delivery", delivery.id.as_str())
        .text("step", step)
}

fn service(running: &Running) -> Fields {
    let service = &running.service;
    Fields::default()
        .text("service", service.service.as_str())
        .text("state", state(service))
        .text("class", text_class(state_mood(service.state)))
        .text("image", service.image.as_str())
        .text("since", running.since.map_or(String::new(), time))
        .text("since_words", running.since.map_or(String::new(), utc))
}

/// What failed, what runs now, and the one button that helps.
fn trouble(
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
        () if told.has_way_back() => (
            "Go back to the images that ran before the update; they are still there. The bad one then stays out, and there is time to look for the cause.",
            Some(("rollback", "Back to the previous images")),
        ),
        () => (
            "No earlier images are remembered, so the way is forward: mend the cause (the log above says more), push, and the update comes by itself, or try again here.",
            again,
        ),
    }
}

/// The last ends as small bars, oldest on the left.
fn strip(told: &Told<'_>, fields: Fields) -> Fields {
    let shown: Vec<&(u64, &StackReport)> = told
        .ends
        .iter()
        .take(limits::OUTCOMES_DRAWN)
        .rev()
        .collect();
    let bar = |(index, (unix, report)): (usize, &&(u64, &StackReport))| {
        Fields::default()
            .text("x", (index * 8).to_string())
            .text("class", outcome_mood(report.outcome).class())
            .text(
                "words",
                format!("{}, {}", report.outcome.name(), utc(*unix)),
            )
    };
    let count = |bad: bool| {
        let counted = shown
            .iter()
            .filter(|(_, report)| report.outcome.is_bad() == bad);
        counted.count()
    };
    fields
        .given("has_strip", !shown.is_empty())
        .text("strip_width", (shown.len() * 8).to_string())
        .text(
            "strip_words",
            format!(
                "The last {} outcomes: {} bad, {} not",
                shown.len(),
                count(true),
                count(false)
            ),
        )
        .list("strip", shown.iter().enumerate().map(bar))
}
