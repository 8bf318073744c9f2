//! Standard Webhooks: id, time and body are signed together. Svix sends the same in headers of its own; one request
//! is read with one of the two sets of names. GitLab's signing tokens are this scheme too.

use super::rejection::find_secret;
use super::{
    Reason, Rejection, SecretMatch, SignedRequest, SignedTimestamp, check_age, exactly_one,
    first_match, is_secret, parse_seconds,
};
use crate::limits;
use crate::secret::{self, Secret, from_base64};

const FAMILIES: [[&str; 3]; 2] = [
    ["webhook-id", "webhook-timestamp", "webhook-signature"],
    ["svix-id", "svix-timestamp", "svix-signature"],
];

/// Checks the list of signatures; the time first, because that costs nothing.
pub(super) fn verify(
    secrets: &[Secret],
    request: &SignedRequest<'_>,
    unix: u64,
) -> Result<SecretMatch, Rejection> {
    let (headers, body) = (request.headers, request.body.0.as_slice());
    let family = FAMILIES
        .into_iter()
        .find(|family| family.iter().any(|name| headers.get(name).is_some()));
    let Some([id, timestamp, signature]) = family else {
        return Err(Reason::MissingSignature.into());
    };
    let id = exactly_one(headers.all(id), Reason::IdMissing)?;
    let timestamp = exactly_one(headers.all(timestamp), Reason::TimestampMissing)?;
    let list = exactly_one(headers.all(signature), Reason::MissingSignature)?;
    if is_secret(secrets, list.as_bytes()) {
        return Err(Reason::RawSecretSent.into());
    }
    // With a dot in the id, id and time of a genuine delivery could be cut apart elsewhere.
    if id.is_empty() || id.contains('.') || id.len() > limits::DELIVERY_ID_MAX {
        return Err(Reason::IdMalformed.into());
    }
    let time = parse_seconds(timestamp).ok_or(Reason::TimestampMalformed)?;
    check_age(time, unix)?;
    let signatures: Vec<[u8; 32]> = list.split(' ').filter_map(decode_v1).collect();
    if signatures.is_empty() {
        return Err(Reason::NoUsableSignature.into());
    }
    // The header's own text is signed, not the number that was read from it.
    let signed: [&[u8]; 5] = [id.as_bytes(), b".", timestamp.as_bytes(), b".", body];
    let found = first_match(secrets, |secret| {
        let expected = secret.decoded().map(|key| key.sign(&signed));
        expected.is_some_and(|expected| {
            signatures
                .iter()
                .fold(false, |any, given| any | secret::same(given, &expected))
        })
    });
    let found = found.ok_or(Reason::Mismatch)?;
    Ok(SecretMatch {
        timestamp: Some(SignedTimestamp {
            id: Some(id.to_owned()),
            time,
        }),
        ..found
    })
}

/// Makes the headers that [`verify`] accepts; `None`: the secret is not base64.
pub(super) fn sign(
    secret: &Secret,
    body: &[u8],
    id: &str,
    unix: u64,
) -> Option<Vec<(String, String)>> {
    let [id_name, time_name, signature_name] = FAMILIES[0];
    let time = unix.to_string();
    let mac = secret
        .decoded()?
        .sign(&[id.as_bytes(), b".", time.as_bytes(), b".", body]);
    Some(vec![
        (id_name.to_owned(), id.to_owned()),
        (time_name.to_owned(), time),
        (
            signature_name.to_owned(),
            format!("v1,{}", secret::to_base64(&mac)),
        ),
    ])
}

/// The headers that the scheme expects.
pub(super) const EXPECTED: &str = "headers \"webhook-id\", \"webhook-timestamp\" and \"webhook-signature\" with \"v1,\" and the \
    base64 HMAC-SHA256 of id, time and body";

/// The mistake behind a rejection, if the request shows it.
pub(super) fn explain(
    secrets: &[Secret],
    request: &SignedRequest<'_>,
    reason: Reason,
) -> Option<String> {
    match reason {
        Reason::MissingSignature => find_secret(secrets, request).map(|place| {
            format!(
                "{place} carries the secret itself; send {EXPECTED}, and rotate the secret, it has been exposed"
            )
        }),
        _ => None,
    }
}

/// A `v1` signature; other versions are skipped (`v1a` is not an HMAC).
fn decode_v1(item: &str) -> Option<[u8; 32]> {
    let digits = item.strip_prefix("v1,")?;
    from_base64(digits)?.try_into().ok()
}
