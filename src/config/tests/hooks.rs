//! Hooks: defaults by sender, what fits what, and the mistakes.

use super::{FIVE, Place};
use crate::config::ConfigScope;
use crate::hook::SchemeName;

const SECRET: &str = "secret = \"0123456789abcdef\"\n";
const SIGNING: &str = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz";

/// The hook of these lines: scheme, header, kind, wait in seconds.
#[track_caller]
fn check_scheme(lines: &str, expected: (&str, &str, &str, u64)) {
    let place = Place::with(FIVE);
    place.write(
        "stackhook.toml",
        format!("[[hook]]\nname = \"b\"\n{lines}\n"),
    );
    let config = place.loaded(ConfigScope::Serve).config;
    let hook = config
        .hooks
        .iter()
        .find(|hook| hook.name.as_str() == "b")
        .unwrap();
    let scheme = &hook.scheme;
    let found = (
        scheme.name.name(),
        scheme.header.as_str(),
        scheme.kind.name(),
        hook.wait.as_secs(),
    );
    assert_eq!(found, expected, "{lines}");
}

#[test]
fn every_sender_has_its_own_scheme() {
    let own: &[(&str, (&str, &str, &str))] = &[
        ("generic", ("generic", "x-portainer-signature", "raw")),
        ("github", ("github", "", "raw")),
        ("gitlab", ("token", "x-gitlab-token", "raw")),
        ("gitea", ("gitea", "", "raw")),
        ("forgejo", ("forgejo", "", "raw")),
        ("gogs", ("gogs", "", "raw")),
        ("bitbucket", ("bitbucket", "", "raw")),
        ("azure-devops", ("token", "authorization", "basic")),
        ("dockerhub", ("url-token", "", "raw")),
        ("quay", ("url-token", "", "raw")),
        ("harbor", ("token", "authorization", "raw")),
        ("distribution", ("token", "authorization", "bearer")),
        ("acr", ("token", "authorization", "bearer")),
        ("ecr", ("token", "authorization", "bearer")),
        ("diun", ("token", "authorization", "bearer")),
        ("wud", ("token", "authorization", "bearer")),
        ("custom", ("generic", "x-portainer-signature", "raw")),
    ];
    for (sender, (scheme, header, kind)) in own {
        let wait = if *sender == "generic" { 600 } else { 0 };
        let lines = format!("sender = \"{sender}\"\nsecret = \"user:0123456789abcdef\"");
        check_scheme(&lines, (scheme, header, kind, wait));
    }
}

#[test]
fn a_scheme_can_be_configured() {
    let of = |lines: &str| format!("{SECRET}{lines}");
    check_scheme(
        &format!("sender = \"gitlab\"\nsecret = \"{SIGNING}\\n{SIGNING}\""),
        ("standard-webhooks", "", "raw", 0),
    );
    check_scheme(
        &of("sender = \"gitlab\"\nscheme = \"token\""),
        ("token", "x-gitlab-token", "raw", 0),
    );
    check_scheme(
        &of("scheme = \"token\""),
        ("token", "authorization", "bearer", 600),
    );
    check_scheme(
        &of("scheme = \"token\"\nheader = \"X-Portainer-Signature\"\nwait = \"30m\""),
        ("token", "x-portainer-signature", "raw", 1800),
    );
    check_scheme(
        &of("scheme = \"token\"\nheader = \"AUTHORIZATION\"\nkind = \"raw\""),
        ("token", "authorization", "raw", 600),
    );
    check_scheme(
        &of("sender = \"gitlab\"\nscheme = \"token\"\nheader = \"Authorization\""),
        ("token", "authorization", "bearer", 0),
    );
    check_scheme(
        &of("header = \"X-Signature\""),
        ("generic", "x-signature", "raw", 600),
    );
    check_scheme(
        &of("sender = \"gitea\"\nscheme = \"github\""),
        ("github", "", "raw", 0),
    );
    assert_eq!(SchemeName::NAMES.len(), 10, "a new scheme wants a row");
}

#[test]
fn a_hook_may_have_a_stacks_key_without_hook_update() {
    // Without hook "update" a key answers nowhere.
    let mut place = Place::with(FIVE);
    place.set("PORTAINER_WEBHOOK_SECRET", "");
    place.write(
        "stackhook.toml",
        format!("[[hook]]\nname = \"app-stack\"\n{SECRET}"),
    );
    place.loaded(ConfigScope::Serve);
}

#[test]
fn picks_the_default_stack() {
    let default = |file: &str, variables: &[(&str, &str)]| {
        let mut place = Place::with(&FIVE[..2]);
        variables
            .iter()
            .for_each(|(name, value)| place.set(name, value));
        place.write(
            "stackhook.toml",
            format!("{file}[[hook]]\nname = \"h\"\n{SECRET}"),
        );
        let config = place.loaded(ConfigScope::Serve).config;
        config.hooks[0]
            .default_stack
            .as_ref()
            .map(|key| key.as_str().to_owned())
    };
    let two = "[[stack]]\nname = \"a\"\n[[stack]]\nname = \"b\"\n";
    assert_eq!(default(two, &[]), None);
    assert_eq!(
        default("[[stack]]\nname = \"a\"\n", &[]).as_deref(),
        Some("a")
    );
    assert_eq!(
        default(two, &[("PORTAINER_STACK_NAME", "b")]).as_deref(),
        Some("b")
    );
    assert_eq!(
        default(two, &[("PORTAINER_STACK_NAME", "c")]).as_deref(),
        Some("c")
    );
    let place = Place::with(FIVE);
    place.write("stackhook.toml", format!("{two}[[hook]]\nname = \"h\"\nsender = \"github\"\n{SECRET}[[hook]]\nname = \"i\"\nstacks = [\"a\"]\n{SECRET}"));
    let config = place.loaded(ConfigScope::Serve).config;
    let of = |name: &str| {
        let hook = config
            .hooks
            .iter()
            .find(|hook| hook.name.as_str() == name)
            .unwrap();
        hook.default_stack.as_ref().map(|key| key.as_str())
    };
    assert_eq!(
        (of("h"), of("i"), of("update")),
        (None, Some("a"), Some("app-stack"))
    );
}

#[test]
fn pointers_and_requirements_keep_their_order() {
    let place = Place::with(FIVE);
    place.write(
        "stackhook.toml",
        format!("[[hook]]\nname = \"b\"\nsender = \"custom\"\n{SECRET}[hook.payload]\neach = \"/events/*\"\nimage = \"/a~1b\"\nrequire = {{ \"/z\" = \"1\", \"/a\" = [true, 2, \"x\"] }}\n"),
    );
    let config = place.loaded(ConfigScope::Serve).config;
    let payload = config.hooks[0].payload.as_ref().unwrap();
    assert_eq!(
        (
            payload.each.as_deref(),
            payload.image.as_deref(),
            payload.tag.as_deref()
        ),
        (Some("/events/*"), Some("/a~1b"), None)
    );
    let texts = |texts: &[&str]| {
        texts
            .iter()
            .map(|text| (*text).to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        payload.require,
        [
            ("/z".to_owned(), texts(&["1"])),
            ("/a".to_owned(), texts(&["true", "2", "x"]))
        ]
    );
}
