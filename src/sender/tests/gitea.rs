//! Gitea, Forgejo and Gogs.

use serde_json::{Value, json};

use super::summary_of;
use super::{HASH, ZERO, check, with};

const FAMILY: [&str; 3] = ["gitea", "forgejo", "gogs"];

#[test]
fn reads_the_events_of_the_gitea_family() {
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
        // Old versions do not state the number of commits, and list five.
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
    // Each sender reads its own header.
    let gitea = summary_of(
        "forgejo",
        None,
        &[("X-Gitea-Event", "push")],
        &push.to_string(),
    );
    assert_eq!(gitea, "ignored: header x-forgejo-event is missing");
}

#[test]
fn gitea_container_packages_are_images_on_any_registry() {
    let package = json!({
        "action": "created",
        "package": {"name": "web/api", "version": "v1", "type": "container", "owner": {"login": "Acme"}},
        "repository": null,
    });
    check(
        "gitea",
        "package",
        &package,
        "package tag v1 of Acme/web/api image acme/web/api:v1 (image)",
    );
    check(
        "gitea",
        "package",
        &with(&package, "/action", json!("deleted")),
        "ignored: \"/action\" is \"deleted\", not created",
    );
    check(
        "gitea",
        "package",
        &with(&package, "/package/type", json!("npm")),
        "ignored: \"/package/type\" is \"npm\", not container",
    );
    check(
        "gitea",
        "package",
        &with(&package, "/package/version", json!("sha256:00")),
        "ignored: a manifest without a tag",
    );
}
