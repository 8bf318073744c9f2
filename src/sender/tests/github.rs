//! GitHub, and GHCR through it.

use serde_json::{Value, json};

use super::summary_of;
use super::{HASH, ZERO, check, with};

#[track_caller]
fn github(event: &str, body: &Value, expected: &str) {
    check("github", event, body, expected);
}

fn github_push() -> Value {
    json!({
        "ref": "refs/heads/main", "after": HASH, "deleted": false, "created": false, "forced": false,
        "repository": {"full_name": "acme/web"},
        "commits": [
            {"added": ["b"], "modified": ["a"], "removed": []},
            {"added": [], "modified": ["a", "c/d"], "removed": ["e"]},
        ],
    })
}

#[test]
fn github_pushes_state_ref_commit_and_files() {
    let push = github_push();
    github(
        "push",
        &push,
        "push branch main of acme/web commit 1234567 files a,b,c/d,e",
    );
    let tag = with(&push, "/ref", json!("refs/tags/v1/x"));
    github(
        "push",
        &tag,
        "push tag v1/x of acme/web commit 1234567 files a,b,c/d,e",
    );
    for field in ["/created", "/forced"] {
        let partly = with(&push, field, json!(true));
        github(
            "push",
            &partly,
            "push branch main of acme/web commit 1234567 files a,b,c/d,e…",
        );
    }
    let none = with(&push, "/commits", json!([]));
    github(
        "push",
        &none,
        "push branch main of acme/web commit 1234567 files …",
    );
    let silent = with(&push, "/commits/0", json!({"id": HASH}));
    github(
        "push",
        &silent,
        "push branch main of acme/web commit 1234567 files a,c/d,e…",
    );
    let many = with(
        &push,
        "/commits",
        Value::Array(vec![
            json!({"message": "m".repeat(100), "added": ["x"]});
            2048
        ]),
    );
    github(
        "push",
        &many,
        "push branch main of acme/web commit 1234567 files x…",
    );
}

#[test]
fn github_deletions_and_odd_refs_are_ignored() {
    let push = github_push();
    github(
        "push",
        &with(&push, "/deleted", json!(true)),
        "ignored: a deletion",
    );
    github(
        "push",
        &with(&push, "/after", json!(ZERO)),
        "ignored: a deletion",
    );
    github(
        "delete",
        &json!({"ref": "main", "ref_type": "branch"}),
        "ignored: a deletion",
    );
    github(
        "push",
        &with(&push, "/ref", json!("refs/notes/x")),
        "ignored: \"refs/notes/x\" is neither a branch nor a tag",
    );
    github("push", &json!({}), "ignored: the event names no ref");
    github("push", &json!([]), "ignored: the event names no ref");
    github(
        "star",
        &json!({}),
        "ignored: event \"star\" means nothing new",
    );
    github("ping", &json!(7), "ignored: ping");
    github(
        "create",
        &json!({"ref": "v1", "ref_type": "tag"}),
        "create tag v1",
    );
    github(
        "create",
        &json!({"ref": "x", "ref_type": "branch"}),
        "create branch x",
    );
    github(
        "create",
        &json!({"ref": null, "ref_type": "repository"}),
        "ignored: the event names no ref",
    );
    assert_eq!(
        summary_of("github", None, &[], "{}"),
        "ignored: header X-GitHub-Event is missing"
    );
}

#[test]
fn github_forms_carry_the_json_in_a_field() {
    let lines = [("X-GitHub-Event", "push"), ("X-GitHub-Delivery", "guid-1")];
    let form = "payload=%7B%22ref%22%3A+%22refs%2Fheads%2Fa%2Bb%22%7D";
    let summary = summary_of("github", None, &lines, form);
    assert_eq!(summary, "push branch a+b commit ?; id guid-1");
    let broken = summary_of("github", None, &lines, "payload=%7B");
    assert!(
        broken.starts_with("unreadable: the body is not JSON"),
        "{broken}"
    );
}

fn github_package(name: &str, tag: &str, url: &str) -> Value {
    json!({
        "action": "published",
        name: {
            "name": "web", "package_type": "CONTAINER", "owner": {"login": "Acme"},
            "package_version": {"container_metadata": {"tag": {"name": tag}}, "package_url": url},
        },
        "repository": {"full_name": "Acme/web"},
    })
}

#[test]
fn ghcr_events_name_the_image_in_lower_case_with_its_tag() {
    for name in ["package", "registry_package"] {
        github(
            name,
            &github_package(name, "v1-RC", "ghcr.io/Acme/web:v1-RC"),
            &format!("{name} tag v1-RC of Acme/web image ghcr.io/acme/web:v1-RC (image)"),
        );
    }
    let bare = github_package("package", "web", "ghcr.io/acme/web");
    github(
        "package",
        &bare,
        "package tag web of Acme/web image ghcr.io/acme/web:web (image)",
    );
    let without = with(&bare, "/package/package_version/package_url", Value::Null);
    github(
        "package",
        &without,
        "package tag web of Acme/web image ghcr.io/acme/web:web (image)",
    );
}

#[test]
fn ghcr_manifests_without_a_tag_are_ignored() {
    let package = github_package("package", "", "ghcr.io/acme/web:");
    github("package", &package, "ignored: a manifest without a tag");
    let none = with(
        &package,
        "/package/package_version/container_metadata",
        Value::Null,
    );
    github("package", &none, "ignored: a manifest without a tag");
    let package = github_package("package", "v1", "ghcr.io/acme/web:v1");
    github(
        "package",
        &with(&package, "/action", json!("deleted")),
        "ignored: \"/action\" is \"deleted\", not published or updated",
    );
    let npm = with(&package, "/package/package_type", json!("npm"));
    github(
        "package",
        &npm,
        "ignored: a package of type \"npm\" is not an image",
    );
    github(
        "registry_package",
        &package,
        "ignored: nothing at \"/registry_package\"",
    );
    let odd = github_package("package", "a b", "ghcr.io/acme/web:a b");
    let words = "ignored: image \"ghcr.io/acme/web:a b\" cannot be read";
    let summary = summary_of(
        "github",
        None,
        &[("X-GitHub-Event", "package")],
        &odd.to_string(),
    );
    assert!(summary.starts_with(words), "{summary}");
}

fn workflow_run() -> Value {
    json!({
        "action": "completed",
        "workflow_run": {
            "conclusion": "success", "event": "push", "head_branch": "main", "head_sha": HASH,
            "head_repository": {"full_name": "acme/web"},
        },
        "repository": {"full_name": "acme/web"},
    })
}

#[test]
fn github_runs_of_forks_and_failed_runs_are_ignored() {
    let run = workflow_run();
    github("workflow_run", &run, "workflow_run ref main of acme/web");
    for event in [
        "pull_request",
        "pull_request_target",
        "pull_request_review",
        "pull_request_review_comment",
        "issue_comment",
        "commit_comment",
        "discussion_comment",
        "merge_group",
    ] {
        github(
            "workflow_run",
            &with(&run, "/workflow_run/event", json!(event)),
            &format!("ignored: the run was started by \"{event}\", before a merge or by a comment"),
        );
    }
    github(
        "workflow_run",
        &with(&run, "/workflow_run/event", json!("workflow_run")),
        "workflow_run ref main of acme/web chained",
    );
    for event in [
        "workflow_dispatch",
        "schedule",
        "release",
        "create",
        "repository_dispatch",
        "registry_package",
        "an_event_of_the_future",
    ] {
        github(
            "workflow_run",
            &with(&run, "/workflow_run/event", json!(event)),
            "workflow_run ref main of acme/web",
        );
    }
    let fork = json!("mallory/web");
    github(
        "workflow_run",
        &with(&run, "/workflow_run/head_repository/full_name", fork),
        "ignored: a run of a fork",
    );
    github(
        "workflow_run",
        &with(&run, "/workflow_run/head_repository", Value::Null),
        "ignored: a run of a fork",
    );
    let nameless = with(
        &with(&run, "/workflow_run/head_repository", Value::Null),
        "/repository",
        Value::Null,
    );
    github("workflow_run", &nameless, "ignored: a run of a fork");
    for (place, value) in [
        ("/action", "requested"),
        ("/workflow_run/conclusion", "failure"),
        ("/workflow_run/conclusion", "cancelled"),
    ] {
        let summary = summary_of(
            "github",
            None,
            &[("X-GitHub-Event", "workflow_run")],
            &with(&run, place, json!(value)).to_string(),
        );
        assert!(
            summary.starts_with(&format!("ignored: \"{place}\" is \"{value}\"")),
            "{summary}"
        );
    }
    github(
        "workflow_run",
        &with(&run, "/workflow_run/conclusion", Value::Null),
        "ignored: nothing at \"/workflow_run/conclusion\"",
    );
}

#[test]
fn github_drafts_prereleases_and_unfinished_deployments_are_ignored() {
    let release = json!({"action": "published", "release": {"tag_name": "v1", "draft": false}, "repository": {"full_name": "acme/web"}});
    github("release", &release, "release tag v1 of acme/web");
    github(
        "release",
        &with(&release, "/action", json!("released")),
        "release tag v1 of acme/web",
    );
    github(
        "release",
        &with(&release, "/release/draft", json!(true)),
        "ignored: a draft",
    );
    for action in ["created", "edited", "deleted", "unpublished", "prereleased"] {
        github(
            "release",
            &with(&release, "/action", json!(action)),
            &format!("ignored: \"/action\" is \"{action}\", not published or released"),
        );
    }
    let status = json!({"deployment_status": {"state": "success"}, "deployment": {"ref": "main"}, "repository": {"full_name": "acme/web"}});
    github(
        "deployment_status",
        &status,
        "deployment_status ref main of acme/web",
    );
    for state in ["failure", "error", "pending", "in_progress", "inactive"] {
        github(
            "deployment_status",
            &with(&status, "/deployment_status/state", json!(state)),
            &format!("ignored: \"/deployment_status/state\" is \"{state}\", not success"),
        );
    }
}
