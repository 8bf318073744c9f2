//! What came lately: deliveries with what became of them, and requests that were turned away.

use std::cmp::Reverse;

use crate::delivery::{Delivery, Part, Progress};
use crate::limits;
use crate::site::page::words::{lasted, outcome_mood, sentence, text_class, time, utc};
use crate::site::page::{Known, Mood};
use crate::site::recent::TurnedAway;
use crate::site::template::Fields;

/// Both tables.
pub(super) fn add(known: &Known<'_>, fields: Fields) -> Fields {
    let mut rows: Vec<(u64, Fields)> = Vec::new();
    for delivery in &known.history {
        let row = |part| (delivery.at, row(known, delivery, part));
        rows.extend(delivery.parts.iter().map(row));
    }
    for idle in known.site.recent.idle() {
        let mood = if idle.result == "refused" {
            Mood::Bad
        } else {
            Mood::Soft
        };
        let fields = Fields::default()
            .text("at", time(idle.unix))
            .text("at_words", utc(idle.unix))
            .text("from", sender(known, &idle.hook))
            .text("event", "")
            .text("stack", "")
            .text("outcome", idle.result)
            .text("class", text_class(mood))
            .text("took", "")
            .text("words", sentence(&idle.reason));
        rows.push((idle.unix, fields));
    }
    // Stable: what came in the same second stays in its order.
    rows.sort_by_key(|(unix, _)| Reverse(*unix));
    rows.truncate(limits::DELIVERIES_SHOWN);
    let rejections = known.site.recent.rejections();
    fields
        .given("has_deliveries", !rows.is_empty())
        .list("deliveries", rows.into_iter().map(|(_, fields)| fields))
        .given("has_rejections", !rejections.is_empty())
        .list("rejections", rejections.iter().map(rejection))
}

fn row(known: &Known<'_>, delivery: &Delivery, part: &Part) -> Fields {
    let (outcome, mood, took, words) = match &part.progress {
        Progress::Waiting => ("waiting", Mood::Soft, String::new(), String::new()),
        Progress::Running(step) => ("running", Mood::Soft, String::new(), sentence(step)),
        Progress::Ended(report) => (
            report.outcome.name(),
            outcome_mood(report.outcome),
            lasted(report.seconds),
            sentence(&report.message),
        ),
    };
    Fields::default()
        .text("at", time(delivery.at))
        .text("at_words", utc(delivery.at))
        .text("from", sender(known, &delivery.hook))
        .text("event", delivery.event.as_str())
        .text("stack", part.name.as_str())
        .text("outcome", outcome)
        .text("class", text_class(mood))
        .text("took", took)
        .text("words", words)
}

/// The hook, and who posts there.
fn sender(known: &Known<'_>, hook: &str) -> String {
    let found = known
        .site
        .hooks
        .iter()
        .find(|one| one.name.as_str() == hook);
    match found {
        Some(found) => format!("{hook} ({})", found.sender.name()),
        None => hook.to_owned(),
    }
}

fn rejection(one: &TurnedAway) -> Fields {
    let times = match one.times {
        1 => String::new(),
        times => format!(" ({times} times)"),
    };
    Fields::default()
        .text("at", time(one.unix))
        .text("at_words", utc(one.unix))
        .text("peer", one.peer.to_string())
        .text("hook", one.hook.as_str())
        .text("status", one.status.to_string())
        .text("words", format!("{}{times}", sentence(&one.words)))
}
