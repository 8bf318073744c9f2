mod github;
mod gitlab;
mod gitea;
mod bitbucket;
mod payloads;
mod layout;
mod custom;
mod anything;

use std::collections::BTreeMap;

use serde_json::Value;

use super::*;
use crate::event::EventRef;
use crate::image::Reference;
use crate::signature::tests::proven;
use crate::stack::order::Cause;

pub(super) const NOW: u64 = 1_700_000_000;
const ZERO: &str = "0000000000000000000000000000000000000000";
const HASH: &str = "1234567890123456789012345678901234567890";

#[track_caller]
fn check(sender: &str, event: &str, body: &Value, expected: &str) {
    let header = match sender {
        "github" => "X-GitHub-Event",
        "gitea" => "X-Gitea-Event",
        "forgejo" => "X-Forgejo-Event",
        "gogs" => "X-Gogs-Event",
        "bitbucket" => "X-Event-Key",
        _ => "X-Unused",
    };
    let summary = summary_of(sender, None, &[(header, event)], &body.to_string());
    assert_eq!(summary, expected, "{event}: {body}");
}

/// `body` with another value at a pointer.
fn with(body: &Value, pointer: &str, value: Value) -> Value {
    let mut body = body.clone();
    *body
        .pointer_mut(pointer)
        .unwrap_or_else(|| panic!("{pointer}")) = value;
    body
}

/// A delivery of a sender, verified and parsed.
pub(super) fn parse_as(
    sender: &str,
    payload: Option<&Payload>,
    lines: &[(&str, &str)],
    body: &str,
) -> Result<ParseOutcome, ParseError> {
    let settings = ParseSettings {
        payload,
        registry: &[],
        unix: NOW,
    };
    proven(lines, body.as_bytes(), |verified| {
        let sender = Sender::parse(sender).unwrap();
        sender.parse_delivery(verified, &settings)
    })
}

/// One line with everything that was parsed.
pub(super) fn summary_of(
    sender: &str,
    payload: Option<&Payload>,
    lines: &[(&str, &str)],
    body: &str,
) -> String {
    let delivery = match parse_as(sender, payload, lines, body) {
        Ok(ParseOutcome::Delivery(delivery)) => delivery,
        Ok(ParseOutcome::Ignored(reason)) => return format!("ignored: {reason}"),
        Err(error) => return format!("unreadable: {error}"),
    };
    assert!(!delivery.events.is_empty(), "{body}");
    assert_eq!(delivery.requested, RequestedChanges::default(), "{body}");
    let mut words: Vec<String> = delivery.events.iter().map(summary_of_event).collect();
    words.extend(delivery.id.map(|id| format!("id {id}")));
    words.join("; ")
}

fn summary_of_event(event: &Event) -> String {
    let mut words = vec![event.name.clone()];
    words.extend(event.refs.iter().map(|own| match own {
        EventRef::Branch(name) => format!("branch {name}"),
        EventRef::Tag(name) | EventRef::ImageTag(name) => format!("tag {name}"),
        EventRef::Unknown(name) => format!("ref {name}"),
    }));
    words.extend(event.repository.as_ref().map(|name| format!("of {name}")));
    words.extend(event.images.iter().map(|image| format!("image {image}")));
    match &event.cause {
        Cause::Asked => {}
        Cause::Image => words.push("(image)".to_owned()),
        Cause::Push(commit) => {
            let commit = commit.as_deref().unwrap_or("?");
            words.push(format!("commit {}", commit.get(..7).unwrap_or(commit)));
        }
    }
    if let Some(paths) = &event.paths {
        let more = if paths.is_complete { "" } else { "…" };
        words.push(format!("files {}{more}", paths.files.join(",")));
    }
    if !event.workflows.is_empty() {
        words.push(format!("workflow {}", event.workflows.join("|")));
    }
    if event.is_chained {
        words.push("chained".to_owned());
    }
    words.extend(event.environment.as_ref().map(|name| format!("on {name}")));
    if event.is_prerelease == Some(true) {
        words.push("prerelease".to_owned());
    }
    words.join(" ")
}

fn generic(body: &str) -> ParsedDelivery {
    match parse_as("generic", None, &[], body) {
        Ok(ParseOutcome::Delivery(delivery)) => delivery,
        other => panic!("{body}: {other:?}"),
    }
}

/// Checks the mistake that is reported for a body of sender `generic`.
#[track_caller]
fn check_wrong(body: &str, expected: &str) {
    match parse_as("generic", None, &[], body) {
        Err(ParseError::Malformed(words)) => {
            assert!(words.contains(expected), "{body}: {words:?}");
            assert!(words.len() < 300, "{body}: {words:?}");
        }
        other => panic!("{body}: {other:?}"),
    }
}

#[test]
fn an_empty_body_asks_for_an_update_of_everything() {
    for body in ["", "{}", " \n", "{\"other\": [1, {\"a\": null}]}"] {
        let delivery = generic(body);
        assert_eq!(delivery.id, None);
        assert_eq!(delivery.requested, RequestedChanges::default());
        let expected = Event {
            name: "stack_update".to_owned(),
            ..Event::default()
        };
        assert_eq!(delivery.events, [expected], "{body}");
    }
}

#[test]
fn every_field_is_read() {
    let delivery = generic(
        "{\"event\": \"deployment\", \"stack\": \"app\", \"image\": [\"nginx:1\", \"ghcr.io/acme/web\"],
          \"env\": {\"IMAGE_TAG\": \"1.4.2\"}, \"force\": true, \"branch\": \"main\", \"tag\": \"v1\",
          \"repository\": \"acme/web\", \"time\": 1700000000, \"id\": \"run-7\"}",
    );
    assert_eq!(delivery.id.as_deref(), Some("run-7"));
    assert_eq!(delivery.time, Some(NOW));
    assert_eq!(delivery.requested.stack.as_deref(), Some("app"));
    assert!(delivery.requested.force);
    assert_eq!(
        delivery.requested.set,
        BTreeMap::from([("IMAGE_TAG".to_owned(), "1.4.2".to_owned())])
    );
    let [event] = delivery.events.as_slice() else {
        panic!("{delivery:?}")
    };
    assert_eq!(event.name, "deployment");
    assert_eq!(event.cause, Cause::Image);
    let refs = [
        EventRef::Branch("main".to_owned()),
        EventRef::Tag("v1".to_owned()),
    ];
    assert_eq!(event.refs, refs);
    assert_eq!(event.repository.as_deref(), Some("acme/web"));
    let images: Vec<String> = event.images.iter().map(ToString::to_string).collect();
    assert_eq!(images, ["docker.io/library/nginx:1", "ghcr.io/acme/web"]);
}

#[test]
fn one_image_may_be_written_without_a_list() {
    let delivery = generic("{\"image\": \"nginx\"}");
    assert_eq!(
        delivery.events[0].images,
        [Reference::parse("nginx").unwrap()]
    );
}

#[test]
fn empty_facts_state_nothing() {
    let delivery = generic("{\"branch\": \"\", \"tag\": \"\", \"repository\": \"\"}");
    let event = &delivery.events[0];
    assert_eq!((&event.refs, &event.repository), (&Vec::new(), &None));
}

#[test]
fn a_ping_is_answered_and_not_acted_on() {
    for body in ["{\"event\": \"ping\"}", "{\"event\":\"ping\",\"image\":7}"] {
        let reading = parse_as("generic", None, &[], body);
        assert_eq!(
            reading,
            Ok(ParseOutcome::Ignored("ping".to_owned())),
            "{body}"
        );
    }
}

#[test]
fn names_every_mistake_in_a_body() {
    let many = format!("[{}0]", "[0],".repeat(100_000));
    let deep = "[".repeat(40);
    for (body, words) in [
        (many.as_str(), "the body is not read: it has more values"),
        (&deep, "the body is not read: it is nested deeper"),
        ("{", "the body is not JSON"),
        ("{", "not JSON"),
        ("\u{feff}{}", "not JSON: it begins with a byte order mark"),
        ("\u{1f}\u{0}{}", "not JSON"),
        ("{\u{0}}\u{0}", "not JSON: it is UTF-16"),
        ("<?xml version=\"1.0\"?><a/>", "not JSON: it is XML or HTML"),
        (
            "--X\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n{}\r\n--X--\r\n",
            "not JSON: it is multipart/form-data",
        ),
        ("--- a: 1", "not JSON: "),
        ("event=stack_update", "not JSON: it is a form"),
        ("payload=%7B%7D&a=b", "not JSON: it is a form"),
        ("true=false", "not JSON: it is a form"),
        ("a b=c", "not JSON: expected"),
        ("{\"a\"=1}", "not JSON: expected"),
        ("[]", "not an object"),
        ("null", "not an object"),
        ("{} {}", "trailing"),
        (
            "{\"a\": 1, \"a\": 1}",
            "the body is not read: the key \"a\" is there twice",
        ),
        (
            "{\"x\": [{\"b\": 1, \"b\": 2}]}",
            "the key \"b\" is there twice",
        ),
        (
            "{\"time\": 1700000000, \"time\": 1700000000}",
            "is there twice",
        ),
        (
            "{\"event\": \"push\"}",
            "the known events are stack_update, image_update, deployment, ping",
        ),
        ("{\"event\": \"\"}", "unknown event \"\""),
        ("{\"event\": null}", "\"event\" must be a text"),
        ("{\"stack\": 7}", "\"stack\" must be a text"),
        ("{\"stack\": null}", "\"stack\" must be a text"),
        ("{\"image\": null}", "\"image\" must be"),
        ("{\"image\": []}", "\"image\" must be"),
        ("{\"image\": [7]}", "\"image\" must be"),
        ("{\"image\": \"\"}", "image \"\" cannot be read"),
        (
            "{\"image\": [\"nginx\", \"Nginx\"]}",
            "image \"Nginx\" cannot be read",
        ),
        ("{\"time\": \"1700000000\"}", "\"time\" must be"),
        ("{\"time\": 1700000000.0}", "\"time\" must be"),
        ("{\"time\": -1}", "\"time\" must be"),
        ("{\"time\": null}", "\"time\" must be"),
        (
            "{\"force\": \"true\", \"time\": 1700000000}",
            "\"force\" must be",
        ),
        ("{\"force\": true}", "need \"time\""),
        ("{\"env\": {\"A\": \"1\"}}", "need \"time\""),
        ("{\"env\": [], \"time\": 1700000000}", "\"env\" must be"),
        ("{\"id\": \"\"}", "\"id\" must be"),
        ("{\"id\": 7}", "\"id\" must be"),
        ("{\"id\": \"a\\nb\"}", "\"id\" must be"),
        ("{\"branch\": 7}", "\"branch\" must be"),
        ("{\"tag\": {}}", "\"tag\" must be"),
        ("{\"repository\": false}", "\"repository\" must be"),
    ] {
        check_wrong(body, words);
    }
    check_wrong(
        &format!("{{\"id\": \"{}\"}}", "a".repeat(201)),
        "\"id\" must be",
    );
    check_wrong(&"[".repeat(100_000), "nested deeper than 32");
    check_wrong(&format!("{{\"event\": \"{}\"}}", "é".repeat(5000)), "…");
    let many = vec!["\"nginx\""; 65].join(",");
    check_wrong(&format!("{{\"image\": [{many}]}}"), "1 to 64");
}

#[test]
fn values_of_variables_are_plain_and_never_repeated() {
    let with = |value: &str| {
        let body = serde_json::json!({"time": NOW, "env": {"A": value}});
        parse_as("generic", None, &[], &body.to_string())
    };
    for good in [
        "1",
        "v1.2_3",
        "ghcr.io/a/b:c@sha256:0",
        "a+b-c",
        &"x".repeat(256),
    ] {
        assert!(
            matches!(with(good), Ok(ParseOutcome::Delivery(_))),
            "{good}"
        );
    }
    for wrong in [
        "",
        "a b",
        "$A",
        "a\n",
        "a'b",
        "a\"",
        "{}",
        "é",
        "a=b",
        "a;b",
        "a,b",
        &"x".repeat(257),
    ] {
        let Err(ParseError::Malformed(words)) = with(wrong) else {
            panic!("{wrong:?}");
        };
        assert!(words.contains("variable \"A\""), "{words}");
    }
    check_wrong(
        "{\"time\": 1700000000, \"env\": {\"A\": 7}}",
        "variable \"A\"",
    );
    let Err(ParseError::Malformed(words)) = with("hunter2 hunter2") else {
        panic!();
    };
    assert!(!words.contains("hunter2"), "{words}");
}

#[test]
fn accepts_a_time_within_five_minutes_either_way() {
    for (time, expected) in [
        (NOW, None),
        (NOW - 300, None),
        (NOW + 300, None),
        (NOW - 301, Some("too_old")),
        (NOW + 301, Some("too_new")),
        (0, Some("too_old")),
        (u64::MAX, Some("too_new")),
    ] {
        // Before every other mistake, so that a replay learns nothing about the body.
        for rest in ["", ", \"event\": \"nonsense\"", ", \"event\": \"ping\""] {
            let body = format!("{{\"time\": {time}{rest}}}");
            let code = match parse_as("generic", None, &[], &body) {
                Err(ParseError::Stale(rejection)) => Some(rejection.code()),
                _ => None,
            };
            assert_eq!(code, expected, "{body}");
        }
    }
}
