//! The head of a request: found in the bytes as they come, then taken apart. Strict: what two readers could understand
//! differently is refused. Values in, values out; no sockets here.

use std::borrow::Cow;

use percent_encoding::percent_decode;

use crate::limits;
use crate::message::Headers;
use crate::request::{self, Refusal};

/// A head that leaves no question open.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) method: &'static str,
    /// Percent-decoded once.
    pub(super) path: String,
    /// After the `?`, as sent.
    pub(super) query: Option<String>,
    pub(super) headers: Headers,
    pub(super) framing: Framing,
    /// The client waits for a word before it sends the body.
    pub(super) expects: bool,
}

/// How the body ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Framing {
    /// After so many bytes; a number that cannot be counted is the largest.
    Length(usize),
    /// As its chunks say.
    Chunked,
}

/// A head that is refused, and the path where it could be read.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Bad {
    pub(super) path: Option<String>,
    pub(super) why: Refusal,
}

/// Looks for the end of the head while it comes, and refuses at the first byte that cannot stand there.
#[derive(Debug, Default)]
pub(super) struct Scan {
    /// Bytes seen.
    seen: usize,
    /// Bytes of the line so far, without its end.
    line: usize,
    /// Complete lines, the request line among them.
    lines: usize,
    /// The last byte was a carriage return.
    returned: bool,
}

impl Scan {
    /// `head` is everything so far; what was seen before is not looked at again. Says where the body begins.
    ///
    /// # Errors
    /// The head cannot become a good one any more.
    pub(super) fn find_end(&mut self, head: &[u8]) -> Result<Option<usize>, Refusal> {
        for byte in head.get(self.seen..).unwrap_or_default() {
            self.seen += 1;
            if self.seen > limits::HEAD {
                return Err(Refusal::HeadTooLarge);
            }
            match (byte, std::mem::take(&mut self.returned)) {
                (b'\n', true) if self.line == 0 => {
                    // A request begins with its request line.
                    return if self.lines == 0 {
                        Err(Refusal::BadHead)
                    } else {
                        Ok(Some(self.seen))
                    };
                }
                (b'\n', true) => {
                    if self.lines == 0 {
                        // Noise that happens to be a line of text is not listened to any longer.
                        RequestLine::parse(head.get(..self.line).unwrap_or_default())?;
                    }
                    self.lines += 1;
                    self.line = 0;
                    if self.lines > 1 + limits::HEADER_LINES {
                        return Err(Refusal::HeadTooLarge);
                    }
                }
                (_, true) => return Err(Refusal::BadHead),
                (b'\r', false) => self.returned = true,
                (TLS_HANDSHAKE, false) if self.seen == 1 => return Err(Refusal::Tls),
                (b'\t' | b' '..=b'~' | 0x80.., false) => {
                    self.line += 1;
                    if self.lines == 0 && self.line > limits::REQUEST_LINE {
                        return Err(Refusal::UriTooLong);
                    }
                }
                _ => return Err(Refusal::BadHead),
            }
        }
        Ok(None)
    }
}

/// Takes a complete head apart, its empty last line included.
///
/// # Errors
/// What is wrong with it.
pub(super) fn parse(head: &[u8]) -> Result<Head, Bad> {
    let bad = |why| Bad { path: None, why };
    let text = head
        .strip_suffix(b"\r\n\r\n")
        .ok_or(bad(Refusal::BadHead))?;
    let mut lines = lines(text);
    let line = RequestLine::parse(lines.next().unwrap_or_default()).map_err(bad)?;
    let rest = Rest::parse(lines, &line);
    match rest {
        Ok(rest) => Ok(Head {
            method: line.method,
            path: line.path.into_owned(),
            query: line.query.map(str::to_owned),
            headers: rest.headers,
            framing: rest.framing,
            expects: rest.expects,
        }),
        Err(why) => Err(Bad {
            path: Some(line.path.into_owned()),
            why,
        }),
    }
}

/// With what TLS begins, and no request does.
const TLS_HANDSHAKE: &u8 = &0x16;

struct RequestLine<'h> {
    method: &'static str,
    /// Of an absolute target: what it names before its path.
    authority: Option<&'h str>,
    path: Cow<'h, str>,
    query: Option<&'h str>,
    /// Of HTTP/1.
    minor: u8,
}

impl RequestLine<'_> {
    fn parse(line: &[u8]) -> Result<RequestLine<'_>, Refusal> {
        let mut words = line.split(|byte| *byte == b' ');
        let (Some(method), Some(target), Some(version), None) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            return Err(Refusal::BadHead);
        };
        if !is_token(method) {
            return Err(Refusal::BadHead);
        }
        let minor = match version {
            b"HTTP/1.1" => 1,
            b"HTTP/1.0" => 0,
            other if other.starts_with(b"HTTP/") => return Err(Refusal::Version),
            _ => return Err(Refusal::BadHead),
        };
        let method = request::method(method).ok_or(Refusal::Method)?;
        let (authority, target) = split_target(target)?;
        let (path, query) = match target.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (target, None),
        };
        Ok(RequestLine {
            method,
            authority,
            path: decode(path)?,
            query,
            minor,
        })
    }
}

/// The authority of an absolute target, and what follows it.
fn split_target(target: &[u8]) -> Result<(Option<&str>, &str), Refusal> {
    let visible = |byte: &u8| matches!(byte, b'!'..=b'~') && *byte != b'#';
    let target = std::str::from_utf8(target)
        .ok()
        .filter(|target| target.bytes().all(|byte| visible(&byte)))
        .ok_or(Refusal::BadHead)?;
    if target.starts_with('/') {
        return Ok((None, target));
    }
    let (scheme, rest) = target.split_once("://").ok_or(Refusal::BadHead)?;
    if !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https") {
        return Err(Refusal::BadHead);
    }
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, rest) = rest.split_at(end);
    match rest {
        "" => Ok((Some(authority), "/")),
        rest if rest.starts_with('/') => Ok((Some(authority), rest)),
        _ => Err(Refusal::BadHead),
    }
}

/// Decoded once. Nothing that somebody before or behind us could take for another path: no encoded slash, no dot segments,
/// no backslash, no control characters, nothing that is half encoded.
fn decode(path: &str) -> Result<Cow<'_, str>, Refusal> {
    let encoded = path.split('%').skip(1).all(|rest| {
        let digits = rest.as_bytes().get(..2).unwrap_or_default();
        digits.len() == 2
            && digits.iter().all(u8::is_ascii_hexdigit)
            && !digits.eq_ignore_ascii_case(b"2f")
    });
    let path = percent_decode(path.as_bytes())
        .decode_utf8()
        .map_err(|_| Refusal::BadHead)?;
    let dots = path.split('/').any(|segment| matches!(segment, "." | ".."));
    let unclear = |sign: char| sign.is_control() || sign == '\\';
    if encoded && !dots && !path.chars().any(unclear) {
        Ok(path)
    } else {
        Err(Refusal::BadHead)
    }
}

/// What follows the request line.
struct Rest {
    headers: Headers,
    framing: Framing,
    expects: bool,
}

impl Rest {
    fn parse<'l>(
        lines: impl Iterator<Item = &'l [u8]>,
        line: &RequestLine<'_>,
    ) -> Result<Rest, Refusal> {
        let mut headers = Headers::default();
        for (count, header) in lines.enumerate() {
            if count >= limits::HEADER_LINES {
                return Err(Refusal::HeadTooLarge);
            }
            let (name, value) = header_line(header)?;
            headers.push(name, &value);
        }
        check_host(&headers, line)?;
        let framing = framing(&headers, line.minor)?;
        let expects = expects(&headers, line.minor)?;
        Ok(Rest {
            headers,
            framing,
            expects,
        })
    }
}

/// Bytes that are no UTF-8 in a value are replaced: nothing that is compared with anything contains them.
fn header_line(line: &[u8]) -> Result<(&str, Cow<'_, str>), Refusal> {
    let colon = line.iter().position(|byte| *byte == b':');
    let (name, value) = colon
        .and_then(|colon| line.split_at_checked(colon))
        .ok_or(Refusal::BadHead)?;
    let value = value.get(1..).unwrap_or_default();
    let clean = |byte: &u8| matches!(byte, b'\t' | b' '..=b'~' | 0x80..);
    if !is_token(name) || !value.iter().all(clean) {
        return Err(Refusal::BadHead);
    }
    let name = str::from_utf8(name).map_err(|_| Refusal::BadHead)?;
    // Of what is blank, only spaces and tabs are left.
    Ok((name, String::from_utf8_lossy(value.trim_ascii())))
}

/// Exactly one valid `Host`, in HTTP/1.0 at most one; what an absolute target names must be the same.
fn check_host(headers: &Headers, line: &RequestLine<'_>) -> Result<(), Refusal> {
    let mut hosts = headers.all("host");
    let host = match (hosts.next(), hosts.next()) {
        (Some(host), None) if is_host(host) => Some(host),
        (None, None) if line.minor == 0 => None,
        _ => return Err(Refusal::BadHead),
    };
    match (&line.authority, host) {
        (None, _) => Ok(()),
        (Some(authority), Some(host)) if authority.eq_ignore_ascii_case(host) => Ok(()),
        (Some(authority), None) if is_host(authority) => Ok(()),
        (Some(_), _) => Err(Refusal::BadHead),
    }
}

/// A name or an address, perhaps with a port.
fn is_host(host: &str) -> bool {
    let (name, port) = match host.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((address, port)) => match address.parse::<std::net::Ipv6Addr>() {
                Ok(_) => ("address", port),
                Err(_) => return false,
            },
            None => return false,
        },
        None => host.split_at(host.find(':').unwrap_or(host.len())),
    };
    let sign = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=".contains(&byte);
    let digits = port.strip_prefix(':').unwrap_or(port);
    !name.is_empty()
        && name.bytes().all(sign)
        && (port.is_empty() || port.starts_with(':'))
        && digits.len() <= 5
        && digits.bytes().all(|digit| digit.is_ascii_digit())
}

/// One length of digits only, or `chunked` alone.
fn framing(headers: &Headers, minor: u8) -> Result<Framing, Refusal> {
    let mut lengths = headers.all("content-length");
    let mut codings = headers.all("transfer-encoding");
    let (length, coding) = (
        (lengths.next(), lengths.next()),
        (codings.next(), codings.next()),
    );
    match (length, coding) {
        ((None, None), (None, None)) => Ok(Framing::Length(0)),
        ((None, None), (Some(coding), None))
            if minor == 1 && coding.eq_ignore_ascii_case("chunked") =>
        {
            Ok(Framing::Chunked)
        }
        ((Some(digits), None), (None, None))
            if !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_digit()) =>
        {
            Ok(Framing::Length(digits.parse().unwrap_or(usize::MAX)))
        }
        _ => Err(Refusal::BadHead),
    }
}

/// HTTP/1.0 knows no expectations.
fn expects(headers: &Headers, minor: u8) -> Result<bool, Refusal> {
    let mut all = headers.all("expect");
    match (all.next(), all.next()) {
        _ if minor == 0 => Ok(false),
        (None, _) => Ok(false),
        (Some(word), None) if word.eq_ignore_ascii_case("100-continue") => Ok(true),
        _ => Err(Refusal::Expectation),
    }
}

/// RFC 9110 section 5.6.2.
fn is_token(word: &[u8]) -> bool {
    let sign = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    !word.is_empty() && word.iter().all(sign)
}

/// Without their ends.
fn lines(mut text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut over = false;
    std::iter::from_fn(move || {
        if over {
            return None;
        }
        let end = text.windows(2).position(|two| two == b"\r\n");
        let line = text.get(..end.unwrap_or(text.len())).unwrap_or_default();
        match end {
            Some(end) => text = text.get(end + 2..).unwrap_or_default(),
            None => over = true,
        }
        Some(line)
    })
}

#[cfg(test)]
mod tests;
