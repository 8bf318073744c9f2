//! A configuration as its author sees it: all mistakes in one run, and the source of each value. Single mistakes are tested in the
//! modules that find them.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;

use crate::support::program::Setup;

/// After `#=`, what is told of the line.
const MISTAKES: &str = r#"listen = "everywhere" #= listen
lissen = "127.0.0.1:1" #= did you mean "listen"?
max_body = "64MiB" #= max_body
log = "loud" #= log
trusted_proxies = ["not-an-address"] #= trusted_proxies
[portainer]
url = "ftp://portainer" #= url
api_key = "ptr_in-the-file-of-mistakes"
user = "admin" #= an API key is given
timeout = "soon" #= timeout
[notify]
url = "https://hooks.example.com/T0/secret-part-of-it"
format = "pager" #= format
[[stack]]
key = "app"
name = "app-stack"
pull = "portainer"
except = ["postgres:*"] #= except
rollback = "always" #= rollback
[[stack]]
key = "app" #= app
name = "other"
healthy_within = "-1s" #= healthy_within
[[hook]]
secret = "sixteen-or-more-of-them-first"
[[hook]]
name = "app" #= app
secret = "sixteen-or-more-of-them"
[[hook]]
name = "short"
secret = "fifteen-of-them" #= secret
[[hook]] #= hook "open" has no secret
name = "open"
[[hook]]
name = "git"
sender = "github"
secret = "sixteen-or-more-of-them-too"
stacks = ["nowhere"] #= names a stack that is not configured
branches = "main" #= branches
allow_from = ["10.0.0.0/40"] #= allow_from
[staff]
password = "7-signs" #= password
"#;

const SECRETS: [&str; 7] = [
    "sixteen-or-more-of-them-first",
    "ptr_in-the-file-of-mistakes",
    "secret-part-of-it",
    "sixteen-or-more-of-them",
    "fifteen-of-them",
    "sixteen-or-more-of-them-too",
    "7-signs",
];

#[test]
fn reports_all_mistakes_in_one_run_with_line_and_fix() {
    let mut setup = Setup::new().file("stackhook.toml", MISTAKES);
    for secret in SECRETS {
        setup = setup.secret(secret);
    }
    let output = setup.run(&["serve"]);
    assert_eq!((output.code, output.stdout.as_str()), (Some(78), ""));
    let expected = MISTAKES
        .lines()
        .enumerate()
        .filter_map(|(at, line)| Some((at + 1, line.split_once("#= ")?.1)));
    let mut missing = Vec::new();
    for (line, word) in expected {
        let place = format!("stackhook.toml:{line}:");
        let told = |text: &str| text.contains(&place) && text.contains(word);
        if !output.stderr.lines().any(told) {
            missing.push((line, word));
        }
    }
    assert!(missing.is_empty(), "{missing:?} of\n{}", output.stderr);
}

#[test]
fn a_full_configuration_is_shown_with_every_source_and_no_secret() {
    let file = r#"
listen = "127.0.0.1:8484"
[portainer]
url = "https://portainer.example.com"
[notify]
url_file = "notify-url"
secret = "whsec_YS1ub3RpZnktc2VjcmV0LW9mLXRoZS1maWxl"
[[stack]]
key = "app"
name = "app-stack"
[[hook]]
name = "web"
sender = "github"
secret_file = "two-secrets"
stacks = ["app"]
[staff]
password_file = "credential:staff-password"
"#;
    let setup = Setup::new()
        .file("stackhook.toml", file)
        .file(
            "notify-url",
            "https://ntfy.example.com/a-topic-that-is-secret\n",
        )
        .file(
            "two-secrets",
            "the-newer-secret-of-two\nthe-older-secret-of-two\n",
        )
        .file("credentials/staff-password", "a-staff-password")
        .file(
            "credentials/portainer-api-key",
            "ptr_from-the-credentials\n",
        )
        .secret("whsec_YS1ub3RpZnktc2VjcmV0LW9mLXRoZS1maWxl")
        .secret("a-topic-that-is-secret")
        .secret("the-newer-secret-of-two")
        .secret("the-older-secret-of-two")
        .secret("a-staff-password")
        .secret("ptr_from-the-credentials")
        .env("PORTAINER_WEBHOOK_SECRET", "a-secret-of-the-environment")
        .env("STACKHOOK_LOG", "debug");
    let credentials = setup.path().join("credentials");
    std::fs::set_permissions(&credentials, Permissions::from_mode(0o700)).unwrap();
    let setup = setup.env("CREDENTIALS_DIRECTORY", credentials.to_str().unwrap());
    let output = setup.run(&["show-config"]);
    assert_eq!(
        (output.code, output.stderr.as_str()),
        (Some(0), ""),
        "{output:?}"
    );
    let check = |key: &str, words: &[&str]| {
        let row = output
            .stdout
            .lines()
            .find(|line| line.starts_with(&format!("{key} ")));
        let row = row.unwrap_or_else(|| panic!("no {key} in\n{}", output.stdout));
        for word in words {
            assert!(row.contains(word), "{word:?}: {row}");
        }
    };
    check("listen", &["127.0.0.1:8484", "stackhook.toml:2"]);
    check("max_body", &["1MiB", "default"]);
    check("log", &["debug", "STACKHOOK_LOG"]);
    check(
        "portainer.url",
        &["https://portainer.example.com", "stackhook.toml:4"],
    );
    check("portainer.api_key", &["credentials/portainer-api-key"]);
    check("notify.url", &["notify-url"]);
    check("notify.secret", &["stackhook.toml:7"]);
    check("staff.password", &["credentials/staff-password"]);
    check("hook.web.secret", &["two-secrets"]);
    check("hook.update.secret", &["PORTAINER_WEBHOOK_SECRET"]);
}
