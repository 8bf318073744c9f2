//! Trust, credentials, and warnings about values that are valid but hardly useful.

use super::{FIVE, Place};
use crate::config::{ConfigScope, Trust};

#[test]
fn warns_of_trust_without_effect_and_of_insecure() {
    let warnings = |url: &str, variable: (&str, &str)| {
        let mut place = Place::with(FIVE);
        place.set("STACKHOOK_STATE_DIR", "/s");
        place.set("PORTAINER_URL", url);
        place.set(variable.0, variable.1);
        place.loaded(ConfigScope::Serve).warnings
    };
    let pin = "ab".repeat(32);
    assert_eq!(
        warnings("https://p", ("PORTAINER_CERTIFICATE_SHA256", &pin)),
        Vec::<String>::new()
    );
    assert_eq!(
        warnings("http://p", ("PORTAINER_CERTIFICATE_SHA256", &pin)),
        [
            "PORTAINER_CERTIFICATE_SHA256: ca_file, certificate_sha256 and insecure have no effect with an http:// URL"
        ]
    );
    assert_eq!(
        warnings("https://p", ("PORTAINER_INSECURE", "false")),
        Vec::<String>::new()
    );
    assert_eq!(
        warnings("https://p", ("PORTAINER_INSECURE", "true")),
        [
            "portainer.insecure: anyone between stackhook and Portainer can read the credentials and change every answer; certificate_sha256 is as easy and safe"
        ]
    );
}

#[test]
fn a_ca_file_must_contain_a_certificate() {
    let mut place = Place::with(FIVE);
    place.write("empty.pem", "nothing\n");
    place.set("PORTAINER_CA_FILE", "empty.pem");
    assert_eq!(
        place.problems(ConfigScope::Serve),
        "PORTAINER_CA_FILE: \"DIR/empty.pem\" contains no certificate in PEM format"
    );
    place.write("empty.pem", "-----BEGIN CERTIFICATE-----\n");
    let trust = place
        .loaded(ConfigScope::Serve)
        .config
        .portainer
        .unwrap()
        .trust;
    assert!(matches!(trust, Trust::Roots { pem, .. } if pem.starts_with("-----BEGIN")));
}

#[test]
fn incomplete_credentials_name_the_missing_part() {
    let problems = |variables: &[(&str, &str)]| {
        let mut place = Place::with(&[("PORTAINER_URL", "http://portainer:9000")]);
        variables
            .iter()
            .for_each(|(name, value)| place.set(name, value));
        place.problems(ConfigScope::Portainer)
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
fn warns_of_values_that_are_too_small() {
    let state_dir = ("STACKHOOK_STATE_DIR", "/var/lib/stackhook");
    let check = |name: &str, value: &str, warning: Option<&str>| {
        let mut place = Place::with(FIVE);
        place.set(state_dir.0, state_dir.1);
        place.set(name, value);
        let warnings = place.loaded(ConfigScope::Serve).warnings;
        let expected: Vec<String> = warning
            .into_iter()
            .map(|text| format!("{name}: {text}"))
            .collect();
        assert_eq!(warnings, expected, "{name}={value}");
    };
    let small = "most deliveries are larger than 10 B and would be rejected with 413; set 64KiB or more, or \
                 leave it out (1MiB)";
    check("STACKHOOK_MAX_BODY", "10", Some(small));
    check("STACKHOOK_MAX_BODY", "1KiB", None);
    let short = "hardly any redeploy, from its pull to the end of its health check, finishes within 1 s; set 5m or more, or leave it \
                 out (30m)";
    check("PORTAINER_TIMEOUT", "1s", Some(short));
    check("PORTAINER_TIMEOUT", "30s", None);
}
