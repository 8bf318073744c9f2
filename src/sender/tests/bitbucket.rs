//! Bitbucket Cloud and Data Center.

use serde_json::{Value, json};

use super::{HASH, ZERO, check, with};

#[test]
fn bitbucket_pushes_are_one_event_a_ref() {
    let change = |new: Value| json!({"old": null, "new": new});
    let target = json!({"hash": HASH});
    let push = |changes: Vec<Value>| json!({"push": {"changes": changes}, "repository": {"full_name": "acme/web"}});
    let branch = change(json!({"type": "branch", "name": "main", "target": target}));
    let tag = change(json!({"type": "tag", "name": "v1", "target": target}));
    let gone = change(Value::Null);
    let cloud = |body: &Value, expected: &str| check("bitbucket", "repo:push", body, expected);
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
        "bitbucket",
        "pullrequest:fulfilled",
        &json!({}),
        "ignored: event \"pullrequest:fulfilled\" means nothing new",
    );
    check(
        "bitbucket",
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
    let center =
        |body: &Value, expected: &str| check("bitbucket", "repo:refs_changed", body, expected);
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
