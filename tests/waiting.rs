//! How long a delivery waits for its outcome, and where the outcome is found otherwise.

use std::sync::mpsc;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::client::Reply;
use crate::support::fake::{Era, Gate};
use crate::support::shop::{SECRET, Shop, WEB, pull_held, says};

const TRIGGERED: &str = "Stack update triggered";
const UPDATED: &str = "Stack updated successfully";

/// A new image whose pull is held back until the gate opens.
fn held() -> (Shop, Gate) {
    let shop = Shop::open(Era::A);
    let gate = pull_held(&shop.fake);
    (shop, gate)
}

#[track_caller]
fn prefer(shop: &Shop, preference: &str) -> Reply {
    let headers = [("Prefer", preference)];
    shop.server
        .signed_with("/webhook/update/", SECRET, &headers, "{}")
}

#[track_caller]
fn is_open(reply: &Reply) -> String {
    let body = reply.json();
    assert_eq!(
        (reply.status, &body["success"]),
        (202, &json!(true)),
        "{body}"
    );
    assert_eq!(body["message"], TRIGGERED);
    let open = json!(["queued", "running"]);
    assert!(open.as_array().unwrap().contains(&body["status"]), "{body}");
    let words = format!("Stack update {}", body["status"].as_str().unwrap());
    assert_eq!(body["update_result"], words);
    let url = body["status_url"].as_str().unwrap();
    assert_eq!(reply.header("Location"), Some(url));
    url.to_owned()
}

#[test]
fn who_does_not_want_to_wait_is_told_where_the_outcome_will_be() {
    let (shop, gate) = held();
    // It could not be told of an end while the gate is closed.
    let reply = prefer(&shop, "respond-async");
    assert_eq!(reply.header("Preference-Applied"), Some("respond-async"));
    let url = is_open(&reply);

    // The status says where it is, until it is over.
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let body = shop.server.get(&url).json();
        let step = body["stacks"][0]["step"].as_str().unwrap();
        if step.starts_with("pulling") && step.contains(WEB) {
            break;
        }
        assert!(Instant::now() < deadline, "{body}");
        std::thread::yield_now();
    }
    let waits = [("Prefer", "wait=1")];
    let still = shop.server.request("GET", &url, &waits, b"");
    assert_eq!(still.header("Preference-Applied"), Some("wait=1"));
    is_open(&still);

    gate.open();
    let waits = [("Prefer", "wait=50")];
    let over = shop.server.request("GET", &url, &waits, b"");
    says(&over, 200, TRIGGERED, UPDATED);
    assert_eq!(over.header("Location"), None);
    assert_eq!(shop.recreated(), ["web"]);
    // It stays readable, in the same words, with and without the slash.
    let again = shop.server.get(url.trim_end_matches('/'));
    assert_eq!(again.text(), over.text());
    let head = shop.server.request("HEAD", &url, &[], b"");
    assert_eq!((head.status, head.body.len()), (200, 0));
}

#[test]
fn a_wait_that_is_over_is_no_failure() {
    let (shop, gate) = held();
    let began = Instant::now();
    let reply = prefer(&shop, "wait=1");
    assert!(began.elapsed() >= Duration::from_secs(1));
    assert_eq!(reply.header("Preference-Applied"), Some("wait=1"));
    is_open(&reply);
    gate.open();
}

#[test]
fn a_wait_beats_respond_async_and_ends_with_the_outcome() {
    let (shop, gate) = held();
    gate.open();
    let reply = prefer(&shop, "respond-async, wait=20");
    says(&reply, 200, TRIGGERED, UPDATED);
    assert_eq!(reply.header("Preference-Applied"), Some("wait=20"));
    assert_eq!(reply.header("Location"), None);
    let without = shop.deliver("{}");
    assert_eq!(without.header("Preference-Applied"), None);
}

#[test]
fn the_code_of_a_failure_is_the_same_at_the_status_url() {
    let shop = Shop::open(Era::A);
    shop.fake.world(|world| world.remove_from_registry(WEB));
    let reply = shop.deliver("{}");
    assert_eq!(reply.status, 502);
    let url = reply.json()["status_url"].as_str().unwrap().to_owned();
    let status = shop.server.get(&url);
    assert_eq!((status.status, status.text()), (502, reply.text()));
}

#[test]
fn whoever_comes_meanwhile_joins_the_next_redeploy_and_all_get_its_outcome() {
    let (shop, gate) = held();
    let first = is_open(&prefer(&shop, "respond-async"));
    let deadline = Instant::now() + Duration::from_secs(30);
    while shop.pulled().is_empty() {
        assert!(Instant::now() < deadline);
        std::thread::yield_now();
    }
    let others: Vec<String> = (0..20)
        .map(|_| is_open(&prefer(&shop, "respond-async")))
        .collect();
    gate.open();
    for url in [&first].into_iter().chain(&others) {
        let waits = [("Prefer", "wait=30")];
        let reply = shop.server.request("GET", url, &waits, b"");
        assert_eq!(reply.status, 200, "{}", reply.text());
    }
    let pulls = shop.pulled().iter().filter(|image| *image == WEB).count();
    assert_eq!(pulls, 2, "two redeploys cover them all");
    assert_eq!(shop.fake.puts().len(), 1);
}

#[test]
fn with_all_waiting_places_taken_everybody_else_is_answered_at_once() {
    let (shop, gate) = held();
    std::thread::scope(|scope| {
        let (told, tells) = mpsc::channel();
        let waiting = |told: mpsc::Sender<Reply>| {
            let shop = &shop;
            scope.spawn(move || told.send(prefer(shop, "wait=50")).unwrap());
        };
        (0..60).for_each(|_| waiting(told.clone()));
        // Half of the 48 connections may wait; the others are told where to ask.
        for _ in 0..60 - 24 {
            let reply = tells.recv_timeout(Duration::from_secs(40)).unwrap();
            is_open(&reply);
        }
        // The held pull is what they wait for, so these come while they wait.
        for _ in 0..20 {
            assert_eq!(shop.server.get("/healthz").status, 200);
            let url = is_open(&prefer(&shop, "respond-async"));
            is_open(&shop.server.get(&url));
            is_open(&prefer(&shop, "wait=50"));
        }
        assert!(tells.try_recv().is_err(), "24 still wait");
        gate.open();
        for _ in 0..24 {
            let reply = tells.recv_timeout(Duration::from_secs(40)).unwrap();
            assert_eq!(reply.status, 200, "{}", reply.text());
        }
    });
}
