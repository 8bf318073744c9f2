//! The numbers: what is counted, and that Prometheus itself reads them and the rules in the documents.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::support::program::{Setup, Stackhook};
use crate::support::shop::{GOOD, SECRET, WEB};
use crate::support::staff::{get, page, shop};

/// The metrics that the program must export, with their types.
const EXPORTED: [(&str, &str); 8] = [
    ("stackhook_build_info", "gauge"),
    ("stackhook_deliveries_total", "counter"),
    ("stackhook_rejections_total", "counter"),
    ("stackhook_deliveries_open", "gauge"),
    ("stackhook_redeploys_total", "counter"),
    ("stackhook_redeploy_duration_seconds", "histogram"),
    ("stackhook_last_success_timestamp_seconds", "gauge"),
    ("stackhook_portainer_up", "gauge"),
];

/// `name{labels} value` → value.
fn samples(text: &str) -> BTreeMap<String, f64> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| {
            let (name, value) = line.rsplit_once(' ').unwrap();
            (name.to_owned(), value.parse().unwrap())
        })
        .collect()
}

#[test]
fn the_numbers_count_what_happened() {
    let (fake, server) = shop();
    fake.world(|world| world.push(WEB, GOOD));
    assert_eq!(server.signed("/webhook/update/", SECRET, "{}").status, 200);
    assert_eq!(
        server
            .signed("/webhook/update/", SECRET, r#"{"event":"ping"}"#)
            .status,
        200
    );
    server.post("/webhook/update/", &[], b"{}");
    page(&server);
    let reply = get(&server, "/metrics");
    assert!(
        reply
            .header("Content-Type")
            .unwrap()
            .starts_with("text/plain; version=0.0.4")
    );
    let samples = samples(reply.text());
    for (name, value) in [
        (
            "stackhook_deliveries_total{hook=\"update\",result=\"succeeded\"}",
            1.0,
        ),
        (
            "stackhook_deliveries_total{hook=\"update\",result=\"ignored\"}",
            1.0,
        ),
        (
            "stackhook_rejections_total{reason=\"missing_signature\"}",
            1.0,
        ),
        ("stackhook_deliveries_open", 0.0),
        (
            "stackhook_redeploys_total{stack=\"shop\",outcome=\"updated\"}",
            1.0,
        ),
        ("stackhook_redeploy_duration_seconds_count", 1.0),
        ("stackhook_portainer_up", 1.0),
    ] {
        assert_eq!(
            samples.get(name),
            Some(&value),
            "{name} in\n{}",
            reply.text()
        );
    }
    assert!(samples["stackhook_last_success_timestamp_seconds{stack=\"shop\"}"] > 1.7e9);
}

#[test]
fn every_number_has_its_agreed_name_with_help_and_type() {
    let (_fake, server) = shop();
    let text = get(&server, "/metrics").text().to_owned();
    let families: Vec<(&str, &str)> = text
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '))
        .collect();
    assert_eq!(families, EXPORTED);
    for (name, _) in EXPORTED {
        let help = format!("# HELP {name} ");
        let said = text.lines().filter_map(|line| line.strip_prefix(&help));
        assert_eq!(said.filter(|help| help.ends_with('.')).count(), 1, "{name}");
    }
}

fn readme() -> String {
    std::fs::read_to_string(
        Path::new(env!("CARGO_MANIFEST_DIR")).join(".github/docs/operations.md"),
    )
    .unwrap()
}

/// The documented alert rules.
fn rules() -> String {
    let readme = readme();
    let blocks = readme.split("```yaml\n").skip(1);
    let mut blocks = blocks.map(|rest| rest.split_once("```").unwrap().0);
    let rules = blocks.find(|block| block.starts_with("groups:")).unwrap();
    rules.to_owned()
}

/// The names of numbers in a text.
fn names(text: &str) -> BTreeSet<String> {
    let is_name = |sign: char| sign.is_ascii_alphanumeric() || sign == '_';
    text.split(|sign: char| !is_name(sign))
        .filter(|word| word.starts_with("stackhook_"))
        .map(str::to_owned)
        .collect()
}

#[test]
fn the_documents_list_every_metric_and_the_rules_use_no_other() {
    let exported: BTreeSet<String> = EXPORTED
        .iter()
        .map(|(name, _)| (*name).to_owned())
        .collect();
    let readme = readme();
    let (_, table) = readme.split_once("| metric | type | meaning |").unwrap();
    let (table, _) = table.split_once("\n\n").unwrap();
    assert_eq!(names(table), exported);
    for (name, kind) in EXPORTED {
        let row = table.lines().find(|row| row.contains(name)).unwrap();
        assert!(row.contains(&format!("| {kind} |")), "{row}");
    }
    let used = names(&rules());
    assert!(used.len() > 3 && used.is_subset(&exported), "{used:?}");
}

/// Runs promtool on files in a directory of its own; what it says when it does not like them.
fn promtool(arguments: &[&str], files: &[(&str, &str)], input: &str) -> Result<(), String> {
    let setup = Setup::new();
    let setup = files
        .iter()
        .fold(setup, |setup, (name, text)| setup.file(name, text));
    let mut promtool = Command::new("promtool")
        .args(arguments)
        .current_dir(setup.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool is installed");
    let mut to = promtool.stdin.take().unwrap();
    to.write_all(input.as_bytes()).unwrap();
    drop(to);
    let output = promtool.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    match output.status.success() {
        true => Ok(()),
        false => Err(String::from_utf8(said).unwrap()),
    }
}

fn happened() -> Stackhook {
    let (fake, server) = shop();
    fake.world(|world| world.push(WEB, GOOD));
    assert_eq!(server.signed("/webhook/update/", SECRET, "{}").status, 200);
    server.post("/webhook/update/", &[], b"{}");
    page(&server);
    server
}

#[test]
#[ignore = "needs promtool"]
fn prometheus_reads_the_numbers() {
    let server = happened();
    let text = get(&server, "/metrics").text().to_owned();
    let check = |text: &str| promtool(&["check", "metrics"], &[], text);
    assert_eq!(check(&text), Ok(()));
    let (one, another) = ("# TYPE stackhook_deliveries_open gauge", "stack=\"shop\"");
    for (from, to) in [
        (one, "# TYPE stackhook_deliveries_open counter"),
        (another, "stack=shop"),
    ] {
        let mistaken = text.replacen(from, to, 1);
        assert_ne!(mistaken, text);
        assert!(
            check(&mistaken).is_err(),
            "{to:?} instead of {from:?} passes"
        );
    }
}

/// Series for each alert rule, some of which fire it.
const FIRES: &str = r#"
rule_files: [rules.yaml]
evaluation_interval: 1m
tests:
  - interval: 1m
    input_series:
      - {series: 'stackhook_build_info{version="1"}', values: '1x60'}
      - {series: 'stackhook_portainer_up', values: '1x60'}
      - {series: 'stackhook_redeploys_total{stack="old",outcome="failed"}', values: '0x30 1x30'}
      - {series: 'stackhook_redeploys_total{stack="new",outcome="failed"}', values: '_x30 1x30'}
      - {series: 'stackhook_redeploys_total{stack="new",outcome="updated"}', values: '0+1x60'}
    alert_rule_test:
      - {eval_time: 29m, alertname: StackUpdateFailed, exp_alerts: []}
      - eval_time: 35m
        alertname: StackUpdateFailed
        exp_alerts:
          - exp_labels: {stack: old, outcome: failed}
            exp_annotations: {summary: "old: an update ended as failed"}
          - exp_labels: {stack: new, outcome: failed}
            exp_annotations: {summary: "new: an update ended as failed"}
      - {eval_time: 59m, alertname: StackUpdateFailed, exp_alerts: []}
      - {eval_time: 59m, alertname: PortainerUnreachable, exp_alerts: []}
      - {eval_time: 59m, alertname: StackhookDown, exp_alerts: []}
  - interval: 1m
    input_series:
      - {series: 'stackhook_portainer_up', values: '0x20'}
      - {series: 'stackhook_last_success_timestamp_seconds{stack="shop"}', values: '-604000x20'}
    alert_rule_test:
      - eval_time: 10m
        alertname: PortainerUnreachable
        exp_alerts: [{exp_annotations: {summary: "stackhook cannot reach Portainer"}}]
      - eval_time: 10m
        alertname: StackhookDown
        exp_alerts: [{exp_annotations: {summary: "stackhook is not running"}}]
      - {eval_time: 10m, alertname: NoSuccessSince, exp_alerts: []}
      - eval_time: 15m
        alertname: NoSuccessSince
        exp_alerts:
          - exp_labels: {stack: shop}
            exp_annotations: {summary: "shop has not been updated for a week"}
"#;

#[test]
#[ignore = "needs promtool"]
fn the_rules_of_readme_fire_when_they_should() {
    let check = |rules: &str| {
        let files = [("rules.yaml", rules), ("fires.yaml", FIRES)];
        promtool(&["check", "rules", "rules.yaml"], &files, "")?;
        promtool(&["test", "rules", "fires.yaml"], &files, "")
    };
    let rules = rules();
    assert_eq!(check(&rules), Ok(()));
    for (from, to) in [
        ("== 0", "== 1"),
        ("expr: time()", "expr: tim()"),
        ("unless", "and"),
    ] {
        let mistaken = rules.replacen(from, to, 1);
        assert_ne!(mistaken, rules);
        assert!(
            check(&mistaken).is_err(),
            "{to:?} instead of {from:?} passes"
        );
    }
}
