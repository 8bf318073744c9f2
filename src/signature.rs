//! Signatures and tokens: the proof that a request comes from a sender that knows the hook's secret. The only module that opens a
//! body, and only after its signature was verified.

mod mac;
mod rejection;
mod standard_webhooks;
mod token;

use std::fmt;

use crate::json::{self, NotRead};
use crate::limits;
use crate::message::Headers;
use crate::secret::{self, Secret};
use crate::text::string_enum;
pub(crate) use mac::{Encoding, HmacForm, SignedText};
pub(crate) use rejection::Rejection;
use rejection::{Reason, find_secret, other_scheme};

/// The text of every 401. It helps an honest sender, and does not help to forge a signature.
pub(crate) const EXPECTED: &str = "the signature or token is missing or wrong, or its time is more than 5 minutes off; \
    this hook's scheme requires a header, by default \
    \"X-Portainer-Signature: \" with the hex HMAC-SHA256 of the raw body, keyed with the hook's secret";

string_enum! {
    /// A way to prove knowledge of the secret.
    SchemeName:
    /// `X-Portainer-Signature`.
    Generic = "generic",
    /// `X-Hub-Signature-256`.
    Github = "github",
    /// `X-Gitea-Signature`.
    Gitea = "gitea",
    /// `X-Forgejo-Signature`.
    Forgejo = "forgejo",
    /// `X-Gogs-Signature`.
    Gogs = "gogs",
    /// `X-Hub-Signature`, which Bitbucket fills with SHA-256.
    Bitbucket = "bitbucket",
    /// An HMAC in the form that [`HmacForm`] describes.
    Hmac = "hmac",
    /// Also GitLab's signing tokens.
    StandardWebhooks = "standard-webhooks",
    /// The secret itself in a header.
    Token = "token",
    /// The secret itself in the query; the weakest.
    UrlToken = "url-token",
}

string_enum! {
    /// The form of a token in its header.
    TokenKind:
    /// The header's whole value.
    Raw = "raw",
    /// After `Bearer `.
    Bearer = "bearer",
    /// `Basic` with base64 of `user:password`.
    Basic = "basic",
}

/// A scheme with its options.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Scheme {
    pub(crate) name: SchemeName,
    /// Schemes `token`, `generic` and `hmac`: the header, in lower case; empty: the scheme's usual one.
    pub(crate) header: String,
    /// Scheme `token`: the form of the token.
    pub(crate) kind: TokenKind,
    /// Scheme `hmac`: the form of the signature.
    pub(crate) hmac: HmacForm,
}

impl Scheme {
    /// A scheme with its usual options.
    pub(crate) fn plain(name: SchemeName) -> Scheme {
        Scheme {
            name,
            header: String::new(),
            kind: TokenKind::Bearer,
            hmac: HmacForm::DEFAULT,
        }
    }

    /// The headers and values that a sender must send, for log and set-up text.
    pub(crate) fn expected(&self) -> String {
        match self.name {
            SchemeName::StandardWebhooks => standard_webhooks::EXPECTED.to_owned(),
            SchemeName::Token | SchemeName::UrlToken => token::expected(self),
            _ => mac::expected(self),
        }
    }
}

/// A body whose signature was not verified yet; it cannot be read.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct UnverifiedBody(Vec<u8>);

impl UnverifiedBody {
    /// Wraps bytes from the network.
    pub(crate) fn new(body: Vec<u8>) -> UnverifiedBody {
        UnverifiedBody(body)
    }

    /// Length in bytes.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}

impl fmt::Debug for UnverifiedBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "UnverifiedBody({} bytes)", self.len())
    }
}

/// The parts of a request that can hold a signature, and the body that it signs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SignedRequest<'r> {
    pub(crate) headers: &'r Headers,
    /// The text after the `?`, as sent.
    pub(crate) query: Option<&'r str>,
    pub(crate) body: &'r UnverifiedBody,
}

/// A request whose sender knows a secret: the right to read its body.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Verified<'r> {
    headers: &'r Headers,
    query: Option<&'r str>,
    body: &'r [u8],
    timestamp: Option<SignedTimestamp>,
    secret: (usize, usize),
    has_url_token: bool,
}

/// Shows nothing of headers and body.
impl fmt::Debug for Verified<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verified")
            .field("bytes", &self.body.len())
            .field("timestamp", &self.timestamp)
            .field("secret", &self.secret)
            .finish()
    }
}

/// The time that a scheme signs besides the body: it allows replays to be recognised.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SignedTimestamp {
    /// The sender's id of the delivery, if the scheme signs that too.
    pub(crate) id: Option<String>,
    /// Time of signing (Unix seconds).
    pub(crate) time: u64,
}

/// Checks the proof that `scheme` prescribes against every secret, in constant time and without an early exit.
///
/// Errors: the reason for the log; the client gets [`EXPECTED`].
pub(crate) fn verify<'r>(
    scheme: &Scheme,
    secrets: &[Secret],
    request: SignedRequest<'r>,
    unix: u64,
) -> Result<Verified<'r>, Rejection> {
    let found = match scheme.name {
        SchemeName::StandardWebhooks => standard_webhooks::verify(secrets, &request, unix),
        SchemeName::Token | SchemeName::UrlToken => token::verify(scheme, secrets, &request),
        _ => mac::verify(scheme, secrets, &request, unix),
    };
    match found {
        Ok(found) => Ok(Verified {
            headers: request.headers,
            query: request.query,
            body: &request.body.0,
            timestamp: found.timestamp,
            secret: (found.secret + 1, secrets.len()),
            has_url_token: scheme.name == SchemeName::UrlToken,
        }),
        Err(rejection) => {
            let hint = explain(scheme, secrets, &request, rejection.reason);
            Err(rejection.with_hint(hint))
        }
    }
}

/// The mistake that the rest of a rejected request shows.
fn explain(
    scheme: &Scheme,
    secrets: &[Secret],
    request: &SignedRequest<'_>,
    reason: Reason,
) -> Option<String> {
    let missing = matches!(reason, Reason::MissingSignature | Reason::MissingToken);
    let own = match scheme.name {
        SchemeName::StandardWebhooks => standard_webhooks::explain(secrets, request, reason),
        SchemeName::Token | SchemeName::UrlToken => {
            // Another scheme's signature says more than that the token is missing.
            let other = missing && find_secret(secrets, request).is_none();
            let other = other.then(|| other_scheme(scheme, request)).flatten();
            return Some(other.unwrap_or_else(|| token::explain(scheme, secrets, request, reason)));
        }
        _ => mac::explain(scheme, secrets, request, reason),
    };
    own.or_else(|| missing.then(|| other_scheme(scheme, request)).flatten())
        .or_else(|| {
            let text = reason.text();
            missing.then(|| format!("{text}; expected {}", scheme.expected()))
        })
}

/// The parts of a request that a sender who knows the secret adds.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Proof {
    /// Header lines to add.
    Headers(Vec<(String, String)>),
    /// Nothing but the secret in the URL.
    InUrl,
}

/// Makes the proof that [`verify`] accepts. `None`: this secret cannot sign with this scheme.
pub(crate) fn sign(
    scheme: &Scheme,
    secret: &Secret,
    body: &[u8],
    id: &str,
    unix: u64,
) -> Option<Proof> {
    Some(match scheme.name {
        SchemeName::StandardWebhooks => {
            Proof::Headers(standard_webhooks::sign(secret, body, id, unix)?)
        }
        SchemeName::Token | SchemeName::UrlToken => match token::sign(scheme, secret) {
            Some(header) => Proof::Headers(vec![header]),
            None => Proof::InUrl,
        },
        _ => Proof::Headers(mac::sign(scheme, secret, body, unix)),
    })
}

impl<'r> Verified<'r> {
    /// All header lines. Only those that the scheme signs are proven.
    pub(crate) fn headers(&self) -> &'r Headers {
        self.headers
    }

    /// The text after the `?`, as sent; never proven.
    pub(crate) fn query(&self) -> Option<&'r str> {
        self.query
    }

    /// Returns whether the query carries the token.
    pub(crate) fn has_url_token(&self) -> bool {
        self.has_url_token
    }

    /// The body as it was sent.
    pub(crate) fn bytes(&self) -> &'r [u8] {
        self.body
    }

    /// The body as JSON; of two equal keys the later one counts.
    ///
    /// Errors: the position where it stops being JSON; nothing of its content.
    pub(crate) fn json(&self) -> Result<serde_json::Value, NotRead> {
        json::from_slice(self.body)
    }

    /// SHA-256 of the body.
    pub(crate) fn hash(&self) -> [u8; 32] {
        secret::sha256(&[self.body])
    }

    /// The time and id that were signed besides the body.
    pub(crate) fn timestamp(&self) -> Option<&SignedTimestamp> {
        self.timestamp.as_ref()
    }

    /// The number of the secret that matched, counted from 1, and the number of secrets. After a rotation the log shows when senders
    /// have stopped using the old secret.
    pub(crate) fn secret(&self) -> (usize, usize) {
        self.secret
    }
}

/// A successful verification.
#[derive(Debug)]
struct SecretMatch {
    /// Index of the secret that matched.
    secret: usize,
    timestamp: Option<SignedTimestamp>,
}

/// The first secret that matches. All are tried, so that the time tells nothing about the position.
fn first_match(secrets: &[Secret], matches: impl Fn(&Secret) -> bool) -> Option<SecretMatch> {
    let mut found = None;
    for (index, secret) in secrets.iter().enumerate() {
        let is_match = matches(secret);
        if is_match && found.is_none() {
            found = Some(index);
        }
    }
    found.map(|secret| SecretMatch {
        secret,
        timestamp: None,
    })
}

/// The only value of a header or parameter.
fn exactly_one<T>(mut values: impl Iterator<Item = T>, missing: Reason) -> Result<T, Rejection> {
    match (values.next(), values.next()) {
        (Some(value), None) => Ok(value),
        (Some(_), Some(_)) => Err(Reason::DuplicateHeader.into()),
        (None, _) => Err(missing.into()),
    }
}

/// Returns whether `text` is one of the secrets.
fn is_secret(secrets: &[Secret], text: &[u8]) -> bool {
    first_match(secrets, |secret| secret.is(text)).is_some()
}

/// Checks that a signed time is within tolerance of our clock.
pub(crate) fn check_age(time: u64, unix: u64) -> Result<(), Rejection> {
    let tolerance = limits::SIGNED_TIME_TOLERANCE.as_secs();
    match (unix.saturating_sub(time), time.saturating_sub(unix)) {
        (age, _) if age > tolerance => Err(Reason::TooOld.into()),
        (_, lead) if lead > tolerance => Err(Reason::TooNew.into()),
        _ => Ok(()),
    }
}

/// Parses Unix seconds. A number has one spelling, so that no two texts mean one time.
fn parse_seconds(text: &str) -> Option<u64> {
    let plain = text.bytes().all(|digit| digit.is_ascii_digit());
    let leading_zero = text.len() > 1 && text.starts_with('0');
    text.parse().ok().filter(|_| plain && !leading_zero)
}

#[cfg(test)]
pub(crate) mod tests;
