//! The example at the top of the repository: it loads, it is complete, and the defaults that it shows are the real ones.

use super::Place;
use crate::config::schema::SECTIONS;
use crate::config::{ConfigScope, Loaded};

const EXAMPLE: &str = include_str!("../../../stackhook.toml.example");

/// Loads the example with secret files that exist here; with `defaults` its `#=` lines are active.
fn load(defaults: bool) -> (Place, Loaded) {
    let place = Place::new();
    let mut text = EXAMPLE.replace("/run/secrets/", "secrets/");
    if defaults {
        text = text.replace("#= ", "");
        text = text
            .replace(
                "[notify]\n",
                "[notify]\nurl = \"https://ntfy.example.com/x\"\n",
            )
            .replace("# [notify]", "[notify]");
    }
    for name in [
        "portainer_api_key",
        "webhook_secret",
        "registry_secret",
        "staff_password",
    ] {
        place.write(&format!("secrets/{name}"), format!("{name}-0123456789\n"));
    }
    place.write("stackhook.toml", text);
    let loaded = place.loaded(ConfigScope::Serve);
    (place, loaded)
}

#[test]
fn the_example_loads_without_warnings() {
    let (_place, loaded) = load(false);
    assert_eq!(loaded.warnings, Vec::<String>::new());
    assert_eq!(loaded.config.hooks.len(), 2);
}

#[test]
fn the_defaults_in_the_example_are_the_real_ones() {
    let (place, plain) = load(false);
    let (other, mut active) = load(true);
    active.config.notify.clear();
    // Paths differ by the directory alone.
    let printed = |place: &Place, loaded: &Loaded| place.plain(&format!("{:#?}", loaded.config));
    assert_eq!(printed(&place, &plain), printed(&other, &active));
    let mut compared = 0;
    for row in &active.shown {
        let Some(own) = plain.shown.iter().find(|own| own.key == row.key) else {
            assert!(row.key.starts_with("notify."), "{}", row.key);
            continue;
        };
        assert_eq!(own.value, row.value, "{}", row.key);
        compared += usize::from(own.source == "default" && row.source != "default");
    }
    let marked = EXAMPLE
        .lines()
        .filter(|line| line.starts_with("#= "))
        .count();
    // The name of a hook is not a row of its own, and the section of notices is not there by default.
    assert_eq!(compared, marked - 2, "every marked line was compared");
    assert!(
        active
            .shown
            .iter()
            .any(|row| row.key == "notify.format" && row.value == "json")
    );
}

#[test]
fn the_example_contains_every_key() {
    let mut section = "";
    let mut found: Vec<(String, String)> = Vec::new();
    for line in EXAMPLE.lines() {
        let line = line.trim_start_matches("#= ").trim_start_matches("# ");
        let header = line.trim_matches(['[', ']']);
        if line.starts_with('[') && SECTIONS.iter().any(|(kind, _)| *kind == header) {
            section = header;
        } else if let Some((key, _)) = line.split_once(" = ") {
            found.push((section.to_owned(), key.to_owned()));
        }
    }
    for (section, keys) in SECTIONS {
        for key in keys().iter() {
            let is_section = SECTIONS
                .iter()
                .any(|(kind, _)| kind.rsplit('.').next() == Some(key));
            let here = found.iter().any(|(of, its)| of == section && its == key);
            assert!(
                here || is_section,
                "{section}.{key} is missing in stackhook.toml.example"
            );
        }
    }
    for (section, key) in &found {
        let known = SECTIONS
            .iter()
            .any(|(of, keys)| of == section && keys().contains(&key.as_str()));
        assert!(known, "{section}.{key} is not a key");
    }
}

#[test]
fn every_key_checks_its_type() {
    for (section, keys) in SECTIONS {
        for key in keys().iter() {
            let place = Place::new();
            let header = match *section {
                "" => "",
                "stack" => "[[stack]]\n",
                "hook" => "[[hook]]\n",
                "hook.payload" => "[[hook]]\n[hook.payload]\n",
                "portainer" => "[portainer]\n",
                "notify" => "[notify]\n",
                _ => "[staff]\n",
            };
            place.write("stackhook.toml", format!("{header}{key} = 2020-01-01\n"));
            let problems = place.problems(ConfigScope::Show);
            assert!(
                problems.contains(&format!("{key}: expected ")),
                "{section}.{key}: {problems}"
            );
        }
    }
}
