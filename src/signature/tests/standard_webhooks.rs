//! Standard Webhooks, and Svix under names of its own.

use super::super::{SchemeName, SignedRequest, UnverifiedBody, verify};
use super::{BODY, code, headers, scheme, secrets};
use crate::secret::{Secret, to_base64};

pub(super) const NOW: u64 = 1_700_000_000;
pub(super) const SIGNING: &str = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
const OLD_SIGNING: &str = "whsec_b2xkIG9sZCBvbGQgb2xkIG9sZCBvbGQgb2xkIG9sZCE=";

fn sign(secret: &str, id: &str, time: &str, body: &str) -> String {
    let key = Secret::new(secret).unwrap().decoded().unwrap();
    let mac = key.sign(&[format!("{id}.{time}.{body}").as_bytes()]);
    format!("v1,{}", to_base64(&mac))
}

/// The verdict on an id, a time and a list of signatures over `BODY`.
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

    // One valid signature in the list is enough; others are skipped.
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
fn standard_webhooks_times_are_valid_for_five_minutes() {
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
fn standard_webhooks_ids_cannot_contain_their_separator() {
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
fn standard_webhooks_have_one_spelling() {
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
fn keeps_the_signed_id_and_time() {
    let now = NOW.to_string();
    let good = sign(SIGNING, "msg_1", &now, BODY);
    let lines = [
        ("webhook-id", "msg_1"),
        ("webhook-timestamp", now.as_str()),
        ("webhook-signature", good.as_str()),
    ];
    let given = SignedRequest {
        headers: &headers(&lines),
        query: None,
        body: &UnverifiedBody::new(BODY.into()),
    };
    let verified = verify(
        &scheme(SchemeName::StandardWebhooks),
        &secrets(&[SIGNING]),
        given,
        NOW,
    )
    .unwrap();
    let stamp = verified.timestamp().unwrap();
    assert_eq!((stamp.id.as_deref(), stamp.time), (Some("msg_1"), NOW));
    assert_eq!(verified.bytes(), BODY.as_bytes());
}
