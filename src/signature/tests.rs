use super::*;
use crate::secret::to_hex;

pub(super) const KEY: &str = "9f1c7a0e5b2d48c6a3e7f4d1b8092c6e5a7d3f1b0c8e6a4d2f9b7c5e3a1d0f8b";

pub(super) fn headers(lines: &[(&str, &str)]) -> Headers {
    let mut headers = Headers::default();
    lines
        .iter()
        .for_each(|(name, value)| headers.push(name, value));
    headers
}

pub(super) fn secrets(texts: &[&str]) -> Vec<Secret> {
    texts
        .iter()
        .map(|text| Secret::new(*text).unwrap())
        .collect()
}

pub(super) fn scheme(name: SchemeName) -> Scheme {
    Scheme {
        kind: TokenKind::Raw,
        ..Scheme::plain(name)
    }
}

/// Passes a verified request to `look`, for tests of parsers; the proof is a token.
pub(crate) fn proven<T>(
    lines: &[(&str, &str)],
    body: &[u8],
    look: impl FnOnce(&Verified<'_>) -> T,
) -> T {
    let mut headers = headers(lines);
    headers.push("x-proof", KEY);
    let scheme = Scheme {
        header: "x-proof".to_owned(),
        ..scheme(SchemeName::Token)
    };
    let given = SignedRequest {
        headers: &headers,
        query: None,
        body: &UnverifiedBody::new(body.to_vec()),
    };
    look(&verify(&scheme, &secrets(&[KEY]), given, 0).unwrap())
}

pub(super) fn code(
    scheme: &Scheme,
    texts: &[&str],
    lines: &[(&str, &str)],
    body: &str,
) -> Result<(usize, usize), &'static str> {
    rejected(scheme, texts, lines, body).map_err(|rejection| rejection.code())
}

fn rejected(
    scheme: &Scheme,
    texts: &[&str],
    lines: &[(&str, &str)],
    body: &str,
) -> Result<(usize, usize), Rejection> {
    let given = SignedRequest {
        headers: &headers(lines),
        query: None,
        body: &UnverifiedBody::new(body.as_bytes().to_vec()),
    };
    verify(scheme, &secrets(texts), given, 1_700_000_000).map(|verified| verified.secret())
}

/// The verdict of scheme `generic` on one header.
#[track_caller]
fn check(value: &str, body: &str, expected: Result<(usize, usize), &str>) {
    let lines = [("X-Portainer-Signature", value)];
    let given = code(&scheme(SchemeName::Generic), &[KEY], &lines, body);
    assert_eq!(given, expected, "{value:?} over {body:?}");
}

fn signature(secret: &str, body: &str) -> String {
    to_hex(&Secret::new(secret).unwrap().sign(&[body.as_bytes()]))
}

const BODY: &str = "{\"event\":\"push\",\"ref\":\"refs/heads/main\"}";

#[test]
fn accepts_its_own_signatures() {
    for name in SchemeName::NAMES {
        let name = SchemeName::parse(name).unwrap();
        let text = match name {
            SchemeName::StandardWebhooks => "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
            _ => "user:a-secret-of-32-characters-or-so",
        };
        for kind in [TokenKind::Raw, TokenKind::Bearer, TokenKind::Basic] {
            let scheme = Scheme {
                kind,
                ..Scheme::plain(name)
            };
            let secret = Secret::new(text).unwrap();
            let body = UnverifiedBody::new(b"{}".to_vec());
            let Some(Proof::Headers(lines)) = sign(&scheme, &secret, b"{}", "id-1", 1000) else {
                assert_eq!(name, SchemeName::UrlToken);
                continue;
            };
            let mut headers = Headers::default();
            lines
                .iter()
                .for_each(|(name, value)| headers.push(name, value));
            let given = SignedRequest {
                headers: &headers,
                query: None,
                body: &body,
            };
            let verified = verify(&scheme, &[secret], given, 1000);
            assert!(verified.is_ok(), "{} {kind:?} {verified:?}", name.name());
        }
    }
}

#[test]
fn accepts_the_documented_signature_in_every_spelling() {
    // Computed with OpenSSL, not with this program.
    let digits = "cae07addfb4c6b3f7b60cf7be55f431c2207dc98dd2b2008094f4f0d725f7fd4";
    check(digits, BODY, Ok((1, 1)));
    check(&digits.to_uppercase(), BODY, Ok((1, 1)));
    check(&format!("sha256={digits}"), BODY, Ok((1, 1)));
    check(
        &format!("sha256={}", digits.to_uppercase()),
        BODY,
        Ok((1, 1)),
    );
}

#[test]
fn rejects_another_body_another_secret_and_a_changed_bit() {
    let digits = signature(KEY, BODY);
    check(&digits, &format!("{BODY}\n"), Err("mismatch"));
    check(&digits, &BODY.replace("main", "mail"), Err("mismatch"));
    check(&digits, "", Err("mismatch"));
    check(
        &signature("another secret of ours", BODY),
        BODY,
        Err("mismatch"),
    );
    for place in 0..64 {
        let mut changed = digits.clone().into_bytes();
        changed[place] = if changed[place] == b'0' { b'1' } else { b'0' };
        check(&String::from_utf8(changed).unwrap(), BODY, Err("mismatch"));
    }
}

#[test]
fn rejects_parts_of_a_signature() {
    let digits = signature(KEY, BODY);
    for length in 0..64 {
        check(&digits[..length], BODY, Err("bad_length"));
        check(
            &format!("sha256={}", &digits[..length]),
            BODY,
            Err("bad_length"),
        );
    }
    check(&format!("{digits}00"), BODY, Err("bad_length"));
    check(&digits.repeat(2), BODY, Err("bad_length"));
}

#[test]
fn names_a_signature_in_the_wrong_form() {
    let digits = signature(KEY, BODY);
    for (value, code) in [
        (format!("SHA256={digits}"), "bad_prefix"),
        (format!("sha1={digits}"), "bad_prefix"),
        (format!("sha256=sha256={digits}"), "bad_prefix"),
        (format!("sha256= {digits}"), "not_hex"),
        (format!("\"{digits}\""), "not_hex"),
        (format!("SHA2-256(stdin)= {digits}"), "not_hex"),
        (format!("{digits},{digits}"), "not_hex"),
        (digits.replace('c', "g"), "not_hex"),
        ("é".repeat(32), "not_hex"),
    ] {
        check(&value, BODY, Err(code));
    }
}

#[test]
fn requires_exactly_one_signature() {
    let digits = signature(KEY, BODY);
    let generic = scheme(SchemeName::Generic);
    let line = ("X-Portainer-Signature", digits.as_str());
    assert_eq!(code(&generic, &[KEY], &[], BODY), Err("missing_signature"));
    assert_eq!(
        code(&generic, &[KEY], &[line, line], BODY),
        Err("duplicate_header")
    );
    assert_eq!(
        code(
            &generic,
            &[KEY],
            &[("X-Portainer-Signature", "00"), line],
            BODY
        ),
        Err("duplicate_header")
    );
}

#[test]
fn tries_every_secret_and_reports_the_number_that_matches() {
    let (new, old, older) = ("new-secret-new-secret", "old-secret-old-secret", KEY);
    let generic = scheme(SchemeName::Generic);
    for (signer, expected) in [
        (new, Ok((1, 3))),
        (old, Ok((2, 3))),
        (older, Ok((3, 3))),
        ("removed-secret-removed", Err("mismatch")),
    ] {
        let digits = signature(signer, BODY);
        let lines = [("X-Portainer-Signature", digits.as_str())];
        assert_eq!(
            code(&generic, &[new, old, older], &lines, BODY),
            expected,
            "{signer}"
        );
    }
    let digits = signature(new, BODY);
    let lines = [("X-Portainer-Signature", digits.as_str())];
    assert_eq!(code(&generic, &[], &lines, BODY), Err("mismatch"));
}

#[test]
fn recognizes_the_secret_itself_before_the_format() {
    // 64 hex digits, as `openssl rand -hex 32` makes them: it looks like a signature.
    for value in [
        KEY.to_owned(),
        format!("sha256={KEY}"),
        format!("Bearer {KEY}"),
        format!("bearer {KEY}"),
    ] {
        check(&value, BODY, Err("raw_secret_sent"));
    }
    let text = "correct horse battery staple";
    let generic = scheme(SchemeName::Generic);
    let lines = [("X-Portainer-Signature", text)];
    let rejection = rejected(&generic, &[KEY, text], &lines, BODY).unwrap_err();
    assert_eq!(rejection.code(), "raw_secret_sent");
    let hint = rejection.hint();
    assert!(hint.contains("rotate"), "{hint}");
    assert!(!hint.contains(text));
    // A part of it, or more than it, confirms nothing.
    for near in [&text[1..], &text[..20], "correct horse battery staples"] {
        check(near, BODY, Err("not_hex"));
    }
}

#[test]
fn reads_only_the_header_of_the_scheme() {
    let digits = signature(KEY, BODY);
    let drone = Scheme {
        header: "x-drone-signature".to_owned(),
        ..scheme(SchemeName::Generic)
    };
    let line = [("X-Drone-Signature", digits.as_str())];
    assert_eq!(code(&drone, &[KEY], &line, BODY), Ok((1, 1)));
    let usual = [("X-Portainer-Signature", digits.as_str())];
    assert_eq!(code(&drone, &[KEY], &usual, BODY), Err("missing_signature"));
}

#[track_caller]
fn check_hint(name: SchemeName, lines: &[(&str, &str)], body: &str, expected: &str) {
    let rejection = rejected(&scheme(name), &[KEY], lines, body).unwrap_err();
    let hint = rejection.hint();
    assert!(hint.contains(expected), "{hint:?} lacks {expected:?}");
    assert!(!hint.contains(&signature(KEY, body)), "{hint:?}");
}

#[test]
fn hints_name_the_usual_mistakes() {
    let generic = SchemeName::Generic;
    let digits = signature(KEY, BODY);
    let signed = [("X-Portainer-Signature", digits.as_str())];
    check_hint(generic, &signed, &format!("{BODY}\n"), "printf");
    check_hint(generic, &signed, "", "arrived empty");
    check_hint(generic, &signed, "{}", "secret differs");
    check_hint(generic, &signed, "{}", "printf '%s' and not echo");
    check_hint(
        generic,
        &[("X-Portainer-Signature", "")],
        BODY,
        "no secret set",
    );
    check_hint(generic, &[], BODY, "set the hook's secret");
    for (header, other) in [
        ("X-Hub-Signature-256", "\"github\""),
        ("X-Hub-Signature", "\"bitbucket\""),
        ("X-Gitea-Signature", "\"gitea\""),
        ("X-Gogs-Signature", "\"gogs\""),
        ("X-Forgejo-Signature", "\"forgejo\""),
        ("webhook-signature", "\"standard-webhooks\""),
        ("svix-signature", "\"standard-webhooks\""),
        ("X-Gitlab-Token", "\"token\""),
    ] {
        check_hint(generic, &[(header, "anything")], BODY, other);
    }
    let form = [
        ("Content-Type", "application/x-www-form-urlencoded"),
        ("X-Gitea-Signature", digits.as_str()),
    ];
    check_hint(
        SchemeName::Gitea,
        &form,
        "payload=%7B%7D",
        "application/json",
    );
    let sha1 = [("X-Hub-Signature", "sha1=00")];
    check_hint(SchemeName::Github, &sha1, BODY, "bitbucket");
}

#[test]
fn hides_unverified_bodies() {
    let sealed = UnverifiedBody::new(b"very secret".to_vec());
    assert_eq!(format!("{sealed:?}"), "UnverifiedBody(11 bytes)");
    proven(&[("X-A", "very secret")], b"very secret", |verified| {
        assert!(!format!("{verified:?}").contains("very"));
    });
}

mod standard_webhooks;
mod tokens;
mod schemes;
mod vectors;
