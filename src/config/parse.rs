//! Parsers for single values. Every error says what was expected; none repeats the text, which may be a
//! misplaced secret.

use std::net::{Ipv6Addr, SocketAddr};
use std::time::Duration;

use crate::suggest;

/// `1MiB`, `512KiB`, or a number of bytes.
pub(super) fn size(text: &str) -> Result<usize, String> {
    let (digits, unit) = number(text);
    let factor = match unit {
        "" | "B" => 1,
        "KiB" => 1024,
        "MiB" => 1024 * 1024,
        _ => 0,
    };
    digits
        .and_then(|number| usize::try_from(number).ok()?.checked_mul(factor))
        .filter(|_| factor > 0)
        .ok_or_else(|| {
            "expected a size such as \"1MiB\", \"512KiB\" or a number of bytes".to_owned()
        })
}

/// `30s`, `10m`, `1h`, or several of them, longest first: `1m30s`.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let expected = || "expected a duration such as \"30s\", \"10m\" or \"1h\"".to_owned();
    let (mut rest, mut seconds, mut last) = (text, 0u64, u64::MAX);
    while !rest.is_empty() {
        let (digits, unit) = number(rest);
        let factor = match unit.chars().next() {
            Some('h') => 3600,
            Some('m') => 60,
            Some('s') => 1,
            _ => return Err(expected()),
        };
        let more = digits.and_then(|number| number.checked_mul(factor));
        let sum = more.and_then(|more| seconds.checked_add(more));
        seconds = sum.filter(|_| factor < last).ok_or_else(expected)?;
        last = factor;
        rest = unit.get(1..).unwrap_or_default();
    }
    if last == u64::MAX {
        return Err(expected());
    }
    Ok(Duration::from_secs(seconds))
}

/// The number at the beginning, and what follows it.
fn number(text: &str) -> (Option<u64>, &str) {
    let end = text.find(|c: char| !c.is_ascii_digit());
    let (digits, rest) = text.split_at(end.unwrap_or(text.len()));
    (digits.parse().ok(), rest)
}

/// One of a fixed list of names.
pub(super) fn choice<T>(
    text: &str,
    names: &[&str],
    parse: impl Fn(&str) -> Option<T>,
) -> Result<T, String> {
    let known = names.contains(&text).then(|| parse(text)).flatten();
    known.ok_or_else(|| suggest::expected(names, text))
}

/// The text between quotes that enclose the whole of it.
pub(super) fn unquoted(text: &str) -> Option<&str> {
    let quotes = ['"', '\''];
    quotes
        .iter()
        .find_map(|quote| text.strip_prefix(*quote)?.strip_suffix(*quote))
}

/// A switch as a variable writes it.
pub(super) fn flag(text: &str) -> Result<bool, String> {
    match text {
        "true" | "1" => Ok(true),
        "false" | "0" => Ok(false),
        _ => Err("expected true or false".to_owned()),
    }
}

/// An address and a port; names are not looked up.
pub(super) fn listen(text: &str) -> Result<SocketAddr, String> {
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    let port = text.strip_prefix(':').unwrap_or(text);
    let port_only = !port.is_empty() && port.bytes().all(|c| c.is_ascii_digit());
    let host = text.rsplit_once(':').map_or(text, |(host, _)| host);
    Err(match () {
        () if port_only => {
            "expected an address before the port: \"127.0.0.1:8484\" for this host only, \
             \"0.0.0.0:8484\" or \"[::]:8484\" for all addresses"
        }
        () if text.parse::<std::net::IpAddr>().is_ok() => {
            "expected a port after the address, such as \"127.0.0.1:8484\" or \"[::]:8484\""
        }
        () if host.eq_ignore_ascii_case("localhost") => {
            "names are not looked up; write \"127.0.0.1:8484\" or \"[::1]:8484\""
        }
        () => "expected an address and a port such as \"127.0.0.1:8484\" or \"[::]:8484\"",
    }
    .to_owned())
}

/// The address of Portainer, without trailing slashes and `/api`.
pub(super) fn portainer_url(text: &str) -> Result<String, String> {
    let url = plain_url(text)?;
    let url = url.strip_suffix("/api").unwrap_or(&url);
    Ok(url.trim_end_matches('/').to_owned())
}

/// A URL to which paths are appended: without query and trailing slashes.
pub(super) fn plain_url(text: &str) -> Result<String, String> {
    let url = url(text)?;
    match url.contains('?') {
        true => Err("has a query (from the \"?\" on); leave it out".to_owned()),
        false => Ok(url.trim_end_matches('/').to_owned()),
    }
}

/// An absolute URL with a host and, if given, a valid port. The HTTP library would take a wrong port for another one, and print a
/// password in its errors.
pub(super) fn url(text: &str) -> Result<String, String> {
    let wrong = |text: &str| Err(text.to_owned());
    let Some((scheme, rest)) = text.split_once("://") else {
        return wrong("expected a URL that begins with http:// or https://");
    };
    let scheme = scheme.to_ascii_lowercase();
    if scheme != "http" && scheme != "https" {
        return wrong("expected a URL that begins with http:// or https://");
    }
    if rest.chars().any(|c| c.is_control() || c == ' ') {
        return wrong("contains a space or a control character");
    }
    if !rest.is_ascii() || rest.contains(['\\', '"', '<', '>', '^', '`', '{', '|', '}']) {
        return wrong(
            "contains a character that has no place in a URL; write names in Punycode and paths with %",
        );
    }
    let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    if authority.contains('@') {
        return wrong("contains a user name or a password, which does not belong in this URL");
    }
    if path.contains('#') {
        return wrong("has a fragment (from the \"#\" on); leave it out");
    }
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((address, port)) if address.parse::<Ipv6Addr>().is_ok() => (
                address,
                port.strip_prefix(':').or((!port.is_empty()).then_some("")),
            ),
            _ => return wrong("expected an IPv6 address between [ and ]"),
        },
        None => match authority.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        },
    };
    let of_names = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
    let is_name = host.chars().all(of_names) && !host.starts_with('.') && !host.contains("..");
    if host.is_empty() || !(is_name || authority.starts_with('[')) {
        return wrong("has no host");
    }
    let is_port = |port: &str| {
        port.bytes().all(|c| c.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|port| port > 0)
    };
    if port.is_some_and(|port| !is_port(port)) {
        return wrong("the port must be a number from 1 to 65535");
    }
    Ok(format!("{scheme}://{rest}"))
}

/// 64 hexadecimal digits of either case, with or without colons between the bytes.
pub(super) fn fingerprint(text: &str) -> Result<[u8; 32], String> {
    let pairs: Vec<&str> = text.split(':').collect();
    let digits = match pairs.as_slice() {
        [digits] => (*digits).to_owned(),
        pairs if pairs.iter().all(|pair| pair.len() == 2) => pairs.concat(),
        _ => String::new(),
    };
    crate::secret::from_hex(&digits).ok_or_else(|| {
        "expected the SHA-256 of a certificate: 64 hexadecimal digits, with or without colons"
            .to_owned()
    })
}

/// A JSON pointer, or `header:` and the name of a header.
pub(super) fn pointer_or_header(text: &str) -> Result<String, String> {
    match text.strip_prefix("header:") {
        Some("") => Err("expected the name of a header after \"header:\"".to_owned()),
        Some(name) => Ok(format!("header:{}", header(name)?)),
        None => pointer(text),
    }
}

/// A JSON pointer (RFC 6901), in which `*` means every element.
pub(super) fn pointer(text: &str) -> Result<String, String> {
    let escaped = |part: &str| part.starts_with(['0', '1']);
    match () {
        () if !text.starts_with('/') => {
            Err("expected a JSON pointer such as \"/artifact/tag\", with a / in front".to_owned())
        }
        () if !text.split('~').skip(1).all(escaped) => {
            Err("a ~ in a JSON pointer is written ~0, and a / in a name ~1".to_owned())
        }
        () => Ok(text.to_owned()),
    }
}

/// The name of an HTTP header (RFC 9110 token), in lower case.
pub(super) fn header(text: &str) -> Result<String, String> {
    let token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    match text.chars().all(token) {
        true => Ok(text.to_ascii_lowercase()),
        false => Err("expected the name of a header, such as \"Authorization\"".to_owned()),
    }
}

/// The name of a variable.
pub(super) fn variable(text: &str) -> Result<String, String> {
    let digit_first = text.starts_with(|c: char| c.is_ascii_digit());
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '_';
    match !digit_first && text.chars().all(fits) {
        true => Ok(text.to_owned()),
        false => Err("expected names of variables, such as \"IMAGE_TAG\"".to_owned()),
    }
}

/// One line of visible text, without spaces around it.
pub(super) fn word(text: &str) -> Result<String, String> {
    match () {
        () if text.chars().any(char::is_control) => Err("contains a control character".to_owned()),
        () if text.trim() != text => Err("begins or ends with a space".to_owned()),
        () => Ok(text.to_owned()),
    }
}

#[cfg(test)]
mod tests;
