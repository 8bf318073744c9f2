//! A delivery's reply: the JSON object and the status code of design 2.1.

use serde::Serialize;

use crate::delivery::{Delivery, Part, Progress, Status};
use crate::message::Reply;
use crate::stack::outcome::{Fault, Outcome, StackReport};

/// The JSON object; its first three keys are what the first users of this interface read.
#[derive(Serialize)]
struct Body<'a> {
    success: bool,
    message: &'a str,
    update_result: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    delivery: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status_url: Option<&'a str>,
    /// Whether an earlier delivery is answered again.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    repeated: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    first_ended_at: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stacks: Option<Vec<Row<'a>>>,
}

/// A stack of a delivery, as far as it is.
#[derive(Serialize)]
#[serde(untagged)]
enum Row<'a> {
    Open {
        stack: &'a str,
        name: &'a str,
        step: &'a str,
    },
    Ended(&'a StackReport),
}

/// The reply about a delivery as it is now. `prefix` is the path of the public URL, without a trailing slash. `first_ended_at` marks the
/// reply to a delivery that came before: the end of the first one (RFC 3339), empty while that is not finished.
pub(crate) fn about(delivery: &Delivery, prefix: &str, first_ended_at: Option<&str>) -> Reply {
    let status = delivery.status();
    let (url, result) = (
        status_url(delivery, prefix),
        update_result(delivery, status),
    );
    let body = Body {
        status_url: Some(&url),
        repeated: first_ended_at.is_some(),
        first_ended_at: first_ended_at.filter(|time| !time.is_empty()),
        delivery: Some(delivery.id.as_str()),
        stacks: Some(delivery.parts.iter().map(row).collect()),
        ..Body::new(status, &result)
    };
    let reply = Reply::json(code(delivery, status), &body);
    match status {
        Status::Queued | Status::Running => reply.with("Location", url),
        Status::Ignored | Status::Succeeded | Status::Unknown | Status::Failed => reply,
    }
}

/// The reply about a delivery that was verified and deliberately not acted on.
pub(crate) fn ignored(reason: &str) -> Reply {
    Reply::json(200, &Body::new(Status::Ignored, reason))
}

/// The reply about a delivery that is open while stackhook stops. `continues`: it is on disk and continues after the restart.
pub(crate) fn stopped(delivery: &Delivery, prefix: &str, continues: bool) -> Reply {
    let reason = match continues {
        true => {
            "stackhook is restarting; the update continues afterwards, and \"status_url\" has its outcome"
        }
        false => "stackhook was stopped during the update; look at the stack in Portainer",
    };
    unknown_outcome(delivery, prefix, 503, reason).with("Retry-After", "10")
}

/// The reply to a client that did not ask to wait and whose wait is over: 202 would look like a success.
pub(crate) fn overdue(delivery: &Delivery, prefix: &str) -> Reply {
    let reason = "the update has not finished in time; \"status_url\" has its outcome later";
    unknown_outcome(delivery, prefix, 504, reason)
}

fn unknown_outcome(delivery: &Delivery, prefix: &str, status: u16, reason: &str) -> Reply {
    let url = status_url(delivery, prefix);
    let body = Body {
        status_url: Some(&url),
        delivery: Some(delivery.id.as_str()),
        ..Body::new(Status::Unknown, reason)
    };
    Reply::json(status, &body)
}

/// The reply to what was turned away: nothing in it helps to forge.
pub(crate) fn rejected(status: u16, reason: &str) -> Reply {
    let message = format!("Nothing was deployed: {reason}");
    let rejected = Body {
        update_result: None,
        status: None,
        ..Body::new(Status::Failed, "")
    };
    Reply::json(
        status,
        &Body {
            message: &message,
            ..rejected
        },
    )
}

/// The reply about a delivery that nobody knows. It may well have been deployed once.
pub(crate) fn unknown() -> Reply {
    let message = "There is no such delivery, or it is no longer known";
    let nothing = Body {
        update_result: None,
        status: None,
        message,
        ..Body::new(Status::Failed, "")
    };
    Reply::json(404, &nothing)
}

/// The status of several stacks that were redeployed without a delivery; what the command line prints and exits by.
pub(crate) fn status_of(reports: &[StackReport]) -> Status {
    reports
        .iter()
        .map(|report| Status::of(report.outcome, true))
        .max()
        .unwrap_or(Status::Ignored)
}

/// The path under which the delivery's reply can be read.
pub(crate) fn status_url(delivery: &Delivery, prefix: &str) -> String {
    format!("{prefix}/webhook/deliveries/{}/", delivery.id)
}

impl<'a> Body<'a> {
    fn new(status: Status, update_result: &'a str) -> Body<'a> {
        let (success, message) = match status {
            Status::Queued | Status::Running | Status::Succeeded => {
                (true, "Stack update triggered")
            }
            Status::Ignored => (true, "Delivery ignored"),
            Status::Failed => (false, "Stack update failed"),
            Status::Unknown => (false, "Stack update outcome unknown"),
        };
        let (update_result, status) = (Some(update_result), Some(status.name()));
        Body {
            success,
            message,
            update_result,
            status,
            delivery: None,
            status_url: None,
            repeated: false,
            first_ended_at: None,
            stacks: None,
        }
    }
}

/// Why a delivery did not do what was asked for; empty where it did, or is under way.
pub(crate) fn reason(delivery: &Delivery) -> String {
    let status = delivery.status();
    match status {
        Status::Queued | Status::Running | Status::Succeeded => String::new(),
        Status::Ignored | Status::Failed | Status::Unknown => update_result(delivery, status),
    }
}

fn update_result(delivery: &Delivery, status: Status) -> String {
    let updated = || {
        delivery
            .reports()
            .any(|report| report.outcome == Outcome::Updated)
    };
    match status {
        Status::Queued => "Stack update queued".to_owned(),
        Status::Running => "Stack update running".to_owned(),
        Status::Succeeded if updated() => "Stack updated successfully".to_owned(),
        Status::Succeeded => "Stack is already up to date".to_owned(),
        Status::Ignored | Status::Failed | Status::Unknown => {
            let responsible =
                |report: &&StackReport| Status::of(report.outcome, delivery.strict) == status;
            let line = |report: &StackReport| format!("{}: {}", report.name, report.message);
            delivery
                .reports()
                .filter(responsible)
                .map(line)
                .collect::<Vec<_>>()
                .join("; ")
        }
    }
}

fn code(delivery: &Delivery, status: Status) -> u16 {
    match status {
        Status::Queued | Status::Running => 202,
        Status::Ignored | Status::Succeeded => 200,
        Status::Unknown => 504,
        Status::Failed => {
            let code = |report: &StackReport| match (report.outcome, report.fault) {
                (Outcome::Failed, Some(Fault::NotWritten)) => 503,
                (Outcome::Failed, Some(Fault::NotReached)) => 504,
                (Outcome::Failed, Some(Fault::Refused) | None) => 502,
                (Outcome::Skipped, _) => 409,
                (Outcome::Updated | Outcome::Unchanged | Outcome::Unknown, _) => 200,
            };
            // What Portainer or the containers said weighs more than what may pass by itself, and that more than a skip.
            let codes: Vec<u16> = delivery.reports().map(code).collect();
            [502, 504, 503, 409]
                .into_iter()
                .find(|code| codes.contains(code))
                .unwrap_or(502)
        }
    }
}

fn row(part: &Part) -> Row<'_> {
    let (stack, name) = (part.stack.as_str(), part.name.as_str());
    match &part.progress {
        Progress::Waiting => Row::Open {
            stack,
            name,
            step: "waiting",
        },
        Progress::Running(step) => Row::Open { stack, name, step },
        Progress::Ended(report) => Row::Ended(report),
    }
}

#[cfg(test)]
mod tests;
