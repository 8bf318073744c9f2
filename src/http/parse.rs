//! Parses the head of a request. httparse does the grammar; the rules here refuse everything that two parsers could read
//! differently (RFC 9112 section 11.2, request smuggling). Values in, values out.

use std::borrow::Cow;
use std::net::Ipv6Addr;
use std::str::FromStr as _;

use httparse::{EMPTY_HEADER, Status};
use percent_encoding::percent_decode;
use tiny_http::Method;

use super::Refusal;
use crate::message::Headers;

/// A head: request line and headers with their line ends (bytes).
const HEAD_MAX: usize = 16 * 1024;
/// The request line (bytes).
const REQUEST_LINE_MAX: usize = 8 * 1024;
/// Header lines of a request.
const HEADERS_MAX: usize = 64;
/// The first byte of a TLS handshake, which cannot begin a request.
const TLS_HANDSHAKE: u8 = 0x16;

/// An unambiguous head.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) method: Method,
    /// Percent-decoded once.
    pub(super) path: String,
    /// The part after the `?`, as sent.
    pub(super) query: Option<String>,
    pub(super) headers: Headers,
    pub(super) framing: Framing,
    /// The client sends its body only after `100 Continue`.
    pub(super) expects_continue: bool,
}

/// The rule that says where the body ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Framing {
    /// After this many bytes. A number that overflows is the largest.
    Length(usize),
    Chunked,
}

/// A refused head, with its path if it could be parsed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct BadHead {
    pub(super) path: Option<String>,
    pub(super) why: Refusal,
}

/// Finds the end of a head while it arrives, and refuses at the first impossible byte. Each byte is looked at once, so a trickled
/// head costs no more than a whole one.
#[derive(Debug, Default)]
pub(super) struct Scanner {
    /// The number of bytes scanned.
    seen: usize,
    /// Bytes of the current line, without its end.
    line: usize,
    /// Complete lines, including the request line.
    lines: usize,
    /// The last byte was a carriage return.
    after_cr: bool,
}

/// The signature of version 2 of the PROXY protocol; version 1 is a line of text.
const PROXY_V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

impl Scanner {
    /// Scans the new bytes of `head`, which holds everything received so far. Returns the position where the body begins.
    ///
    /// Errors: the head cannot become valid.
    pub(super) fn find_end(&mut self, head: &[u8]) -> Result<Option<usize>, Refusal> {
        for byte in head.get(self.seen..).unwrap_or_default() {
            self.seen += 1;
            if self.seen > HEAD_MAX {
                return Err(Refusal::HeadTooLarge);
            }
            match (*byte, std::mem::take(&mut self.after_cr)) {
                (b'\n', true) if self.line == 0 => {
                    // httparse skips empty lines before the request line; no client needs that.
                    return if head.starts_with(PROXY_V2) {
                        Err(Refusal::ProxyProtocol)
                    } else if self.lines == 0 {
                        Err(Refusal::Malformed)
                    } else {
                        Ok(Some(self.seen))
                    };
                }
                (b'\n', true) => {
                    if self.lines == 0 {
                        // Refuses other protocols after one line instead of waiting for a head.
                        RequestLine::parse(head.get(..self.seen).unwrap_or_default())?;
                    }
                    self.lines += 1;
                    self.line = 0;
                    if self.lines > 1 + HEADERS_MAX {
                        return Err(Refusal::HeadTooLarge);
                    }
                }
                (_, true) => return Err(Refusal::Malformed),
                (b'\r', false) => self.after_cr = true,
                (TLS_HANDSHAKE, false) if self.seen == 1 => return Err(Refusal::Tls),
                (b'\t' | b' '..=b'~' | 0x80.., false) => {
                    self.line += 1;
                    if self.lines == 0 && self.line > REQUEST_LINE_MAX {
                        return Err(Refusal::UriTooLong);
                    }
                }
                _ => return Err(Refusal::Malformed),
            }
        }
        Ok(None)
    }
}

/// Parses a complete head, including its final empty line.
///
/// Errors: the reason for refusing it.
pub(super) fn parse_head(head: &[u8]) -> Result<Head, BadHead> {
    let bad = |why| BadHead { path: None, why };
    let line = RequestLine::parse(head).map_err(bad)?;
    let bad = |why| BadHead {
        path: Some(line.path.to_string()),
        why,
    };
    let headers = parse_headers(head).map_err(bad)?;
    check_host(&headers, &line).map_err(bad)?;
    let framing = framing(&headers, line.minor).map_err(bad)?;
    let expects_continue = expects_continue(&headers, line.minor).map_err(bad)?;
    Ok(Head {
        method: line.method,
        path: line.path.into_owned(),
        query: line.query.map(str::to_owned),
        headers,
        framing,
        expects_continue,
    })
}

struct RequestLine<'h> {
    method: Method,
    /// The authority of an absolute target.
    authority: Option<&'h str>,
    path: Cow<'h, str>,
    query: Option<&'h str>,
    /// The minor version of HTTP/1.
    minor: u8,
}

impl<'h> RequestLine<'h> {
    /// Parses the first line of `head`, with its line end.
    fn parse(head: &'h [u8]) -> Result<RequestLine<'h>, Refusal> {
        let end = head.windows(2).position(|two| two == b"\r\n");
        let line = end.and_then(|end| head.get(..end + 2)).unwrap_or(head);
        if line.starts_with(b"PROXY ") {
            return Err(Refusal::ProxyProtocol);
        }
        let mut request = httparse::Request::new(&mut []);
        match request.parse(line) {
            Ok(Status::Partial) => {}
            Err(httparse::Error::Version) if names_http(line) => return Err(Refusal::Version),
            Ok(Status::Complete(_)) | Err(_) => return Err(Refusal::Malformed),
        }
        let (Some(method), Some(target), Some(minor)) =
            (request.method, request.path, request.version)
        else {
            return Err(Refusal::Malformed);
        };
        let method = match Method::from_str(method) {
            Ok(Method::NonStandard(_) | Method::Connect) | Err(()) => return Err(Refusal::Method),
            Ok(method) => method,
        };
        let (authority, target) = split_target(target)?;
        let (path, query) = match target.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (target, None),
        };
        Ok(RequestLine {
            method,
            authority,
            path: decode_path(path)?,
            query,
            minor,
        })
    }
}

/// Returns true if the third word of a request line is a version of HTTP.
fn names_http(line: &[u8]) -> bool {
    let mut words = line.trim_ascii_end().split(|byte| *byte == b' ');
    let version = words.nth(2);
    words.next().is_none() && version.is_some_and(|version| version.starts_with(b"HTTP/"))
}

/// Splits a target into the authority, if it is absolute, and the rest.
fn split_target(target: &str) -> Result<(Option<&str>, &str), Refusal> {
    let is_allowed = |byte: u8| matches!(byte, b'!'..=b'~') && byte != b'#';
    if !target.bytes().all(is_allowed) {
        return Err(Refusal::Malformed);
    }
    if target.starts_with('/') {
        return Ok((None, target));
    }
    let (scheme, rest) = target.split_once("://").ok_or(Refusal::Malformed)?;
    if !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https") {
        return Err(Refusal::Malformed);
    }
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, rest) = rest.split_at(end);
    match rest {
        "" => Ok((Some(authority), "/")),
        rest if rest.starts_with('/') => Ok((Some(authority), rest)),
        _ => Err(Refusal::Malformed),
    }
}

/// Percent-decodes a path once. Refuses whatever a proxy could resolve to another path: encoded slashes, dot segments,
/// backslashes, control characters and incomplete encodings.
fn decode_path(path: &str) -> Result<Cow<'_, str>, Refusal> {
    let is_encoded_right = path.split('%').skip(1).all(|rest| {
        let digits = rest.as_bytes().get(..2).unwrap_or_default();
        digits.len() == 2
            && digits.iter().all(u8::is_ascii_hexdigit)
            && !digits.eq_ignore_ascii_case(b"2f")
    });
    let path = percent_decode(path.as_bytes())
        .decode_utf8()
        .map_err(|_| Refusal::Malformed)?;
    let has_dots = path.split('/').any(|segment| matches!(segment, "." | ".."));
    let is_ambiguous = |character: char| character.is_control() || character == '\\';
    if is_encoded_right && !has_dots && !path.chars().any(is_ambiguous) {
        Ok(path)
    } else {
        Err(Refusal::Malformed)
    }
}

/// Bytes of a value that are not UTF-8 are replaced; nothing that they could match contains them.
fn parse_headers(head: &[u8]) -> Result<Headers, Refusal> {
    let mut lines = [EMPTY_HEADER; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut lines);
    match request.parse(head) {
        Ok(Status::Complete(end)) if end == head.len() => {}
        Err(httparse::Error::TooManyHeaders) => return Err(Refusal::HeadTooLarge),
        Ok(_) | Err(_) => return Err(Refusal::Malformed),
    }
    let mut headers = Headers::default();
    for line in request.headers.iter() {
        headers.push(line.name, &String::from_utf8_lossy(line.value.trim_ascii()));
    }
    Ok(headers)
}

/// The value of a header that must not be repeated.
fn single<'h>(headers: &'h Headers, name: &str) -> Result<Option<&'h str>, Refusal> {
    let mut values = headers.all(name);
    match (values.next(), values.next()) {
        (value, None) => Ok(value),
        _ => Err(Refusal::Malformed),
    }
}

/// Requires exactly one valid `Host`, in HTTP/1.0 at most one. The authority of an absolute target must be the same.
fn check_host(headers: &Headers, line: &RequestLine<'_>) -> Result<(), Refusal> {
    let host = single(headers, "host")?;
    let is_valid = match (host, line.authority) {
        (Some(host), None) => is_host(host),
        (Some(host), Some(authority)) => is_host(host) && authority.eq_ignore_ascii_case(host),
        (None, authority) => line.minor == 0 && authority.is_none_or(is_host),
    };
    is_valid.then_some(()).ok_or(Refusal::Malformed)
}

/// Accepts a name or an address, optionally with a port.
fn is_host(host: &str) -> bool {
    let (is_valid, port) = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, port)) => (address.parse::<Ipv6Addr>().is_ok(), port),
        None => {
            let (name, port) = host.split_at(host.find(':').unwrap_or(host.len()));
            let is_allowed =
                |byte: u8| byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=".contains(&byte);
            (!name.is_empty() && name.bytes().all(is_allowed), port)
        }
    };
    let is_port = |port: &str| port.len() <= 5 && port.bytes().all(|byte| byte.is_ascii_digit());
    is_valid && (port.is_empty() || port.strip_prefix(':').is_some_and(is_port))
}

/// Requires one length of digits only, or `chunked` alone.
fn framing(headers: &Headers, minor: u8) -> Result<Framing, Refusal> {
    let length = single(headers, "content-length")?;
    let coding = single(headers, "transfer-encoding")?;
    match (length, coding) {
        (None, None) => Ok(Framing::Length(0)),
        (None, Some(coding)) if minor == 1 && coding.eq_ignore_ascii_case("chunked") => {
            Ok(Framing::Chunked)
        }
        (Some(length), None) if is_digits(length) => {
            Ok(Framing::Length(length.parse().unwrap_or(usize::MAX)))
        }
        _ => Err(Refusal::Malformed),
    }
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// HTTP/1.0 has no expectations.
fn expects_continue(headers: &Headers, minor: u8) -> Result<bool, Refusal> {
    match single(headers, "expect") {
        _ if minor == 0 => Ok(false),
        Ok(None) => Ok(false),
        Ok(Some(value)) if value.eq_ignore_ascii_case("100-continue") => Ok(true),
        _ => Err(Refusal::Expectation),
    }
}

#[cfg(test)]
mod tests;
