//! Recipes for sender `custom`, each with a delivery as that system makes it.

use serde_json::{Value, json};

use super::findings::{IMAGE, SECRET, Scene, verdict};
use crate::support::shop;
use crate::support::sign::hex_hmac;

/// The answer to a body with these headers; `{hex}` is replaced by the HMAC of `signed`.
#[track_caller]
fn check(lines: &[&str], headers: &[(&str, String)], body: &Value, expected: &str) {
    let (_fake, server, path) = Scene::new(IMAGE, "update", lines).serve();
    let headers: Vec<(&str, &str)> = headers
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect();
    let reply = server.post(&path, &headers, body.to_string().as_bytes());
    assert_eq!(verdict(&reply), expected, "{body}: {}", reply.text());
}

fn hmac(signed: &str) -> String {
    hex_hmac(SECRET, signed.as_bytes())
}

#[test]
fn accepts_circleci() {
    let lines = [
        "sender = \"custom\"",
        "scheme = \"hmac\"",
        "header = \"circleci-signature\"",
        "label = \"v1=\"",
        "branches = [\"main\"]",
        "images = [\"ghcr.io/acme/web:*\"]",
        "[hook.payload]",
        "id = \"/id\"",
        "branch = \"/pipeline/vcs/branch\"",
        "require = { \"/type\" = \"workflow-completed\", \"/workflow/status\" = \"success\", \"/workflow/name\" = \"image\" }",
    ];
    let body = |status: &str, name: &str, branch: &str| {
        json!({"id": "1", "type": "workflow-completed", "workflow": {"name": name, "status": status},
            "pipeline": {"vcs": {"branch": branch}}})
    };
    let signed = |body: &Value| {
        vec![(
            "circleci-signature",
            format!("v1={}", hmac(&body.to_string())),
        )]
    };
    for (body, expected) in [
        (body("success", "image", "main"), "acts"),
        (body("failed", "image", "main"), "ignored"),
        (body("success", "lint", "main"), "ignored"),
        (body("success", "image", "dev"), "ignored"),
    ] {
        check(&lines, &signed(&body), &body, expected);
    }
    let body = body("success", "image", "main");
    let digits = hmac(&body.to_string());
    for (value, expected) in [
        (format!("v0=00,v1={digits}"), "acts"),
        (format!("v1={},v1={digits}", "0".repeat(64)), "acts"),
        (digits.clone(), "401"),
        (format!("v2={digits}"), "401"),
        (format!("v1={}", &digits[..62]), "401"),
        ("v1=".to_owned(), "401"),
    ] {
        check(&lines, &[("circleci-signature", value)], &body, expected);
    }
}

#[test]
fn accepts_buildkite() {
    let lines = [
        "sender = \"custom\"",
        "scheme = \"hmac\"",
        "header = \"X-Buildkite-Signature\"",
        "label = \"signature=\"",
        "signed = \"{timestamp}.{body}\"",
        "timestamp_header = \"X-Buildkite-Signature\"",
        "branches = [\"main\"]",
        "[hook.payload]",
        "event = \"header:X-Buildkite-Event\"",
        "branch = \"/build/branch\"",
        "require = { \"header:X-Buildkite-Event\" = \"build.finished\", \"/build/state\" = \"passed\", \"/pipeline/slug\" = \"image\" }",
    ];
    let body = |state: &str| json!({"event": "build.finished", "build": {"state": state, "branch": "main"}, "pipeline": {"slug": "image"}});
    let signed = |time: u64, body: &Value, event: &str| {
        let digits = hmac(&format!("{time}.{body}"));
        vec![
            (
                "X-Buildkite-Signature",
                format!("timestamp={time},signature={digits}"),
            ),
            ("X-Buildkite-Event", event.to_owned()),
        ]
    };
    let now = shop::now();
    let passed = body("passed");
    check(
        &lines,
        &signed(now, &passed, "build.finished"),
        &passed,
        "acts",
    );
    check(
        &lines,
        &signed(now, &passed, "build.running"),
        &passed,
        "ignored",
    );
    check(
        &lines,
        &signed(now, &body("failed"), "build.finished"),
        &body("failed"),
        "ignored",
    );
    check(
        &lines,
        &signed(now - 301, &passed, "build.finished"),
        &passed,
        "401",
    );
    check(
        &lines,
        &signed(now + 400, &passed, "build.finished"),
        &passed,
        "401",
    );
    // A signature of the body alone, and a time that was not signed.
    let value = format!("timestamp={now},signature={}", hmac(&passed.to_string()));
    check(&lines, &[("X-Buildkite-Signature", value)], &passed, "401");
    let value = format!(
        "timestamp={},signature={}",
        now,
        hmac(&format!("{}.{passed}", now - 1))
    );
    check(&lines, &[("X-Buildkite-Signature", value)], &passed, "401");
}

#[test]
fn accepts_grafana() {
    let lines = [
        "sender = \"custom\"",
        "scheme = \"hmac\"",
        "header = \"X-Grafana-Alerting-Signature\"",
        "signed = \"{timestamp}:{body}\"",
        "timestamp_header = \"X-Grafana-Alerting-Signature-Timestamp\"",
        "[hook.payload]",
        "require = { \"/status\" = \"firing\", \"/commonLabels/action\" = \"redeploy\" }",
    ];
    let body = |status: &str| json!({"status": status, "commonLabels": {"action": "redeploy"}});
    let signed = |body: &Value| {
        let time = shop::now();
        vec![
            ("X-Grafana-Alerting-Signature-Timestamp", time.to_string()),
            (
                "X-Grafana-Alerting-Signature",
                hmac(&format!("{time}:{body}")),
            ),
        ]
    };
    check(&lines, &signed(&body("firing")), &body("firing"), "acts");
    check(
        &lines,
        &signed(&body("resolved")),
        &body("resolved"),
        "ignored",
    );
    let unsigned_time = [(
        "X-Grafana-Alerting-Signature",
        hmac(&body("firing").to_string()),
    )];
    check(&lines, &unsigned_time, &body("firing"), "401");
}

#[test]
fn accepts_artifactory() {
    let lines = [
        "sender = \"custom\"",
        "scheme = \"hmac\"",
        "header = \"X-JFrog-Event-Auth\"",
        "images = [\"ghcr.io/acme/web:*\"]",
        "[hook.payload]",
        "event = \"/event_type\"",
        "image = \"/data/image_name\"",
        "tag = \"/data/tag\"",
        "image_prefix = \"ghcr.io/acme\"",
        "require = { \"/domain\" = \"docker\", \"/event_type\" = \"pushed\" }",
    ];
    let body = |kind: &str, name: &str| json!({"domain": "docker", "event_type": kind, "data": {"repo_key": "docker-local", "image_name": name, "tag": "latest"}});
    let signed = |body: &Value| vec![("X-JFrog-Event-Auth", hmac(&body.to_string()))];
    check(
        &lines,
        &signed(&body("pushed", "web")),
        &body("pushed", "web"),
        "acts",
    );
    check(
        &lines,
        &signed(&body("pushed", "api")),
        &body("pushed", "api"),
        "ignored",
    );
    check(
        &lines,
        &signed(&body("deleted", "web")),
        &body("deleted", "web"),
        "ignored",
    );
}

#[test]
fn accepts_zot() {
    let lines = [
        "sender = \"custom\"",
        "scheme = \"token\"",
        "registry = { \"registry:5000\" = \"ghcr.io\" }",
        "[hook.payload]",
        "event = \"header:Ce-Type\"",
        "image = \"/name\"",
        "tag = \"/reference\"",
        "image_prefix = \"registry:5000\"",
        "require = { \"header:Ce-Type\" = \"zotregistry.image.updated\" }",
    ];
    let body = json!({"name": "acme/web", "reference": "latest"});
    for (kind, expected) in [
        ("zotregistry.image.updated", "acts"),
        ("zotregistry.image.deleted", "ignored"),
        ("zotregistry.image.lint_failed", "ignored"),
    ] {
        let headers = [
            ("Authorization", format!("Bearer {SECRET}")),
            ("Ce-Type", kind.to_owned()),
        ];
        check(&lines, &headers, &body, expected);
    }
    check(
        &lines,
        &[("Authorization", format!("Bearer {SECRET}"))],
        &body,
        "ignored",
    );
}

#[test]
fn other_hashes_and_spellings_are_checked_whole() {
    // Made with OpenSSL: HMAC of "{}" with the key "user:a-secret-of-the-findings".
    let body = json!({});
    for (lines, value, expected) in [
        (&["hash = \"sha512\""][..], SHA512, "acts"),
        (&["hash = \"sha1\""], SHA1, "acts"),
        (&["encoding = \"base64\""], SHA256_BASE64, "acts"),
        (&["hash = \"sha512\""], &SHA512[..126], "401"),
        (&["hash = \"sha1\""], SHA512, "401"),
        (&["hash = \"sha512\""], SHA1, "401"),
        (&["encoding = \"base64\""], SHA1, "401"),
        (&[], SHA1, "401"),
    ] {
        let mut all = vec![
            "sender = \"custom\"",
            "scheme = \"hmac\"",
            "header = \"X-Signature\"",
        ];
        all.extend(lines);
        check(&all, &[("X-Signature", value.to_owned())], &body, expected);
    }
}

const SHA1: &str = "590a0a69c93bd4668d69a80359bc0c1a22daca68";
const SHA512: &str = "7b284e05c2d666325e6e4b21f7571d921c3495462ce5c94bb001aa60f500b8689a21aa6917bced48419bbb191908e89f1aff4fae066ec82e6291191fc5418165";
const SHA256_BASE64: &str = "TmwmP5O+nPEfHCicGqIPmDGlcAhs2QjcjQ/5K5mEkP0=";

#[test]
fn a_registry_has_the_name_that_stacks_use() {
    let event = json!({"events": [{"id": "1", "action": "push", "request": {"host": "registry:5000"}, "target": {
        "mediaType": "application/vnd.oci.image.index.v1+json", "repository": "acme/web", "tag": "latest"}}]});
    let proof = [("Authorization", format!("Bearer {SECRET}"))];
    let sender = "sender = \"distribution\"";
    let images = "images = [\"ghcr.io/acme/*:*\"]";
    let alias = "registry = { \"registry:5000\" = \"ghcr.io\" }";
    check(&[sender, images, alias], &proof, &event, "acts");
    check(&[sender, images], &proof, &event, "ignored");
    let harbor = json!({"type": "PUSH_ARTIFACT", "event_data": {"repository": {"repo_full_name": "acme/web"},
        "resources": [{"tag": "latest", "resource_url": "registry:5000/acme/web:latest"}]}});
    let proof = [("Authorization", SECRET.to_owned())];
    check(
        &["sender = \"harbor\"", images, alias],
        &proof,
        &harbor,
        "acts",
    );
    check(&["sender = \"harbor\"", images], &proof, &harbor, "ignored");
}

#[test]
fn refuses_details_that_do_not_fit_the_scheme() {
    for (lines, words) in [
        (&["hash = \"sha256\""][..], "hook.hash"),
        (&["label = \"v1=\""], "hook.label"),
        (&["scheme = \"hmac\"", "hash = \"md5\""], "hook.hash"),
        (
            &["scheme = \"hmac\"", "encoding = \"base32\""],
            "hook.encoding",
        ),
        (
            &["scheme = \"hmac\"", "signed = \"{time}.{body}\""],
            "hook.signed",
        ),
        (
            &["scheme = \"hmac\"", "signed = \"{timestamp}\""],
            "hook.signed",
        ),
        (
            &["scheme = \"hmac\"", "signed = \"{timestamp}.{body}\""],
            "timestamp_header",
        ),
        (
            &["scheme = \"hmac\"", "timestamp_header = \"X-Time\""],
            "hook.timestamp_header",
        ),
        (&["registry = { \"a:1\" = \"b\" }"], "hook.registry"),
        (
            &[
                "sender = \"custom\"",
                "registry = { \"a:1\" = \"https://b/\" }",
            ],
            "hook.registry",
        ),
        (
            &[
                "sender = \"custom\"",
                "[hook.payload]",
                "image_prefix = \"https://b\"",
            ],
            "hook.payload.image_prefix",
        ),
        (
            &[
                "sender = \"custom\"",
                "[hook.payload]",
                "event = \"header:\"",
            ],
            "hook.payload.event",
        ),
        (
            &[
                "sender = \"custom\"",
                "[hook.payload]",
                "each = \"header:X-A\"",
            ],
            "hook.payload.each",
        ),
        (
            &["sender = \"gitea\"", "deployment_environments = [\"x\"]"],
            "hook.deployment_environments",
        ),
        (
            &["sender = \"gitlab\"", "prereleases = false"],
            "hook.prereleases",
        ),
        (
            &["sender = \"dockerhub\"", "workflows = [\"x\"]"],
            "hook.workflows",
        ),
    ] {
        let output = Scene::new(IMAGE, "update", lines).refused();
        assert_eq!(output.code, Some(78), "{lines:?}: {}", output.stderr);
        assert!(
            output.stderr.contains(words),
            "{lines:?}: {}",
            output.stderr
        );
    }
    let weak = Scene::new(IMAGE, "update", &["scheme = \"hmac\"", "hash = \"sha1\""]).refused();
    assert_eq!(weak.code, Some(0), "{}", weak.stderr);
    assert!(weak.stderr.contains("SHA-1 is weak"), "{}", weak.stderr);
}
