//! Whatever stands in a body, reading it ends, and in order.

use serde_json::{Value, json};

use super::super::{Payload, Sender};
use super::custom::at;
use super::payloads::drone;
use super::summary_of;
use crate::signature::tests::Dice;

/// Something at every depth that senders use, with the keys that are looked for.
fn value(dice: &mut Dice, depth: usize) -> Value {
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
    match dice.below(if depth == 0 { 5 } else { 9 }) {
        0 => Value::Null,
        1 => json!(dice.below(2) == 0),
        2 => json!(dice.below(2_000_000_000)),
        3 | 4 => json!(TEXTS[dice.below(TEXTS.len())]),
        5 | 6 => Value::Array((0..dice.below(4)).map(|_| value(dice, depth - 1)).collect()),
        _ => Value::Object(
            (0..dice.below(8))
                .map(|_| {
                    (
                        KEYS[dice.below(KEYS.len())].to_owned(),
                        value(dice, depth - 1),
                    )
                })
                .collect(),
        ),
    }
}

#[test]
fn no_body_and_no_event_name_makes_it_fall_over() {
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
    let mut dice = Dice::seeded(0xfeed);
    for _ in 0..20_000 {
        let mut body = value(&mut dice, 6).to_string();
        if dice.below(4) == 0 {
            // Torn in the middle, also of a character.
            let at = dice.below(body.len() + 1);
            body = String::from_utf8_lossy(&body.as_bytes()[..at]).into_owned();
        }
        let sender = Sender::NAMES[dice.below(Sender::NAMES.len())];
        if sender == "generic" {
            drop(super::parse_as(sender, None, &[], &body));
            continue;
        }
        let event = EVENTS[dice.below(EVENTS.len())];
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
