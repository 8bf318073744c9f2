//! Sender `custom`.

use serde_json::{Value, json};

use super::super::Payload;
use super::payloads::drone;
use super::summary_of;

#[track_caller]
fn check_custom(payload: &Payload, body: &Value, expected: &str) {
    assert_eq!(
        summary_of("custom", Some(payload), &[], &body.to_string()),
        expected,
        "{body}"
    );
}

pub(super) fn at(pointer: &str) -> Option<String> {
    Some(pointer.to_owned())
}

fn requires(pointer: &str, values: &[&str]) -> Vec<(String, Vec<String>)> {
    vec![(
        pointer.to_owned(),
        values.iter().map(|value| (*value).to_owned()).collect(),
    )]
}

#[test]
fn custom_pointers_start_at_each_element() {
    let payload = Payload {
        each: at("/events/*"),
        event: at("/type"),
        image: at("/artifact/repository"),
        tag: at("/artifact/tag"),
        require: requires("/status", &["success", "true", "7"]),
        ..Payload::default()
    };
    let one = |status: Value, name: &str| json!({"type": "built", "status": status, "artifact": {"repository": name, "tag": "v1"}});
    let body = json!({"status": "success", "events": [one(json!("success"), "ghcr.io/a/a"), one(json!("failure"), "ghcr.io/a/b"), one(json!(true), "c"), one(json!(7), "d/d")]});
    check_custom(
        &payload,
        &body,
        "built tag v1 of a/a image ghcr.io/a/a:v1 (image); built tag v1 of c image c:v1 (image); built tag v1 of d/d image d/d:v1 (image)",
    );
    check_custom(
        &payload,
        &json!({"events": [one(Value::Null, "a")]}),
        "ignored: nothing at \"/status\"",
    );
    check_custom(
        &payload,
        &json!({"events": [{"status": "success", "artifact": {"tag": "v1"}}]}),
        "ignored: nothing at \"/artifact/repository\"",
    );
    check_custom(
        &payload,
        &json!({"events": [{"status": "success", "artifact": {"repository": "a"}}]}),
        "ignored: nothing at \"/artifact/tag\": no tag",
    );
    check_custom(
        &payload,
        &json!({"events": {"a": 1}}),
        "ignored: nothing at \"/events/*\"",
    );
}

#[test]
fn custom_images_may_carry_their_own_tag() {
    let payload = Payload {
        image: at("/image"),
        tag: at("/tag"),
        ..Payload::default()
    };
    check_custom(
        &payload,
        &json!({"image": "nginx:1"}),
        " tag 1 of nginx image nginx:1 (image)",
    );
    check_custom(
        &payload,
        &json!({"image": "nginx:1", "tag": "2"}),
        " tag 2 of nginx image nginx:1 (image)",
    );
    check_custom(
        &payload,
        &json!({"image": "nginx", "tag": 1.5}),
        " tag 1.5 of nginx image nginx:1.5 (image)",
    );
    let without = Payload {
        image: at("/image"),
        ..Payload::default()
    };
    check_custom(
        &without,
        &json!({"image": "ghcr.io/acme/web"}),
        " of acme/web image ghcr.io/acme/web (image)",
    );
    let reason = summary_of("custom", Some(&without), &[], "{\"image\": \"Bad Name\"}");
    assert!(
        reason.starts_with("ignored: image \"Bad Name\" cannot be read"),
        "{reason}"
    );
}

#[test]
fn custom_lists_of_equal_length_belong_together() {
    let payload = Payload {
        image: at("/images/*/name"),
        tag: at("/images/*/tag"),
        ..Payload::default()
    };
    let body = json!({"images": [{"name": "a", "tag": "1"}, {"name": "b", "tag": "2"}]});
    check_custom(
        &payload,
        &body,
        " tag 1 of a image a:1 (image);  tag 2 of b image b:2 (image)",
    );
}

#[test]
fn custom_git_events_are_read() {
    let status = |status: &str, branch: &str, commit: &str| json!({"repo": {"name": "web"}, "build": {"event": "push", "branch": branch, "tag": "", "commit": commit, "status": status}});
    check_custom(
        &drone(),
        &status("success", "main", "abcdefgh"),
        "push branch main of web commit abcdefg",
    );
    check_custom(
        &drone(),
        &status("success", "refs/heads/main", "abcdefgh"),
        "push branch main of web commit abcdefg",
    );
    check_custom(
        &drone(),
        &status("success", "refs/tags/main", "abcdefgh"),
        "push of web commit abcdefg",
    );
    check_custom(
        &drone(),
        &status("failure", "main", "abcdefgh"),
        "ignored: \"/build/status\" is \"failure\", not success",
    );
    check_custom(
        &drone(),
        &status("success", "main", "0000000"),
        "ignored: a deletion",
    );
}

#[test]
fn custom_payloads_without_pointers_update_everything() {
    check_custom(
        &Payload::default(),
        &json!({"message": "x", "title": "y"}),
        "",
    );
    assert!(summary_of("custom", Some(&Payload::default()), &[], "x").starts_with("unreadable"));
}

#[test]
fn follows_json_pointers_as_the_standard_defines_them() {
    let body = json!({"a/b": {"m~n": ["x", "y"]}, "": "empty", "list": ["0", "1"]});
    for (pointer, expected) in [
        ("/a~1b/m~0n/1", " branch y"),
        ("/a~1b/m~0n/*", " branch x"),
        ("/", " branch empty"),
        ("/list/1", " branch 1"),
        ("/list/01", ""),
        ("/list/+1", ""),
        ("/list/-", ""),
        ("/list", ""),
        ("", ""),
        ("/nothing/*/more", ""),
    ] {
        let payload = Payload {
            branch: at(pointer),
            ..Payload::default()
        };
        check_custom(&payload, &body, expected);
    }
}
