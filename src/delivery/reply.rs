//! A delivery's reply: the JSON object and the status code of design 2.1.

use serde::Serialize;

use crate::delivery::{Delivery, Part, Progress, Status};
use crate::http::Reply;
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

/// The reply about a delivery as it stands. `prefix` is the path of the public URL, without a trailing slash.
pub(crate) fn about(delivery: &Delivery, prefix: &str) -> Reply {
    let status = delivery.status();
    let (url, result) = (
        status_url(delivery, prefix),
        update_result(delivery, status),
    );
    let body = Body {
        status_url: Some(&url),
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

/// The reply about a delivery that a stop left open: nothing is kept on disk, so nobody will be able to tell.
pub(crate) fn stopped(delivery: &Delivery, prefix: &str) -> Reply {
    let words = "stackhook was stopped in the middle of it; look at the stack in Portainer";
    let url = status_url(delivery, prefix);
    let body = Body {
        status_url: Some(&url),
        delivery: Some(delivery.id.as_str()),
        ..Body::new(Status::Unknown, words)
    };
    Reply::json(503, &body).with("Retry-After", "10")
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
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::request::DeliveryId;
    use crate::stack::StackKey;

    fn ended(outcome: Outcome, fault: Option<Fault>, message: &str) -> Progress {
        Progress::Ended(StackReport {
            stack: "app".to_owned(),
            name: "app-stack".to_owned(),
            environment: Some("local".to_owned()),
            outcome,
            verified: None,
            message: message.to_owned(),
            seconds: 1.5,
            services: Vec::new(),
            fault,
            logs: Vec::new(),
        })
    }

    #[track_caller]
    fn check(
        strict: bool,
        parts: Vec<Progress>,
        code: u16,
        success: bool,
        message: &str,
        update_result: &str,
    ) {
        let part = |progress| Part {
            stack: StackKey::parse("app").unwrap(),
            name: "app-stack".to_owned(),
            progress,
        };
        let parts = parts.into_iter().map(part).collect();
        let delivery = Delivery {
            id: DeliveryId::new([7; 16]),
            hook: "update".to_owned(),
            strict,
            wait: std::time::Duration::ZERO,
            at: 0,
            ended: None,
            duplicate: None,
            event: String::new(),
            parts,
        };
        let reply = about(&delivery, "/hooks");
        let body: Value = serde_json::from_slice(&reply.body).unwrap();
        let expected =
            json!({"success": success, "message": message, "update_result": update_result});
        for key in ["success", "message", "update_result"] {
            assert_eq!(body[key], expected[key]);
        }
        assert_eq!(reply.status, code);
        assert_eq!(
            body["status_url"],
            "/hooks/webhook/deliveries/07070707070707070707070707070707/"
        );
        let location = reply.headers.iter().any(|(name, _)| name == "Location");
        assert_eq!(location, code == 202, "Location belongs to 202");
    }

    #[test]
    fn the_agreed_texts_and_codes() {
        use Outcome::{Failed, Skipped, Unchanged, Unknown, Updated};
        let triggered = "Stack update triggered";
        check(
            true,
            vec![Progress::Waiting],
            202,
            true,
            triggered,
            "Stack update queued",
        );
        check(
            true,
            vec![Progress::Running("pulling".to_owned())],
            202,
            true,
            triggered,
            "Stack update running",
        );
        check(
            true,
            vec![ended(Updated, None, "")],
            200,
            true,
            triggered,
            "Stack updated successfully",
        );
        check(
            true,
            vec![ended(Unchanged, None, "")],
            200,
            true,
            triggered,
            "Stack is already up to date",
        );
        let both = vec![ended(Unchanged, None, ""), ended(Updated, None, "")];
        check(
            true,
            both,
            200,
            true,
            triggered,
            "Stack updated successfully",
        );
        let skipped = vec![ended(Skipped, None, "paused")];
        check(
            true,
            skipped.clone(),
            409,
            false,
            "Stack update failed",
            "app-stack: paused",
        );
        check(
            false,
            skipped,
            200,
            true,
            "Delivery ignored",
            "app-stack: paused",
        );
        let some_skipped = vec![ended(Skipped, None, "paused"), ended(Updated, None, "")];
        check(
            false,
            some_skipped,
            200,
            true,
            triggered,
            "Stack updated successfully",
        );
        let unknown = vec![ended(Unknown, None, "look at it")];
        check(
            true,
            unknown,
            504,
            false,
            "Stack update outcome unknown",
            "app-stack: look at it",
        );
        let failed = |fault| vec![ended(Failed, Some(fault), "no")];
        check(
            true,
            failed(Fault::Refused),
            502,
            false,
            "Stack update failed",
            "app-stack: no",
        );
        check(
            true,
            failed(Fault::NotReached),
            504,
            false,
            "Stack update failed",
            "app-stack: no",
        );
        check(
            true,
            failed(Fault::NotWritten),
            503,
            false,
            "Stack update failed",
            "app-stack: no",
        );
    }

    #[test]
    fn the_worst_stack_decides() {
        use Outcome::{Failed, Skipped, Unknown, Updated};
        let reached = || ended(Failed, Some(Fault::NotReached), "away");
        let refused = || ended(Failed, Some(Fault::Refused), "no");
        check(
            true,
            vec![reached(), refused()],
            502,
            false,
            "Stack update failed",
            "app-stack: away; app-stack: no",
        );
        let skipped = || ended(Skipped, None, "paused");
        check(
            true,
            vec![skipped(), reached()],
            504,
            false,
            "Stack update failed",
            "app-stack: paused; app-stack: away",
        );
        let unknown = || ended(Unknown, None, "who knows");
        check(
            false,
            vec![unknown(), refused()],
            502,
            false,
            "Stack update failed",
            "app-stack: no",
        );
        let mixed = vec![unknown(), ended(Updated, None, "")];
        check(
            false,
            mixed,
            504,
            false,
            "Stack update outcome unknown",
            "app-stack: who knows",
        );
        let open = vec![refused(), Progress::Waiting];
        check(
            false,
            open,
            202,
            true,
            "Stack update triggered",
            "Stack update running",
        );
    }

    #[test]
    fn a_rejection_has_three_keys_and_no_more() {
        let reply = rejected(401, "sign it");
        let body: Value = serde_json::from_slice(&reply.body).unwrap();
        let expected = json!({"success": false, "message": "Nothing was deployed: sign it", "update_result": null});
        assert_eq!((reply.status, body), (401, expected));
    }
}
