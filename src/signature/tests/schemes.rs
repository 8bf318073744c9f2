//! Peculiarities of the schemes of Git hosts, and requests that no scheme accepts.

use super::super::{Scheme, SchemeName, SignedRequest, TokenKind, UnverifiedBody, verify};
use super::standard_webhooks::{NOW, SIGNING};
use super::{BODY, KEY, code, headers, scheme, secrets, signature};
use crate::random::Random;

#[test]
fn git_hosts_sign_in_their_own_header_and_spelling() {
    let digits = signature(KEY, BODY);
    let labelled = format!("sha256={digits}");
    let cases = [
        (
            SchemeName::Github,
            "X-Hub-Signature-256",
            &labelled,
            &digits,
        ),
        (SchemeName::Bitbucket, "X-Hub-Signature", &labelled, &digits),
        (SchemeName::Gitea, "X-Gitea-Signature", &digits, &labelled),
        (
            SchemeName::Forgejo,
            "X-Forgejo-Signature",
            &digits,
            &labelled,
        ),
        (SchemeName::Gogs, "X-Gogs-Signature", &digits, &labelled),
    ];
    for (name, header, right, wrong) in cases {
        let own = scheme(name);
        let of = |value: &str, body: &str| {
            code(&own, &["another-secret-16", KEY], &[(header, value)], body)
        };
        assert_eq!(of(right, BODY), Ok((2, 2)), "{name:?}");
        assert_eq!(of(wrong, BODY), Err("bad_prefix"), "{name:?}");
        assert_eq!(of(right, "{}"), Err("mismatch"), "{name:?}");
        assert_eq!(
            of(&right.to_uppercase().replace("SHA", "sha"), BODY),
            Err("uppercase_hex"),
            "{name:?}"
        );
        assert_eq!(
            of(&right[..right.len() - 2], BODY),
            Err("bad_length"),
            "{name:?}"
        );
        assert_eq!(of(KEY, BODY), Err("raw_secret_sent"), "{name:?}");
        // A signature in the header of another scheme is not accepted.
        for (_, other, value, _) in cases {
            if other != header {
                let given = code(&own, &[KEY], &[(other, value)], BODY);
                assert!(
                    matches!(given, Err("missing_signature" | "sha1_only")),
                    "{name:?}: {given:?}"
                );
            }
        }
        // Only `generic` can be configured to read another header.
        let told = Scheme {
            header: "x-elsewhere".to_owned(),
            ..own.clone()
        };
        assert!(code(&told, &[KEY], &[("X-Elsewhere", right)], BODY).is_err());
    }
}

#[test]
fn rejects_arbitrary_headers_and_queries_without_a_panic() {
    let digits = signature(KEY, BODY);
    let pieces = [
        "sha256=",
        "sha1=",
        "SHA",
        "Bearer ",
        "basic ",
        "Basic",
        "v1,",
        "v1a,",
        " ",
        ",",
        ".",
        "=",
        "==",
        "é",
        "\u{0}",
        "%",
        "%zz",
        "&",
        "token=",
        "1700000000",
        "01",
        "-1",
        "\"",
        "whsec_",
        "AAAA",
        "🔑",
        &digits[..40],
        &digits[40..63],
        "\u{301}",
    ];
    let names = [
        "x-portainer-signature",
        "x-hub-signature-256",
        "x-hub-signature",
        "x-gitea-signature",
        "x-forgejo-signature",
        "x-gogs-signature",
        "webhook-id",
        "webhook-timestamp",
        "webhook-signature",
        "svix-id",
        "svix-timestamp",
        "svix-signature",
        "authorization",
        "x-gitlab-token",
        "content-type",
    ];
    let mut dice = Random::new(0x5eed);
    for round in 0..20_000 {
        let mut text = || {
            (0..dice.below(6))
                .map(|_| pieces[dice.below(pieces.len())])
                .collect::<String>()
        };
        let values: Vec<String> = (0..4).map(|_| text()).collect();
        let query = text();
        let lines: Vec<(&str, &str)> = values
            .iter()
            .map(|value| (names[dice.below(names.len())], value.as_str()))
            .collect();
        let name =
            SchemeName::parse(SchemeName::NAMES[dice.below(SchemeName::NAMES.len())]).unwrap();
        let kind = [TokenKind::Raw, TokenKind::Bearer, TokenKind::Basic][dice.below(3)];
        let given = SignedRequest {
            headers: &headers(&lines),
            query: Some(&query),
            body: &UnverifiedBody::new(BODY.into()),
        };
        let result = verify(
            &Scheme {
                kind,
                ..scheme(name)
            },
            &secrets(&[KEY, SIGNING]),
            given,
            NOW,
        );
        let rejection = result.expect_err(&format!("round {round}: {name:?} {lines:?} {query:?}"));
        assert!(!rejection.hint().is_empty());
    }
}
