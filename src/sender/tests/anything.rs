//! Parsing arbitrary bodies ends without a panic.

use serde_json::{Value, json};

use super::super::{Payload, Sender};
use super::custom::at;
use super::payloads::drone;
use super::summary_of;
use crate::random::Random;

/// A random value at every depth that senders use, with the keys that they read.
fn value(random: &mut Random, depth: usize) -> Value {
    const KEYS: &[&str] = &[
        "ref",
        "after",
        "deleted",
        "action",
        "package",
        "registry_package",
        "package_version",
        "container_metadata",
        "tag",
        "name",
        "workflow_run",
        "release",
        "object_kind",
        "object_attributes",
        "commits",
        "added",
        "push",
        "changes",
        "new",
        "type",
        "events",
        "target",
        "event_data",
        "resources",
        "resource",
        "refUpdates",
        "image",
        "time",
        "env",
        "stack",
        "event",
        "id",
        "status",
        "repository",
        "detail",
    ];
    const TEXTS: &[&str] = &[
        "",
        "refs/heads/é",
        "refs/tags/",
        "push",
        "package",
        "published",
        "success",
        "0000",
        "a:b:c",
        "@",
        "é🔑\u{301}",
        "ghcr.io/A/b:",
        ":",
        "/",
        "sha256:",
        "repo:push",
        "PUSH_ARTIFACT",
        "git.push",
        "\u{0}\n",
        "branch",
        "tag",
        "CONTAINER",
    ];
    match random.below(if depth == 0 { 5 } else { 9 }) {
        0 => Value::Null,
        1 => json!(random.below(2) == 0),
        2 => json!(random.below(2_000_000_000)),
        3 | 4 => json!(TEXTS[random.below(TEXTS.len())]),
        5 | 6 => Value::Array(
            (0..random.below(4))
                .map(|_| value(random, depth - 1))
                .collect(),
        ),
        _ => Value::Object(
            (0..random.below(8))
                .map(|_| {
                    (
                        KEYS[random.below(KEYS.len())].to_owned(),
                        value(random, depth - 1),
                    )
                })
                .collect(),
        ),
    }
}

#[test]
fn parses_any_body_and_event_name_without_a_panic() {
    const EVENTS: &[&str] = &[
        "push",
        "package",
        "registry_package",
        "workflow_run",
        "release",
        "deployment_status",
        "create",
        "repo:push",
        "repo:refs_changed",
        "ping",
        "",
        "é",
    ];
    let mut random = Random::new(0xfeed);
    for _ in 0..20_000 {
        let mut body = value(&mut random, 6).to_string();
        if random.below(4) == 0 {
            // Cut off in the middle, also of a character.
            let at = random.below(body.len() + 1);
            body = String::from_utf8_lossy(&body.as_bytes()[..at]).into_owned();
        }
        let sender = Sender::NAMES[random.below(Sender::NAMES.len())];
        if sender == "generic" {
            drop(super::parse_as(sender, None, &[], &body));
            continue;
        }
        let event = EVENTS[random.below(EVENTS.len())];
        let headers = [
            "X-GitHub-Event",
            "X-Gitea-Event",
            "X-Forgejo-Event",
            "X-Gogs-Event",
            "X-Event-Key",
        ]
        .map(|name| (name, event));
        let payload = Payload {
            each: at("/*"),
            image: at("/name/*"),
            tag: at("/tag"),
            ..drone()
        };
        summary_of(sender, Some(&payload), &headers, &body);
    }
}
