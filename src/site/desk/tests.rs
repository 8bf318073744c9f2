//! The same-origin check of forms, and the content security policy.

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
fn accepts_forms_of_this_page_only() {
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
fn names_both_addresses_and_the_key_to_set() {
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
fn allows_style_and_script_by_their_hashes_alone() {
    let policy = policy();
    assert_eq!(policy.matches("'sha256-").count(), 2);
    assert!(!policy.contains("unsafe"), "{policy}");
    assert!(policy.starts_with("default-src 'none'; "));
    // No attribute carries style or script: the policy would block it. Nothing but these two texts is put in unescaped.
    let templates = [
        include_str!("../page/page.html"),
        include_str!("../page/stack.html"),
        include_str!("../page/delivery.html"),
        include_str!("../page/message.html"),
        include_str!("../page/parts.html"),
    ];
    for template in templates {
        for forbidden in [
            " style=",
            " onclick=",
            " onload=",
            "javascript:",
            "https://",
        ] {
            assert!(!template.contains(forbidden), "{forbidden} in {template}");
        }
        let allowed = template.replace("<style>{{ style|safe }}</style>", "");
        let allowed = allowed.replace("<script>{{ script|safe }}</script>", "");
        assert!(
            !allowed.contains("|safe") && !allowed.contains("| safe"),
            "{template}"
        );
    }
    assert!(!STYLE.contains("</style") && !SCRIPT.contains("</script"));
}
