//! A stack on the page: how it stands, what failed and what helps, what it runs, and its buttons.

use crate::delivery::{Delivery, Part, Progress};
use crate::limits;
use crate::redeploy::Running;
use crate::site::page::told::{Told, told};
use crate::site::page::words::{outcome_mood, sentence, state, state_mood, text_class, time, utc};
use crate::site::page::{Known, Mood, trouble};
use crate::site::template::Fields;
use crate::stack::Stack;
use crate::stack::outcome::StackReport;

/// A stack, ready for the page.
pub(super) struct Card {
    pub(super) title: String,
    pub(super) mood: Mood,
    pub(super) is_running: bool,
    pub(super) fields: Fields,
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
            trouble.map(|(unix, report)| trouble::trouble(known, stack, &told, unix, report)),
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
        .given("no_way_back", !told.can_roll_back() || is_running);
    Card {
        title,
        mood,
        is_running,
        fields: strip(&told, fields),
    }
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
