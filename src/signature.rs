//! Proof that a sender knows the secret: the only module that opens a body, and only after its signature was verified.

mod hex_hmac;
mod rejection;
mod standard_webhooks;
mod token;

use std::fmt;

use crate::json::{self, NotRead};
use crate::limits;
use crate::message::Headers;
use crate::secret::{self, Secret};
use crate::text::string_enum;
use rejection::Reason;
pub(crate) use rejection::Rejection;

/// What a 401 says, whatever was wrong: it helps an honest sender, and nobody to forge.
pub(crate) const EXPECTED: &str = "the signature or token is missing or wrong, or its time is more than 5 minutes off; \
    expected is what this hook's scheme prescribes, by default \
    \"X-Portainer-Signature: \" with the hex HMAC-SHA256 of the raw body, keyed with the hook's secret";

string_enum! {
    /// The name of a way to prove knowledge of the secret.
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
    /// Also GitLab's signing tokens.
    StandardWebhooks = "standard-webhooks",
    /// The secret itself in a header.
    Token = "token",
    /// The secret itself in the query; the weakest.
    UrlToken = "url-token",
}

string_enum! {
    /// How a token stands in its header.
    TokenKind:
    /// The header's whole value.
    Raw = "raw",
    /// After `Bearer `.
    Bearer = "bearer",
    /// `Basic` with base64 of `user:password`.
    Basic = "basic",
}

/// A scheme with what it needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Scheme {
    /// Which one.
    pub(crate) name: SchemeName,
    /// Schemes `token` and `generic`: which header, in lower case.
    pub(crate) header: String,
    /// Scheme `token`: how it stands there.
    pub(crate) kind: TokenKind,
}

/// A body that nobody has the right to read yet.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct Sealed(Vec<u8>);

impl Sealed {
    /// Seals what came from the network.
    pub(crate) fn new(body: Vec<u8>) -> Sealed {
        Sealed(body)
    }

    /// Length in bytes.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// The bytes as they came, to be passed on unread; for the server alone.
    pub(crate) fn forward(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sealed({} bytes)", self.len())
    }
}

/// Where a proof can stand.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Given<'r> {
    /// All header lines.
    pub(crate) headers: &'r Headers,
    /// After the `?`, as sent.
    pub(crate) query: Option<&'r str>,
    /// What was signed.
    pub(crate) body: &'r Sealed,
}

/// A request whose sender knows a secret: the right to read its body.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Verified<'r> {
    headers: &'r Headers,
    body: &'r [u8],
    stamp: Option<Stamp>,
    secret: (usize, usize),
}

/// Shows nothing of headers and body.
impl fmt::Debug for Verified<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verified")
            .field("bytes", &self.body.len())
            .field("stamp", &self.stamp)
            .field("secret", &self.secret)
            .finish()
    }
}

/// What a scheme signs besides the body: with it, a delivery cannot be sent a second time unnoticed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stamp {
    /// The sender's id of the delivery.
    pub(crate) id: String,
    /// When it was signed (Unix seconds).
    pub(crate) time: u64,
}

/// Checks the proof that `scheme` prescribes against every secret, in constant time and without leaving early.
///
/// # Errors
/// Why the delivery is turned away; for the log, the caller is told [`EXPECTED`].
pub(crate) fn verify<'r>(
    scheme: &Scheme,
    secrets: &[Secret],
    given: Given<'r>,
    unix: u64,
) -> Result<Verified<'r>, Rejection> {
    let body = &given.body.0;
    let found = match scheme.name {
        SchemeName::Generic
        | SchemeName::Github
        | SchemeName::Gitea
        | SchemeName::Forgejo
        | SchemeName::Gogs
        | SchemeName::Bitbucket => hex_hmac::check(scheme, secrets, given.headers, body),
        SchemeName::StandardWebhooks => {
            standard_webhooks::check(secrets, given.headers, body, unix)
        }
        SchemeName::Token => token::in_header(scheme, secrets, given.headers),
        SchemeName::UrlToken => token::in_query(secrets, given.query),
    };
    match found {
        Ok(found) => Ok(Verified {
            headers: given.headers,
            body,
            stamp: found.stamp,
            secret: (found.secret + 1, secrets.len()),
        }),
        Err(mut rejection) => {
            rejection.advise(scheme, &given);
            Err(rejection)
        }
    }
}

/// What a sender that knows the secret sends along.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Proof {
    /// Header lines.
    Headers(Vec<(String, String)>),
    /// Nothing but the secret in the URL: there is no header.
    InUrl,
}

/// Makes what [`verify`] accepts. `None`: this secret cannot sign by this scheme.
pub(crate) fn sign(
    scheme: &Scheme,
    secret: &Secret,
    body: &[u8],
    id: &str,
    unix: u64,
) -> Option<Proof> {
    let headers = match scheme.name {
        SchemeName::Generic
        | SchemeName::Github
        | SchemeName::Gitea
        | SchemeName::Forgejo
        | SchemeName::Gogs
        | SchemeName::Bitbucket => vec![hex_hmac::sign(scheme, secret, body)?],
        SchemeName::StandardWebhooks => standard_webhooks::sign(secret, body, id, unix)?,
        SchemeName::Token => vec![token::header(scheme, secret)],
        SchemeName::UrlToken => return Some(Proof::InUrl),
    };
    Some(Proof::Headers(headers))
}

impl<'r> Verified<'r> {
    /// All header lines. Only what the scheme signs of them is proven.
    pub(crate) fn headers(&self) -> &'r Headers {
        self.headers
    }

    /// The body.
    pub(crate) fn bytes(&self) -> &'r [u8] {
        self.body
    }

    /// The body as JSON; of two equal keys the later one counts.
    ///
    /// # Errors
    /// Where it stops being JSON; nothing of its content.
    pub(crate) fn json(&self) -> Result<serde_json::Value, NotRead> {
        json::from_slice(self.body)
    }

    /// SHA-256 of the body.
    pub(crate) fn hash(&self) -> [u8; 32] {
        secret::sha256(&[self.body])
    }

    /// What was signed besides the body.
    pub(crate) fn stamp(&self) -> Option<&Stamp> {
        self.stamp.as_ref()
    }

    /// Which of how many secrets matched, counted from 1: after a rotation the log tells when the old one is no
    /// longer used.
    pub(crate) fn secret(&self) -> (usize, usize) {
        self.secret
    }
}

/// What a scheme found.
#[derive(Debug)]
struct Found {
    /// Index of the secret that matched.
    secret: usize,
    stamp: Option<Stamp>,
}

/// The first secret that `fits`. All are asked, so that the time tells nothing about which one it was.
fn first(secrets: &[Secret], fits: impl Fn(&Secret) -> bool) -> Option<Found> {
    let mut found = None;
    for (index, secret) in secrets.iter().enumerate() {
        let fit = fits(secret);
        if fit && found.is_none() {
            found = Some(index);
        }
    }
    found.map(|secret| Found {
        secret,
        stamp: None,
    })
}

/// Whether a signed time is within tolerance of our clock.
pub(crate) fn fresh(time: u64, unix: u64) -> Result<(), Rejection> {
    let tolerance = limits::SIGNED_TIME_TOLERANCE.as_secs();
    match (unix.saturating_sub(time), time.saturating_sub(unix)) {
        (age, _) if age > tolerance => Err(Reason::TooOld.into()),
        (_, lead) if lead > tolerance => Err(Reason::TooNew.into()),
        _ => Ok(()),
    }
}

#[cfg(test)]
pub(crate) mod tests;
