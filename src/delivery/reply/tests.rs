use serde_json::{Value, json};

use super::*;
use crate::delivery::DeliveryId;
use crate::stack::StackKey;

fn ended(outcome: Outcome, fault: Option<Fault>, message: &str) -> PartProgress {
    PartProgress::Ended(StackReport {
        stack: "app".to_owned(),
        name: "app-stack".to_owned(),
        environment: Some("local".to_owned()),
        outcome,
        verified: None,
        message: message.to_owned(),
        seconds: 1.5,
        services: Vec::new(),
        fault,
        stage: None,
        logs: Vec::new(),
    })
}

#[track_caller]
fn check(
    strict: bool,
    parts: Vec<PartProgress>,
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
    let reply = about(&delivery, "/hooks", None);
    let body: Value = serde_json::from_slice(&reply.body).unwrap();
    let expected = json!({"success": success, "message": message, "update_result": update_result});
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
        vec![PartProgress::Waiting],
        202,
        true,
        triggered,
        "Stack update queued",
    );
    check(
        true,
        vec![PartProgress::Running("pulling".to_owned())],
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
    let open = vec![refused(), PartProgress::Waiting];
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
