//! Why a proof was not accepted, and what a person can do about it: words for the log, never for the caller.

use std::borrow::Cow;

use super::{Given, Scheme, SchemeName, hex_hmac};
use crate::text::string_enum;

string_enum! {
    /// Why a proof was not accepted.
    Reason:
    /// The header is not there.
    MissingSignature = "missing_signature",
    /// The token is not there.
    MissingToken = "missing_token",
    /// What the value begins with is not what the scheme prescribes.
    BadPrefix = "bad_prefix",
    /// Hexadecimal, but not 64 digits.
    BadLength = "bad_length",
    /// Not hexadecimal.
    NotHex = "not_hex",
    /// Capitals, where the sender never writes any.
    UppercaseHex = "uppercase_hex",
    /// What must be there once is there several times.
    DuplicateHeader = "duplicate_header",
    /// Well-formed, and made with another secret or of another body.
    Mismatch = "mismatch",
    /// Only GitHub's legacy header is there.
    Sha1Only = "sha1_only",
    /// The secret stands where its signature should.
    RawSecretSent = "raw_secret_sent",
    /// Signed more than 5 minutes ago.
    TooOld = "too_old",
    /// Signed more than 5 minutes ahead of our clock.
    TooNew = "too_new",
    /// Standard Webhooks: no id.
    IdMissing = "id_missing",
    /// Standard Webhooks: an id that could hide where it ends.
    IdMalformed = "id_malformed",
    /// Standard Webhooks: no time.
    TimestampMissing = "timestamp_missing",
    /// Standard Webhooks: the time is no plain number of seconds.
    TimestampMalformed = "timestamp_malformed",
    /// Standard Webhooks: no `v1` signature in the list.
    NoUsableSignature = "no_usable_signature",
    /// Basic: not base64 of `user:password`.
    NotBase64 = "not_base64",
}

/// Why a delivery was turned away, for the log alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rejection {
    reason: Reason,
    advice: Option<Cow<'static, str>>,
}

impl From<Reason> for Rejection {
    fn from(reason: Reason) -> Rejection {
        Rejection {
            reason,
            advice: None,
        }
    }
}

impl Rejection {
    /// The code that the log shows.
    pub(crate) fn code(&self) -> &'static str {
        self.reason.name()
    }

    /// What a person can do about it.
    pub(crate) fn hint(self) -> Cow<'static, str> {
        self.advice.unwrap_or(words(self.reason).into())
    }

    /// Adds what the rest of the request tells about the mistake.
    pub(super) fn advise(&mut self, scheme: &Scheme, given: &Given<'_>) {
        let form = given
            .headers
            .get("content-type")
            .is_some_and(|kind| kind.to_ascii_lowercase().contains("x-www-form-urlencoded"));
        let gitea_family = matches!(
            scheme.name,
            SchemeName::Gitea | SchemeName::Forgejo | SchemeName::Gogs
        );
        let tokens = matches!(scheme.name, SchemeName::Token | SchemeName::UrlToken);
        let advice = match self.reason {
            Reason::MissingSignature | Reason::MissingToken => elsewhere(scheme, given).map(Cow::from),
            Reason::BadLength | Reason::BadPrefix if hex_hmac::is_blank(scheme, given.headers) => {
                Some("the signature is empty: the sender has no secret set".into())
            }
            Reason::Mismatch if gitea_family && form => Some(
                "this sender signs the JSON and not the form; choose content type application/json there"
                    .into(),
            ),
            Reason::Mismatch if tokens => None,
            Reason::Mismatch if given.body.0.is_empty() => {
                Some("the body arrived empty; was it lost on the way?".into())
            }
            Reason::Mismatch if given.body.0.ends_with(b"\n") => Some(
                "the body ends in a line end; was it signed without? use printf '%s' and --data-binary"
                    .into(),
            ),
            Reason::Mismatch if scheme.name == SchemeName::Generic => Some(
                format!(
                    "{}; sign exactly the bytes that are sent, by printf '%s' and not echo",
                    words(self.reason)
                )
                .into(),
            ),
            _ => None,
        };
        self.advice = advice.or(self.advice.take());
    }
}

/// What a reason means for a person, when nothing more is known.
fn words(reason: Reason) -> &'static str {
    match reason {
        Reason::MissingSignature => "the sender signs nothing; set the hook's secret there",
        Reason::MissingToken => "the sender sends no token; set the hook's secret there",
        Reason::BadPrefix => "the value is not written as this scheme prescribes",
        Reason::BadLength => "a signature has 64 hex digits; is it cut, or made with another hash?",
        Reason::NotHex => {
            "the value is no bare hex signature; does it carry a label, quotes or base64?"
        }
        Reason::UppercaseHex => {
            "this sender writes lower-case digits; scheme \"generic\" takes either case"
        }
        Reason::DuplicateHeader => "the header is there more than once; exactly one is allowed",
        Reason::Mismatch => {
            "the secret differs on the two sides, or the body was changed on the way"
        }
        Reason::Sha1Only => {
            "scheme \"github\" needs X-Hub-Signature-256; is the sender Bitbucket? then use scheme \"bitbucket\""
        }
        Reason::RawSecretSent => {
            "this header carries the secret itself; send its HMAC of the body, and rotate the secret, it has been exposed"
        }
        Reason::TooOld => {
            "signed more than 5 minutes ago: a replay, a slow queue, or a clock that is wrong"
        }
        Reason::TooNew => "signed in the future: a clock is wrong, or the time is not in seconds",
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

/// A proof of another scheme in the request. It is named, never used.
fn elsewhere(scheme: &Scheme, given: &Given<'_>) -> Option<String> {
    let hex = hex_hmac::HEADERS.iter().copied();
    let others = hex.chain([
        ("webhook-signature", "standard-webhooks"),
        ("svix-signature", "standard-webhooks"),
        ("x-gitlab-token", "token"),
    ]);
    others
        .filter(|(_, other)| *other != scheme.name.name() || scheme.name == SchemeName::Token)
        .find(|(header, _)| given.headers.get(header).is_some())
        .map(|(header, other)| {
            format!("the request carries \"{header}\", which scheme \"{other}\" reads")
        })
}
