//! Deliveries that once were answered with silent success, or ignored under every configuration. The collected cases are read from
//! `../shared/findings`, where that exists; cases of the same kinds are in this repository.

use std::path::Path;

use serde_json::{Value, json};

use crate::support::client::Reply;
use crate::support::fake::{Era, Fake};
use crate::support::program::{Output, Setup, Stackhook};
use crate::support::shop::{self, GOOD};
use crate::support::sign::hex_hmac;

const CASES: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../shared/findings/inputs/senders"
);
pub(super) const SECRET: &str = "user:a-secret-of-the-findings";
pub(super) const IMAGE: &str = "ghcr.io/acme/web:latest";

/// A stack with one service, and one hook with these lines.
pub(super) struct Scene {
    fake: Fake,
    setup: Setup,
    path: String,
}

impl Scene {
    pub(super) fn new(image: &str, name: &str, lines: &[&str]) -> Scene {
        let fake = Fake::start(Era::A);
        let file = format!("services:\n  web:\n    image: {image}\n    restart: unless-stopped\n");
        fake.world(|world| {
            world.push(image, GOOD);
            world.compose_stack("shop", &file, &[]);
        });
        let lines = lines.join("\n");
        // Sections at the end belong to the hook.
        let (own, sections) = match lines.find("\n[") {
            Some(at) => lines.split_at(at),
            None => (lines.as_str(), ""),
        };
        let file = format!(
            "[[stack]]\nname = \"shop\"\nhealthy_within = \"1s\"\n\n[[hook]]\nname = \"{name}\"\nsecret = \"{SECRET}\"\n{own}\n{sections}\n"
        );
        let setup = Setup::with(&fake)
            .file("stackhook.toml", &file)
            .secret(SECRET);
        let path = match name {
            "update" => "/webhook/update/".to_owned(),
            name => format!("/webhook/update/{name}/"),
        };
        Scene { fake, setup, path }
    }

    /// The exit code and stderr of `serve` for a configuration that is refused.
    pub(super) fn refused(self) -> Output {
        self.setup.run(&["show-config"])
    }

    pub(super) fn serve(self) -> (Fake, Stackhook, String) {
        (self.fake, self.setup.serve(), self.path)
    }
}

/// The header that proves a body, in the notation of a case: `hex:HEADER`, `sha256:HEADER`, `raw:HEADER`, `bearer:`, `basic:`.
fn proof(kind: &str, body: &[u8]) -> (String, String) {
    let (kind, header) = kind.split_once(':').unwrap();
    let digits = hex_hmac(SECRET, body);
    match kind {
        "hex" => (header.to_owned(), digits),
        "sha256" => (header.to_owned(), format!("sha256={digits}")),
        "raw" => (header.to_owned(), SECRET.to_owned()),
        "bearer" => ("Authorization".to_owned(), format!("Bearer {SECRET}")),
        // Base64 of the secret, by coreutils.
        "basic" => (
            "Authorization".to_owned(),
            "Basic dXNlcjphLXNlY3JldC1vZi10aGUtZmluZGluZ3M=".to_owned(),
        ),
        other => panic!("{other}"),
    }
}

/// A reply in the notation of a case.
pub(super) fn verdict(reply: &Reply) -> String {
    let message = reply.json()["message"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    match (reply.status, message.as_str()) {
        (200 | 202, "Stack update triggered") => "acts".to_owned(),
        (200, "Delivery ignored") => "ignored".to_owned(),
        (code, _) => code.to_string(),
    }
}

fn bytes(request: &Value) -> Vec<u8> {
    let text = match request["raw"].as_str() {
        Some(raw) => raw.replace("NOW", &shop::now().to_string()),
        None => request["body"].to_string(),
    };
    match request["encoding"].as_str() {
        Some("utf-16") => {
            let units = std::iter::once(0xfeff).chain(text.encode_utf16());
            units.flat_map(u16::to_le_bytes).collect()
        }
        Some("gzip") => [&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3], text.as_bytes()].concat(),
        Some("bom") => format!("\u{feff}{text}").into_bytes(),
        _ => text.into_bytes(),
    }
}

fn send(server: &Stackhook, path: &str, request: &Value) -> Reply {
    let body = bytes(request);
    let (name, value) = proof(request["proof"].as_str().unwrap(), &body);
    let mut headers = vec![(name, value)];
    let kind = request["type"].as_str().unwrap_or("application/json");
    headers.push(("Content-Type".to_owned(), kind.to_owned()));
    for (name, value) in request["headers"].as_object().into_iter().flatten() {
        headers.push((name.clone(), value.as_str().unwrap().to_owned()));
    }
    let headers: Vec<(&str, &str)> = headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    let query = request["query"].as_str();
    let target = query.map_or(path.to_owned(), |query| format!("{path}?{query}"));
    server.post(&target, &headers, &body)
}

/// One request to a hook with these lines, signed as sender `generic` does unless `proof` says otherwise.
#[track_caller]
fn check(lines: &[&str], request: Value, expected: &str, words: &[&str]) {
    let (_fake, server, path) = Scene::new(IMAGE, "update", lines).serve();
    let reply = send(&server, &path, &request);
    assert_eq!(
        verdict(&reply),
        expected,
        "{lines:?} {request}: {}",
        reply.text()
    );
    for word in words {
        assert!(reply.text().contains(word), "{word:?}: {}", reply.text());
    }
}

#[test]
fn refuses_near_misses_of_known_fields() {
    let (_fake, server, path) = Scene::new(IMAGE, "update", &[]).serve();
    for (body, words) in [
        (r#"{"EVENT":"ping"}"#, ["EVENT", "event"]),
        (r#"{"Stack":"shop"}"#, ["Stack", "stack"]),
        (r#"{"stacks":["shop"]}"#, ["stacks", "stack"]),
        (r#"{"images":["x"]}"#, ["images", "image"]),
        (r#"{"imgae":"x"}"#, ["imgae", "image"]),
        (r#"{"iamge":"x"}"#, ["iamge", "image"]),
        (r#"{"branche":"main"}"#, ["branche", "branch"]),
        (r#"{"repositry":"acme/web"}"#, ["repositry", "repository"]),
        (r#"{"forse":true}"#, ["forse", "force"]),
        (r#"{"time-":7}"#, ["time-", "time"]),
        (r#"{"ENV":{"A":"1"}}"#, ["ENV", "env"]),
        (r#"{"Id":"7"}"#, ["Id", "id"]),
        (r#"{"tags":["v1"]}"#, ["tags", "tag"]),
    ] {
        // The time is not the mistake that is tested.
        let body = body.replace(":7}", &format!(":{}}}", shop::now()));
        let reply = server.signed(&path, SECRET, &body);
        assert_eq!(reply.status, 400, "{body}: {}", reply.text());
        for word in words {
            assert!(reply.text().contains(word), "{body}: {}", reply.text());
        }
    }
    for body in [
        r#"{"ref":"main","sha":"aa","pipeline":7,"project":"acme/web","job":"x"}"#,
        r#"{"user":"x","timestamp":"y","ids":7}"#,
        r#"{"environment":"x","image_name":"y","stack_name":"z","steak":"no"}"#,
    ] {
        let reply = server.signed(&path, SECRET, body);
        let allowed = !body.contains("ids");
        assert_eq!(reply.status == 200, allowed, "{body}: {}", reply.text());
    }
}

#[test]
fn refuses_a_misspelled_time_that_is_too_old_like_a_right_one() {
    let (_fake, server, path) = Scene::new(IMAGE, "update", &[]).serve();
    for (body, code) in [
        (r#"{"Time":1700000000}"#.to_owned(), 401),
        (r#"{"TIME":1700000000,"Event":"x"}"#.to_owned(), 401),
        (format!(r#"{{"Time":{}}}"#, shop::now()), 400),
    ] {
        let reply = server.signed(&path, SECRET, &body);
        assert_eq!(reply.status, code, "{body}: {}", reply.text());
    }
}

#[test]
fn refuses_variables_in_the_address_of_every_sender() {
    let (_fake, server, path) = Scene::new(IMAGE, "update", &[]).serve();
    for query in [
        "IMAGE_TAG=1.4.2",
        "tag=2",
        "env=prod",
        "x",
        "token=abc",
        "a=1&b=2",
    ] {
        let reply = server.signed(&format!("{path}?{query}"), SECRET, "{}");
        assert_eq!(reply.status, 400, "{query}: {}", reply.text());
        assert!(reply.text().contains("query parameter"), "{}", reply.text());
    }
    for query in ["", "&", "&&"] {
        let reply = server.signed(&format!("{path}?{query}"), SECRET, "{}");
        assert_eq!(reply.status, 200, "{query:?}: {}", reply.text());
    }
    // Without a proof, the reply says nothing about the query.
    let reply = server.post(&format!("{path}?tag=2"), &[], b"{}");
    assert_eq!(reply.status, 401, "{}", reply.text());
    let (_fake, server, path) = Scene::new(IMAGE, "hub", &["sender = \"dockerhub\""]).serve();
    let body = json!({"push_data": {"tag": "latest"}, "repository": {"repo_name": "acme/web"}})
        .to_string();
    let token = SECRET.replace(':', "%3A");
    for (query, code) in [
        (format!("token={token}&tag=2"), 400),
        (format!("tag=2&token={token}"), 400),
    ] {
        let reply = server.post(&format!("{path}?{query}"), &[], body.as_bytes());
        assert_eq!(reply.status, code, "{query}: {}", reply.text());
    }
}

#[test]
fn refuses_configurations_that_can_never_act() {
    for (lines, words) in [
        (
            &["sender = \"gitlab\"", "events = [\"build\"]"][..],
            &["hook.events", "build", "pipeline"][..],
        ),
        (
            &["sender = \"github\"", "events = [\"pushes\"]"],
            &["pushes", "push, workflow_run"],
        ),
        (
            &["sender = \"gogs\"", "events = [\"package\"]"],
            &["package", "push, release"],
        ),
        (
            &["sender = \"harbor\"", "events = [\"PUSH\"]"],
            &["PUSH_ARTIFACT"],
        ),
        (&["events = [\"ping\"]"], &["ping", "stack_update"]),
        (
            &["sender = \"dockerhub\"", "branches = [\"main\"]"],
            &["hook.branches", "never states a branch"],
        ),
        (
            &["sender = \"harbor\"", "paths = [\"x\"]"],
            &["hook.paths", "never states the changed files"],
        ),
        (&["paths = [\"x\"]"], &["hook.paths"]),
        (
            &["sender = \"diun\"", "branches = [\"main\"]"],
            &["hook.branches"],
        ),
        (
            &["sender = \"bitbucket\"", "paths = [\"x\"]"],
            &["hook.paths"],
        ),
        (
            &[
                "sender = \"github\"",
                "events = [\"release\"]",
                "paths = [\"x\"]",
            ],
            &["hook.paths", "only the events push"],
        ),
        (
            &[
                "sender = \"gitlab\"",
                "events = [\"push\"]",
                "tags = [\"v*\"]",
            ],
            &["hook.tags", "only the events tag_push, pipeline"],
        ),
        (
            &[
                "sender = \"gitlab\"",
                "events = [\"tag_push\"]",
                "branches = [\"main\"]",
            ],
            &["hook.branches", "only the events push, pipeline"],
        ),
        (
            &[
                "sender = \"github\"",
                "events = [\"push\"]",
                "workflows = [\"image.yml\"]",
            ],
            &["hook.workflows", "only the events workflow_run"],
        ),
        (
            &[
                "sender = \"github\"",
                "events = [\"push\"]",
                "deployment_environments = [\"production\"]",
            ],
            &[
                "hook.deployment_environments",
                "only the events deployment_status",
            ],
        ),
        (
            &[
                "sender = \"github\"",
                "events = [\"push\"]",
                "prereleases = false",
            ],
            &["hook.prereleases", "only the events release"],
        ),
        (
            &[
                "sender = \"azure-devops\"",
                "events = [\"ms.vss-pipelines.run-state-changed-event\"]",
                "repositories = [\"web\"]",
            ],
            &["hook.repositories", "only the events git.push"],
        ),
        (
            &[
                "sender = \"gitlab\"",
                "events = [\"tag_push\", \"pipeline\"]",
                "branches = [\"main\"]",
                "paths = [\"x\"]",
            ],
            &[
                "hook.paths",
                "no event of this hook can meet the rules branches, paths together",
            ],
        ),
    ] {
        let output = Scene::new(IMAGE, "update", lines).refused();
        assert_eq!(output.code, Some(78), "{lines:?}: {}", output.stderr);
        for word in words {
            assert!(output.stderr.contains(word), "{word:?}: {}", output.stderr);
        }
    }
    for lines in [
        &[
            "sender = \"gitea\"",
            "events = [\"workflow_run\", \"create\"]",
        ][..],
        &[
            "sender = \"custom\"",
            "events = [\"anything\"]",
            "paths = [\"x\"]",
        ],
        &[
            "sender = \"gitea\"",
            "events = [\"package\"]",
            "branches = [\"main\"]",
        ],
        &[
            "sender = \"harbor\"",
            "tags = [\"v*\"]",
            "repositories = [\"acme/*\"]",
        ],
        &[
            "sender = \"gitlab\"",
            "events = [\"tag_push\", \"pipeline\"]",
            "branches = [\"main\"]",
            "tags = [\"v*\"]",
            "workflows = [\"image\"]",
        ],
    ] {
        let output = Scene::new(IMAGE, "update", lines).refused();
        assert_eq!(output.code, Some(0), "{lines:?}: {}", output.stderr);
    }
}

fn github(event: &str, body: Value) -> Value {
    json!({"proof": "sha256:X-Hub-Signature-256", "headers": {"X-GitHub-Event": event}, "body": body})
}

#[test]
fn a_branch_rule_applies_to_pushes_and_not_to_publications() {
    let lines = ["sender = \"github\"", "branches = [\"main\"]"];
    let repository = json!({"full_name": "acme/web"});
    let release =
        json!({"action": "published", "release": {"tag_name": "v1"}, "repository": repository});
    check(&lines, github("release", release), "acts", &[]);
    let package = json!({"action": "published", "repository": repository, "package": {"package_type": "CONTAINER",
        "package_version": {"package_url": "ghcr.io/acme/web:latest", "container_metadata": {"tag": {"name": "latest"}}}}});
    check(&lines, github("package", package.clone()), "acts", &[]);
    let tag = json!({"ref": "refs/tags/v1", "after": "aa", "repository": repository});
    check(&lines, github("push", tag), "ignored", &["only rule"]);
    check(
        &lines,
        github("push", json!({"repository": repository})),
        "ignored",
        &["names no ref"],
    );
    // An image's tag is compared with tags, if there are any.
    let tags = [
        "sender = \"github\"",
        "branches = [\"main\"]",
        "tags = [\"v*\"]",
    ];
    check(
        &tags,
        github("package", package),
        "ignored",
        &["does not allow tag"],
    );
    // A body of sender generic that omits its branch is refused.
    let generic = json!({"proof": "hex:X-Portainer-Signature", "body": {"image": IMAGE}});
    check(
        &["branches = [\"main\"]"],
        generic,
        "ignored",
        &["needs a branch"],
    );
}

#[test]
fn a_ref_of_unknown_kind_may_match_branches_or_tags() {
    let deployment = |name: &str| {
        github(
            "deployment_status",
            json!({"deployment_status": {"state": "success"}, "deployment": {"ref": name}, "repository": {"full_name": "acme/web"}}),
        )
    };
    let sender = "sender = \"github\"";
    check(&[sender, "tags = [\"v*\"]"], deployment("v1"), "acts", &[]);
    check(
        &[sender, "branches = [\"v*\"]"],
        deployment("v1"),
        "acts",
        &[],
    );
    check(
        &[sender, "tags = [\"v*\"]"],
        deployment("main"),
        "ignored",
        &["does not allow ref"],
    );
    check(
        &[sender, "tags = [\"v*\"]"],
        deployment("refs/heads/v1"),
        "ignored",
        &["branch"],
    );
}

#[test]
fn a_delivery_that_is_sent_again_is_answered_as_repeated() {
    let (fake, server, path) = Scene::new(IMAGE, "update", &["sender = \"github\""]).serve();
    let mut request = github(
        "push",
        json!({"ref": "refs/heads/main", "after": "aa", "repository": {"full_name": "acme/web"}}),
    );
    request["headers"]["X-GitHub-Delivery"] = json!("d-1");
    request["headers"]["Prefer"] = json!("wait=60");
    let first = send(&server, &path, &request).json();
    assert_eq!(first["status"], "succeeded", "{first}");
    assert_eq!(
        (first.get("repeated"), first.get("first_ended_at")),
        (None, None),
        "{first}"
    );
    let again = send(&server, &path, &request).json();
    assert_eq!(again["delivery"], first["delivery"], "{again}");
    assert_eq!(again["repeated"], json!(true), "{again}");
    let ended = again["first_ended_at"].as_str().unwrap();
    assert!(ended.len() == 20 && ended.ends_with('Z'), "{ended}");
    // Its own status is not a repetition.
    let status = server.get(first["status_url"].as_str().unwrap()).json();
    assert_eq!(status.get("repeated"), None, "{status}");
    request["headers"]["X-GitHub-Delivery"] = json!("d-2");
    let other = send(&server, &path, &request).json();
    assert_eq!(other.get("repeated"), None, "{other}");
    drop(fake);
}

#[test]
fn a_set_up_text_without_a_public_url_warns_and_has_a_placeholder() {
    let scene = Scene::new(IMAGE, "update", &["sender = \"github\""]);
    let output = scene.setup.run(&["sign", "--setup"]);
    assert!(
        output.stderr.contains("public_url is not set"),
        "{}",
        output.stderr
    );
    assert!(!output.stdout.contains("127.0.0.1"), "{}", output.stdout);
    let setup = scene
        .setup
        .env("STACKHOOK_PUBLIC_URL", "https://hooks.acme.test");
    let output = setup.run(&["sign", "--setup"]);
    assert_eq!(output.stderr, "");
    assert!(
        output
            .stdout
            .contains("https://hooks.acme.test/webhook/update/"),
        "{}",
        output.stdout
    );
}

#[test]
fn names_the_format_of_a_body_that_is_not_json() {
    let (_fake, server, path) = Scene::new(IMAGE, "update", &[]).serve();
    let request = |raw: &str, encoding: &str| json!({"proof": "hex:X-Portainer-Signature", "raw": raw, "encoding": encoding});
    let multipart = "--X\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n{}\r\n--X--\r\n";
    for (request, word) in [
        (request("{}", "utf-16"), "UTF-16"),
        (request("{}", "gzip"), "gzip"),
        (request("{}", "bom"), "byte order mark"),
        (request(multipart, ""), "multipart/form-data"),
        (request("<a/>", ""), "XML"),
        (request("event=ping", ""), "form"),
    ] {
        let reply = send(&server, &path, &request);
        assert_eq!(reply.status, 400, "{}", reply.text());
        assert!(reply.text().contains(word), "{word}: {}", reply.text());
    }
}
/// Lines that a case needs in addition: rules that did not exist when it was collected.
fn further_lines(file: &str) -> &'static [&'static str] {
    match file {
        "02-run-of-a-release.json" => &["workflows = [\"image.yml\"]"],
        "15-zot.json" => &["require = { \"header:Ce-Type\" = \"zotregistry.image.updated\" }"],
        _ => &[],
    }
}

#[test]
fn answers_every_collected_case_as_expected() {
    if !Path::new(CASES).exists() {
        println!("not compared: {CASES} does not exist");
        return;
    }
    let mut compared = 0;
    for entry in std::fs::read_dir(CASES).unwrap() {
        let path = entry.unwrap().path();
        let file = path.file_name().unwrap().to_str().unwrap().to_owned();
        let case: Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
        let lines = case["hook"].as_array().unwrap().iter();
        let mut lines: Vec<&str> = lines.map(|line| line.as_str().unwrap()).collect();
        lines.extend(further_lines(&file));
        let image = case["image"].as_str().unwrap_or(IMAGE);
        let scene = Scene::new(image, case["name"].as_str().unwrap_or("h"), &lines);
        if let Some(code) = case["expect_start"].as_i64() {
            let output = scene.refused();
            assert_eq!(
                output.code.map(i64::from),
                Some(code),
                "{file}: {}",
                output.stderr
            );
            compared += 1;
            continue;
        }
        let (fake, server, path) = scene.serve();
        for request in case["requests"].as_array().unwrap() {
            let reply = send(&server, &path, request);
            let expected = request["expect"].as_str().unwrap();
            let expected = expected.split(' ').next().unwrap();
            assert_eq!(
                verdict(&reply),
                expected,
                "{file}: {}: {}",
                request["what"],
                reply.text()
            );
            if expected != "acts" {
                assert_eq!(fake.puts().len(), 0, "{file}: {}", request["what"]);
            }
            compared += 1;
        }
    }
    assert!(compared >= 30, "{compared}");
}

#[test]
fn rules_name_the_workflow_the_environment_and_prereleases() {
    let repository = json!({"full_name": "acme/web"});
    let run = |path: &str, event: &str| {
        github(
            "workflow_run",
            json!({"action": "completed", "repository": repository, "workflow": {"name": "Build image"}, "workflow_run": {
                "event": event, "conclusion": "success", "head_branch": "main", "path": path, "head_repository": repository}}),
        )
    };
    let sender = "sender = \"github\"";
    let file = [sender, "workflows = [\"image.yml\"]"];
    check(
        &file,
        run(".github/workflows/image.yml", "push"),
        "acts",
        &[],
    );
    check(
        &file,
        run(".github/workflows/image.yml@refs/heads/main", "push"),
        "acts",
        &[],
    );
    check(
        &file,
        run(".github/workflows/lint.yml", "push"),
        "ignored",
        &["workflows", "lint.yml"],
    );
    check(
        &file,
        run(".github/workflows/image.yml", "workflow_run"),
        "acts",
        &[],
    );
    check(
        &[sender, "workflows = [\"Build *\"]"],
        run("x.yml", "push"),
        "acts",
        &[],
    );
    check(
        &[sender],
        run(".github/workflows/image.yml", "workflow_run"),
        "ignored",
        &["started by another run"],
    );
    let deployment = |environment: Value| {
        github(
            "deployment_status",
            json!({"deployment_status": {"state": "success", "environment": environment}, "deployment": {"ref": "main"}, "repository": repository}),
        )
    };
    let environments = [sender, "deployment_environments = [\"production\"]"];
    check(&environments, deployment(json!("production")), "acts", &[]);
    check(
        &environments,
        deployment(json!("Preview")),
        "ignored",
        &["Preview"],
    );
    check(
        &environments,
        deployment(Value::Null),
        "ignored",
        &["names none"],
    );
    let release = |prerelease: bool| {
        github(
            "release",
            json!({"action": "published", "repository": repository, "release": {"tag_name": "v1", "prerelease": prerelease}}),
        )
    };
    let no_prereleases = [sender, "prereleases = false"];
    check(&no_prereleases, release(false), "acts", &[]);
    check(&no_prereleases, release(true), "ignored", &["prerelease"]);
    check(&[sender], release(true), "acts", &[]);
    let gitlab = |source: &str, name: Value| {
        json!({"proof": "raw:X-Gitlab-Token", "body": {"object_kind": "pipeline", "project": {"path_with_namespace": "acme/web"},
            "object_attributes": {"ref": "main", "status": "success", "source": source, "name": name}}})
    };
    let sender = "sender = \"gitlab\"";
    check(&[sender], gitlab("push", Value::Null), "acts", &[]);
    check(&[sender], gitlab("pipeline", Value::Null), "acts", &[]);
    check(
        &[sender],
        gitlab("parent_pipeline", json!("image")),
        "ignored",
        &["another run"],
    );
    check(
        &[sender, "workflows = [\"image\"]"],
        gitlab("parent_pipeline", json!("image")),
        "acts",
        &[],
    );
    check(
        &[sender, "workflows = [\"image\"]"],
        gitlab("push", json!("lint")),
        "ignored",
        &["lint"],
    );
}

#[test]
fn runs_after_the_image_was_built_act_for_the_whole_family() {
    let forgejo = |event: &str, run: Value| json!({"proof": "hex:X-Forgejo-Signature", "headers": {"X-Forgejo-Event": event}, "body": {"action": "success", "run": run}});
    let run = json!({"status": "success", "prettyref": "main", "workflow_id": "image.yml", "event": "push", "trigger_event": "push",
        "is_fork_pull_request": false, "repository": {"full_name": "acme/web"}});
    let with = |key: &str, value: Value| {
        let mut run = run.clone();
        run[key] = value;
        run
    };
    let lines = [
        "sender = \"forgejo\"",
        "branches = [\"main\"]",
        "workflows = [\"image.yml\"]",
    ];
    check(
        &lines,
        forgejo("action_run_success", run.clone()),
        "acts",
        &[],
    );
    check(
        &lines,
        forgejo("action_run_success", with("status", json!("failure"))),
        "ignored",
        &["failure"],
    );
    check(
        &lines,
        forgejo(
            "action_run_success",
            with("is_fork_pull_request", json!(true)),
        ),
        "ignored",
        &["fork"],
    );
    check(
        &lines,
        forgejo(
            "action_run_success",
            with("trigger_event", json!("pull_request_target")),
        ),
        "ignored",
        &["before a merge"],
    );
    check(
        &lines,
        forgejo("action_run_success", with("prettyref", json!("dev"))),
        "ignored",
        &["ref"],
    );
    check(
        &lines,
        forgejo("action_run_failure", run.clone()),
        "ignored",
        &["means nothing new"],
    );
    let status = |state: &str, name: &str| {
        json!({"proof": "sha256:X-Hub-Signature", "headers": {"X-Event-Key": "repo:commit_status_updated"},
            "body": {"repository": {"full_name": "acme/web"}, "commit_status": {"state": state, "name": name, "key": "k", "refname": "main"}}})
    };
    let lines = [
        "sender = \"bitbucket\"",
        "branches = [\"main\"]",
        "workflows = [\"Pipeline *\"]",
    ];
    check(&lines, status("SUCCESSFUL", "Pipeline 7"), "acts", &[]);
    check(
        &lines,
        status("FAILED", "Pipeline 7"),
        "ignored",
        &["FAILED"],
    );
    check(
        &lines,
        status("INPROGRESS", "Pipeline 7"),
        "ignored",
        &["INPROGRESS"],
    );
    check(
        &lines,
        status("SUCCESSFUL", "SonarQube"),
        "ignored",
        &["SonarQube"],
    );
    let azure = |result: &str, name: &str| {
        json!({"proof": "basic:", "body": {"eventType": "ms.vss-pipelines.run-state-changed-event", "id": "1", "resource": {
            "run": {"state": "completed", "result": result}, "pipeline": {"name": name}}}})
    };
    let lines = ["sender = \"azure-devops\"", "workflows = [\"image\"]"];
    check(&lines, azure("succeeded", "image"), "acts", &[]);
    check(&lines, azure("succeeded", "lint"), "ignored", &["lint"]);
    check(&lines, azure("failed", "image"), "ignored", &["failed"]);
}
