//! A sender is one file and one line: no other part of the program names one.

use std::path::Path;

/// The sources that users get, by path, without tests.
fn sources(directory: &Path, found: &mut Vec<(String, String)>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
            continue;
        }
        let name = path
            .to_str()
            .unwrap()
            .replace(env!("CARGO_MANIFEST_DIR"), "");
        if name.contains("tests") || !name.ends_with(".rs") {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let shipped = text.split("#[cfg(test)]").next().unwrap().to_owned();
        found.push((name, shipped));
    }
}

fn modules(list: &str) -> Vec<String> {
    let (_, list) = list.split_once("\nsenders! {\n").unwrap();
    let lines = list.lines().take_while(|line| *line != "}");
    lines
        .map(|line| line.trim().trim_end_matches(',').to_owned())
        .collect()
}

/// Places besides its own file that name a sender. The default sender and the schemes of the same name are not such places.
fn places(module: &str, sources: &[(String, String)]) -> Vec<String> {
    let literal = format!("\"{}\"", module.replace('_', "-"));
    let path = format!("sender::{module}");
    let is_other =
        |name: &str| !name.starts_with("/src/sender/") && !name.starts_with("/src/signature");
    let names = |text: &str| text.contains(&literal) || text.contains(&path);
    let found = sources
        .iter()
        .filter(|(name, text)| is_other(name) && names(text));
    found.map(|(name, _)| name.clone()).collect()
}

#[test]
fn adding_a_sender_takes_one_file_and_one_line() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let list = std::fs::read_to_string(root.join("src/sender.rs")).unwrap();
    let example = std::fs::read_to_string(root.join("stackhook.toml.example")).unwrap();
    let mut all = Vec::new();
    sources(&root.join("src"), &mut all);
    let modules = modules(&list);
    assert!(modules.len() >= 18, "{modules:?}");
    for module in &modules {
        let name = module.replace('_', "-");
        let file = std::fs::read_to_string(root.join(format!("src/sender/{module}.rs"))).unwrap();
        assert!(
            file.contains(&format!("    name: \"{name}\",\n")),
            "{module}"
        );
        let lines = list
            .lines()
            .filter(|line| line.trim() == format!("{module},"))
            .count();
        assert_eq!(lines, 1, "{module}");
        assert_eq!(places(module, &all), [""; 0], "{module} is named elsewhere");
        let listed = example.split(|c: char| !c.is_ascii_alphanumeric() && c != '-');
        assert!(
            listed.clone().any(|word| word == name),
            "{name} is not in the example"
        );
    }
    // The check finds a mistake.
    let planted = [(
        "/src/hook.rs".to_owned(),
        "if name == \"azure-devops\" {}".to_owned(),
    )];
    assert_eq!(places("azure_devops", &planted), ["/src/hook.rs"]);
}
