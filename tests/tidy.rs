//! House rules that no other tool checks: the order of modules, one home for each external crate, and the entries at the top of the
//! repository. Every check is a function over texts, and must find a planted mistake before it reads the real ones.

use std::collections::BTreeMap;
use std::path::Path;

/// External crates and the one module of `src` that may use each, by its path.
const HOMES: &[(&str, &str)] = &[
    ("askama", "site/page"),
    ("base64", "secret"),
    ("getrandom", "secret"),
    ("hex", "secret"),
    ("hmac", "secret"),
    ("httparse", "http"),
    ("pico_args", "cli"),
    ("rustix", "http"),
    ("rustls", "fetch"),
    ("libyaml_safer", "compose"),
    ("sha1", "secret"),
    ("sha2", "secret"),
    ("signal_hook", "commands"),
    ("strsim", "suggest"),
    ("simple_logger", "logging"),
    ("subtle", "secret"),
    ("tiny_http", "http"),
    ("toml", "config"),
    ("ureq", "fetch"),
    ("webpki_roots", "fetch"),
];

/// External crates that may be used everywhere: they only provide vocabulary.
const EVERYWHERE: &[&str] = &["log", "percent_encoding", "serde", "serde_json"];

/// The entries at the top of the repository, besides hidden files.
const TOP: &[&str] = &[
    "Cargo.lock",
    "Cargo.toml",
    "Containerfile",
    "LICENSE",
    "README.md",
    "src",
    "stackhook.toml.example",
    "systemd",
    "tests",
];

/// A file: its path below the directory that was read, with `/`, and its text.
type File = (String, String);

#[test]
fn a_module_uses_only_modules_above_it() {
    let planted = [
        file(
            "lib.rs",
            "mod words;\n#[cfg(test)]\nmod fake;\nmod edges;\n",
        ),
        file("words.rs", "use crate::edges::Edge;\n"),
        file(
            "edges.rs",
            "mod above;\nmod below;\nuse crate::{words::Word, edges::Edge};\n",
        ),
        file(
            "edges/above.rs",
            "use super::{Edge, below::X};\n// use crate::fake::Fake;\n",
        ),
        file(
            "edges/below.rs",
            "use crate::edges::above::X;\n#[cfg(test)]\nmod tests {\n    use crate::fake::Fake;\n}\n",
        ),
    ];
    let found = [
        "edges/above.rs uses edges/below, which stands below it",
        "words.rs uses edges, which stands below it",
    ];
    assert_eq!(uses_from_below(&planted), found);
    assert_eq!(uses_from_below(&sources()), [""; 0]);
}

#[test]
fn an_external_crate_is_used_by_one_module() {
    let planted = [
        file("http.rs", "fn x(r: tiny_http::Request) {}\n"),
        file("http/pool.rs", "use tiny_http::Server;\n"),
        file(
            "site.rs",
            "use tiny_http::Server;\nfn x() { crate::hex::y(); z.toml(); }\n",
        ),
        file("config/file.rs", "use toml::Table; // ureq::get\n"),
        file("config_old.rs", "let t = ::toml::from_str(x);\n"),
        file(
            "health.rs",
            "#[cfg(test)]\nmod tests {\n    use sha2::Digest;\n}\n",
        ),
    ];
    let found = [
        "config_old.rs uses toml, whose home is config",
        "site.rs uses tiny_http, whose home is http",
    ];
    assert_eq!(uses_away_from_home(&planted), found);
    assert_eq!(uses_away_from_home(&sources()), [""; 0]);
}

#[test]
fn every_external_crate_is_in_the_table() {
    let planted = "[dependencies]\nlog = \"0.4\"\npico-args = \"1\"\nrand = \"0.9\"\n\n[dev-dependencies]\nrcgen = \"1\"\n";
    assert_eq!(crates_without_a_place(planted), ["rand"]);
    assert_eq!(crates_without_a_place(&text("Cargo.toml")), [""; 0]);
}

#[test]
fn every_module_has_a_description() {
    let planted = [
        file("good.rs", "//! What it is for.\n\nuse x;\n"),
        file("bad.rs", "use x;\n"),
        file("empty.rs", "//!\n"),
        file("page.html", "<!doctype html>\n"),
    ];
    assert_eq!(silent(&planted), ["bad.rs", "empty.rs"]);
    assert_eq!(silent(&sources()), [""; 0]);
}

#[test]
fn the_top_of_the_repository_has_only_the_expected_entries() {
    let planted = [
        ".ci",
        "Cargo.toml",
        "examples",
        "notes.txt",
        "src",
        "target",
    ];
    assert_eq!(strangers(&planted), ["examples", "notes.txt"]);
    let entries: Vec<String> = std::fs::read_dir(root())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    let entries: Vec<&str> = entries.iter().map(String::as_str).collect();
    assert_eq!(strangers(&entries), [""; 0]);
}

#[test]
fn no_file_contains_a_path_of_a_developers_machine() {
    let planted = [
        file("a.rs", &format!("include!(\"{}main/x\")", MACHINES[0])),
        file("b.rs", "/var/lib/stackhook is no machine's own path\n"),
    ];
    assert_eq!(machine_paths(&planted), ["a.rs"]);
    let mut files = sources();
    files.extend(read(&root().join("tests"), ""));
    files.extend(read(&root().join("systemd"), ""));
    files.extend(read(&root().join(".ci"), ""));
    for name in TOP
        .iter()
        .chain(&[".cargo/static.toml", ".dockerignore", ".gitignore"])
    {
        if root().join(name).is_file() {
            files.push(file(name, &text(name)));
        }
    }
    assert_eq!(machine_paths(&files), [""; 0]);
}

// The checks.

/// Every use of a module below, as `a.rs uses b, which stands below it`, sorted.
fn uses_from_below(files: &[File]) -> Vec<String> {
    // For each module that has children: their names in reading order; the crate itself is "".
    let families: BTreeMap<&str, Vec<String>> = files
        .iter()
        .map(|(path, text)| (module(path), children(text)))
        .collect();
    let mut found = Vec::new();
    for (path, text) in files {
        let own = module(path);
        if own.is_empty() {
            continue;
        }
        for used in uses(own, &shipped(text)) {
            // Below their common ancestor, the used module must be declared above, unless one is an ancestor of the other.
            let (mine, theirs): (Vec<&str>, Vec<&str>) =
                (own.split('/').collect(), used.split('/').collect());
            let common = mine
                .iter()
                .zip(&theirs)
                .take_while(|(one, other)| one == other)
                .count();
            let (Some(me), Some(them)) = (mine.get(common), theirs.get(common)) else {
                continue;
            };
            let family = mine[..common].join("/");
            let place = |name: &str| {
                families
                    .get(family.as_str())?
                    .iter()
                    .position(|child| child == name)
            };
            if let (Some(me), Some(at)) = (place(me), place(them))
                && at > me
            {
                let used = theirs[..=common].join("/");
                found.push(format!("{path} uses {used}, which stands below it"));
            }
        }
    }
    found.sort();
    found.dedup();
    found
}

fn uses_away_from_home(files: &[File]) -> Vec<String> {
    let mut found = Vec::new();
    for (path, text) in files {
        let text = shipped(text);
        for (name, home) in HOMES {
            let own = module(path);
            let at_home = own == *home
                || own
                    .strip_prefix(home)
                    .is_some_and(|rest| rest.starts_with('/'));
            if !at_home && mentions(&text, name) {
                found.push(format!("{path} uses {name}, whose home is {home}"));
            }
        }
    }
    found.sort();
    found
}

fn crates_without_a_place(manifest: &str) -> Vec<String> {
    let (_, rest) = manifest.split_once("[dependencies]\n").unwrap();
    let section = rest.split("\n[").next().unwrap();
    let names = section.lines().filter_map(|line| line.split_once(" = "));
    let placed =
        |name: &str| EVERYWHERE.contains(&name) || HOMES.iter().any(|(own, _)| *own == name);
    names
        .map(|(name, _)| name.replace('-', "_"))
        .filter(|name| !placed(name))
        .collect()
}

fn silent(files: &[File]) -> Vec<String> {
    let silent = |(path, text): &&File| {
        let is_code = path.ends_with(".rs");
        is_code
            && text
                .lines()
                .next()
                .is_none_or(|line| !line.starts_with("//! "))
    };
    paths(files.iter().filter(silent))
}

fn strangers<'a>(entries: &[&'a str]) -> Vec<&'a str> {
    let known = |name: &str| name.starts_with('.') || name == "target" || TOP.contains(&name);
    entries
        .iter()
        .copied()
        .filter(|name| !known(name))
        .collect()
}

/// Split, so that this file does not match.
const MACHINES: [&str; 4] = [
    concat!("/wor", "k/"),
    concat!("/tm", "p/w/"),
    concat!("/roo", "t/"),
    concat!("/hom", "e/"),
];

fn machine_paths(files: &[File]) -> Vec<String> {
    let found = |(_, text): &&File| MACHINES.iter().any(|path| text.contains(path));
    paths(files.iter().filter(found))
}

// The texts that they read.

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn text(name: &str) -> String {
    std::fs::read_to_string(root().join(name)).unwrap()
}

fn file(path: &str, text: &str) -> File {
    (path.to_owned(), text.to_owned())
}

fn paths<'a>(files: impl Iterator<Item = &'a File>) -> Vec<String> {
    files.map(|(path, _)| path.clone()).collect()
}

/// The program's own files, without those that only tests see.
fn sources() -> Vec<File> {
    let mut files = read(&root().join("src"), "");
    assert!(files.len() > 20, "the sources are there");
    let tests: Vec<String> = files
        .iter()
        .flat_map(|(path, text)| {
            let family = module(path);
            let slash = if family.is_empty() { "" } else { "/" };
            test_children(text)
                .into_iter()
                .map(move |child| format!("{family}{slash}{child}"))
        })
        .collect();
    files.retain(|(path, _)| {
        let own = module(path);
        !tests
            .iter()
            .any(|test| own == test || own.starts_with(&format!("{test}/")))
    });
    files
}

/// All text files below a directory, by path.
fn read(directory: &Path, prefix: &str) -> Vec<File> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory).into_iter().flatten() {
        let path = entry.unwrap().path();
        let name = format!("{prefix}{}", path.file_name().unwrap().to_str().unwrap());
        if path.is_dir() {
            files.extend(read(&path, &format!("{name}/")));
        } else if let Ok(text) = std::fs::read_to_string(&path) {
            files.push((name, text));
        }
    }
    files.sort();
    files
}

/// `config/file.rs` is the module `config/file`; `lib.rs` and `main.rs` are the crate itself.
fn module(path: &str) -> &str {
    match path.strip_suffix(".rs").unwrap_or(path) {
        "lib" | "main" => "",
        module => module,
    }
}

/// The code without comment lines and without the test module, which is last in a file.
fn shipped(text: &str) -> String {
    let mut shipped = String::new();
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        if line.trim() == "#[cfg(test)]" {
            match lines.next() {
                Some(declared) if declared.trim_end().ends_with(';') => continue,
                _ => break,
            }
        }
        if !line.trim_start().starts_with("//") {
            let code = line.split("; //").next().unwrap();
            shipped.push_str(code);
            shipped.push('\n');
        }
    }
    shipped
}

/// The modules that a file declares, in order.
fn children(text: &str) -> Vec<String> {
    shipped(text).lines().filter_map(declared).collect()
}

/// The modules that a file declares for tests only.
fn test_children(text: &str) -> Vec<String> {
    let lines: Vec<&str> = text.lines().collect();
    let marked = |two: &&[&str]| two[0].trim() == "#[cfg(test)]";
    lines
        .windows(2)
        .filter(marked)
        .filter_map(|two| declared(two[1]))
        .collect()
}

fn declared(line: &str) -> Option<String> {
    let line = line
        .trim_start_matches("pub(crate) ")
        .trim_start_matches("pub(super) ");
    Some(line.strip_prefix("mod ")?.strip_suffix(';')?.to_owned())
}

/// The modules that a module's text names, each with the full path that is named.
fn uses(own: &str, text: &str) -> Vec<String> {
    let parent = own.rsplit_once('/').map_or("", |(parent, _)| parent);
    let from = |start: &str, base: &str| -> Vec<String> {
        let behind = text
            .match_indices(start)
            .filter(|(at, _)| is_start(text, *at));
        let all = behind.flat_map(|(at, _)| named(&text[at + start.len()..]));
        all.map(|path| [base, &path].join("/").trim_start_matches('/').to_owned())
            .collect()
    };
    let mut all = from("crate::", "");
    all.extend(from("super::", parent));
    all
}

/// Returns whether a path can begin here: not in the middle of a word or of another path.
fn is_start(text: &str, at: usize) -> bool {
    let before = text[..at].chars().next_back();
    !before.is_some_and(|sign| sign.is_alphanumeric() || matches!(sign, '_' | ':' | '.'))
}

/// The paths, joined by `/`, that begin a text; several where there is a group.
fn named(text: &str) -> Vec<String> {
    let word: String = text
        .chars()
        .take_while(|sign| sign.is_alphanumeric() || *sign == '_')
        .collect();
    let rest = &text[word.len()..];
    if !word.is_empty() {
        let deeper = rest.strip_prefix("::").map(named).unwrap_or_default();
        return match deeper.is_empty() {
            true => vec![word],
            false => deeper.iter().map(|path| format!("{word}/{path}")).collect(),
        };
    }
    let Some(group) = rest.strip_prefix('{') else {
        return Vec::new();
    };
    let (mut depth, mut items, mut start) = (0, Vec::new(), 0);
    for (at, sign) in group.char_indices() {
        match sign {
            ',' | '}' if depth == 0 => {
                items.extend(named(group[start..at].trim()));
                start = at + 1;
                if sign == '}' {
                    break;
                }
            }
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
    }
    items
}

/// Returns whether a text uses an external crate: `toml::…` or `use toml;`, not `crate::toml::…` or `x.toml()`.
fn mentions(text: &str, name: &str) -> bool {
    let path = format!("{name}::");
    let outside = |at: usize| {
        let before = text[..at].strip_suffix("::").unwrap_or(&text[..at]);
        !before.ends_with(|sign: char| sign.is_alphanumeric() || matches!(sign, '_' | ':' | '.'))
    };
    text.match_indices(&path).any(|(at, _)| outside(at)) || text.contains(&format!("use {name};"))
}
