//! Reasons for rejecting a request, and hints for the operator. Both are for the log and the settings page, never for the client.

use std::borrow::Cow;
use std::fmt;

use super::{Scheme, SchemeName, SignedRequest, is_secret, mac};
use crate::message;
use crate::secret::{Secret, from_base64};
use crate::text::string_enum;

string_enum! {
    /// Reason for rejecting a signature or token; the name is the code in the log.
    Reason:
    /// The signature's header is missing.
    MissingSignature = "missing_signature",
    /// The token is missing.
    MissingToken = "missing_token",
    /// The value does not begin as the scheme prescribes.
    BadPrefix = "bad_prefix",
    /// The signature has the wrong length for its hash.
    BadLength = "bad_length",
    /// The signature has characters that are not hexadecimal digits.
    NotHex = "not_hex",
    /// Upper-case digits, although the sender only writes lower-case ones.
    UppercaseHex = "uppercase_hex",
    /// A value that must be there once is there several times.
    DuplicateHeader = "duplicate_header",
    /// Well-formed, but made with another secret or of another body.
    Mismatch = "mismatch",
    /// Only GitHub's legacy SHA-1 header was sent.
    Sha1Only = "sha1_only",
    /// The secret itself was sent in place of its signature.
    RawSecretSent = "raw_secret_sent",
    /// Signed more than 5 minutes ago.
    TooOld = "too_old",
    /// Signed more than 5 minutes ahead of our clock.
    TooNew = "too_new",
    /// Standard Webhooks: the id is missing.
    IdMissing = "id_missing",
    /// Standard Webhooks: the end of the id is ambiguous.
    IdMalformed = "id_malformed",
    /// The signed time is missing.
    TimestampMissing = "timestamp_missing",
    /// The signed time is not a plain number of seconds.
    TimestampMalformed = "timestamp_malformed",
    /// Standard Webhooks: the list has no `v1` signature.
    NoUsableSignature = "no_usable_signature",
    /// Not base64; with Basic authentication, not base64 of `user:password`.
    NotBase64 = "not_base64",
}

impl Reason {
    /// The hint that fits every request with this reason.
    pub(super) fn text(self) -> &'static str {
        match self {
            Reason::MissingSignature => "the sender signs nothing; set the hook's secret there",
            Reason::MissingToken => "the sender sends no token; set the hook's secret there",
            Reason::BadPrefix => "the value does not begin as this scheme prescribes",
            Reason::BadLength => {
                "a signature has 64 hex digits; was it cut off, or made with another hash?"
            }
            Reason::NotHex => {
                "the value is not a bare hex signature; does it carry a label, quotes or base64?"
            }
            Reason::UppercaseHex => {
                "this sender writes lower-case digits; scheme \"generic\" accepts either case"
            }
            Reason::DuplicateHeader => {
                "the header or parameter was sent more than once; exactly one is allowed"
            }
            Reason::Mismatch => {
                "the secret differs on the two sides, or the body was changed on the way"
            }
            Reason::Sha1Only => {
                "scheme \"github\" needs X-Hub-Signature-256; is the sender Bitbucket? then use scheme \"bitbucket\""
            }
            Reason::RawSecretSent => {
                "this header carries the secret itself; send the HMAC of the body instead, and rotate the secret, which has been exposed"
            }
            Reason::TooOld => {
                "signed more than 5 minutes ago: a replay, a slow queue, or a clock that is wrong"
            }
            Reason::TooNew => {
                "signed in the future: a clock is wrong, or the time is not in seconds"
            }
            Reason::IdMissing => "the header with the id of the delivery is missing",
            Reason::IdMalformed => "the id of the delivery is empty, too long or contains a dot",
            Reason::TimestampMissing => {
                "the header with the time is missing; all three must be of one family, webhook-* or svix-*"
            }
            Reason::TimestampMalformed => "the time must be Unix seconds in plain digits",
            Reason::NoUsableSignature => "the list has no \"v1,\" signature of 44 base64 digits",
            Reason::NotBase64 => "the value is not the base64 of user:password",
        }
    }
}

/// A rejected request, for the log alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rejection {
    pub(super) reason: Reason,
    hint: Cow<'static, str>,
}

impl From<Reason> for Rejection {
    fn from(reason: Reason) -> Rejection {
        Rejection {
            reason,
            hint: reason.text().into(),
        }
    }
}

impl Rejection {
    /// The code in the log.
    pub(crate) fn code(&self) -> &'static str {
        self.reason.name()
    }

    /// The likely mistake and its fix.
    pub(crate) fn hint(self) -> Cow<'static, str> {
        self.hint
    }

    pub(super) fn with_hint(self, hint: Option<String>) -> Rejection {
        match hint {
            Some(hint) => Rejection {
                hint: hint.into(),
                ..self
            },
            None => self,
        }
    }
}

/// A header in the request that belongs to another scheme. It is named in the log, never used.
pub(super) fn other_scheme(scheme: &Scheme, request: &SignedRequest<'_>) -> Option<String> {
    let hex = mac::HEADERS.iter().copied();
    let others = hex.chain([
        ("webhook-signature", "standard-webhooks"),
        ("svix-signature", "standard-webhooks"),
        ("x-gitlab-token", "token"),
        ("x-nexus-webhook-signature", "hmac"),
    ]);
    others
        .filter(|(header, other)| {
            let same = *other == scheme.name.name();
            !same || (scheme.name == SchemeName::Token && *header != scheme.header)
        })
        .find(|(header, _)| request.headers.get(header).is_some())
        .map(|(header, other)| {
            format!("the request carries \"{header}\", which scheme \"{other}\" reads")
        })
}

/// A place in a request where the secret itself was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SecretLocation {
    /// The header, in lower case; `None`: the URL's query.
    pub(super) header: Option<String>,
    /// The name of the query parameter.
    parameter: String,
    pub(super) form: SecretForm,
}

/// The text around a secret that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum SecretForm {
    /// The secret alone.
    Bare,
    /// After a word and a space, such as `Bearer`.
    After(String),
    /// After a label, such as `sha256=`.
    Labelled,
    /// As base64 after `Basic`.
    Basic,
}

impl fmt::Display for SecretLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.header {
            Some(header) => write!(f, "header \"{header}\"")?,
            // A name with other characters may hold a part of a secret.
            None if is_plain_name(&self.parameter) => {
                write!(f, "query parameter \"{}\"", self.parameter)?;
            }
            None => f.write_str("the query")?,
        }
        match &self.form {
            SecretForm::After(word) => write!(f, " (after \"{word}\")"),
            SecretForm::Basic => f.write_str(" (as Basic authentication)"),
            SecretForm::Bare | SecretForm::Labelled => Ok(()),
        }
    }
}

fn is_plain_name(name: &str) -> bool {
    (1..=32).contains(&name.len())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}

/// Looks for a secret in all headers and query parameters. Everything is compared, in constant time each, so that the time
/// tells nothing about a match.
pub(super) fn find_secret(
    secrets: &[Secret],
    request: &SignedRequest<'_>,
) -> Option<SecretLocation> {
    let mut found = None;
    let mut consider = |candidate: &[u8], place: &dyn Fn() -> SecretLocation| {
        if is_secret(secrets, candidate) && found.is_none() {
            found = Some(place());
        }
    };
    for (name, value) in request.headers.iter() {
        let place = |form: SecretForm| SecretLocation {
            header: Some(name.to_owned()),
            parameter: String::new(),
            form,
        };
        let value = value.trim();
        consider(value.as_bytes(), &|| place(SecretForm::Bare));
        if let Some((word, rest)) = value.split_once(' ') {
            let after = || match is_plain_name(word) {
                true => SecretForm::After(word.to_owned()),
                false => SecretForm::Labelled,
            };
            consider(rest.trim().as_bytes(), &|| place(after()));
            if let Some(pair) = from_base64(rest.trim()) {
                consider(&pair, &|| place(SecretForm::Basic));
            }
        }
        if let Some((_, rest)) = value.split_once('=') {
            consider(rest.as_bytes(), &|| place(SecretForm::Labelled));
        }
    }
    for (name, value) in message::pairs(request.query.unwrap_or_default()) {
        consider(&value, &|| SecretLocation {
            header: None,
            parameter: name.clone(),
            form: SecretForm::Bare,
        });
    }
    found
}
