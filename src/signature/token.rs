//! The secret itself, in a header or in the query, for senders that cannot sign.

use super::{Found, Reason, Rejection, Scheme, TokenKind, first};
use crate::message::{self, Headers};
use crate::secret::{Secret, from_base64, to_base64};

/// Checks the token in its header.
pub(super) fn in_header(
    scheme: &Scheme,
    secrets: &[Secret],
    headers: &Headers,
) -> Result<Found, Rejection> {
    let mut values = headers.all(name(scheme));
    let value = match (values.next(), values.next()) {
        (Some(value), None) => value,
        (Some(_), Some(_)) => return Err(Reason::DuplicateHeader.into()),
        (None, _) => return Err(Reason::MissingToken.into()),
    };
    let token = match scheme.kind {
        TokenKind::Raw => value.as_bytes().to_vec(),
        TokenKind::Bearer => credentials(value, "bearer")?.as_bytes().to_vec(),
        TokenKind::Basic => basic(credentials(value, "basic")?)?,
    };
    first(secrets, |secret| secret.is(&token)).ok_or_else(|| Reason::Mismatch.into())
}

/// The header that carries it.
pub(super) fn header(scheme: &Scheme, secret: &Secret) -> (String, String) {
    let value = match scheme.kind {
        TokenKind::Raw => secret.expose().to_owned(),
        TokenKind::Bearer => format!("Bearer {}", secret.expose()),
        TokenKind::Basic => format!("Basic {}", to_base64(secret.expose().as_bytes())),
    };
    (name(scheme).to_owned(), value)
}

/// Of the header.
fn name(scheme: &Scheme) -> &str {
    match scheme.header.as_str() {
        "" => "authorization",
        header => header,
    }
}

/// Checks `token=` in the query.
pub(super) fn in_query(secrets: &[Secret], query: Option<&str>) -> Result<Found, Rejection> {
    let mut values = message::pairs(query.unwrap_or_default())
        .filter(|(name, _)| name == "token")
        .map(|(_, value)| value);
    let token = match (values.next(), values.next()) {
        (Some(token), None) => token,
        (Some(_), Some(_)) => return Err(Reason::DuplicateHeader.into()),
        (None, _) => return Err(Reason::MissingToken.into()),
    };
    first(secrets, |secret| secret.is(&token)).ok_or_else(|| Reason::Mismatch.into())
}

/// What stands after the name of the authentication scheme, which has no case (RFC 9110 section 11.1).
fn credentials<'v>(value: &'v str, name: &str) -> Result<&'v str, Rejection> {
    let (word, rest) = value.split_once(' ').ok_or(Reason::BadPrefix)?;
    let rest = rest.trim_start_matches(' ');
    match word.eq_ignore_ascii_case(name) && !rest.is_empty() {
        true => Ok(rest),
        false => Err(Reason::BadPrefix.into()),
    }
}

/// `user:password` (RFC 7617).
fn basic(text: &str) -> Result<Vec<u8>, Rejection> {
    // Not even the grammar of credentials: something else was put behind the word.
    let in_grammar = |sign: u8| sign.is_ascii_alphanumeric() || b"-._~+/=".contains(&sign);
    if !text.bytes().all(in_grammar) {
        return Err(Reason::BadPrefix.into());
    }
    from_base64(text)
        .filter(|pair| pair.contains(&b':'))
        .ok_or_else(|| Reason::NotBase64.into())
}
