//! A request without proof of the secret gets one constant reply and deploys nothing; only the log has the reason.

use std::time::{Duration, Instant};

use crate::support::fake::Era;
use crate::support::shop::{SECRET, Shop};
use crate::support::sign::hex_hmac;

const BODY: &str = r#"{"event":"stack_update"}"#;
const NAME: &str = "X-Portainer-Signature";

#[test]
fn without_the_right_signature_nothing_is_deployed() {
    let shop = Shop::open(Era::A);
    let right = hex_hmac(SECRET, BODY.as_bytes());
    let other_body = hex_hmac(SECRET, b"{}");
    let other_secret = hex_hmac("another-secret-nobody-configured", BODY.as_bytes());
    let uppercase_prefix = format!("SHA256={right}");
    let sha1 = format!("sha1={}", &right[..40]);
    let twice = format!("{right},{right}");
    let spaced = format!("sha256= {right}");
    let zeros = "0".repeat(64);
    let rows: [(&[(&str, &str)], &str); 14] = [
        (&[], "missing_signature"),
        (&[(NAME, "")], "bad_length"),
        (&[(NAME, &zeros)], "mismatch"),
        (&[(NAME, &other_body)], "mismatch"),
        (&[(NAME, &other_secret)], "mismatch"),
        (&[(NAME, &right[..63])], "bad_length"),
        (&[(NAME, &right[..32])], "bad_length"),
        (&[(NAME, &uppercase_prefix)], "bad_prefix"),
        (&[(NAME, &sha1)], "bad_prefix"),
        (&[(NAME, &twice)], "not_hex"),
        (&[(NAME, &spaced)], "not_hex"),
        (&[(NAME, &right), (NAME, &right)], "duplicate_header"),
        (&[(NAME, &right), (NAME, &zeros)], "duplicate_header"),
        (&[("X-Hub-Signature-256", &right)], "missing_signature"),
    ];
    let mut texts = Vec::new();
    for (headers, reason) in rows {
        let reply = shop
            .server
            .post("/webhook/update/", headers, BODY.as_bytes());
        assert_eq!(reply.status, 401, "{headers:?}: {}", reply.text());
        let body = reply.json();
        assert_eq!(body.as_object().unwrap().len(), 3, "{body}");
        texts.push(reply.text().to_owned());
        assert_eq!(
            reasons(&shop, texts.len()).last(),
            Some(&reason.to_owned()),
            "{headers:?}"
        );
    }
    texts.dedup();
    assert_eq!(texts.len(), 1, "one text for all: {texts:?}");
    assert!(texts[0].contains(NAME), "it says what is expected");
    assert_eq!(shop.fake.calls().len(), 0, "Portainer is asked nothing");
    shop.is_untouched();
}

/// The reasons in the log, as soon as it has this number of them.
#[track_caller]
fn reasons(shop: &Shop, count: usize) -> Vec<String> {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let log = shop.server.log();
        let reasons = log.lines().filter_map(|line| line.rsplit_once(" reason="));
        let reasons: Vec<String> = reasons.map(|(_, reason)| reason.to_owned()).collect();
        if reasons.len() == count {
            return reasons;
        }
        assert!(Instant::now() < deadline, "{log}");
        std::thread::yield_now();
    }
}

#[test]
fn accepts_either_case_and_the_usual_prefix() {
    let shop = Shop::open(Era::A);
    let right = hex_hmac(SECRET, BODY.as_bytes());
    let prefixed = format!("sha256={right}");
    let upper = right.to_uppercase();
    for value in [&right, &upper, &prefixed] {
        let headers = [("x-portainer-signature", value.as_str())];
        let reply = shop
            .server
            .post("/webhook/update/", &headers, BODY.as_bytes());
        assert_eq!(reply.status, 200, "{}", reply.text());
    }
}

#[test]
fn rejects_the_secret_itself_and_recommends_changing_it() {
    let shop = Shop::open(Era::A);
    for (name, value) in [
        (NAME, SECRET.to_owned()),
        (NAME, format!("sha256={SECRET}")),
    ] {
        let reply = shop
            .server
            .post("/webhook/update/", &[(name, &value)], BODY.as_bytes());
        assert_eq!(reply.status, 401);
    }
    shop.server.wait_for_log("reason=raw_secret_sent");
    shop.server.wait_for_log("rotate the secret");
    shop.is_untouched();
}

#[test]
fn accepts_both_secrets_during_a_rotation_and_logs_which_was_used() {
    const NEWER: &str = "a-newer-secret-of-more-than-16";
    let fake = crate::support::shop::portainer(Era::A);
    let both = format!("{NEWER}\n{SECRET}");
    let server = crate::support::program::Setup::with(&fake)
        .env("PORTAINER_STACK_NAME", "shop")
        .env("PORTAINER_WEBHOOK_SECRET", &both)
        .serve();
    for (secret, said) in [(NEWER, "secret=1/2"), (SECRET, "secret=2/2")] {
        assert_eq!(server.signed("/webhook/update/", secret, "{}").status, 200);
        server.wait_for_log(said);
    }
    let neither = server.signed("/webhook/update/", &both, "{}");
    assert_eq!(neither.status, 401);
}
