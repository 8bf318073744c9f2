//! Extracts the pipeline jobs from the documents with a parser for their format, and runs them in a shell as the pipeline would.

use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use yaml_serde::Value;

use super::{GOOD, SECRET, blocks, documents, serve};
use crate::support::program::Stackhook;
use crate::support::shop;
use crate::waiting::{clients, delivery, eventually, held_with_few_descriptors};

/// The jobs and what each of them runs; every job runs `redeploy.sh`.
fn jobs() -> Vec<(&'static str, String)> {
    let documents = documents();
    let block = |language: &str, words: &str| {
        let found = blocks(&documents, language);
        let found: Vec<&String> = found.iter().filter(|block| block.contains(words)).collect();
        assert_eq!(found.len(), 1, "{language} with {words:?}");
        found[0].clone()
    };
    let yaml = |words: &str| -> Value { yaml_serde::from_str(&block("yaml", words)).unwrap() };
    let text = |value: &Value| value.as_str().unwrap().to_owned();

    let actions = yaml("runs-on:");
    let step = &actions["jobs"]["redeploy"]["steps"][1];
    assert_eq!(step["env"].as_mapping().unwrap().len(), 2);
    let gitlab = yaml("timeout: 45m");
    let jenkins = block("groovy", "stage(");
    let jenkins = jenkins.split("'''").nth(1).unwrap();
    vec![
        ("the script", block("text", "set -eu")),
        ("GitHub Actions", text(&step["run"])),
        ("GitLab CI", text(&gitlab["redeploy"]["script"][0])),
        ("Jenkins", jenkins.to_owned()),
    ]
}

/// Runs a job where `redeploy.sh` is; returns success and output.
fn run(server: &Stackhook, script: &str, secret: &str) -> (bool, String) {
    let url = format!("http://{}/webhook/update/", server.address);
    // GitLab, GitHub and Jenkins all stop at the first command that fails.
    let output = Command::new("sh")
        .args(["-e", "-c", script])
        .current_dir(server.setup().path())
        .env("PORTAINER_WEBHOOK_SECRET", secret)
        .env("STACKHOOK_URL", url)
        .output()
        .unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(text).unwrap())
}

#[test]
fn every_job_redeploys_and_fails_if_the_redeploy_fails() {
    let portainer = super::shop();
    let server = serve(&portainer);
    let jobs = jobs();
    std::fs::write(server.setup().path().join("redeploy.sh"), &jobs[0].1).unwrap();
    for (name, script) in jobs {
        portainer.world(|world| world.push("ghcr.io/acme/web:1", GOOD));
        portainer.forget_calls();
        assert_eq!(
            run(&server, &script, SECRET),
            (true, String::new()),
            "{name}"
        );
        assert_eq!(portainer.puts().len(), 1, "{name}");

        let (green, said) = run(&server, &script, "not-the-secret");
        assert!(
            !green && said.contains("Nothing was deployed"),
            "{name}: {said}"
        );

        portainer.world(|world| world.remove_from_registry("ghcr.io/acme/web:1"));
        let (green, said) = run(&server, &script, SECRET);
        assert!(!green && said.contains("cannot pull"), "{name}: {said}");
        assert_eq!(portainer.puts().len(), 1, "{name}");
    }
}

#[test]
fn the_script_pauses_as_the_server_asks_and_then_succeeds() {
    let (shop, gate) = held_with_few_descriptors("-n 64");
    let count = |text: &str| shop.server.log().matches(text).count();
    let waiting = clients(&shop, 15, &delivery(&shop, "wait=100"));
    eventually(|| count("delivery accepted") == 15);
    let begun = Instant::now();
    thread::scope(|scope| {
        let script = jobs()[0].1.clone();
        let server = &shop.server;
        let result = scope.spawn(move || run(server, &script, shop::SECRET));
        eventually(|| count("too many deliveries are waiting") == 1);
        // From now on there is a place, but the reply said when to ask again.
        gate.open();
        assert_eq!(result.join().unwrap(), (true, String::new()));
    });
    assert!(begun.elapsed() >= Duration::from_secs(10));
    assert_eq!(count("too many deliveries are waiting"), 1);
    assert_eq!(count("delivery accepted"), 16);
    drop(waiting);
}
