//! GitHub, GitLab, the Gitea family and Bitbucket: what is acted on, and what never is.

use serde_json::{Value, json};

use super::super::Sender;
use super::summary_of;

const ZERO: &str = "0000000000000000000000000000000000000000";
const HASH: &str = "1234567890123456789012345678901234567890";

#[track_caller]
fn check(sender: Sender, event: &str, body: &Value, expected: &str) {
    let header = match sender {
        Sender::Github => "X-GitHub-Event",
        Sender::Gitea => "X-Gitea-Event",
        Sender::Forgejo => "X-Forgejo-Event",
        Sender::Gogs => "X-Gogs-Event",
        Sender::Bitbucket => "X-Event-Key",
        _ => "X-Nobody-Looks",
    };
    let summary = summary_of(sender, None, &[(header, event)], &body.to_string());
    assert_eq!(summary, expected, "{event}: {body}");
}

/// `body` with something else at one place.
fn with(body: &Value, pointer: &str, value: Value) -> Value {
    let mut body = body.clone();
    *body
        .pointer_mut(pointer)
        .unwrap_or_else(|| panic!("{pointer}")) = value;
    body
}

#[track_caller]
fn github(event: &str, body: &Value, expected: &str) {
    check(Sender::Github, event, body, expected);
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
fn github_pushes_say_ref_commit_and_files() {
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
        summary_of(Sender::Github, None, &[], "{}"),
        "ignored: there is no header X-GitHub-Event"
    );
}

#[test]
fn github_forms_carry_the_json_in_a_field() {
    let lines = [("X-GitHub-Event", "push"), ("X-GitHub-Delivery", "guid-1")];
    let form = "payload=%7B%22ref%22%3A+%22refs%2Fheads%2Fa%2Bb%22%7D";
    let summary = summary_of(Sender::Github, None, &lines, form);
    assert_eq!(summary, "push branch a+b commit ?; id guid-1");
    let broken = summary_of(Sender::Github, None, &lines, "payload=%7B");
    assert!(
        broken.starts_with("unreadable: the body is no JSON"),
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
        &with(&package, "/action", json!("updated")),
        "ignored: \"/action\" is \"updated\", not published",
    );
    let npm = with(&package, "/package/package_type", json!("npm"));
    github(
        "package",
        &npm,
        "ignored: a package of type \"npm\" is no image",
    );
    github(
        "registry_package",
        &package,
        "ignored: nothing at \"/registry_package\"",
    );
    let odd = github_package("package", "a b", "ghcr.io/acme/web:a b");
    let words = "ignored: image \"ghcr.io/acme/web:a b\" cannot be read";
    let summary = summary_of(
        Sender::Github,
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
    github("workflow_run", &run, "workflow_run branch main of acme/web");
    for event in ["workflow_dispatch", "schedule"] {
        github(
            "workflow_run",
            &with(&run, "/workflow_run/event", json!(event)),
            "workflow_run branch main of acme/web",
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
        ("/workflow_run/event", "pull_request"),
        ("/workflow_run/event", "pull_request_target"),
        ("/workflow_run/event", "issue_comment"),
    ] {
        let summary = summary_of(
            Sender::Github,
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
        "deployment_status branch main of acme/web",
    );
    for state in ["failure", "error", "pending", "in_progress", "inactive"] {
        github(
            "deployment_status",
            &with(&status, "/deployment_status/state", json!(state)),
            &format!("ignored: \"/deployment_status/state\" is \"{state}\", not success"),
        );
    }
}

#[track_caller]
fn gitlab(body: &Value, expected: &str) {
    check(Sender::Gitlab, "", body, expected);
}

fn gitlab_push() -> Value {
    json!({
        "object_kind": "push", "ref": "refs/heads/main", "before": HASH, "after": HASH, "checkout_sha": HASH,
        "project": {"path_with_namespace": "acme/group/web"},
        "commits": [{"added": ["a"], "modified": [], "removed": []}], "total_commits_count": 1,
    })
}

#[test]
fn gitlab_pushes_say_ref_commit_and_whether_all_files_are_listed() {
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
    gitlab(&deployment, "deployment branch main");
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
fn gitlab_ids_are_kept_over_retries() {
    let body = json!({"object_kind": "push", "ref": "refs/heads/x"}).to_string();
    let lines = [
        ("X-Gitlab-Event-UUID", "uuid-1"),
        ("Idempotency-Key", "key-1"),
    ];
    assert_eq!(
        summary_of(Sender::Gitlab, None, &lines, &body),
        "push branch x commit ?; id key-1"
    );
    assert_eq!(
        summary_of(Sender::Gitlab, None, &lines[..1], &body),
        "push branch x commit ?; id uuid-1"
    );
    let long = "x".repeat(201);
    assert_eq!(
        summary_of(Sender::Gitlab, None, &[("Idempotency-Key", &long)], &body),
        "push branch x commit ?"
    );
}

const FAMILY: [Sender; 3] = [Sender::Gitea, Sender::Forgejo, Sender::Gogs];

#[test]
fn the_gitea_family_is_read_alike() {
    let push = json!({
        "ref": "refs/heads/main", "before": HASH, "after": HASH, "repository": {"full_name": "acme/web"},
        "commits": [{"added": ["a"], "modified": [], "removed": []}], "total_commits": 1,
    });
    let release = json!({"action": "published", "release": {"tag_name": "v1", "draft": false}, "repository": {"full_name": "acme/web"}});
    for sender in FAMILY {
        check(
            sender,
            "push",
            &push,
            "push branch main of acme/web commit 1234567 files a",
        );
        check(
            sender,
            "push",
            &with(&push, "/ref", json!("refs/tags/v1")),
            "push tag v1 of acme/web commit 1234567 files a",
        );
        check(
            sender,
            "push",
            &with(&push, "/after", json!(ZERO)),
            "ignored: a deletion",
        );
        check(
            sender,
            "delete",
            &json!({"ref": "x", "ref_type": "branch"}),
            "ignored: a deletion",
        );
        check(
            sender,
            "create",
            &json!({"ref": "v1", "ref_type": "tag"}),
            "create tag v1",
        );
        check(sender, "release", &release, "release tag v1 of acme/web");
        check(
            sender,
            "release",
            &with(&release, "/action", json!("updated")),
            "ignored: \"/action\" is \"updated\", not published",
        );
        check(
            sender,
            "release",
            &with(&release, "/release/draft", json!(true)),
            "ignored: a draft",
        );
        check(
            sender,
            "pull_request",
            &push,
            "ignored: event \"pull_request\" means nothing new",
        );
        for (place, value) in [("/total_commits", json!(6)), ("/before", json!(ZERO))] {
            check(
                sender,
                "push",
                &with(&push, place, value),
                "push branch main of acme/web commit 1234567 files a…",
            );
        }
        // Old versions do not say how many commits there are, and list five.
        let five = with(
            &with(&push, "/total_commits", Value::Null),
            "/commits",
            Value::Array(vec![push["commits"][0].clone(); 5]),
        );
        check(
            sender,
            "push",
            &five,
            "push branch main of acme/web commit 1234567 files a…",
        );
    }
    // Each listens to its own header.
    let gitea = summary_of(
        Sender::Forgejo,
        None,
        &[("X-Gitea-Event", "push")],
        &push.to_string(),
    );
    assert_eq!(gitea, "ignored: there is no header x-forgejo-event");
}

#[test]
fn gitea_container_packages_are_images_on_any_registry() {
    let package = json!({
        "action": "created",
        "package": {"name": "web/api", "version": "v1", "type": "container", "owner": {"login": "Acme"}},
        "repository": null,
    });
    check(
        Sender::Gitea,
        "package",
        &package,
        "package tag v1 of Acme/web/api image acme/web/api:v1 (image)",
    );
    check(
        Sender::Gitea,
        "package",
        &with(&package, "/action", json!("deleted")),
        "ignored: \"/action\" is \"deleted\", not created",
    );
    check(
        Sender::Gitea,
        "package",
        &with(&package, "/package/type", json!("npm")),
        "ignored: \"/package/type\" is \"npm\", not container",
    );
    check(
        Sender::Gitea,
        "package",
        &with(&package, "/package/version", json!("sha256:00")),
        "ignored: a manifest without a tag",
    );
}

#[test]
fn bitbucket_pushes_are_one_event_a_ref() {
    let change = |new: Value| json!({"old": null, "new": new});
    let target = json!({"hash": HASH});
    let push = |changes: Vec<Value>| json!({"push": {"changes": changes}, "repository": {"full_name": "acme/web"}});
    let branch = change(json!({"type": "branch", "name": "main", "target": target}));
    let tag = change(json!({"type": "tag", "name": "v1", "target": target}));
    let gone = change(Value::Null);
    let cloud =
        |body: &Value, expected: &str| check(Sender::Bitbucket, "repo:push", body, expected);
    cloud(
        &push(vec![branch.clone(), gone.clone(), tag]),
        "repo:push branch main of acme/web commit 1234567; repo:push tag v1 of acme/web commit 1234567",
    );
    cloud(&push(vec![gone]), "ignored: a deletion");
    cloud(&push(vec![]), "ignored: the push changes nothing");
    cloud(&json!({}), "ignored: nothing at \"/push/changes\"");
    cloud(
        &push(vec![change(json!({"type": "bookmark", "name": "x"}))]),
        "ignored: a ref of kind \"bookmark\" is neither a branch nor a tag",
    );
    check(
        Sender::Bitbucket,
        "pullrequest:fulfilled",
        &json!({}),
        "ignored: event \"pullrequest:fulfilled\" means nothing new",
    );
    check(
        Sender::Bitbucket,
        "diagnostics:ping",
        &json!({"test": true}),
        "ignored: ping",
    );
}

#[test]
fn bitbucket_data_center_names_full_refs() {
    let body = |kind: &str, hash: &str| {
        json!({
            "repository": {"slug": "web", "project": {"key": "ACME"}},
            "changes": [{"ref": {"id": "refs/heads/main"}, "refId": "refs/heads/main", "type": kind, "toHash": hash}],
        })
    };
    let center = |body: &Value, expected: &str| {
        check(Sender::Bitbucket, "repo:refs_changed", body, expected)
    };
    center(
        &body("UPDATE", HASH),
        "repo:refs_changed branch main of ACME/web commit 1234567",
    );
    center(
        &with(&body("ADD", HASH), "/changes/0/ref", Value::Null),
        "repo:refs_changed branch main of ACME/web commit 1234567",
    );
    center(&body("DELETE", HASH), "ignored: a deletion");
    center(&body("UPDATE", ZERO), "ignored: a deletion");
}
