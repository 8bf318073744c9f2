//! Hooks: defaults by sender, what fits what, and the mistakes.

use super::{FIVE, Place, check};
use crate::config::Need;
use crate::hook::{SchemeName, Sender};

const SECRET: &str = "secret = \"0123456789abcdef\"\n";
const SIGNING: &str = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz";

/// A hook called `b` with a good secret and these lines besides; problems without the file's name.
#[track_caller]
fn check_hook(lines: &str, problems: &str) {
    check(
        &format!("[[hook]]\nname = \"b\"\n{SECRET}{lines}\n"),
        problems,
    );
}

/// The hook of these lines: scheme, header, kind, wait in seconds.
#[track_caller]
fn check_scheme(lines: &str, expected: (&str, &str, &str, u64)) {
    let place = Place::with(FIVE);
    place.write(
        "stackhook.toml",
        format!("[[hook]]\nname = \"b\"\n{lines}\n"),
    );
    let config = place.loaded(Need::Serve).config;
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
    let names: Vec<&str> = own.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, Sender::NAMES);
    for (sender, (scheme, header, kind)) in own {
        let wait = if *sender == "generic" { 600 } else { 0 };
        let lines = format!("sender = \"{sender}\"\nsecret = \"user:0123456789abcdef\"");
        check_scheme(&lines, (scheme, header, kind, wait));
    }
}

#[test]
fn a_scheme_can_be_chosen() {
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
fn scheme_and_secret_must_fit() {
    check_hook(
        "scheme = \"rsa\"",
        "stackhook.toml:4: hook.scheme: expected generic, github, gitea, forgejo, gogs, bitbucket, hmac, standard-webhooks, token or url-token",
    );
    check_hook(
        "sender = \"github\"\nheader = \"X-A\"",
        "stackhook.toml:5: hook.header: belongs to schemes token and generic, and this hook's scheme is github",
    );
    check_hook(
        "kind = \"raw\"",
        "stackhook.toml:4: hook.kind: belongs to scheme token, and this hook's scheme is generic",
    );
    check_hook(
        "scheme = \"token\"\nkind = \"digest\"",
        "stackhook.toml:5: hook.kind: expected raw, bearer or basic",
    );
    check_hook(
        "header = \"X A\"",
        "stackhook.toml:4: hook.header: expected the name of a header, such as \"Authorization\"",
    );
    check_hook(
        "scheme = \"token\"\nkind = \"basic\"",
        "stackhook.toml:3: hook.secret: kind basic needs user:password as the secret",
    );
    check_hook(
        "scheme = \"standard-webhooks\"",
        "stackhook.toml:3: hook.secret: is no Standard Webhooks secret: expected whsec_ and then base64 of 24 to 64 bytes, as \"stackhook generate-secret --format standard-webhooks\" prints it",
    );
    check(
        &format!(
            "[[hook]]\nname = \"b\"\nsender = \"gitlab\"\nsecret = \"{SIGNING}\\n0123456789abcdef\""
        ),
        "stackhook.toml:4: hook.secret: mixes signing tokens of GitLab (whsec_…) with secret tokens; one hook can check only one kind",
    );
    check(
        "[[hook]]\nname = \"b\"\nsender = \"gitlab\"\nsecret = \"whsec_c2hvcnQ=\"",
        "stackhook.toml:4: hook.secret: is no Standard Webhooks secret: expected whsec_ and then base64 of 24 to 64 bytes, as \"stackhook generate-secret --format standard-webhooks\" prints it",
    );
    check(
        "[[hook]]\nname = \"b\"\nscheme = \"token\"\nsecret = \"0123456789abcdeföä\"",
        "stackhook.toml:4: hook.secret: contains a sign that no header can carry",
    );
}

#[test]
fn hooks_are_checked() {
    check(
        "[[hook]]\nname = \"b\"",
        "stackhook.toml:1: hook.secret: hook \"b\" has no secret, and an open hook is never served; set secret or secret_file, to a text that \"stackhook generate-secret\" prints",
    );
    check(
        &format!("[[hook]]\n{SECRET}[[hook]]\n{SECRET}"),
        "stackhook.toml:3: hook.name: \"update\" is the name of another hook (stackhook.toml:1) already",
    );
    check(
        &format!("[[hook]]\nname = \"a/b\"\n{SECRET}"),
        "stackhook.toml:2: hook.name: expected at most 128 letters, digits, \"_\", \"-\" and \".\", not beginning with a dot",
    );
    check(
        &format!("[[hook]]\nname = \"app-stack\"\n{SECRET}"),
        "stackhook.toml:2: hook.name: \"app-stack\" is the key of a stack of hook \"update\" too, and /webhook/update/app-stack/ would mean both; rename one of them",
    );
    check_hook(
        "stacks = [\"app-stak\"]",
        "stackhook.toml:4: hook.stacks: names a stack that is not configured; did you mean \"app-stack\"?",
    );
    check_hook(
        "stacks = []",
        "stackhook.toml:4: hook.stacks: names no stack; leave it out for all of them",
    );
    check_hook(
        "wait = \"31m\"",
        "stackhook.toml:4: hook.wait: expected at most 30m",
    );
    check_hook(
        "allow_from = [\"example.com\"]",
        "stackhook.toml:4: hook.allow_from: expected addresses or networks, such as \"10.0.0.0/8\"",
    );
    for list in [
        "events",
        "branches",
        "tags",
        "repositories",
        "images",
        "paths",
        "allow_from",
    ] {
        check_hook(
            &format!("{list} = []"),
            &format!(
                "stackhook.toml:4: hook.{list}: is empty; leave it out where it should not limit"
            ),
        );
    }
    check_hook(
        "branches = [\"refs/heads/main\"]",
        "stackhook.toml:4: hook.branches: write the bare name, without refs/heads/",
    );
    check_hook(
        "images = [\"a:b c\"]",
        "stackhook.toml:4: hook.images: the tag may have at most 128 letters, digits, \"_\", \".\" and \"-\", and begins with none of the last two",
    );
    check_hook(
        "payload = 1",
        "stackhook.toml:4: hook.payload: expected a section [hook.payload], found a number",
    );
    check_hook(
        "[hook.payload]\nimage = \"/a\"",
        "stackhook.toml:4: hook.payload: belongs to sender custom, and this hook's sender is generic, whose payload is known",
    );
    check_hook(
        "sender = \"custom\"\n[hook.payload]\nimage = \"a/b\"\ntag = \"/a~2\"",
        "stackhook.toml:6: hook.payload.image: expected a JSON pointer such as \"/artifact/tag\", with a / in front\nstackhook.toml:7: hook.payload.tag: a ~ in a JSON pointer is written ~0, and a / in a name ~1",
    );
    check_hook(
        "sender = \"custom\"\n[hook.payload.require]\n\"a\" = \"b\"\n\"/b\" = []\n\"/c\" = 1.5",
        "stackhook.toml:6: hook.payload.require: expected a JSON pointer such as \"/artifact/tag\", with a / in front\nstackhook.toml:7: hook.payload.require: an empty list can never be met\nstackhook.toml:8: hook.payload.require: expected a text or a list of texts, found a fraction",
    );
}

#[test]
fn images_cannot_be_limited_where_portainer_pulls() {
    let stack = "[[stack]]\nname = \"a\"\npull = \"portainer\"\n";
    let hook = "[[hook]]\nname = \"b\"\nsecret = \"0123456789abcdef\"\nimages = [\"nginx\"]\n";
    check(
        &format!("{stack}{hook}"),
        "stackhook.toml:7: hook.images: its stack \"a\" has pull = \"portainer\", where Portainer pulls every image; leave \"images\" out or use pull = \"first\"",
    );
    check(&format!("{stack}{hook}stacks = [\"app-stack\"]"), "");
}

#[test]
fn a_name_means_one_thing_only_where_both_answer() {
    // Hook "update" has no stack of that key: nothing to confuse.
    check(
        &format!(
            "[[stack]]\nname = \"b\"\n[[hook]]\nstacks = [\"app-stack\"]\n[[hook]]\nname = \"b\"\n{SECRET}"
        ),
        "",
    );
    // Without hook "update" a key answers nowhere.
    let mut place = Place::with(FIVE);
    place.set("PORTAINER_WEBHOOK_SECRET", "");
    place.write(
        "stackhook.toml",
        format!("[[hook]]\nname = \"app-stack\"\n{SECRET}"),
    );
    place.loaded(Need::Serve);
}

#[test]
fn a_hook_with_a_bad_stack_is_not_blamed() {
    check(
        "[[stack]]\nkey = \"a\"\nname = \"\"\n[[hook]]\nname = \"b\"\nsecret = \"0123456789abcdef\"\nstacks = [\"a\"]",
        "stackhook.toml:3: stack.name: is empty",
    );
}

#[test]
fn the_stack_that_is_meant_without_a_name() {
    let default = |file: &str, variables: &[(&str, &str)]| {
        let mut place = Place::with(&FIVE[..2]);
        variables
            .iter()
            .for_each(|(name, value)| place.set(name, value));
        place.write(
            "stackhook.toml",
            format!("{file}[[hook]]\nname = \"h\"\n{SECRET}"),
        );
        let config = place.loaded(Need::Serve).config;
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
    let config = place.loaded(Need::Serve).config;
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
    let config = place.loaded(Need::Serve).config;
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
