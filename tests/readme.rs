//! Checks the documents against the program: names that exist, links that have a target, commands that work as printed. Every
//! check is a function over texts, and must find a planted mistake before it reads the real texts.

mod markdown;
mod tried;
mod recipes;

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use markdown::{anchors, blocks, calls, links, spans, table_under, variables};

use super::support::fake::{Behaviour, Era, Fake};
use super::support::program::{Setup, Stackhook};

const SECRET: &str = "sentinel-secret-of-the-readme";
/// Healthy at its first health check, to keep the tests short.
const GOOD: Behaviour = Behaviour::Healthy {
    after: Duration::from_millis(50),
};
const IMAGE: &str = "ghcr.io/acme/web:1";
const FILE: &str = "
services:
  web:
    image: ghcr.io/acme/web:1
    healthcheck:
      test: [\"CMD\", \"/web\", \"health\"]
      interval: 100ms
  db:
    image: docker.io/library/postgres:17
";

/// Every document, by its path in the repository; the change log is history and not checked.
const DOCUMENTS: &[&str] = &[
    "README.md",
    "systemd/README.md",
    "tests/README.md",
    "tests/bench/README.md",
    ".github/CONTRIBUTING.md",
    ".github/SECURITY.md",
    ".github/docs/configuration.md",
    ".github/docs/migrating.md",
    ".github/docs/operations.md",
    ".github/docs/portainer.md",
    ".github/docs/recipes.md",
    ".github/docs/security.md",
    ".github/docs/senders.md",
    ".github/docs/troubleshooting.md",
];

fn file(name: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap()
}

/// The text of all documents, one after the other.
pub(crate) fn documents() -> String {
    let texts: Vec<String> = DOCUMENTS.iter().map(|name| file(name)).collect();
    texts.join("\n")
}

/// Finds a mistake in each planted text and none in the real one.
#[track_caller]
fn check(wrong: impl Fn(&str) -> Vec<String>, planted: &[(&str, &str)]) {
    let readme = documents();
    for (from, to) in planted {
        let mistaken = readme.replacen(from, to, 1);
        assert_ne!(mistaken, readme, "{from:?} is not in the documents");
        assert_ne!(
            wrong(&mistaken),
            [""; 0],
            "{to:?} instead of {from:?} passes"
        );
    }
    assert_eq!(wrong(&readme), [""; 0]);
}

/// Names that only one of two sets has.
fn differences(
    here: &str,
    one: &BTreeSet<String>,
    there: &str,
    other: &BTreeSet<String>,
) -> Vec<String> {
    let only = |name: &String, place: &str| format!("{name} is only in {place}");
    let mut all: Vec<String> = one.difference(other).map(|name| only(name, here)).collect();
    all.extend(other.difference(one).map(|name| only(name, there)));
    all
}

#[test]
fn every_dependency_is_listed_with_a_reason() {
    let manifest: toml::Table = toml::from_str(&file("Cargo.toml")).unwrap();
    let needed: BTreeSet<String> = ["dependencies", "dev-dependencies"]
        .iter()
        .flat_map(|kind| manifest[*kind].as_table().unwrap().keys().cloned())
        .collect();
    let wrong = |readme: &str| {
        let rows = table_under(readme, "| dependency | why |");
        let told = rows.iter().flat_map(|row| spans(&row[0])).collect();
        let mut all = differences("Cargo.toml", &needed, "the documents", &told);
        let bare = rows.iter().filter(|row| row[1].is_empty());
        all.extend(bare.map(|row| format!("{} has no reason", row[0])));
        all
    };
    check(
        wrong,
        &[
            ("| `hex` |", "| `hexx` |"),
            (
                "| `subtle` | comparison in constant time |",
                "| `subtle` | |",
            ),
            ("| `hmac`, `sha2` |", "| `hmac` |"),
        ],
    );
}

#[test]
fn variables_in_the_documents_and_in_the_program_are_the_same() {
    let known: BTreeSet<String> = variables(&file("src/config/env.rs"))
        .into_iter()
        // The beginning of names that carry a key.
        .filter(|name| !name.ends_with('_'))
        .collect();
    // Of those that may also be named in a file, the program's own table has the plain name only.
    let secrets = ["API_KEY", "PASSWORD", "SECRET", "NOTIFY_URL"];
    let with_file = known.iter().flat_map(|name| {
        let also = secrets.iter().any(|end| name.ends_with(end));
        [name.clone()]
            .into_iter()
            .chain(also.then(|| format!("{name}_FILE")))
    });
    let known: BTreeSet<String> = with_file.collect();
    let wrong = |readme: &str| {
        let mut told = variables(readme);
        told.retain(|name| {
            name == "PORTAINER_STACK_NAME" || !name.starts_with("PORTAINER_STACK_NAME_")
        });
        differences("the program", &known, "the documents", &told)
    };
    check(
        wrong,
        &[
            ("PORTAINER_STACK_NAME=shop", "PORTAINER_STACKNAME=shop"),
            ("| `PORTAINER_ENVIRONMENT` |", "| `PORTAINER_ENVIRONMEMT` |"),
            ("| `PORTAINER_TIMEOUT` |", "| |"),
        ],
    );
}

#[test]
fn the_program_knows_every_documented_variable() {
    let mut setup = Setup::new();
    for name in variables(&documents()) {
        if name != "STACKHOOK_CONFIG" {
            setup = setup.env(&name, &format!("value-of-{name}"));
        }
    }
    let unknown = |setup: &Setup| {
        setup
            .run(&["show-config"])
            .stderr
            .contains("unknown variable")
    };
    assert!(!unknown(&setup), "{:?}", setup.run(&["show-config"]));
    assert!(unknown(&setup.env("PORTAINER_STACKNAME", "shop")));
}

#[test]
fn commands_in_the_documents_and_in_the_help_are_the_same() {
    let setup = Setup::new();
    let help = |arguments: &[&str]| setup.run(arguments).stdout;
    let program = help(&["--help"]);
    let commands: BTreeSet<String> = program
        .lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .take_while(|line| !line.is_empty())
        .map(|line| line.split_whitespace().next().unwrap().to_owned())
        .collect();
    assert!(commands.contains("serve"), "{program}");
    let wrong = |readme: &str| {
        let calls = calls(readme);
        let told = calls.iter().map(|(command, _)| command.clone()).collect();
        let mut all = differences("the program's help", &commands, "the documents", &told);
        for (command, options) in calls
            .iter()
            .filter(|(command, _)| commands.contains(command))
        {
            let help = help(&[command, "--help"]) + &program;
            let unknown = options
                .iter()
                .filter(|option| !help.contains(option.as_str()));
            all.extend(unknown.map(|option| format!("{command} knows no {option}")));
        }
        all
    };
    check(
        wrong,
        &[
            ("stackhook serve &", "stackhook server &"),
            ("redeploy --dry-run", "redeploy --dryrun"),
            ("redeploy --quiet", "redeploy --silent"),
            ("| `stackhook healthcheck` |", "| |"),
        ],
    );
}

#[test]
fn senders_in_the_documents_and_in_the_program_are_the_same() {
    let setup = Setup::new().env("PORTAINER_WEBHOOK_SENDER", "none-such");
    let message = setup.run(&["show-config"]).stderr;
    let (_, names) = message
        .split_once("PORTAINER_WEBHOOK_SENDER: expected ")
        .unwrap();
    let names = names.lines().next().unwrap().replace(" or ", ", ");
    let known: BTreeSet<String> = names.split(", ").map(str::to_owned).collect();
    assert!(known.contains("github"), "{message}");
    let wrong = |text: &str| {
        let rows = table_under(
            text,
            "| sender | authentication | events that act by default | notes |",
        );
        let listed = rows
            .iter()
            .flat_map(|row| spans(&row[0]))
            .collect::<Vec<_>>();
        // `curl` is an example of a caller.
        let listed = listed.into_iter().filter(|name| name != "curl").collect();
        differences("the program", &known, "the documents", &listed)
    };
    check(
        wrong,
        &[("| `nexus` |", "| `nexsus` |"), ("`forgejo`, ", "")],
    );
}

#[test]
fn the_test_command_is_in_a_code_block() {
    let wrong = |readme: &str| {
        let found = blocks(readme, "sh")
            .iter()
            .any(|block| block == "cargo test\n");
        if found {
            vec![]
        } else {
            vec!["no block says cargo test".to_owned()]
        }
    };
    check(wrong, &[("```sh\ncargo test\n", "```sh\ncargo tests\n")]);
}

#[test]
fn every_link_has_a_target() {
    let planted = [
        (
            "README.md",
            "(.github/docs/portainer.md#which-releases)",
            "(.github/docs/portainer.md#releases)",
        ),
        (
            "README.md",
            "(stackhook.toml.example)",
            "(stackhook.example)",
        ),
        (".github/docs/portainer.md", "## Rights\n", "## Right\n"),
        (
            "systemd/README.md",
            "(stackhook.service.d/no-file.conf)",
            "(no-file.conf)",
        ),
    ];
    for (name, from, to) in planted {
        let read = |other: &str| {
            let text = file(other);
            if other == name {
                text.replacen(from, to, 1)
            } else {
                text
            }
        };
        assert_ne!(read(name), file(name), "{from:?} is not in {name}");
        assert_ne!(dead_links(&read), [""; 0], "{to:?} in {name} passes");
    }
    assert_eq!(dead_links(&file), [""; 0]);
}

/// Links to files or headings that do not exist, over all documents.
fn dead_links(read: &dyn Fn(&str) -> String) -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let is_dead = |document: &str, link: &str| {
        let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
        let target = if path.is_empty() {
            document.to_owned()
        } else {
            normalize(&Path::new(document).parent().unwrap().join(path))
        };
        if !root.join(&target).exists() {
            return true;
        }
        !anchor.is_empty() && !anchors(&read(&target)).contains(anchor)
    };
    let mut dead = Vec::new();
    for document in DOCUMENTS {
        for link in links(&read(document)) {
            if is_dead(document, &link) {
                dead.push(format!("{document}: {link}"));
            }
        }
    }
    dead
}

/// Resolves `..` without the file system.
fn normalize(path: &Path) -> String {
    let mut parts: Vec<String> = Vec::new();
    for part in path.components() {
        let part = part.as_os_str().to_string_lossy().into_owned();
        if part == ".." {
            parts.pop();
        } else {
            parts.push(part);
        }
    }
    parts.join("/")
}

#[test]
fn documents_keep_their_maximum_length() {
    for name in DOCUMENTS {
        let lines = file(name).lines().count();
        let most = if *name == "README.md" { 400 } else { 300 };
        assert!(lines <= most, "{name} has {lines} lines");
    }
}

/// The variable parts of a message are written as "…".
#[test]
fn every_message_in_the_troubleshooting_page_is_in_the_source() {
    let mut source = String::new();
    read_sources(
        &Path::new(env!("CARGO_MANIFEST_DIR")).join("src"),
        &mut source,
    );
    let wrong = |readme: &str| {
        let rows = table_under(readme, "| message | what helps |");
        assert!(rows.len() > 20, "{rows:?}");
        let parts = rows.iter().flat_map(|row| spans(&row[0]));
        let parts =
            parts.flat_map(|message| message.split('…').map(str::to_owned).collect::<Vec<_>>());
        parts
            .map(|part| part.trim_matches(['"', ' ', ';', ':']).to_owned())
            .filter(|part| !source.contains(part))
            .collect()
    };
    check(
        wrong,
        &[
            ("cannot be resolved`", "is not resolved`"),
            ("; Portainer has: …`", "; Portainer owns: …`"),
        ],
    );
}

fn shop() -> Fake {
    let portainer = Fake::start(Era::A);
    portainer.world(|world| {
        world.push(IMAGE, GOOD);
        world.push("postgres:17", Behaviour::Runs);
        world.compose_stack("shop", FILE, &[]);
    });
    portainer
}

fn serve(portainer: &Fake) -> Stackhook {
    Setup::with(portainer)
        .env("PORTAINER_STACK_NAME", "shop")
        .env("PORTAINER_WEBHOOK_SECRET", SECRET)
        .serve()
}

/// The program's code, without comments and tests; texts over several lines are on one, quotes as they are printed.
fn read_sources(directory: &Path, into: &mut String) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.file_stem().unwrap() == "tests" {
            continue;
        }
        if path.is_dir() {
            read_sources(&path, into);
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let shipped = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
        let code: Vec<&str> = shipped
            .lines()
            .filter(|line| !line.trim_start().starts_with("//"))
            .collect();
        let code = code.join("\n");
        let mut parts = code.split("\\\n");
        into.push_str(parts.next().unwrap_or_default());
        parts.for_each(|part| into.push_str(part.trim_start()));
    }
    *into = into.replace("\\\"", "\"");
}
