//! The hex HMAC-SHA256 of the raw body in one header: six schemes that differ in three columns of one table.

use super::{Found, Reason, Rejection, Scheme, SchemeName, first};
use crate::message::Headers;
use crate::secret::{Secret, from_hex, to_hex};

/// How one scheme writes its signature.
struct Form {
    header: &'static str,
    /// Whether `sha256=` stands before the digits.
    label: Label,
    /// Whether capitals are digits too.
    capitals: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Label {
    Required,
    Optional,
    Never,
}

const LABEL: &str = "sha256=";

/// Header and scheme, for hints about a wrong scheme.
pub(super) const HEADERS: &[(&str, &str)] = &[
    ("x-portainer-signature", "generic"),
    // The families send each other's headers as well: the most specific one comes first.
    ("x-forgejo-signature", "forgejo"),
    ("x-gitea-signature", "gitea"),
    ("x-gogs-signature", "gogs"),
    ("x-hub-signature-256", "github"),
    ("x-hub-signature", "bitbucket"),
];

fn form(scheme: SchemeName) -> Option<Form> {
    let (header, label, capitals) = match scheme {
        // .NET and PowerShell write capitals, copies of GitHub's examples the label.
        SchemeName::Generic => ("x-portainer-signature", Label::Optional, true),
        SchemeName::Github => ("x-hub-signature-256", Label::Required, false),
        SchemeName::Bitbucket => ("x-hub-signature", Label::Required, false),
        SchemeName::Gitea => ("x-gitea-signature", Label::Never, false),
        SchemeName::Forgejo => ("x-forgejo-signature", Label::Never, false),
        SchemeName::Gogs => ("x-gogs-signature", Label::Never, false),
        SchemeName::StandardWebhooks | SchemeName::Token | SchemeName::UrlToken => return None,
    };
    Some(Form {
        header,
        label,
        capitals,
    })
}

/// Which header `scheme` reads; only `generic` can be told to read another one.
fn header<'s>(scheme: &'s Scheme, form: &Form) -> &'s str {
    match scheme.name {
        SchemeName::Generic if !scheme.header.is_empty() => &scheme.header,
        _ => form.header,
    }
}

/// Checks the signature in its header.
pub(super) fn check(
    scheme: &Scheme,
    secrets: &[Secret],
    headers: &Headers,
    body: &[u8],
) -> Result<Found, Rejection> {
    let Some(form) = form(scheme.name) else {
        return Err(Reason::MissingSignature.into());
    };
    let values = || headers.all(header(scheme, &form));
    // Before the format is looked at: a secret of 64 hex digits looks like a signature.
    if values().any(|value| is_raw_secret(secrets, value)) {
        return Err(Reason::RawSecretSent.into());
    }
    let mut values = values();
    let value = match (values.next(), values.next()) {
        (Some(value), None) => value,
        (Some(_), Some(_)) => return Err(Reason::DuplicateHeader.into()),
        (None, _)
            if scheme.name == SchemeName::Github && headers.get("x-hub-signature").is_some() =>
        {
            return Err(Reason::Sha1Only.into());
        }
        (None, _) => return Err(Reason::MissingSignature.into()),
    };
    let signature = read(&form, value)?;
    first(secrets, |secret| secret.signed(&[body], &signature))
        .ok_or_else(|| Reason::Mismatch.into())
}

/// The header that proves it, as this scheme writes it.
pub(super) fn sign(scheme: &Scheme, secret: &Secret, body: &[u8]) -> Option<(String, String)> {
    let form = form(scheme.name)?;
    let digits = to_hex(&secret.sign(&[body]));
    let value = match form.label {
        Label::Required => format!("{LABEL}{digits}"),
        Label::Optional | Label::Never => digits,
    };
    Some((header(scheme, &form).to_owned(), value))
}

/// Whether the header is there with nothing in it, as Gitea sends it when no secret is set.
pub(super) fn is_blank(scheme: &Scheme, headers: &Headers) -> bool {
    form(scheme.name).is_some_and(|form| {
        headers
            .get(header(scheme, &form))
            .is_some_and(|value| value.is_empty() || value == LABEL)
    })
}

fn read(form: &Form, value: &str) -> Result<[u8; 32], Rejection> {
    let digits = match (value.strip_prefix(LABEL), form.label) {
        (Some(digits), Label::Required | Label::Optional) => digits,
        (None, Label::Never | Label::Optional) => value,
        (Some(_), Label::Never) | (None, Label::Required) => return Err(Reason::BadPrefix.into()),
    };
    if is_labelled(digits) {
        return Err(Reason::BadPrefix.into());
    }
    if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return Err(Reason::NotHex.into());
    }
    if !form.capitals && digits.bytes().any(|digit| digit.is_ascii_uppercase()) {
        return Err(Reason::UppercaseHex.into());
    }
    from_hex(digits).ok_or_else(|| Reason::BadLength.into())
}

/// Whether the name of a hash stands before the digits: another one, another spelling, or a second time.
fn is_labelled(text: &str) -> bool {
    let label = text.split_once('=').map(|(label, _)| label);
    label
        .and_then(|label| label.split_at_checked(3))
        .is_some_and(|(name, number)| {
            name.eq_ignore_ascii_case("sha")
                && !number.is_empty()
                && number.bytes().all(|digit| digit.is_ascii_digit())
        })
}

/// Whether the value is a secret instead of a signature: bare, labelled, or as a bearer token.
fn is_raw_secret(secrets: &[Secret], value: &str) -> bool {
    let bearer = value
        .split_once(' ')
        .filter(|(word, _)| word.eq_ignore_ascii_case("bearer"))
        .map(|(_, token)| token);
    let spellings = [Some(value), value.strip_prefix(LABEL), bearer];
    spellings
        .into_iter()
        .flatten()
        .any(|text| first(secrets, |secret| secret.is(text.trim().as_bytes())).is_some())
}
