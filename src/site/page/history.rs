//! Recent deliveries and rejections as tables, and the page of a single delivery.

use std::cmp::Reverse;

use crate::delivery::{Delivery, Part, PartProgress};
use crate::limits;
use crate::site::page::failure::{Log, logs};
use crate::site::page::text::{
    Moment, changes, digests, duration, outcome, outcome_tone, sentence, state, state_tone,
};
use crate::site::page::{PageData, Tone};
use crate::site::recent::RejectedRequest;
use crate::stack::outcome::Stage;

/// A row of the deliveries: one stack of a delivery, or a delivery that was not acted on.
pub(super) struct DeliveryRow {
    /// Empty if it has no page of its own.
    pub(super) id: String,
    pub(super) at: Moment,
    pub(super) from: String,
    pub(super) event: String,
    pub(super) stack: String,
    pub(super) outcome: &'static str,
    pub(super) tone: Tone,
    pub(super) took: String,
    pub(super) changes: String,
    pub(super) details: String,
}

/// A row of the rejections.
pub(super) struct RejectionRow {
    pub(super) at: Moment,
    pub(super) peer: String,
    pub(super) hook: String,
    pub(super) status: u16,
    pub(super) details: String,
}

/// The last deliveries, newest first.
pub(super) fn deliveries(data: &PageData<'_>) -> Vec<DeliveryRow> {
    let parts = data
        .history
        .iter()
        .flat_map(|delivery| delivery.parts.iter().map(move |part| (delivery, part)));
    let mut rows: Vec<DeliveryRow> = parts
        .map(|(delivery, part)| row(data, delivery, part))
        .collect();
    for idle in data.site.recent.idle() {
        let is_refused = idle.result == "refused";
        rows.push(DeliveryRow {
            id: String::new(),
            at: data.moment(idle.unix),
            from: sender(data, &idle.hook),
            event: String::new(),
            stack: String::new(),
            outcome: idle.result,
            tone: if is_refused { Tone::Bad } else { Tone::Neutral },
            took: String::new(),
            changes: String::new(),
            details: sentence(&idle.reason),
        });
    }
    // Stable: deliveries of the same second keep their order.
    rows.sort_by_key(|row| Reverse(row.at.unix));
    rows.truncate(limits::DELIVERIES_SHOWN);
    rows
}

/// The last rejections, newest first.
pub(super) fn rejections(data: &PageData<'_>) -> Vec<RejectionRow> {
    let rejections = data.site.recent.rejections();
    rejections
        .iter()
        .take(limits::REJECTIONS_SHOWN)
        .map(|one| rejection(data, one))
        .collect()
}

fn row(data: &PageData<'_>, delivery: &Delivery, part: &Part) -> DeliveryRow {
    let (word, tone, took, changes, details) = match &part.progress {
        PartProgress::Waiting => ("waiting", Tone::Neutral, String::new(), String::new(), ""),
        PartProgress::Running(_) => ("running", Tone::Progress, String::new(), String::new(), ""),
        PartProgress::Ended(report) => (
            outcome(report, &delivery.event),
            outcome_tone(report.outcome),
            duration(report.seconds),
            changes(report),
            report.message.as_str(),
        ),
    };
    DeliveryRow {
        id: delivery.id.to_string(),
        at: data.moment(delivery.at),
        from: sender(data, &delivery.hook),
        event: delivery.event.clone(),
        stack: part.name.clone(),
        outcome: word,
        tone,
        took,
        changes,
        details: sentence(details),
    }
}

/// The hook, and its kind of sender.
fn sender(data: &PageData<'_>, hook: &str) -> String {
    let mut hooks = data.site.hooks.iter();
    match hooks.find(|one| one.name.as_str() == hook) {
        Some(found) => format!("{hook} ({})", found.sender.name()),
        None => hook.to_owned(),
    }
}

fn rejection(data: &PageData<'_>, one: &RejectedRequest) -> RejectionRow {
    let times = match one.times {
        1 => String::new(),
        times => format!(" ({times} times)"),
    };
    RejectionRow {
        at: data.moment(one.unix),
        peer: one.peer.to_string(),
        hook: one.hook.clone(),
        status: one.status,
        details: format!("{}{times}", sentence(&one.words)),
    }
}

/// A delivery with everything that is known about it.
pub(super) struct DeliveryView {
    pub(super) id: String,
    pub(super) tone: Tone,
    pub(super) headline: String,
    pub(super) from: String,
    pub(super) event: String,
    pub(super) accepted: Moment,
    pub(super) ended: Option<Moment>,
    pub(super) is_open: bool,
    pub(super) parts: Vec<PartView>,
}

/// One stack of a delivery.
pub(super) struct PartView {
    pub(super) key: String,
    pub(super) name: String,
    pub(super) environment: String,
    pub(super) outcome: &'static str,
    pub(super) tone: Tone,
    pub(super) message: String,
    pub(super) took: String,
    pub(super) steps: Vec<StepView>,
    pub(super) services: Vec<ServiceView>,
    pub(super) logs: Vec<Log>,
}

/// A stage of a redeploy, as far as it got.
pub(super) struct StepView {
    pub(super) name: &'static str,
    pub(super) result: &'static str,
    pub(super) tone: Tone,
}

/// A service as the redeploy left it.
pub(super) struct ServiceView {
    pub(super) name: String,
    pub(super) state: String,
    pub(super) tone: Tone,
    pub(super) image: String,
    pub(super) digests: String,
    pub(super) recreated: bool,
}

/// Everything about a delivery.
pub(super) fn delivery(data: &PageData<'_>, delivery: &Delivery) -> DeliveryView {
    let parts: Vec<PartView> = delivery
        .parts
        .iter()
        .map(|part| part_view(data, delivery, part))
        .collect();
    let names: Vec<&str> = parts.iter().map(|part| part.name.as_str()).collect();
    let worst = parts.iter().max_by_key(|part| part.tone);
    DeliveryView {
        id: delivery.id.to_string(),
        tone: worst.map_or(Tone::Neutral, |part| part.tone),
        headline: format!(
            "{}: {}",
            names.join(", "),
            worst.map_or("nothing to do", |part| part.outcome)
        ),
        from: sender(data, &delivery.hook),
        event: delivery.event.clone(),
        accepted: data.moment(delivery.at),
        ended: delivery.ended.map(|unix| data.moment(unix)),
        is_open: !delivery.has_ended(),
        parts,
    }
}

fn part_view(data: &PageData<'_>, delivery: &Delivery, part: &Part) -> PartView {
    let mut view = PartView {
        key: part.stack.to_string(),
        name: part.name.clone(),
        environment: String::new(),
        outcome: "waiting",
        tone: Tone::Neutral,
        message: String::new(),
        took: String::new(),
        steps: Vec::new(),
        services: Vec::new(),
        logs: Vec::new(),
    };
    match &part.progress {
        PartProgress::Waiting => {}
        PartProgress::Running(step) => {
            view.outcome = "running";
            view.tone = Tone::Progress;
            view.message = sentence(step);
        }
        PartProgress::Ended(report) => {
            view.environment = report.environment.clone().unwrap_or_default();
            view.outcome = outcome(report, &delivery.event);
            view.tone = outcome_tone(report.outcome);
            view.message = sentence(&report.message);
            view.took = duration(report.seconds);
            view.steps = steps(report.stage);
            view.logs = logs(data, part.stack.as_str(), report);
            let services = report.services.iter().map(|service| ServiceView {
                name: service.service.clone(),
                state: state(service),
                tone: state_tone(service.state),
                image: service.image.clone(),
                digests: digests(service),
                recreated: service.recreated,
            });
            view.services = services.collect();
        }
    }
    view
}

/// The stages up to the one that failed; none where the redeploy did not fail.
fn steps(failed: Option<Stage>) -> Vec<StepView> {
    const STAGES: [(Stage, &str); 5] = [
        (Stage::Find, "Find and inspect the stack"),
        (Stage::Pull, "Pull the images"),
        (Stage::Submit, "Submit the update"),
        (Stage::Verify, "Verify the containers"),
        (Stage::RollBack, "Roll back"),
    ];
    let Some(failed) = failed else {
        return Vec::new();
    };
    let mut steps = Vec::new();
    for (stage, name) in STAGES {
        let (result, tone) = match stage {
            // Before it came to a rollback, submitting or verifying had failed.
            Stage::Submit | Stage::Verify if failed == Stage::RollBack => {
                if stage == Stage::Submit {
                    continue;
                }
                ("failed", Tone::Bad)
            }
            stage if stage == failed && stage == Stage::RollBack => ("done", Tone::Neutral),
            stage if stage == failed => ("failed", Tone::Bad),
            _ => ("done", Tone::Good),
        };
        let name = match (stage, failed) {
            (Stage::Verify, Stage::RollBack) => "Update and verify the containers",
            _ => name,
        };
        steps.push(StepView { name, result, tone });
        if stage == failed {
            break;
        }
    }
    steps
}
