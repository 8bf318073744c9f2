//! Forms from elsewhere, and what the browser is told.

use super::*;

fn headers(lines: &[(&str, &str)]) -> Headers {
    let mut headers = Headers::default();
    lines
        .iter()
        .for_each(|(name, value)| headers.push(name, value));
    headers
}

#[track_caller]
fn check(public_url: Option<&str>, lines: &[(&str, &str)], ours: bool) {
    let said = own_page(public_url, &headers(lines));
    assert_eq!(said.is_ok(), ours, "{lines:?}: {said:?}");
}

#[test]
fn only_this_page_sends_forms() {
    let host = ("Host", "hooks.internal:8484");
    let public = Some("https://hooks.example.com/path");
    check(None, &[host, ("Sec-Fetch-Site", "same-origin")], true);
    check(
        None,
        &[host, ("Origin", "http://hooks.internal:8484")],
        true,
    );
    check(
        None,
        &[host, ("Origin", "https://hooks.internal:8484")],
        true,
    );
    check(
        None,
        &[host, ("Origin", "HTTP://Hooks.internal:8484")],
        true,
    );
    check(
        public,
        &[host, ("Origin", "https://hooks.example.com")],
        true,
    );
    check(
        public,
        &[host, ("Origin", "http://hooks.internal:8484")],
        true,
    );
    for site in ["cross-site", "same-site", "none", ""] {
        let own = ("Origin", "http://hooks.internal:8484");
        check(None, &[host, own, ("Sec-Fetch-Site", site)], false);
    }
    for origin in [
        "null",
        "",
        "http://evil.example",
        "http://hooks.internal",
        "http://hooks.internal:8484.evil.example",
        "https://hooks.example.com.evil.example",
        "https://hooks.example.com/path",
    ] {
        check(public, &[host, ("Origin", origin)], false);
    }
    let (same, cross) = (
        ("Sec-Fetch-Site", "same-origin"),
        ("Sec-Fetch-Site", "cross-site"),
    );
    let own = ("Origin", "http://hooks.internal:8484");
    let evil = ("Origin", "http://evil.example");
    for twice in [[same, cross], [cross, same], [own, evil], [evil, own]] {
        check(None, &[host, twice[0], twice[1]], false);
    }
    check(public, &[host], false);
    check(None, &[("Origin", "http://")], false);
}

#[test]
fn the_refusal_names_both_addresses_and_the_key_to_set() {
    let lines = [
        ("Host", "10.0.0.5:8484"),
        ("Origin", "https://hooks.example.com"),
    ];
    let words = own_page(None, &headers(&lines)).unwrap_err();
    for word in [
        "https://hooks.example.com",
        "http://10.0.0.5:8484",
        "public_url",
    ] {
        assert!(words.contains(word), "{word} is not in {words}");
    }
}

#[test]
fn style_and_script_are_allowed_by_their_hashes_alone() {
    let policy = policy();
    assert_eq!(policy.matches("'sha256-").count(), 2);
    assert!(!policy.contains("unsafe"), "{policy}");
    assert!(policy.starts_with("default-src 'none'; "));
    // No attribute of the page carries style or script: the policy would not let it through.
    for forbidden in [
        " style=",
        " onclick=",
        " onload=",
        "javascript:",
        "http://",
        "https://",
    ] {
        assert!(!PAGE.contains(forbidden), "{forbidden} is on the page");
    }
}
