//! Deliveries of GitLab.

use serde_json::{Value, json};

use super::summary_of;
use super::{HASH, ZERO, check, with};

#[track_caller]
fn gitlab(body: &Value, expected: &str) {
    check("gitlab", "", body, expected);
}

fn gitlab_push() -> Value {
    json!({
        "object_kind": "push", "ref": "refs/heads/main", "before": HASH, "after": HASH, "checkout_sha": HASH,
        "project": {"path_with_namespace": "acme/group/web"},
        "commits": [{"added": ["a"], "modified": [], "removed": []}], "total_commits_count": 1,
    })
}

#[test]
fn gitlab_pushes_state_ref_commit_and_changed_files() {
    let push = gitlab_push();
    gitlab(
        &push,
        "push branch main of acme/group/web commit 1234567 files a",
    );
    let tag = with(
        &with(&push, "/object_kind", json!("tag_push")),
        "/ref",
        json!("refs/tags/v1"),
    );
    gitlab(
        &tag,
        "tag_push tag v1 of acme/group/web commit 1234567 files a",
    );
    for (place, value) in [
        ("/total_commits_count", json!(21)),
        ("/total_commits_count", Value::Null),
        ("/before", json!(ZERO)),
    ] {
        gitlab(
            &with(&push, place, value),
            "push branch main of acme/group/web commit 1234567 files a…",
        );
    }
    gitlab(&with(&push, "/after", json!(ZERO)), "ignored: a deletion");
    gitlab(
        &with(&push, "/checkout_sha", Value::Null),
        "ignored: a deletion",
    );
    gitlab(
        &json!({"event_name": "push", "ref": "refs/heads/x"}),
        "push branch x commit ?",
    );
    gitlab(
        &json!({"object_kind": "note"}),
        "ignored: event \"note\" means nothing new",
    );
    gitlab(&json!({}), "ignored: nothing at \"/object_kind\"");
}

#[test]
fn gitlab_pipelines_of_merge_requests_and_failed_ones_are_ignored() {
    let pipeline = json!({
        "object_kind": "pipeline", "merge_request": null,
        "object_attributes": {"ref": "main", "tag": false, "status": "success", "source": "push"},
        "project": {"path_with_namespace": "acme/web"},
    });
    gitlab(&pipeline, "pipeline branch main of acme/web");
    gitlab(
        &with(&pipeline, "/object_attributes/tag", json!(true)),
        "pipeline tag main of acme/web",
    );
    for status in ["failed", "running", "canceled", "skipped"] {
        gitlab(
            &with(&pipeline, "/object_attributes/status", json!(status)),
            &format!("ignored: \"/object_attributes/status\" is \"{status}\", not success"),
        );
    }
    for source in ["merge_request_event", "external_pull_request_event"] {
        gitlab(
            &with(&pipeline, "/object_attributes/source", json!(source)),
            "ignored: a pipeline of a merge request",
        );
    }
    gitlab(
        &with(&pipeline, "/merge_request", json!({"iid": 1})),
        "ignored: a pipeline of a merge request",
    );
    let detached = with(
        &pipeline,
        "/object_attributes/ref",
        json!("refs/merge-requests/1/head"),
    );
    gitlab(
        &detached,
        "ignored: \"refs/merge-requests/1/head\" is neither a branch nor a tag",
    );
}

#[test]
fn gitlab_deployments_and_releases_are_read() {
    let deployment = json!({"object_kind": "deployment", "status": "success", "ref": "main", "environment": "production"});
    gitlab(&deployment, "deployment ref main on production");
    gitlab(
        &with(&deployment, "/status", json!("failed")),
        "ignored: \"/status\" is \"failed\", not success",
    );
    let release = json!({"object_kind": "release", "action": "create", "tag": "v1", "project": {"path_with_namespace": "acme/web"}});
    gitlab(&release, "release tag v1 of acme/web");
    for action in ["update", "delete"] {
        gitlab(
            &with(&release, "/action", json!(action)),
            &format!("ignored: \"/action\" is \"{action}\", not create"),
        );
    }
}

#[test]
fn gitlab_ids_stay_the_same_in_retries() {
    let body = json!({"object_kind": "push", "ref": "refs/heads/x"}).to_string();
    let lines = [
        ("X-Gitlab-Event-UUID", "uuid-1"),
        ("Idempotency-Key", "key-1"),
    ];
    assert_eq!(
        summary_of("gitlab", None, &lines, &body),
        "push branch x commit ?; id key-1"
    );
    assert_eq!(
        summary_of("gitlab", None, &lines[..1], &body),
        "push branch x commit ?; id uuid-1"
    );
    let long = "x".repeat(201);
    assert_eq!(
        summary_of("gitlab", None, &[("Idempotency-Key", &long)], &body),
        "push branch x commit ?"
    );
}
