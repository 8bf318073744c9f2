//! The jobs for pipelines are taken out of README.md by a parser of their format and run by a shell, as the pipeline would.

use std::process::Command;

use yaml_serde::Value;

use super::{GOOD, SECRET, blocks, file, serve, shop};
use crate::support::program::Stackhook;

/// The scripts, by what they are for.
fn scripts() -> Vec<(&'static str, String)> {
    let readme = file("README.md");
    let block = |language: &str, words: &str| {
        let found = blocks(&readme, language);
        let found: Vec<&String> = found.iter().filter(|block| block.contains(words)).collect();
        assert_eq!(found.len(), 1, "{language} with {words:?}");
        found[0].clone()
    };
    let yaml = |words: &str| -> Value { yaml_serde::from_str(&block("yaml", words)).unwrap() };
    let text = |value: &Value| value.as_str().unwrap().to_owned();

    let actions = yaml("runs-on:");
    let job = &actions["jobs"]["redeploy"];
    let variables = job["steps"][0]["env"].as_mapping().unwrap();
    assert_eq!(variables.len(), 2, "{variables:?}");
    let gitlab = yaml("timeout: 45m");
    let jenkins = block("groovy", "stage(");
    let jenkins = jenkins.split("'''").nth(1).unwrap();
    vec![
        ("cron", block("text", "set -eu")),
        ("GitHub Actions", text(&job["steps"][0]["run"])),
        ("GitLab CI", text(&gitlab["redeploy"]["script"][0])),
        // What Groovy makes of a string between three quotes.
        ("Jenkins", jenkins.replace("\\\\", "\\")),
    ]
}

/// Whether the script went well, and what it said.
fn run(server: &Stackhook, script: &str, secret: &str) -> (bool, String) {
    let url = format!("http://{}/webhook/update/", server.address);
    // GitLab, GitHub and Jenkins all stop at the first command that fails.
    let output = Command::new("sh")
        .args(["-e", "-c", script])
        .current_dir(server.setup().path())
        .env("WEBHOOK_SECRET", secret)
        .env("WEBHOOK_URL", url)
        .output()
        .unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(text).unwrap())
}

#[test]
fn every_job_redeploys_and_is_red_when_it_could_not() {
    let portainer = shop();
    let server = serve(&portainer);
    for (name, script) in scripts() {
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
fn all_jobs_are_the_same_script() {
    let lines = |script: &str| -> Vec<String> {
        let lines = script
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty());
        lines.map(str::to_owned).collect()
    };
    let scripts = scripts();
    for (name, script) in &scripts {
        assert_eq!(lines(script), lines(&scripts[0].1), "{name}");
    }
}
