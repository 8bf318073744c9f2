//! Deliveries of other systems to the real binary: native signatures, bursts, and the pipeline jobs that `sign --setup` prints.

mod findings;
mod one_file;
mod proofs;
mod recipes;

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::support::client::Reply;
use super::support::fake::{Behaviour, Era, Fault, When};
use super::support::program::Setup;
use super::support::shop::{self, GOOD, SECRET, Shop, WEB};
use super::support::sign::hex_hmac;

/// A hook for every sender that signs with a plain HMAC or sends the secret itself.
const HOOKS: &str = r#"
[[stack]]
name = "shop"
healthy_within = "1s"

[[hook]]
name = "github"
sender = "github"
secret = "a-secret-of-the-github-hook-32ch"
branches = ["main"]
images = ["ghcr.io/acme/web:*"]

[[hook]]
name = "ghcr"
sender = "github"
secret = "a-secret-of-the-packages-hook-32"
events = ["package", "registry_package"]

[[hook]]
name = "hub"
sender = "dockerhub"
secret = "a-secret-of-the-docker-hub-hook"

[[hook]]
name = "registry"
sender = "distribution"
secret = "a-secret-of-the-registry-hook-32"

[[hook]]
name = "quay"
sender = "quay"
secret = "a-secret-of-the-quay-hook-32-cha"
"#;

fn configured() -> Shop {
    let fake = shop::portainer(Era::A);
    let mut setup = Setup::with(&fake).file("stackhook.toml", HOOKS);
    for secret in [
        "github-hook-32ch",
        "docker-hub-hook",
        "registry-hook-32",
        "quay-hook-32-cha",
    ] {
        setup = setup.secret(&format!("a-secret-of-the-{secret}"));
    }
    Shop::with(fake, setup)
}

fn github(shop: &Shop, event: &str, body: &Value) -> Reply {
    native(
        shop,
        "github",
        "a-secret-of-the-github-hook-32ch",
        event,
        body,
    )
}

fn native(shop: &Shop, hook: &str, secret: &str, event: &str, body: &Value) -> Reply {
    let body = body.to_string();
    let signature = format!("sha256={}", hex_hmac(secret, body.as_bytes()));
    let headers = [
        ("X-Hub-Signature-256", signature.as_str()),
        ("X-GitHub-Event", event),
        ("Content-Type", "application/json"),
    ];
    shop.server.post(
        &format!("/webhook/update/{hook}/"),
        &headers,
        body.as_bytes(),
    )
}

/// Waits until the delivery of a 202 has ended.
fn end(shop: &Shop, reply: &Reply) -> Value {
    let url = reply.json()["status_url"]
        .as_str()
        .expect("a 202 tells where to ask")
        .to_owned();
    shop.server
        .request("GET", &url, &[("Prefer", "wait=60")], b"")
        .json()
}

fn package(tag: &str) -> Value {
    json!({
        "action": "published",
        "repository": {"full_name": "acme/web"},
        "registry_package": {
            "name": "web",
            "namespace": "acme",
            "package_type": "CONTAINER",
            "owner": {"login": "acme"},
            "package_version": {
                "package_url": format!("ghcr.io/acme/web:{tag}"),
                "container_metadata": {"tag": {"name": tag, "digest": "sha256:aa"}}
            }
        }
    })
}

#[test]
fn a_push_of_several_architectures_is_one_update() {
    let shop = configured();
    shop.fake.world(|world| world.push(WEB, GOOD));
    let burst: Vec<_> = [package(""), package(""), package("1")]
        .iter()
        .map(|body| {
            native(
                &shop,
                "ghcr",
                "a-secret-of-the-packages-hook-32",
                "registry_package",
                body,
            )
        })
        .collect();
    let codes: Vec<u16> = burst.iter().map(|reply| reply.status).collect();
    assert_eq!(
        codes,
        [200, 200, 202],
        "the manifests of the architectures carry no tag"
    );
    let end = end(&shop, &burst[2]);
    assert_eq!(
        (end["status"].as_str(), shop.fake.puts().len()),
        (Some("succeeded"), 1),
        "{end}"
    );
}

/// The stack with an image of Docker Hub.
const HUB: &str = "
services:
  web:
    image: acme/web:1
    restart: unless-stopped
";

#[test]
fn a_push_that_docker_hub_reports_six_times_is_one_update() {
    let hub = "acme/web:1";
    let fake = super::support::fake::Fake::start(Era::A);
    fake.world(|world| {
        world.push(hub, GOOD);
        world.compose_stack("shop", HUB, &[]);
        world.push(hub, GOOD)
    });
    let setup = Setup::with(&fake)
        .file("stackhook.toml", HOOKS)
        .secret("a-secret-of-the-docker-hub-hook");
    let server = shop::variables(setup).serve();
    let body =
        json!({"push_data": {"tag": "1"}, "repository": {"repo_name": "acme/web"}}).to_string();
    let target = "/webhook/update/hub/?token=a-secret-of-the-docker-hub-hook";
    let replies: Vec<Reply> = (0..6)
        .map(|_| server.post(target, &[], body.as_bytes()))
        .collect();
    for reply in &replies {
        assert_eq!(reply.status, 202, "{}", reply.text());
        let url = reply.json()["status_url"]
            .as_str()
            .expect("a 202 tells where to ask")
            .to_owned();
        let end = server
            .request("GET", &url, &[("Prefer", "wait=60")], b"")
            .json();
        assert_eq!(end["status"], "succeeded", "{end}");
    }
    assert_eq!(fake.puts().len(), 1);
}

#[test]
fn a_fork_that_calls_its_branch_main_updates_nothing() {
    let shop = configured();
    let run = |repository: &str| {
        json!({
            "action": "completed",
            "repository": {"full_name": "acme/web"},
            "workflow_run": {
                "conclusion": "success",
                "event": "push",
                "head_branch": "main",
                "path": ".github/workflows/build.yml",
                "head_repository": {"full_name": repository}
            }
        })
    };
    shop.fake.world(|world| world.push(WEB, GOOD));
    let fork = github(&shop, "workflow_run", &run("stranger/web"));
    assert_eq!(
        (fork.status, fork.json()["message"].as_str()),
        (200, Some("Delivery ignored")),
        "{}",
        fork.text()
    );
    assert_eq!(shop.fake.puts().len(), 0);
    let own = github(&shop, "workflow_run", &run("acme/web"));
    assert_eq!(own.status, 202, "{}", own.text());
    assert_eq!(end(&shop, &own)["status"], "succeeded");
    assert_eq!(shop.fake.puts().len(), 1);
}

#[test]
fn a_registry_that_reports_a_pull_updates_nothing() {
    let shop = configured();
    let event = |action: &str| {
        json!({"events": [{
            "id": "1",
            "action": action,
            "target": {"mediaType": "application/vnd.oci.image.index.v1+json", "repository": "acme/web", "tag": "1"},
            "request": {"host": "ghcr.io"}
        }]})
    };
    let headers = [("Authorization", "Bearer a-secret-of-the-registry-hook-32")];
    let post = |action: &str| {
        shop.server.post(
            "/webhook/update/registry/",
            &headers,
            event(action).to_string().as_bytes(),
        )
    };
    let pull = post("pull");
    assert_eq!(
        (pull.status, pull.json()["message"].as_str()),
        (200, Some("Delivery ignored")),
        "{}",
        pull.text()
    );
    assert_eq!(post("push").status, 202);
}

#[test]
fn every_sender_is_answered_within_a_second_while_portainer_hangs() {
    let shop = configured();
    shop.fake
        .fault(When::every("GET", "/api/stacks"), Fault::Silent);
    let started = Instant::now();
    let push = json!({"ref": "refs/heads/main", "repository": {"full_name": "acme/web"}, "after": "aa", "commits": []});
    assert_eq!(github(&shop, "push", &push).status, 202);
    let quay =
        json!({"docker_url": "quay.io/acme/web", "repository": "acme/web", "updated_tags": ["1"]});
    let quay = shop.server.post(
        "/webhook/update/quay/?token=a-secret-of-the-quay-hook-32-cha",
        &[],
        quay.to_string().as_bytes(),
    );
    assert_eq!(quay.status, 202, "{}", quay.text());
    // The bound is one second each; ten times that is a defect on any machine.
    assert!(
        started.elapsed() < Duration::from_secs(10),
        "{:?}",
        started.elapsed()
    );
    println!(
        "two senders answered after {:?} while Portainer was silent",
        started.elapsed()
    );
}

#[test]
fn five_variables_are_enough_for_github() {
    let fake = shop::portainer(Era::A);
    let setup = Setup::with(&fake).env("PORTAINER_WEBHOOK_SENDER", "github");
    let shop = Shop::with(fake, setup);
    let ping = br#"{"zen": "Keep it logically awesome.", "hook_id": 1}"#;
    let signature = format!("sha256={}", hex_hmac(SECRET, ping));
    let reply = shop.server.post(
        "/webhook/update/",
        &[
            ("X-Hub-Signature-256", &signature),
            ("X-GitHub-Event", "ping"),
        ],
        ping,
    );
    assert_eq!(
        (reply.status, reply.json()["message"].as_str()),
        (200, Some("Delivery ignored")),
        "{}",
        reply.text()
    );
    let push = br#"{"ref": "refs/heads/main", "after": "aa", "repository": {"full_name": "acme/web"}, "commits": []}"#;
    let signature = format!("sha256={}", hex_hmac(SECRET, push));
    let reply = shop.server.post(
        "/webhook/update/",
        &[
            ("X-Hub-Signature-256", &signature),
            ("X-GitHub-Event", "push"),
        ],
        push,
    );
    assert_eq!(reply.status, 202, "{}", reply.text());
    let end = end(&shop, &reply);
    assert_eq!(end["update_result"], "Stack is already up to date", "{end}");
}

#[test]
fn accepts_the_output_of_sign() {
    let shop = Shop::quick(Era::A);
    let body = r#"{"event":"ping"}"#;
    let setup = shop::variables(Setup::with(&shop.fake).file("body.json", body));
    let signed = setup.run(&["sign", "body.json"]);
    assert_eq!(signed.code, Some(0), "{}", signed.stderr);
    let (name, value) = signed
        .stdout
        .trim_end()
        .split_once(": ")
        .expect("a header line");
    let reply = shop
        .server
        .post("/webhook/update/", &[(name, value)], body.as_bytes());
    assert_eq!(reply.status, 200, "{}", reply.text());
    let other = setup.run(&["sign", "body.json", "--scheme", "github"]);
    assert!(
        other.stdout.starts_with("x-hub-signature-256: sha256="),
        "{}",
        other.stdout
    );
}

#[test]
fn signs_with_the_newest_of_several_secrets() {
    let body = r#"{"event":"ping"}"#;
    let setup = Setup::new().file("body.json", body).env(
        "PORTAINER_WEBHOOK_SECRET",
        "newer-secret-0123\nolder-secret-0123",
    );
    let signed = setup.run(&["sign", "body.json"]);
    let expected = hex_hmac("newer-secret-0123", body.as_bytes());
    assert!(signed.stdout.contains(&expected), "{signed:?}");
}

#[test]
fn signs_a_whole_body_or_nothing() {
    let shop = Shop::quick(Era::A);
    let body = "x".repeat(32 * 1024 * 1024 + 1);
    let setup = shop::variables(Setup::with(&shop.fake).file("body", &body));
    let output = setup.run(&["sign", "body"]);
    assert_eq!(
        (output.code, output.stdout.as_str(), output.stderr.as_str()),
        (
            Some(1),
            "",
            "stackhook: cannot read \"body\": it is larger than 32 MiB, which no hook accepts\n"
        )
    );
    for (path, why) in [("/nope", "there is no such file"), ("/", "is a directory")] {
        let output = setup.run(&["sign", path]);
        let says = format!("stackhook: cannot read {path:?}: {why}\n");
        assert_eq!((output.code, output.stderr), (Some(1), says));
    }
}

/// The pipeline jobs that `sign --setup` prints for a server at this address: title and text.
fn jobs(shop: &Shop) -> Vec<(String, String)> {
    let setup = shop::variables(Setup::with(&shop.fake)).env(
        "STACKHOOK_PUBLIC_URL",
        &format!("http://{}", shop.server.address),
    );
    let printed = setup.run(&["sign", "--setup"]);
    assert_eq!(printed.code, Some(0), "{}", printed.stderr);
    let parts = printed.stdout.split("\n--- ").skip(1);
    let job = |part: &str| {
        part.split_once(" ---\n")
            .map(|(title, text)| (title.to_owned(), text.to_owned()))
    };
    parts.filter_map(job).collect()
}

/// The shell script of a job, extracted from the format around it.
fn script((title, text): &(String, String)) -> String {
    let yaml = || yaml_serde::from_str::<Value>(text).expect("the job is YAML");
    if title.starts_with("GitHub") {
        return yaml()[0]["run"]
            .as_str()
            .expect("the step runs a script")
            .to_owned();
    }
    if title.starts_with("GitLab") {
        return yaml()["redeploy"]["script"][0]
            .as_str()
            .expect("the job has a script")
            .to_owned();
    }
    if title.starts_with("Jenkins") {
        let inner = text.split("'''").nth(1).expect("the stage runs a script");
        return inner.replace("\\\\", "\\");
    }
    text.clone()
}

fn run(script: &str, secret: &str) -> (Option<i32>, String) {
    let mut shell = Command::new("sh")
        .env("PORTAINER_WEBHOOK_SECRET", secret)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("there is a shell");
    shell
        .stdin
        .take()
        .expect("it was asked for")
        .write_all(script.as_bytes())
        .expect("the shell reads");
    let output = shell.wait_with_output().expect("the shell ends");
    let said = [output.stdout, output.stderr].concat();
    (
        output.status.code(),
        String::from_utf8_lossy(&said).into_owned(),
    )
}

#[test]
fn every_ready_job_redeploys_and_fails_with_the_redeploy() {
    let shop = Shop::quick(Era::A);
    let jobs = jobs(&shop);
    assert_eq!(jobs.len(), 5, "{jobs:?}");
    for job in &jobs {
        let new = shop.fake.world(|world| world.push(WEB, GOOD));
        let (code, said) = run(&script(job), SECRET);
        assert_eq!(code, Some(0), "{}: {said}", job.0);
        assert!(
            said.contains("Stack updated successfully"),
            "{}: {said}",
            job.0
        );
        assert_eq!(
            shop.fake
                .world(|world| world.container("shop", "web").image_id),
            new,
            "{}",
            job.0
        );
    }
    for job in &jobs {
        let (code, said) = run(&script(job), "not-the-secret-of-this-hook-at-all");
        assert_ne!(code, Some(0), "{}: {said}", job.0);
    }
    shop.fake
        .world(|world| world.push(WEB, Behaviour::NeverHealthy));
    for job in &jobs {
        let (code, said) = run(&script(job), SECRET);
        assert_ne!(code, Some(0), "{}: {said}", job.0);
        assert!(said.contains("unhealthy"), "{}: {said}", job.0);
    }
}

#[test]
fn set_up_texts_exist_for_every_hook_and_show_no_secret() {
    let shop = configured();
    let setup = shop.server.setup();
    for hook in ["github", "hub", "registry", "quay", "update"] {
        let printed = setup.run(&["sign", "--setup", "--hook", hook]);
        assert_eq!(printed.code, Some(0), "{hook}: {}", printed.stderr);
        let path = if hook == "update" {
            "/webhook/update/".to_owned()
        } else {
            format!("/webhook/update/{hook}/")
        };
        assert!(printed.stdout.contains(&path), "{}", printed.stdout);
        assert!(
            !printed.stdout.contains("a-secret-of"),
            "{}",
            printed.stdout
        );
    }
}
