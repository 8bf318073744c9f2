//! Tables of redacted and unchanged texts, then random texts in which no secret may survive.

use super::*;
use crate::random::Random;

#[track_caller]
fn check(secrets: &[&str], text: &str, expected: &str) {
    let redactor = Redactor::new(secrets.iter().map(|secret| (*secret).to_owned()));
    assert_eq!(redactor.show(text), expected, "{text:?}");
    assert_eq!(redactor.show(expected), expected, "shown twice");
}

#[track_caller]
fn check_env(env: &[(&str, &str)], plain: &[&str], text: &str, expected: &str) {
    let redactor = Redactor::default().with_env(env.iter().copied(), plain);
    assert_eq!(redactor.show(text), expected, "{text:?}");
}

#[test]
fn configured_secrets_become_stars() {
    check(
        &["hunter22"],
        "pass hunter22, again hunter22!",
        "pass ***, again ***!",
    );
    check(&["hunter22"], "hunter2", "hunter2");
    check(&["x"], "axb", "a***b");
    check(&[""], "text", "text");
    check(&["*", "**", "***"], "a * b ** c", "a * b ** c");
}

#[test]
fn secrets_that_overlap_are_covered_whole() {
    check(&["abcd", "abcdefgh"], "abcdefgh", "***");
    check(&["abcd", "cdef"], "-abcdef-", "-***-");
    check(&["abcdefgh", "cd"], "abcdefgh", "***");
    check(&["abcd"], "abcdabcd", "***");
    check(&["aaa"], "aaaaa", "***");
}

#[test]
fn encoded_secrets_are_found_too() {
    let secret = "p\"a/s\\s ü+1";
    for text in [
        "p\"a/s\\s ü+1",
        "p%22a%2Fs%5Cs%20%C3%BC%2B1",
        "p%22a/s%5cs+%c3%bc%2b1",
        "%70%22%61%2f%73%5c%73%20%c3%bc%2b%31",
        r#"p\"a/s\\s ü+1"#,
        r#"p\"a\/s\\s \u00fc+1"#,
        r#"p\u0022a\u002Fs\u005cs\u0020\u00FC\u002b1"#,
        r#"p\\\"a/s\\\\s ü+1"#,
    ] {
        check(&[secret], &format!("<{text}>"), "<***>");
    }
    check(&["a&b😀c"], r"a\u0026b\ud83d\ude00c", "***");
    check(&["one\ntwo-three"], "one\ntwo-three", "***");
    check(&["one\ntwo-three"], r#""one\ntwo-three""#, r#""***""#);
}

#[test]
fn api_keys_are_known_by_their_looks() {
    check(&[], "key ptr_a1B2/c+d=.", "key ***.");
    check(&[], "ptr_a%2Bb%3D&x", "***&x");
    check(&[], "ptr_ and ptr", "ptr_ and ptr");
}

#[test]
fn user_and_password_of_a_url_are_taken_out() {
    check(
        &[],
        "get https://user:pw@host/path failed",
        "get https://***@host/path failed",
    );
    check(
        &[],
        "\"https://token@host:8443/v2/\": no",
        "\"https://***@host:8443/v2/\": no",
    );
    check(&[], "https://u:p@ss@host", "https://***@host");
    check(&[], "https://u:pa/ss@host/x", "https://***@host/x");
    check(&[], r"https:\/\/u:p@host\/x", r"https:\/\/***@host\/x");
    check(
        &[],
        "redirect=https%3A%2F%2Fu%3Ap%40host",
        "redirect=https%3A%2F%2F***%40host",
    );
    check(
        &[],
        "https://host/@scope/pkg and me@example.com",
        "https://host/@scope/pkg and me@example.com",
    );
    check(&[], "https://host:443/@scope", "https://host:443/@scope");
    check(&[], "a://b c://u:p@d", "a://b c://***@d");
}

#[test]
fn variables_are_secret_by_name_or_length() {
    for name in [
        "DB_PASSWORD",
        "my_secret",
        "TOKEN",
        "ApiKey",
        "PGPWD",
        "CREDS",
        "BASIC_AUTH",
        "SENTRY_DSN",
    ] {
        check_env(&[(name, "abcd")], &[], "got abcd", "got ***");
    }
    check_env(&[("COLOUR", "abcd")], &[], "got abcd", "got abcd");
    check_env(
        &[("COLOUR", "0123456789abcde")],
        &[],
        "0123456789abcde",
        "0123456789abcde",
    );
    check_env(
        &[("COLOUR", "0123456789abcdef")],
        &[],
        "0123456789abcdef",
        "***",
    );
}

#[test]
fn lines_of_a_long_value_are_secret_each() {
    let key = "-----BEGIN KEY-----\nMIIEvQIBADANBgkqhkiG\nshort\n";
    check_env(
        &[("PEM", key)],
        &[],
        "bad line MIIEvQIBADANBgkqhkiG, short",
        "bad line ***, short",
    );
    check_env(
        &[("PEM", key)],
        &["MIIEvQIBADANBgkqhkiG"],
        "MIIEvQIBADANBgkqhkiG",
        "MIIEvQIBADANBgkqhkiG",
    );
}

#[test]
fn short_and_ordinary_values_do_not_blot_the_text() {
    let env = [
        ("AUTH", "on"),
        ("KEY_BITS", "1"),
        ("TOKEN", "abc"),
        ("USE_TOKEN", "true"),
        ("AUTH_KIND", "Basic"),
        ("PASS", ""),
    ];
    check_env(
        &env,
        &[],
        "1 container is on, abc true Basic",
        "1 container is on, abc true Basic",
    );
}

#[test]
fn names_that_people_must_read_stay() {
    let plain = [
        "ghcr.io/acme/web:1.2.3-alpine",
        "app-stack",
        "local",
        "database-primary",
    ];
    let env = [
        ("IMAGE", "ghcr.io/acme/web"),
        ("TAG_KEY", "1.2.3-alpine"),
        ("DB_PASSWORD", "database-primary"),
        ("STACK_KEY", "app-stack"),
        ("AUTH", "loca"),
        ("TOKEN", "web-app-stack"),
    ];
    let text = "ghcr.io/acme/web:1.2.3-alpine of app-stack on local, database-primary";
    check_env(&env, &plain, text, text);
    check_env(&env, &plain, "web-app-stack", "***");
    // What is configured as a secret goes, whatever it is called elsewhere.
    let redactor = Redactor::new(["app-stack".to_owned()]).with_env(env, &plain);
    assert_eq!(redactor.show("app-stack"), "***");
}

#[test]
fn signs_that_disturb_a_terminal_are_escaped() {
    check(
        &[],
        "a\r\nb\tc\u{1b}[31m\u{0}\u{7f}\u{9b}",
        r"a\r\nb\tc\u{1b}[31m\u{0}\u{7f}\u{9b}",
    );
    check(&[], "a\u{202e}b\u{2028}c", r"a\u{202e}b\u{2028}c");
    check(&[], "grün 😀 \\ \"", "grün 😀 \\ \"");
}

#[test]
fn long_text_is_cut_after_the_secrets_are_gone() {
    let redactor = Redactor::new(["hunter22".to_owned()]);
    let exact = "a".repeat(limits::FOREIGN_TEXT);
    assert_eq!(redactor.show(&exact), exact);
    let cut = redactor.show(&format!("{exact}a"));
    assert_eq!(
        (cut.len(), cut.ends_with("a…")),
        (limits::FOREIGN_TEXT, true)
    );
    let wide = redactor.show(&"ü".repeat(limits::FOREIGN_TEXT));
    assert!(wide.len() <= limits::FOREIGN_TEXT && wide.ends_with("ü…"));
    // A secret across the cut leaves no half of it.
    let before = "a".repeat(limits::FOREIGN_TEXT - 6);
    assert!(
        !redactor
            .show(&format!("{before}hunter22 and more"))
            .contains("hunt")
    );
    assert_eq!(redactor.show(&cut), cut);
}

#[test]
fn of_a_log_the_end_stays_with_its_lines() {
    let redactor = Redactor::new(["one\ntwo-three".to_owned()]);
    assert_eq!(
        redactor.show_log("a\nb\r\none\ntwo-three\n"),
        "a\nb\\r\n***\n"
    );
    let long = redactor.show_log(&("ü\n".repeat(limits::LOG_KEPT) + "last"));
    assert!(
        long.len() <= limits::LOG_KEPT && long.starts_with('…') && long.ends_with("ü\nlast"),
        "{long}"
    );
    assert_eq!(redactor.show_log(&long), long);
}

#[test]
fn debug_shows_nothing() {
    let redactor = Redactor::new(["hunter22".to_owned()]);
    assert_eq!(format!("{redactor:?}"), "Redactor(…)");
}

/// Joins this many random parts.
fn random_text(random: &mut Random, parts: &[&str], count: usize) -> String {
    (0..count).map(|_| random.pick(parts)).collect()
}

/// `STACKHOOK_ROUNDS=1000000 cargo test survives` looks longer.
#[test]
fn no_secret_survives_and_showing_twice_changes_nothing() {
    let parts = [
        "a", "b", "*", "\\", "n", "\n", "%", "2", "u", "/", "@", ":", " ", "ü", "…", "ptr_", "://",
        "\"", "{", "0",
    ];
    let rounds: u32 = std::env::var("STACKHOOK_ROUNDS")
        .ok()
        .and_then(|rounds| rounds.parse().ok())
        .unwrap_or(5_000);
    let mut random = Random::new(0x5eed);
    for round in 0..rounds {
        let secrets: Vec<String> = (1..4)
            .map(|length| random_text(&mut random, &parts, length))
            .collect();
        let redactor = Redactor::new(secrets.clone());
        let mut text = random_text(&mut random, &parts, 12);
        text.push_str(&secrets.concat());
        text.push_str(&random_text(&mut random, &parts, 12));
        if round % 500 == 0 {
            text = text.repeat(200);
        }
        let shown = redactor.show(&text);
        for secret in secrets
            .iter()
            .filter(|secret| !STARS.contains(secret.as_str()) && !secret.contains('…'))
        {
            assert!(
                !shown.contains(secret.as_str()),
                "{secret:?} in {shown:?} of {text:?}"
            );
        }
        assert_eq!(redactor.show(&shown), shown, "{secrets:?} {text:?}");
        assert!(shown.len() <= limits::FOREIGN_TEXT && !shown.contains(char::is_control));
        let log = redactor.show_log(&text);
        assert_eq!(redactor.show_log(&log), log, "{secrets:?} {text:?}");
    }
}

/// Encodes text as a session token does.
fn base64(text: &str) -> String {
    to_base64(text.as_bytes())
}

#[test]
fn hides_base64_of_a_secret_wherever_it_begins() {
    let secret = "hunter22-correct-horse~~~???";
    let redactor = Redactor::new([secret.to_owned()]);
    for around in ["", "a", "ab", "abc", "user:"] {
        let encoded = base64(&format!("{around}{secret}{around}"));
        for text in [
            encoded.clone(),
            encoded.replace('+', "-").replace('/', "_"),
            encoded.trim_end_matches('=').to_owned(),
        ] {
            let shown = redactor.show(&format!("Authorization: Basic {text}"));
            // Up to two characters at each end also encode the neighbours.
            let left = shown.replace("Authorization: Basic ", "");
            assert!(
                left.contains(STARS) && left.len() <= STARS.len() + 2 * 9,
                "{shown}"
            );
        }
    }
    let short = Redactor::new(["abc".to_owned()]);
    assert_eq!(short.show("YWJj and others"), "YWJj and others");
}

#[test]
fn hides_whatever_looks_like_a_session_token() {
    let head = base64("{\"alg\":\"HS256\",\"typ\":\"JWT\"}");
    let claims = base64("{\"id\":1,\"username\":\"admin\",\"exp\":1790000000}");
    let (head, claims) = (head.trim_end_matches('='), claims.trim_end_matches('='));
    let mark = "Kx3-vU_9aQ2LmZ7TtR0eYp1B";
    let token = format!("{head}.{claims}.{mark}");
    let half = head.len() / 2;
    for text in [
        token.clone(),
        format!("Bearer {token}"),
        format!("{{\"Authorization\":\"Bearer {token}\"}}"),
        format!("x=%20{token}&y"),
        format!("a\\n{token}"),
        // Split by a line end, within any part.
        format!("{}\n{}", &token[..half], &token[half..]),
        format!("{head}.{}\r\n{}.{mark}", &claims[..20], &claims[20..]),
        format!("{}\\n{}", &token[..half], &token[half..]),
        // Only later parts are left.
        format!("{}.{claims}.{mark}", &head[5..]),
        // Not complete.
        format!("{head}.{claims}"),
        head.to_owned(),
    ] {
        let redactor = Redactor::default();
        for shown in [redactor.show(&text), redactor.show_log(&text)] {
            assert!(shown.contains(STARS), "{text}: {shown}");
            for part in [head, claims, mark] {
                let pieces = [&part[..8], &part[part.len() - 8..]];
                assert!(
                    !pieces.iter().any(|piece| shown.contains(piece)),
                    "{text}: {shown}"
                );
            }
        }
    }
    for harmless in [
        "eyJ",
        "hockeyJersey-of-the-whole-team",
        "a keyJournal of twenty entries",
        "sha256:8c7d0123456789abcdef",
    ] {
        check(&[], harmless, harmless);
    }
}

#[test]
fn makes_misleading_characters_visible_in_every_output() {
    for character in [
        '\0', '\u{7}', '\u{1b}', '\r', '\u{7f}', '\u{85}', '\u{9b}', '\u{61c}', '\u{200e}',
        '\u{200f}', '\u{2028}', '\u{202e}', '\u{2066}', '\u{2069}',
    ] {
        let text = format!("a{character}b");
        let json = escape_json(serde_json::to_string(&text).unwrap());
        assert_eq!(serde_json::from_str::<String>(&json).unwrap(), text);
        for shown in [
            escape_line(&text).as_ref(),
            escape_lines(&text).as_ref(),
            &json,
        ] {
            assert!(!shown.contains(is_misleading), "{shown:?}");
        }
    }
    assert_eq!(escape_json("\"\u{9b}\"".to_owned()), "\"\\u009b\"");
    assert_eq!(escape_lines("ä\n\u{9b}"), "ä\n\\u{9b}");
}
