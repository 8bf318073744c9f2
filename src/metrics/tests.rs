//! The output is read back by a small parser of Prometheus' text format, written from its description and
//! sharing nothing with the writer.

use std::collections::BTreeMap;

use super::*;
use crate::delivery::ledger::report;
use crate::stack::StackKey;
use crate::stack::outcome::Outcome;

/// One value: its family's type, its labels, its number.
type Samples = BTreeMap<(String, BTreeMap<String, String>), (String, f64)>;

/// Reads the text format; panics where it is broken.
#[track_caller]
fn parse(text: &str) -> Samples {
    assert!(text.ends_with('\n'), "the last line must end");
    let (mut types, mut helped, mut samples) = (BTreeMap::new(), BTreeMap::new(), Samples::new());
    let mut last_family = String::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').expect("help");
            assert!(
                helped.insert(name.to_owned(), help).is_none(),
                "{name} twice"
            );
            continue;
        }
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').expect("type");
            assert!(["counter", "gauge", "histogram"].contains(&kind), "{kind}");
            assert!(types.insert(name.to_owned(), kind.to_owned()).is_none());
            last_family = name.to_owned();
            continue;
        }
        let (name, labels, value) = sample(line);
        let family = ["_bucket", "_sum", "_count"]
            .iter()
            .find_map(|end| {
                name.strip_suffix(end)
                    .filter(|name| types.get(*name).is_some_and(|kind| kind == "histogram"))
            })
            .unwrap_or(&name);
        assert_eq!(family, last_family, "the lines of a family stand together");
        let kind = types
            .get(family)
            .expect("a type before its samples")
            .clone();
        let new = samples.insert((name.clone(), labels), (kind, value));
        assert!(new.is_none(), "{line} twice");
    }
    samples
}

/// `name{label="value",…} number`, byte by byte.
#[track_caller]
fn sample(line: &str) -> (String, BTreeMap<String, String>, f64) {
    let mut chars = line.chars().peekable();
    let word = |chars: &mut std::iter::Peekable<std::str::Chars<'_>>| {
        let mut word = String::new();
        while let Some(c) = chars.next_if(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | ':')) {
            word.push(c);
        }
        assert!(
            word.chars()
                .next()
                .is_some_and(|first| !first.is_ascii_digit()),
            "{line}"
        );
        word
    };
    let name = word(&mut chars);
    let mut labels = BTreeMap::new();
    if chars.next_if_eq(&'{').is_some() {
        loop {
            let label = word(&mut chars);
            assert_eq!(
                (chars.next(), chars.next()),
                (Some('='), Some('"')),
                "{line}"
            );
            let mut value = String::new();
            loop {
                match chars.next().expect("a value ends") {
                    '"' => break,
                    '\\' => value.push(match chars.next() {
                        Some('n') => '\n',
                        Some(c @ ('\\' | '"')) => c,
                        other => panic!("\\{other:?} in {line}"),
                    }),
                    c => value.push(c),
                }
            }
            assert!(labels.insert(label, value).is_none(), "{line}");
            match chars.next() {
                Some(',') => {}
                Some('}') => break,
                other => panic!("{other:?} in {line}"),
            }
        }
    }
    assert_eq!(chars.next(), Some(' '), "{line}");
    let number: String = chars.collect();
    (name, labels, number.parse().unwrap())
}

fn ended(stack: &str, outcome: Outcome, seconds: f64) -> StackReport {
    let key = StackKey::parse("app").unwrap();
    StackReport {
        stack: stack.to_owned(),
        seconds,
        ..report(&key, "app-stack", outcome, String::new())
    }
}

#[test]
fn renders_every_count() {
    let metrics = Metrics::default();
    metrics.delivery("update", "succeeded");
    metrics.delivery("update", "succeeded");
    metrics.delivery("web", "failed");
    metrics.rejection("mismatch");
    metrics.redeploy(&ended("app", Outcome::Updated, 1.5), 1000);
    metrics.redeploy(&ended("app", Outcome::Unchanged, 0.2), 900);
    metrics.redeploy(&ended("app", Outcome::Failed, 45.0), 2000);
    metrics.redeploy(&ended("db", Outcome::Failed, 4000.0), 2000);
    metrics.success("db", 5);
    metrics.portainer(true);
    let samples = parse(&metrics.render(3, 5000));
    #[track_caller]
    fn check(samples: &Samples, name: &str, labels: &[(&str, &str)], kind: &str, value: f64) {
        let labels = labels
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let found = samples.get(&(name.to_owned(), labels.collect()));
        assert_eq!(found, Some(&(kind.to_owned(), value)), "{name}");
    }
    let version = env!("CARGO_PKG_VERSION");
    check(
        &samples,
        "stackhook_build_info",
        &[("version", version)],
        "gauge",
        1.0,
    );
    let name = "stackhook_deliveries_total";
    check(
        &samples,
        name,
        &[("hook", "update"), ("result", "succeeded")],
        "counter",
        2.0,
    );
    check(
        &samples,
        name,
        &[("hook", "web"), ("result", "failed")],
        "counter",
        1.0,
    );
    check(
        &samples,
        "stackhook_rejections_total",
        &[("reason", "mismatch")],
        "counter",
        1.0,
    );
    check(&samples, "stackhook_deliveries_open", &[], "gauge", 3.0);
    let name = "stackhook_redeploys_total";
    check(
        &samples,
        name,
        &[("stack", "app"), ("outcome", "updated")],
        "counter",
        1.0,
    );
    check(
        &samples,
        name,
        &[("stack", "app"), ("outcome", "unchanged")],
        "counter",
        1.0,
    );
    check(
        &samples,
        name,
        &[("stack", "db"), ("outcome", "failed")],
        "counter",
        1.0,
    );
    let name = "stackhook_redeploy_duration_seconds";
    for (bound, count) in [
        ("1", 1.0),
        ("2", 2.0),
        ("30", 2.0),
        ("60", 3.0),
        ("1800", 3.0),
        ("+Inf", 4.0),
    ] {
        check(
            &samples,
            &format!("{name}_bucket"),
            &[("le", bound)],
            "histogram",
            count,
        );
    }
    check(&samples, &format!("{name}_count"), &[], "histogram", 4.0);
    check(&samples, &format!("{name}_sum"), &[], "histogram", 4046.7);
    let name = "stackhook_last_success_timestamp_seconds";
    check(&samples, name, &[("stack", "app")], "gauge", 1000.0);
    check(&samples, name, &[("stack", "db")], "gauge", 5.0);
    check(&samples, "stackhook_portainer_up", &[], "gauge", 1.0);
}

#[test]
fn counts_a_redeploy_that_takes_exactly_the_upper_bound_of_a_bucket() {
    let metrics = Metrics::default();
    metrics.redeploy(&ended("app", Outcome::Failed, 5.0), 1000);
    let text = metrics.render(0, 5000);
    for (bound, count) in [("2", 0), ("5", 1), ("10", 1)] {
        let line = format!("_bucket{{le=\"{bound}\"}} {count}\n");
        assert!(text.contains(&line), "{line} is not in {text}");
    }
}

#[test]
fn corrects_a_success_that_was_saved_while_the_clock_ran_ahead() {
    let metrics = Metrics::default();
    let last_success = |unix: u64| {
        let text = metrics.render(0, unix);
        let line = text
            .lines()
            .find(|line| line.contains("_success_timestamp_seconds{"));
        line.unwrap().rsplit_once(' ').unwrap().1.to_owned()
    };
    metrics.success("app", 1000 + 365 * 86_400);
    assert_eq!(last_success(1000), "1000");
    assert_eq!(last_success(1500), "1000", "it is corrected once");
    metrics.success("app", 2000);
    assert_eq!(last_success(3000), "2000");
    metrics.success("app", 3030);
    assert_eq!(last_success(3000), "3030", "a small step is not corrected");
}

#[test]
fn renders_no_state_of_portainer_before_its_first_answer() {
    let samples = parse(&Metrics::default().render(0, 5000));
    assert!(
        !samples
            .keys()
            .any(|(name, _)| name == "stackhook_portainer_up")
    );
    assert!(
        samples
            .keys()
            .any(|(name, _)| name == "stackhook_deliveries_open")
    );
}

#[test]
fn escapes_quotes_in_label_values() {
    let metrics = Metrics::default();
    let hostile = "a\"} 1\nstackhook_portainer_up 0\\";
    metrics.delivery(hostile, "failed");
    metrics.redeploy(&ended(hostile, Outcome::Failed, 1.0), 1);
    let samples = parse(&metrics.render(0, 5000));
    let hooks: Vec<&str> = samples
        .keys()
        .filter_map(|(_, labels)| labels.get("hook"))
        .map(String::as_str)
        .collect();
    assert_eq!(hooks, [hostile]);
    assert!(
        !samples
            .keys()
            .any(|(name, _)| name == "stackhook_portainer_up")
    );
}
