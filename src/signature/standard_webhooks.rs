//! Standard Webhooks: id, time and body are signed together. Svix sends the same under names of its own; one request
//! is read in one of the two spellings. GitLab's signing tokens are this scheme too.

use super::{Found, Reason, Rejection, Stamp, first, fresh};
use crate::limits;
use crate::message::Headers;
use crate::secret::{self, Secret, from_base64};

const FAMILIES: [[&str; 3]; 2] = [
    ["webhook-id", "webhook-timestamp", "webhook-signature"],
    ["svix-id", "svix-timestamp", "svix-signature"],
];

/// Checks the list of signatures; the time first, because that costs nothing.
pub(super) fn check(
    secrets: &[Secret],
    headers: &Headers,
    body: &[u8],
    unix: u64,
) -> Result<Found, Rejection> {
    let family = FAMILIES
        .into_iter()
        .find(|family| family.iter().any(|name| headers.get(name).is_some()));
    let Some([id, timestamp, signature]) = family else {
        return Err(Reason::MissingSignature.into());
    };
    let id = single(headers, id, Reason::IdMissing)?;
    let timestamp = single(headers, timestamp, Reason::TimestampMissing)?;
    let list = single(headers, signature, Reason::MissingSignature)?;
    if secrets.iter().any(|secret| secret.is(list.as_bytes())) {
        return Err(Reason::RawSecretSent.into());
    }
    // With a dot in the id, id and time of a genuine delivery could be cut apart elsewhere.
    if id.is_empty() || id.contains('.') || id.len() > limits::DELIVERY_ID_MAX {
        return Err(Reason::IdMalformed.into());
    }
    let time = seconds(timestamp).ok_or(Reason::TimestampMalformed)?;
    fresh(time, unix)?;
    let signatures: Vec<[u8; 32]> = list.split(' ').filter_map(usable).collect();
    if signatures.is_empty() {
        return Err(Reason::NoUsableSignature.into());
    }
    // The header's own text is signed, not the number that was read from it.
    let signed: [&[u8]; 5] = [id.as_bytes(), b".", timestamp.as_bytes(), b".", body];
    let found = first(secrets, |secret| {
        let expected = secret.decoded().map(|key| key.sign(&signed));
        expected.is_some_and(|expected| {
            signatures
                .iter()
                .fold(false, |any, given| any | secret::same(given, &expected))
        })
    });
    let found = found.ok_or(Reason::Mismatch)?;
    Ok(Found {
        stamp: Some(Stamp {
            id: id.to_owned(),
            time,
        }),
        ..found
    })
}

/// The headers that prove it; `None`: the secret is not base64.
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

fn single<'h>(headers: &'h Headers, name: &str, missing: Reason) -> Result<&'h str, Rejection> {
    let mut values = headers.all(name);
    match (values.next(), values.next()) {
        (Some(value), None) => Ok(value),
        (Some(_), Some(_)) => Err(Reason::DuplicateHeader.into()),
        (None, _) => Err(missing.into()),
    }
}

/// One way to write a number, so that no two texts mean one time.
fn seconds(text: &str) -> Option<u64> {
    let plain = text.bytes().all(|digit| digit.is_ascii_digit());
    let leading_zero = text.len() > 1 && text.starts_with('0');
    text.parse().ok().filter(|_| plain && !leading_zero)
}

/// A `v1` signature; other versions are skipped (`v1a` is not an HMAC).
fn usable(item: &str) -> Option<[u8; 32]> {
    let digits = item.strip_prefix("v1,")?;
    from_base64(digits)?.try_into().ok()
}
