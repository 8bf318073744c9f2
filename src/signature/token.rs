//! The secret itself, in a header or in the query, for senders that cannot sign.

use super::rejection::{SecretForm, find_secret};
use super::{
    Reason, Rejection, Scheme, SchemeName, SecretMatch, SignedRequest, TokenKind, exactly_one,
    first_match,
};
use crate::message;
use crate::secret::{Secret, from_base64, to_base64};

/// Checks the token in its header or in the query.
pub(super) fn verify(
    scheme: &Scheme,
    secrets: &[Secret],
    request: &SignedRequest<'_>,
) -> Result<SecretMatch, Rejection> {
    let token = match scheme.name {
        SchemeName::UrlToken => {
            let pairs = message::pairs(request.query.unwrap_or_default());
            let tokens = pairs.filter(|(name, _)| name == "token");
            exactly_one(tokens, Reason::MissingToken)?.1
        }
        _ => {
            let value = exactly_one(request.headers.all(header(scheme)), Reason::MissingToken)?;
            match scheme.kind {
                TokenKind::Raw => value.as_bytes().to_vec(),
                TokenKind::Bearer => credentials(value, "bearer")?.as_bytes().to_vec(),
                TokenKind::Basic => basic(credentials(value, "basic")?)?,
            }
        }
    };
    first_match(secrets, |secret| secret.is(&token)).ok_or_else(|| Reason::Mismatch.into())
}

/// Makes the header that [`verify`] accepts; `None`: the token is in the URL.
pub(super) fn sign(scheme: &Scheme, secret: &Secret) -> Option<(String, String)> {
    let value = match (scheme.name, scheme.kind) {
        (SchemeName::UrlToken, _) => return None,
        (_, TokenKind::Raw) => secret.expose().to_owned(),
        (_, TokenKind::Bearer) => format!("Bearer {}", secret.expose()),
        (_, TokenKind::Basic) => format!("Basic {}", to_base64(secret.expose().as_bytes())),
    };
    Some((header(scheme).to_owned(), value))
}

/// The form in which the token must be sent.
pub(super) fn expected(scheme: &Scheme) -> String {
    if scheme.name == SchemeName::UrlToken {
        return "\"?token=\" in the URL with the hook's secret, percent-encoded".to_owned();
    }
    let value = match scheme.kind {
        TokenKind::Raw => "the hook's secret and nothing before it",
        TokenKind::Bearer => "the word \"Bearer\", a space and the hook's secret",
        TokenKind::Basic => "the word \"Basic\", a space and the base64 of the hook's secret",
    };
    format!("header \"{}\" with {value}", header(scheme))
}

/// Names the form that is expected and the form that was sent, never a value.
pub(super) fn explain(
    scheme: &Scheme,
    secrets: &[Secret],
    request: &SignedRequest<'_>,
    reason: Reason,
) -> String {
    let expected = expected(scheme);
    let own = (scheme.name != SchemeName::UrlToken).then(|| header(scheme));
    let sent = match find_secret(secrets, request) {
        Some(place) if place.header.is_some() && place.header.as_deref() == own => {
            match &place.form {
                SecretForm::Bare => "the secret was sent without a word before it".to_owned(),
                SecretForm::After(word) => format!("the secret was sent after the word \"{word}\""),
                SecretForm::Basic => "the secret was sent as Basic authentication".to_owned(),
                SecretForm::Labelled => "the secret was sent after a label".to_owned(),
            }
        }
        Some(place) => format!("the secret was sent in {place}"),
        None => match reason {
            Reason::MissingToken => {
                "nothing like it was sent; set the hook's secret at the sender".to_owned()
            }
            Reason::DuplicateHeader => "it was sent more than once".to_owned(),
            _ => shape(scheme, request),
        },
    };
    format!("expected {expected}; {sent}")
}

/// The form of a wrong token, in words that do not repeat it.
fn shape(scheme: &Scheme, request: &SignedRequest<'_>) -> String {
    if scheme.name == SchemeName::UrlToken {
        return "the token in the URL is not this hook's secret".to_owned();
    }
    let value = request.headers.get(header(scheme)).unwrap_or_default();
    let word = value.split_once(' ').map(|(word, _)| word);
    let known = ["Bearer", "Basic", "Digest", "Token", "ApiKey"];
    let known = known
        .iter()
        .find(|known| word.is_some_and(|word| word.eq_ignore_ascii_case(known)));
    match (known, word) {
        _ if value.is_empty() => "an empty value was sent".to_owned(),
        (Some(known), _) => {
            format!("\"{known}\" and something other than this hook's secret was sent")
        }
        (None, Some(_)) => "another word and a value were sent".to_owned(),
        (None, None) => {
            "a value without a word before it was sent, and it is not this hook's secret".to_owned()
        }
    }
}

/// The header that carries the token, in lower case.
fn header(scheme: &Scheme) -> &str {
    match scheme.header.as_str() {
        "" => "authorization",
        header => header,
    }
}

/// The text after the name of the authentication scheme, which is compared without case (RFC 9110 section 11.1).
fn credentials<'v>(value: &'v str, name: &str) -> Result<&'v str, Rejection> {
    let (word, rest) = value.split_once(' ').ok_or(Reason::BadPrefix)?;
    let rest = rest.trim_start_matches(' ');
    match word.eq_ignore_ascii_case(name) && !rest.is_empty() {
        true => Ok(rest),
        false => Err(Reason::BadPrefix.into()),
    }
}

/// Decodes `user:password` (RFC 7617).
fn basic(text: &str) -> Result<Vec<u8>, Rejection> {
    // Outside the grammar of credentials: something else was put after the word.
    let in_grammar = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte);
    if !text.bytes().all(in_grammar) {
        return Err(Reason::BadPrefix.into());
    }
    from_base64(text)
        .filter(|pair| pair.contains(&b':'))
        .ok_or_else(|| Reason::NotBase64.into())
}
