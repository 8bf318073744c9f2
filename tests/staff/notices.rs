//! Notices about a stack that begins to fail or is healthy again: the real program and a real receiver.

use serde_json::Value;

use crate::support::fake::{Era, Fake};
use crate::support::program::{Setup, Stackhook};
use crate::support::shop::{self, GOOD, QUICK, SECRET, WEB};
use crate::support::staff::{Receiver, set_up};

/// An address on which nothing listens.
const AWAY: &str = "http://127.0.0.1:9/told";

/// The shop with a receiver of notices.
fn told(fake: &Fake, url: &str, format: &str) -> Setup {
    set_up(fake, QUICK)
        .env("STACKHOOK_NOTIFY_URL", url)
        .env("STACKHOOK_NOTIFY_FORMAT", format)
}

#[track_caller]
fn fails(fake: &Fake, server: &Stackhook) {
    fake.world(|world| world.remove_from_registry(WEB));
    let reply = server.signed("/webhook/update/", SECRET, "{}");
    assert_eq!(reply.status, 502, "{}", reply.text());
}

#[track_caller]
fn goes_well(fake: &Fake, server: &Stackhook) {
    fake.world(|world| world.push(WEB, GOOD));
    let reply = server.signed("/webhook/update/", SECRET, "{}");
    assert_eq!(reply.status, 200, "{}", reply.text());
}

fn body(request: &str) -> Value {
    serde_json::from_str(request.split_once("\r\n\r\n").unwrap().1).unwrap()
}

#[test]
fn one_message_at_the_start_of_a_failure_and_one_at_its_end_also_over_restarts() {
    let (fake, receiver) = (shop::portainer(Era::A), Receiver::start());
    let server = told(&fake, &receiver.url(), "json").serve();
    goes_well(&fake, &server);
    fails(&fake, &server);
    fails(&fake, &server);
    receiver.came(1);
    server.wait_for_log("notice sent");
    let server = server.kill().1.serve();
    fails(&fake, &server);
    goes_well(&fake, &server);
    receiver.came(2);
    server.wait_for_log("notice sent");
    let server = server.kill().1.serve();
    goes_well(&fake, &server);
    fails(&fake, &server);
    let came: Vec<Value> = receiver.came(3).iter().map(|one| body(one)).collect();
    let types: Vec<&str> = came
        .iter()
        .map(|one| one["type"].as_str().unwrap())
        .collect();
    assert_eq!(types, ["stack.failed", "stack.recovered", "stack.failed"]);
    let data = &came[0]["data"];
    assert_eq!(
        (&data["stack"], &data["outcome"]),
        (&"shop".into(), &"failed".into())
    );
    assert!(data.get("logs").is_none(), "logs are for staff alone");
}

#[test]
fn each_format_arrives_at_its_receiver() {
    #[track_caller]
    fn check(format: &str, words: &[&str]) {
        let (fake, receiver) = (shop::portainer(Era::A), Receiver::start());
        let server = told(&fake, &receiver.url(), format).serve();
        fails(&fake, &server);
        let came = receiver.came(1).remove(0);
        assert!(came.starts_with("POST /told/"), "{came}");
        for words in words {
            let found = came.to_lowercase().contains(&words.to_lowercase());
            assert!(found, "{words:?} is not in {came}");
        }
    }
    let shop = "shop on remote: failed: cannot pull";
    check(
        "json",
        &[
            "\"type\":\"stack.failed\"",
            "Content-Type: application/json",
        ],
    );
    check("slack", &["{\"text\":\"*shop: update failed*\\n", shop]);
    check(
        "discord",
        &["\"content\":\"**shop: update failed**\\n", shop],
    );
    check(
        "ntfy",
        &["Title: shop: update failed", "Priority: high", shop],
    );
    check(
        "gotify",
        &["\"title\":\"shop: update failed\"", "\"priority\":8", shop],
    );
}

#[test]
fn a_receiver_that_is_away_or_unwilling_changes_no_outcome_and_is_tried_again() {
    let (fake, receiver) = (shop::portainer(Era::A), Receiver::start());
    receiver.answer(500);
    let server = told(&fake, &receiver.url(), "json").serve();
    fails(&fake, &server);
    server.wait_for_log("notice not sent, next attempt in 2 s: the receiver answered 500");
    goes_well(&fake, &server);
    receiver.answer(204);
    server.wait_for_log("notice sent");
    let came = receiver.came(2);
    assert_eq!(
        body(&came[0])["data"],
        body(&came[1])["data"],
        "it is the same message"
    );

    let server = told(&fake, AWAY, "slack").serve();
    fails(&fake, &server);
    server.wait_for_log("notice not sent, next attempt in 2 s");
    goes_well(&fake, &server);
}

#[test]
fn test_connection_checks_the_receiver_and_sends_only_with_notify() {
    let (fake, receiver) = (shop::portainer(Era::A), Receiver::start());
    let setup = told(&fake, &receiver.url(), "gotify");
    let methods = || -> Vec<String> {
        let came = receiver.came(0);
        came.iter()
            .map(|one| one.split(' ').next().unwrap().to_owned())
            .collect()
    };
    let knocked = setup.run(&["test-connection"]);
    assert_eq!(knocked.code, Some(0), "{knocked:?}");
    assert!(
        knocked.stdout.ends_with(
            "\nNotices    format gotify; the address answers; --notify sends a test notice\n"
        ),
        "{knocked:?}"
    );
    assert_eq!(methods(), ["OPTIONS"], "nothing was sent");

    let sent = setup.run(&["test-connection", "--notify"]);
    assert_eq!(sent.code, Some(0), "{sent:?}");
    assert!(
        sent.stdout
            .ends_with("\nNotices    format gotify; the test notice was accepted\n"),
        "{sent:?}"
    );
    assert_eq!(methods(), ["OPTIONS", "POST"]);
    assert_eq!(body(&receiver.came(2)[1])["title"], "Test notice");

    receiver.answer(404);
    let refused = setup.run(&["test-connection", "--notify"]);
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(
        refused
            .stderr
            .contains("the test notice was not accepted: the receiver answered 404"),
        "{refused:?}"
    );

    let away = told(&fake, AWAY, "json").run(&["test-connection"]);
    assert_eq!(away.code, Some(1), "{away:?}");
    assert!(
        away.stderr.contains("the address does not answer: "),
        "{away:?}"
    );

    let without = set_up(&fake, QUICK).run(&["test-connection", "--notify"]);
    assert_eq!(without.code, Some(78), "{without:?}");
}
