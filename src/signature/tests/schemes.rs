//! The schemes besides `generic`.

use super::super::{Given, Scheme, SchemeName, Sealed, TokenKind, verify};
use super::{BODY, Dice, KEY, code, headers, scheme, secrets, signature};
use crate::secret::{Secret, to_base64};

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
        // Nobody's signature counts in anybody else's header, whichever is configured.
        for (_, other, value, _) in cases {
            if other != header {
                let given = code(&own, &[KEY], &[(other, value)], BODY);
                assert!(
                    matches!(given, Err("missing_signature" | "sha1_only")),
                    "{name:?}: {given:?}"
                );
            }
        }
        // Only `generic` can be told to look elsewhere.
        let told = Scheme {
            header: "x-elsewhere".to_owned(),
            ..own.clone()
        };
        assert!(code(&told, &[KEY], &[("X-Elsewhere", right)], BODY).is_err());
    }
}

const NOW: u64 = 1_700_000_000;
const SIGNING: &str = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
const OLD_SIGNING: &str = "whsec_b2xkIG9sZCBvbGQgb2xkIG9sZCBvbGQgb2xkIG9sZCE=";

fn sign(secret: &str, id: &str, time: &str, body: &str) -> String {
    let key = Secret::new(secret).unwrap().decoded().unwrap();
    let mac = key
        .sign(&[format!("{id}.{time}.{body}").as_bytes()])
        .unwrap();
    format!("v1,{}", to_base64(&mac))
}

/// What becomes of id, time and list over `BODY`.
#[track_caller]
fn check(id: &str, time: &str, list: &str, expected: Result<(usize, usize), &str>) {
    let lines = [
        ("webhook-id", id),
        ("webhook-timestamp", time),
        ("webhook-signature", list),
    ];
    let given = code(
        &scheme(SchemeName::StandardWebhooks),
        &[SIGNING, OLD_SIGNING],
        &lines,
        BODY,
    );
    assert_eq!(given, expected, "{id:?} {time:?} {list:?}");
}

#[test]
fn standard_webhooks_sign_id_time_and_body_together() {
    let now = NOW.to_string();
    let good = sign(SIGNING, "msg_1", &now, BODY);
    check("msg_1", &now, &good, Ok((1, 2)));
    check(
        "msg_1",
        &now,
        &sign(OLD_SIGNING, "msg_1", &now, BODY),
        Ok((2, 2)),
    );
    check("msg_2", &now, &good, Err("mismatch"));
    check("msg_1", &(NOW + 1).to_string(), &good, Err("mismatch"));
    check(
        "msg_1",
        &now,
        &sign(SIGNING, "msg_1", &now, "{}"),
        Err("mismatch"),
    );
    check("msg_1", &now, SIGNING, Err("raw_secret_sent"));

    // Any usable one of a list is enough; what is not usable is skipped.
    let other = sign(SIGNING, "other", &now, BODY);
    check("msg_1", &now, &format!("{other} {good}"), Ok((1, 2)));
    check(
        "msg_1",
        &now,
        &format!("v2,x  v1a,{}  {good}", &good[3..]),
        Ok((1, 2)),
    );
    for unusable in [
        "",
        "v1",
        "v1,",
        "v1,AAAA",
        &good.replace("v1,", "v1a,"),
        &good.replace("v1", "V1"),
        &good[3..],
        &good[..46],
        &format!("{good}="),
        &good.replace(',', " "),
        &good.replace(' ', ","),
    ] {
        if unusable != good {
            check("msg_1", &now, unusable, Err("no_usable_signature"));
        }
    }
}

#[test]
fn standard_webhooks_times_are_believed_for_five_minutes() {
    for (time, expected) in [
        (NOW - 300, Ok((1, 2))),
        (NOW + 300, Ok((1, 2))),
        (NOW - 301, Err("too_old")),
        (NOW + 301, Err("too_new")),
        (0, Err("too_old")),
        (u64::MAX, Err("too_new")),
    ] {
        let time = time.to_string();
        check("a", &time, &sign(SIGNING, "a", &time, BODY), expected);
    }
    for time in [
        "",
        "01700000000",
        "+1700000000",
        "-1",
        "1700000000.0",
        "1.7e9",
        " 1700000000",
        "99999999999999999999",
        "٣",
    ] {
        check(
            "a",
            time,
            &sign(SIGNING, "a", time, BODY),
            Err("timestamp_malformed"),
        );
    }
}

#[test]
fn standard_webhooks_ids_cannot_hide_where_they_end() {
    let now = NOW.to_string();
    for id in ["", "a.b", &format!("a.{now}"), &"x".repeat(201)] {
        check(
            id,
            &now,
            &sign(SIGNING, id, &now, BODY),
            Err("id_malformed"),
        );
    }
}

#[test]
fn standard_webhooks_are_read_in_one_spelling() {
    let now = NOW.to_string();
    let good = sign(SIGNING, "a", &now, BODY);
    let of = |lines: &[(&str, &str)]| {
        code(
            &scheme(SchemeName::StandardWebhooks),
            &[SIGNING],
            lines,
            BODY,
        )
    };
    let svix = [
        ("svix-id", "a"),
        ("svix-timestamp", now.as_str()),
        ("svix-signature", good.as_str()),
    ];
    assert_eq!(of(&svix), Ok((1, 1)));
    assert_eq!(
        of(&[("webhook-id", "a"), svix[1], svix[2]]),
        Err("timestamp_missing")
    );
    assert_eq!(of(&[svix[1], svix[2]]), Err("id_missing"));
    assert_eq!(of(&[svix[0], svix[1]]), Err("missing_signature"));
    assert_eq!(of(&[]), Err("missing_signature"));
    for twice in svix {
        assert_eq!(
            of(&[svix[0], svix[1], svix[2], twice]),
            Err("duplicate_header")
        );
    }
}

#[test]
fn what_was_signed_besides_the_body_is_kept() {
    let now = NOW.to_string();
    let good = sign(SIGNING, "msg_1", &now, BODY);
    let lines = [
        ("webhook-id", "msg_1"),
        ("webhook-timestamp", now.as_str()),
        ("webhook-signature", good.as_str()),
    ];
    let given = Given {
        headers: &headers(&lines),
        query: None,
        body: &Sealed::new(BODY.into()),
    };
    let verified = verify(
        &scheme(SchemeName::StandardWebhooks),
        &secrets(&[SIGNING]),
        given,
        NOW,
    )
    .unwrap();
    let stamp = verified.stamp().unwrap();
    assert_eq!((stamp.id.as_str(), stamp.time), ("msg_1", NOW));
    assert_eq!(verified.bytes(), BODY.as_bytes());
}

const TOKEN: &str = "deploy:s3cr3t-token-of-16";
/// Base64 of the token, by coreutils.
const ENCODED: &str = "ZGVwbG95OnMzY3IzdC10b2tlbi1vZi0xNg==";

#[track_caller]
fn check_token(kind: TokenKind, value: &str, expected: Result<(usize, usize), &str>) {
    let token = Scheme {
        header: "authorization".to_owned(),
        kind,
        ..scheme(SchemeName::Token)
    };
    let given = code(
        &token,
        &["another-token-of-16", TOKEN],
        &[("Authorization", value)],
        BODY,
    );
    assert_eq!(given, expected, "{kind:?} {value:?}");
}

#[test]
fn tokens_are_compared_whole() {
    check_token(TokenKind::Raw, TOKEN, Ok((2, 2)));
    check_token(TokenKind::Bearer, &format!("Bearer {TOKEN}"), Ok((2, 2)));
    check_token(TokenKind::Bearer, &format!("bearer {TOKEN}"), Ok((2, 2)));
    check_token(TokenKind::Basic, &format!("Basic {ENCODED}"), Ok((2, 2)));
    for length in 0..TOKEN.len() {
        check_token(TokenKind::Raw, &TOKEN[..length], Err("mismatch"));
    }
    check_token(TokenKind::Raw, &format!("{TOKEN}x"), Err("mismatch"));
    check_token(TokenKind::Raw, &TOKEN.to_uppercase(), Err("mismatch"));
    check_token(TokenKind::Raw, &format!("Bearer {TOKEN}"), Err("mismatch"));
    check_token(
        TokenKind::Bearer,
        &format!("Bearer {TOKEN}x"),
        Err("mismatch"),
    );
}

#[test]
fn tokens_stand_as_the_kind_says() {
    for value in [
        "",
        "Bearer",
        "Bearer ",
        TOKEN,
        &format!("Basic {ENCODED}"),
        &format!("Bearer{TOKEN}"),
    ] {
        check_token(TokenKind::Bearer, value, Err("bad_prefix"));
    }
    for value in [
        "",
        "Basic ",
        ENCODED,
        &format!("Bearer {ENCODED}"),
        "Basic !!!!",
        "Basic é",
    ] {
        check_token(TokenKind::Basic, value, Err("bad_prefix"));
    }
    // No base64 with padding, and no colon in it.
    for value in ["Basic A", "Basic ZGVwbG95OnM", "Basic c3RhY2tob29r"] {
        check_token(TokenKind::Basic, value, Err("not_base64"));
    }
}

#[test]
fn one_token_in_its_own_header_is_wanted() {
    let gitlab = Scheme {
        header: "x-gitlab-token".to_owned(),
        ..scheme(SchemeName::Token)
    };
    let of = |lines: &[(&str, &str)]| code(&gitlab, &[TOKEN], lines, BODY);
    let line = ("X-Gitlab-Token", TOKEN);
    assert_eq!(of(&[line]), Ok((1, 1)));
    assert_eq!(of(&[line, line]), Err("duplicate_header"));
    assert_eq!(
        of(&[("X-Gitlab-Token", "no"), line]),
        Err("duplicate_header")
    );
    assert_eq!(of(&[("Authorization", TOKEN)]), Err("missing_token"));
    assert_eq!(of(&[]), Err("missing_token"));
}

#[track_caller]
fn check_query(query: Option<&str>, expected: Result<(usize, usize), &str>) {
    let given = Given {
        headers: &headers(&[("Authorization", TOKEN)]),
        query,
        body: &Sealed::new(Vec::new()),
    };
    let result = verify(
        &scheme(SchemeName::UrlToken),
        &secrets(&[TOKEN, "a+b&c=d%20-é-long"]),
        given,
        NOW,
    );
    let result = result
        .map(|verified| verified.secret())
        .map_err(|rejection| rejection.code());
    assert_eq!(result, expected, "{query:?}");
}

#[test]
fn a_token_in_the_query_is_found_once_and_decoded() {
    check_query(Some(&format!("token={TOKEN}")), Ok((1, 2)));
    check_query(Some(&format!("a=b&token={TOKEN}&c")), Ok((1, 2)));
    check_query(Some("token=deploy%3As3cr3t-token-of-16"), Ok((1, 2)));
    check_query(Some("token=a%2Bb%26c%3Dd%2520-%C3%A9-long"), Ok((2, 2)));
    check_query(Some("token=a+b%26c=d%2520-%c3%a9-long"), Ok((2, 2)));
    check_query(
        Some(&format!("token={TOKEN}&token={TOKEN}")),
        Err("duplicate_header"),
    );
    check_query(
        Some(&format!("token=&token={TOKEN}")),
        Err("duplicate_header"),
    );
    check_query(Some(&format!("Token={TOKEN}")), Err("missing_token"));
    check_query(Some(TOKEN), Err("missing_token"));
    check_query(Some(""), Err("missing_token"));
    check_query(None, Err("missing_token"));
    check_query(Some("token"), Err("mismatch"));
    check_query(Some("token="), Err("mismatch"));
    check_query(Some("token=%ff%00%"), Err("mismatch"));
}

#[test]
fn nothing_in_headers_and_query_makes_it_fall_over_or_lets_anybody_in() {
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
    let mut dice = Dice::seeded(0x5eed);
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
        let given = Given {
            headers: &headers(&lines),
            query: Some(&query),
            body: &Sealed::new(BODY.into()),
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
