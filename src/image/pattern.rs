//! Globs over image references: the configuration's `images` and `except`.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::grammar::{HUB, HUB_ADDRESS, is_digest, locate, shorten, split};
use super::{BadReference, Reference};
use crate::glob;
use crate::limits;

/// A glob over references in canonical form: `postgres:*` means `docker.io/library/postgres` with any tag.
///
/// `*` stops at a slash, `**` does not. A pattern without a tag matches every tag and digest. A pattern that begins with `**` is
/// compared with registry and path together, so `**/web` matches `web` on every registry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct Pattern {
    written: String,
    /// `None`: `path` is compared with registry and path together.
    registry: Option<String>,
    path: String,
    tag: Option<String>,
    digest: Option<String>,
}

impl Pattern {
    /// Parses a pattern of the configuration.
    ///
    /// Errors: the mistake in the pattern.
    pub(crate) fn parse(text: &str) -> Result<Pattern, BadPattern> {
        if text.contains("***") {
            return Err(BadPattern::Stars);
        }
        if text.len() > limits::REFERENCE_MAX {
            return Err(BadPattern::Reference(BadReference::TooLong));
        }
        // With a letter for each star, the rules and messages are those of references.
        let example = text.replace("**", "*").replace('*', "a");
        Reference::parse(&example).map_err(BadPattern::Reference)?;
        let (name, tag, digest) = split(text).map_err(BadPattern::Reference)?;
        if !digest.is_none_or(is_digest) {
            return Err(BadPattern::DigestStar);
        }
        let (registry, path) = if name.starts_with("**") {
            (None, name.to_owned())
        } else {
            let (registry, path) = locate(name);
            (Some(registry), path)
        };
        Ok(Pattern {
            written: text.to_owned(),
            registry,
            path,
            tag: tag.map(str::to_owned),
            digest: digest.map(str::to_owned),
        })
    }

    /// Returns whether the pattern matches `reference`. One without a registry is compared by its path, and one without a tag
    /// matches only if the pattern accepts every tag.
    pub(crate) fn matches(&self, reference: &Reference) -> bool {
        self.place(reference) && self.version(reference)
    }

    fn place(&self, reference: &Reference) -> bool {
        match (&self.registry, reference.home()) {
            (Some(registry), Some(home)) => {
                let registry = if registry == HUB_ADDRESS {
                    HUB
                } else {
                    registry
                };
                // Hosts have no case.
                let host =
                    glob::matches(&registry.to_ascii_lowercase(), &home.to_ascii_lowercase());
                host && (glob::matches(&self.path, reference.path())
                    || home == HUB && shorten(&self.path) == reference.short_path())
            }
            (Some(_), None) => {
                glob::matches(&self.path, reference.path())
                    || glob::matches(shorten(&self.path), reference.path())
            }
            (None, _) => glob::matches(&self.path, &reference.repository()),
        }
    }

    fn version(&self, reference: &Reference) -> bool {
        let tag = match &self.tag {
            None => true,
            Some(all) if all.bytes().all(|byte| byte == b'*') => true,
            Some(tag) => reference
                .tag()
                .is_some_and(|given| glob::matches(tag, given)),
        };
        tag && self
            .digest
            .as_deref()
            .is_none_or(|digest| reference.digest() == Some(digest))
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.written)
    }
}

impl TryFrom<String> for Pattern {
    type Error = BadPattern;

    fn try_from(text: String) -> Result<Pattern, BadPattern> {
        Pattern::parse(&text)
    }
}

impl From<Pattern> for String {
    fn from(pattern: Pattern) -> String {
        pattern.written
    }
}

/// The mistake in a pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BadPattern {
    /// It is not a reference, whatever its stars match.
    Reference(BadReference),
    /// More than two stars in a row.
    Stars,
    /// A star in the digest.
    DigestStar,
}

impl fmt::Display for BadPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BadPattern::Reference(why) => write!(f, "{why}"),
            BadPattern::Stars => f.write_str(
                "three stars in a row have no meaning; \"*\" stops at \"/\", \"**\" does not",
            ),
            BadPattern::DigestStar => {
                f.write_str("a digest cannot be a pattern; leave it out to match every digest")
            }
        }
    }
}

impl std::error::Error for BadPattern {}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(pattern: &str, reference: &str, expected: bool) {
        let given = Reference::parse(reference).unwrap();
        assert_eq!(
            Pattern::parse(pattern).unwrap().matches(&given),
            expected,
            "{pattern:?} on {reference:?}"
        );
    }

    #[track_caller]
    fn check_anywhere(pattern: &str, reference: &str, expected: bool) {
        let given = Reference::on_any_registry(reference).unwrap();
        assert_eq!(
            Pattern::parse(pattern).unwrap().matches(&given),
            expected,
            "{pattern:?} on {reference:?}"
        );
    }

    #[track_caller]
    fn refused(pattern: &str, expected: BadPattern) {
        assert_eq!(Pattern::parse(pattern), Err(expected), "{pattern:?}");
    }

    const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn patterns_are_made_canonical_first() {
        check("postgres:*", "docker.io/library/postgres:16", true);
        check("postgres:*", "index.docker.io/postgres:16", true);
        check(
            "postgres:*",
            "registry-1.docker.io/library/postgres:16",
            true,
        );
        check("registry-1.docker.io/library/postgres", "postgres:16", true);
        check("docker.io/library/postgres", "postgres:16", true);
        check("postgres:*", "ghcr.io/library/postgres:16", false);
        check("postgres:*", "acme/postgres:16", false);
        check("postgres:*", "postgres-exporter:16", false);
        check("postgres*", "postgres-exporter:16", true);
        check("GHCR.io/acme/*", "ghcr.io/acme/web", true);
    }

    #[test]
    fn a_pattern_without_a_tag_matches_every_tag_and_digest() {
        check("postgres", "postgres:16", true);
        check("postgres", "postgres", true);
        check("postgres", &format!("postgres@{DIGEST}"), true);
        check("postgres:*", &format!("postgres@{DIGEST}"), true);
        check("postgres:16*", "postgres:16-alpine", true);
        check("postgres:16*", "postgres:15", false);
        check("postgres:16*", "postgres", false);
        check("postgres:16", &format!("postgres:16@{DIGEST}"), true);
    }

    #[test]
    fn a_pattern_with_a_digest_matches_only_that_digest() {
        check(&format!("web@{DIGEST}"), &format!("web@{DIGEST}"), true);
        check(&format!("web@{DIGEST}"), &format!("web:1@{DIGEST}"), true);
        check(&format!("web@{DIGEST}"), "web:1", false);
    }

    #[test]
    fn one_star_stops_at_a_slash_and_two_do_not() {
        check("ghcr.io/acme/*:*", "ghcr.io/acme/web:1", true);
        check("ghcr.io/acme/*", "ghcr.io/acme/team/web:1", false);
        check("ghcr.io/acme/**", "ghcr.io/acme/team/web:1", true);
        check("*", "nginx:1", true);
        check("*", "acme/web:1", false);
        check("*/*", "acme/web:1", true);
        check("*/*", "ghcr.io/acme/web:1", false);
        check("*.example.com/web", "a.example.com/web", true);
        check("*.example.com:5000/web", "a.example.com:5000/web:2", true);
        check("*.example.com/web", "example.org/web", false);
    }

    #[test]
    fn two_stars_at_the_start_match_every_registry() {
        check("**", "ghcr.io/acme/web:1", true);
        check("**", "nginx", true);
        check("**/web:v*", "ghcr.io/acme/web:v2", true);
        check("**/web:v*", "acme/web:v2", true);
        check("**/web:v*", "acme/web:2", false);
        check("**/web", "acme/cobweb", false);
    }

    #[test]
    fn a_reference_without_a_registry_is_compared_by_its_path() {
        check_anywhere("ghcr.io/acme/web:*", "acme/web:1", true);
        check_anywhere("nginx", "nginx:1", true);
        check_anywhere("nginx", "library/nginx:1", true);
        check_anywhere("ghcr.io/acme/web:*", "acme/api:1", false);
        check_anywhere("**/web", "acme/web:1", true);
        check_anywhere("ghcr.io/acme/web:v*", "acme/web", false);
    }

    #[test]
    fn refuses_invalid_patterns_and_names_the_mistake() {
        refused("", BadPattern::Reference(BadReference::Empty));
        refused("Postgres", BadPattern::Reference(BadReference::Uppercase));
        refused("postgres:", BadPattern::Reference(BadReference::Tag));
        refused("ghcr.io/", BadPattern::Reference(BadReference::Repository));
        refused("web:a b", BadPattern::Reference(BadReference::Tag));
        refused("web[12]", BadPattern::Reference(BadReference::Repository));
        refused("web***", BadPattern::Stars);
        refused(
            &format!("web@sha256:*{}", "a".repeat(63)),
            BadPattern::DigestStar,
        );
        refused(
            &"a".repeat(limits::REFERENCE_MAX + 1),
            BadPattern::Reference(BadReference::TooLong),
        );
    }
}
