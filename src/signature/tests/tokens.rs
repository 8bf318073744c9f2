//! The secret itself, in a header or in the query.

use super::super::{Scheme, SchemeName, SignedRequest, TokenKind, UnverifiedBody, verify};
use super::standard_webhooks::NOW;
use super::{BODY, code, headers, scheme, secrets};

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
fn tokens_have_the_form_of_their_kind() {
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
fn requires_one_token_in_its_own_header() {
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
    let given = SignedRequest {
        headers: &headers(&[("Authorization", TOKEN)]),
        query,
        body: &UnverifiedBody::new(Vec::new()),
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
