//! The page is valid HTML in every state: syntax and nesting by Debian's tidy, and what tidy leaves alone (names that are there once, and
//! that are there for their references) by a look of our own. Needs tidy, so it runs only when it is asked for, as `.ci/run` does.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::process::{Command, Stdio};

use crate::support::fake::{Behaviour, Era};
use crate::support::shop::{self, QUICK, SECRET, WEB, pull_held};
use crate::support::staff::{page, press, press_once, serve, shop, wait_for};

/// The problems of a page.
fn wrong(page: &str) -> Vec<String> {
    let mut wrong = tidy(page);
    wrong.extend(names(page));
    wrong
}

/// The complaints of tidy.
fn tidy(page: &str) -> Vec<String> {
    // This version of tidy does not know headings in a summary, which HTML allows.
    let page: String = page
        .split_inclusive('\n')
        .map(|line| match line.contains("<summary><h3>") {
            true => line.replace("h3>", "b>"),
            false => line.to_owned(),
        })
        .collect();
    let mut tidy = Command::new("tidy")
        // Places that a script fills are empty on purpose.
        .args(["-quiet", "-errors", "-utf8", "--drop-empty-elements", "no"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("tidy is installed");
    let mut to = tidy.stdin.take().unwrap();
    to.write_all(page.as_bytes()).unwrap();
    drop(to);
    let output = tidy.wait_with_output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    let mut wrong: Vec<String> = said.lines().map(str::to_owned).collect();
    if wrong.is_empty() && !output.status.success() {
        wrong.push(format!("tidy ended with {}", output.status));
    }
    wrong
}

/// Names that are there twice, or not there for their references; fields without a label, and a page without its headings.
fn names(page: &str) -> Vec<String> {
    let tags = tags(page);
    let mut ids: BTreeMap<&str, u32> = BTreeMap::new();
    for (_, attributes) in &tags {
        if let Some(id) = attributes.get("id") {
            *ids.entry(id).or_default() += 1;
        }
    }
    let twice = ids.iter().filter(|(_, times)| **times > 1);
    let mut wrong: Vec<String> = twice
        .map(|(id, _)| format!("{id} is there twice"))
        .collect();
    let mut labelled = Vec::new();
    for (tag, attributes) in &tags {
        for reference in ["for", "aria-labelledby", "data-copy", "href"] {
            let name = attributes.get(reference).map(String::as_str);
            let name = match reference {
                "href" => name.and_then(|name| name.strip_prefix('#')),
                _ => name,
            };
            if name.is_some_and(|name| !ids.contains_key(name)) {
                wrong.push(format!("{tag} {reference} leads nowhere: {name:?}"));
            }
        }
        if tag == "label" {
            labelled.extend(attributes.get("for").map(String::as_str));
        }
    }
    for (tag, attributes) in &tags {
        let hidden = attributes.get("type").is_some_and(|kind| kind == "hidden");
        let id = attributes.get("id").map_or("", String::as_str);
        if tag == "input" && !hidden && !labelled.contains(&id) {
            wrong.push(format!("the field {id:?} has no label"));
        }
        if tag == "section" && !attributes.contains_key("aria-labelledby") {
            wrong.push("a section has no heading".to_owned());
        }
    }
    wrong
}

/// All opening tags with their attributes. Values are always in double quotes, and escaped.
fn tags(page: &str) -> Vec<(String, BTreeMap<String, String>)> {
    let mut tags = Vec::new();
    let mut rest = page;
    while let Some((_, after)) = rest.split_once('<') {
        let end = if after.starts_with("style") || after.starts_with("script") {
            after.find("</").unwrap()
        } else {
            after.find('>').unwrap()
        };
        let (tag, next) = after.split_at(end);
        rest = next;
        let name: String = tag
            .chars()
            .take_while(char::is_ascii_alphanumeric)
            .collect();
        let mut attributes = BTreeMap::new();
        let mut inside = tag;
        while let Some((before, value)) = inside.split_once("=\"") {
            let attribute = before.rsplit([' ', '\n']).next().unwrap();
            let (value, next) = value.split_once('"').unwrap();
            attributes.insert(attribute.to_owned(), value.to_owned());
            inside = next;
        }
        if !name.is_empty() && name != "style" && name != "script" {
            tags.push((name, attributes));
        }
    }
    tags
}

#[track_caller]
fn is_valid(page: &str) {
    assert_eq!(wrong(page), [""; 0], "{page}");
}

/// These words instead of those make it invalid.
#[track_caller]
fn notices(page: &str, from: &str, to: &str) {
    let mistaken = page.replacen(from, to, 1);
    assert_ne!(mistaken, page, "{from:?} is not on the page");
    assert_ne!(
        wrong(&mistaken),
        [""; 0],
        "{to:?} instead of {from:?} passes"
    );
}

#[test]
#[ignore = "needs tidy"]
fn the_page_is_valid_from_the_first_visit_to_the_rollback() {
    let (fake, server) = shop();
    let first = wait_for(&server, "Portainer answers");
    assert!(first.contains("First steps"));
    is_valid(&first);
    // Whether the check would notice.
    notices(&first, "</article>", "");
    notices(&first, "</p>", "</p></p>");
    notices(&first, "id=\"webhooks\"", "id=\"stacks\"");
    notices(&first, "for=\"url-update\"", "for=\"url-updat\"");
    notices(&first, "<label for=\"url-update\">", "<label>");
    notices(&first, "href=\"#deliveries\"", "href=\"#delivery\"");
    notices(&first, "<section aria-labelledby=\"stacks\">", "<section>");
    notices(&first, "<main ", "<main color=red ");
    notices(&first, "<title>", "<titel>");

    let pull = pull_held(&fake);
    press(&server, "update", "shop");
    is_valid(&wait_for(&server, "pulling ghcr.io"));
    pull.open();
    is_valid(&wait_for(&server, "1 of 2 services updated, all healthy"));
    fake.heal();
    let every = std::time::Duration::from_millis(1);
    fake.world(|world| world.push(WEB, Behaviour::CrashLoop { every, code: 3 }));
    assert_eq!(server.signed("/webhook/update/", SECRET, "{}").status, 502);
    let failed = wait_for(&server, "Last lines of the log of web");
    is_valid(&failed);
    press(&server, "rollback", "shop");
    is_valid(&wait_for(
        &server,
        "is not deployed again until something newer arrives",
    ));
    let dry = press_once(&server, "update", "shop");
    let dry = if dry.contains("Nothing was changed") {
        dry
    } else {
        wait_for(&server, "Nothing was changed")
    };
    assert!(dry.contains("Nothing was changed"));
    is_valid(&dry);
    is_valid(&press(&server, "pause", "shop"));
}

#[test]
#[ignore = "needs tidy"]
fn the_page_is_valid_with_hostile_names_and_without_portainer() {
    let hostile = "<img src=x onerror=\"alert(1)\"></div> & 'x'";
    let mut fake = shop::portainer(Era::A);
    fake.world(|world| {
        let file = format!("services:\n  web:\n    image: {WEB}\n");
        world.compose_stack(hostile, &file, &[]);
    });
    let file = format!(
        "{QUICK}\n[[stack]]\nkey = \"evil\"\nname = '''{hostile}'''\n\
         [[hook]]\nname = \"git\"\nsender = \"github\"\nsecret = \"another-secret-of-the-tests\"\nbranches = [\"<b>\"]\n"
    );
    let server = serve(&fake, &file);
    server.post("/webhook/update/git/", &[], b"{}");
    let seen = wait_for(&server, "onerror=");
    assert!(seen.contains("The last rejected requests"));
    is_valid(&seen);
    fake.go_down();
    press(&server, "test", "");
    let away = page(&server);
    assert!(away.contains("Portainer cannot be reached"), "{away}");
    is_valid(&away);
}
