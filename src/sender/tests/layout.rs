//! Senders whose bodies are parsed with layouts.

use serde_json::{Value, json};

use super::summary_of;

#[track_caller]
fn check(sender: &str, body: &Value, expected: &str) {
    assert_eq!(
        summary_of(sender, None, &[], &body.to_string()),
        expected,
        "{body}"
    );
}

#[test]
fn docker_hub_pushes_are_on_docker_hub() {
    let push = |name: &str, tag: Value| json!({"push_data": {"tag": tag}, "repository": {"repo_name": name}, "callback_url": "https://evil"});
    check(
        "dockerhub",
        &push("acme/web", json!("v1")),
        "push tag v1 of acme/web image docker.io/acme/web:v1 (image)",
    );
    check(
        "dockerhub",
        &push("nginx", json!("v1")),
        "push tag v1 of nginx image docker.io/library/nginx:v1 (image)",
    );
    check(
        "dockerhub",
        &push("acme/web", Value::Null),
        "ignored: nothing at \"/push_data/tag\": no tag",
    );
    check(
        "dockerhub",
        &json!({}),
        "ignored: nothing at \"/repository/repo_name\"",
    );
    check(
        "dockerhub",
        &json!(7),
        "ignored: nothing at \"/repository/repo_name\"",
    );
    // A name cannot point to another registry.
    let elsewhere = summary_of(
        "dockerhub",
        None,
        &[],
        &push("ghcr.io/acme/web", json!("v1")).to_string(),
    );
    assert!(!elsewhere.contains("image ghcr.io"), "{elsewhere}");
}

#[test]
fn quay_pushes_may_have_several_tags_or_none() {
    let push = |tags: Value| json!({"repository": "acme/web", "docker_url": "quay.io/acme/web", "updated_tags": tags});
    check(
        "quay",
        &push(json!(["v1", "latest"])),
        "push tag v1 of acme/web image quay.io/acme/web:v1 (image); push tag latest of acme/web image quay.io/acme/web:latest (image)",
    );
    check(
        "quay",
        &push(json!([])),
        "ignored: nothing at \"/updated_tags/*\": no tag",
    );
    check(
        "quay",
        &push(json!("v1")),
        "ignored: nothing at \"/updated_tags/*\": no tag",
    );
}

#[test]
fn harbor_pushes_are_read_in_both_formats() {
    let digest = "0".repeat(64);
    let resources = json!([
        {"tag": "v1", "resource_url": "harbor.example/acme/web:v1"},
        {"tag": format!("sha256:{digest}"), "resource_url": format!("harbor.example/acme/web@sha256:{digest}")},
    ]);
    let repository = json!({"repo_full_name": "acme/web"});
    let classic = |kind: &str| json!({"type": kind, "event_data": {"resources": resources, "repository": repository}});
    let cloud = |kind: &str| json!({"specversion": "1.0", "id": "e-1", "type": kind, "data": {"resources": resources, "repository": repository}});
    let pushed = "PUSH_ARTIFACT tag v1 of acme/web image harbor.example/acme/web:v1 (image)";
    check("harbor", &classic("PUSH_ARTIFACT"), pushed);
    check(
        "harbor",
        &cloud("harbor.artifact.pushed"),
        &format!("{pushed}; id e-1"),
    );
    for other in ["DELETE_ARTIFACT", "PULL_ARTIFACT", "SCANNING_COMPLETED"] {
        check(
            "harbor",
            &classic(other),
            &format!("ignored: event \"{other}\" means nothing new"),
        );
    }
    check(
        "harbor",
        &cloud("harbor.artifact.pulled"),
        "ignored: event \"harbor.artifact.pulled\" means nothing new",
    );
    check("harbor", &json!({}), "ignored: nothing at \"/type\"");
    check(
        "harbor",
        &json!({"type": "PUSH_ARTIFACT"}),
        "ignored: nothing at \"/event_data/resources/*\"",
    );
}

fn distribution(action: &str, name: &str, tag: Value) -> Value {
    json!({
        "id": format!("id-{name}"), "action": action, "request": {"host": "registry.example:5000"},
        "target": {"mediaType": "application/vnd.oci.image.index.v1+json", "repository": name, "tag": tag},
    })
}

#[test]
fn a_pull_beside_a_push_is_not_acted_on() {
    let events = json!({"events": [
        distribution("pull", "acme/a", json!("v1")),
        distribution("push", "acme/b", json!("v1")),
        distribution("delete", "acme/c", json!("v1")),
        distribution("push", "acme/d", Value::Null),
    ]});
    check(
        "distribution",
        &events,
        "push tag v1 of acme/b image registry.example:5000/acme/b:v1 (image); id id-acme/a",
    );
    check(
        "distribution",
        &json!({"events": [distribution("pull", "acme/a", json!("v1"))]}),
        "ignored: \"/action\" is \"pull\", not push",
    );
    check(
        "distribution",
        &json!({"events": []}),
        "ignored: nothing at \"/events/*\"",
    );
    let mut layer = distribution("push", "acme/a", json!("v1"));
    layer["target"]["mediaType"] = json!("application/octet-stream");
    check(
        "distribution",
        &json!({"events": [layer]}),
        "ignored: \"/target/mediaType\" is \"application/octet-stream\", which is not acted on",
    );
    let many = json!({"events": vec![distribution("push", "acme/a", json!("v1")); 65]});
    assert!(summary_of("distribution", None, &[], &many.to_string()).starts_with("unreadable: "));
}

#[test]
fn azure_and_amazon_registries_report_pushes() {
    let acr = |action: &str| json!({"id": "a-1", "action": action, "request": {"host": "acme.azurecr.io"}, "target": {"repository": "web", "tag": "v1"}});
    check(
        "acr",
        &acr("push"),
        "push tag v1 of web image acme.azurecr.io/web:v1 (image); id a-1",
    );
    check(
        "acr",
        &acr("delete"),
        "ignored: \"/action\" is \"delete\", not push",
    );
    check(
        "acr",
        &acr("ping"),
        "ignored: \"/action\" is \"ping\", not push",
    );
    let ecr = |region: &str, action: &str, outcome: &str| {
        json!({
            "id": "e-1", "account": "123456789012", "region": region, "detail-type": "ECR Image Action",
            "detail": {"action-type": action, "result": outcome, "repository-name": "acme/web", "image-tag": "v1"},
        })
    };
    check(
        "ecr",
        &ecr("eu-west-1", "PUSH", "SUCCESS"),
        "PUSH tag v1 of acme/web image 123456789012.dkr.ecr.eu-west-1.amazonaws.com/acme/web:v1 (image); id e-1",
    );
    check(
        "ecr",
        &ecr("cn-north-1", "PUSH", "SUCCESS"),
        "PUSH tag v1 of acme/web image 123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn/acme/web:v1 (image); id e-1",
    );
    check(
        "ecr",
        &ecr("eu-west-1", "DELETE", "SUCCESS"),
        "ignored: \"/detail/action-type\" is \"DELETE\", not PUSH",
    );
    check(
        "ecr",
        &ecr("eu-west-1", "PUSH", "FAILURE"),
        "ignored: \"/detail/result\" is \"FAILURE\", not SUCCESS",
    );
}

#[test]
fn reads_events_of_registry_watchers() {
    let diun = |status: &str| json!({"status": status, "image": "docker.io/acme/web:v1"});
    check(
        "diun",
        &diun("new"),
        "new tag v1 of acme/web image docker.io/acme/web:v1 (image)",
    );
    check(
        "diun",
        &diun("update"),
        "update tag v1 of acme/web image docker.io/acme/web:v1 (image)",
    );
    check(
        "diun",
        &diun("unchange"),
        "ignored: \"/status\" is \"unchange\", not new or update",
    );
    let wud = |url: &str| json!({"image": {"name": "acme/web", "tag": {"value": "v1"}, "registry": {"url": url}}, "result": {"tag": "v2"}});
    for url in ["https://ghcr.io/v2", "ghcr.io", "http://ghcr.io"] {
        check(
            "wud",
            &wud(url),
            "update tag v1 of acme/web image ghcr.io/acme/web:v1 (image)",
        );
    }
    check(
        "wud",
        &wud("https://registry-1.docker.io/v2"),
        "update tag v1 of acme/web image docker.io/acme/web:v1 (image)",
    );
    check(
        "wud",
        &wud(""),
        "update tag v1 of acme/web image acme/web:v1 (image)",
    );
    check(
        "wud",
        &json!([wud("ghcr.io"), wud("quay.io")]),
        "update tag v1 of acme/web image ghcr.io/acme/web:v1 (image); update tag v1 of acme/web image quay.io/acme/web:v1 (image)",
    );
    check("wud", &json!([]), "ignored: nothing at \"/*\"");
}

#[test]
fn azure_devops_pushes_and_builds_are_read() {
    let zero = "0".repeat(40);
    let push = |updates: Value| json!({"id": "p-1", "eventType": "git.push", "resource": {"refUpdates": updates, "repository": {"name": "web"}}});
    let update = |full: &str, hash: &str| json!({"name": full, "newObjectId": hash});
    check(
        "azure-devops",
        &push(json!([
            update("refs/heads/main", "abcdefg"),
            update("refs/tags/v1", &zero)
        ])),
        "git.push branch main of web commit abcdefg; id p-1",
    );
    check(
        "azure-devops",
        &push(json!([update("refs/heads/main", &zero)])),
        "ignored: a deletion",
    );
    let build = |field: &str, value: &str, branch: &str| json!({"id": "b-1", "eventType": "build.complete", "resource": {field: value, "sourceBranch": branch}});
    check(
        "azure-devops",
        &build("status", "succeeded", "refs/heads/main"),
        "build.complete branch main; id b-1",
    );
    check(
        "azure-devops",
        &build("result", "succeeded", "refs/heads/main"),
        "build.complete branch main; id b-1",
    );
    check(
        "azure-devops",
        &build("result", "failed", "refs/heads/main"),
        "ignored: \"/resource/result\" is \"failed\", not succeeded or partiallySucceeded",
    );
    check(
        "azure-devops",
        &build("result", "succeeded", "refs/pull/1/merge"),
        "ignored: \"refs/pull/1/merge\" is neither a branch nor a tag",
    );
    check(
        "azure-devops",
        &json!({"eventType": "workitem.created"}),
        "ignored: event \"workitem.created\" means nothing new",
    );
}
