//! A stack on the page: its state, what failed and what helps, what it runs, and its buttons.

use crate::delivery::PartProgress;
use crate::limits;
use crate::portainer::Kind;
use crate::redeploy::{Assessment, RunningService};
use crate::scheduler::probe::{Note, StaffAction};
use crate::site::page::failure::{FailurePanel, failure};
use crate::site::page::known::Known;
use crate::site::page::text::{
    Moment, cause, digests, outcome, outcome_tone, sentence, short, state, state_tone,
};
use crate::site::page::{Group, PageData, Tone};
use crate::stack::outcome::{Outcome, StackReport};
use crate::stack::{Stack, StackKey};

/// A stack, ready for its template.
pub(super) struct Card {
    pub(super) key: String,
    pub(super) title: String,
    pub(super) tone: Tone,
    pub(super) group: Group,
    pub(super) badge: &'static str,
    /// The state in one line, for the headline.
    pub(super) headline: String,
    pub(super) environment: String,
    pub(super) portainer_url: String,
    /// Such as `2 of the last 9 updates failed`; empty without any.
    pub(super) counts: String,
    pub(super) bars: Option<Bars>,
    pub(super) last: Option<Last>,
    pub(super) running: Option<RunningUpdate>,
    pub(super) failure: Option<FailurePanel>,
    pub(super) paused: Option<Paused>,
    pub(super) blocked: Vec<BlockedRow>,
    pub(super) unseen: String,
    pub(super) services: Vec<ServiceRow>,
    pub(super) check: Option<Check>,
    pub(super) can_roll_back: bool,
}

/// The last outcome of a stack.
pub(super) struct Last {
    pub(super) word: &'static str,
    pub(super) at: Moment,
}

/// An update that runs or waits.
pub(super) struct RunningUpdate {
    pub(super) delivery: String,
    pub(super) step: String,
}

/// A pause by staff.
pub(super) struct Paused {
    /// `None`: the time is not known.
    pub(super) since: Option<Moment>,
    pub(super) until: Option<Moment>,
}

/// An image, or values of variables, that were rolled back.
pub(super) struct BlockedRow {
    /// Such as `ghcr.io/acme/web:1 (f2a2f90)`.
    pub(super) name: String,
    pub(super) at: Moment,
}

/// A service as it runs.
pub(super) struct ServiceRow {
    pub(super) name: String,
    pub(super) state: String,
    pub(super) tone: Tone,
    pub(super) image: String,
    pub(super) digest: String,
    /// The date at which the image was built, such as `2026-11-30`.
    pub(super) built: Option<String>,
    pub(super) since: Option<Moment>,
}

/// The result of a dry run, with the button that then does it.
pub(super) struct Check {
    pub(super) title: String,
    pub(super) lines: Vec<String>,
    pub(super) at: Moment,
    pub(super) number: u64,
    /// The action and the label of its button, unless nothing can be done.
    pub(super) button: Option<(&'static str, &'static str)>,
}

/// The last outcomes as small bars, oldest on the left: one path for each tone, so that 25 stacks stay small.
pub(super) struct Bars {
    pub(super) width: usize,
    pub(super) label: String,
    pub(super) paths: Vec<(Tone, String)>,
}

/// The state of a stack, the worst that applies.
struct CardState {
    tone: Tone,
    group: Group,
    badge: &'static str,
    headline: String,
}

fn stack_state(
    data: &PageData<'_>,
    title: &str,
    known: &Known<'_>,
    failed: Option<&(u64, &StackReport, &str)>,
    paused: bool,
    blocked: &[BlockedRow],
) -> CardState {
    let state = |tone, group, badge, headline: String| CardState {
        tone,
        group,
        badge,
        headline,
    };
    if known.open.is_some() {
        let headline = format!("{title} is being updated");
        return state(Tone::Progress, Group::Running, "updating", headline);
    }
    if let Some((_, report, event)) = failed {
        let what = if *event == "rollback" {
            "rollback"
        } else {
            "update"
        };
        let cause = cause(report);
        return match (report.outcome, known.is_healthy()) {
            (Outcome::Unknown, healthy) => {
                let tone = if healthy { Tone::Warn } else { Tone::Bad };
                let headline = format!("{title}: result of the {what} unknown");
                state(tone, Group::Failed, "result unknown", headline)
            }
            (_, true) if report.is_restored() => {
                let headline = format!("{title}: {what} failed, previous images restored");
                state(Tone::Warn, Group::Failed, "failed, restored", headline)
            }
            (_, true) => {
                let headline = format!("{title}: {what} failed ({cause})");
                state(Tone::Warn, Group::Failed, "last update failed", headline)
            }
            (_, false) => {
                let headline = format!("{title}: {what} failed ({cause})");
                state(Tone::Bad, Group::Failed, "failed", headline)
            }
        };
    }
    let unusable = |why: &str| {
        let headline = format!("{title} cannot be updated ({why})");
        state(Tone::Bad, Group::Failed, "cannot be updated", headline)
    };
    match known.view {
        _ if paused => {
            let headline = format!("{title} is paused");
            state(Tone::Warn, Group::Paused, "paused", headline)
        }
        Err(_) if data.look.is_none() => {
            let headline = format!("{title} has not been checked yet");
            state(Tone::Neutral, Group::Healthy, "not checked yet", headline)
        }
        Err(_) if !data.is_portainer_up() => {
            let headline = format!("{title}: state unknown");
            state(Tone::Neutral, Group::Healthy, "state unknown", headline)
        }
        Err(why) => unusable(why),
        Ok(Assessment {
            ready: Err(report), ..
        }) => unusable(&report.message),
        Ok(_) if known.is_healthy() && !blocked.is_empty() => {
            let names: Vec<&str> = blocked.iter().map(|one| one.name.as_str()).collect();
            let headline = format!("{title} is healthy; blocked: {}", names.join(", "));
            state(
                Tone::Warn,
                Group::Blocked,
                "healthy, image blocked",
                headline,
            )
        }
        Ok(_) if known.is_healthy() => state(
            Tone::Good,
            Group::Healthy,
            "healthy",
            format!("{title} is healthy"),
        ),
        Ok(_) if known.services().is_empty() => {
            let headline = format!("{title} has no containers");
            state(Tone::Warn, Group::Failed, "no containers", headline)
        }
        Ok(_) => {
            let bad = known.services().iter().map(|one| &one.service);
            let mut bad = bad.filter(|one| state_tone(one.state) != Tone::Good);
            let why = bad.next().map_or_else(String::new, |one| {
                format!(" ({}: {})", one.service, self::state(one))
            });
            let headline = format!("{title} is unhealthy{why}");
            state(Tone::Warn, Group::Failed, "unhealthy", headline)
        }
    }
}

/// The card of a stack.
pub(super) fn card(data: &PageData<'_>, stack: &Stack) -> Card {
    let known = Known::new(data, stack);
    let key = &stack.key;
    let title = match key.as_str() == stack.name {
        true => stack.name.clone(),
        false => format!("{} ({key})", stack.name),
    };
    let paused = data.desk.probe.pause_of(key);
    let blocked = blocked(data, key);
    let failed = known
        .last()
        .filter(|(_, report, _)| report.outcome.is_bad() && known.open.is_none());
    let CardState {
        tone,
        group,
        badge,
        headline,
    } = stack_state(data, &title, &known, failed, paused.is_some(), &blocked);
    let unseen = match known.view {
        Err(why) if data.is_portainer_up() => sentence(why),
        Err(_) => String::new(),
        Ok(view) => match (&view.ready, &view.services) {
            (Err(report), _) => format!("An update would be refused: {}.", report.message),
            (Ok(_), Err(why)) => format!("Its containers cannot be seen: {why}."),
            (Ok(_), Ok(_)) => String::new(),
        },
    };
    let environment = known.view.ok().and_then(|view| view.environment.as_deref());
    let environment = environment.or(stack.environment.as_deref());
    let note = data.desk.probe.note(key);
    // A failed pause or the like has no marker: it stays until it is dismissed.
    let note = note.filter(|note| note.marker.is_empty() || note.marker == known.marker());
    Card {
        key: key.to_string(),
        tone,
        group,
        badge,
        headline,
        environment: environment.unwrap_or_default().to_owned(),
        portainer_url: portainer_url(data, &known),
        counts: counts(&known),
        bars: bars(&known),
        last: known.ended.first().map(|(unix, report, event)| Last {
            word: outcome(report, event),
            at: data.moment(*unix),
        }),
        running: known.open.map(|(delivery, part)| RunningUpdate {
            delivery: delivery.id.to_string(),
            step: match &part.progress {
                PartProgress::Running(step) => step.clone(),
                PartProgress::Waiting | PartProgress::Ended(_) => "waiting in the queue".to_owned(),
            },
        }),
        failure: failed
            .map(|(unix, report, event)| failure(data, stack, &known, *unix, report, event)),
        paused: paused.map(|pause| Paused {
            since: (pause.since > 0).then(|| data.moment(pause.since)),
            until: pause.until.map(|until| data.moment(until)),
        }),
        blocked,
        unseen,
        services: known
            .services()
            .iter()
            .map(|one| service(data, one))
            .collect(),
        check: note.map(|note| check(data, note, known.open.is_some())),
        can_roll_back: known.can_roll_back() && known.open.is_none(),
        title,
    }
}

/// Everything of the stack that is blocked. Known without Portainer.
fn blocked(data: &PageData<'_>, key: &StackKey) -> Vec<BlockedRow> {
    let record = data.desk.probe.record_of(key);
    let images = record.blocked.iter().map(|(reference, image)| BlockedRow {
        name: format!("{} ({})", reference.familiar(), short(&image.id)),
        at: data.moment(image.unix),
    });
    let values = record.blocked_variables.iter().map(|blocked| {
        let names: Vec<&str> = blocked.values.keys().map(String::as_str).collect();
        BlockedRow {
            name: format!("The new value of {}", names.join(", ")),
            at: data.moment(blocked.unix),
        }
    });
    images.chain(values).collect()
}

fn service(data: &PageData<'_>, running: &RunningService) -> ServiceRow {
    let service = &running.service;
    ServiceRow {
        name: service.service.clone(),
        state: state(service),
        tone: state_tone(service.state),
        image: service.image.clone(),
        digest: digests(service),
        built: running.built.map(|unix| data.moment(unix).date()),
        since: running.since.map(|unix| data.moment(unix)),
    }
}

fn check(data: &PageData<'_>, note: Note, is_running: bool) -> Check {
    let button = note.action.filter(|_| !is_running);
    let label = |action| match action {
        StaffAction::Update => ("update", "Update now"),
        StaffAction::Force => ("force", "Update anyway"),
        StaffAction::RollBack => ("rollback", "Roll back now"),
    };
    Check {
        title: note.title,
        lines: note.lines.iter().map(|line| sentence(line)).collect(),
        at: data.moment(note.unix),
        number: note.number,
        button: button.map(label),
    }
}

/// The stack in Portainer's own interface; empty where a browser cannot reach it.
fn portainer_url(data: &PageData<'_>, known: &Known<'_>) -> String {
    let Some(portal) = data.portal() else {
        return String::new();
    };
    let Ok(view) = known.view else {
        return String::new();
    };
    let Some(record) = portal.records.iter().find(|one| one.id == view.id) else {
        return String::new();
    };
    let Some(base) = data.portainer_address() else {
        return String::new();
    };
    let kind = match record.kind {
        Kind::Swarm => 1,
        _ => 2,
    };
    let name =
        percent_encoding::utf8_percent_encode(&record.name, percent_encoding::NON_ALPHANUMERIC);
    format!(
        "{base}/#!/{}/docker/stacks/{name}?id={}&type={kind}",
        record.environment, record.id
    )
}

/// The number of failures among the outcomes that are drawn as bars.
fn counts(known: &Known<'_>) -> String {
    let all = known.ended.len().min(limits::OUTCOMES_DRAWN);
    match (known.failures(), all) {
        (_, 0) => String::new(),
        // The last outcome is named beside it.
        (_, 1) => String::new(),
        (0, all) => format!("none of the last {all} deliveries failed"),
        (bad, all) => format!("{bad} of the last {all} deliveries failed"),
    }
}

fn bars(known: &Known<'_>) -> Option<Bars> {
    let mut paths: Vec<(Tone, String)> = Vec::new();
    let mut width = 0;
    for (_, report, _) in known.ended.iter().take(limits::OUTCOMES_DRAWN).rev() {
        let tone = outcome_tone(report.outcome);
        let bar = format!("M{} 1v16", width + 3);
        match paths.iter_mut().find(|(other, _)| *other == tone) {
            Some((_, path)) => path.push_str(&bar),
            None => paths.push((tone, bar)),
        }
        width += 8;
    }
    let (all, bad) = (width / 8, known.failures());
    (all > 0).then(|| Bars {
        width,
        label: format!(
            "The last {all} outcomes, oldest first: {bad} failed, {} not",
            all - bad
        ),
        paths,
    })
}
