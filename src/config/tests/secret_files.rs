//! Sources of secrets, the content of secret files, and a scan for secrets in all output.

use super::{FIVE, Place};
use crate::config::{ConfigScope, Credentials};

/// A file for the webhook secret with this content, and the problem with it; none: it is fine.
#[track_caller]
fn check_content(content: &[u8], problem: &str) {
    let mut place = Place::with(FIVE);
    place.write("secret", content);
    place.set("PORTAINER_WEBHOOK_SECRET", "");
    place.set("PORTAINER_WEBHOOK_SECRET_FILE", "./secret");
    let found = match place.load(ConfigScope::Serve) {
        Ok(_) => String::new(),
        Err(problems) => place.plain(&problems.to_string()),
    };
    let expected = match problem {
        "" => String::new(),
        problem => format!("PORTAINER_WEBHOOK_SECRET_FILE: {problem}"),
    };
    assert_eq!(found, expected);
}

#[test]
fn secret_files_contain_one_secret_per_line() {
    check_content(b"0123456789abcdef", "");
    check_content(b"0123456789abcdef\n", "");
    check_content(b"0123456789abcdef\r\n", "");
    check_content("\u{feff}0123456789abcdef\r\n".as_bytes(), "");
    check_content(b"0123456789abcdef\r\nfedcba9876543210\r\n", "");
    check_content(b"", "\"DIR/./secret\" is empty");
    check_content(b"\n", "\"DIR/./secret\" is empty");
    check_content(
        b"0123456789abcdef\n\n",
        "\"DIR/./secret\" is empty in line 2",
    );
    check_content(
        b"\n0123456789abcdef\n",
        "\"DIR/./secret\" is empty in line 1",
    );
    check_content(
        b"0123456789abcdef\nab\0cdefghijklmnop\n",
        "\"DIR/./secret\" contains a control character in line 2",
    );
    check_content(
        b"0123456789\tabcdef\n",
        "\"DIR/./secret\" contains a control character",
    );
    check_content(
        b"0123456789abcdef\xff",
        "cannot read \"DIR/./secret\": it is not UTF-8",
    );
    check_content(
        b"0123456789abcde",
        "must have at least 16 characters; \"stackhook generate-secret\" prints one that cannot be guessed",
    );
    check_content(
        b"0123456789abcdef\nshort\n",
        "secret 2: must have at least 16 characters; \"stackhook generate-secret\" prints one that cannot be guessed",
    );
    check_content(&[b'a'; 64 * 1024], "");
    check_content(
        &[b'a'; 64 * 1024 + 1],
        "cannot read \"DIR/./secret\": it is larger than 64 KiB",
    );
}

#[test]
fn the_newest_secret_comes_first() {
    let mut place = Place::with(FIVE);
    place.set(
        "PORTAINER_WEBHOOK_SECRET",
        "first-0123456789\nsecond-0123456789\n",
    );
    let config = place.loaded(ConfigScope::Serve).config;
    let [first, second] = &config.hooks[0].secrets[..] else {
        panic!("two secrets")
    };
    assert!(first.is(b"first-0123456789") && second.is(b"second-0123456789"));
}

#[test]
fn an_api_key_is_one_line() {
    let mut place = Place::with(FIVE);
    place.set("PORTAINER_API_KEY", "one\ntwo\n");
    assert_eq!(
        place.problems(ConfigScope::Serve),
        "PORTAINER_API_KEY: has 2 lines, but must have only one"
    );
    place.set("PORTAINER_API_KEY", "ptr_ä");
    assert_eq!(
        place.problems(ConfigScope::Serve),
        "PORTAINER_API_KEY: contains a character that no API key has"
    );
}

#[test]
fn names_a_missing_file_unless_its_name_may_be_the_secret() {
    let problem = |text: &str| {
        let mut place = Place::with(FIVE);
        place.set("PORTAINER_API_KEY", "");
        place.set("PORTAINER_API_KEY_FILE", text);
        place.problems(ConfigScope::Serve)
    };
    assert_eq!(
        problem("/run/secrets/none"),
        "PORTAINER_API_KEY_FILE: cannot read \"/run/secrets/none\": there is no such file"
    );
    assert_eq!(
        problem("./none"),
        "PORTAINER_API_KEY_FILE: cannot read \"DIR/./none\": there is no such file"
    );
    for secret in ["ptr_0123456789", "/Zm9v/YmFy", "a/b/c"] {
        assert_eq!(
            problem(secret),
            "PORTAINER_API_KEY_FILE: there is no such file; its name is not shown, since it may be the secret itself, which \
             belongs to the key or variable without \"file\" in its name"
        );
    }
    let mut place = Place::with(FIVE);
    place.set("PORTAINER_API_KEY", "");
    place.set("PORTAINER_API_KEY_FILE", "secrets");
    std::fs::create_dir(place.dir.join("secrets")).unwrap();
    assert_eq!(
        place.problems(ConfigScope::Serve),
        "PORTAINER_API_KEY_FILE: cannot read \"DIR/secrets\": it is a directory (Docker creates one if a mounted file does not exist)"
    );
}

#[test]
fn variables_override_credentials_which_override_the_file() {
    let mut place = Place::with(&[("PORTAINER_URL", "http://p:9000")]);
    let key = |place: &Place| match place
        .loaded(ConfigScope::Portainer)
        .config
        .portainer
        .unwrap()
        .credentials
    {
        Credentials::ApiKey(key) => key.expose().to_owned(),
        Credentials::Login { .. } => panic!("an API key"),
    };
    place.write("from-file", "file\n");
    place.write(
        "stackhook.toml",
        "[portainer]\napi_key_file = \"from-file\"\n",
    );
    assert_eq!(key(&place), "file");
    let credentials = place.dir.join("credentials");
    place.set("CREDENTIALS_DIRECTORY", credentials.to_str().unwrap());
    assert_eq!(key(&place), "file");
    place.write("credentials/portainer-api-key", "credential\n");
    assert_eq!(key(&place), "credential");
    place.set("PORTAINER_API_KEY", "variable");
    assert_eq!(key(&place), "variable");
}

#[test]
fn finds_all_four_credentials() {
    let mut place = Place::with(&[
        ("PORTAINER_URL", "http://p:9000"),
        ("PORTAINER_USER", "me"),
        ("PORTAINER_STACK_NAME", "app"),
    ]);
    let credentials = place.dir.join("credentials");
    place.set("CREDENTIALS_DIRECTORY", credentials.to_str().unwrap());
    place.write("credentials/portainer-password", "pass word");
    place.write("credentials/webhook-secret", "0123456789abcdef");
    place.write("credentials/staff-password", "staff-pass");
    place.mode("credentials/staff-password", 0o644);
    let loaded = place.loaded(ConfigScope::Serve);
    assert!(
        matches!(loaded.config.portainer.unwrap().credentials, Credentials::Login { password, .. } if password.is(b"pass word"))
    );
    assert!(loaded.config.hooks[0].secrets[0].is(b"0123456789abcdef"));
    assert!(loaded.config.staff.unwrap().password.is(b"staff-pass"));
    assert_eq!(
        loaded.warnings.len(),
        1,
        "the state directory's alone: {:?}",
        loaded.warnings
    );
    place.write("credentials/portainer-api-key", "key");
    assert_eq!(
        place.problems(ConfigScope::Serve),
        "PORTAINER_USER: an API key is given (credential portainer-api-key) and a user or password too; set only one of them: \
         PORTAINER_API_KEY, or PORTAINER_USER and PORTAINER_PASSWORD"
    );
}

#[test]
fn the_file_can_refer_to_credentials() {
    let mut place = Place::with(FIVE);
    place.set("PORTAINER_WEBHOOK_SECRET", "");
    place.write(
        "stackhook.toml",
        "[[hook]]\nsecret_file = \"credential:hook\"\n",
    );
    assert_eq!(
        place.problems(ConfigScope::Serve),
        "stackhook.toml:2: hook.secret_file: there is no credential \"hook\": CREDENTIALS_DIRECTORY is not set, and \
         \"DIR/credstore/hook\" does not exist; to pass it to the service, add LoadCredential=hook to the unit"
    );
    place.write("credstore/hook", "from-the-store-0123");
    let secret = |place: &Place| {
        place.loaded(ConfigScope::Serve).config.hooks[0].secrets[0]
            .expose()
            .to_owned()
    };
    assert_eq!(secret(&place), "from-the-store-0123");
    let credentials = place.dir.join("credentials");
    place.set("CREDENTIALS_DIRECTORY", credentials.to_str().unwrap());
    place.write("credentials/hook", "from-systemd-0123456");
    assert_eq!(secret(&place), "from-systemd-0123456");
    place.write(
        "stackhook.toml",
        "[[hook]]\nsecret_file = \"credential:../hook\"\n",
    );
    assert_eq!(
        place.problems(ConfigScope::Serve),
        "stackhook.toml:2: hook.secret_file: the part after credential: is not a valid name of a credential"
    );
}

#[test]
fn warns_of_secrets_that_other_users_can_read() {
    let mut place = Place::with(FIVE);
    place.set("STACKHOOK_STATE_DIR", "/s");
    place.set("PORTAINER_API_KEY", "");
    place.write("key", "ptr_key ");
    place.mode("key", 0o644);
    place.write("stackhook.toml", "[portainer]\napi_key_file = \"key\"\n[[hook]]\nname = \"b\"\nsecret = \"'0123456789abcdef'\"\n");
    place.set("PORTAINER_WEBHOOK_SECRET", "'0123456789abcdef'");
    let warnings = |place: &Place| {
        let all = place.loaded(ConfigScope::Serve).warnings;
        all.iter().map(|text| place.plain(text)).collect::<Vec<_>>()
    };
    place.write("key", "ptr_key");
    let of_hooks = [
        "PORTAINER_WEBHOOK_SECRET: begins and ends with a quote, which counts as part of the secret (Docker's env files keep quotes)",
        "hooks \"b\" and \"update\" share a secret: a delivery signed for one is accepted by the other",
    ];
    assert_eq!(warnings(&place), of_hooks);
    place.mode("key", 0o644);
    place.mode("stackhook.toml", 0o644);
    assert_eq!(
        warnings(&place),
        [
            "any user of this host can read the secret in \"DIR/key\"; to fix it, run: chmod o-r DIR/key",
            "stackhook.toml:5: hook.secret: any user of this host can read this secret; to fix it, run: chmod o-r stackhook.toml",
            of_hooks[0],
            of_hooks[1],
        ]
    );
    place.write("key", "ptr_key");
    place.write("stackhook.toml", "");
    place.set("PORTAINER_API_KEY", "");
    place.set("PORTAINER_USER", "me");
    place.set("PORTAINER_PASSWORD", "password ");
    place.set("PORTAINER_WEBHOOK_SECRET", "0123456789abcdef");
    assert_eq!(
        warnings(&place),
        ["PORTAINER_PASSWORD: begins or ends with a space, which counts as part of the secret"]
    );
}

/// Puts secrets into every variable and key, right or wrong, and searches all output for them.
#[test]
fn no_secret_appears_in_any_output() {
    const MARK: &str = "sEntinel";
    let text = |number: usize| format!("{MARK}{number:02}abcdefgh");
    let mut seen = String::new();
    let names = [
        "PORTAINER_URL",
        "PORTAINER_API_KEY",
        "PORTAINER_API_KEY_FILE",
        "PORTAINER_USER",
        "PORTAINER_PASSWORD",
        "PORTAINER_PASSWORD_FILE",
        "PORTAINER_CERTIFICATE_SHA256",
        "PORTAINER_INSECURE",
        "PORTAINER_TIMEOUT",
        "PORTAINER_WEBHOOK_SECRET",
        "PORTAINER_WEBHOOK_SECRET_FILE",
        "PORTAINER_WEBHOOK_SENDER",
        "STACKHOOK_LISTEN",
        "STACKHOOK_PUBLIC_URL",
        "STACKHOOK_TRUSTED_PROXIES",
        "STACKHOOK_MAX_BODY",
        "STACKHOOK_LOG",
        "STACKHOOK_LOG_FORMAT",
        "STACKHOOK_NOTIFY_URL",
        "STACKHOOK_NOTIFY_URL_FILE",
        "STACKHOOK_NOTIFY_FORMAT",
        "STACKHOOK_NOTIFY_SECRET",
        "STACKHOOK_NOTIFY_SECRET_FILE",
        "STACKHOOK_STAFF_PASSWORD",
        "STACKHOOK_STAFF_PASSWORD_FILE",
        "PORTAINER_APIKEY",
    ];
    let shown_by_design = ["PORTAINER_USER"];
    let mut load = |place: &Place| match place.load(ConfigScope::Show) {
        Ok(loaded) => seen.push_str(&format!(
            "{:?}{:?}{:?}",
            loaded.config, loaded.warnings, loaded.shown
        )),
        Err(problems) => seen.push_str(&format!("{problems}{problems:?}{:?}", problems.warnings)),
    };
    for (number, name) in names
        .iter()
        .enumerate()
        .filter(|(_, name)| !shown_by_design.contains(name))
    {
        for value in [
            text(number),
            format!("http://me:{}@portainer:9000", text(number)),
            format!("\"{}\"", text(number)),
            format!("{}\n{}", text(number), text(number)),
        ] {
            let mut place = Place::with(&[("PORTAINER_USER", "me")]);
            place.set(name, &value);
            load(&place);
        }
    }
    for (kind, keys) in crate::config::schema::SECTIONS {
        let header = match *kind {
            "" => "",
            "stack" => "[[stack]]\nname = \"a\"\n",
            "hook" => "[[hook]]\n",
            "hook.payload" => "[[hook]]\n[hook.payload]\n",
            "portainer" => "[portainer]\n",
            "notify" => "[notify]\n",
            _ => "[staff]\n",
        };
        for key in keys().iter().filter(|key| {
            !matches!(
                **key,
                "name"
                    | "key"
                    | "user"
                    | "environment"
                    | "ca_file"
                    | "state_dir"
                    | "events"
                    | "branches"
                    | "tags"
                    | "repositories"
                    | "paths"
                    | "header"
                    | "env"
                    | "images"
                    | "except"
            )
        }) {
            for value in [
                format!("\"{}\"", text(77)),
                text(78),
                format!("[\"{}\"]", text(79)),
                format!("{{ x = \"{}\" }}", text(80)),
                format!("\"{}", text(81)),
                format!("\"\\q{}\"", text(82)),
            ] {
                let place = Place::new();
                place.write("stackhook.toml", format!("{header}{key} = {value}\n"));
                load(&place);
            }
        }
    }
    assert!(seen.len() > 10_000, "there is output");
    let found = seen
        .find(MARK)
        .map(|at| &seen[at.saturating_sub(300)..(at + 40).min(seen.len())]);
    assert_eq!(found, None);
}

#[test]
fn the_redactor_gets_every_secret() {
    let place = Place::with(FIVE);
    place.write("two", "first-0123456789\nsecond-0123456789\n");
    place.write(
        "stackhook.toml",
        "[portainer]\nheaders = { \"X-Gateway\" = \"header-value\" }\n\
         [[notify]]\nurl = \"https://a.example/token-in-url\"\nsecret = \"whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz\"\n\
         [[notify]]\nurl = \"https://b.example/other-token\"\nformat = \"slack\"\n\
         [[hook]]\nname = \"b\"\nsecret_file = \"two\"\n[staff]\npassword = \"staff-password\"\n",
    );
    let mut secrets = place.loaded(ConfigScope::Serve).config.secrets();
    secrets.sort();
    let expected = [
        "correct-horse-battery",
        "first-0123456789",
        "header-value",
        "https://a.example/token-in-url",
        "https://b.example/other-token",
        "ptr_0123456789abcdef",
        "second-0123456789",
        "staff-password",
        "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz",
    ];
    assert_eq!(secrets, expected);
}
