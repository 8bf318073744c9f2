//! Image references, parsed as Docker parses them, in a canonical form that can be compared. Globs over references are in [`Pattern`].
//!
//! The grammar is that of `github.com/distribution/reference`, which Docker and compose use.

mod grammar;
mod pattern;

use std::fmt;

use serde::{Deserialize, Serialize};

use grammar::{
    HUB, HUB_ADDRESS, is_component, is_digest, is_host, is_tag, leading_host, locate, shorten,
    split,
};
pub(crate) use pattern::Pattern;

/// A repository's name on its registry; Docker's own limit (bytes).
const REPOSITORY_MAX: usize = 255;

/// A repository on a registry, with a tag, a digest, both or neither.
///
/// `nginx`, `docker.io/library/nginx` and `index.docker.io/nginx` are equal.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub(crate) struct Reference {
    /// Host and port; `None`: any, see [`Reference::on_any_registry`].
    registry: Option<String>,
    path: String,
    tag: Option<String>,
    digest: Option<String>,
}

/// The prefix of a stored reference that is on any registry. No other reference begins with it.
const ANYWHERE: &str = "*/";

impl From<Reference> for String {
    fn from(reference: Reference) -> String {
        match reference.registry {
            Some(_) => reference.to_string(),
            None => format!("{ANYWHERE}{reference}"),
        }
    }
}

impl TryFrom<String> for Reference {
    type Error = BadReference;

    fn try_from(text: String) -> Result<Reference, BadReference> {
        match text.strip_prefix(ANYWHERE) {
            Some(text) => Reference::on_any_registry(text),
            None => Reference::parse(&text),
        }
    }
}

impl Reference {
    /// Parses a reference from a compose file, an event or a command line.
    ///
    /// Errors: the mistake. The text itself is not repeated, because it may hold the value of a variable.
    pub(crate) fn parse(text: &str) -> Result<Reference, BadReference> {
        let (name, tag, digest) = split(text)?;
        let (registry, path) = locate(name);
        if !is_host(&registry) {
            return Err(BadReference::Registry);
        }
        Reference::checked(Some(registry), path, tag, digest)
    }

    /// Parses the reference of an event that may not name the registry; such a reference is on every registry.
    /// A text that begins with a registry is parsed as by [`Reference::parse`].
    ///
    /// Errors: as [`Reference::parse`].
    pub(crate) fn on_any_registry(text: &str) -> Result<Reference, BadReference> {
        let (name, tag, digest) = split(text)?;
        if leading_host(name).is_some() {
            return Reference::parse(text);
        }
        Reference::checked(None, name.to_owned(), tag, digest)
    }

    fn checked(
        registry: Option<String>,
        path: String,
        tag: Option<&str>,
        digest: Option<&str>,
    ) -> Result<Reference, BadReference> {
        if path.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return Err(BadReference::Uppercase);
        }
        if path.len() > REPOSITORY_MAX {
            return Err(BadReference::TooLong);
        }
        if !path.split('/').all(is_component) {
            return Err(BadReference::Repository);
        }
        if !tag.is_none_or(is_tag) {
            return Err(BadReference::Tag);
        }
        if !digest.is_none_or(is_digest) {
            return Err(BadReference::Digest);
        }
        Ok(Reference {
            registry,
            path,
            tag: tag.map(str::to_owned),
            digest: digest.map(str::to_owned),
        })
    }

    /// Host and port of the registry, `docker.io` for the hub; none only if it was made by
    /// [`Reference::on_any_registry`].
    pub(crate) fn registry(&self) -> Option<&str> {
        self.registry.as_deref()
    }

    /// Registry and path: `docker.io/library/nginx`.
    pub(crate) fn repository(&self) -> String {
        match &self.registry {
            Some(registry) => format!("{registry}/{}", self.path),
            None => self.path.clone(),
        }
    }

    /// The repository's name on its registry: `library/nginx`.
    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    /// The tag, if one was given.
    pub(crate) fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest with its algorithm (`sha256:…`), if one was given.
    pub(crate) fn digest(&self) -> Option<&str> {
        self.digest.as_deref()
    }

    /// The same reference, with tag `latest` if it had neither tag nor digest, as Docker completes it.
    pub(crate) fn with_default_tag(mut self) -> Reference {
        if self.tag.is_none() && self.digest.is_none() {
            self.tag = Some("latest".to_owned());
        }
        self
    }

    /// The same repository, without tag and digest.
    pub(crate) fn without_version(&self) -> Reference {
        Reference {
            tag: None,
            digest: None,
            ..self.clone()
        }
    }

    /// The name as Docker shows it, without tag and digest: `nginx`, `ghcr.io/acme/web`.
    pub(crate) fn familiar_repository(&self) -> String {
        match self.registry.as_deref() {
            Some(HUB) | None => self.short_path().to_owned(),
            Some(registry) => format!("{registry}/{}", self.path),
        }
    }

    /// The reference as Docker shows it and people write it: `nginx:1`, `ghcr.io/acme/web:latest`.
    pub(crate) fn familiar(&self) -> String {
        self.suffixed(self.familiar_repository())
    }

    /// Returns whether an event about `named` concerns this reference of a service.
    ///
    /// An event without tag and digest concerns all of them. A service with a digest is not affected by a tag that moves, and a service
    /// with a tag is not affected by an event that names only a digest.
    pub(crate) fn matches_event(&self, named: &Reference) -> bool {
        let place = match (self.home(), named.home()) {
            (Some(mine), Some(theirs)) => {
                mine.eq_ignore_ascii_case(theirs) && self.short_path() == named.short_path()
            }
            // Only the paths can be compared; the official repositories of Docker Hub have two spellings.
            _ => self.path == named.path || self.short_path() == named.short_path(),
        };
        let version = match (&named.tag, &named.digest) {
            (None, None) => true,
            (_, Some(digest)) if self.digest.is_some() => self.digest.as_ref() == Some(digest),
            (Some(tag), _) => self.digest.is_none() && self.tag.as_ref() == Some(tag),
            (None, Some(_)) => false,
        };
        place && version
    }

    /// The registry, with one name for all addresses of Docker Hub.
    fn home(&self) -> Option<&str> {
        match self.registry() {
            Some(HUB_ADDRESS) => Some(HUB),
            other => other,
        }
    }

    /// The path without `library/`, which may be left out on Docker Hub.
    fn short_path(&self) -> &str {
        match self.home() {
            Some(HUB) | None => shorten(&self.path),
            Some(_) => &self.path,
        }
    }

    fn suffixed(&self, mut name: String) -> String {
        if let Some(tag) = &self.tag {
            name.push(':');
            name.push_str(tag);
        }
        if let Some(digest) = &self.digest {
            name.push('@');
            name.push_str(digest);
        }
        name
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.suffixed(self.repository()))
    }
}

impl fmt::Debug for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Reference({self})")
    }
}

/// The mistake in an image reference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BadReference {
    /// The text is empty.
    Empty,
    /// Longer than any real one.
    TooLong,
    /// The id of an image, which belongs to no repository.
    BareId,
    /// Capitals in the repository.
    Uppercase,
    /// The registry is not a host with an optional port.
    Registry,
    /// The repository has a character, or an order of characters, that Docker refuses.
    Repository,
    /// The same of the tag.
    Tag,
    /// The digest is unknown or has the wrong length.
    Digest,
}

impl fmt::Display for BadReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            BadReference::Empty => "it is empty",
            BadReference::TooLong => "it is too long for an image reference",
            BadReference::BareId => "it is an image id; name a repository",
            BadReference::Uppercase => "the repository must be in lower case",
            BadReference::Registry => "the registry is not a host name, with or without a port",
            BadReference::Repository => {
                "the repository may have lower-case letters and digits, joined by \"-\", \".\", \"_\" or \"/\""
            }
            BadReference::Tag => {
                "the tag may have at most 128 letters, digits, \"_\", \".\" and \"-\", and must not begin with \".\" or \"-\""
            }
            BadReference::Digest => "the digest must be \"sha256:\" and 64 hex digits in lower case (or sha384, sha512)",
        })
    }
}

impl std::error::Error for BadReference {}

/// The first seven digits of an image id or digest, as people compare them.
pub(crate) fn short_id(id: &str) -> &str {
    let hex = id.rsplit_once(':').map_or(id, |(_, hex)| hex);
    hex.get(..7).unwrap_or(hex)
}

#[cfg(test)]
mod tests;
