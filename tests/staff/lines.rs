//! The log of the real program: one line a delivery and one a redeploy with the agreed fields, in each of its forms, and what the debug
//! level adds.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::support::fake::Era;
use crate::support::program::{Setup, Stackhook};
use crate::support::shop::{self, GOOD, QUICK, SECRET, WEB};
use crate::support::staff::set_up;

/// The fields of the line about a delivery.
const OF_A_DELIVERY: [&str; 10] = [
    "method", "route", "status", "ms", "peer", "hook", "delivery", "stack", "outcome", "reason",
];

/// Delivers once, to a program that logs so; what it logged.
fn log(level: &str, format: &str, body: &str) -> (shop::Shop, String) {
    let fake = shop::portainer(Era::A);
    let setup = Setup::with(&fake)
        .env("STACKHOOK_LOG", level)
        .env("STACKHOOK_LOG_FORMAT", format)
        .file("stackhook.toml", QUICK);
    let shop = shop::Shop::with(fake, setup);
    shop.push(WEB, GOOD);
    let reply = shop.deliver(body);
    shop.server.wait_for_log(if format == "json" {
        "\"answered\""
    } else {
        "answered "
    });
    assert!(reply.status < 500, "{}", reply.text());
    let log = shop.server.log();
    (shop, log)
}

/// The fields of a line of text: ` key=value`, quoted where need be.
fn fields(line: &str) -> BTreeMap<String, String> {
    let mut fields = BTreeMap::new();
    let mut rest = line;
    while let Some((before, value)) = rest.split_once('=') {
        let key = before.rsplit(' ').next().unwrap().to_owned();
        let (value, after) = match value.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"').unwrap(),
            None => value.split_once(' ').unwrap_or((value, "")),
        };
        fields.insert(key, value.to_owned());
        rest = after;
    }
    fields
}

#[track_caller]
fn only<'l>(log: &'l str, words: &str) -> &'l str {
    let lines: Vec<&str> = log.lines().filter(|line| line.contains(words)).collect();
    assert_eq!(lines.len(), 1, "{words:?} in:\n{log}");
    lines[0]
}

#[test]
fn a_delivery_and_a_redeploy_have_one_line_each_as_text() {
    let (_shop, log) = log("info", "text", "{}");
    let line = only(&log, " INFO  answered ");
    let delivery = fields(line);
    let keys: Vec<&str> = OF_A_DELIVERY
        .iter()
        .copied()
        .filter(|key| !delivery.contains_key(*key))
        .collect();
    assert!(keys.is_empty(), "{keys:?} are not in {line}");
    for (key, value) in [
        ("method", "POST"),
        ("route", "/webhook/update/"),
        ("status", "200"),
        ("peer", "127.0.0.1"),
        ("hook", "update"),
        ("stack", "shop"),
        ("outcome", "succeeded"),
        ("reason", ""),
    ] {
        assert_eq!(delivery[key], value, "{key} in {line}");
    }
    let line = only(
        &log,
        " INFO  redeploy ended: 1 of 2 services updated, all healthy ",
    );
    let redeploy = fields(line);
    assert_eq!(
        (redeploy["stack"].as_str(), redeploy["outcome"].as_str()),
        ("shop", "updated")
    );
    let accepted = fields(only(&log, " INFO  delivery accepted "));
    assert_eq!(accepted["delivery"], delivery["delivery"]);
    assert_eq!(accepted["secret"], "1/1");
}

#[test]
fn a_delivery_that_is_not_acted_on_and_one_that_is_turned_away_say_why() {
    let (shop, log) = log("info", "text", r#"{"event":"ping"}"#);
    let ignored = fields(only(&log, "answered"));
    assert_eq!(
        (ignored["outcome"].as_str(), ignored["delivery"].as_str()),
        ("ignored", "-")
    );
    assert!(!ignored["reason"].is_empty(), "{ignored:?}");
    shop.server
        .post("/webhook/update/?token=hush-hush-query", &[], b"{}");
    shop.server.wait_for_log("rejected: ");
    let log = shop.server.log();
    let away = fields(only(&log, "rejected: "));
    for (key, value) in [
        ("method", "POST"),
        ("route", "/webhook/update/"),
        ("status", "401"),
        ("hook", "update"),
        ("reason", "missing_signature"),
    ] {
        assert_eq!(away[key], value, "{key} in {away:?}");
    }
    assert!(!log.contains("hush-hush-query"), "a query is in {log}");
}

#[test]
fn as_json_each_line_is_an_object_with_the_same_fields() {
    let (_shop, log) = log("info", "json", "{}");
    let lines: Vec<Value> = log
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let with = |message: &str| {
        let found = lines
            .iter()
            .filter(|line| line["message"].as_str().unwrap().starts_with(message));
        let found: Vec<&Value> = found.collect();
        assert_eq!(found.len(), 1, "{message}");
        found[0].clone()
    };
    let delivery = with("answered");
    for key in OF_A_DELIVERY.iter().chain(&["time", "level"]) {
        assert!(delivery.get(key).is_some(), "{key} is not in {delivery}");
    }
    assert_eq!(
        (&delivery["status"], &delivery["outcome"]),
        (&200.into(), &"succeeded".into())
    );
    let redeploy = with("redeploy ended");
    assert_eq!(
        (&redeploy["stack"], &redeploy["outcome"]),
        (&"shop".into(), &"updated".into())
    );
    assert!(redeploy["seconds"].is_number());
}

#[test]
fn the_journal_gets_priorities_and_no_times() {
    let (reader, writer) = std::io::pipe().unwrap();
    let to = File::from(OwnedFd::from(writer));
    let metadata = to.metadata().unwrap();
    let fake = shop::portainer(Era::A);
    let mut child = Command::new(env!("CARGO_BIN_EXE_stackhook"))
        .arg("serve")
        .env_clear()
        .env(
            "JOURNAL_STREAM",
            format!("{}:{}", metadata.dev(), metadata.ino()),
        )
        .env("PORTAINER_URL", fake.url())
        .env("PORTAINER_API_KEY", fake.api_key())
        .env("PORTAINER_STACK_NAME", "shop")
        .env("PORTAINER_WEBHOOK_SECRET", SECRET)
        .env("STACKHOOK_LISTEN", "127.0.0.1:0")
        .stdin(Stdio::null())
        .stderr(to)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(reader).lines().map_while(Result::ok);
    let warning = lines.next().unwrap();
    let listening = lines.find(|line| line.contains("listening on"));
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(warning.starts_with("<4>state_dir is not set"), "{warning}");
    assert!(
        listening
            .unwrap()
            .starts_with("<6>listening on http://127.0.0.1:")
    );
}

#[test]
fn debug_tells_every_call_and_every_decision_and_no_body() {
    let (shop, log) = log("debug", "text", r#"{"image":"ghcr.io/acme/web:1"}"#);
    // Every call in the order of its end; those at the same time may have changed places.
    let mut told: Vec<String> = Vec::new();
    for line in log
        .lines()
        .filter_map(|line| line.split_once("DEBUG portainer: "))
    {
        let words: Vec<&str> = line.1.split(' ').collect();
        let [method, path, status, "in", ms, "ms"] = words[..] else {
            panic!("{line:?}");
        };
        assert!(
            status.parse::<u16>().is_ok() && ms.parse::<u64>().is_ok(),
            "{line:?}"
        );
        told.push(format!("{method} {path}"));
    }
    let calls = shop.fake.calls();
    let mut made: Vec<String> = calls
        .iter()
        .map(|call| format!("{} {}", call.method, call.path))
        .collect();
    told.sort();
    made.sort();
    assert_eq!(told, made);
    for words in [
        "decided: the body has event \"stack_update\"",
        "images [\"ghcr.io/acme/web:1\"]",
        "decided: the rules let it through to [\"shop\"]",
        "decided: it is the stack with id 1 on environment 2",
        "decided: selected are [\"web\"], left alone [\"worker\"]",
        "decided: ghcr.io/acme/web:1 was sha256:",
        "decided: an update is sent",
        "finding the stack",
        "waiting for web to be healthy",
    ] {
        assert!(log.contains(words), "{words:?} is not in\n{log}");
    }
    // Neither the file, nor a value of a variable, nor what was posted. The harness looks for the secrets.
    for words in ["unless-stopped", "GREETING", "hello", "{\"image\""] {
        assert!(!log.contains(words), "{words:?} is in\n{log}");
    }
}

#[test]
fn health_is_no_news() {
    let quiet = |level: &str| -> Stackhook {
        let fake = shop::portainer(Era::A);
        set_up(&fake, QUICK).env("STACKHOOK_LOG", level).serve()
    };
    let server = quiet("info");
    server.get("/healthz");
    server.get("/webhook/deliveries/0/");
    server.wait_for_log("rejected: ");
    assert!(!server.log().contains("healthz"), "{}", server.log());
    let server = quiet("debug");
    server.get("/healthz");
    server.wait_for_log("healthz");
}
