//! Waiting for the outcome of a delivery, and the status URL.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::client::{self, Reply};
use crate::support::fake::{Era, Gate};
use crate::support::program::{Setup, is_released};
use crate::support::shop::{SECRET, Shop, WEB, portainer, pull_held, says};
use crate::support::sign;

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
fn a_client_that_does_not_wait_gets_the_status_url() {
    let (shop, gate) = held();
    // While the gate is closed, the redeploy cannot end.
    let reply = prefer(&shop, "respond-async");
    assert_eq!(reply.header("Preference-Applied"), Some("respond-async"));
    let url = is_open(&reply);

    // The status URL reports the current step.
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
    // The outcome remains available, with and without the slash.
    let again = shop.server.get(url.trim_end_matches('/'));
    assert_eq!(again.text(), over.text());
    let head = shop.server.request("HEAD", &url, &[], b"");
    assert_eq!((head.status, head.body.len()), (200, 0));
}

#[test]
fn a_wait_that_times_out_is_not_a_failure() {
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
fn deliveries_during_a_redeploy_share_the_next_one_and_its_outcome() {
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
    assert_eq!(pulls, 2, "two redeploys serve all deliveries");
    assert_eq!(shop.fake.puts().len(), 1);
}

/// `count` clients with the same request, whose connections stay open.
pub(crate) fn clients(shop: &Shop, count: usize, request: &[u8]) -> Vec<TcpStream> {
    let connect = |_| {
        let mut stream = TcpStream::connect(shop.server.address).unwrap();
        let patience = Some(Duration::from_secs(60));
        stream.set_read_timeout(patience).unwrap();
        stream.write_all(request).unwrap();
        stream
    };
    (0..count).map(connect).collect()
}

fn rest(mut stream: TcpStream) -> Reply {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    client::parse(&bytes)
}

fn has_reply(stream: &TcpStream) -> bool {
    stream.set_nonblocking(true).unwrap();
    let read = stream.peek(&mut [0]);
    stream.set_nonblocking(false).unwrap();
    read.is_ok()
}

pub(crate) fn delivery(shop: &Shop, preference: &str) -> Vec<u8> {
    let signature = sign::hex_hmac(SECRET, b"{}");
    let headers = [
        ("X-Portainer-Signature", signature.as_str()),
        ("Prefer", preference),
    ];
    client::request(
        shop.server.address,
        "POST",
        "/webhook/update/",
        &headers,
        b"{}",
    )
}

#[track_caller]
pub(crate) fn eventually(is_done: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !is_done() {
        assert!(Instant::now() < deadline, "it did not happen in time");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// With few descriptors, so that the budget is small.
pub(crate) fn held_with_few_descriptors(limit: &str) -> (Shop, Gate) {
    let fake = portainer(Era::A);
    let setup = Setup::with(&fake).limited(limit);
    let shop = Shop::with(fake, setup);
    let gate = pull_held(&shop.fake);
    (shop, gate)
}

#[test]
fn hundreds_of_deliveries_wait_at_once() {
    let (shop, gate) = held_with_few_descriptors("-n 1024");
    // This process and the server have a thousand descriptors each.
    let waiting = clients(&shop, 512, &delivery(&shop, "wait=100"));
    eventually(|| shop.server.log().matches("delivery accepted").count() == 512);
    assert_eq!(shop.server.get("/healthz").status, 200);
    assert!(!waiting.iter().any(has_reply), "all of them wait");
    gate.open();
    for stream in waiting {
        let reply = rest(stream);
        assert_eq!(reply.status, 200, "{}", reply.text());
        assert_eq!(reply.header("Preference-Applied"), Some("wait=100"));
    }
}

#[test]
fn a_delivery_that_cannot_wait_is_refused_before_it_is_accepted() {
    let (shop, gate) = held_with_few_descriptors("-n 64");
    let waiting = clients(&shop, 15, &delivery(&shop, "wait=100"));
    eventually(|| shop.server.log().matches("delivery accepted").count() == 15);
    for _ in 0..5 {
        // With and without a preference: 202 would look like a success.
        for reply in [shop.deliver("{}"), prefer(&shop, "wait=1")] {
            assert_eq!(reply.status, 503, "{}", reply.text());
            assert!(reply.header("Retry-After").is_some());
            assert_eq!(reply.header("Preference-Applied"), None);
            assert_eq!(reply.json()["delivery"], json!(null));
        }
    }
    let accepted = shop.server.log().matches("delivery accepted").count();
    assert_eq!(accepted, 15, "nothing else was accepted");
    // A delivery that does not wait needs no place.
    let url = is_open(&prefer(&shop, "respond-async"));
    assert_eq!(shop.server.get("/healthz").status, 200);
    gate.open();
    for stream in waiting {
        assert_eq!(rest(stream).status, 200);
    }
    let waits = [("Prefer", "wait=50")];
    assert_eq!(shop.server.request("GET", &url, &waits, b"").status, 200);
    eventually(|| shop.deliver("{}").status == 200);
}

#[test]
fn waiting_status_requests_cannot_keep_deliveries_from_waiting() {
    let (shop, gate) = held_with_few_descriptors("-n 64");
    let url = is_open(&prefer(&shop, "respond-async"));
    let waits = [("Prefer", "wait=100")];
    let status = client::request(shop.server.address, "GET", &url, &waits, b"");
    let mut waiting = clients(&shop, 8, &status);
    // One address gets only a share; other requests are answered at once, without `Preference-Applied`.
    eventually(|| waiting.iter().filter(|stream| has_reply(stream)).count() == 7);
    let answered: Vec<TcpStream> = waiting.extract_if(.., |stream| has_reply(stream)).collect();
    for stream in answered {
        let reply = rest(stream);
        is_open(&reply);
        assert_eq!(reply.header("Retry-After"), Some("5"));
        assert_eq!(reply.header("Preference-Applied"), None);
    }
    let delivery = clients(&shop, 1, &delivery(&shop, "wait=100"));
    eventually(|| shop.server.log().matches("delivery accepted").count() == 2);
    gate.open();
    for stream in delivery.into_iter().chain(waiting) {
        let reply = rest(stream);
        assert_eq!(reply.status, 200, "{}", reply.text());
        assert_eq!(reply.header("Preference-Applied"), Some("wait=100"));
    }
}

#[test]
fn a_wait_that_the_client_did_not_request_ends_with_an_error() {
    let fake = portainer(Era::A);
    let hook = "[[hook]]\nname = \"update\"\nwait = \"1s\"\n";
    let shop = Shop::configured(fake, &format!("[[stack]]\nname = \"shop\"\n{hook}"));
    let gate = pull_held(&shop.fake);
    let reply = shop.deliver("{}");
    assert_eq!(reply.status, 504, "{}", reply.text());
    assert_eq!(reply.header("Preference-Applied"), None);
    let body = reply.json();
    assert_eq!(
        (&body["success"], &body["status"]),
        (&json!(false), &json!("unknown"))
    );
    gate.open();
    let waits = [("Prefer", "wait=50")];
    let url = body["status_url"].as_str().unwrap();
    assert_eq!(shop.server.request("GET", url, &waits, b"").status, 200);
}

#[test]
fn a_half_closed_client_gets_the_outcome() {
    let (shop, gate) = held();
    let mut waiting = clients(&shop, 1, &delivery(&shop, "wait=100"));
    let stream = waiting.pop().unwrap();
    // As `nc -N` does.
    stream.shutdown(Shutdown::Write).unwrap();
    eventually(|| !shop.pulled().is_empty());
    assert!(!has_reply(&stream));
    gate.open();
    let reply = rest(stream);
    assert_eq!(reply.status, 200, "{}", reply.text());
}

#[test]
fn every_waiting_client_is_answered_when_the_server_stops() {
    let (shop, _gate) = held();
    let asked = clients(&shop, 20, &delivery(&shop, "wait=100"));
    let unasked = {
        let signature = sign::hex_hmac(SECRET, b"{}");
        let headers = [("X-Portainer-Signature", signature.as_str())];
        let request = client::request(
            shop.server.address,
            "POST",
            "/webhook/update/",
            &headers,
            b"{}",
        );
        clients(&shop, 20, &request)
    };
    eventually(|| shop.server.log().matches("delivery accepted").count() == 40);
    shop.server.signal("TERM");
    let stopped = Instant::now();
    for stream in asked.into_iter().chain(unasked) {
        let reply = rest(stream);
        // Without a state directory the deliveries are lost, so requested waits end with an error too.
        assert_eq!(reply.status, 503, "{}", reply.text());
        assert!(reply.header("Retry-After").is_some());
    }
    // Two seconds for the released program; a debug build on a busy machine may need longer.
    let within = Duration::from_secs(if is_released() { 2 } else { 6 });
    assert!(stopped.elapsed() < within, "{:?}", stopped.elapsed());
}
