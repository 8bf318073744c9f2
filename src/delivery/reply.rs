//! The reply to a delivery: a JSON object and a status code.

use serde::Serialize;

use crate::delivery::{Delivery, DeliveryStatus, Part, PartProgress};
use crate::message::Reply;
use crate::stack::outcome::{Fault, Outcome, StackReport};

/// The JSON object; its first three keys are what the first users of this interface read.
#[derive(Serialize)]
struct ReplyBody<'a> {
    success: bool,
    message: &'a str,
    update_result: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    delivery: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status_url: Option<&'a str>,
    /// An earlier delivery is answered again.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    repeated: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    first_ended_at: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stacks: Option<Vec<StackRow<'a>>>,
}

/// A stack of a delivery.
#[derive(Serialize)]
#[serde(untagged)]
enum StackRow<'a> {
    Open {
        stack: &'a str,
        name: &'a str,
        step: &'a str,
    },
    Ended(&'a StackReport),
}

/// Returns the reply about a delivery as it is now. `prefix` is the path of the public URL, without a trailing slash. `first_ended_at` marks the
/// reply to a delivery that came before: the end of the first one (RFC 3339), empty while that is not finished.
pub(crate) fn about(delivery: &Delivery, prefix: &str, first_ended_at: Option<&str>) -> Reply {
    let status = delivery.status();
    let (url, result) = (
        status_url(delivery, prefix),
        update_result(delivery, status),
    );
    let body = ReplyBody {
        status_url: Some(&url),
        repeated: first_ended_at.is_some(),
        first_ended_at: first_ended_at.filter(|time| !time.is_empty()),
        delivery: Some(delivery.id.as_str()),
        stacks: Some(delivery.parts.iter().map(row).collect()),
        ..ReplyBody::new(status, &result)
    };
    let reply = Reply::json(code(delivery, status), &body);
    match status {
        DeliveryStatus::Queued | DeliveryStatus::Running => reply.with("Location", url),
        DeliveryStatus::Ignored
        | DeliveryStatus::Succeeded
        | DeliveryStatus::Unknown
        | DeliveryStatus::Failed => reply,
    }
}

/// Returns the reply about a delivery that was verified and deliberately not acted on.
pub(crate) fn ignored(reason: &str) -> Reply {
    Reply::json(200, &ReplyBody::new(DeliveryStatus::Ignored, reason))
}

/// Returns the reply about a delivery that is open while stackhook stops. `continues`: it is on disk and continues after the restart.
pub(crate) fn stopped(delivery: &Delivery, prefix: &str, continues: bool) -> Reply {
    let reason = match continues {
        true => {
            "stackhook is restarting; the update continues afterwards, and \"status_url\" has its outcome"
        }
        false => "stackhook was stopped during the update; look at the stack in Portainer",
    };
    unknown_outcome(delivery, prefix, 503, reason).with("Retry-After", "10")
}

/// Returns the reply to a client that did not ask to wait and whose wait is over: 202 would look like a success.
pub(crate) fn overdue(delivery: &Delivery, prefix: &str) -> Reply {
    let reason = "the update has not finished in time; \"status_url\" has its outcome later";
    unknown_outcome(delivery, prefix, 504, reason)
}

fn unknown_outcome(delivery: &Delivery, prefix: &str, status: u16, reason: &str) -> Reply {
    let url = status_url(delivery, prefix);
    let body = ReplyBody {
        status_url: Some(&url),
        delivery: Some(delivery.id.as_str()),
        ..ReplyBody::new(DeliveryStatus::Unknown, reason)
    };
    Reply::json(status, &body)
}

/// Returns the reply to a rejected request. Nothing in it helps an attacker to forge one.
pub(crate) fn rejected(status: u16, reason: &str) -> Reply {
    let message = format!("Nothing was deployed: {reason}");
    let rejected = ReplyBody {
        update_result: None,
        status: None,
        ..ReplyBody::new(DeliveryStatus::Failed, "")
    };
    Reply::json(
        status,
        &ReplyBody {
            message: &message,
            ..rejected
        },
    )
}

/// Returns the reply about an unknown delivery. It may have been deployed once.
pub(crate) fn unknown() -> Reply {
    let message = "There is no such delivery, or it is no longer known";
    let nothing = ReplyBody {
        update_result: None,
        status: None,
        message,
        ..ReplyBody::new(DeliveryStatus::Failed, "")
    };
    Reply::json(404, &nothing)
}

/// Returns the status of several stacks that were redeployed without a delivery, for the output and exit code of commands.
pub(crate) fn status_of(reports: &[StackReport]) -> DeliveryStatus {
    reports
        .iter()
        .map(|report| DeliveryStatus::of(report.outcome, true))
        .max()
        .unwrap_or(DeliveryStatus::Ignored)
}

/// Returns the path under which the delivery's reply can be read.
pub(crate) fn status_url(delivery: &Delivery, prefix: &str) -> String {
    format!("{prefix}/webhook/deliveries/{}/", delivery.id)
}

impl<'a> ReplyBody<'a> {
    fn new(status: DeliveryStatus, update_result: &'a str) -> ReplyBody<'a> {
        let (success, message) = match status {
            DeliveryStatus::Queued | DeliveryStatus::Running | DeliveryStatus::Succeeded => {
                (true, "Stack update triggered")
            }
            DeliveryStatus::Ignored => (true, "Delivery ignored"),
            DeliveryStatus::Failed => (false, "Stack update failed"),
            DeliveryStatus::Unknown => (false, "Stack update outcome unknown"),
        };
        let (update_result, status) = (Some(update_result), Some(status.name()));
        ReplyBody {
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

/// Returns the reason why a delivery did not do what it requested; empty if it did, or is under way.
pub(crate) fn reason(delivery: &Delivery) -> String {
    let status = delivery.status();
    match status {
        DeliveryStatus::Queued | DeliveryStatus::Running | DeliveryStatus::Succeeded => {
            String::new()
        }
        DeliveryStatus::Ignored | DeliveryStatus::Failed | DeliveryStatus::Unknown => {
            update_result(delivery, status)
        }
    }
}

fn update_result(delivery: &Delivery, status: DeliveryStatus) -> String {
    let updated = || {
        delivery
            .reports()
            .any(|report| report.outcome == Outcome::Updated)
    };
    match status {
        DeliveryStatus::Queued => "Stack update queued".to_owned(),
        DeliveryStatus::Running => "Stack update running".to_owned(),
        DeliveryStatus::Succeeded if updated() => "Stack updated successfully".to_owned(),
        DeliveryStatus::Succeeded => "Stack is already up to date".to_owned(),
        DeliveryStatus::Ignored | DeliveryStatus::Failed | DeliveryStatus::Unknown => {
            let responsible = |report: &&StackReport| {
                DeliveryStatus::of(report.outcome, delivery.strict) == status
            };
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

fn code(delivery: &Delivery, status: DeliveryStatus) -> u16 {
    match status {
        DeliveryStatus::Queued | DeliveryStatus::Running => 202,
        DeliveryStatus::Ignored | DeliveryStatus::Succeeded => 200,
        DeliveryStatus::Unknown => 504,
        DeliveryStatus::Failed => {
            let code = |report: &StackReport| match (report.outcome, report.fault) {
                (Outcome::Failed, Some(Fault::NotWritten)) => 503,
                (Outcome::Failed, Some(Fault::NotReached)) => 504,
                (Outcome::Failed, Some(Fault::Refused) | None) => 502,
                (Outcome::Skipped, _) => 409,
                (Outcome::Updated | Outcome::Unchanged | Outcome::Unknown, _) => 200,
            };
            // An error of Portainer or the containers outweighs one that may be temporary, and that one a skip.
            let codes: Vec<u16> = delivery.reports().map(code).collect();
            [502, 504, 503, 409]
                .into_iter()
                .find(|code| codes.contains(code))
                .unwrap_or(502)
        }
    }
}

fn row(part: &Part) -> StackRow<'_> {
    let (stack, name) = (part.stack.as_str(), part.name.as_str());
    match &part.progress {
        PartProgress::Waiting => StackRow::Open {
            stack,
            name,
            step: "waiting",
        },
        PartProgress::Running(step) => StackRow::Open { stack, name, step },
        PartProgress::Ended(report) => StackRow::Ended(report),
    }
}

#[cfg(test)]
mod tests;
