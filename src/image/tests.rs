//! Tables of references. The accepted and refused ones were compared with `distribution/reference`.

use super::*;
use crate::limits;

const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
const OTHER: &str = "sha256:f3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

#[track_caller]
fn check(text: &str, canonical: &str, familiar: &str) {
    let read = Reference::parse(text).unwrap_or_else(|why| panic!("{text:?}: {why}"));
    assert_eq!(
        (read.to_string().as_str(), read.familiar().as_str()),
        (canonical, familiar),
        "{text:?}"
    );
    assert_eq!(
        Reference::parse(canonical).as_ref(),
        Ok(&read),
        "{canonical:?} is {text:?}"
    );
    assert_eq!(
        Reference::parse(familiar).as_ref(),
        Ok(&read),
        "{familiar:?} is {text:?}"
    );
}

#[track_caller]
fn refused(text: &str, expected: BadReference) {
    assert_eq!(Reference::parse(text), Err(expected), "{text:?}");
}

#[test]
fn all_names_of_an_image_on_the_hub_are_equal() {
    check("nginx", "docker.io/library/nginx", "nginx");
    check("docker.io/nginx", "docker.io/library/nginx", "nginx");
    check(
        "docker.io/library/nginx",
        "docker.io/library/nginx",
        "nginx",
    );
    check("index.docker.io/nginx", "docker.io/library/nginx", "nginx");
    check(
        "index.docker.io/library/nginx:1",
        "docker.io/library/nginx:1",
        "nginx:1",
    );
    check("acme/web:1.2", "docker.io/acme/web:1.2", "acme/web:1.2");
    check("library/a/b", "docker.io/library/a/b", "library/a/b");
}

#[test]
fn the_first_part_is_a_registry_if_docker_reads_it_as_one() {
    check(
        "ghcr.io/acme/web:latest",
        "ghcr.io/acme/web:latest",
        "ghcr.io/acme/web:latest",
    );
    check("localhost/web", "localhost/web", "localhost/web");
    check(
        "localhost:5000/web",
        "localhost:5000/web",
        "localhost:5000/web",
    );
    check(
        "127.0.0.1:5000/web:1",
        "127.0.0.1:5000/web:1",
        "127.0.0.1:5000/web:1",
    );
    check("[::1]:5000/web:1", "[::1]:5000/web:1", "[::1]:5000/web:1");
    check("[fe80::1]/web", "[fe80::1]/web", "[fe80::1]/web");
    check("Registry/web", "Registry/web", "Registry/web");
    check("registry/web", "docker.io/registry/web", "registry/web");
    check(
        "localhost:5000",
        "docker.io/library/localhost:5000",
        "localhost:5000",
    );
    check("1", "docker.io/library/1", "1");
}

#[test]
fn digests_stay_with_and_without_a_tag() {
    check(
        &format!("web@{DIGEST}"),
        &format!("docker.io/library/web@{DIGEST}"),
        &format!("web@{DIGEST}"),
    );
    check(
        &format!("a.io/web:1@{DIGEST}"),
        &format!("a.io/web:1@{DIGEST}"),
        &format!("a.io/web:1@{DIGEST}"),
    );
    let both = Reference::parse(&format!("a.io:5000/b/web:1@{DIGEST}")).unwrap();
    assert_eq!(
        (
            both.registry(),
            both.repository().as_str(),
            both.path(),
            both.tag(),
            both.digest()
        ),
        (
            Some("a.io:5000"),
            "a.io:5000/b/web",
            "b/web",
            Some("1"),
            Some(DIGEST)
        )
    );
}

#[test]
fn the_default_tag_is_added_only_without_tag_and_digest() {
    #[track_caller]
    fn check(text: &str, expected: &str) {
        assert_eq!(
            Reference::parse(text)
                .unwrap()
                .with_default_tag()
                .familiar(),
            expected
        );
    }
    check("web", "web:latest");
    check("web:1", "web:1");
    check(&format!("web@{DIGEST}"), &format!("web@{DIGEST}"));
}

#[test]
fn refuses_references_that_docker_refuses() {
    refused("", BadReference::Empty);
    refused(DIGEST, BadReference::BareId);
    refused(&DIGEST[7..], BadReference::BareId);
    refused("Nginx", BadReference::Uppercase);
    refused("acme/Web", BadReference::Uppercase);
    refused("web:", BadReference::Tag);
    refused("web:-1", BadReference::Tag);
    refused("web:a b", BadReference::Tag);
    refused("web:1 ", BadReference::Tag);
    refused(&format!("web:{}", "a".repeat(129)), BadReference::Tag);
    refused("web@sha256:abc", BadReference::Digest);
    refused("web@", BadReference::Digest);
    refused(&format!("web@md5:{}", "a".repeat(32)), BadReference::Digest);
    refused(
        &format!("web@{}", DIGEST.to_uppercase()),
        BadReference::Digest,
    );
    refused(&format!("web@{DIGEST}@{DIGEST}"), BadReference::Digest);
    refused("/web", BadReference::Repository);
    refused("web/", BadReference::Repository);
    refused("a//b", BadReference::Repository);
    refused("a.io/", BadReference::Repository);
    refused("web..1", BadReference::Repository);
    refused("web.-1", BadReference::Repository);
    refused("web___1", BadReference::Repository);
    refused("-web", BadReference::Repository);
    refused("we b", BadReference::Repository);
    refused("wéb", BadReference::Repository);
    refused("a.io:5000:6/web", BadReference::Registry);
    refused("a.io:/web", BadReference::Registry);
    refused("a_b.io/web", BadReference::Registry);
    refused("-a.io/web", BadReference::Registry);
    refused("[::g]/web", BadReference::Registry);
    refused("https://ghcr.io/acme/web", BadReference::Registry);
    refused(&"a".repeat(REPOSITORY_MAX + 1), BadReference::TooLong);
    refused(
        &format!("web:{}", "a".repeat(limits::REFERENCE_MAX)),
        BadReference::TooLong,
    );
}

#[test]
fn accepts_the_separators_that_docker_allows() {
    check(
        "x/a.b_c__d-e---f",
        "docker.io/x/a.b_c__d-e---f",
        "x/a.b_c__d-e---f",
    );
}

#[track_caller]
fn event(wanted: &str, named: &str, expected: bool) {
    let (wanted, named) = (
        Reference::parse(wanted).unwrap(),
        Reference::parse(named).unwrap(),
    );
    assert_eq!(
        wanted.matches_event(&named),
        expected,
        "an event for {named} on {wanted}"
    );
}

#[track_caller]
fn event_anywhere(wanted: &str, named: &str, expected: bool) {
    let (wanted, named) = (
        Reference::parse(wanted).unwrap(),
        Reference::on_any_registry(named).unwrap(),
    );
    assert_eq!(
        wanted.matches_event(&named),
        expected,
        "an event for {named} on {wanted}"
    );
}

#[test]
fn an_event_is_compared_in_canonical_form() {
    event("nginx:1", "docker.io/library/nginx:1", true);
    event("nginx:1", "index.docker.io/nginx:1", true);
    event("nginx:1", "registry-1.docker.io/library/nginx:1", true);
    event("registry-1.docker.io/library/nginx:1", "nginx:1", true);
    event("nginx:1", "ghcr.io/library/nginx:1", false);
    event("GHCR.io/acme/web:1", "ghcr.io/acme/web:1", true);
    event("a.io:5000/web:1", "a.io/web:1", false);
    event("a.io/library/web:1", "a.io/web:1", false);
}

#[test]
fn an_event_without_tag_and_digest_matches_all_versions() {
    event("nginx:1", "nginx", true);
    event(&format!("nginx@{DIGEST}"), "nginx", true);
    event("nginx:1", "nginx:2", false);
    event("nginx:1", &format!("nginx:1@{DIGEST}"), true);
    event("nginx:2", &format!("nginx:1@{DIGEST}"), false);
    event("nginx:1", &format!("nginx@{DIGEST}"), false);
    event(&format!("nginx:1@{DIGEST}"), "nginx:1", false);
    event(
        &format!("nginx:1@{DIGEST}"),
        &format!("nginx:2@{DIGEST}"),
        true,
    );
    event(&format!("nginx@{DIGEST}"), &format!("nginx@{OTHER}"), false);
    event("nginx", "nginx:latest", false);
}

#[test]
fn an_event_without_a_registry_matches_every_registry() {
    event_anywhere("ghcr.io/acme/web:1", "acme/web:1", true);
    event_anywhere("a.io:5000/acme/web:1", "acme/web", true);
    event_anywhere("ghcr.io/acme/web:2", "acme/web:1", false);
    event_anywhere("ghcr.io/other/acme/web:1", "acme/web:1", false);
    event_anywhere("nginx:1", "nginx:1", true);
    event_anywhere("nginx:1", "library/nginx:1", true);
    event_anywhere("a.io/nginx:1", "nginx:1", true);
    event_anywhere("ghcr.io/acme/web:1", "quay.io/acme/web:1", false);
    assert_eq!(
        Reference::on_any_registry("acme/web").unwrap().registry(),
        None
    );
    assert_eq!(
        Reference::on_any_registry("acme/web:1")
            .unwrap()
            .to_string(),
        "acme/web:1"
    );
    assert_eq!(
        Reference::on_any_registry("Acme_/web"),
        Err(BadReference::Registry)
    );
}

#[test]
fn no_error_repeats_the_text() {
    for text in [
        "hunter2:hunter2:hunter2",
        "Hunter2",
        "hunter2@hunter2",
        "hunter2//",
    ] {
        let why = Reference::parse(text).unwrap_err().to_string();
        assert!(!why.contains("unter2"), "{why}");
    }
}
