//! The verdicts of compose-go 2.0.2, 2.9.0 and 2.16.2 on small files, loaded as Portainer loads a stack named `shop` with
//! its variables in an env file. A row holds name, variables, file, and the verdict or, where they differ, that of each
//! release: `refused`, or service, image and everything unusual about the service.

use super::*;

/// Rows for which this reader is not certain although every release of compose loads the file, in per cent.
const NOT_CERTAIN_MAX: usize = 9;

struct Row {
    name: String,
    variables: BTreeMap<String, String>,
    file: String,
    verdicts: Vec<String>,
}

fn rows() -> Vec<Row> {
    let table = include_str!("../../../tests/compose_verdicts.jsonl");
    table
        .lines()
        .map(|line| {
            let (name, variables, file, verdict): (_, _, _, serde_json::Value) =
                serde_json::from_str(line).unwrap();
            let verdicts = match verdict {
                serde_json::Value::String(verdict) => vec![verdict],
                several => serde_json::from_value(several).unwrap(),
            };
            Row {
                name,
                variables,
                file,
                verdicts,
            }
        })
        .collect()
}

/// The spec in the form of the table.
fn verdict(spec: &ComposeSpec) -> String {
    let services = spec.services.iter().map(|(name, service)| {
        let image = service.image.as_ref();
        let mut text = format!(
            "{name} {}",
            image.map_or("-".to_owned(), ToString::to_string)
        );
        let built = service.source == ImageSource::RegistryOrBuild;
        for (shown, word) in [(built, "built"), (service.optional, "optional")] {
            if shown {
                text.push_str(&format!(" {word}"));
            }
        }
        text
    });
    services.collect::<Vec<_>>().join(", ")
}

/// A verdict of the table in the words of [`verdict`]: `built` where neither the policy nor a missing image makes it clear
/// that the image is never pulled.
fn comparable(verdict: &str) -> String {
    let service = |service: &str| {
        let words: Vec<&str> = service.split(' ').collect();
        let (names, marks) = words.split_at(2);
        let is_host_policy = marks.contains(&"never") || marks.contains(&"policy=build");
        let mut text = names.join(" ");
        for (shown, word) in [
            (marks.contains(&"build") && !is_host_policy, "built"),
            (marks.contains(&"optional"), "optional"),
            (marks.contains(&"volume-images"), "volume-images"),
        ] {
            if shown {
                text.push_str(&format!(" {word}"));
            }
        }
        text
    };
    verdict
        .split(", ")
        .map(service)
        .collect::<Vec<_>>()
        .join(", ")
}

#[test]
fn agrees_with_every_release_of_compose_where_it_is_certain() {
    let rows = rows();
    assert!(rows.len() >= 150);
    let (mut wrong, mut loaded, mut not_certain) = (Vec::new(), 0, Vec::new());
    for row in &rows {
        let variables = Variables::for_compose("shop", &row.variables, &BTreeMap::new());
        let read = read(&row.file, &variables);
        let all_refuse = row.verdicts.iter().all(|verdict| verdict == "refused");
        let none_refuses = row.verdicts.iter().all(|verdict| verdict != "refused");
        loaded += usize::from(none_refuses);
        match read {
            Ok(spec) => {
                let ours = verdict(&spec);
                let agrees = row
                    .verdicts
                    .iter()
                    .filter(|verdict| *verdict != "refused")
                    .all(|verdict| comparable(verdict) == ours);
                if all_refuse || !agrees || !(none_refuses || may_be_refused(&row.name)) {
                    wrong.push(format!(
                        "{}: {ours} instead of {:?}",
                        row.name, row.verdicts
                    ));
                }
            }
            Err(why) => {
                if why.is_refused_by_compose() && !all_refuse {
                    wrong.push(format!(
                        "{}: refused ({why}), not {:?}",
                        row.name, row.verdicts
                    ));
                }
                // Spellings that many stacks have.
                assert!(!row.name.starts_with("usual "), "{}: {why}", row.name);
                if none_refuses {
                    not_certain.push(format!("{}: {why}", row.name));
                }
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "{} disagree:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    let share = not_certain.len() * 100 / loaded;
    println!("not certain: {} of {loaded} ({share} %)", not_certain.len());
    assert!(
        share <= NOT_CERTAIN_MAX,
        "{share} %:\n{}",
        not_certain.join("\n")
    );
}

/// Policies and keys that 2.0.2 does not know: a stack with one of them runs on a newer release.
fn may_be_refused(name: &str) -> bool {
    name.starts_with("policy ") || name.starts_with("newer ")
}
