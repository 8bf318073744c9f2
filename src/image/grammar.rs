//! The grammar of image references: the separators of the parts, and the characters that each part may have.

use super::BadReference;
use crate::limits;

/// The registry that a reference without a registry means.
pub(super) const HUB: &str = "docker.io";
/// Another name of it, which Docker itself writes as [`HUB`].
const HUB_INDEX: &str = "index.docker.io";
/// The address of the hub. Docker stores images under this name separately, so it counts as the hub only in comparisons.
pub(super) const HUB_ADDRESS: &str = "registry-1.docker.io";
/// The namespace of repositories with a single part on the hub.
const OFFICIAL: &str = "library/";
/// The algorithms that Docker accepts in digests, and their hex digits.
const DIGESTS: [(&str, usize); 3] = [("sha256", 64), ("sha384", 96), ("sha512", 128)];

/// Name, tag and digest, as written.
pub(super) type NameParts<'t> = (&'t str, Option<&'t str>, Option<&'t str>);

/// Splits a reference into name, tag and digest, without checking them.
pub(super) fn split(text: &str) -> Result<NameParts<'_>, BadReference> {
    if text.is_empty() {
        return Err(BadReference::Empty);
    }
    if text.len() > limits::REFERENCE_MAX {
        return Err(BadReference::TooLong);
    }
    if is_digest(text) || (text.len() == 64 && text.bytes().all(is_hex)) {
        return Err(BadReference::BareId);
    }
    let (name, digest) = match text.split_once('@') {
        Some((name, digest)) => (name, Some(digest)),
        None => (text, None),
    };
    // A colon before the last slash belongs to a port.
    let (name, tag) = match name.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
        _ => (name, None),
    };
    Ok((name, tag, digest))
}

/// Registry and path of a name, in canonical form.
pub(super) fn locate(name: &str) -> (String, String) {
    let (registry, path) = match leading_host(name) {
        Some((HUB_INDEX, path)) => (HUB, path),
        Some(place) => place,
        None => (HUB, name),
    };
    if registry == HUB && !path.contains('/') {
        return (registry.to_owned(), format!("{OFFICIAL}{path}"));
    }
    (registry.to_owned(), path.to_owned())
}

/// The first part of a name, if Docker takes it for a host: it has a dot, a port or a capital, or is `localhost`.
pub(super) fn leading_host(name: &str) -> Option<(&str, &str)> {
    let (first, rest) = name.split_once('/')?;
    let host = first == "localhost"
        || first.contains(['.', ':'])
        || first.bytes().any(|byte| byte.is_ascii_uppercase());
    host.then_some((first, rest))
}

/// Removes the namespace of the hub if only a name follows it.
pub(super) fn shorten(path: &str) -> &str {
    path.strip_prefix(OFFICIAL)
        .filter(|name| !name.contains('/'))
        .unwrap_or(path)
}

pub(super) fn is_host(text: &str) -> bool {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (text, None),
    };
    let label = |label: &str| {
        !label.is_empty()
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let named = match host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
    {
        Some(six) => {
            !six.is_empty()
                && six
                    .bytes()
                    .all(|byte| byte.is_ascii_hexdigit() || byte == b':')
        }
        None => host.split('.').all(label),
    };
    named
        && port
            .is_none_or(|port| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()))
}

/// One part of a path: letters and digits, joined by one dot, one or two underscores, or any number of dashes.
pub(super) fn is_component(text: &str) -> bool {
    let sound = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let joint = |joint: &str| {
        matches!(joint, "" | "." | "_" | "__") || joint.bytes().all(|byte| byte == b'-')
    };
    text.bytes().next().is_some_and(sound)
        && text.bytes().next_back().is_some_and(sound)
        && text
            .split(|letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit())
            .all(joint)
}

pub(super) fn is_tag(text: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    text.len() <= 128
        && text.bytes().next().is_some_and(word)
        && text
            .bytes()
            .all(|byte| word(byte) || matches!(byte, b'.' | b'-'))
}

pub(super) fn is_digest(text: &str) -> bool {
    text.split_once(':').is_some_and(|(algorithm, hex)| {
        DIGESTS.contains(&(algorithm, hex.len())) && hex.bytes().all(is_hex)
    })
}

pub(super) fn is_hex(byte: u8) -> bool {
    byte.is_ascii_digit() || matches!(byte, b'a'..=b'f')
}
