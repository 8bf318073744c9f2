//! Every sender: a missing, a misplaced and a wrong secret each leave a log line that names the fix, and nothing in the reply.

use crate::support::fake::Era;
use crate::support::program::{Setup, Stackhook};
use crate::support::shop;

/// The names of all senders, as the program lists them.
fn senders() -> Vec<String> {
    let setup = Setup::new().env("PORTAINER_WEBHOOK_SENDER", "unknown-sender");
    let output = setup.run(&["sign", "--setup"]);
    let (_, list) = output.stderr.split_once("expected generic").unwrap();
    let list = list.lines().next().unwrap().replace(" or ", ", ");
    let list = list.split(';').next().unwrap();
    let mut names = vec!["generic".to_owned()];
    names.extend(
        list.split(',')
            .map(str::trim)
            .filter(|name| !name.is_empty())
            .map(str::to_owned),
    );
    assert!(names.len() >= 17, "{names:?}");
    names
}

fn secret(sender: &str) -> String {
    format!("user:a-secret-of-{sender}")
}

/// A server with one hook for each sender. Only a few requests are sent to each: the lines about rejected ones are limited.
fn server(names: &[String]) -> Stackhook {
    let fake = shop::portainer(Era::A);
    let mut file = "[[stack]]\nname = \"shop\"\n".to_owned();
    let mut setup = Setup::with(&fake);
    for name in names {
        setup = setup.secret(&secret(name));
        file.push_str(&format!(
            "\n[[hook]]\nname = \"{name}\"\nsender = \"{name}\"\nsecret = \"{}\"\n",
            secret(name)
        ));
    }
    setup.file("stackhook.toml", &file).serve()
}

/// The last log line about a rejected request to a hook.
#[track_caller]
fn rejection(server: &Stackhook, hook: &str, headers: &[(&str, &str)], query: &str) -> String {
    let before = server.log().lines().count();
    let reply = server.post(&format!("/webhook/update/{hook}/{query}"), headers, b"{}");
    assert_eq!(reply.status, 401, "{hook}: {}", reply.text());
    let mark = format!("hook={hook} ");
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
    loop {
        let log = server.log();
        let line = log.lines().skip(before).find(|line| line.contains(&mark));
        if let Some(line) = line {
            return line.to_owned();
        }
        assert!(std::time::Instant::now() < deadline, "{hook}: {log}");
        std::thread::yield_now();
    }
}

/// The headers that a secret makes for a hook's scheme, from the program itself; none for tokens in the URL.
fn signed(name: &str, secret: &str) -> Option<Vec<(String, String)>> {
    let file = format!("[[hook]]\nname = \"{name}\"\nsender = \"{name}\"\nsecret = \"{secret}\"\n");
    let setup = Setup::new()
        .secret("nothing")
        .file("stackhook.toml", &file)
        .file("body", "{}");
    let output = setup.run(&["sign", "body", "--hook", name]);
    if output.code != Some(0) {
        assert!(output.stderr.contains("?token="), "{}", output.stderr);
        return None;
    }
    let lines = output.stdout.lines();
    Some(
        lines
            .map(|line| {
                let (name, value) = line.split_once(": ").unwrap();
                (name.to_owned(), value.to_owned())
            })
            .collect(),
    )
}

#[test]
fn a_missing_misplaced_or_wrong_secret_is_named_in_the_log() {
    let names = senders();
    for name in &names {
        let server = server(std::slice::from_ref(name));
        let secret = secret(name);
        let missing = rejection(&server, name, &[], "");
        assert!(missing.contains("expected "), "{name}: {missing}");

        let header = rejection(&server, name, &[("X-Api-Key", &secret)], "");
        assert!(header.contains("x-api-key"), "{name}: {header}");
        let query = rejection(
            &server,
            name,
            &[],
            &format!("?secret={}", secret.replace(':', "%3A")),
        );
        assert!(
            query.contains("query parameter") && query.contains("secret"),
            "{name}: {query}"
        );

        let other = "user:another-secret-of-nobody";
        let wrong = match signed(name, other) {
            Some(headers) => {
                let headers: Vec<(&str, &str)> = headers
                    .iter()
                    .map(|(name, value)| (name.as_str(), value.as_str()))
                    .collect();
                rejection(&server, name, &headers, "")
            }
            None => rejection(&server, name, &[], "?token=another-secret-of-nobody"),
        };
        assert!(wrong.contains("mismatch"), "{name}: {wrong}");
        assert!(wrong.contains("secret"), "{name}: {wrong}");
        assert!(!wrong.contains("nobody"), "{name}: {wrong}");
    }
}

#[test]
fn a_token_of_another_form_is_named_with_the_form_that_is_expected() {
    let server = server(&["harbor", "distribution", "dockerhub", "acr"].map(str::to_owned));
    let secret = secret("harbor");
    let bearer = format!("Bearer {secret}");
    let line = rejection(&server, "harbor", &[("Authorization", &bearer)], "");
    assert!(line.contains("nothing before it"), "{line}");
    assert!(
        line.contains("after the word \\\"Bearer\\\"")
            || line.contains("after the word \"Bearer\""),
        "{line}"
    );
    let secret = self::secret("distribution");
    for (value, words) in [
        (secret.clone(), "without a word before it"),
        (format!("Token {secret}"), "after the word"),
        (format!("Basic {}", "eDp5"), "Basic"),
        (String::new(), "empty"),
        ("Bearer something-else".to_owned(), "Bearer"),
    ] {
        let line = rejection(&server, "distribution", &[("Authorization", &value)], "");
        assert!(line.contains(words), "{value:?}: {line}");
        assert!(line.contains("authorization"), "{line}");
    }
    let secret = self::secret("dockerhub").replace(':', "%3A");
    let line = rejection(&server, "dockerhub", &[], &format!("?secret={secret}"));
    assert!(line.contains("?token="), "{line}");
    let line = rejection(
        &server,
        "dockerhub",
        &[(
            "Authorization",
            &format!("Bearer {}", self::secret("dockerhub")),
        )],
        "",
    );
    assert!(
        line.contains("header") && line.contains("authorization"),
        "{line}"
    );
    // The secret of one hook is not valid for another.
    let line = rejection(
        &server,
        "acr",
        &[("X-Api-Key", &self::secret("harbor"))],
        "",
    );
    assert!(!line.contains("x-api-key"), "{line}");
}
