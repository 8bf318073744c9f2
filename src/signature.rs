//! Proof that a sender knows the secret: the only module that opens a body, and only after its signature was verified.

use std::fmt;

use crate::named::named;

named! {
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

named! {
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
