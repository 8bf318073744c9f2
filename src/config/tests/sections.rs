//! Mistakes in the sections of the file, each with its exact message.

use super::{FIVE, Place, check};
use crate::config::{Need, Trust};

#[test]
fn urls_with_user_or_fragment_say_what_to_leave_out() {
    check(
        "public_url = \"https://me:word@host\"",
        "stackhook.toml:1: public_url: contains a user name or a password, which has no place in this URL",
    );
    check(
        "public_url = \"https://host/#!/home\"",
        "stackhook.toml:1: public_url: has a fragment (from the \"#\" on); leave it out",
    );
    check(
        "public_url = \"https://host:99999\"",
        "stackhook.toml:1: public_url: its port is no number from 1 to 65535",
    );
    check(
        "public_url = \"https://:80\"",
        "stackhook.toml:1: public_url: names no host",
    );
}

#[test]
fn trust_that_means_nothing_or_everything_is_warned_about() {
    let warnings = |url: &str, variable: (&str, &str)| {
        let mut place = Place::with(FIVE);
        place.set("STACKHOOK_STATE_DIR", "/s");
        place.set("PORTAINER_URL", url);
        place.set(variable.0, variable.1);
        place.loaded(Need::Serve).warnings
    };
    let pin = "ab".repeat(32);
    assert_eq!(
        warnings("https://p", ("PORTAINER_CERTIFICATE_SHA256", &pin)),
        Vec::<String>::new()
    );
    assert_eq!(
        warnings("http://p", ("PORTAINER_CERTIFICATE_SHA256", &pin)),
        [
            "PORTAINER_CERTIFICATE_SHA256: ca_file, certificate_sha256 and insecure mean nothing with an http:// URL"
        ]
    );
    assert_eq!(
        warnings("https://p", ("PORTAINER_INSECURE", "false")),
        Vec::<String>::new()
    );
    assert_eq!(
        warnings("https://p", ("PORTAINER_INSECURE", "true")),
        [
            "portainer.insecure: anybody between stackhook and Portainer can read the credentials and change every answer; certificate_sha256 is as easy and safe"
        ]
    );
}

#[test]
fn portainer_is_checked() {
    check(
        "[portainer]\ntimeout = \"0s\"",
        "stackhook.toml:2: portainer.timeout: expected more than 0s",
    );
    check(
        "[portainer]\ntimeout = \"25h\"",
        "stackhook.toml:2: portainer.timeout: expected at most 24h",
    );
    check(
        "[portainer]\ntimeout = \"30\"",
        "stackhook.toml:2: portainer.timeout: expected a duration such as \"30s\", \"10m\" or \"1h\"",
    );
    check(
        "[portainer]\ncertificate_sha256 = \"ab\"",
        "stackhook.toml:2: portainer.certificate_sha256: expected the SHA-256 of a certificate: 64 hexadecimal digits, with or without colons",
    );
    check(
        "[portainer]\nca_file = \"no.pem\"",
        "stackhook.toml:2: portainer.ca_file: cannot read \"DIR/no.pem\": there is no such file",
    );
    check(
        "[portainer]\nuser = \"me\"",
        "stackhook.toml:2: portainer: an API key is given (PORTAINER_API_KEY) and a user or password too; only one of them can count: PORTAINER_API_KEY, or PORTAINER_USER and PORTAINER_PASSWORD",
    );
    let pin = "ab:".repeat(31) + "AB";
    check(
        &format!("[portainer]\ninsecure = true\ncertificate_sha256 = \"{pin}\""),
        "stackhook.toml:2: portainer: only one of ca_file, certificate_sha256 and insecure can count, and stackhook.toml:3 gives another",
    );
    check(
        &format!("[portainer]\ninsecure = false\ncertificate_sha256 = \"{pin}\""),
        "",
    );
}

#[test]
fn ca_files_hold_certificates() {
    let mut place = Place::with(FIVE);
    place.write("empty.pem", "nothing\n");
    place.set("PORTAINER_CA_FILE", "empty.pem");
    assert_eq!(
        place.problems(Need::Serve),
        "PORTAINER_CA_FILE: \"DIR/empty.pem\" holds no certificate in PEM format"
    );
    place.write("empty.pem", "-----BEGIN CERTIFICATE-----\n");
    let trust = place.loaded(Need::Serve).config.portainer.unwrap().trust;
    assert!(matches!(trust, Trust::Roots { pem, .. } if pem.starts_with("-----BEGIN")));
}

#[test]
fn half_credentials_name_the_other_half() {
    let problems = |variables: &[(&str, &str)]| {
        let mut place = Place::with(&[("PORTAINER_URL", "http://portainer:9000")]);
        variables
            .iter()
            .for_each(|(name, value)| place.set(name, value));
        place.problems(Need::Portainer)
    };
    assert_eq!(
        problems(&[]),
        "portainer: has no credentials; set PORTAINER_API_KEY or PORTAINER_API_KEY_FILE (api_key or api_key_file), or PORTAINER_USER and PORTAINER_PASSWORD"
    );
    assert_eq!(
        problems(&[("PORTAINER_USER", "me")]),
        "PORTAINER_USER: has no password; set PORTAINER_PASSWORD or PORTAINER_PASSWORD_FILE (password or password_file), or an API key instead of the user"
    );
    assert_eq!(
        problems(&[("PORTAINER_PASSWORD", "secret text")]),
        "PORTAINER_PASSWORD: has no user; set PORTAINER_USER (user)"
    );
}

#[test]
fn notify_is_checked() {
    check(
        "[notify]\n",
        "stackhook.toml:1: notify: has no URL; set STACKHOOK_NOTIFY_URL or STACKHOOK_NOTIFY_URL_FILE (url or url_file)",
    );
    check(
        "[notify]\nurl = \"ntfy.sh/x\"",
        "stackhook.toml:2: notify.url: expected a URL that begins with http:// or https://",
    );
    check(
        "[notify]\nurl = \"https://ntfy.sh/x\"\nformat = \"teams\"",
        "stackhook.toml:3: notify.format: expected json, slack, discord, ntfy or gotify",
    );
    check(
        "[notify]\nurl = \"https://ntfy.sh/x\"\nformat = \"ntfy\"\nsecret = \"whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz\"",
        "stackhook.toml:4: notify.secret: format ntfy cannot be signed; leave the secret out",
    );
    check(
        "[notify]\nurl = \"https://ntfy.sh/x\"\nsecret = \"0123456789abcdef\"",
        "stackhook.toml:3: notify.secret: is no Standard Webhooks secret: expected whsec_ and then base64 of 24 to 64 bytes, as \"stackhook generate-secret --format standard-webhooks\" prints it",
    );
    check(
        "[notify]\nurl = \"https://ntfy.sh/x?auth=y\"\nsecret = \"whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz\"",
        "",
    );
}

#[test]
fn staff_is_checked() {
    check(
        "[staff]\n",
        "stackhook.toml:1: staff: has no password; set STACKHOOK_STAFF_PASSWORD or STACKHOOK_STAFF_PASSWORD_FILE (password or password_file)",
    );
    check(
        "[staff]\npassword = \"1234567\"",
        "stackhook.toml:2: staff.password: is shorter than 8 bytes",
    );
    check(
        "[staff]\npassword = \"12345678\"\nuser = \"a:b\"",
        "stackhook.toml:3: staff.user: a user name of Basic auth contains no colon",
    );
    check("[staff]\npassword = \"12345678\"", "");
}

#[test]
fn stacks_are_checked() {
    check(
        "[[stack]]\n",
        "stackhook.toml:1: stack.name: is missing: the stack's name in Portainer",
    );
    check(
        "[[stack]]\nname = \"a\"\n\n[[stack]]\nkey = \"a\"\nname = \"b\"",
        "stackhook.toml:5: stack.key: \"a\" is the key of another stack (stackhook.toml:2) already; give one of them another key",
    );
    check(
        "[[stack]]\nname = \"app\"\nenvironment = 2\n[[stack]]\nkey = \"again\"\nname = \"app\"\nenvironment = \"2\"",
        "",
    );
    check(
        "[[stack]]\nkey = \".a\"\nname = \"a\"",
        "stackhook.toml:2: stack.key: expected at most 128 letters, digits, \"_\", \"-\" and \".\", not beginning with a dot",
    );
    check(
        "[[stack]]\nname = \"..\"",
        "stackhook.toml:2: stack.name: no key can be made of this name; give the stack a key",
    );
    check(
        "[[stack]]\nname = \" a\"",
        "stackhook.toml:2: stack.name: begins or ends with a space",
    );
    check(
        "[[stack]]\nname = \"a\"\npull = \"frist\"",
        "stackhook.toml:3: stack.pull: expected first, portainer or never; did you mean \"first\"?",
    );
    check(
        "[[stack]]\nname = \"a\"\nrollback = \"always\"",
        "stackhook.toml:3: stack.rollback: expected when-down, when-unhealthy or never",
    );
    check(
        "[[stack]]\nname = \"a\"\ncleanup = 1",
        "stackhook.toml:3: stack.cleanup: expected true or false, found a number",
    );
    check(
        "[[stack]]\nname = \"a\"\nhealthy_within = \"1 m\"",
        "stackhook.toml:3: stack.healthy_within: expected a duration such as \"30s\", \"10m\" or \"1h\"",
    );
    check("[[stack]]\nname = \"a\"\nhealthy_within = \"0s\"", "");
    check(
        "[[stack]]\nname = \"a\"\nenv = [\"A B\", \"1A\", \"OK_1\"]",
        "stackhook.toml:3: stack.env: expected names of variables, such as \"IMAGE_TAG\"",
    );
    check(
        "[[stack]]\nname = \"a\"\nexcept = [\"Postgres\"]",
        "stackhook.toml:3: stack.except: the repository must be in lower case",
    );
    check(
        "[[stack]]\nname = \"a\"\nexcept = [\"postgres:*\"]\npull = \"portainer\"",
        "stackhook.toml:3: stack.except: with pull = \"portainer\" Portainer pulls every image; leave \"except\" out or use pull = \"first\"",
    );
    check(
        "[[stack]]\nname = \"a\"\nexcept = []\npull = \"portainer\"",
        "",
    );
}

#[test]
fn a_value_that_is_right_and_helps_nobody_is_warned_of_with_a_way_out() {
    let state_dir = ("STACKHOOK_STATE_DIR", "/var/lib/stackhook");
    let check = |name: &str, value: &str, warning: Option<&str>| {
        let mut place = Place::with(FIVE);
        place.set(state_dir.0, state_dir.1);
        place.set(name, value);
        let warnings = place.loaded(Need::Serve).warnings;
        let expected: Vec<String> = warning
            .into_iter()
            .map(|text| format!("{name}: {text}"))
            .collect();
        assert_eq!(warnings, expected, "{name}={value}");
    };
    let small = "most deliveries are larger than that (10 B), and each of those is turned away with 413; set 64KiB or more, or \
                 leave it out (1MiB)";
    check("STACKHOOK_MAX_BODY", "10", Some(small));
    check("STACKHOOK_MAX_BODY", "1KiB", None);
    let short = "hardly a redeploy, from its pull to the end of its health check, ends well within 1 s; set 5m or more, or leave it \
                 out (30m)";
    check("PORTAINER_TIMEOUT", "1s", Some(short));
    check("PORTAINER_TIMEOUT", "30s", None);
}
